//! A change happens once: answers are lost while others change the same order, number or settings.

mod api;
mod calls;
mod fire;
mod till;
