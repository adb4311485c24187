//! Token Status List (draft-ietf-oauth-status-list-20): the places that tokens have in lists, and the
//! lists, read off the one revocation graph.
//!
//! A token of a resource that asks for it gets a place in the list that this process has open, drawn
//! at random, so that neighbours say nothing of one another (section 12.5.2). A list belongs to the
//! process that opened it and is never opened again: that no place is given twice is known in memory,
//! and the store refuses it once more. The place is written with the token's event, before anybody
//! has the token, and its row is gone once no verifier takes the token any longer.
//!
//! What a list says is asked of the state that everything else asks (`wire::revocations`): there is
//! no second notion of what was revoked. A list of an earlier generation of the store is not there:
//! its tokens are dead, and some of their rows may be lost.

use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use accredit_wire::ids::{AnyId, KeyId, OrganizationId};
use accredit_wire::jose::jws::ProtectedHeader;
use accredit_wire::jose::jwt::SKEW_MAX;
use accredit_wire::status_list::{Reference, STATUS_LIST_TYPE, StatusList, Statuses};
use accredit_wire::time::Time;

use crate::context::{Cx, World};
use crate::ports::BoxFuture;
use crate::refusal::Fault;
use crate::tenant::Tenant;

/// Entries of a list. Most of them are nobody's, and say the same as those of live tokens.
pub const ENTRIES: u32 = 1 << 17;
/// Entries of a list that are given to tokens before another is opened: so few that a place which is
/// drawn is mostly free.
pub const ENTRIES_GIVEN_MAX: u32 = ENTRIES / 2;
/// `ttl`: how long whoever fetched a list may go by it, seconds.
pub const TTL_SECONDS: u32 = 30;
/// `exp - iat`: how long a list says anything at all, seconds.
pub const LIFE_SECONDS: u32 = 90;
/// After how long a list that is asked for is made anew, where something was revoked since.
pub const REMADE_EVERY: Duration = Duration::from_secs(5);
/// After how long a list that is asked for is made anew, whether anything was revoked or not: what is
/// served lives longer than its `ttl`.
pub const SERVED_MAX: Duration = Duration::from_secs(30);
/// How long a cache on the way may keep a list, seconds.
pub const CACHED_SECONDS: u32 = 5;
/// How long after a revocation whoever goes by lists, and by their `ttl`, may still take a token that
/// it ended, seconds: what we publish as the bound of this form.
pub const KNOWN_WITHIN_SECONDS: u32 = REMADE_EVERY.as_secs() as u32 + CACHED_SECONDS + TTL_SECONDS;
/// Rows that are read at a time to make a list.
pub const ROWS_READ_MAX: usize = 4096;
/// Lists of an organization that are named at once (section 9): some two million tokens.
pub const LISTS_NAMED_MAX: usize = 1024;

const _: () = assert!(ENTRIES.is_power_of_two());
const _: () = assert!(SERVED_MAX.as_secs() as u32 + TTL_SECONDS <= LIFE_SECONDS);

/// Names a list: `g{generation}-{16 hexadecimal digits}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListId {
    /// The generation of the store in which it was opened.
    pub generation: u64,
    /// Drawn at random.
    pub number: u64,
}

impl fmt::Display for ListId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "g{}-{:016x}", self.generation, self.number)
    }
}

/// The text names no list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoListId;

impl fmt::Display for NoListId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list is named `g`, a generation, `-` and 16 hexadecimal digits")
    }
}

impl std::error::Error for NoListId {}

impl FromStr for ListId {
    type Err = NoListId;

    fn from_str(text: &str) -> Result<Self, NoListId> {
        let (generation, number) =
            text.strip_prefix('g').and_then(|rest| rest.split_once('-')).ok_or(NoListId)?;
        let id = Self {
            generation: generation.parse().map_err(|_| NoListId)?,
            number: u64::from_str_radix(number, 16).map_err(|_| NoListId)?,
        };
        // One spelling for each.
        if id.to_string() == text { Ok(id) } else { Err(NoListId) }
    }
}

