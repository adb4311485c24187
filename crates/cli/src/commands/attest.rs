//! `accredit attest`: which tokens of a platform, and which processes of nodes, make a workload which agent.
//!
//! A rule is a credential of its agent, of type `workload`: `accredit credential` shows it among the
//! others. The presets fill in what a platform calls things by.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use http::Method;
use serde_json::Value;

use crate::args::{self, Body, LIST_ITEMS_MAX};
use crate::commands::revocation;
use crate::context::Context;
use crate::errors::Failure;
use crate::output::{Column, Page};
use crate::request_path::RequestPath;

const COLUMNS: [Column; 6] = [
    Column::new("ID", "id"),
    Column::new("AGENT", "agent"),
    Column::made("BY", vouches),
    Column::made("CLAIMS", claims),
    Column::made("INSTANCE BY", instance_by),
    Column::new("EXPIRES", "expires_at"),
];

/// Whoever may ask a platform for tokens calls its workflow runs so.
const GITHUB_INSTANCE: [&str; 2] = ["run_id", "run_attempt"];
/// A workflow's token is asked for when it is needed; it lives for minutes.
const GITHUB_AGE_SECONDS: u64 = 600;
const KUBERNETES_INSTANCE: &str = "/kubernetes.io/pod/uid";
const KUBERNETES_ACCOUNT: &str = "/kubernetes.io/serviceaccount/uid";

fn member<'a>(rule: &'a Value, name: &str) -> Option<&'a Value> {
    rule.get("workload").and_then(|rule| rule.get(name))
}

/// The federation, or the agent whose nodes vouch.
fn vouches(rule: &Value) -> String {
    let by = member(rule, "federation").or_else(|| member(rule, "edge"));
    by.and_then(Value::as_str).unwrap_or("-").to_owned()
}

fn claims(rule: &Value) -> String {
    let claims = member(rule, "claims").and_then(Value::as_object);
    let claims = claims.into_iter().flatten();
    let told = claims.map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or("-")));
    told.collect::<Vec<_>>().join(" ")
}

fn instance_by(rule: &Value) -> String {
    let names = member(rule, "instance_by").and_then(Value::as_array);
    let names = names.into_iter().flatten().filter_map(Value::as_str);
    names.collect::<Vec<_>>().join(" ")
}

/// The noun.
#[derive(Debug, Args)]
pub(crate) struct Attest {
    #[command(subcommand)]
    noun: Noun,
}

#[derive(Debug, Subcommand)]
enum Noun {
    /// Rules: which tokens of a platform, or processes of nodes, are an agent's
    Rule(Rule),
}

#[derive(Debug, Args)]
struct Rule {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Let a workload of a platform, or a process on a node, be an agent
    #[command(
        after_help = "Examples:\n  accredit attest rule add --agent planner --federation prod-cluster \\\n    \
                      --kubernetes --namespace prod --service-account planner\n  \
                      accredit attest rule add --agent deployer --federation github \\\n    \
                      --github --repository-id 74 --environment prod\n  \
                      accredit attest rule add --agent nightly --federation corp --claim sub=0f9d7c\n  \
                      accredit attest rule add --agent planner --edge node \\\n    \
                      --claim path=/opt/planner/bin/planner --claim uid=1200\n  \
                      accredit attest rule add --agent crawler --edge node \\\n    \
                      --claim systemd_unit=crawler.service --claim path=/usr/bin/python3.12\n\n\
                      What a node says of a process: uid, gid, path, sha256, systemd_unit, cgroup,\n\
                      container_id, pod_uid, interpreter. Each is compared whole."
    )]
    Add(Box<Add>),
    /// List rules
    #[command(
        visible_alias = "ls",
        after_help = "Example:\n  accredit attest rule list --agent planner"
    )]
    List(List),
    /// End a rule, and what was issued by it
    #[command(
        visible_alias = "rm",
        after_help = "Example:\n  accredit attest rule remove crd_… --reason \"moved\""
    )]
    Remove(Remove),
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("platform").args(["kubernetes", "github", "claims"]).required(true).multiple(true))]
struct Add {
    /// Which agent the workloads are, by id or name
    #[arg(long, value_name = "ID|NAME")]
    agent: String,
    /// The platform: a federation, by id or name
    #[arg(long, value_name = "ID|NAME", required_unless_present = "edge")]
    federation: Option<String>,
    /// The nodes that vouch for processes: an agent, by id or name
    #[arg(long, value_name = "ID|NAME", requires = "claims", conflicts_with_all = [
        "federation", "kubernetes", "github", "instance_by", "audience", "age_max",
    ])]
    edge: Option<String>,
    /// Pods of a Kubernetes service account
    #[arg(long, conflicts_with = "github", requires_all = ["namespace", "service_account"])]
    kubernetes: bool,
    /// The namespace of the service account
    #[arg(long, value_name = "NAME", requires = "kubernetes")]
    namespace: Option<String>,
    /// The service account
    #[arg(long, value_name = "NAME", requires = "kubernetes")]
    service_account: Option<String>,
    /// Its uid, so that one made anew under the same name is another
    #[arg(long, value_name = "UID", requires = "kubernetes")]
    service_account_uid: Option<String>,
    /// Workflow runs of GitHub Actions
    #[arg(long, requires = "repository_id")]
    github: bool,
    /// The repository, by the id that it keeps when it is renamed
    #[arg(long, value_name = "ID", requires = "github")]
    repository_id: Option<String>,
    /// Only in this environment
    #[arg(long, value_name = "NAME", requires = "github")]
    environment: Option<String>,
    /// Only of this branch or tag, such as refs/heads/main
    #[arg(long = "ref", value_name = "REF", requires = "github")]
    git_ref: Option<String>,
    /// A claim that the tokens must have, or what the node must say, exactly so; several may be given
    #[arg(long = "claim", value_name = "CLAIM=TEXT", value_parser = claim)]
    claims: Vec<(String, String)>,
    /// A claim that names the copy which runs (jti); several name it together
    #[arg(long, value_name = "CLAIM")]
    instance_by: Vec<String>,
    /// The one audience that the tokens must have (the organization's issuer)
    #[arg(long, value_name = "AUD")]
    audience: Option<String>,
    /// How old the tokens may be (1h; with --github 10m)
    #[arg(long, value_name = "DURATION", value_parser = args::duration)]
    age_max: Option<Duration>,
    /// How many instances they may bring into being in an hour (100)
    #[arg(long, value_name = "N")]
    births_per_hour: Option<u32>,
    /// How long each of these lives (24h)
    #[arg(long, value_name = "DURATION", value_parser = args::duration)]
    instance_lifetime: Option<Duration>,
    /// When the rule ends by itself, from now (366d)
    #[arg(long, value_name = "DURATION", value_parser = args::duration)]
    expires_in: Option<Duration>,
}

