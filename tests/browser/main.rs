//! The dashboard in a browser: headless Chromium by its driver, on a bridge that is a process of its own.
//!
//! Pictures are written to `target/screenshots/` for a person to look at. Where `chromedriver` is not installed the tests
//! fail: `scripts/test` installs it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod access;
mod driver;
mod walk;
mod world;
