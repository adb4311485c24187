//! Refusals, bounded: a flood of them fills neither memory nor log.
//!
//! After authentication a refusal is an event, at most so many a minute for each client; the next
//! one tells how many were left out. So is a refusal to somebody whose proof is right and whose
//! credential has ended. [`record`] does so, issuance for itself. Before authentication nothing is
//! recorded one by one: of bounded counters the largest become an event each, and one event tells of
//! all others, whatever a stranger claims to be.

use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use accredit_wire::ids::{AnyId, CredentialId};
use accredit_wire::time::Time;
use std::collections::HashMap;

use super::event::{Body, EventKind};
use super::window_is_over;
use crate::context::Cx;
use crate::ports::{Audited, UsedUp};
use crate::refusal::{Fault, Refusal, Rule};

/// Refusal events for one client in one window.
pub const REFUSAL_EVENTS_MAX: u32 = 20;
/// The window.
pub const REFUSAL_WINDOW: Duration = Duration::from_mins(1);
/// Clients whose refusals are bounded one by one, in some 1 MB; beyond, all others share one
/// allowance. Who had none for a window makes place, and what was left out of theirs is told by the
/// next event of those who share.
pub const REFUSAL_CLIENTS_MAX: usize = 10_000;
/// Kinds of failed authentication counted one by one; beyond, all others share one counter.
pub const FAILURE_KINDS_MAX: usize = 1_000;
/// Kinds of failed authentication that are an event each, whenever they are recorded; one more event
/// counts all others.
pub const FAILURE_EVENTS_MAX: usize = 20;
/// Bytes of a claimed client that are kept.
pub const CLAIMED_CLIENT_BYTES_MAX: usize = 40;

#[derive(Default)]
struct Allowance {
    window_ends: Time,
    used: u32,
    suppressed: u64,
}

impl Allowance {
    /// Whether its window is over: nobody's refusals go unrecorded until the clock has come there
    /// again.
    fn is_over(&self, now: Time) -> bool {
        window_is_over(self.window_ends, REFUSAL_WINDOW, now)
    }
}

/// What failed authentications are counted by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct FailureKind {
    /// By which rule; none where the kinds were too many.
    pub rule: Option<Rule>,
    /// The client that was claimed, shortened and stripped to plain characters.
    pub client: Option<String>,
    /// The source, shortened to its network: /24 or /48.
    pub network: Option<IpAddr>,
}

impl FailureKind {
    fn order(&self) -> (Option<&'static str>, Option<&str>, Option<IpAddr>) {
        (self.rule.map(Rule::code), self.client.as_deref(), self.network)
    }
}

/// Bounds on what is recorded of refusals.
#[derive(Default)]
pub struct Refusals {
    allowances: Mutex<HashMap<Option<AnyId>, Allowance>>,
    failures: Mutex<HashMap<FailureKind, u64>>,
}

impl Refusals {
    /// Whether a refusal to `client` is recorded now, and how many were left out before it.
    pub fn admit(&self, client: AnyId, now: Time) -> Option<u64> {
        let mut allowances = self.allowances.lock().ok()?;
        if allowances.len() >= REFUSAL_CLIENTS_MAX && !allowances.contains_key(&Some(client)) {
            let mut left_out = 0;
            allowances.retain(|client, allowance| {
                let stays = client.is_none() || !allowance.is_over(now);
                left_out += if stays { 0 } else { allowance.suppressed };
                stays
            });
            if left_out > 0 {
                allowances.entry(None).or_default().suppressed += left_out;
            }
        }
        let full = allowances.len() >= REFUSAL_CLIENTS_MAX;
        let key = (!full || allowances.contains_key(&Some(client))).then_some(client);
        let allowance = allowances.entry(key).or_default();
        if allowance.is_over(now) {
            allowance.window_ends = now.plus(REFUSAL_WINDOW);
            allowance.used = 0;
        }
        if allowance.used >= REFUSAL_EVENTS_MAX {
            allowance.suppressed += 1;
            return None;
        }
        allowance.used += 1;
        Some(std::mem::take(&mut allowance.suppressed))
    }

    /// Counts a failed authentication in an organization.
    pub fn count(&self, cx: &Cx, claimed: Option<&str>, refusal: &Refusal) {
        self.count_from(cx.source, claimed, refusal);
    }

    /// Counts a failed authentication from an address.
    pub fn count_from(&self, source: Option<IpAddr>, claimed: Option<&str>, refusal: &Refusal) {
        let kind = FailureKind {
            rule: Some(refusal.rule),
            client: claimed.map(shortened),
            network: source.map(network),
        };
        self.put_back([(kind, 1)].into_iter());
    }

    /// Counts what was taken and could not be recorded.
    pub fn put_back(&self, taken: impl Iterator<Item = (FailureKind, u64)>) {
        let Ok(mut failures) = self.failures.lock() else { return };
        for (kind, count) in taken {
            let known = failures.len() < FAILURE_KINDS_MAX || failures.contains_key(&kind);
            let kind = if known { kind } else { FailureKind::default() };
            *failures.entry(kind).or_default() += count;
        }
    }

    /// Takes the counters, to be recorded: the [`FAILURE_EVENTS_MAX`] largest, and the sum of the
    /// others under no rule; in one order, so that the same failures make the same events.
    pub fn take(&self) -> Vec<(FailureKind, u64)> {
        let Ok(mut failures) = self.failures.lock() else { return Vec::new() };
        let mut others = failures.remove(&FailureKind::default()).unwrap_or(0);
        let mut taken: Vec<_> = std::mem::take(&mut *failures).into_iter().collect();
        taken
            .sort_by(|(a, of_a), (b, of_b)| of_b.cmp(of_a).then_with(|| a.order().cmp(&b.order())));
        others += taken.iter().skip(FAILURE_EVENTS_MAX).map(|(_, count)| count).sum::<u64>();
        taken.truncate(FAILURE_EVENTS_MAX);
        if others > 0 {
            taken.push((FailureKind::default(), others));
        }
        taken
    }
}

