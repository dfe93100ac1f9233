//! The public listener over real sockets: what each sender hears, and what no client can do.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]
// One binary: each would link the whole crate again.

mod answers;
mod config;
mod dooray;
mod limits;
mod logs;
mod senders;
mod support;
mod walla;
mod workfront;
mod worksection;
