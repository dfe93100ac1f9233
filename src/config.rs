//! `dari.yaml`: parsed, interpolated, checked as a whole, and compiled.

pub mod faults;
pub mod model;
mod parse;
mod place;

pub use faults::Faults;
pub use model::*;
