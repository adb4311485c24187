//! `accredit kill`: ends anything there is, and shows where that is enforced by now.
//!
//! It is `accredit revoke` with what somebody in a hurry needs beside it: things are named as they
//! are called, and the command waits until the enforcement points say that they have applied it, and
//! names those that do not.

use std::time::Duration;

use accredit_wire::ids::{
    AgentId, AnyId, CredentialId, FederationId, IdError, InstanceId, KeyId, OrganizationId,
    PersonId, ResourceId, TaskId, TokenId,
};
use clap::{Args, ValueEnum};
use http::Method;
use serde_json::Value;

use crate::api::Api;
use crate::args::{self, Body};
use crate::commands::revocation;
use crate::context::Context;
use crate::errors::Failure;
use crate::output::{Answer, Column, Page, counted};
use crate::request_path::RequestPath;

/// Shown below `accredit kill --help`.
pub(crate) const EXAMPLE: &str = "Examples:
  accredit kill agent planner --reason \"acts oddly\"       the agent with all its copies
  accredit kill instance ins_… --reason \"acts oddly\"      one copy; its siblings go on
  accredit kill chain tok_… --reason \"user went away\"     a token and all that was made from it
  accredit kill person jo@example.com --reason \"left\"     whoever acts for this person
  accredit kill federation corp --reason \"key leaked\"     whoever acts for one of its users
  accredit kill agent planner --expires 30m --reason \"to look at it\"  for a time";

/// How often it is asked how far the revocation has come, at first and later.
const ASK_EVERY: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(200)];

/// How long is waited for acknowledgements where nothing is said: a live follower needs some
/// milliseconds.
pub(crate) const WAIT_DEFAULT: &str = "5s";

/// Ends something, whatever it is.
#[derive(Debug, Args)]
pub(crate) struct Kill {
    /// What kind of thing it is
    #[arg(value_enum)]
    pub(crate) kind: KillKind,
    /// Its id; of an organization, person, agent, resource or federation also its name
    #[arg(value_name = "ID|NAME")]
    pub(crate) name: String,
    /// With whatever was made of it, at whichever step: that is always so, and said then
    #[arg(long)]
    pub(crate) chain: bool,
    /// Why; stands in the audit log
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    /// Let it go on by itself after this time; of an organization, person, agent,
    /// resource or federation
    #[arg(long, value_name = "DURATION", value_parser = args::duration)]
    pub(crate) expires: Option<Duration>,
    /// How long to wait until all enforcement points have acknowledged; 0s does not wait
    #[arg(long, value_name = "DURATION", default_value = WAIT_DEFAULT, value_parser = wait)]
    pub(crate) wait: Duration,
}

/// What can be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KillKind {
    /// An organization with all it has
    Org,
    /// An agent with all its copies
    Agent,
    /// One running copy
    Instance,
    /// A token and all tokens that descend from it
    Chain,
    /// A task, with all tokens that were minted for it
    Task,
    /// A person, with all agents that they own
    Person,
    /// A signing key and all it has signed
    Key,
    /// A credential and what was got with it
    Credential,
    /// A token; the same as `chain`
    Token,
    /// A resource: all tokens for it
    Resource,
    /// An external issuer: all chains that began with one of its users
    Federation,
}

impl KillKind {
    /// Where things of this kind are found by name; the others have ids alone.
    const fn named_at(self) -> Option<&'static str> {
        match self {
            Self::Org => Some("/v1/orgs"),
            Self::Agent => Some("/v1/agents"),
            Self::Person => Some("/v1/persons"),
            Self::Resource => Some("/v1/resources"),
            Self::Federation => Some("/v1/federations"),
            Self::Instance
            | Self::Chain
            | Self::Task
            | Self::Key
            | Self::Credential
            | Self::Token => None,
        }
    }

    fn is_id(self, text: &str) -> Result<(), IdError> {
        match self {
            Self::Org => text.parse::<OrganizationId>().map(drop),
            Self::Agent => text.parse::<AgentId>().map(drop),
            Self::Instance => text.parse::<InstanceId>().map(drop),
            Self::Person => text.parse::<PersonId>().map(drop),
            Self::Key => text.parse::<KeyId>().map(drop),
            Self::Credential => text.parse::<CredentialId>().map(drop),
            Self::Chain | Self::Token => text.parse::<TokenId>().map(drop),
            Self::Task => text.parse::<TaskId>().map(drop),
            Self::Resource => text.parse::<ResourceId>().map(drop),
            Self::Federation => text.parse::<FederationId>().map(drop),
        }
    }
}

