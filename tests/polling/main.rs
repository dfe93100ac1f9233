//! Polling, from the vendor's sandbox on a loopback port to the cursor in the store. One binary, for linking takes longer
//! than running.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod bench;
mod deletions;
mod dooray_calendar;
mod dooray_task;
mod dooray_world;
mod http;
mod strict;
mod turns;
mod vendor;
mod walla;
mod walla_past;
mod workfront;
mod workfront_many;
mod worksection;
mod worksection_world;
mod world;
