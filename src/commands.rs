//! One file a command.

pub mod describe;
pub mod test;
