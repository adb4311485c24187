//! draft-ietf-httpapi-ratelimit-headers: how many requests one caller may send in a time.
//!
//! The generic cell rate algorithm: for each caller one number is kept, the time at which its
//! allowance would be whole again. A request moves it on by one share of the window; one that
//! would move it past the window is refused. Memory is bounded: callers who have been quiet for a
//! window are forgotten, which gives them nothing, and where there are too many all further ones
//! share one allowance.
//!
//! Absent on purpose: fairness between processes. Each counts for itself.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use accredit_wire::ids::{AnyId, OrganizationId};
use accredit_wire::time::Time;

use crate::audit::refusals::network;
use crate::refusal::{Refusal, Rule};
use crate::registry::quota::Quotas;

/// Strangers remembered one by one, of those who failed to authenticate; beyond, all others share
/// one allowance.
pub const LIMIT_STRANGERS_MAX: usize = 32_768;
/// The same of callers who proved who they are, in some 40 MB.
pub const LIMIT_CALLERS_MAX: usize = 1_048_576;
/// Requests of one limit in one window, at most.
pub const LIMIT_REQUESTS_MAX: u32 = 100_000_000;
/// Seconds of a window.
pub const LIMIT_WINDOW_SECONDS: u32 = 60;
/// Failed authentications of one claimed client from one network in a minute, where nobody says.
pub const FAILURES_DEFAULT: u32 = 6_000;
/// Requests to the admin API of one organization in a minute, where nobody says.
pub const ADMIN_DEFAULT: u32 = 600_000;
/// Requests of one client to the token, introspection and revocation endpoints in a minute, where
/// nobody says: as many as it likes.
pub const CLIENT_DEFAULT: u32 = 0;

const SHARDS: usize = 16;
/// How often a full shard is searched for callers to forget.
const SWEEP_NANOS: i64 = 1_000_000_000;
/// The key that callers share where there are too many.
const CROWD: u64 = 0;

/// How many requests a minute; 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Of one authenticated client, at the token, introspection and revocation endpoints.
    pub client: u32,
    /// Failed authentications under one claimed client from one network, at the same endpoints.
    pub failures: u32,
    /// Of one organization's administrators together, at the admin API.
    pub organization: u32,
}

impl Default for Rates {
    fn default() -> Self {
        Self { client: CLIENT_DEFAULT, failures: FAILURES_DEFAULT, organization: ADMIN_DEFAULT }
    }
}

/// How a caller stands after a request was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Requests in a whole window.
    pub quota: u32,
    /// Requests that would be taken at once.
    pub remaining: u32,
    /// Seconds until the allowance is whole.
    pub reset: u32,
    /// Whether this request was taken; where not, seconds until the next one is.
    pub refused: Option<u32>,
}

impl Standing {
    /// Nothing where the request was taken, else the refusal.
    pub fn refusal(&self) -> Result<(), Refusal> {
        let Some(seconds) = self.refused else { return Ok(()) };
        Err(Refusal {
            retry_after: Some(seconds),
            ..Refusal::new(
                Rule::RateLimited,
                format!("more than {} requests in {LIMIT_WINDOW_SECONDS} s", self.quota),
                format!(
                    "wait {seconds} s, then repeat the request; a token is good until it expires"
                ),
            )
        })
    }
}

/// One limit over many callers.
pub struct Limit {
    quota: AtomicU32,
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
    /// Callers that a shard remembers.
    shard_max: usize,
}

#[derive(Default)]
struct Shard {
    /// When each caller's allowance is whole again.
    whole: HashMap<u64, i64>,
    /// When it was last searched for callers to forget.
    swept: i64,
}

