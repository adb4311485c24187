//! `accredit token`: get one as an agent would, exchange one, narrow one, and look into one.

mod get;
mod inspect;
mod narrow;
mod own_key;

pub(crate) use get::{issuer, read_secret};

use std::path::PathBuf;
use std::time::Duration;

use accredit_wire::authority::Permission;
use clap::{Args, Subcommand};

use crate::args;
use crate::context::Context;
use crate::errors::Failure;

/// The noun.
#[derive(Debug, Args)]
pub(crate) struct Token {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Get an access token with an agent's or instance's secret; prints the token alone
    #[command(
        after_help = "Examples:\n  accredit token get --org dev --client-id agt_… --scope crm:read < secret\n  \
                      accredit token get --org dev --client-id agt_… --scope crm:read --attenuable \
                      --key own.jwk < secret\n\n\
                      The secret is read from --secret-file, else ACCREDIT_CLIENT_SECRET, else \
                      standard input."
    )]
    Get(Get),
    /// Exchange a token that was sent to an agent for one with which it goes on (RFC 8693)
    #[command(
        after_help = "Example:\n  accredit token exchange --org dev --client-id agt_… --scope crm:read \
                      --subject-token received\n  accredit token exchange --org dev \
                      --client-id agt_… --scope crm:read --for-task tsk_…\n\n\
                      The secret is read from --secret-file, else ACCREDIT_CLIENT_SECRET, else \
                      standard input."
    )]
    Exchange(Exchange),
    /// Narrow an attenuable token offline, and hand it on; prints the token alone
    #[command(
        after_help = "Examples:\n  accredit token narrow --allow crm:read --expires-in 5m < token\n  \
                      accredit token narrow --allow 'crm:update(/eu/*; amount<=100)' --to agt_… \
                      --to-key worker.jwk --key own.jwk < token\n\n\
                      Nobody is asked. A token that is bound to a key is handed on by that key: \
                      --key."
    )]
    Narrow(narrow::Narrow),
    /// Say in plain words what a token on standard input says, without verifying it
    #[command(after_help = "Example:\n  accredit token inspect < token")]
    Inspect(Inspect),
}

#[derive(Debug, Args)]
struct Get {
    /// The agent's id
    #[arg(long, value_name = "ID")]
    client_id: String,
    /// A file with the secret (`-`: standard input)
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// The task that it is for
    #[arg(long, value_name = "ID")]
    task: Option<String>,
    /// What to ask for
    #[arg(long, value_name = "RESOURCE:ACTION", num_args = 1.., value_delimiter = ' ',
          value_parser = args::scope_token)]
    scope: Vec<String>,
    /// What to ask for within limits: 'crm:update(amount<=100)'
    #[arg(long, value_name = "RESOURCE:ACTION", num_args = 1.., value_parser = args::permission)]
    allow: Vec<Permission>,
    /// The audience URI it is for, where the scopes do not tell
    #[arg(long, value_name = "URI")]
    resource: Option<String>,
    /// An attenuable token (Biscuit), which its holder narrows offline
    #[arg(long)]
    attenuable: bool,
    /// Bind it to your key (RFC 9449): a file with a private JWK, which is made where there is none
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// A shorter life than the usual one
    #[arg(long, value_name = "DURATION", value_parser = args::duration)]
    expires_in: Option<Duration>,
    /// The organization's name, at the server that --url names
    #[arg(long, value_name = "NAME")]
    org: Option<String>,
    /// The issuer, in place of --url and --org
    #[arg(long, value_name = "URL", conflicts_with = "org")]
    issuer: Option<String>,
}

#[derive(Debug, Args)]
struct Exchange {
    /// A file with the token that was received (`-`: standard input)
    #[arg(long, value_name = "FILE", required_unless_present = "for_task")]
    subject_token: Option<PathBuf>,
    /// In place of a token: the task for which a user granted something, to act for that user
    #[arg(long, value_name = "ID", conflicts_with = "subject_token")]
    for_task: Option<String>,
    /// What it is: an access token of the same issuer, of either format, or a user's token of another one
    #[arg(long, value_name = "TYPE", default_value = "access_token",
          value_parser = ["access_token", "jwt", "id_token", "biscuit"])]
    subject_token_type: String,
    /// Ask for a token that does not name the agent in `act`, which an owner must have allowed
    #[arg(long)]
    impersonate: bool,
    #[command(flatten)]
    get: Get,
}

#[derive(Debug, Args)]
struct Inspect {
    /// A file with the token (`-`: standard input)
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
}

/// Runs one of its verbs.
pub(crate) async fn run(token: Token, cx: &Context) -> Result<(), Failure> {
    match token.verb {
        Verb::Get(args) => get::run(args, None, cx).await,
        Verb::Exchange(args) => {
            let subject = match (args.for_task, args.subject_token) {
                (Some(task), _) => get::Subject::Task(task),
                (None, file) => get::Subject::Token {
                    file: file.unwrap_or_else(|| PathBuf::from("-")),
                    kind: args.subject_token_type,
                    impersonate: args.impersonate,
                },
            };
            get::run(args.get, Some(subject), cx).await
        }
        Verb::Narrow(args) => narrow::run(args, cx).await,
        Verb::Inspect(args) => inspect::run(&args.file, cx).await,
    }
}