/// A duration, or none at all.
pub(crate) fn wait(text: &str) -> Result<Duration, String> {
    if text == "0" || text == "0s" { Ok(Duration::ZERO) } else { args::duration(text) }
}

/// The columns of the enforcement points.
const COLUMNS: [Column; 5] = [
    Column::made("ENFORCED AT", |point| {
        let text = |name: &str| point.get(name).and_then(Value::as_str);
        let resource = text("resource").unwrap_or("(an administrator)");
        match text("name") {
            Some(name) => format!("{resource}/{name}"),
            None => resource.to_owned(),
        }
    }),
    Column::made("ACKNOWLEDGED AFTER", |point| match number(point, "microseconds") {
        Some(micros) => millis(micros),
        None => "-".to_owned(),
    }),
    Column::new("STATUS", "status"),
    Column::made("ENDS THERE WITHIN", |point| match number(point, "bound_seconds") {
        Some(seconds) => format!("{seconds} s"),
        None => "-".to_owned(),
    }),
    Column::new("CREDENTIAL", "credential"),
];

/// Ends the thing, waits, and prints how far that has come.
pub(crate) async fn run(kill: &Kill, cx: &Context) -> Result<(), Failure> {
    let api = cx.api()?;
    let target = target(&api, kill.kind, &kill.name).await?;
    if cx.flags.dry_run {
        return revocation::preview(&target, cx).await;
    }
    let body = Body::new()
        .with("target", target)
        .with("reason", kill.reason.as_str())
        .with_opt("expires_in", kill.expires.map(|time| time.as_secs()))
        .json();
    let ended = api.call(Method::POST, RequestPath::new("/v1/revocations"), Some(body)).await?;
    report(ended, kill.wait, &api, cx).await?;
    if kill.chain {
        cx.out.say("Whatever was made of it ended with it, at whichever step of a chain.");
    }
    Ok(())
}

/// Waits for the acknowledgements of what was ended, and prints both.
pub(crate) async fn report(
    ended: Answer,
    wait: Duration,
    api: &Api,
    cx: &Context,
) -> Result<(), Failure> {
    let rev = number(&ended.value, "rev").unwrap_or_default();
    let heard = acknowledged(api, rev, wait, cx).await;
    // What was ended is told also where nobody can say how far it has come.
    if cx.out.is_json() {
        let heard = heard.map_or_else(|failure| failure.json(), |heard| heard.text);
        let ended = ended.text;
        return cx.out.json(&format!("{{\"revocation\":{ended},\"acknowledgements\":{heard}}}"));
    }
    cx.out.object(&ended)?;
    points(&heard?.value, cx)
}

/// Prints who acknowledged what, and says it in words.
pub(crate) fn points(heard: &Value, cx: &Context) -> Result<(), Failure> {
    let points = heard.get("points").and_then(Value::as_array).cloned().unwrap_or_default();
    if !points.is_empty() {
        crate::output::line("")?;
        cx.out.list(&Page::of(points.into_iter()), &COLUMNS)?;
    }
    cx.out.say(&summary(heard));
    Ok(())
}

/// The id of what is named.
async fn target(api: &Api, kind: KillKind, name: &str) -> Result<String, Failure> {
    match (kind.is_id(name), kind.named_at()) {
        (Ok(()), _) => Ok(name.to_owned()),
        (Err(error), None) => Err(Failure::usage(
            &format!("`{name}` is not an id of what is to end"),
            &error.to_string(),
            "find the id with the noun's list, for example `accredit instance list`",
        )),
        // An id of another kind is a slip that must not be looked for as a name.
        (Err(error), Some(_)) if name.parse::<AnyId>().is_ok() => Err(Failure::usage(
            &format!("`{name}` is another kind of thing"),
            &error.to_string(),
            "name the kind that it is, or use `accredit revoke ID`",
        )),
        (Err(_), Some(at)) => {
            let found = api.get(RequestPath::new(at).segment(name)).await?;
            let id = found.member("id").map(str::to_owned);
            id.ok_or_else(|| Failure::not_understood(api.url(), "what was found has no id"))
        }
    }
}

/// Asks until nobody is waited for, or the time is over.
async fn acknowledged(
    api: &Api,
    rev: u64,
    wait: Duration,
    cx: &Context,
) -> Result<Answer, Failure> {
    let path = RequestPath::new("/v1/revocations/acknowledgements").query("rev", &rev.to_string());
    let (mut waited, mut pause) = (Duration::ZERO, ASK_EVERY[0]);
    while waited < wait {
        let heard = api.get(path.clone().query("named", "0")).await?;
        let waiting = number(&heard.value, "waiting").unwrap_or_default();
        let nodes = number(&heard.value, "nodes_waiting").unwrap_or_default();
        if waiting + nodes == 0 {
            break;
        }
        if waited.is_zero() && waiting > 0 && cx.out.shows_progress() {
            cx.out.say(&format!("waiting for {}", counted(waiting, "enforcement point")));
        }
        pausing(pause.min(wait.saturating_sub(waited))).await;
        (waited, pause) = (waited + pause, (pause * 2).min(ASK_EVERY[1]));
    }
    api.get(path.query("unfollowed", "true")).await
}

