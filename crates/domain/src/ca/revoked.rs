//! RFC 5280 section 5: the lists of revoked certificates of an organization's authorities, each signed
//! by the one that signed the certificates.
//!
//! A list is made when it is asked for, and says what everything else says: it is read off the one
//! revocation graph. A root's has the intermediates that were revoked, an intermediate's has instances'
//! certificates; those that are over stay for as long as their rows do, so that a verifier whose clock is
//! behind finds them. Its number is the revocation counter and then the time: no list of a higher
//! number knows of less, whichever node made it.
//!
//! An authority that was revoked has no list any more: whoever stole its key would sign another. What
//! it signed ends by its issuer's list, or with its own last list, which is over soon. So it is after a
//! restore, too: which certificates the intermediates of before signed is not known, and all of them are
//! revoked ([`crate::restoration`]).

use std::collections::HashMap;
use std::time::Duration;

use accredit_wire::ids::{AnyId, KeyId, Kind};
use accredit_wire::time::Time;
use accredit_wire::x509::certificate::{Life, Named, SERIAL_BYTES};
use accredit_wire::x509::crl::{self, Reason, Revoked, UnsignedList};
use accredit_wire::x509::upstream::Above;
use serde::Serialize;

use super::{Certified, INTERMEDIATE_LIFE, name};
use crate::context::World;
use crate::keys::{KeyPurpose, KeyState, SigningKey};
use crate::ports::SignedCertificate;
use crate::refusal::Fault;
use crate::tenant::{Keys, Tenant, placed};

/// How long a list or an answer says anything: `nextUpdate - thisUpdate`, seconds. How long after a
/// revocation whoever goes by it may still take a certificate that it ended: what we publish as the
/// bound of this form.
pub const KNOWN_WITHIN_SECONDS: u32 = 300;
/// After how long what is asked for is made anew, where something was revoked since.
pub const REMADE_EVERY: Duration = Duration::from_secs(5);
/// After how long what is asked for is made anew, whether anything was revoked or not: so much less is
/// left of what is served at least.
pub const SERVED_MAX: Duration = Duration::from_mins(1);
/// How long a cache on the way may keep it, seconds.
pub const CACHED_SECONDS: u32 = 5;
/// Rows that are read at a time to make a list.
pub const ROWS_READ_MAX: usize = 4096;
/// Certificates on a list, at most: some 60 MB. Where more were revoked within their life there is no
/// list, and whoever goes by one takes none of them.
pub const ENTRIES_MAX: usize = 1 << 20;

const _: () = assert!(SERVED_MAX.as_secs() as u32 * 2 <= KNOWN_WITHIN_SECONDS);

/// From when until when what is made at `now` says anything.
pub(super) fn life(now: Time) -> Life {
    Life { from: now, until: now.plus(Duration::from_secs(u64::from(KNOWN_WITHIN_SECONDS))) }
}

/// An authority of the organization that has a certificate which is not over.
pub(super) fn authority(
    keys: &Keys,
    id: KeyId,
    now: Time,
) -> Result<Option<(SigningKey, Certified)>, Fault> {
    let Some(key) = keys.all().iter().find(|key| key.sealed.id == id) else { return Ok(None) };
    let certified = Certified::of(key)?.filter(|held| held.certificate.until() > now);
    Ok(certified.map(|certified| (key.clone(), certified)))
}

/// The intermediates whose certificates may not be over: of the others, which only grow more, none is
/// read.
pub(super) fn intermediates(
    keys: &Keys,
    now: Time,
) -> impl DoubleEndedIterator<Item = &SigningKey> {
    crate::keys::of(keys.all(), KeyPurpose::Ca).filter(move |key| match key.state {
        KeyState::Next | KeyState::Active | KeyState::Retiring => true,
        // Its certificate was made before it came into its state.
        KeyState::Retired | KeyState::Revoked => {
            key.changed_at.unwrap_or(key.created_at).plus(INTERMEDIATE_LIFE) > now
        }
    })
}

/// The certificate of one of its authorities, DER; nothing of one that was revoked or is over.
pub fn certificate(tenant: &Tenant, id: KeyId, now: Time) -> Result<Option<Vec<u8>>, Fault> {
    let found = authority(&tenant.keys(), id, now)?;
    let found = found.filter(|(key, _)| key.state != KeyState::Revoked);
    Ok(found.map(|(_, held)| held.shown().to_vec()))
}

