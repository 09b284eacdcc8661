//! The command-line tool.
//!
//! A program on top of the library like any other: it uses nothing but the public API. Results go
//! to standard output, everything else to standard error.

mod args;
mod beacon;
mod demo;
mod failure;
mod input;
mod item;
mod output;
mod peers;
mod publish;
mod session;
mod subscribe;
mod units;

use {
    args::{Cli, Command},
    clap::Parser,
    failure::Failure,
    std::process::ExitCode,
};

/// Parses the arguments, does what they say, and answers how it went.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    session::start_logging(cli.command.draws());
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::new(format!("no runtime: {error}")).report(),
    };
    let outcome = runtime.block_on(async {
        match cli.command {
            Command::Demo(args) => demo::run(args).await,
            Command::Pub(args) => publish::run(args).await,
            Command::Sub(args) => subscribe::run(args).await,
            Command::Peers(args) => peers::run(args).await,
            Command::Beacon(args) => beacon::run(args).await,
        }
    });
    // Threads that read standard input cannot be interrupted; nothing waits for them.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
