//! The engine of jobs by itself: the same suite on both databases.

mod brought;
mod histories;
mod known_losses;
mod model;
mod order;
mod plans;
mod share;
mod support;