/// Records that an operation was refused to somebody who is known, at most so many a minute.
pub async fn record(
    cx: &Cx,
    credential: CredentialId,
    operation: &str,
    refusal: &Refusal,
) -> Result<(), Fault> {
    let Some(suppressed) = cx.tenant.refusals.admit(credential.any(), cx.now) else {
        return Ok(());
    };
    let body = Body {
        count: (suppressed > 0).then_some(suppressed),
        credential: Some(credential),
        decision: Some("deny"),
        name: Some(operation.to_owned()),
        reason: Some(refusal.detail.clone()),
        rule: Some(refusal.rule.code()),
        ..Body::default()
    };
    let event = cx.event(EventKind::AccessRefused, body);
    cx.world.store.record_event(Audited::new((cx.tenant.id, UsedUp::NOTHING), event)).await
}

fn shortened(client: &str) -> String {
    client
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "_-.:/".contains(*c))
        .take(CLAIMED_CLIENT_BYTES_MAX)
        .collect()
}

/// The network of an address: enough to see where a flood comes from, not who.
pub fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            IpAddr::from([a, b, c, 0])
        }
        IpAddr::V6(ip) => {
            let [a, b, c, ..] = ip.segments();
            IpAddr::from([a, b, c, 0, 0, 0, 0, 0])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use accredit_wire::ids::AgentId;

    #[test]
    fn a_flood_of_refusals_is_bounded_and_counted() {
        let refusals = Refusals::default();
        let client = AgentId::new(1, [1; 10]).any();
        let now = Time::from_seconds(100);
        let recorded = (0..1000).filter(|_| refusals.admit(client, now).is_some()).count();
        assert_eq!(recorded, REFUSAL_EVENTS_MAX as usize);
        let later = now.plus(REFUSAL_WINDOW);
        assert_eq!(refusals.admit(client, later), Some(980), "the next tells what was left out");
        assert_eq!(refusals.admit(client, later), Some(0));
    }

    #[test]
    fn a_flood_of_claims_is_a_few_events_and_every_failure_is_counted() {
        let refusals = Refusals::default();
        let kind = |n: usize| FailureKind {
            client: Some(format!("agt_{n:05}")),
            ..FailureKind::default()
        };
        let often = kind(70_000);
        refusals.put_back((0..50_000).map(|n| (kind(n), 1)));
        refusals.put_back([(kind(7), 500), (often.clone(), 1)].into_iter());
        let taken = refusals.take();
        assert_eq!(taken.len(), FAILURE_EVENTS_MAX + 1);
        assert_eq!(taken[0], (kind(7), 501), "the largest first");
        assert_eq!(taken.last().expect("the others").0, FailureKind::default());
        assert!(taken.iter().all(|(kind, _)| *kind != often), "beyond the kinds that are counted");
        assert_eq!(taken.iter().map(|(_, count)| count).sum::<u64>(), 50_501);
        assert!(refusals.take().is_empty());
    }

    #[test]
    fn a_flood_of_clients_does_not_grow_memory() {
        let refusals = Refusals::default();
        let now = Time::from_seconds(100);
        for n in 0..(REFUSAL_CLIENTS_MAX as u64 + 500) {
            refusals.admit(AgentId::new(n, [1; 10]).any(), now);
        }
        assert!(refusals.allowances.lock().expect("lock").len() <= REFUSAL_CLIENTS_MAX + 1);
    }

    #[test]
    fn a_clock_that_is_set_back_hides_nobodys_refusals() {
        let refusals = Refusals::default();
        let client = AgentId::new(1, [1; 10]).any();
        let now = Time::from_seconds(1_000_000);
        while refusals.admit(client, now).is_some() {}
        let back = now.minus(Duration::from_hours(24));
        assert_eq!(refusals.admit(client, back), Some(1));
        let recorded = (0..1000).filter(|_| refusals.admit(client, back).is_some()).count();
        assert_eq!(recorded, REFUSAL_EVENTS_MAX as usize - 1, "and the bound holds");
    }

    #[test]
    fn who_had_refusals_left_out_long_ago_makes_place_and_they_are_told() {
        let refusals = Refusals::default();
        let now = Time::from_seconds(1_000_000);
        let client = |n: u64| AgentId::new(n, [1; 10]).any();
        for n in 0..REFUSAL_CLIENTS_MAX as u64 {
            for _ in 0..=REFUSAL_EVENTS_MAX {
                refusals.admit(client(n), now);
            }
        }
        assert_eq!(refusals.admit(client(1 << 40), now), Some(0), "one who shares");
        for later in [now.plus(REFUSAL_WINDOW), now.minus(Duration::from_hours(1))] {
            for n in 0..20 {
                let new = client((1 << 41) + later.millis() + n);
                assert_eq!(refusals.admit(new, later), Some(0), "an allowance of its own");
            }
        }
        let all = refusals.allowances.lock().expect("lock");
        assert_eq!(all[&None].suppressed, REFUSAL_CLIENTS_MAX as u64, "nothing is forgotten");
    }

    #[test]
    fn what_a_stranger_claims_is_shortened_and_stripped() {
        let claimed = format!("agt\r\n\u{1b}[31m{}", "x".repeat(500));
        assert_eq!(shortened(&claimed), format!("agt31m{}", "x".repeat(34)));
        assert_eq!(network(IpAddr::from([10, 1, 2, 3])), IpAddr::from([10, 1, 2, 0]));
    }
}
