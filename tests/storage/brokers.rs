//! Each broker against the suite.

mod embedded;
