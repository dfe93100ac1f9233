//! Brokers, stores and the journal. One binary, because each one more costs a link of everything.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod brokers;
mod common;
mod database;
mod journal;
mod kill;
#[path = "../model/broker.rs"]
mod memory;
mod model;
mod stores;
mod suite;
