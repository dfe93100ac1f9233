//! The promises, on the whole bridge: from a config file and real requests to what a receiver got.
// One binary: each would link the whole crate again.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod accounts;
mod asked;
mod backup;
mod batches;
mod binary;
mod board;
mod bridge;
mod changes;
mod connected;
mod doubt;
mod fetch;
mod links;
mod measured;
mod operator;
mod order;
mod receiver;
mod reload;
mod replay;
mod respect;
mod subscribed;
mod traced;
mod traces;
mod trouble;
