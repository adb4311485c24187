//! `accredit ca`: the organization's certificate authority.

use clap::{Args, Subcommand};

use crate::commands;
use crate::context::Context;
use crate::errors::Failure;
use crate::output;
use crate::request_path::RequestPath;

const PATH: &str = "/v1/ca";

/// The noun.
#[derive(Debug, Args)]
pub(crate) struct Ca {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show its trust domain, its roots and its intermediates
    #[command(after_help = "Example:\n  accredit ca show\n\n\
                      Its keys rotate with `accredit signing-key rotate --purpose ca-root` and \
                      `--purpose ca`.")]
    Show,
    /// Print the roots that are to be trusted, PEM
    #[command(after_help = "Example:\n  accredit ca bundle > bundle.pem")]
    Bundle,
}

/// Runs one of its verbs.
pub(crate) async fn run(ca: Ca, cx: &Context) -> Result<(), Failure> {
    match ca.verb {
        Verb::Show => commands::show(RequestPath::new(PATH), cx).await,
        Verb::Bundle => {
            let answer = cx.api()?.get(RequestPath::new(PATH)).await?;
            let roots = answer.value["roots"].as_array().map(Vec::as_slice).unwrap_or_default();
            let texts = roots.iter().filter_map(|root| root["certificate"].as_str());
            output::line(texts.collect::<String>().trim_end())
        }
    }
}
