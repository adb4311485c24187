//! `accredit agent`: Agents, registered roles and OAuth clients.

use std::time::Duration;

use accredit_wire::authority::Permission;
use accredit_wire::time::Time;
use clap::{Args, Subcommand};
use http::Method;
use serde_json::Value;

use crate::args::lists::{LastSeen, ReviewDue};
use crate::args::{self, Body, Consent, NameList, Named};
use crate::commands::{self, kill};
use crate::context::Context;
use crate::errors::Failure;
use crate::exit::Exit;
use crate::output::{Column, Page};
use crate::request_path::RequestPath;

const COLUMNS: [Column; 6] = [
    Column::new("ID", "id"),
    Column::new("NAME", "name"),
    Column::new("STATE", "state"),
    Column::new("OWNER", "owner_email"),
    Column::new("LAST SEEN", "last_seen_at"),
    Column::new("PURPOSE", "purpose"),
];

/// The noun.
#[derive(Debug, Args)]
pub(crate) struct Agent {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Register an agent; a draft unless --activate
    #[command(after_help = "Example:\n  accredit agent create planner --owner jo@example.com \
                      --purpose \"plans visits\" --allow crm:read --activate")]
    Create(Create),
    /// List agents
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  accredit agent list --state active\n  \
                      accredit agent list --sort review_due_at --review-due-before 2027-01-01T00:00:00Z\n  \
                      accredit agent list --last-seen-before 2026-10-01T00:00:00Z"
    )]
    List(List),
    /// Show one agent
    #[command(visible_alias = "show", after_help = "Example:\n  accredit agent get planner")]
    Get(Named),
    /// Change an agent
    #[command(
        after_help = "Examples:\n  accredit agent update planner --owner sam@example.com\n  \
                      accredit agent update planner --dns-name planner.acme.id.example"
    )]
    Update(Update),
    /// Let an agent get tokens; it needs an owner, a purpose and a permission
    #[command(after_help = "Example:\n  accredit agent activate planner")]
    Activate(State),
    /// Stop issuing to an agent and end its live tokens
    #[command(after_help = "Example:\n  accredit agent suspend planner --reason \"acts oddly\"")]
    Suspend(State),
    /// End an agent for ever, with its instances and credentials
    #[command(
        after_help = "Example:\n  accredit agent decommission planner --reason \"replaced\" --yes"
    )]
    Decommission(Decommission),
    /// Narrow an agent to less than it may do now; its live tokens end, and it asks again
    #[command(
        after_help = "Examples:\n  accredit agent strip planner --allow crm:read --reason \"writes oddly\"\n  \
                      accredit agent strip planner --allow 'crm:update(amount<=10)' --reason \"pays too much\"\n\n\
                      All its live tokens end, those too that are no wider than what is left: who verifies \
                      offline could not tell them apart."
    )]
    Strip(Strip),
    /// Let an agent act for one subject without being named in the token; for owners
    #[command(
        after_help = "Example:\n  accredit agent allow-impersonation mailer --subject jo@example.com --reason \"old mail server\""
    )]
    AllowImpersonation(Impersonation),
    /// Let an agent act for a subject by delegation alone; its live tokens end
    #[command(
        after_help = "Example:\n  accredit agent end-impersonation mailer --subject jo@example.com --reason \"replaced\""
    )]
    EndImpersonation(Impersonation),
    /// Try whether anything of an agent still authenticates; ends with 1 where something does
    #[command(after_help = "Example:\n  accredit agent ghosts planner")]
    Ghosts(Named),
    /// Record that somebody looked at what an agent is and may do
    #[command(
        after_help = "Example:\n  accredit agent review planner --review-due 2027-01-01T00:00:00Z"
    )]
    Review(Review),
}

