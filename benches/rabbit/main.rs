//! The whole bridge over RabbitMQ, as its users run it, against programs that do nothing but the same calls.
//!
//! `cargo bench --bench rabbit [-- PART…] [--rounds N] [--events N] [--waiting N]`; the parts are `publish`, `deliver`, `latency`,
//! `memory` and `recovery`. Each starts a RabbitMQ of its own, as the tests do. Bridge and bare program run in turns on
//! the same machine, which they share with RabbitMQ, the senders and the receiver: the ratios are what counts.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a program for people at a terminal"
)]

use std::net::SocketAddr;
use std::time::Duration;

mod bare;
#[allow(dead_code, reason = "shared with the tests")]
#[path = "../../tests/rabbit/node.rs"]
mod node;
mod parts;
#[allow(dead_code, reason = "shared with another bench")]
#[path = "../tools/post.rs"]
mod post;
#[allow(dead_code, reason = "shared with another bench")]
#[path = "../tools/process.rs"]
mod process;
mod sink;

/// How much is measured.
#[derive(Clone, Copy)]
pub struct Size {
    /// Turns of each side.
    rounds: usize,
    /// Events in a turn.
    events: u64,
    /// Messages that wait in the broker for the figure of memory.
    waiting: u64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` only wants to see that it builds.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let flag = |name: &str, usual: u64| {
        let at = arguments.iter().position(|argument| argument == name);
        at.map_or(usual, |at| arguments[at + 1].parse().expect("a number"))
    };
    let size = Size {
        rounds: flag("--rounds", 5) as usize,
        events: flag("--events", 20_000),
        waiting: flag("--waiting", 1_000_000),
    };
    let named = |name: &str| arguments.iter().any(|argument| argument == name);
    let any = ["publish", "deliver", "latency", "memory", "recovery"].into_iter().any(named);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    // For the process's TLS provider, which every HTTP client needs.
    dari::connectors::client::Client::new().unwrap();
    let node = node::Node::start();
    println!("load of the machine at the start: {}", std::fs::read_to_string("/proc/loadavg").unwrap().trim());
    if !any || named("publish") {
        parts::publish(&runtime, &node, size);
    }
    if !any || named("deliver") {
        parts::deliver(&runtime, &node, size);
    }
    if !any || named("latency") {
        parts::latency(&runtime, &node);
    }
    if !any || named("memory") {
        parts::memory(&runtime, &node, size);
    }
    if !any || named("recovery") {
        parts::recovery(&runtime, &node, size);
    }
}

/// A config with one route that takes everything.
fn config(
    hooks: SocketAddr,
    admin: SocketAddr,
    broker: Option<(&str, &str)>,
    sink: &str,
    concurrency: usize,
) -> String {
    let broker = broker.map(|(url, prefix)| format!("broker: {{ url: \"{url}\", prefix: {prefix} }}\n"));
    format!(
        "listen: {{ hooks: \"{hooks}\", admin: {{ address: \"{admin}\" }} }}\n{}{}sinks:\n  out: {{ http: {{ url: \"{sink}\", \
         allow_private: true, limits: {{ concurrency: {concurrency} }} }} }}\nroutes:\n  all: {{ from: \"*\", to: out, do: create, \
         on_doubt: retry, map: {{ id: \"{{{{ id }}}}\", text: \"{{{{ data.order.text }}}}\" }} }}\n",
        broker.unwrap_or_default(),
        post::sources()
    )
}

/// Least, middle and most of some figures.
fn spread(figures: &[f64]) -> (f64, f64, f64) {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    (sorted[0], sorted[sorted.len() / 2], sorted[sorted.len() - 1])
}

fn row(name: &str, figures: &[f64], unit: &str) {
    let (min, median, max) = spread(figures);
    println!("{name:<34} {min:>9.2} {median:>9.2} {max:>9.2}  {unit}");
}

fn head(title: &str) {
    println!("\n{title}\n{:<34} {:>9} {:>9} {:>9}", "", "min", "median", "max");
}

/// A share of sorted durations, in milliseconds.
fn at(sorted: &[Duration], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share) as usize].as_secs_f64() * 1_000.0
}
