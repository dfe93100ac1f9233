//! Each broker against the suite.

mod embedded;
mod memory;
