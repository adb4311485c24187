//! `accredit revoke` and `accredit revocation`: ending things, and what was ended.

use std::str::FromStr;

use accredit_wire::ids::{AnyId, IdError, RevocationId};
use clap::{Args, Subcommand};
use http::Method;

use crate::args::lists::Created;
use crate::args::{Body, Paging, Sort};
use crate::commands;
use crate::context::Context;
use crate::errors::Failure;
use crate::output::Column;
use crate::request_path::RequestPath;

/// Shown below `accredit revoke --help`.
pub(crate) const REVOKE_EXAMPLE: &str = "Examples:
  accredit revoke ins_… --reason \"acts oddly\"     one running copy; its siblings go on
  accredit revoke agt_… --reason \"acts oddly\"     the agent with all its copies
  accredit revoke key_… --reason \"key leaked\"     whatever this key has signed";

const COLUMNS: [Column; 5] = [
    Column::new("ID", "id"),
    Column::new("TARGET", "target"),
    Column::new("REV", "rev"),
    Column::new("REVOKED", "revoked_at"),
    Column::new("REASON", "reason"),
];

/// The verb that ends anything.
#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// What to end: the id of an organization, person, agent, instance, credential, resource,
    /// token or signing key
    pub(crate) id: String,
    /// Why; stands in the audit log
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
}

/// The noun.
#[derive(Debug, Args)]
pub(crate) struct Revocation {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List revocations
    #[command(visible_alias = "ls", after_help = "Example:\n  accredit revocation list --limit 10")]
    List(List),
    /// Lift a kill for a time before it is over
    #[command(after_help = "Example:\n  accredit revocation undo rvk_… --reason \"looked at\"")]
    Undo(Undo),
}

#[derive(Debug, Args)]
struct Undo {
    /// The revocation
    #[arg(value_name = "ID")]
    id: RevocationId,
    /// Why; stands in the audit log
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

#[derive(Debug, Args)]
struct List {
    /// Only of this, by id
    #[arg(long, value_name = "ID")]
    target: Option<AnyId>,
    #[command(flatten)]
    sort: Sort,
    #[command(flatten)]
    created: Created,
    #[command(flatten)]
    paging: Paging,
}

fn all() -> RequestPath {
    RequestPath::new("/v1/revocations")
}

/// Runs one of its verbs.
pub(crate) async fn run(revocation: Revocation, cx: &Context) -> Result<(), Failure> {
    match revocation.verb {
        Verb::List(args) => {
            let target = args.target.map(|target| target.to_string());
            let path = args.created.of(args.sort.of(all()));
            let path = path.query_opt("target", target.as_deref());
            commands::list(path, args.paging, &COLUMNS, cx).await
        }
        Verb::Undo(args) => {
            let body = Body::new().with("revocation", args.id.to_string());
            let body = body.with("reason", args.reason).json();
            cx.out.object(&cx.api()?.call(Method::POST, all().segment("undo"), Some(body)).await?)
        }
    }
}

/// Ends a thing and prints what ended with it.
pub(crate) async fn revoke(target: &str, reason: &str, cx: &Context) -> Result<(), Failure> {
    check_kind::<AnyId>(target)?;
    if cx.flags.dry_run {
        return preview(target, cx).await;
    }
    let body = Body::new().with("target", target).with("reason", reason).json();
    let answer = cx.api()?.call(Method::POST, all(), Some(body)).await?;
    cx.out.object(&answer)?;
    if answer.value.get("blast").is_some_and(|blast| !blast.is_null()) {
        cx.out.say(
            "blast: what ended with it; exact for what is registered, at most for tokens. \
             Verifiers that follow the feed refuse from now on, others when their tokens expire.",
        );
    }
    if answer.value.get("elsewhere").is_some_and(|elsewhere| !elsewhere.is_null()) {
        cx.out.say(
            "elsewhere: what is believed where the feed is not followed. A copy of the key set \
             believes the key for `key_set_max_age` seconds, and for longer where it is kept \
             longer; what was verified before, until the token expires.",
        );
    }
    Ok(())
}

/// Prints what would end with a thing; nothing is changed.
pub(crate) async fn preview(target: &str, cx: &Context) -> Result<(), Failure> {
    let path = all().segment("preview").query("target", target);
    cx.out.object(&cx.api()?.get(path).await?)?;
    cx.out.say("dry run: nothing was changed. It would end this, for tokens at most so many.");
    Ok(())
}

/// Refuses what is not an id of this kind, before anything is sent.
pub(crate) fn check_kind<Id: FromStr<Err = IdError>>(text: &str) -> Result<(), Failure> {
    text.parse::<Id>().map(drop).map_err(|error| {
        Failure::usage(
            &format!("`{text}` is not an id of what is to end"),
            &error.to_string(),
            "find the id with the noun's list, for example `accredit instance list`",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use accredit_wire::ids::{AgentId, InstanceId};

    #[test]
    fn only_an_id_can_be_revoked_and_an_instance_is_no_agent() {
        let agent = AgentId::new(1, [2; 10]).to_string();
        assert!(check_kind::<AnyId>(&agent).is_ok());
        assert!(check_kind::<InstanceId>(&agent).is_err());
        assert!(check_kind::<AnyId>("planner").is_err());
    }
}
