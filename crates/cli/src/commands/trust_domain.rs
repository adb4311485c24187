//! `accredit trust-domain`: other trust domains whose workloads the organization's instances may know.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use http::Method;

use crate::args::{Body, lists};
use crate::commands;
use crate::context::Context;
use crate::errors::Failure;
use crate::input;
use crate::output::Column;
use crate::request_path::RequestPath;

const COLUMNS: [Column; 5] = [
    Column::new("NAME", "name"),
    Column::new("BUNDLE URL", "bundle_url"),
    Column::new("PROFILE", "profile"),
    Column::new("BUNDLE FETCHED", "bundle_fetched_at"),
    Column::new("FAILING SINCE", "bundle_failing_since"),
];

/// The noun.
#[derive(Debug, Args)]
pub(crate) struct TrustDomain {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Take in another trust domain; a bundle that is to be followed is fetched at once
    #[command(
        visible_alias = "create",
        after_help = "Examples:\n  accredit trust-domain add partner.example \
                      --bundle-url https://id.partner.example/spiffe/bundle\n  \
                      accredit trust-domain add prod.example --profile https_spiffe \
                      --bundle first.json \\\n    \
                      --bundle-url https://spire.prod.example:8443 \
                      --endpoint-id spiffe://prod.example/spire/server\n  \
                      accredit trust-domain add lab.example --bundle lab.json --agent planner\n\n\
                      Instances are told of its workloads within five minutes. It gives nobody a token \
                      here."
    )]
    Add(Add),
    /// List other trust domains
    #[command(visible_alias = "ls", after_help = "Example:\n  accredit trust-domain list")]
    List(List),
    /// Show one, with its keys and the age of its bundle
    #[command(
        visible_alias = "get",
        after_help = "Example:\n  accredit trust-domain show partner.example"
    )]
    Show(One),
    /// Fetch its bundle now, or take the one in a file
    #[command(after_help = "Examples:\n  accredit trust-domain refresh partner.example\n  \
                      accredit trust-domain refresh lab.example --bundle lab.json")]
    Refresh(Refresh),
    /// Forget it: instances are told of it no longer
    #[command(
        visible_alias = "delete",
        after_help = "Example:\n  accredit trust-domain remove partner.example"
    )]
    Remove(One),
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("where").args(["bundle_url", "bundle"]).multiple(true).required(true))]
struct Add {
    /// Its name, without `spiffe://`
    name: String,
    /// Follow its bundle here
    #[arg(long, value_name = "URL")]
    bundle_url: Option<String>,
    /// How whoever serves the bundle proves who that is
    #[arg(long, value_enum, requires = "bundle_url")]
    profile: Option<Profile>,
    /// Whom the server must be, by https_spiffe
    #[arg(long, value_name = "SPIFFE-ID", requires = "bundle_url")]
    endpoint_id: Option<String>,
    /// A file with its bundle, as its trust domain publishes it: all there is of it, or by https_spiffe the
    /// one by which the server is known at first
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// Tell the instances of this agent alone, by id or name; several may be given
    #[arg(long = "agent", value_name = "ID|NAME")]
    agents: Vec<String>,
}

/// How whoever serves a bundle proves who that is (SPIFFE Federation section 5.2).
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Profile {
    /// By a certificate of a public authority
    HttpsWeb,
    /// By an X.509-SVID of the trust domain
    HttpsSpiffe,
}

impl Profile {
    const fn as_str(self) -> &'static str {
        match self {
            Self::HttpsWeb => "https_web",
            Self::HttpsSpiffe => "https_spiffe",
        }
    }
}

#[derive(Debug, Args)]
struct List {
    /// Only those whose name begins so
    #[arg(long, value_name = "PREFIX")]
    search: Option<String>,
    #[command(flatten)]
    sort: lists::Sort,
    #[command(flatten)]
    created: lists::Created,
    #[command(flatten)]
    paging: lists::Paging,
}

#[derive(Debug, Args)]
struct One {
    /// Its name
    name: String,
}

#[derive(Debug, Args)]
struct Refresh {
    /// Its name
    name: String,
    /// A file with its bundle
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
}

fn all() -> RequestPath {
    RequestPath::new("/v1/trust-domains")
}

/// Runs one of its verbs.
pub(crate) async fn run(domain: TrustDomain, cx: &Context) -> Result<(), Failure> {
    match domain.verb {
        Verb::Add(args) => {
            let body = Body::new()
                .with("name", args.name)
                .with_opt("bundle_url", args.bundle_url)
                .with_opt("profile", args.profile.map(Profile::as_str))
                .with_opt("endpoint_id", args.endpoint_id)
                .with_opt("bundle", text(args.bundle)?)
                .with("agents", args.agents)
                .json();
            cx.out.created(&cx.api()?.call(Method::POST, all(), Some(body)).await?)
        }
        Verb::List(args) => {
            let path = args.created.of(args.sort.of(all()));
            let path = path.query_opt("q", args.search.as_deref());
            commands::list(path, args.paging, &COLUMNS, cx).await
        }
        Verb::Show(one) => commands::show(all().segment(&one.name), cx).await,
        Verb::Refresh(args) => {
            let body = Body::new().with_opt("bundle", text(args.bundle)?).json();
            let path = all().segment(&args.name).segment("refresh");
            cx.out.object(&cx.api()?.call(Method::POST, path, Some(body)).await?)
        }
        Verb::Remove(one) => {
            let path = all().segment(&one.name);
            let answer = cx.api()?.call(Method::DELETE, path, None).await?;
            cx.out.say(&format!("instances are told of `{}` no longer", one.name));
            cx.out.object(&answer)
        }
    }
}

fn text(file: Option<PathBuf>) -> Result<Option<String>, Failure> {
    file.map(|file| input::text(&file)).transpose()
}
