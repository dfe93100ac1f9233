//! The binary as people start it: the demo, runs against sandboxes, dry runs.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod demo;
mod dry;
mod looked_up;
mod pasts;
mod process;
mod sandboxed;
mod written;