#[derive(Debug, Args)]
struct Create {
    /// Its name: immutable and never used again
    name: String,
    /// The person who answers for it, by e-mail address (created where new) or id
    #[arg(long, value_name = "EMAIL|ID")]
    owner: String,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    purpose: Option<String>,
    /// What it may do; with limits: 'crm:update(/customers/eu/*; amount<=100)'
    #[arg(long, value_name = "RESOURCE:ACTION", num_args = 1.., value_parser = args::permission)]
    allow: Vec<Permission>,
    /// Where it runs (dev): it reaches resources of the same environment
    #[arg(long, value_name = "ENVIRONMENT", value_parser = ["dev", "staging", "prod"])]
    environment: Option<String>,
    /// What it is granted where it asks for nothing
    #[arg(long, value_name = "SCOPE", num_args = 1.., value_parser = args::scope_token)]
    default_scope: Option<Vec<String>>,
    /// It may pass on what it is granted
    #[arg(long)]
    may_delegate: bool,
    /// It gets tokens only that are bound to a key, by a DPoP proof in the request
    #[arg(long)]
    bound_only: bool,
    /// The life of its tokens (5m; at most 60m)
    #[arg(long, value_name = "DURATION", value_parser = args::duration)]
    token_lifetime: Option<Duration>,
    /// The life of its instances' certificates (60m, which is the most)
    #[arg(long, value_name = "DURATION", value_parser = args::duration)]
    certificate_lifetime: Option<Duration>,
    /// A host that its instances' certificates may name; repeat it for others
    #[arg(long, value_name = "HOST")]
    dns_name: Vec<String>,
    /// When it has to be looked at again
    #[arg(long, value_name = "TIME", value_parser = args::time)]
    review_due: Option<Time>,
    /// After how many days its credential is to be rotated (30)
    #[arg(long, value_name = "DAYS")]
    rotation_days: Option<u32>,
    /// The https URL of a JWK set whose keys are its credentials
    #[arg(long, value_name = "URL")]
    jwks_url: Option<String>,
    /// Activate it at once
    #[arg(long)]
    activate: bool,
}

#[derive(Debug, Args)]
struct List {
    /// Only agents of this person
    #[arg(long, value_name = "EMAIL|ID")]
    owner: Option<String>,
    /// Only agents that run there
    #[arg(long, value_name = "ENVIRONMENT", value_parser = ["dev", "staging", "prod"])]
    environment: Option<String>,
    #[command(flatten)]
    review_due: ReviewDue,
    #[command(flatten)]
    last_seen: LastSeen,
    #[command(flatten)]
    names: NameList,
}

#[derive(Debug, Args)]
struct Update {
    /// Its id or name
    #[arg(value_name = "ID|NAME")]
    name: String,
    /// The person who answers for it, by e-mail address or id
    #[arg(long, value_name = "EMAIL|ID")]
    owner: Option<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    purpose: Option<String>,
    /// Where it runs; another than before ends its live tokens
    #[arg(long, value_name = "ENVIRONMENT", value_parser = ["dev", "staging", "prod"])]
    environment: Option<String>,
    /// What it is granted where it asks for nothing
    #[arg(long, value_name = "SCOPE", num_args = 1.., value_parser = args::scope_token)]
    default_scope: Option<Vec<String>>,
    /// It is granted nothing where it asks for nothing
    #[arg(long, conflicts_with = "default_scope")]
    no_default_scope: bool,
    /// Whether it may pass on what it is granted
    #[arg(long, value_name = "BOOL")]
    may_delegate: Option<bool>,
    /// Whether it gets tokens only that are bound to a key; its live tokens end
    #[arg(long, value_name = "BOOL")]
    bound_only: Option<bool>,
    /// The life of its tokens (5m; at most 60m)
    #[arg(long, value_name = "DURATION", value_parser = args::duration)]
    token_lifetime: Option<Duration>,
    /// The life of its instances' certificates (60m, which is the most)
    #[arg(long, value_name = "DURATION", value_parser = args::duration)]
    certificate_lifetime: Option<Duration>,
    /// A host that its instances' certificates may name: all of them, repeated. Its live tokens and
    /// certificates end where one is left out
    #[arg(long, value_name = "HOST")]
    dns_name: Vec<String>,
    /// Its instances' certificates may name no host
    #[arg(long, conflicts_with = "dns_name")]
    no_dns_names: bool,
    /// When it has to be looked at again
    #[arg(long, value_name = "TIME", value_parser = args::time)]
    review_due: Option<Time>,
    /// After how many days its credential is to be rotated (30)
    #[arg(long, value_name = "DAYS")]
    rotation_days: Option<u32>,
    /// The https URL of a JWK set whose keys are its credentials; empty for none
    #[arg(long, value_name = "URL")]
    jwks_url: Option<String>,
}

