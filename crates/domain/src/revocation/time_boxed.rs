//! A kill for a time: what it suspended goes on by itself, or when somebody undoes it.
//!
//! Only what can be suspended can be ended for a time; the end of a copy, a credential, a token or a
//! key is final. What was issued before stays dead either way. A kill is lifted only while it is the
//! newest of its target: whoever was ended again since, without an end, stays so.

use std::time::Duration;

use accredit_wire::ids::{AnyId, Kind};
use serde::Deserialize;

use super::{Revocation, RevocationView};
use crate::context::Cx;
use crate::federation::registry as federation;
use crate::refusal::{Error, Fault, Refusal, Rule};
use crate::registry::agent::{self, AgentState};
use crate::registry::credential::AdminPermission;
use crate::registry::{
    State, already, find_agent, find_person, find_resource, organization, person, resource, text,
};
use crate::terms::{Expected, Terms};

/// The longest time for which something is ended, seconds: 30 days. For so long verifiers keep the
/// entry; what is to stay ended for longer is ended without an end.
pub const TIME_BOX_SECONDS_MAX: u64 = 30 * 24 * 3600;
/// Kills for a time of one organization that are kept: the job reads them all.
pub const TIME_BOXED_MAX: usize = 1000;
/// Why something goes on by itself.
const OVER: &str = "it was ended for a time, which is over";

/// A request to lift a kill before its time.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Undo {
    /// The revocation, `rvk_`.
    pub revocation: String,
    /// Why.
    pub reason: String,
}

/// The context of a revocation that may be for a time.
pub(super) async fn asked(cx: &Cx, kind: Kind, seconds: Option<u64>) -> Result<Cx, Error> {
    let Some(seconds) = seconds else { return Ok(cx.clone()) };
    let wrong = |detail: String, hint| Error::from(Refusal::field("expires_in", detail, hint));
    let may = matches!(
        kind,
        Kind::Organization | Kind::Person | Kind::Federation | Kind::Resource | Kind::Agent
    );
    if !may {
        return Err(wrong(
            "the end of this kind of thing is final".to_owned(),
            "leave it out, or end the agent, person, resource or organization for a time",
        ));
    }
    if seconds == 0 || seconds > TIME_BOX_SECONDS_MAX {
        return Err(wrong(
            format!("must be from 1 to {TIME_BOX_SECONDS_MAX} seconds"),
            "leave it out where somebody is to decide when it goes on",
        ));
    }
    if cx.world.store.time_boxed(cx.tenant.id).await?.len() >= TIME_BOXED_MAX {
        return Err(wrong(
            format!("{TIME_BOXED_MAX} kills for a time are kept already"),
            "leave it out: nothing keeps it from being ended without an end",
        ));
    }
    let ends_at = Some(cx.now.plus(Duration::from_secs(seconds)));
    Ok(Cx { terms: Terms { ends_at, ..cx.terms.clone() }, ..cx.clone() })
}

/// Lifts a kill for a time before it is over.
pub async fn undo(cx: &Cx, asked: &Undo) -> Result<RevocationView, Error> {
    cx.require(AdminPermission::Revoke)?;
    let reason = text("reason", &asked.reason)?;
    let entries = cx.world.store.time_boxed(cx.tenant.id).await?;
    let entry = entries.into_iter().find(|entry| entry.id.to_string() == asked.revocation);
    let entry = entry.ok_or_else(|| {
        let hint = "only what was ended for a time is undone; `accredit agent activate` and the \
                    like lift the others, and the end of a copy or credential is final";
        Refusal { hint: hint.to_owned(), ..Refusal::not_found("revocation", &asked.revocation) }
    })?;
    lift(cx, &entry, &reason).await?;
    Ok(entry.view())
}

/// Lifts the kills whose time is surely over.
pub async fn tick(cx: &Cx, surely: accredit_wire::time::Time) -> Result<(), Fault> {
    for entry in cx.world.store.time_boxed(cx.tenant.id).await? {
        if entry.ends_at.is_none_or(|end| end > surely) {
            continue;
        }
        match lift(cx, &entry, OVER).await {
            // It was lifted already, or ended again since: nothing is to be done.
            Ok(()) | Err(Error::Refused(_)) => {}
            Err(Error::Fault(fault)) => return Err(fault),
        }
    }
    Ok(())
}

/// Lets go on what an entry suspended, if that is what suspends it now. The version is read before
/// the entries: whoever ends it again in between changes the version.
async fn lift(cx: &Cx, entry: &Revocation, reason: &str) -> Result<(), Error> {
    let target = entry.target;
    let name = target.to_string();
    let (version, suspended) = match target.kind() {
        Kind::Organization => {
            let org = organization::find(&system(cx), &name).await?;
            (org.version, org.state == State::Suspended)
        }
        Kind::Person => {
            let person = find_person(cx, &name).await?;
            (person.version, person.state == State::Suspended)
        }
        Kind::Federation => {
            let federation = federation::find_federation(cx, &name).await?;
            (federation.version, federation.state == State::Suspended)
        }
        Kind::Resource => {
            let resource = find_resource(cx, &name).await?;
            (resource.version, resource.state == State::Suspended)
        }
        Kind::Agent => {
            let agent = find_agent(cx, &name).await?;
            (agent.version, agent.state == AgentState::Suspended)
        }
        Kind::Instance
        | Kind::Credential
        | Kind::Token
        | Kind::Block
        | Kind::Key
        | Kind::Task
        | Kind::Revocation
        | Kind::Event
        | Kind::Request => return Err(final_end(target).into()),
    };
    let newest = cx.world.store.newest_revocation(cx.tenant.id, target).await?;
    if !suspended || newest.is_none_or(|newest| newest.rev != entry.rev) {
        return Err(already("target", "lifted, or ended again since").into());
    }
    let terms = Terms { expected: Expected::OneOf(vec![version]), once: None, ..cx.terms.clone() };
    let cx = Cx { terms: Terms { ends_at: None, ..terms }, ..cx.clone() };
    match target.kind() {
        Kind::Organization => {
            drop(organization::set_state(&cx, &name, State::Active, reason).await?);
        }
        Kind::Person => drop(person::set_state(&cx, &name, State::Active, reason).await?),
        Kind::Federation => drop(federation::set_state(&cx, &name, State::Active, reason).await?),
        Kind::Resource => drop(resource::set_state(&cx, &name, State::Active, reason).await?),
        _ => drop(agent::activate_again(&cx, &name, reason).await?),
    }
    Ok(())
}

/// Ourselves, where whoever asks need not be entitled to read.
fn system(cx: &Cx) -> Cx {
    Cx { caller: crate::Caller::System, ..cx.clone() }
}

fn final_end(target: AnyId) -> Refusal {
    Refusal::new(
        Rule::StateForbids,
        format!("the end of `{target}` is final"),
        "make a new one in its place",
    )
}
