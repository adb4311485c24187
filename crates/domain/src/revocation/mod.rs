//! The revocation graph: one entry ends everything that hangs on its target, by derivation.
//!
//! `revoke` takes any id of a lineage, writes one entry, one event and the target's own row, and
//! touches no descendant. See DESIGN in `docs/formats.md`, "The revocation graph".

use accredit_wire::ids::{
    AgentId, AnyId, CredentialId, InstanceId, KeyId, Kind, RevocationId, TokenId,
};
use accredit_wire::time::Time;
use serde::{Deserialize, Serialize};

use crate::audit::event::{Body, EventKind};
use crate::context::Cx;
use crate::keys::{self, KeyState};
use crate::ports::{Page, Row};
use crate::refusal::{Error, Refusal, Rule};
use crate::registry::credential::AdminPermission;
use crate::registry::{
    DecideError, Listed, State, agent, already, commit, credential, decide, ending, instance,
    keep_for, listed, organization, person, resource, text,
};

/// An entry of the graph: whatever has `target` in its lineage and a smaller `rev` is dead.
#[derive(Clone, Debug)]
pub struct Revocation {
    /// Its id, `rvk_`.
    pub id: RevocationId,
    /// What was revoked.
    pub target: AnyId,
    /// The counter at and above which things are alive again; 0 until it is written.
    pub rev: u64,
    /// Why, in a person's words.
    pub reason: String,
    /// When.
    pub revoked_at: Time,
    /// Until when verifiers must know it.
    pub keep_until: Time,
}

/// What a revocation ends: exact for rows, an upper bound for tokens.
#[derive(Clone, Copy, Debug, Default, Serialize, utoipa::ToSchema)]
pub struct Blast {
    /// Agents.
    pub agents: u64,
    /// Instances that were active.
    pub instances: u64,
    /// Credentials that were active.
    pub credentials: u64,
    /// Live tokens, at most.
    pub tokens_at_most: u64,
}

/// A revocation as it is shown.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct RevocationView {
    /// Its id, `rvk_`.
    #[schema(value_type = String)]
    pub id: RevocationId,
    /// What was revoked.
    #[schema(value_type = String)]
    pub target: AnyId,
    /// Why.
    pub reason: String,
    /// The organization's counter.
    pub rev: u64,
    /// When.
    #[schema(value_type = String)]
    pub revoked_at: Time,
    /// Until when verifiers must know it.
    #[schema(value_type = String)]
    pub keep_until: Time,
    /// What it ended; only in the answer to the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blast: Option<Blast>,
}

impl Revocation {
    /// As it is shown.
    pub fn view(&self) -> RevocationView {
        RevocationView {
            id: self.id,
            target: self.target,
            reason: self.reason.clone(),
            rev: self.rev,
            revoked_at: self.revoked_at,
            keep_until: self.keep_until,
            blast: None,
        }
    }
}

/// A request to revoke.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Revoke {
    /// Any id that things hang on.
    pub target: String,
    /// Why.
    pub reason: String,
}

