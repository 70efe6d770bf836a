//! Subjects whose tests take long. They start first, since the test harness goes by name.

mod audit;
mod chaos;
mod cli;
mod clients;
mod clocks;
mod daemon;
mod demo;
mod feed_gaps;
mod http_api;
mod local_mode;
mod pages;
mod recovery;
mod takeover;
mod topologies;
mod usage;
