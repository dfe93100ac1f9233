//! Dari (다리, "bridge") carries events between the work tools of a company.
pub mod broker;
pub mod clock;
pub mod config;
pub mod connectors;
pub mod event;
pub mod intake;
pub mod outcome;
pub mod poll;
pub mod problem;
pub mod route;
pub mod settings;
pub mod store;
pub mod template;
