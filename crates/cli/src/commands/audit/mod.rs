//! `accredit audit`: the audit log, read, exported and verified.

mod event;
mod export;
mod key;
mod prune;
mod tail;
mod verify;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::args::{self, Paging, Sort};
use crate::commands;
use crate::context::Context;
use crate::errors::Failure;
use crate::request_path::RequestPath;

/// The noun.
#[derive(Debug, Args)]
pub(crate) struct Audit {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print the newest events, a line each; as JSON, an object a line
    #[command(after_help = "Example:\n  accredit audit tail --follow --type token.refused")]
    Tail(Tail),
    /// List events, oldest first
    #[command(
        visible_alias = "ls",
        after_help = "Example:\n  accredit audit list --type agent.created --limit 10"
    )]
    List(List),
    /// Show one event with all that it says
    #[command(visible_alias = "get", after_help = "Example:\n  accredit audit show evt_…")]
    Show(Show),
    /// Write the whole log with its checkpoints to a file
    #[command(
        after_help = "Example:\n  accredit audit export -o log.ndjson\n\nKeep the file's checkpoints \
                      elsewhere: with an older one, `accredit audit verify` also finds a log that \
                      was cut off or rewritten."
    )]
    Export(Export),
    /// Verify an export without a server; ends with 9 where something was altered
    #[command(
        after_help = "Example:\n  accredit audit key -o log.key\n  accredit audit export -o log.ndjson\n  \
                      accredit audit verify log.ndjson --key log.key"
    )]
    Verify(Verify),
    /// Delete what old events say; their hashes stay, and the log verifies as before
    #[command(
        after_help = "Example:\n  accredit audit prune --older-than 90d\n\nWhat is deleted is in no \
                      export any more. That it was done is an event."
    )]
    Prune(Prune),
    /// Print the keys that sign the log's checkpoints, a line each
    #[command(after_help = "Example:\n  accredit audit key -o log.key")]
    Key(Key),
}

/// Which events.
#[derive(Debug, Args)]
struct Filter {
    /// Only events of this type, such as token.issued
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
}

#[derive(Debug, Args)]
struct Tail {
    /// Go on printing events as they come
    #[arg(long, short)]
    follow: bool,
    /// How many of the newest events to begin with
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20,
          value_parser = clap::value_parser!(u32).range(0..=10_000))]
    lines: u32,
    #[command(flatten)]
    filter: Filter,
}

#[derive(Debug, Args)]
struct List {
    /// Only events behind this one
    #[arg(long, value_name = "EVENT")]
    after: Option<String>,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    sort: Sort,
    #[command(flatten)]
    paging: Paging,
}

#[derive(Debug, Args)]
struct Show {
    /// Its id
    event: String,
}

#[derive(Debug, Args)]
struct Export {
    /// The file to write (`-`: standard output); it appears only when it is complete
    #[arg(long = "output-file", short = 'o', value_name = "FILE")]
    file: PathBuf,
}

#[derive(Debug, Args)]
struct Verify {
    /// The export
    file: PathBuf,
    /// The log's verifier keys, `name+id+base64`, a line each; `#` begins a comment
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// An older checkpoint, a signed note, that the log must continue
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// Accept an export that does not begin at the first event, of which only the chain from
    /// event to event can be verified
    #[arg(long)]
    partial: bool,
}

#[derive(Debug, Args)]
struct Prune {
    /// How old; at least a day
    #[arg(long, value_name = "DURATION", value_parser = args::duration)]
    older_than: Duration,
}

#[derive(Debug, Args)]
struct Key {
    /// The file to write, in place of standard output
    #[arg(long = "output-file", short = 'o', value_name = "FILE")]
    file: Option<PathBuf>,
}

fn all() -> RequestPath {
    RequestPath::new("/v1/events")
}

/// Runs one of its verbs.
pub(crate) async fn run(audit: Audit, cx: &Context) -> Result<(), Failure> {
    match audit.verb {
        Verb::Tail(args) => tail::run(args, cx).await,
        Verb::List(args) => {
            let path = all()
                .query_opt("after", args.after.as_deref())
                .query_opt("type", args.filter.kind.as_deref());
            commands::list(args.sort.of(path), args.paging, &event::COLUMNS, cx).await
        }
        Verb::Show(args) => commands::show(all().segment(&args.event), cx).await,
        Verb::Export(args) => export::run(&args.file, cx).await,
        Verb::Verify(args) => verify::run(args, cx).await,
        Verb::Prune(args) => prune::run(args.older_than, cx).await,
        Verb::Key(args) => key::run(args.file.as_deref(), cx).await,
    }
}
