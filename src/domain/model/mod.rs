//! The plain model of a pool: which number which order gets, written as plainly as it can be.
//!
//! - `pool_model`: the rules of a pool, without orders' descriptions, versions and events;
//! - `rehearsal`: orders of a time, replayed on it; `happening` is what it is told, `course` what becomes of it, and
//!   `report` what it finds;
//! - `rests` and `free`: what lies in a pool, in the orders in which it is asked for;
//! - `misheard`: which numbers are mistaken for which.
//!
//! The scripts in `lua/` are the program; the model says the same in another way. Property tests hold each script against
//! it, step by step; orders of a time can be replayed on it. It reads no clock and draws nothing: callers pass
//! instants, sequences and the seed.

mod course;
mod free;
mod happening;
mod misheard;
mod pool_model;
mod rehearsal;
mod report;
mod rests;

pub use happening::{Happening, LastGiven, LastOrder, MadeOrder, SetDate, StartingPool, What};
pub use pool_model::{Answer, Asked, Giving, PoolModel, Rest};
pub use rehearsal::{LeadIn, Rehearsal};
pub use report::{
    AsItWas, AsItWouldHaveBeen, Figures, Misheard, Overflowed, Peak, RanOut, RehearsalReport, ShortestRest,
};
