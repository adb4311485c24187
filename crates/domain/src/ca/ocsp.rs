//! RFC 6960, RFC 5019: what an organization's authorities say of single certificates, signed ahead.
//!
//! An answer is made from a certificate's row and the one revocation graph, and signed by the authority
//! that signed the certificate. Of a certificate that has no row nothing is said, in an error without a
//! signature: it was never issued, is over, or was lost in a restore. So nobody can have more signed
//! than there are certificates, and `good` is said of none that is not known.

use std::collections::HashMap;
use std::time::Duration;

use accredit_wire::ids::KeyId;
use accredit_wire::time::Time;
use accredit_wire::x509::certificate::{Life, Named};
use accredit_wire::x509::crl::{Reason, Revoked};
use accredit_wire::x509::ocsp::{CertId, Status, UnsignedAnswer};

use super::revoked::{Reading, authority, holds, intermediates, life, revoked_intermediate};
use super::{Certified, name};
use crate::context::World;
use crate::keys::{self, KeyPurpose, KeyState, SealedKey, SigningKey};
use crate::refusal::Fault;
use crate::tenant::{Keys, Tenant};

/// What is to be said, before it is signed.
pub struct Said {
    by: SealedKey,
    statuses: Vec<(CertId, Status)>,
    rev: u64,
    life: Life,
    made_at: Duration,
}

/// An answer as it is served.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The answer, DER.
    pub der: Vec<u8>,
    /// From when until when it says anything.
    pub life: Life,
    rev: u64,
    made_at: Duration,
}

impl Answer {
    /// Whether it may still be served at `up`, by the monotonic clock.
    pub fn holds(&self, tenant: &Tenant, up: Duration) -> bool {
        holds(tenant, (self.rev, self.made_at), up)
    }
}

/// The authority that all of the questions name; nothing where there is none, or several: one of them
/// cannot answer for another.
pub fn asked(tenant: &Tenant, questions: &[CertId], now: Time) -> Result<Option<KeyId>, Fault> {
    let keys = tenant.keys();
    // The newest first: most questions are about it.
    let authorities = intermediates(&keys, now).rev();
    for key in authorities.chain(keys::of(keys.all(), KeyPurpose::CaRoot)) {
        if is_asked(key, questions)? {
            let found = authority(&keys, key.sealed.id, now)?;
            return Ok(found.map(|(key, _)| key.sealed.id));
        }
    }
    Ok(None)
}

fn is_asked(key: &SigningKey, questions: &[CertId]) -> Result<bool, Fault> {
    let name = name(key.sealed.id);
    let named = Named::new(&name, &key.sealed.public);
    for question in questions {
        let is_of = question.is_of(named);
        if !is_of.map_err(|error| Fault::new("name an authority", error))? {
            return Ok(false);
        }
    }
    Ok(!questions.is_empty())
}

/// What an authority says of certificates; nothing where one of them is not known.
pub async fn said(
    world: &World,
    tenant: &Tenant,
    by: KeyId,
    questions: &[CertId],
) -> Result<Option<Said>, Fault> {
    let (now, made_at) = (world.clock.now(), world.clock.elapsed());
    let mut rev = tenant.rev();
    let keys = tenant.keys();
    let Some((key, _)) = authority(&keys, by, now)? else { return Ok(None) };
    let mut statuses = Vec::with_capacity(questions.len());
    let state = tenant.revoked();
    if key.sealed.purpose == KeyPurpose::Ca {
        rev = state.rev();
    }
    let mut reading = Reading { world, tenant, state: &state, before: None, spans: HashMap::new() };
    for question in questions {
        let status = if key.sealed.purpose == KeyPurpose::CaRoot {
            of_intermediate(&keys, &key, question, now)?
        } else {
            of_instance(&mut reading, &key, question).await?
        };
        let Some(status) = status else { return Ok(None) };
        statuses.push((question.clone(), status));
    }
    Ok(Some(Said { by: key.sealed, statuses, rev, life: life(now), made_at }))
}

/// Signs it.
pub async fn sign(world: &World, said: Said) -> Result<Answer, Fault> {
    let unmade = |error| Fault::new("answer about a certificate", error);
    let unsigned = UnsignedAnswer::new(&said.by.public, said.life, &said.statuses);
    let unsigned = unsigned.map_err(unmade)?;
    let signature = world.vault.sign(&said.by, unsigned.signing_input()).await?;
    let der = unsigned.finish(&signature).map_err(unmade)?;
    Ok(Answer { der, life: said.life, rev: said.rev, made_at: said.made_at })
}

async fn of_instance(
    reading: &mut Reading<'_>,
    by: &SigningKey,
    asked: &CertId,
) -> Result<Option<Status>, Fault> {
    let (store, org) = (&reading.world.store, reading.tenant.id);
    let Some(serial) = asked.serial() else { return Ok(None) };
    let found = store.certificate_numbered(org, by.sealed.id, *serial).await?;
    let Some(row) = found else { return Ok(None) };
    if let Some(revoked) = reading.revoked(&row).await? {
        return Ok(Some(Status::Revoked(revoked)));
    }
    Ok(Some(believed(by)))
}

fn of_intermediate(
    keys: &Keys,
    root: &SigningKey,
    asked: &CertId,
    now: Time,
) -> Result<Option<Status>, Fault> {
    for key in intermediates(keys, now) {
        let Some(held) = Certified::of(key)? else { continue };
        let is_it =
            held.root == root.sealed.id && asked.serial() == Some(held.certificate.serial());
        if is_it && held.certificate.until() > now {
            let revoked = revoked_intermediate(key).map(Status::Revoked);
            return Ok(Some(revoked.unwrap_or_else(|| believed(root))));
        }
    }
    Ok(None)
}

/// What is said of a certificate that nothing ended: nothing good where its issuer is not believed
/// (RFC 6960 section 2.7).
fn believed(issuer: &SigningKey) -> Status {
    let at = issuer.changed_at.unwrap_or(issuer.created_at);
    match issuer.state {
        KeyState::Revoked => Status::Revoked(Revoked { at, reason: Some(Reason::CaCompromise) }),
        KeyState::Next | KeyState::Active | KeyState::Retiring | KeyState::Retired => Status::Good,
    }
}
