//! The binary `accredit`: composition root and commands.
//!
//! Four steps: refuse what must not stand on a command line, parse, run, exit. Whatever can go
//! wrong is a [`errors::Failure`] and ends in one place, with one of the codes of [`exit`].

mod api;
mod args;
mod argv;
mod client_settings;
mod commands;
mod compose;
mod context;
mod descriptors;
mod duration;
mod errors;
mod exit;
#[cfg(test)]
mod fake_server;
mod hardware;
mod input;
mod json_text;
mod memory;
mod outbound;
mod output;
mod request_path;
mod root_key;
mod secrecy;
mod service_manager;
mod settings;

use std::ffi::OsString;
use std::process::ExitCode;

use accredit_edge::footprint;

use crate::args::{Cli, Command};
use crate::client_settings::Surroundings;
use crate::context::Context;
use crate::errors::Failure;
use crate::exit::Exit;
use crate::output::Output;

/// A token allocates some sixty times, on two threads that free what the other has made; the system's
/// allocator takes a lock for each of those.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[expect(
    clippy::disallowed_methods,
    reason = "the only place where arguments and environment are read"
)]
fn main() -> ExitCode {
    footprint::in_small_pages(true);
    let argv: Vec<OsString> = std::env::args_os().collect();
    let around = Surroundings::read(|name| std::env::var_os(name));
    let cli = match args::parse(&argv, &around) {
        Ok(cli) => cli,
        Err(exit) => return exit.into(),
    };
    let out = Output::new(&cli.flags, &around);
    match run(cli, around, out.clone()) {
        Ok(()) => Exit::Ok.into(),
        Err(failure) => {
            if !matches!(failure.exit, Exit::Ok | Exit::OfProgram(_)) {
                out.fail(&failure);
            }
            failure.exit.into()
        }
    }
}

fn run(cli: Cli, around: Surroundings, out: Output) -> Result<(), Failure> {
    memory::close()?;
    if !matches!(&cli.command, Command::Edge(edge) if edge.is_daemon()) {
        footprint::in_small_pages(false);
    }
    let context = Context::new(cli.flags, around, out);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
            Failure::file("the program could not start", &error, "check the limits of this process")
        })?;
    let outcome = runtime.block_on(commands::run(cli.command, &context));
    // A thread that still waits for the keyboard must not keep the process.
    runtime.shutdown_background();
    outcome
}
