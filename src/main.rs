//! Command line → command → exit code.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use dari::commands::access::Where;
use dari::commands::operate::{AccountAction, DeadAction, RouteAction, SourceAction, StateArgs, StopAction};
use dari::commands::replay::ReplayArgs;
use dari::commands::{
    CommandError, backup, check, demo, describe, hooks, init, look, moving, operate, output, reload, replay, run,
    sandbox, schema, send, spool, test,
};

/// Dari carries events between the work tools of a company.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    place: Where,
    /// How logs are written
    #[arg(long, env = "DARI_LOG_FORMAT", global = true, value_enum, default_value_t = LogFormat::Auto)]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum LogFormat {
    /// For people on a terminal, JSON elsewhere
    Auto,
    /// A JSON object a line
    Json,
    /// For people
    Pretty,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// The whole bridge on this machine with nothing else
    Demo(demo::DemoArgs),
    /// Run the bridge
    Run(run::RunArgs),
    /// Let the running bridge load its config anew
    Reload,
    /// Play vendors on this machine
    Sandbox(sandbox::SandboxArgs),
    /// Write a commented dari.yaml to start from
    Init(init::InitArgs),
    /// Check the config: every fault at once, with its place
    Check(check::CheckArgs),
    /// Run the tests of the config, without a network
    Test(test::TestArgs),
    /// Tell of a connector: its events, fields, verbs and limits
    Describe(describe::DescribeArgs),
    /// Print the JSON Schema of dari.yaml, for editors
    Schema(schema::SchemaArgs),
    /// Put an event in by hand
    Send(send::SendArgs),
    /// Save the newest event of a source as a fixture
    Sample(send::SampleArgs),
    /// Show the journey of events
    Trace(look::TraceArgs),
    /// Search the journal
    Events(look::EventsArgs),
    /// Work the dead and the held
    Dead {
        #[command(subcommand)]
        action: Option<DeadAction>,
    },
    /// Send events again, with the config of now
    Replay(ReplayArgs),
    /// Accounts: quota, forecast, state
    Accounts(StateArgs<AccountAction>),
    /// Sinks: queued, state
    Sinks(StateArgs<StopAction>),
    /// Sources: last poll, state
    Sources(StateArgs<SourceAction>),
    /// Routes: queued, dead, held, state
    Routes(StateArgs<RouteAction>),
    /// Subscribe a source's URL at its vendor, list the subscriptions, end them
    Hooks {
        #[command(subcommand)]
        action: hooks::HooksAction,
    },
    /// Move what is queued to RabbitMQ, once
    Move(moving::MoveArgs),
    /// Make a consistent copy of the bridge's files, while it runs or not
    Backup(backup::BackupArgs),
    /// What waits because the broker is away
    Spool {
        #[command(subcommand)]
        action: spool::SpoolAction,
    },
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man {
        /// Write the pages of all commands into this folder instead
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_logging(cli.log_format, if matches!(cli.command, Command::Demo(_)) { demo::LOGS } else { "info" });
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            anstream::eprintln!("error: no threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(choose(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("{}", shown(&error));
            error.code()
        }
    }
}

fn shown(error: &CommandError) -> String {
    match error {
        // Each fault is a line that an editor can jump to.
        CommandError::Config(faults) => faults.trim_end().to_owned(),
        other => format!("error: {other}"),
    }
}

async fn choose(cli: Cli) -> Result<(), CommandError> {
    let place = cli.place;
    match cli.command {
        Command::Demo(args) => demo::demo(args).await,
        Command::Run(args) => run::run(args, &place).await,
        Command::Reload => reload::reload(&place).await,
        Command::Sandbox(args) => sandbox::sandbox(&args).await,
        Command::Init(args) => init::init(&args, &place),
        Command::Check(args) => check::check(&args, &place).await,
        Command::Test(args) => test::test(&args, &place).await,
        Command::Describe(args) => describe::describe(&args),
        Command::Schema(args) => schema::schema(args),
        Command::Send(args) => send::send(&args, &place).await,
        Command::Sample(args) => send::sample(&args, &place).await,
        Command::Trace(args) => look::trace(args, &place).await,
        Command::Events(args) => look::events(args, &place).await,
        Command::Dead { action } => operate::dead(action.unwrap_or_default(), &place).await,
        Command::Replay(args) => replay::replay(args, &place).await,
        Command::Accounts(args) => operate::accounts(args, &place).await,
        Command::Sinks(args) => operate::sinks(args, &place).await,
        Command::Sources(args) => operate::sources(args, &place).await,
        Command::Routes(args) => operate::routes(args, &place).await,
        Command::Hooks { action } => hooks::hooks(action, &place).await,
        Command::Move(args) => moving::moving(&args).await,
        Command::Backup(args) => backup::backup(&args, &place),
        Command::Spool { action } => spool::spool(action, &place).await,
        Command::Completions { shell } => completions(shell),
        Command::Man { dir } => manual(dir.as_deref()),
    }
}

fn completions(shell: clap_complete::Shell) -> Result<(), CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "dari", &mut script);
    output::line(String::from_utf8_lossy(&script).trim_end())
}

fn manual(dir: Option<&Path>) -> Result<(), CommandError> {
    if let Some(dir) = dir {
        let named = |error: std::io::Error| CommandError::Failed(format!("{}: {error}", dir.display()));
        std::fs::create_dir_all(dir).map_err(named)?;
        return clap_mangen::generate_to(Cli::command(), dir).map_err(named);
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut page).map_err(CommandError::failed)?;
    output::line(String::from_utf8_lossy(&page).trim_end())
}

/// Logs go to standard error; `RUST_LOG` chooses what, else `level`.
fn start_logging(format: LogFormat, level: &str) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let pretty = match format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Json => false,
        LogFormat::Pretty => true,
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if pretty {
        builder.with_target(false).init();
    } else {
        builder.json().flatten_event(true).init();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
