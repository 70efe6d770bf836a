//! The pages in a real browser, before a real daemon, through a network that is cut.

mod axe;
mod board;
mod kitchen;
mod lunch;
mod matrix;
mod pictures;
mod screens;
mod start;
mod world;