impl Shard {
    /// Whether one more caller can be remembered; forgets those whose allowance is whole, if need
    /// be.
    fn has_place(&mut self, now: i64, most: usize) -> bool {
        if self.whole.len() >= most && (now - self.swept).abs() >= SWEEP_NANOS {
            self.swept = now;
            // One that is whole later than it can be is of before the clock was set back.
            let lives = |whole: i64| whole > now && whole <= now + WINDOW_NANOS;
            self.whole.retain(|key, whole| *key == CROWD || lives(*whole));
        }
        self.whole.len() < most
    }
}

impl Limit {
    /// A limit of so many requests a minute, 0 is none, that remembers so many callers one by one.
    pub fn new(quota: u32, callers_max: usize) -> Self {
        Self {
            quota: AtomicU32::new(quota.min(LIMIT_REQUESTS_MAX)),
            hasher: RandomState::new(),
            shards: Default::default(),
            shard_max: callers_max / SHARDS,
        }
    }

    fn set(&self, quota: u32) {
        self.quota.store(quota.min(LIMIT_REQUESTS_MAX), Ordering::Relaxed);
    }

    /// Counts a request of `caller` at `now`. Nothing where there is no limit.
    pub fn take(&self, caller: impl Hash, now: Time) -> Option<Standing> {
        self.ask(caller, now, true)
    }

    /// How `caller` stands at `now`, without counting.
    pub fn look(&self, caller: impl Hash, now: Time) -> Option<Standing> {
        self.ask(caller, now, false)
    }

    fn ask(&self, caller: impl Hash, now: Time, take: bool) -> Option<Standing> {
        let quota = self.quota.load(Ordering::Relaxed);
        if quota == 0 {
            return None;
        }
        let key = self.hasher.hash_one(caller).max(CROWD + 1);
        let now = nanos(now);
        let shard = self.shards.get(key as usize % SHARDS)?;
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let known = shard.whole.contains_key(&key) || shard.has_place(now, self.shard_max);
        let key = if known { key } else { CROWD };
        // An allowance that is whole later than it can be: the clock was set back, and nobody is
        // to wait for that.
        let kept = shard.whole.get(&key).copied().filter(|whole| *whole <= now + WINDOW_NANOS);
        let held = kept.unwrap_or(now).max(now);
        let share = WINDOW_NANOS / i64::from(quota);
        let moved = held + share;
        let fits = moved <= now + WINDOW_NANOS;
        let whole = if take && fits { moved } else { held };
        if take {
            shard.whole.insert(key, whole);
        }
        drop(shard);
        let remaining = (now + WINDOW_NANOS - whole) / share;
        Some(Standing {
            quota,
            remaining: u32::try_from(remaining).unwrap_or(quota).min(quota),
            reset: seconds_up(whole - now),
            refused: (!fits).then(|| seconds_up(moved - now - WINDOW_NANOS).max(1)),
        })
    }
}

const WINDOW_NANOS: i64 = LIMIT_WINDOW_SECONDS as i64 * 1_000_000_000;

fn nanos(now: Time) -> i64 {
    now.micros().saturating_mul(1000).min(i64::MAX / 2)
}

fn seconds_up(nanos: i64) -> u32 {
    u32::try_from((nanos + 999_999_999) / 1_000_000_000).unwrap_or(0)
}

/// The limits of a process: requests by who sends them, and what one organization may have.
pub struct Limits {
    /// Of one authenticated client.
    client: Limit,
    /// Of failed authentications.
    failures: Limit,
    /// Of one organization's administrators.
    organization: Limit,
    /// How much one organization may have.
    quotas: Mutex<Quotas>,
}

impl Default for Limits {
    fn default() -> Self {
        Self::new(Rates::default())
    }
}

impl Limits {
    /// These rates.
    pub fn new(rates: Rates) -> Self {
        Self {
            client: Limit::new(rates.client, LIMIT_CALLERS_MAX),
            failures: Limit::new(rates.failures, LIMIT_STRANGERS_MAX),
            organization: Limit::new(rates.organization, LIMIT_CALLERS_MAX),
            quotas: Mutex::new(Quotas::default()),
        }
    }

