//! The integration tests: real servers, real daemons. One binary, so that it is linked once; a module a subject.

mod long;
mod short;
mod support;
