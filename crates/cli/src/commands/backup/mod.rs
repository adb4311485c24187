//! `accredit backup`: an encrypted copy of the whole store in one file, and back.
//!
//! On the machine where the store is, with its configuration: whoever makes or opens a backup has
//! the root key in hand, and no request does either. Only `waive` is one.

mod create;
mod file;
mod reconcile;
mod restore;
pub(crate) mod scratch;
mod verify;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::args::token::TokenFlags;
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
    /// Make a store from a backup, in a folder that has none, as a new generation
    #[command(
        after_help = "Example:\n  accredit backup restore accredit.backup --data ./restored --root-key ./accredit/root.key\n\n\
                      All tokens of before are dead, and none is issued until `accredit backup \
                      reconcile` or `waive` has said what was ended since the backup was made."
    )]
    Restore(Restore),
    /// End again what was ended after the backup, from an export of the old log, and issue tokens
    /// again; while no server runs on the store
    #[command(
        after_help = "Example:\n  accredit backup reconcile --config ./restored/accredit.toml --org acme --audit-export log.ndjson\n\n\
                      Agents whose owner, environment or permissions were changed since are suspended, \
                      to be looked at."
    )]
    Reconcile(Reconcile),
    /// Issue tokens again after a restore, on your word that nothing was ended since the backup
    #[command(
        after_help = "Example:\n  accredit backup waive --reason \"restored within the minute, no changes since\""
    )]
    Waive(Waive),
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

#[derive(Debug, Args)]
struct Restore {
    /// The backup
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The folder for the store: empty but for configuration and root key
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The root key of the day on which the backup was made
    #[arg(long, value_name = "FILE")]
    root_key: PathBuf,
    /// The lowest generation to begin; higher than any that another restore of the same store began
    #[arg(long, value_name = "N", default_value_t = 2,
          value_parser = clap::value_parser!(u64).range(2..=accredit_domain::restoration::GENERATION_MAX))]
    generation: u64,
    #[command(flatten)]
    token: TokenFlags,
}

#[derive(Debug, Args)]
struct Reconcile {
    /// The configuration of the restored installation
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The organization whose log it is
    #[arg(long, value_name = "NAME")]
    org: String,
    /// An export of its log as it was before the restore, from `accredit audit export`
    #[arg(long, value_name = "FILE")]
    audit_export: PathBuf,
}

#[derive(Debug, Args)]
struct Waive {
    /// Why nothing is missing; stands in the audit log
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Runs one of its verbs.
pub(crate) async fn run(noun: Backup, cx: &Context) -> Result<(), Failure> {
    match noun.verb {
        Verb::Create(args) => create::run(&args.config, &args.out, cx),
        Verb::Verify(args) => {
            verify::run(&args.file, &args.root_key, args.scratch.as_deref(), cx).await
        }
        Verb::Restore(args) => {
            let places = (args.data.as_path(), args.root_key.as_path());
            let token = args.token.token(cx)?;
            restore::run(&args.file, places, token.as_ref(), args.generation, cx).await
        }
        Verb::Reconcile(args) => {
            reconcile::run(&args.config, &args.org, &args.audit_export, cx).await
        }
        Verb::Waive(args) => reconcile::waive(&args.reason, cx).await,
    }
}