    /// From now on these rates. What was counted stays.
    pub fn set(&self, rates: Rates) {
        self.client.set(rates.client);
        self.failures.set(rates.failures);
        self.organization.set(rates.organization);
    }

    /// How much one organization may have.
    pub fn quotas(&self) -> Quotas {
        *self.quotas.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on one organization may have so much. What it has stays.
    pub fn set_quotas(&self, quotas: Quotas) {
        *self.quotas.lock().unwrap_or_else(PoisonError::into_inner) = quotas;
    }

    /// Counts a request of an authenticated client.
    pub fn client(&self, client: AnyId, now: Time) -> Option<Standing> {
        self.client.take(client, now)
    }

    /// How an authenticated client stands.
    pub fn client_stands(&self, client: AnyId, now: Time) -> Option<Standing> {
        self.client.look(client, now)
    }

    /// Counts a request to the admin API.
    pub fn organization(&self, org: OrganizationId, now: Time) -> Option<Standing> {
        self.organization.take(org, now)
    }

    /// Refuses further attempts under a claim from a network that has failed too often. What was
    /// claimed proves nothing, so the network is part of it: nobody elsewhere is shut out.
    pub fn may_try(&self, claim: &Claim<'_>, now: Time) -> Result<(), Refusal> {
        self.failures.look(claim, now).map_or(Ok(()), |standing| standing.refusal())
    }

    /// Counts a failed authentication.
    pub fn failed(&self, claim: &Claim<'_>, now: Time) {
        self.failures.take(claim, now);
    }
}

/// What is known of a caller who has proved nothing.
#[derive(Clone, Copy, Debug, Hash)]
pub struct Claim<'a> {
    /// In which organization.
    pub org: OrganizationId,
    /// Who it says that it is.
    pub client: Option<&'a str>,
    /// From which network.
    network: Option<IpAddr>,
}

impl<'a> Claim<'a> {
    /// A claim from an address, of which the network counts: /24 or /48.
    pub fn new(org: OrganizationId, client: Option<&'a str>, source: Option<IpAddr>) -> Self {
        Self { org, client, network: source.map(network) }
    }

