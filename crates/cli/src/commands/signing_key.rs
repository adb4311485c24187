//! `accredit signing-key`: the organization's signing keys.

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::errors::Failure;
use crate::output::Column;
use crate::request_path::RequestPath;

const COLUMNS: [Column; 5] = [
    Column::new("ID", "id"),
    Column::new("PURPOSE", "purpose"),
    Column::new("ALGORITHM", "algorithm"),
    Column::new("STATE", "state"),
    Column::new("CREATED", "created_at"),
];

/// The noun.
#[derive(Debug, Args)]
pub(crate) struct SigningKey {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List signing keys
    #[command(
        visible_alias = "ls",
        after_help = "Example:\n  accredit signing-key list\n\n\
                      One is ended with `accredit revoke key_… --reason TEXT`."
    )]
    List,
}

/// Runs one of its verbs.
pub(crate) async fn run(key: SigningKey, cx: &Context) -> Result<(), Failure> {
    match key.verb {
        Verb::List => {
            let page = cx.api()?.whole_list(RequestPath::new("/v1/signing-keys")).await?;
            cx.out.list(&page, &COLUMNS)
        }
    }
}