#[derive(Debug, Args)]
struct State {
    /// Its id or name
    #[arg(value_name = "ID|NAME")]
    name: String,
    /// Why; stands in the audit log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, Args)]
struct Impersonation {
    /// Its id or name
    #[arg(value_name = "ID|NAME")]
    name: String,
    /// For whom: a person by id or e-mail address, or an agent by id or name
    #[arg(long, value_name = "SUBJECT")]
    subject: String,
    /// Why; stands in the audit log
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

#[derive(Debug, Args)]
struct Strip {
    /// Its id or name
    #[arg(value_name = "ID|NAME")]
    name: String,
    /// All that it may still do: 'crm:update(amount<=10)' limits it; without limits, those stay that
    /// there are
    #[arg(long, required = true, value_name = "RESOURCE:ACTION", num_args = 1.., value_parser = args::permission)]
    allow: Vec<Permission>,
    /// Why; stands in the audit log
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// How long to wait until all enforcement points have acknowledged; 0s does not wait
    #[arg(long, value_name = "DURATION", default_value = kill::WAIT_DEFAULT, value_parser = kill::wait)]
    wait: Duration,
}

#[derive(Debug, Args)]
struct Decommission {
    #[command(flatten)]
    state: State,
    #[command(flatten)]
    consent: Consent,
}

#[derive(Debug, Args)]
struct Review {
    /// Its id or name
    #[arg(value_name = "ID|NAME")]
    name: String,
    /// When it has to be looked at again
    #[arg(long, value_name = "TIME", value_parser = args::time)]
    review_due: Option<Time>,
}

fn all() -> RequestPath {
    RequestPath::new("/v1/agents")
}

/// The member that names an owner: an id, or else an e-mail address.
fn owner_member(owner: &str) -> &'static str {
    if owner.parse::<accredit_wire::ids::PersonId>().is_ok() { "owner" } else { "owner_email" }
}

/// Runs one of its verbs.
pub(crate) async fn run(agent: Agent, cx: &Context) -> Result<(), Failure> {
    match agent.verb {
        Verb::Create(args) => {
            let answer = cx.api()?.call(Method::POST, all(), Some(create_body(args))).await?;
            if answer.member("state") == Some("draft") {
                cx.out.say("it is a draft; `accredit agent activate` lets it get tokens");
            }
            cx.out.created(&answer)
        }
        Verb::List(args) => {
            let path = args.names.of(all()).query_opt("owner", args.owner.as_deref());
            let path = path.query_opt("environment", args.environment.as_deref());
            let path = args.last_seen.of(args.review_due.of(path));
            commands::list(path, args.names.among.paging, &COLUMNS, cx).await
        }
        Verb::Get(agent) => commands::show(all().segment(&agent.name), cx).await,
        Verb::Update(args) => {
            let path = all().segment(&args.name);
            let body = update_body(args)?;
            cx.out.object(&cx.api()?.call(Method::PATCH, path, Some(body)).await?)
        }
        Verb::Activate(state) => {
            let path = all().segment(&state.name);
            commands::change_state(path, "activate", state.reason.as_deref(), cx).await
        }
        Verb::Suspend(state) => {
            let path = all().segment(&state.name);
            commands::change_state(path, "suspend", state.reason.as_deref(), cx).await
        }
        Verb::Decommission(args) => decommission(args, cx).await,
        Verb::Strip(args) => {
            let allow: Vec<String> = args.allow.iter().flat_map(Permission::texts).collect();
            let body = Body::new().with("allow", allow).with("reason", args.reason).json();
            let (path, api) = (all().segment(&args.name).segment("strip"), cx.api()?);
            let stripped = api.call(Method::POST, path, Some(body)).await?;
            kill::report(stripped, args.wait, &api, cx).await
        }
        Verb::AllowImpersonation(args) => impersonation("allow-impersonation", args, cx).await,
        Verb::EndImpersonation(args) => impersonation("end-impersonation", args, cx).await,
        Verb::Ghosts(agent) => ghosts(&agent.name, cx).await,
        Verb::Review(args) => {
            let body = Body::new()
                .with("reviewed", true)
                .with_opt("review_due_at", args.review_due.map(|due| due.to_string()));
            let path = all().segment(&args.name);
            cx.out.object(&cx.api()?.call(Method::PATCH, path, Some(body.json())).await?)
        }
    }
}

async fn impersonation(verb: &str, args: Impersonation, cx: &Context) -> Result<(), Failure> {
    let body = Body::new().with("subject", args.subject).with("reason", args.reason).json();
    let path = all().segment(&args.name).segment(verb);
    cx.out.object(&cx.api()?.call(Method::POST, path, Some(body)).await?)
}

fn create_body(args: Create) -> serde_json::Value {
    Body::new()
        .with("name", args.name)
        .with(owner_member(&args.owner), args.owner)
        .with_opt("purpose", args.purpose)
        .with_opt("environment", args.environment)
        .with_opt("allow", (!args.allow.is_empty()).then(|| args::texts(&args.allow)))
        .with_opt("default_scope", args.default_scope.map(|scope| scope.join(" ")))
        .with_opt("may_delegate", args.may_delegate.then_some(true))
        .with_opt("bound_only", args.bound_only.then_some(true))
        .with_opt("token_lifetime", args.token_lifetime.map(|life| life.as_secs()))
        .with_opt("certificate_lifetime", args.certificate_lifetime.map(|life| life.as_secs()))
        .with_opt("dns_names", (!args.dns_name.is_empty()).then_some(args.dns_name))
        .with_opt("review_due_at", args.review_due.map(|due| due.to_string()))
        .with_opt("rotation_days", args.rotation_days)
        .with_opt("jwks_url", args.jwks_url)
        .with_opt("activate", args.activate.then_some(true))
        .json()
}

fn update_body(args: Update) -> Result<serde_json::Value, Failure> {
    let mut body = Body::new();
    if args.no_default_scope {
        body = body.with("default_scope", "");
    }
    if args.no_dns_names {
        body = body.with("dns_names", Vec::<String>::new());
    }
    if let Some(owner) = args.owner {
        body = body.with(owner_member(&owner), owner);
    }
    body.with_opt("purpose", args.purpose)
        .with_opt("environment", args.environment)
        .with_opt("default_scope", args.default_scope.map(|scope| scope.join(" ")))
        .with_opt("may_delegate", args.may_delegate)
        .with_opt("bound_only", args.bound_only)
        .with_opt("token_lifetime", args.token_lifetime.map(|life| life.as_secs()))
        .with_opt("certificate_lifetime", args.certificate_lifetime.map(|life| life.as_secs()))
        .with_opt("dns_names", (!args.dns_name.is_empty()).then_some(args.dns_name))
        .with_opt("review_due_at", args.review_due.map(|due| due.to_string()))
        .with_opt("rotation_days", args.rotation_days)
        .with_opt("jwks_url", args.jwks_url)
        .changed(
            "--owner, --purpose, --environment, --default-scope, --may-delegate, --bound-only, \
             --token-lifetime, --certificate-lifetime, --dns-name, --review-due, --rotation-days, \
             --jwks-url",
        )
}

/// Prints what was tried; fails where something was let in.
async fn ghosts(name: &str, cx: &Context) -> Result<(), Failure> {
    let answer = cx.api()?.get(all().segment(name).segment("ghosts")).await?;
    if cx.out.is_json() {
        cx.out.object(&answer)?;
    } else {
        let items = answer.value.get("items").and_then(Value::as_array).cloned();
        cx.out.list(&Page::of(items.unwrap_or_default().into_iter()), &GHOSTS)?;
    }
    let tried = answer.value.get("tried").and_then(Value::as_u64).unwrap_or_default();
    if answer.value.get("gone").and_then(Value::as_bool) == Some(true) {
        cx.out.say(&format!("{tried} tried, as if each proof were right: none was let in."));
        return Ok(());
    }
    Err(Failure::new(
        Exit::Failure,
        "ghosts",
        "it is not proved that nothing of the agent authenticates",
        "something was let in, or not all could be tried, or it is not decommissioned",
        "decommission it: `accredit agent decommission`",
    ))
}

const GHOSTS: [Column; 4] = [
    Column::new("ID", "id"),
    Column::new("WHAT", "what"),
    Column::new("LET IN", "alive"),
    Column::new("REFUSED BY", "refused_by"),
];

async fn decommission(args: Decommission, cx: &Context) -> Result<(), Failure> {
    let path = all().segment(&args.state.name);
    let agent = cx.api()?.get(path.clone()).await?;
    let name = agent.member("name").unwrap_or(&args.state.name);
    let effect = format!(
        "decommissioning the agent `{name}` ends all its instances, credentials and tokens and \
         cannot be undone"
    );
    if !cx.flags.dry_run {
        args.consent.ask(&cx.out, &effect, name).await?;
    }
    commands::change_state(path, "decommission", args.state.reason.as_deref(), cx).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_named_by_id_or_by_address() {
        let id = accredit_wire::ids::PersonId::new(1, [3; 10]).to_string();
        assert_eq!(owner_member(&id), "owner");
        assert_eq!(owner_member("jo@example.com"), "owner_email");
        assert_eq!(owner_member("usr_nonsense"), "owner_email");
    }
}