/// Ends whatever hangs on an id.
pub async fn revoke(cx: &Cx, asked: &Revoke) -> Result<RevocationView, Error> {
    cx.require(AdminPermission::Revoke)?;
    let reason = text("reason", &asked.reason)?;
    let target: AnyId = asked.target.parse().map_err(|error| {
        Refusal::field("target", error, "use an id such as `ins_…`; lists show them")
    })?;
    // Counted before, since afterwards the rows are no longer active. Another revocation that
    // comes between makes it an over-estimate.
    let since = cx.now.minus(keep_for());
    let blast = cx.world.store.blast(cx.tenant.id, target, since).await?;
    let name = target.to_string();
    match target.kind() {
        Kind::Organization => {
            organization::set_state(cx, &name, State::Suspended, &reason).await?;
        }
        Kind::Person => {
            person::set_state(cx, &name, State::Suspended, &reason).await?;
        }
        Kind::Resource => {
            resource::set_state(cx, &name, State::Suspended, &reason).await?;
        }
        Kind::Agent => {
            agent::suspend(cx, &name, &reason).await?;
        }
        Kind::Instance => {
            let id = InstanceId::try_from(target).map_err(|_| unrevocable(target))?;
            instance::revoke(cx, id, &reason).await?;
        }
        Kind::Credential => {
            let id = CredentialId::try_from(target).map_err(|_| unrevocable(target))?;
            credential::revoke(cx, id, &reason).await?;
        }
        Kind::Token => {
            let id = TokenId::try_from(target).map_err(|_| unrevocable(target))?;
            token(cx, id, None, &reason).await?;
        }
        Kind::Key => {
            let id = KeyId::try_from(target).map_err(|_| unrevocable(target))?;
            key(cx, id, &reason).await?;
        }
        Kind::Task | Kind::Revocation | Kind::Event | Kind::Request => {
            return Err(unrevocable(target).into());
        }
    }
    let newest = Page { limit: 16, ..Page::default() };
    let written = cx.world.store.revocations(cx.tenant.id, newest).await?;
    let entry = written.iter().find(|entry| entry.target == target);
    let entry = entry.ok_or_else(|| crate::Fault::new("revoke", "the entry is not there"))?;
    Ok(RevocationView { blast: Some(blast), ..entry.view() })
}

fn unrevocable(target: AnyId) -> Refusal {
    Refusal::field(
        "target",
        format!("nothing hangs on `{target}`"),
        "revoke an organization, person, resource, agent, instance, credential, signing key or \
         token",
    )
}

/// Ends one token. There is no row for it: the entry is all there is.
pub(crate) async fn token(
    cx: &Cx,
    id: TokenId,
    of: Option<AgentId>,
    reason: &str,
) -> Result<u64, Error> {
    decide(|| async {
        let body = Body {
            token: Some(id),
            target: Some(id.any()),
            agent: of,
            reason: Some(reason.to_owned()),
            ..Body::default()
        };
        let event = cx.event(EventKind::TokenRevoked, body);
        let entry = ending(cx, id.any(), reason);
        Ok(commit(cx, Vec::new(), Some(entry), event).await?.rev)
    })
    .await
}

/// Ends a signing key and everything it signed; a new one takes its place in the same write.
async fn key(cx: &Cx, id: KeyId, reason: &str) -> Result<u64, Error> {
    decide(|| async {
        let keys = cx.world.store.signing_keys(cx.tenant.id).await?;
        let found = keys.into_iter().find(|key| key.sealed.id == id);
        let mut key = found.ok_or_else(|| Refusal::not_found("signing-key", id))?;
        if key.state == KeyState::Revoked {
            return Err(already("signing key", "revoked").into());
        }
        if key.sealed.purpose != crate::keys::KeyPurpose::Token {
            return Err(DecideError::from(Refusal::new(
                Rule::StateForbids,
                "verifiers hold the keys of the feed and the log to account; they are not revoked \
                 over the feed that they sign",
                "restore the installation from a backup under a new generation",
            )));
        }
        let successor = keys::generate(&cx.world, cx.tenant.id, key.sealed.purpose, cx.now).await?;
        let was_active = key.state == KeyState::Active;
        key.state = KeyState::Revoked;
        let body = Body {
            key: Some(id),
            target: Some(id.any()),
            reason: Some(reason.to_owned()),
            changes: [("successor", successor.sealed.id.to_string())].into(),
            ..Body::default()
        };
        let event = cx.event(EventKind::KeyRevoked, body);
        let mut rows = vec![Row::Key(key)];
        if was_active {
            rows.push(Row::Key(successor));
        }
        Ok(commit(cx, rows, Some(ending(cx, id.any(), reason)), event).await?.rev)
    })
    .await
}

/// Entries of the graph, newest first.
pub async fn list(cx: &Cx, page: Page) -> Result<Listed<RevocationView>, Error> {
    cx.require(AdminPermission::Read)?;
    let read = |page| cx.world.store.revocations(cx.tenant.id, page);
    listed(page, read, |row| row.rev.to_string(), |row| row.view()).await
}
