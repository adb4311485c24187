//! RFC 7517: instances that are known by a key which they made themselves: nodes, and processes that nodes
//! vouch for.
//!
//! Such an instance has one key. Whoever comes again as the same one, with the same proof and another
//! key, takes the place of the one before: that one's key is revoked, and so is all that was got with it.

use accredit_wire::ids::CredentialId;
use accredit_wire::jose::jwk::Jwk;
use accredit_wire::time::Time;
use serde::Serialize;

use super::credential::{self, Credential, CredentialState, Holder, Proof, described, new_key};
use super::credential_use::UseName;
use super::instance::{Instance, InstanceView};
use super::{DecideError, commit, ending};
use crate::audit::event::{Body, EventKind};
use crate::context::Cx;
use crate::ports::Row;

/// Live keys of an instance that are looked at. It has one.
const KEYS_LOOKED_MAX: usize = 8;
/// Why a key ended whose instance came again with another one.
const REPLACED: &str = "its instance came again with another key";

/// An instance that has got a key.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct KeyedInstance {
    /// The instance.
    #[serde(flatten)]
    pub instance: InstanceView,
    /// What its agent is called.
    pub agent_name: String,
    /// The credential that its key is.
    #[schema(value_type = String)]
    pub key_credential: CredentialId,
    /// When the key ends by itself.
    #[schema(value_type = String)]
    pub key_expires_at: Time,
}

impl KeyedInstance {
    /// As it is shown.
    pub(crate) fn new(cx: &Cx, instance: &Instance, agent_name: &str, key: &Credential) -> Self {
        Self {
            instance: instance.view(cx.now),
            agent_name: agent_name.to_owned(),
            key_credential: key.id,
            key_expires_at: key.expires_at,
        }
    }
}

/// Gives an instance that there is the key by which it is known from now on. The same key again
/// changes nothing.
pub(crate) async fn rekey(
    cx: &Cx,
    instance: &Instance,
    (r#use, jwk): (&UseName, &Jwk),
    ends: Time,
) -> Result<Credential, DecideError> {
    let (store, org) = (&cx.world.store, cx.tenant.id);
    let live = store.keys_of_instance(org, (instance.id, r#use.clone()), cx.now, KEYS_LOOKED_MAX);
    let mut live = live.await?;
    let same = |key: &Credential| match &key.proof {
        Proof::Key(held) => held.thumbprint() == jwk.thumbprint(),
        _ => false,
    };
    if let [only] = live.as_slice()
        && same(only)
    {
        return Ok(only.clone());
    }
    // An administrator may have given it more under this use: each ends by an entry of its own.
    while live.len() > 1 {
        let Some(further) = live.pop() else { break };
        credential::revoke(cx, further.id, REPLACED).await?;
    }
    let holder = Holder::Instance(instance.id, instance.agent);
    let new = new_key(cx, (holder, r#use.clone()), jwk.clone(), ends);
    let created = cx.event(EventKind::CredentialCreated, described(&new));
    // The instance's row moves on, so that of two who come at once one is decided after the other.
    let mut rows = vec![Row::Instance(instance.clone())];
    let Some(mut old) = live.pop() else {
        rows.push(Row::Credential(new.clone()));
        commit(cx, rows, None, created).await?;
        return Ok(new);
    };
    old.state = CredentialState::Revoked;
    old.successor = Some(new.id);
    let body =
        Body { reason: Some(REPLACED.to_owned()), target: Some(old.id.any()), ..described(&old) };
    let event = cx.event(EventKind::CredentialRevoked, body);
    let entry = Some(ending(cx, old.id.any(), REPLACED));
    rows.extend([Row::Credential(old), Row::Credential(new.clone())]);
    rows.push(Row::Event(Box::new(created)));
    commit(cx, rows, entry, event).await?;
    Ok(new)
}
