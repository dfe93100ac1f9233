//! One file a command. Each gets its arguments and gives an exit code; `main.rs` only chooses.

use std::process::ExitCode;

pub mod access;
pub mod backup;
pub mod check;
pub mod demo;
pub mod describe;
pub mod hooks;
pub mod init;
pub mod look;
pub mod moving;
pub mod operate;
pub mod output;
pub mod reload;
pub mod replay;
pub mod run;
pub mod sandbox;
pub mod schema;
pub mod send;
pub mod spool;
pub mod test;

/// How a command ended badly.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Exit code 1: what was asked for failed, in words.
    #[error("{0}")]
    Failed(String),
    /// Exit code 2: the command line makes no sense.
    #[error("{0}")]
    Usage(String),
    /// Exit code 78: the config has faults; each is a line.
    #[error("{0}")]
    Config(String),
}

/// The result of a command.
pub type Result<T = ()> = std::result::Result<T, CommandError>;

impl CommandError {
    /// The command failed because of this.
    #[must_use]
    pub fn failed(why: impl std::fmt::Display) -> Self {
        Self::Failed(why.to_string())
    }

    /// The exit code.
    #[must_use]
    pub fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Config(_) => 78,
        })
    }
}
