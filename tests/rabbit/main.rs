//! RabbitMQ as the broker, on a node of this binary's own: the suite of all brokers, faults, and the whole bridge.
//!
//! `DARI_TEST_AMQP_URL` names a broker to use instead; the tests that stop or kill their broker are then left out.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

#[allow(dead_code, reason = "shared with another binary")]
#[path = "../storage/common.rs"]
mod common;
#[allow(dead_code, reason = "shared with another binary")]
#[path = "../storage/suite.rs"]
mod suite;

mod away;
mod cluster;
mod conform;
mod deploy;
mod faults;
mod fetch;
mod greeted;
mod keeping;
mod load;
mod moving;
#[allow(dead_code, reason = "shared with a bench")]
mod node;
mod orphans;
mod prove;
mod proxy;
#[allow(dead_code, reason = "shared with another binary")]
#[path = "../bridge/receiver.rs"]
mod receiver;
mod reload;
mod source;
mod stuck;
mod tls;
mod tracing;
mod traps;
mod vanished;
mod whole;
