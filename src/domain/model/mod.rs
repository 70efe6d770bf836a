//! The plain model of a pool: which number which order gets, written as plainly as it can be.
//!
//! - `pool_model`: the rules of a pool, without orders' descriptions, versions and events;
//! - `rehearsal`: orders of a time, replayed on it;
//! - `rests` and `free`: what lies in a pool, in the orders in which it is asked for;
//! - `misheard`: which numbers are mistaken for which.
//!
//! The scripts in `lua/` are the program; the model says the same in another way. Property tests hold each script against
//! it, step by step; orders of a time can be replayed on it. It reads no clock and draws nothing: callers pass
//! instants, sequences and the seed.

mod free;
mod misheard;
mod pool_model;
mod rehearsal;
mod rests;

pub use pool_model::{Answer, Asked, Giving, PoolModel, Rest};
pub use rehearsal::{
    Happening, Heard, KnownOrder, MadeOrder, Overflowed, Peak, RanOut, Rehearsal, RehearsalReport, ShortestRest,
    StartingPool, What,
};
