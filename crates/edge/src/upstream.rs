//! SPIFFE Trust Domain and Bundle section 4: what all identities of one machine have of their server in
//! common, which is asked for once for all of them.
//!
//! That is the bundle, against which certificates of the trust domain are checked, those of other trust
//! domains, for each agent, which certificates were
//! revoked, and since when the server has not answered. The lists of revoked certificates are anybody's to
//! read, where the feed is for those who enforce; they say the same of what this machine holds.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use accredit::agent::RevokedCertificates;
use accredit::mtls::Roots;
use accredit::{Agent, AgentError, IssuerError};
use accredit_wire::jwt_svid::authorities::Authorities;
use accredit_wire::x509::bundle;
use accredit_wire::x509::spiffe::TrustDomain;
use tokio::sync::{Notify, watch};

use crate::ambient;
use crate::identity::IdentityError;

/// How often it is asked which certificates were revoked, at the latest. The server makes its lists anew within 5
/// seconds, and a cache may keep them for 5: what has ended is not given out for longer than 20.
const REVOKED_EVERY: Duration = Duration::from_secs(10);

/// What certificates and JWT-SVIDs of the trust domain are checked against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// The roots, DER one after the other.
    pub roots: Vec<u8>,
    /// The keys of JWT-SVIDs.
    pub authorities: Authorities,
    refresh: Duration,
}

/// Other trust domains, each by its name, as one agent's instances are told of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Federated {
    domains: BTreeMap<String, (TrustDomain, bundle::Bundle)>,
}

/// The shortest time after which it is asked again for bundles of other trust domains, whatever the server says,
/// and the longest.
const FEDERATED_REFRESH_MIN: Duration = Duration::from_secs(5);
/// The longest.
const FEDERATED_REFRESH_MAX: Duration = Duration::from_hours(1);
/// Agents whose other trust domains are remembered at a time.
const AGENTS_MAX: usize = 1024;

/// Whom an instance may know: its own trust domain, and others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// Its own.
    pub own: Arc<Bundle>,
    /// The others.
    pub federated: Arc<Federated>,
}

/// A server, as all identities of one machine see it.
#[derive(Debug)]
pub struct Upstream {
    agent: Agent,
    held: Mutex<Option<Held>>,
    /// What each agent, by its id, is told of other trust domains.
    federated: Mutex<HashMap<String, HeldFederated>>,
    /// One asks, and the others wait for its answer.
    asking: tokio::sync::Mutex<()>,
    /// Since when the server does not answer.
    silent: Mutex<Option<Instant>>,
    revoked: watch::Sender<Arc<RevokedCertificates>>,
    /// Told where an answer, or none, gives reason to look how this machine stands.
    doubt: Notify,
}

#[derive(Clone, Debug)]
struct Held {
    bundle: Arc<Bundle>,
    until: Instant,
}

#[derive(Clone, Debug)]
struct HeldFederated {
    domains: Arc<Federated>,
    until: Instant,
}

impl Upstream {
    /// The server of `agent`, of which nothing is known yet.
    pub fn new(agent: Agent) -> Self {
        let asking = tokio::sync::Mutex::default();
        Self {
            agent,
            held: Mutex::default(),
            federated: Mutex::default(),
            asking,
            silent: Mutex::default(),
            revoked: watch::Sender::default(),
            doubt: Notify::new(),
        }
    }

    /// The bundle, no older than it says itself that it may be.
    pub async fn bundle(&self) -> Result<Arc<Bundle>, IdentityError> {
        if let Some(bundle) = self.fresh() {
            return Ok(bundle);
        }
        let _asking = self.asking.lock().await;
        if let Some(bundle) = self.fresh() {
            return Ok(bundle);
        }
        let asked_at = ambient::instant();
        let text = self.agent.bundle().await?;
        let read = Bundle::read(&text).ok_or(IdentityError::Malformed("bundle"))?;
        let until = asked_at + read.refresh;
        let mut held = lock(&self.held);
        // One bundle is held once, whoever has it.
        let known = held.take().map(|held| held.bundle).filter(|known| **known == read);
        let bundle = known.unwrap_or_else(|| Arc::new(read));
        *held = Some(Held { bundle: Arc::clone(&bundle), until });
        Ok(bundle)
    }

    /// Asks which certificates were revoked, for as long as the future is polled: once for all of a machine.
    pub(crate) async fn follow(&self) {
        let mut is_silent = false;
        loop {
            let known = Arc::clone(&self.revoked.borrow());
            match self.agent.revoked_certificates(&known).await {
                Ok(new) => {
                    if std::mem::take(&mut is_silent) {
                        tracing::info!("the server says again which certificates were revoked");
                        self.answered();
                    }
                    if let Some(new) = new {
                        self.revoked.send_replace(Arc::new(new));
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_silent, true) {
                        tracing::warn!(%error, "the server does not say which certificates were revoked: \
                            what there is is given out until it is over");
                    }
                    if matches!(error, AgentError::Issuer(IssuerError::Net(_))) {
                        self.is_silent();
                    }
                }
            }
            ambient::sleep(ambient::jittered(REVOKED_EVERY)).await;
        }
    }

