//! The Verifier: RFC 6750, RFC 8705 and RFC 9449 requests with RFC 9068 access tokens or attenuable ones
//! ([`crate::biscuit`]), checked without asking the server.
//!
//! One path for the SDK, the gateway, introspection and the server's own API. Its steps are the
//! files beside this one, in this order: [`present`] finds the one credential; the signature and
//! the claims are checked, or remembered by [`cache`]; [`fresh`] compares times; issuer and audience
//! are compared; [`standing`] asks the revocation state and its age; [`bind`] checks the proof, or
//! the certificate, where the token demands one. What comes out is a [`Principal`], and there is no other way to one.
//! Whether it belongs to the request's own context, [`context`] says.
//!
//! Only signature and claims are remembered, and whether a token was alive in one version of the
//! state. Everything that depends on the time or on the configuration runs on every call.
//!
//! Absent on purpose: fetching keys and following the feed (the SDK does, and hands both in), a
//! clock (`now` is an argument), and any way to switch a step off.

pub mod bind;
pub mod cache;
pub mod context;
pub mod fresh;
pub mod keys;
pub mod present;
pub mod principal;
pub mod rejection;
pub mod standing;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};

use crate::biscuit::{self, BiscuitError};
use crate::ids::AnyId;
use crate::jose::TOKEN_BYTES_MAX;
use crate::jose::jws::{TypRule, Unverified};
use crate::time::Time;
use crate::token::{AccessToken, TOKEN_TYPE};
use cache::{Cache, Known};

pub use bind::Proofs;
pub use context::{Context, Demands};
pub use keys::KeyRing;
pub use present::{RequestHead, Scheme};
pub use principal::{Alive, Evidence, IssuedTo, Principal};
pub use rejection::Rejection;
pub use standing::Standing;

/// Bytes that remembered tokens may take, where nobody says otherwise: some 15,000 tokens, each
/// with its text of about 1 KB and its claims of about as much.
pub const CACHE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The age of the revocation state beyond which everything is refused, where nobody says
/// otherwise.
pub const REVOCATIONS_AGE_MAX: Duration = Duration::from_mins(1);

/// Whom a token must be for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AudienceRule {
    /// Exactly this audience URI: what a resource demands.
    Exact(String),
    /// Any: for the issuer itself, which introspects tokens of all its resources and then
    /// compares the audience with who asks.
    Any,
}

/// What a Verifier demands.
#[derive(Clone, Debug)]
pub struct Config {
    /// The one issuer whose tokens are accepted, compared exactly.
    pub issuer: String,
    /// Whom a token must be for.
    pub audience: AudienceRule,
    /// The age of the revocation state beyond which everything is refused.
    pub revocations_age_max: Duration,
    /// By how much clocks may differ, at most [`crate::jose::jwt::SKEW_MAX`].
    pub skew: Duration,
    /// Bytes that remembered tokens may take; 0 remembers none.
    pub cache_bytes_max: usize,
    /// How proofs of possession are checked; where they are not, bound tokens are refused.
    pub proofs: Option<Proofs>,
    /// Attenuable tokens are taken that were minted for nobody's key. By default they are refused, since
    /// what is narrowed and handed on passes through many hands: whoever finds one that nobody holds
    /// could name a key of their own as the holder's.
    pub unheld_attenuable: bool,
}

impl Config {
    /// What a resource with this audience at this issuer demands, with the default bounds.
    pub fn new(issuer: &str, audience: AudienceRule) -> Self {
        Self {
            issuer: issuer.to_owned(),
            audience,
            revocations_age_max: REVOCATIONS_AGE_MAX,
            skew: crate::jose::jwt::SKEW_MAX,
            cache_bytes_max: CACHE_BYTES_MAX,
            proofs: None,
            unheld_attenuable: false,
        }
    }
}

/// Checks access tokens of one issuer. Shared by all threads of a process.
///
/// Until it is given a standing it refuses everything as [`Rejection::Stale`].
#[derive(Debug)]
pub struct Verifier {
    config: Config,
    ring: ArcSwap<Numbered<KeyRing>>,
    standing: ArcSwapOption<Numbered<Standing>>,
    cache: Cache,
    last_number: AtomicU64,
}

