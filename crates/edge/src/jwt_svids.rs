//! SPIFFE JWT-SVID: tokens of one instance by whom they are for, in memory.
//!
//! One is handed out until two thirds of its life are over, then a new one is asked for; while the server
//! does not answer, it serves until it is over. Nobody waits for somebody else's audience, and whoever asks
//! for one that is being renewed gets what there is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use accredit::{Agent, AgentError, JwtSvid};

use crate::ambient;

/// Sets of audiences whose tokens are kept, at most. Beyond that the one goes that ends first.
const HELD_MAX: usize = 64;
/// How long after a server that did not answer it is not asked again for what there still is.
const RETRY: Duration = Duration::from_secs(2);

/// The tokens of one instance.
#[derive(Debug, Default)]
pub(crate) struct JwtSvids {
    slots: Mutex<HashMap<Vec<String>, Arc<Slot>>>,
}

/// Those for one set of audiences: one, or none yet.
#[derive(Debug, Default)]
struct Slot {
    held: Mutex<Option<Held>>,
    /// Whoever holds it asks the server.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Clone, Debug)]
struct Held {
    svid: Arc<JwtSvid>,
    /// When the next one is asked for.
    renew: Instant,
}

/// What there is, and what the server said where it was asked in vain.
pub(crate) struct Got {
    pub(crate) svid: Arc<JwtSvid>,
    pub(crate) met: Option<AgentError>,
}

impl Slot {
    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is not over.
    fn alive(&self) -> Option<Held> {
        let now = ambient::instant();
        self.held().clone().filter(|held| now < held.svid.ends)
    }

    /// What need not be renewed yet.
    fn fresh(&self) -> Option<Arc<JwtSvid>> {
        let now = ambient::instant();
        self.alive().filter(|held| now < held.renew).map(|held| held.svid)
    }
}

impl JwtSvids {
    /// One for `audiences`, which are in whatever order.
    pub(crate) async fn get(&self, agent: &Agent, audiences: &[String]) -> Result<Got, AgentError> {
        let mut named = audiences.to_vec();
        named.sort_unstable();
        named.dedup();
        let slot = self.slot(&named);
        let got = |svid| Ok(Got { svid, met: None });
        if let Some(svid) = slot.fresh() {
            return got(svid);
        }
        let _turn = match (slot.turn.try_lock(), slot.alive()) {
            (Ok(turn), _) => turn,
            (Err(_), Some(held)) => return got(held.svid),
            (Err(_), None) => slot.turn.lock().await,
        };
        if let Some(svid) = slot.fresh() {
            return got(svid);
        }
        let names: Vec<&str> = named.iter().map(String::as_str).collect();
        match agent.jwt_svid(&names).await {
            Ok(svid) => {
                let (renew, svid) = (svid.renew, Arc::new(svid));
                *slot.held() = Some(Held { svid: Arc::clone(&svid), renew });
                got(svid)
            }
            Err(AgentError::Issuer(error)) => match slot.alive() {
                Some(held) => {
                    let renew = ambient::instant() + RETRY;
                    *slot.held() = Some(Held { renew, ..held.clone() });
                    Ok(Got { svid: held.svid, met: Some(AgentError::Issuer(error)) })
                }
                None => Err(AgentError::Issuer(error)),
            },
            Err(error) => {
                *slot.held() = None;
                Err(error)
            }
        }
    }

    /// Forgets all of them.
    pub(crate) fn clear(&self) {
        self.slots().clear();
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Vec<String>, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, named: &[String]) -> Arc<Slot> {
        let mut slots = self.slots();
        if let Some(slot) = slots.get(named) {
            return Arc::clone(slot);
        }
        if slots.len() >= HELD_MAX {
            slots.retain(|_, slot| slot.alive().is_some());
        }
        while slots.len() >= HELD_MAX {
            let ends = |slot: &Slot| slot.alive().map(|held| held.svid.ends);
            let first =
                slots.iter().min_by_key(|(_, slot)| ends(slot)).map(|(name, _)| name.clone());
            let Some(first) = first else { break };
            slots.remove(&first);
        }
        Arc::clone(slots.entry(named.to_vec()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use accredit::Secret;
    use accredit_wire::time::Time;

    use super::*;

    fn held(life: Duration) -> Held {
        let ends = ambient::instant() + life;
        let svid = JwtSvid {
            id: "tok_1".into(),
            spiffe_id: "spiffe://td/a".into(),
            token: Secret::new("secret-token".into()),
            expires_at: Time::from_seconds(0),
            ends,
            renew: ends,
        };
        Held { svid: Arc::new(svid), renew: ends }
    }

    #[test]
    fn there_are_so_many_at_most_and_the_one_goes_that_ends_first() {
        let svids = JwtSvids::default();
        let name = |number: usize| vec![format!("a{number}")];
        for number in 0..HELD_MAX {
            let life = Duration::from_secs(100 + (number as u64 * 7) % 64);
            *svids.slot(&name(number)).held() = Some(held(life));
        }
        svids.slot(&name(HELD_MAX));
        assert_eq!(svids.slots().len(), HELD_MAX);
        assert!(!svids.slots().contains_key(&name(0)), "its life was the shortest");
        // What is over goes before what is alive.
        *svids.slot(&name(1)).held() = Some(held(Duration::ZERO));
        svids.slot(&name(HELD_MAX + 1));
        assert!(!svids.slots().contains_key(&name(1)));
        assert!(svids.slots().contains_key(&name(2)));
        svids.clear();
        assert!(svids.slots().is_empty());
        assert!(!format!("{:?}", held(Duration::ZERO)).contains("secret-token"));
    }
}
