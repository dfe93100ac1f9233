//! Every sink against its sandbox, through the real client: what is sent, what a refusal means, what a fault leaves
//! behind. One binary, for linking takes longer than running.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod client;
mod dooray;
mod dooray_strict;
mod dooray_whole;
mod hooked_whole;
mod http;
mod slack;
mod slack_refusals;
mod slack_whole;
mod strict;
mod walla_lookup;
mod walla_whole;
mod whole;
mod workfront;
mod workfront_auth;
mod workfront_bulk;
mod workfront_files;
mod workfront_lookup;
mod workfront_whole;
mod works;
mod works_readings;
mod works_token;
mod works_whole;
mod worksection;
mod worksection_oauth;
mod worksection_whole;
mod world;
