//! `dari.yaml`: parsed, interpolated, checked as a whole, and compiled.

pub mod model;

pub use model::*;