/// The place of a token in a status list, which no other token ever has.
#[derive(Clone, Copy, Debug)]
pub struct StatusPlace {
    /// Which list.
    pub list: ListId,
    /// Which entry of it.
    pub index: u32,
    /// Until when a verifier may take the token.
    pub until: Time,
}

/// A token's place, as a list is made from it.
#[derive(Clone, Debug)]
pub struct ListedToken {
    /// Which entry it has.
    pub index: u32,
    /// The revocation counter that its decision saw.
    pub rev: u64,
    /// What it hangs on.
    pub lineage: Vec<AnyId>,
}

/// The places of tokens in status lists, for reading. They are written by
/// [`Ledger::record_issuance`] and forgotten by [`Ledger::forget_before`].
///
/// [`Ledger::record_issuance`]: crate::ports::Ledger::record_issuance
/// [`Ledger::forget_before`]: crate::ports::Ledger::forget_before
pub trait StatusLists: Send + Sync {
    /// The tokens of a list that verifiers may still take, from entry `from` on, at most `limit`.
    fn listed_tokens(
        &self,
        org: OrganizationId,
        list: ListId,
        from: u32,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<ListedToken>, Fault>>;

    /// The lists that have such tokens, at most `limit`.
    fn status_lists(
        &self,
        org: OrganizationId,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<ListId>, Fault>>;
}

/// The list that a process has open in one organization.
#[derive(Debug, Default)]
pub struct OpenList(Mutex<Option<Open>>);

#[derive(Debug)]
struct Open {
    id: ListId,
    given: u32,
    /// A bit for each entry that was given.
    taken: Vec<u64>,
}

impl Open {
    fn new(cx: &Cx) -> Self {
        let number = u64::from_be_bytes(cx.world.random());
        let id = ListId { generation: cx.tenant.generation, number };
        Self { id, given: 0, taken: vec![0; ENTRIES as usize / 64] }
    }

    /// Takes an entry; nothing where it was given before.
    fn take(&mut self, index: u32) -> Option<u32> {
        let word = self.taken.get_mut(index as usize / 64)?;
        let bit = 1 << (index % 64);
        if *word & bit != 0 {
            return None;
        }
        *word |= bit;
        self.given += 1;
        Some(index)
    }
}

impl OpenList {
    /// Gives a token that lives until `expires_at`, seconds, a place that no other token ever has.
    pub fn give(&self, cx: &Cx, expires_at: i64) -> StatusPlace {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |open: &Open| open.given >= ENTRIES_GIVEN_MAX;
        if open.as_ref().is_some_and(full) {
            *open = None;
        }
        let open = open.get_or_insert_with(|| Open::new(cx));
        // Half of all entries are free at least: this ends soon.
        let index = loop {
            let drawn = u32::from_be_bytes(cx.world.random()) % ENTRIES;
            if let Some(index) = open.take(drawn) {
                break index;
            }
        };
        let until = Time::from_seconds(expires_at).plus(SKEW_MAX);
        StatusPlace { list: open.id, index, until }
    }
}

/// The `uri` of a list.
pub fn uri(tenant: &Tenant, list: ListId) -> String {
    format!("{}/status-lists/{list}", tenant.issuer)
}

/// What a token says of its place.
pub(crate) fn reference(tenant: &Tenant, place: &StatusPlace) -> Reference {
    Reference { uri: uri(tenant, place.list), index: place.index }
}

/// A list as it is served.
#[derive(Clone, Debug)]
pub struct Published {
    /// The Status List Token.
    pub text: String,
    /// The revocation counter up to which it says what has ended.
    pub rev: u64,
    /// The key that signed it.
    pub key: KeyId,
    /// When it was made, by the monotonic clock.
    pub made_at: Duration,
}

impl Published {
    /// Whether it may still be served at `up`, by the monotonic clock: signed by the key that signs
    /// now, young enough, and nothing was revoked since, or only just.
    pub fn holds(&self, tenant: &Tenant, up: Duration) -> bool {
        let age = up.saturating_sub(self.made_at);
        let current = self.rev == tenant.rev() || age < REMADE_EVERY;
        current && age < SERVED_MAX && self.key == tenant.token_key().id
    }
}

/// Makes a list: nothing where there is no such list, or all its tokens are over.
pub async fn publish(
    world: &World,
    tenant: &Tenant,
    list: ListId,
) -> Result<Option<Published>, Fault> {
    if list.generation != tenant.generation {
        return Ok(None);
    }
    let (now, made_at) = (world.clock.now(), world.clock.elapsed());
    let Some((rev, statuses)) = statuses(world, tenant, list).await? else { return Ok(None) };
    let issued_at = now.seconds();
    let said = StatusList {
        uri: uri(tenant, list),
        issued_at,
        expires_at: issued_at + i64::from(LIFE_SECONDS),
        ttl: Some(TTL_SECONDS),
        statuses,
    };
    // The key that resource servers have: that of the tokens, under another type.
    let key = tenant.token_key();
    let kid = key.id.to_string();
    let header = ProtectedHeader::new(STATUS_LIST_TYPE, key.sealed.algorithm, Some(&kid));
    let header = header.map_err(|error| Fault::new("sign a status list", error))?;
    let input = said.signing_input(&header);
    let signature = world.vault.sign(&key.sealed, input.bytes()).await?;
    Ok(Some(Published { text: input.finish(&signature), rev, key: key.id, made_at }))
}

/// Reads what a list says. The state is taken before the rows: a token that is written later was held
/// to everything that was revoked until then.
async fn statuses(
    world: &World,
    tenant: &Tenant,
    list: ListId,
) -> Result<Option<(u64, Statuses)>, Fault> {
    let state = tenant.revoked();
    let mut statuses = Statuses::new(ENTRIES as usize);
    let (mut from, mut any) = (0, false);
    loop {
        let rows = world.store.listed_tokens(tenant.id, list, from, ROWS_READ_MAX).await?;
        let Some(last) = rows.last().map(|row| row.index) else { break };
        for row in &rows {
            if state.is_dead(row.lineage.iter().copied(), row.rev).is_some() {
                statuses.revoke(row.index);
            }
        }
        (from, any) = (last + 1, true);
        if rows.len() < ROWS_READ_MAX {
            break;
        }
    }
    Ok(any.then(|| (state.rev(), statuses)))
}

/// The lists of an organization that have tokens, by their `uri`s (section 9.2): at most
/// [`LISTS_NAMED_MAX`].
pub async fn uris(world: &World, tenant: &Tenant) -> Result<Vec<String>, Fault> {
    let mut lists = world.store.status_lists(tenant.id, LISTS_NAMED_MAX).await?;
    lists.retain(|list| list.generation == tenant.generation);
    Ok(lists.into_iter().map(|list| uri(tenant, list)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_one_name() {
        let id = ListId { generation: 3, number: 0xab };
        assert_eq!(id.to_string(), "g3-00000000000000ab");
        assert_eq!("g3-00000000000000ab".parse(), Ok(id));
        for text in [
            "",
            "g3",
            "g3-ab",
            "g3-00000000000000AB",
            "g03-00000000000000ab",
            "3-0",
            "g+3-00000000000000ab",
        ] {
            assert_eq!(text.parse::<ListId>(), Err(NoListId), "{text}");
        }
    }

    #[test]
    fn no_entry_is_given_twice_and_none_is_outside() {
        let id = ListId { generation: 1, number: 1 };
        let mut open = Open { id, given: 0, taken: vec![0; ENTRIES as usize / 64] };
        assert!((0..ENTRIES).all(|index| open.take(index) == Some(index)));
        assert!((0..=ENTRIES).all(|index| open.take(index).is_none()));
        assert_eq!(open.given, ENTRIES);
    }
}
