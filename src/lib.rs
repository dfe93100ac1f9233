//! Dari (다리, "bridge") carries events between the work tools of a company.
//!
//! An event that was answered 2xx is never lost, is applied once wherever the destination can be asked, never overwrites
//! something newer, and its whole journey can be read afterwards.
//!
//! # Layout
//!
//! The way of an event, from top to bottom:
//!
//! 1. [`connectors`]: everything about one vendor is one folder. A `Hook` verifies and reads a webhook, a `Poller` asks
//!    for news, a `Sink` turns a record into a call and the vendor's answer into an outcome. Nothing else names a vendor.
//! 2. [`intake`] is the hooks endpoint: limits, verification, identification, publish, answer. [`poll`] is the loop
//!    of a source that is asked: lease, cursor, page, publish, commit. [`stream`] takes what a source is handed. All end
//!    in an [`event`]. Where a webhook only hints that something happened, [`fetch`] reads its subject anew before any
//!    route sees it.
//! 3. [`broker`] moves events: into one queue for each route that may want them, and into the journal's.
//! 4. [`deliver`] works a route's queue: one delivery at a time for each subject, intent before the call, outcome after
//!    it, the waiting in the broker. It asks [`route`] what the route makes of the event, and acts on the
//!    [`outcome`] alone.
//! 5. [`store`] remembers: ledger, links, cursors, quotas, suspensions, dead letters. [`store::journal`] is the
//!    history, for people.
//!
//! Around it:
//!
//! - [`config`] reads `dari.yaml` into one checked model, or tells every fault with its place. What a connector takes is
//!   declared with [`settings`]; expressions and templates are [`template`].
//! - [`app`] builds all parts, starts them, and brings them to an orderly end.
//! - [`admin`] answers people's questions and does what they say, over a socket or HTTP; [`commands`] is the command
//!   line over it, and [`dashboard`] the pages.
//! - [`spans`] tells a collector of traces of an event's receipt and of each attempt, where the operator names one.
//! - [`redact`] masks what is not to be shown, [`problem`] is how HTTP errors look, [`clock`] is the only place where the
//!   time is read.
//!
//! `docs/architecture.md` tells why it is so, and what happens when a step fails.

pub mod admin;
pub mod app;
pub mod broker;
pub mod clock;
pub mod commands;
pub mod config;
pub mod connectors;
pub mod dashboard;
pub mod deliver;
pub mod event;
pub mod fetch;
pub mod intake;
pub mod metrics;
pub mod outcome;
pub mod poll;
pub mod problem;
pub mod redact;
pub mod route;
pub mod settings;
pub mod spans;
pub mod store;
pub mod stream;
pub mod template;