    /// A claim where it is not known in which organization: an administrator's or an operator's key
    /// says of which credential it is, and no more.
    pub fn at_any_door(credential: Option<&'a str>, source: Option<IpAddr>) -> Self {
        Self::new(OrganizationId::new(0, [0; 10]), credential, source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn at(micros: u64) -> Time {
        Time::from_seconds(1_000_000).plus(Duration::from_micros(micros))
    }

    #[test]
    fn a_whole_window_is_taken_at_once_and_comes_back_evenly() {
        let limit = Limit::new(60, LIMIT_STRANGERS_MAX);
        for left in (0..60).rev() {
            let standing = limit.take("a", at(0)).expect("a limit");
            assert_eq!((standing.remaining, standing.refused), (left, None));
        }
        let refused = limit.take("a", at(0)).expect("a limit");
        assert_eq!((refused.remaining, refused.refused, refused.reset), (0, Some(1), 60));
        assert_eq!(limit.take("b", at(0)).expect("a limit").remaining, 59, "another caller");
        assert_eq!(limit.take("a", at(999_999)).expect("a limit").refused, Some(1));
        assert_eq!(limit.take("a", at(1_000_000)).expect("a limit").refused, None);
        assert_eq!(limit.look("a", at(61_000_000)).expect("a limit").remaining, 60);
    }

    #[test]
    fn a_limit_of_one_says_how_long_to_wait() {
        let limit = Limit::new(1, LIMIT_STRANGERS_MAX);
        assert_eq!(limit.take("a", at(0)).expect("a limit").refused, None);
        let refused = limit.take("a", at(10_500_000)).expect("a limit");
        assert_eq!(refused.refused, Some(50));
        assert_eq!(refused.refusal().expect_err("refused").retry_after, Some(50));
    }

    #[test]
    fn no_limit_counts_nobody() {
        let limit = Limit::new(0, LIMIT_STRANGERS_MAX);
        assert_eq!(limit.take("a", at(0)), None);
        assert!(limit.shards.iter().all(|shard| shard.lock().expect("lock").whole.is_empty()));
    }

    #[test]
    fn a_flood_of_callers_shares_what_is_left_and_does_not_grow_memory() {
        let limit = Limit::new(10, LIMIT_STRANGERS_MAX);
        let refused = (0..200_000u32)
            .filter(|caller| limit.take(caller, at(0)).is_some_and(|it| it.refused.is_some()))
            .count();
        let held: usize =
            limit.shards.iter().map(|one| one.lock().expect("lock").whole.len()).sum();
        assert!(held <= LIMIT_STRANGERS_MAX + SHARDS, "{held}");
        assert!(refused > 150_000, "{refused}");
        // Those who have been quiet make place again.
        assert_eq!(limit.take("new", at(61_000_000)).expect("a limit").remaining, 9);
    }

    #[test]
    fn as_many_clients_as_a_large_registry_has_are_counted_one_by_one() {
        let limits = Limits::new(Rates { client: 2, ..Rates::default() });
        let client = |n: u64| accredit_wire::ids::AgentId::new(n, [7; 10]).any();
        for asked in [None, None, Some(30)] {
            for n in 0..200_000 {
                let standing = limits.client(client(n), at(0)).expect("a limit");
                assert_eq!(standing.refused, asked, "{n}");
            }
        }
    }

    #[test]
    fn a_clock_that_is_set_back_shuts_nobody_out() {
        let limit = Limit::new(1, LIMIT_STRANGERS_MAX);
        limit.take("a", at(3_600_000_000));
        assert_eq!(limit.take("a", at(0)).expect("a limit").refused, None);
        assert_eq!(limit.take("a", at(1)).expect("a limit").refused, Some(60));
        // Nor does it keep their places.
        let limit = Limit::new(10, LIMIT_STRANGERS_MAX);
        for caller in 0..200_000u32 {
            limit.take(caller, at(86_400_000_000));
        }
        for caller in 0..1000u32 {
            assert_eq!(limit.take(("new", caller), at(0)).expect("a limit").remaining, 9);
        }
    }

    #[test]
    fn failures_shut_out_their_network_and_nobody_else() {
        let limits = Limits::new(Rates { failures: 3, ..Rates::default() });
        let org = OrganizationId::new(1, [1; 10]);
        let claim = |last: u8, third: u8| {
            Claim::new(org, Some("agt_x"), Some(IpAddr::from([10, 0, third, last])))
        };
        for last in 0..3 {
            assert!(limits.may_try(&claim(last, 1), at(0)).is_ok());
            limits.failed(&claim(last, 1), at(0));
        }
        let refusal = limits.may_try(&claim(9, 1), at(0)).expect_err("too many");
        assert_eq!(refusal.rule, Rule::RateLimited);
        assert!(limits.may_try(&claim(9, 2), at(0)).is_ok());
        assert!(limits.may_try(&Claim::new(org, Some("agt_y"), None), at(0)).is_ok());
    }

    proptest! {
        #[test]
        fn in_no_window_is_more_taken_than_twice_the_quota(
            quota in 1u32..50,
            steps in prop::collection::vec(0u64..5_000_000, 1..300),
        ) {
            let limit = Limit::new(quota, LIMIT_STRANGERS_MAX);
            let (mut now, mut taken) = (0, Vec::new());
            for step in steps {
                now += step;
                if limit.take("a", at(now)).expect("a limit").refused.is_none() {
                    taken.push(now);
                }
            }
            for start in &taken {
                let inside = |time: &&u64| **time >= *start && **time < start + 60_000_000;
                prop_assert!(taken.iter().filter(inside).count() <= 2 * quota as usize);
            }
        }
    }
}