#[expect(clippy::disallowed_methods, reason = "a person waits at a terminal")]
async fn pausing(time: Duration) {
    tokio::time::sleep(time).await;
}

fn number(value: &Value, name: &str) -> Option<u64> {
    value.get(name).and_then(Value::as_u64)
}

/// Microseconds as milliseconds.
pub(crate) fn millis(micros: u64) -> String {
    format!("{}.{} ms", micros / 1000, micros % 1000 / 100)
}

/// What came of it, in words.
fn summary(heard: &Value) -> String {
    let count = |name: &str| number(heard, name).unwrap_or_default();
    let within = |name: &str| number(heard, name).map(millis);
    let mut said = Vec::new();
    let acknowledged = count("acknowledged");
    let refuse = if acknowledged == 1 { "refuses" } else { "refuse" };
    match (within("microseconds_p50"), within("microseconds_max")) {
        (Some(half), Some(all)) => said.push(format!(
            "{} {refuse} it: half of the acknowledgements within {half} of the request, all within \
             {all}.",
            counted(acknowledged, "enforcement point"),
        )),
        _ => said.push(format!("{} {refuse} it.", counted(acknowledged, "enforcement point"))),
    }
    let point = "enforcement point";
    for (name, what, why) in [
        ("waiting", point, "not answered yet"),
        ("silent", point, "cannot acknowledge"),
        ("gone", point, "left lately"),
        ("unheard", point, "followed a node that is not heard from"),
        ("nodes_waiting", "node", "has not told who follows it, so there may be more of them"),
        ("nodes_unheard", "node", "not heard from, so there may be more of them"),
    ] {
        if count(name) > 0 {
            said.push(format!("{}: {why}.", counted(count(name), what)));
        }
    }
    if let Some(bound) = number(heard, "bound_seconds") {
        said.push(format!(
            "Those that did not acknowledge refuse it after {bound} s at the latest, each after its \
             own bound."
        ));
    }
    if let Some(unfollowed) = heard.get("unfollowed") {
        let names = unfollowed.get("resources").and_then(Value::as_array);
        let names: Vec<&str> = names.into_iter().flatten().filter_map(Value::as_str).collect();
        let more = unfollowed.get("more").and_then(Value::as_bool) == Some(true);
        if !names.is_empty() {
            let bound = number(unfollowed, "bound_seconds").unwrap_or_default();
            said.push(format!(
                "Nobody follows for {}{}: a token is refused there when it has expired, after \
                 {bound} s at the latest, or where it is introspected.",
                names.join(", "),
                if more { " and perhaps others" } else { "" },
            ));
        }
    }
    said.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_thing_is_named_as_what_it_is() {
        let agent = AgentId::new(1, [2; 10]).to_string();
        assert!(KillKind::Agent.is_id(&agent).is_ok());
        for kind in KillKind::value_variants() {
            assert_eq!(kind.is_id(&agent).is_ok(), *kind == KillKind::Agent, "{kind:?}");
            assert!(kind.is_id("planner").is_err(), "{kind:?}");
        }
    }

    #[test]
    fn whoever_did_not_answer_is_said_with_the_bound_that_holds() {
        let all = summary(&json!({
            "acknowledged": 2, "waiting": 0, "silent": 0, "gone": 0,
            "microseconds_p50": 1240, "microseconds_max": 5391, "bound_seconds": null,
        }));
        let expected = "2 enforcement points refuse it: half of the acknowledgements within 1.2 ms \
                        of the request, all within 5.3 ms.";
        assert_eq!(all, expected);
        let some = summary(&json!({
            "acknowledged": 1, "waiting": 1, "silent": 3, "gone": 1, "bound_seconds": 60,
            "unfollowed": {"resources": ["crm", "mail"], "more": false, "bound_seconds": 3600},
        }));
        for said in [
            "1 enforcement point refuses it.",
            "1 enforcement point: not answered yet.",
            "3 enforcement points: cannot acknowledge.",
            "1 enforcement point: left lately.",
            "after 60 s at the latest",
            "Nobody follows for crm, mail:",
        ] {
            assert!(some.contains(said), "{said}: {some}");
        }
    }
}
