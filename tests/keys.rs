//! API keys, against real daemons: who may call what, and how soon what somebody changes about keys is so everywhere.

mod support;

mod keys {
    mod admins;
    mod client;
    mod matrix;
    mod ring;
    mod secrets;
    mod start;
}
