//! `accredit federation`: Federations, external issuers of users' tokens, and platforms where workloads run.

use clap::{ArgGroup, Args, Subcommand};
use http::Method;

use crate::args::{Body, NameList, NamedReason};
use crate::commands;
use crate::context::Context;
use crate::errors::Failure;
use crate::output::Column;
use crate::request_path::RequestPath;

const COLUMNS: [Column; 6] = [
    Column::new("ID", "id"),
    Column::new("NAME", "name"),
    Column::new("ISSUER", "issuer"),
    Column::new("STATE", "state"),
    Column::new("KEYS FETCHED", "keys_fetched_at"),
    Column::new("FAILING SINCE", "keys_failing_since"),
];

/// The noun.
#[derive(Debug, Args)]
pub(crate) struct Federation {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Register an external issuer; its keys are fetched at once
    #[command(
        visible_alias = "create",
        after_help = "Examples:\n  accredit federation add corp --issuer https://login.example.com --discover \
                      --audience accredit --rule 'groups contains sales => crm:read'\n  \
                      accredit federation add github --no-users --discover \
                      --issuer https://token.actions.githubusercontent.com"
    )]
    Add(Add),
    /// List federations
    #[command(visible_alias = "ls", after_help = "Example:\n  accredit federation list")]
    List(NameList),
    /// Show one federation, with its rules and how it goes with its keys
    #[command(visible_alias = "get", after_help = "Example:\n  accredit federation show corp")]
    Show(One),
    /// Change audiences, rules or where the keys are; what narrows it ends its users' tokens
    #[command(
        after_help = "Example:\n  accredit federation update corp --rule 'groups contains sales => crm:read' \
                      --rule 'groups contains ops => erp:read'"
    )]
    Update(Update),
    /// Suspend a federation: tokens whose chain began with its users end, and no new ones begin
    #[command(
        after_help = "Example:\n  accredit federation suspend corp --reason \"their key leaked\""
    )]
    Suspend(NamedReason),
    /// Activate a suspended federation
    #[command(
        after_help = "Example:\n  accredit federation activate corp --reason \"keys were replaced\""
    )]
    Activate(NamedReason),
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("where").args(["discover", "jwks_url"]).required(true),
    group = ArgGroup::new("who").args(["audiences", "no_users"]).required(true))]
struct Add {
    /// A name of your own for it
    name: String,
    /// The issuer, exactly as its tokens have it in `iss`
    #[arg(long, value_name = "URL")]
    issuer: String,
    /// Find its keys by its own metadata (OpenID Connect Discovery)
    #[arg(long)]
    discover: bool,
    /// Find its keys here
    #[arg(long, value_name = "URL")]
    jwks_url: Option<String>,
    /// What its users' tokens have in `aud` for us; several may be given
    #[arg(long = "audience", value_name = "AUD")]
    audiences: Vec<String>,
    /// It has no users here: it is a platform where workloads run, see `accredit attest`
    #[arg(long, conflicts_with_all = ["rules", "no_provision"])]
    no_users: bool,
    /// What a claim gives: `CLAIM equals|contains VALUE => RESOURCE:ACTION…`; several may be given
    #[arg(long = "rule", value_name = "RULE")]
    rules: Vec<String>,
    /// Take no users but those who were linked beforehand
    #[arg(long)]
    no_provision: bool,
}

#[derive(Debug, Args)]
struct One {
    /// Its id or name
    #[arg(value_name = "ID|NAME")]
    federation: String,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("change").multiple(true).required(true)
    .args(["discover", "jwks_url", "audiences", "rules", "no_rules", "provision"]))]
struct Update {
    /// Its id or name
    #[arg(value_name = "ID|NAME")]
    federation: String,
    /// Find its keys by its own metadata from now on
    #[arg(long, conflicts_with = "jwks_url")]
    discover: bool,
    /// Find its keys here from now on
    #[arg(long, value_name = "URL")]
    jwks_url: Option<String>,
    /// All that its tokens may have in `aud` from now on
    #[arg(long = "audience", value_name = "AUD")]
    audiences: Vec<String>,
    /// All rules from now on
    #[arg(long = "rule", value_name = "RULE")]
    rules: Vec<String>,
    /// No rules from now on
    #[arg(long, conflicts_with = "rules")]
    no_rules: bool,
    /// Whether the first token of a user who is not known makes them known
    #[arg(long, value_name = "true|false")]
    provision: Option<bool>,
}

fn all() -> RequestPath {
    RequestPath::new("/v1/federations")
}

/// Runs one of its verbs.
pub(crate) async fn run(federation: Federation, cx: &Context) -> Result<(), Failure> {
    match federation.verb {
        Verb::Add(args) => {
            let body = Body::new()
                .with("name", args.name)
                .with("issuer", args.issuer)
                .with_opt("jwks_url", args.jwks_url)
                .with("audiences", args.audiences)
                .with("rules", args.rules)
                .with("provision", !args.no_provision)
                .json();
            cx.out.created(&cx.api()?.call(Method::POST, all(), Some(body)).await?)
        }
        Verb::List(args) => commands::list(args.of(all()), args.among.paging, &COLUMNS, cx).await,
        Verb::Show(one) => commands::show(all().segment(&one.federation), cx).await,
        Verb::Update(args) => {
            let url = if args.discover { Some(String::new()) } else { args.jwks_url };
            let has_rules = args.no_rules || !args.rules.is_empty();
            let body = Body::new()
                .with_opt("jwks_url", url)
                .with_opt("audiences", (!args.audiences.is_empty()).then_some(args.audiences))
                .with_opt("rules", has_rules.then_some(args.rules))
                .with_opt("provision", args.provision)
                .json();
            let path = all().segment(&args.federation);
            cx.out.object(&cx.api()?.call(Method::PATCH, path, Some(body)).await?)
        }
        Verb::Suspend(one) => {
            let path = all().segment(&one.name);
            commands::change_state(path, "suspend", Some(&one.reason), cx).await
        }
        Verb::Activate(one) => {
            let path = all().segment(&one.name);
            commands::change_state(path, "activate", Some(&one.reason), cx).await
        }
    }
}