    /// Which certificates were revoked, as far as it is known, and a way to be told of others.
    pub(crate) fn revoked(&self) -> watch::Receiver<Arc<RevokedCertificates>> {
        self.revoked.subscribe()
    }

    /// The other trust domains of which `agent` is told, no older than the server says that this may be, and
    /// when to ask again.
    pub(crate) async fn federated(
        &self,
        agent: &Agent,
    ) -> Result<(Arc<Federated>, Instant), AgentError> {
        let fresh = || {
            let held = lock(&self.federated).get(agent.client_id()).cloned();
            held.filter(|held| ambient::instant() < held.until)
        };
        if let Some(held) = fresh() {
            return Ok((held.domains, held.until));
        }
        let _asking = self.asking.lock().await;
        if let Some(held) = fresh() {
            return Ok((held.domains, held.until));
        }
        let asked_at = ambient::instant();
        let told = agent.federated_bundles().await?;
        let until = asked_at + told.refresh.clamp(FEDERATED_REFRESH_MIN, FEDERATED_REFRESH_MAX);
        let domains = Arc::new(Federated::read(&told.bundles));
        let mut all = lock(&self.federated);
        if all.len() >= AGENTS_MAX {
            all.retain(|_, held| asked_at < held.until);
        }
        if all.len() < AGENTS_MAX {
            let held = HeldFederated { domains: Arc::clone(&domains), until };
            all.insert(agent.client_id().to_owned(), held);
        }
        Ok((domains, until))
    }

    /// Whoever wants the bundle next asks for it anew.
    pub(crate) fn forget(&self) {
        if let Some(held) = &mut *lock(&self.held) {
            held.until = ambient::instant();
        }
    }

    fn fresh(&self) -> Option<Arc<Bundle>> {
        let held = lock(&self.held);
        let fresh = held.as_ref().filter(|held| ambient::instant() < held.until);
        fresh.map(|held| Arc::clone(&held.bundle))
    }

    /// For how long the server has not answered; nothing where it answered last time.
    pub fn silent_for(&self) -> Option<Duration> {
        let since = *lock(&self.silent);
        since.map(|since| ambient::instant().saturating_duration_since(since))
    }

    /// It answered, whatever it said.
    pub(crate) fn answered(&self) {
        *lock(&self.silent) = None;
    }

    /// It did not answer; whether that is news.
    pub(crate) fn is_silent(&self) -> bool {
        let mut silent = lock(&self.silent);
        let is_new = silent.is_none();
        if is_new {
            *silent = Some(ambient::instant());
            self.doubt.notify_one();
        }
        is_new
    }

    /// There is reason to look how this machine stands.
    pub(crate) fn doubt(&self) {
        self.doubt.notify_one();
    }

    /// Waits for such a reason.
    pub(crate) async fn doubted(&self) {
        self.doubt.notified().await;
    }
}

/// A poisoned lock holds what was there: nothing here is left half-done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bundle {
    /// Reads what an issuer publishes. What is of another use, or of one that nobody knows, is left out; a
    /// root without exactly one certificate, or a key of JWT-SVIDs that is malformed, makes the whole of it
    /// unread.
    pub fn read(text: &[u8]) -> Option<Self> {
        let Roots { certificates, refresh } = Roots::read(text)?;
        let authorities = Authorities::of_bundle(text).ok()?;
        Some(Self { roots: certificates.concat(), authorities, refresh })
    }

    /// After how long it is asked for again.
    pub(crate) fn refresh(&self) -> Duration {
        self.refresh
    }
}

impl Federated {
    /// Reads bundles. One that cannot be read is left out: nobody of that trust domain is known.
    fn read(bundles: &BTreeMap<String, String>) -> Self {
        let mut domains = BTreeMap::new();
        for (name, text) in bundles {
            let read = TrustDomain::parse(name).ok().and_then(|domain| {
                let bundle = bundle::Bundle::parse(&domain, text.as_bytes()).ok()?;
                Some((domain, bundle))
            });
            if read.is_none() {
                tracing::warn!(%name, "the bundle of a trust domain cannot be read");
            }
            domains.extend(read.map(|read| (name.clone(), read)));
        }
        Self { domains }
    }

    /// The roots of each that has some, DER one after the other, by its SPIFFE ID.
    pub(crate) fn roots(&self) -> impl Iterator<Item = (String, Vec<u8>)> {
        let all = self.domains.values().map(|(domain, bundle)| {
            let roots: Vec<&[u8]> = bundle.roots().collect();
            (domain.id().to_string(), roots.concat())
        });
        all.filter(|(_, roots)| !roots.is_empty())
    }

    /// The keys for JWT-SVIDs of each that has some, by its SPIFFE ID.
    pub(crate) fn authorities(&self) -> impl Iterator<Item = (String, &Authorities)> {
        let all = self.domains.values().map(|(domain, bundle)| (domain, bundle.authorities()));
        let some = all.filter(|(_, keys)| keys.names().next().is_some());
        some.map(|(domain, keys)| (domain.id().to_string(), keys))
    }

    /// The keys for JWT-SVIDs of one.
    pub(crate) fn authorities_of(&self, domain: &TrustDomain) -> Option<&Authorities> {
        self.domains.get(domain.as_str()).map(|(_, bundle)| bundle.authorities())
    }

    /// Their names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.domains.keys().map(String::as_str)
    }
}