/// The authorities whose lists whoever goes by lists wants to have: roots that are published, and
/// intermediates whose certificates are not over.
pub fn published(tenant: &Tenant, now: Time) -> Result<Vec<KeyId>, Fault> {
    let keys = tenant.keys();
    let mut ids: Vec<KeyId> =
        placed(keys.all(), KeyPurpose::CaRoot).map(|key| key.sealed.id).collect();
    for key in intermediates(&keys, now) {
        let is_over = Certified::of(key)?.is_none_or(|held| held.certificate.until() <= now);
        if !is_over && key.state != KeyState::Revoked {
            ids.push(key.sealed.id);
        }
    }
    Ok(ids)
}

/// The lists of an organization's authorities as they are shown.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ListsView {
    /// Where anybody may have all of them, PEM.
    pub url: String,
    /// How long after a revocation whoever goes by them may still take what it ended, seconds.
    pub known_within: u32,
    /// Each of them.
    pub lists: Vec<ListView>,
}

/// A list as it is shown.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ListView {
    /// The authority that signed it.
    #[schema(value_type = String)]
    pub authority: KeyId,
    /// How many certificates are on it.
    pub certificates: usize,
    /// When it was made.
    #[schema(value_type = String)]
    pub updated_at: Time,
    /// When it is over.
    #[schema(value_type = String)]
    pub expires_at: Time,
    /// The list (RFC 7468).
    pub crl: String,
}

/// Certificates that were revoked, in the order of their serial numbers.
type Entries = Vec<([u8; SERIAL_BYTES], Revoked)>;

/// A list as it is served.
#[derive(Clone, Debug)]
pub struct List {
    /// The list, DER.
    pub der: Vec<u8>,
    /// The revocation counter up to which it says what has ended.
    pub rev: u64,
    /// From when until when it says anything.
    pub life: Life,
    /// When it was made, by the monotonic clock.
    pub made_at: Duration,
    /// What is on it.
    entries: Entries,
}

impl List {
    /// Whether it may still be served at `up`, by the monotonic clock.
    pub fn holds(&self, tenant: &Tenant, up: Duration) -> bool {
        holds(tenant, (self.rev, self.made_at), up)
    }

    /// How many certificates are on it.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none on it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn said(&self, serial: &[u8; SERIAL_BYTES]) -> Option<Revoked> {
        let at = self.entries.binary_search_by(|(held, _)| held.cmp(serial)).ok()?;
        self.entries.get(at).map(|(_, revoked)| *revoked)
    }
}

/// Whether something of a counter and of an age may still be served: it is young enough, and nothing
/// was revoked since, or only just.
pub(super) fn holds(tenant: &Tenant, (rev, made_at): (u64, Duration), up: Duration) -> bool {
    let age = up.saturating_sub(made_at);
    (rev == tenant.rev() || age < REMADE_EVERY) && age < SERVED_MAX
}

/// Makes the list of an authority; nothing where there is no such one. `before` is its last list: what
/// it said of a certificate is said again.
pub async fn publish(
    world: &World,
    tenant: &Tenant,
    id: KeyId,
    before: Option<&List>,
) -> Result<Option<List>, Fault> {
    let (now, made_at) = (world.clock.now(), world.clock.elapsed());
    // The counter is read before what it counts, and the rows last: a certificate that is written
    // later was held to everything that was revoked until then.
    let mut rev = tenant.rev();
    let keys = tenant.keys();
    let found = authority(&keys, id, now)?.filter(|(key, _)| key.state != KeyState::Revoked);
    let Some((key, certified)) = found else { return Ok(None) };
    let entries = if key.sealed.purpose == KeyPurpose::CaRoot {
        revoked_by(&keys, id, now)?
    } else {
        let state = tenant.revoked();
        rev = state.rev();
        let mut reading = Reading { world, tenant, state: &state, before, spans: HashMap::new() };
        reading.entries(id).await?
    };
    let unmade = |error| Fault::new("make a list of revoked certificates", error);
    let number = crl::number(rev, now);
    let called = name(id);
    let identifier = certified.above.as_ref().and_then(Above::identifier);
    let issuer = Named { identifier, ..Named::new(&called, &key.sealed.public) };
    let life = life(now);
    let unsigned = UnsignedList::new(issuer, number, life, &entries).map_err(unmade)?;
    let signature = world.vault.sign(&key.sealed, unsigned.signing_input()).await?;
    let der = unsigned.finish(&signature).map_err(unmade)?;
    Ok(Some(List { der, rev, life, made_at, entries }))
}