/// A value and the number under which what was concluded from it is remembered.
#[derive(Debug)]
struct Numbered<T> {
    number: u64,
    value: T,
}

impl Verifier {
    /// A Verifier with the issuer's keys and no revocation state yet.
    pub fn new(mut config: Config, keys: KeyRing) -> Self {
        config.skew = config.skew.min(crate::jose::jwt::SKEW_MAX);
        Self {
            ring: ArcSwap::from_pointee(Numbered { number: 1, value: keys }),
            standing: ArcSwapOption::empty(),
            cache: Cache::new(config.cache_bytes_max),
            last_number: AtomicU64::new(1),
            config,
        }
    }

    /// What it demands.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The current keys.
    pub fn keys(&self) -> KeyRing {
        self.ring.load().value.clone()
    }

    /// Replaces the issuer's keys. Where they differ, every remembered token is forgotten.
    pub fn set_keys(&self, keys: KeyRing) {
        if self.ring.load().value == keys {
            return;
        }
        let number = self.next_number();
        self.ring.store(Arc::new(Numbered { number, value: keys }));
        self.cache.clear();
    }

    /// Replaces the revocation state.
    pub fn set_standing(&self, standing: Standing) {
        let number = self.next_number();
        self.standing.store(Some(Arc::new(Numbered { number, value: standing })));
    }

