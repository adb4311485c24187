//! `accredit ca`: the organization's certificate authority.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::commands::{self, certificate};
use crate::context::Context;
use crate::errors::Failure;
use crate::output;
use crate::request_path::RequestPath;

const PATH: &str = "/v1/ca";
const LISTS: &str = "/v1/ca/crls";

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
    /// Print or write the lists of certificates that were revoked, PEM
    #[command(after_help = "Example:\n  accredit ca crl -o /etc/nginx/crl.pem\n\n\
                      A list is over after five minutes: fetch them every minute. Anybody may, by \
                      the `url` that\n`--output json` shows, without a key.")]
    Crl(Crl),
}

#[derive(Debug, Args)]
struct Crl {
    /// Where they are written, all at once; else standard output
    #[arg(long = "output-file", short = 'o', value_name = "FILE")]
    file: Option<PathBuf>,
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
        Verb::Crl(args) => crl(args, cx).await,
    }
}

async fn crl(args: Crl, cx: &Context) -> Result<(), Failure> {
    let answer = cx.api()?.get(RequestPath::new(LISTS)).await?;
    let lists = answer.value["lists"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text: String = lists.iter().filter_map(|list| list["crl"].as_str()).collect();
    match args.file {
        Some(file) => {
            let put = tokio::task::spawn_blocking(move || certificate::replace(&file, &text)).await;
            put.unwrap_or_else(|_| Err(Failure::interrupted()))?;
            if cx.out.is_json() { cx.out.object(&answer) } else { Ok(()) }
        }
        None if cx.out.is_json() => cx.out.object(&answer),
        None => output::line(text.trim_end()),
    }
}
