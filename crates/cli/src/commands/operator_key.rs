//! `accredit operator-key`: the key of the installation's operator, made where the server runs.
//!
//! The operator creates, lists, suspends and activates organizations, and sees nothing inside
//! them. No request makes such a key: whoever does has the store and the root key in hand.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::compose;
use crate::context::Context;
use crate::errors::Failure;
use crate::output::line;
use crate::settings::Settings;

/// The noun.
#[derive(Debug, Args)]
pub(crate) struct OperatorKey {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a new key, shown once, and end all earlier ones, while no server runs on the store
    #[command(
        after_help = "Example:\n  accredit operator-key renew --config ./accredit/accredit.toml\n\n\
                      It is recorded in the log of the installation's first organization."
    )]
    Renew(Renew),
}

#[derive(Debug, Args)]
struct Renew {
    /// The configuration that `accredit init` wrote
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Runs its verb.
pub(crate) async fn run(noun: OperatorKey, cx: &Context) -> Result<(), Failure> {
    let Verb::Renew(args) = noun.verb;
    let settings = Settings::read(&args.config, &cx.around)?;
    let composed = compose::compose_as(&settings).await?;
    let renewed = compose::renew_operator(&composed).await;
    composed.store.close();
    let token = renewed?;
    if cx.out.is_json() {
        return line(&json!({ "operator_token": token.expose() }).to_string());
    }
    cx.out.say("the operator's key is shown this once; earlier ones have ended:");
    line(&format!("export ACCREDIT_TOKEN={}", token.expose()))
}