    fn next_number(&self) -> u64 {
        self.last_number.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Who sends this request, and what they may do.
    pub fn verify(&self, head: &RequestHead<'_>, now: Time) -> Result<Principal, Rejection> {
        let (scheme, text) = present::presented(head)?;
        let known = self.known(text, now)?;
        self.check_held(&known)?;
        bind::check_scheme(scheme, known.token())?;
        let evidence = self.check_now(&known, now)?;
        bind::check_possession(self.config.proofs.as_ref(), head, (known.token(), text), now)?;
        Ok(Principal::new(known, evidence))
    }

    /// Whose plain token this is, and what it allows. One that is bound to a key or to a certificate is
    /// refused: there is no request here that could prove anything.
    pub fn verify_token(&self, token: &str, now: Time) -> Result<Principal, Rejection> {
        let known = self.known(token, now)?;
        self.check_held(&known)?;
        bind::check_plain(known.token())?;
        self.check_now(&known, now).map(|evidence| Principal::new(known, evidence))
    }

    /// What a token says that is alive, bound or not: for the issuer, which tells a resource about
    /// it, ends it, or asks for a proof itself. It says nothing of who sends it, and nobody may do
    /// anything because of it.
    pub fn alive(&self, token: &str, now: Time) -> Result<Alive, Rejection> {
        let known = self.known(token, now)?;
        self.check_now(&known, now).map(|_| Alive::new(known))
    }

    /// The nonce to give to whoever must prove something here; none where proofs are not checked.
    pub fn nonce(&self, now: Time) -> Option<String> {
        self.config.proofs.as_ref().map(|proofs| proofs.nonce(now))
    }

    /// To whom a token with the signature of a current key was issued, whether it is alive or not:
    /// for the issuer, which says whose a token is before it says more. Nobody may do anything
    /// because of it.
    pub fn issued_to(&self, token: &str, now: Time) -> Result<IssuedTo, Rejection> {
        let known = self.known(token, now)?;
        let token = known.token();
        if token.issuer != self.config.issuer {
            return Err(Rejection::Issuer);
        }
        Ok(IssuedTo::of(&known))
    }

    /// Whether what was accepted once would still be: what a guard of a long-lived body or stream
    /// asks after each change of the state and at the end of the token's life.
    pub fn standing_of(&self, principal: &Principal, now: Time) -> Result<(), Rejection> {
        if !self.ring.load().value.contains(principal.token().key) {
            return Err(Rejection::UnknownKey);
        }
        self.check_now(principal.known(), now).map(|_| ())
    }

    /// Whether none of these ids has ended, whenever what names them was decided: for what comes with no
    /// token, such as a peer's certificate. Ask it of ids whose end is final. Says as of what that is
    /// known.
    pub fn standing_of_ids(
        &self,
        ids: impl IntoIterator<Item = AnyId>,
        now: Time,
    ) -> Result<AsOf, Rejection> {
        let standing = self.standing.load();
        let age_max = self.config.revocations_age_max;
        let Some(Numbered { value, .. }) = standing.as_deref() else {
            return Err(Rejection::Stale { age: None, age_max });
        };
        let state = value.state();
        if let Some(id) = state.is_dead(ids, 0) {
            return Err(Rejection::Revoked { id });
        }
        value.check_age(now, age_max)?;
        Ok(AsOf { rev: state.rev(), server_time: value.server_time(now) })
    }

    /// Refuses an attenuable token that was minted for nobody's key, and one that says what nobody
    /// here can decide.
    fn check_held(&self, known: &Known) -> Result<(), Rejection> {
        let Some(attenuable) = known.as_attenuable() else { return Ok(()) };
        if !attenuable.is_minted_bound() && !self.config.unheld_attenuable {
            return Err(Rejection::Unheld);
        }
        match attenuable.undecidable() {
            Some(block) => Err(Rejection::Biscuit(BiscuitError::Uninterpreted(block))),
            None => Ok(()),
        }
    }

    /// The token's claims, signed by a current key: remembered, or checked now.
    fn known(&self, token: &str, now: Time) -> Result<Arc<Known>, Rejection> {
        let ring = self.ring.load();
        if token.len() <= TOKEN_BYTES_MAX
            && let Some(known) = self.cache.find(token, ring.number)
        {
            return Ok(known);
        }
        let known = Arc::new(check_signature(token, &ring.value)?);
        self.cache.insert(token, ring.number, &known, now);
        Ok(known)
    }

    /// What depends on the time, the configuration and the revocation state.
    fn check_now(&self, known: &Known, now: Time) -> Result<Evidence, Rejection> {
        let token = known.token();
        let standing = self.standing.load();
        let standing = standing.as_deref();
        // A local clock that runs behind must not lengthen a token's life.
        let time = standing.map_or(now, |standing| standing.value.server_time(now));
        fresh::check(token, time, self.config.skew)?;
        if token.issuer != self.config.issuer {
            return Err(Rejection::Issuer);
        }
        match &self.config.audience {
            AudienceRule::Exact(audience) if token.audience != *audience => {
                return Err(Rejection::Audience);
            }
            AudienceRule::Exact(_) | AudienceRule::Any => {}
        }
        let age_max = self.config.revocations_age_max;
        let Some(Numbered { number, value }) = standing else {
            return Err(Rejection::Stale { age: None, age_max });
        };
        standing::check(known, value, *number)?;
        value.check_age(now, age_max)?;
        Ok(Evidence {
            verified_at: now,
            rev: value.state().rev(),
            generation: value.state().generation(),
            bound_to: token.cnf,
        })
    }
}

/// As of what something is known to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsOf {
    /// The issuer's revocation counter up to which all is known.
    pub rev: u64,
    /// The issuer's time, as far as it is known.
    pub server_time: Time,
}

/// Signature, algorithm and type by a key of the ring, then the claims.
///
/// RFC 9068 section 4: "The resource server MUST verify that the `typ` header value is `at+jwt`",
/// "MUST validate the signature".
fn check_signature(token: &str, ring: &KeyRing) -> Result<Known, Rejection> {
    if biscuit::is_biscuit(token) {
        return biscuit::verify(token, ring.biscuit()).map(Known::attenuable).map_err(|error| {
            match error {
                BiscuitError::UnknownKey => Rejection::UnknownKey,
                error => Rejection::Biscuit(error),
            }
        });
    }
    let unverified = Unverified::parse(token).map_err(Rejection::Token)?;
    // A `kid` that is no key's id names no key of ours, whatever it is.
    let kid = unverified.peek_unverified_kid().and_then(|kid| kid.parse().ok());
    let kid = kid.ok_or(Rejection::UnknownKey)?;
    let key = ring.find(kid).ok_or(Rejection::UnknownKey)?;
    let verified =
        unverified.verify(key, TypRule::Required(TOKEN_TYPE)).map_err(Rejection::Token)?;
    AccessToken::parse(verified.payload(), kid).map(Known::new).map_err(Rejection::Claims)
}
