//! `accredit backup`: an encrypted copy of the whole store in one file, and back.
//!
//! On the machine where the store is, with its configuration: whoever makes or opens a backup has
//! the root key in hand, and no request does either.

mod create;
mod file;
mod verify;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::errors::Failure;

/// The noun.
#[derive(Debug, Args)]
pub(crate) struct Backup {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Write an encrypted backup of the store, also while the server runs
    #[command(
        after_help = "Example:\n  accredit backup create --config ./accredit/accredit.toml -o accredit.backup\n\n\
                      The root key is not in it, and it opens with nothing else: keep a copy of the \
                      root key elsewhere."
    )]
    Create(Create),
    /// Open a backup, check everything in it, and say what it holds
    #[command(
        after_help = "Example:\n  accredit backup verify accredit.backup --root-key ./accredit/root.key"
    )]
    Verify(Verify),
}

#[derive(Debug, Args)]
struct Create {
    /// The server's configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The file to write; one that is there is never overwritten
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Args)]
struct Verify {
    /// The backup
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The root key of the day on which it was made
    #[arg(long, value_name = "FILE")]
    root_key: PathBuf,
    /// A folder of at least the store's size that nobody else reads, for the time of the check;
    /// the system's for temporary files where not given
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
}

/// Runs one of its verbs.
pub(crate) async fn run(noun: Backup, cx: &Context) -> Result<(), Failure> {
    match noun.verb {
        Verb::Create(args) => create::run(&args.config, &args.out, cx),
        Verb::Verify(args) => {
            verify::run(&args.file, &args.root_key, args.scratch.as_deref(), cx).await
        }
    }
}
