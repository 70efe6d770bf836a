//! The `nowserving` program.

fn main() {}
