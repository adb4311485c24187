//! `accredit org`: Organizations.

use clap::{Args, Subcommand};
use http::Method;

use crate::args::{Body, Consent, Named, NamedReason, StateList};
use crate::commands;
use crate::context::Context;
use crate::errors::Failure;
use crate::output::Column;
use crate::request_path::RequestPath;

const COLUMNS: [Column; 5] = [
    Column::new("ID", "id"),
    Column::new("NAME", "name"),
    Column::new("STATE", "state"),
    Column::new("REV", "rev"),
    Column::new("ISSUER", "issuer"),
];

/// The noun.
#[derive(Debug, Args)]
pub(crate) struct Org {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Create an organization; its administrator's key is shown once
    #[command(after_help = "Example:\n  accredit org create acme")]
    Create(Create),
    /// List organizations
    #[command(visible_alias = "ls", after_help = "Example:\n  accredit org list")]
    List(StateList),
    /// Show one organization
    #[command(visible_alias = "show", after_help = "Example:\n  accredit org get acme")]
    Get(Named),
    /// Change its display name, whether rotation is enforced after a change of an agent, or how
    /// long chains may be
    #[command(after_help = "Examples:\n  accredit org update acme --rotation-policy enforce\n  \
                            accredit org update acme --chain-depth-max 6")]
    Update(Update),
    /// Stop issuing and end everything it has issued
    #[command(after_help = "Example:\n  accredit org suspend acme --reason \"key leaked\" --yes")]
    Suspend(Suspend),
    /// Let a suspended organization issue again
    #[command(after_help = "Example:\n  accredit org activate acme --reason \"key replaced\"")]
    Activate(NamedReason),
}

#[derive(Debug, Args)]
struct Create {
    /// Its name: part of its issuer, immutable and never used again
    name: String,
    /// The name that people read
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
}

#[derive(Debug, Args)]
struct Update {
    /// Its id or name
    #[arg(value_name = "ID|NAME")]
    name: String,
    /// The name that people read
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
    /// What follows a day after an agent's owner, permissions or environment changed, where its
    /// credential was not rotated: a warning, or that it gets no tokens
    #[arg(long, value_name = "POLICY", value_parser = ["warn", "enforce"])]
    rotation_policy: Option<String>,
    /// The most agents that one after the other act for the root of a chain, from 1 to 16
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16))]
    chain_depth_max: Option<u8>,
}

#[derive(Debug, Args)]
struct Suspend {
    #[command(flatten)]
    named: NamedReason,
    #[command(flatten)]
    consent: Consent,
}

fn all() -> RequestPath {
    RequestPath::new("/v1/orgs")
}

/// Runs one of its verbs.
pub(crate) async fn run(org: Org, cx: &Context) -> Result<(), Failure> {
    match org.verb {
        Verb::Create(args) => {
            let body = Body::new()
                .with("name", args.name)
                .with_opt("display_name", args.display_name)
                .json();
            cx.out.created(&cx.api()?.call(Method::POST, all(), Some(body)).await?)
        }
        Verb::List(args) => commands::list(args.of(all()), args.paging, &COLUMNS, cx).await,
        Verb::Get(org) => commands::show(all().segment(&org.name), cx).await,
        Verb::Update(args) => {
            let body = Body::new()
                .with_opt("display_name", args.display_name)
                .with_opt("rotation_policy", args.rotation_policy)
                .with_opt("chain_depth_max", args.chain_depth_max)
                .changed("--display-name, --rotation-policy and --chain-depth-max")?;
            let path = all().segment(&args.name);
            cx.out.object(&cx.api()?.call(Method::PATCH, path, Some(body)).await?)
        }
        Verb::Suspend(args) => suspend(args, cx).await,
        Verb::Activate(org) => {
            let path = all().segment(&org.name);
            commands::change_state(path, "activate", Some(&org.reason), cx).await
        }
    }
}

async fn suspend(args: Suspend, cx: &Context) -> Result<(), Failure> {
    let path = all().segment(&args.named.name);
    let org = cx.api()?.get(path.clone()).await?;
    let name = org.member("name").unwrap_or(&args.named.name);
    let effect = format!(
        "suspending the organization `{name}` ends every token of all its agents and stops all \
         issuing"
    );
    if !cx.flags.dry_run {
        args.consent.ask(&cx.out, &effect, name).await?;
    }
    commands::change_state(path, "suspend", Some(&args.named.reason), cx).await
}