/// What is said of an intermediate, where it was revoked.
pub(super) fn revoked_intermediate(key: &SigningKey) -> Option<Revoked> {
    let at = key.changed_at.unwrap_or(key.created_at);
    let is_revoked = key.state == KeyState::Revoked;
    is_revoked.then_some(Revoked { at, reason: Some(Reason::CaCompromise) })
}

/// The intermediates that a root signed and that were revoked.
fn revoked_by(keys: &Keys, root: KeyId, now: Time) -> Result<Entries, Fault> {
    let mut entries = Vec::new();
    for key in intermediates(keys, now) {
        let Some(revoked) = revoked_intermediate(key) else { continue };
        let Some(held) = Certified::of(key)? else { continue };
        if held.root == root && held.certificate.until() > now {
            entries.push((*held.certificate.serial(), revoked));
        }
    }
    entries.sort_unstable_by_key(|(serial, _)| *serial);
    Ok(entries)
}

/// Whatever was revoked says when and why, as far as the graph knows.
pub(super) struct Reading<'a> {
    pub(super) world: &'a World,
    pub(super) tenant: &'a Tenant,
    pub(super) state: &'a accredit_wire::revocations::State,
    pub(super) before: Option<&'a List>,
    /// By target: for counters from the first up to below the second it ended at that time.
    pub(super) spans: HashMap<AnyId, Vec<(u64, u64, Time)>>,
}

impl Reading<'_> {
    /// Those of an intermediate's certificates that were revoked.
    async fn entries(&mut self, by: KeyId) -> Result<Entries, Fault> {
        let (mut entries, mut after) = (Vec::new(), None);
        loop {
            let (store, org) = (&self.world.store, self.tenant.id);
            let rows = store.certificates_signed(org, by, after, ROWS_READ_MAX).await?;
            for row in &rows {
                let Some(revoked) = self.revoked(row).await? else { continue };
                if entries.len() == ENTRIES_MAX {
                    let why = format!("{by}: more than {ENTRIES_MAX} certificates were revoked");
                    return Err(Fault::new("make a list of revoked certificates", why));
                }
                entries.push((row.serial, revoked));
            }
            after = rows.last().map(|row| row.serial);
            if rows.len() < ROWS_READ_MAX {
                return Ok(entries);
            }
        }
    }

    /// What is said of a certificate, where it was revoked.
    pub(super) async fn revoked(
        &mut self,
        row: &SignedCertificate,
    ) -> Result<Option<Revoked>, Fault> {
        let ended = |id: &AnyId| self.state.is_dead([*id], row.rev).is_some();
        let ended: Vec<AnyId> = row.lineage.iter().copied().filter(ended).collect();
        if ended.is_empty() {
            return Ok(None);
        }
        if let Some(said) = self.before.and_then(|before| before.said(&row.serial)) {
            return Ok(Some(said));
        }
        let mut first: Option<Revoked> = None;
        for target in ended {
            // A signing key's end is of everything, whatever its counter.
            let above = if target.kind() == Kind::Key { 0 } else { row.rev };
            let at = self.ended_at(target, above).await?;
            if first.is_none_or(|first| at < first.at) {
                first = Some(Revoked { at, reason: reason(target) });
            }
        }
        Ok(first)
    }

    /// When a target ended first above a counter. Of many certificates that one revocation ended it is
    /// read once, or a few times.
    async fn ended_at(&mut self, target: AnyId, above: u64) -> Result<Time, Fault> {
        let spans = self.spans.entry(target).or_default();
        let within = |span: &&(u64, u64, Time)| span.0 <= above && above < span.1;
        if let Some((_, _, at)) = spans.iter().find(within) {
            return Ok(*at);
        }
        let (store, org) = (&self.world.store, self.tenant.id);
        let Some(first) = store.first_revocation_after(org, target, above).await? else {
            // It is in the state and not in the store any more: it was kept for longer than it needed.
            return Ok(self.world.clock.now());
        };
        spans.push((above, first.rev, first.revoked_at));
        Ok(first.revoked_at)
    }
}

/// Why what hangs on a target ended with it.
fn reason(target: AnyId) -> Option<Reason> {
    match target.kind() {
        Kind::Key => Some(Reason::CaCompromise),
        Kind::Token => None,
        Kind::Organization
        | Kind::Person
        | Kind::Agent
        | Kind::Instance
        | Kind::Resource
        | Kind::Federation
        | Kind::Credential
        | Kind::Task
        | Kind::Block
        | Kind::Revocation
        | Kind::Event
        | Kind::Request => Some(Reason::PrivilegeWithdrawn),
    }
}