#[derive(Debug, Args)]
struct List {
    /// Only of this agent, by id or name
    #[arg(long, value_name = "ID|NAME")]
    agent: Option<String>,
    /// Those that have ended, too
    #[arg(long)]
    ended: bool,
}

#[derive(Debug, Args)]
struct Remove {
    /// Its id
    id: String,
    /// Why; stands in the audit log
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

fn claim(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err("write CLAIM=TEXT, for example sub=0f9d7c".to_owned()),
    }
}

fn all() -> RequestPath {
    RequestPath::new("/v1/credentials")
}

/// Runs one of its verbs.
pub(crate) async fn run(attest: Attest, cx: &Context) -> Result<(), Failure> {
    let Noun::Rule(rule) = attest.noun;
    match rule.verb {
        Verb::Add(args) => {
            let body = add_body(*args)?;
            cx.out.created(&cx.api()?.call(Method::POST, all(), Some(body)).await?)
        }
        Verb::List(args) => {
            let path = all().query_opt("agent", args.agent.as_deref());
            let path = path.query_opt("state", (!args.ended).then_some("active"));
            let found = cx.api()?.list(path, LIST_ITEMS_MAX as usize, None).await?;
            let read = found.items.iter().map(|item| serde_json::from_str(item.get()));
            let read = read.map(Result::<Value, _>::unwrap_or_default);
            let rules = read.filter(|item| item["type"] == "workload");
            cx.out.list(&Page { next: found.next.clone(), ..Page::of(rules) }, &COLUMNS)
        }
        Verb::Remove(args) => {
            revocation::check_kind::<accredit_wire::ids::CredentialId>(&args.id)?;
            let found = cx.api()?.get(all().segment(&args.id)).await?;
            if found.member("type") != Some("workload") {
                return Err(Failure::usage(
                    &format!("`{}` is no rule", args.id),
                    "it is another kind of credential",
                    "end it by its own noun: `accredit credential revoke`",
                ));
            }
            revocation::revoke(&args.id, &args.reason, cx).await
        }
    }
}

fn add_body(args: Add) -> Result<Value, Failure> {
    let mut claims = BTreeMap::new();
    let (mut instance_by, mut age_max) = (args.instance_by, args.age_max.map(|age| age.as_secs()));
    if let (Some(namespace), Some(account)) = (args.namespace, args.service_account) {
        claims.insert("sub".to_owned(), format!("system:serviceaccount:{namespace}:{account}"));
        claims.extend(args.service_account_uid.map(|uid| (KUBERNETES_ACCOUNT.to_owned(), uid)));
        if instance_by.is_empty() {
            instance_by.push(KUBERNETES_INSTANCE.to_owned());
        }
    }
    if args.github {
        claims.extend(args.repository_id.map(|id| ("repository_id".to_owned(), id)));
        claims.extend(args.environment.map(|name| ("environment".to_owned(), name)));
        claims.extend(args.git_ref.map(|name| ("ref".to_owned(), name)));
        if instance_by.is_empty() {
            instance_by.extend(GITHUB_INSTANCE.map(str::to_owned));
        }
        age_max = age_max.or(Some(GITHUB_AGE_SECONDS));
    }
    for (name, value) in args.claims {
        if claims.insert(name.clone(), value).is_some() {
            return Err(Failure::usage(
                "a claim is compared once",
                &format!("`{name}` was given twice"),
                "add a rule for each text that it may have",
            ));
        }
    }
    let claims: serde_json::Map<String, Value> =
        claims.into_iter().map(|(name, value)| (name, Value::from(value))).collect();
    let workload = Body::new()
        .with_opt("instance_by", args.edge.is_none().then_some(instance_by))
        .with_opt("federation", args.federation)
        .with_opt("edge", args.edge)
        .with("claims", claims)
        .with_opt("audience", args.audience)
        .with_opt("age_max", age_max)
        .with_opt("births_per_hour", args.births_per_hour)
        .with_opt("instance_lifetime", args.instance_lifetime.map(|life| life.as_secs()));
    Ok(Body::new()
        .with("agent", args.agent)
        .with("type", "workload")
        .with("workload", workload.json())
        .with_opt("expires_in", args.expires_in.map(|life| life.as_secs()))
        .json())
}
