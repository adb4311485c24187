//! SPIFFE X509-SVID section 5, RFC 5280 sections 5 and 6: what peers of one trust domain are checked
//! against, and whether they still stand.
//!
//! Three things are followed: the roots of the trust domain (its bundle), the lists of revoked
//! certificates of its authorities, and the feed of a [`Verifier`]. The feed says at once which instance
//! has ended, and that something was revoked at all: the lists are fetched anew then. Lists that do not
//! know of the last revocation are believed for no longer than the feed itself, or 15 seconds.
//!
//! A path is built and checked by rustls-webpki, and nowhere here. It ends in a root of the expected
//! trust domain and no other; the root's name constraints, which that library cannot read for URIs, are
//! left out, because the whole SPIFFE ID is compared with the trust domain.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use accredit_wire::binding::PeerCertificate;
use accredit_wire::ids::InstanceId;
use accredit_wire::time::Time;
use accredit_wire::verify::{AsOf, Rejection};
use accredit_wire::x509::all_decoded;
use accredit_wire::x509::crl::{self, Head};
use accredit_wire::x509::spiffe::{NotATrustDomain, TrustDomain};
use accredit_wire::x509::svid::{self, NotAnSvid};
use arc_swap::ArcSwap;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use webpki::{
    CertRevocationList, EndEntityCert, Error as PathError, ExpirationPolicy, KeyUsage,
    OwnedCertRevocationList, RevocationCheckDepth, RevocationOptions, RevocationOptionsBuilder,
    UnknownStatusPolicy, anchor_from_trusted_cert,
};

use super::peers::Peers;
use super::roots::Roots;
use crate::agent::revoked::{LIST, LISTS, LISTS_BYTES_MAX, LISTS_MAX, LISTS_PATH};
use crate::ambient;
use crate::issuer::IssuerError;
use crate::verifier::Verifier;

/// For how long lists that do not know of the last revocation are believed at least, where the verifier's
/// bound is shorter: the issuer makes them anew within 5 seconds, and a cache may keep them for 5.
const LISTS_AGE_MIN: Duration = Duration::from_secs(15);
/// The shortest time between two fetches of the lists.
const LISTS_INTERVAL_MIN: Duration = Duration::from_secs(1);
/// After how long what could not be fetched is asked for again; it doubles each time.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// The longest such wait.
const RETRY_MAX: Duration = Duration::from_secs(15);
/// How long a connection waits for lists that know of its peer's authority.
const LEARN_WAIT_MAX: Duration = Duration::from_secs(5);

/// Why nothing can be checked.
#[derive(Debug)]
pub enum AuthorityError {
    /// The name of the trust domain is none.
    TrustDomain(NotATrustDomain),
    /// The issuer cannot be asked.
    Issuer(IssuerError),
    /// What it publishes as its bundle or its lists is not that.
    Malformed(&'static str),
}

impl fmt::Display for AuthorityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TrustDomain(error) => error.fmt(f),
            Self::Issuer(error) => error.fmt(f),
            Self::Malformed(what) => write!(f, "the issuer's {what} cannot be used"),
        }
    }
}

impl std::error::Error for AuthorityError {}

impl From<IssuerError> for AuthorityError {
    fn from(error: IssuerError) -> Self {
        Self::Issuer(error)
    }
}

/// Why there is no connection with somebody, or no longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It shows no certificate of a workload, or none at all.
    Certificate(NotAnSvid),
    /// It is not an instance of the expected trust domain.
    Foreign {
        /// Whom it says it is.
        spiffe_id: String,
    },
    /// It is none of those whom the program talks to.
    NotExpected {
        /// Whom it says it is.
        spiffe_id: String,
    },
    /// Its certificate leads to no root of the trust domain.
    Path(String),
    /// Its certificate is over, or begins later.
    Lifetime,
    /// It was revoked, or something was that its certificate hangs on.
    Revoked,
    /// No list says whether its certificate was revoked.
    Unlisted,
    /// What is known of revocations is older than it may be.
    Stale,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(error) => error.fmt(f),
            Self::Foreign { spiffe_id } => {
                write!(f, "`{spiffe_id}` is no instance of the expected trust domain")
            }
            Self::NotExpected { spiffe_id } => {
                write!(f, "`{spiffe_id}` is none of those who are talked to here")
            }
            Self::Path(why) => {
                write!(f, "the certificate leads to no root of the trust domain: {why}")
            }
            Self::Lifetime => f.write_str("the certificate is over, or begins later"),
            Self::Revoked => f.write_str("the certificate was revoked, or what it hangs on"),
            Self::Unlisted => f.write_str(
                "no list says whether the certificate was revoked; ask again in a moment",
            ),
            Self::Stale => f.write_str(
                "what is known of revocations is too old: the issuer has not answered for too long",
            ),
        }
    }
}

impl std::error::Error for Unfit {}

impl From<Rejection> for Unfit {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::Revoked { .. } => Self::Revoked,
            _ => Self::Stale,
        }
    }
}

impl From<PathError> for Unfit {
    fn from(error: PathError) -> Self {
        match error {
            PathError::CertRevoked => Self::Revoked,
            PathError::CertExpired { .. } | PathError::CertNotValidYet { .. } => Self::Lifetime,
            PathError::UnknownRevocationStatus => Self::Unlisted,
            PathError::CrlExpired { .. } => Self::Stale,
            error => Self::Path(format!("{error:?}")),
        }
    }
}

/// Somebody whose certificate was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    spiffe_id: String,
    agent: String,
    instance: InstanceId,
    until: Time,
    certificate: PeerCertificate,
}

impl Peer {
    /// Whom its certificate names.
    pub fn spiffe_id(&self) -> &str {
        &self.spiffe_id
    }

    /// The name of its agent.
    pub fn agent(&self) -> &str {
        &self.agent
    }

    /// Its instance, `ins_…`.
    pub fn instance(&self) -> InstanceId {
        self.instance
    }

    /// Until when its certificate holds.
    pub fn expires_at(&self) -> Time {
        self.until
    }

    /// Its certificate, as a guard wants it in a request's extensions (RFC 8705).
    pub fn certificate(&self) -> &PeerCertificate {
        &self.certificate
    }
}

/// Which side of a connection somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

impl Side {
    fn usage(self) -> KeyUsage {
        match self {
            Self::Client => KeyUsage::client_auth(),
            Self::Server => KeyUsage::server_auth(),
        }
    }
}

/// What the instances of one organization are checked against. Cheap to clone; the last clone ends its
/// task.
#[derive(Clone, Debug)]
pub struct Authority(Arc<Running>);

#[derive(Debug)]
struct Running {
    shared: Arc<Shared>,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Debug)]
struct Shared {
    verifier: Verifier,
    domain: TrustDomain,
    algorithms: WebPkiSupportedAlgorithms,
    held: ArcSwap<Held>,
    /// Counts the changes of what is held.
    changes: watch::Sender<u64>,
    /// Asks the task for the lists.
    wanted: Notify,
    /// Counts the attempts to fetch them.
    asked: watch::Sender<u64>,
}

/// What is known of the trust domain.
#[derive(Debug)]
pub(super) struct Held {
    anchors: Vec<TrustAnchor<'static>>,
    roots: Roots,
    lists: Arc<Lists>,
}

#[derive(Debug)]
struct Lists {
    lists: Vec<CertRevocationList<'static>>,
    /// What the one that knows least of all says of itself.
    head: Head,
}

impl Authority {
    /// Fetches what `trust_domain`, such as `acme.id.example`, publishes at the verifier's issuer, and
    /// follows it. The name is the program's word for whom it trusts: nothing that is fetched says it.
    pub async fn connect(verifier: &Verifier, trust_domain: &str) -> Result<Self, AuthorityError> {
        let domain = TrustDomain::parse(trust_domain).map_err(AuthorityError::TrustDomain)?;
        let roots = fetch_roots(verifier).await?;
        let held = Held {
            anchors: anchors(&roots)?,
            roots,
            lists: Arc::new(fetch_lists(verifier).await?),
        };
        let shared = Arc::new(Shared {
            verifier: verifier.clone(),
            domain,
            algorithms: default_provider().signature_verification_algorithms,
            held: ArcSwap::from_pointee(held),
            changes: watch::Sender::new(0),
            wanted: Notify::new(),
            asked: watch::Sender::new(0),
        });
        let task = tokio::spawn(keep(Arc::clone(&shared))).abort_handle();
        Ok(Self(Arc::new(Running { shared, task })))
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> &str {
        self.0.shared.domain.as_str()
    }

    pub(super) fn verifier(&self) -> &Verifier {
        &self.0.shared.verifier
    }

    pub(super) fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        &self.0.shared.algorithms
    }

    /// Tells of each change of roots and lists.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.0.shared.changes.subscribe()
    }

    /// What is held now.
    pub(super) fn held(&self) -> Arc<Held> {
        self.0.shared.held.load_full()
    }

    /// Whether an id is of this trust domain.
    pub(super) fn knows(&self, spiffe_id: &str) -> bool {
        self.0.shared.domain.named_by(spiffe_id).is_some()
    }

    /// Who shows this chain, where everything holds: its own certificate first.
    pub(super) fn judge(
        &self,
        held: &Held,
        chain: &[CertificateDer<'_>],
        (side, peers): (Side, &Peers),
    ) -> Result<Peer, Unfit> {
        let (peer, as_of) = self.known(held, chain, peers)?;
        let lists: Vec<&CertRevocationList<'_>> = held.lists.lists.iter().collect();
        for (depth, unknown) in looked_up(chain) {
            let options = RevocationOptionsBuilder::new(&lists).map_err(|_| Unfit::Unlisted)?;
            let options = options
                .with_depth(*depth)
                .with_status_policy(*unknown)
                .with_expiration_policy(ExpirationPolicy::Enforce)
                .build();
            self.path(held, chain, side, (as_of, Some(options)))?;
        }
        Ok(peer)
    }

    /// The same but for the lists, where those that are held know nothing of the chain's authorities:
    /// whoever asks so asks [`Self::judge`] again before anything is read or written, when they came.
    pub(super) fn judge_without_lists(
        &self,
        held: &Held,
        chain: &[CertificateDer<'_>],
        (side, peers): (Side, &Peers),
    ) -> Result<Peer, Unfit> {
        let (peer, as_of) = self.known(held, chain, peers)?;
        self.path(held, chain, side, (as_of, None))?;
        Ok(peer)
    }

    /// Whether somebody who was judged still stands, as far as that changes with the feed and with time.
    /// Costs about a microsecond; [`Self::judge`] is for when roots or lists changed.
    pub(super) fn standing(&self, held: &Held, peer: &Peer) -> Result<AsOf, Unfit> {
        let verifier = &self.0.shared.verifier;
        let as_of = verifier.standing_of_ids([peer.instance.any()], ambient::now())?;
        if as_of.server_time > peer.until {
            return Err(Unfit::Lifetime);
        }
        held.lists.head.check(as_of, verifier.age_max().max(LISTS_AGE_MIN))?;
        Ok(as_of)
    }

    /// Waits until the lists were fetched anew.
    pub(super) async fn learn(&self) {
        let mut asked = self.0.shared.asked.subscribe();
        self.0.shared.wanted.notify_one();
        // Whether they came in time or not, what is known then decides.
        let _ = tokio::time::timeout(LEARN_WAIT_MAX, asked.changed()).await;
    }

    /// Whom a chain names, where that is one of the peers who stands.
    fn known(
        &self,
        held: &Held,
        chain: &[CertificateDer<'_>],
        peers: &Peers,
    ) -> Result<(Peer, AsOf), Unfit> {
        let peer = self.named(chain, peers)?;
        let as_of = self.standing(held, &peer)?;
        Ok((peer, as_of))
    }

    fn named(&self, chain: &[CertificateDer<'_>], peers: &Peers) -> Result<Peer, Unfit> {
        let own = chain.first().ok_or(Unfit::Certificate(NotAnSvid::Malformed))?;
        let leaf = svid::read(own).map_err(Unfit::Certificate)?;
        let Some((agent, instance)) = self.0.shared.domain.named_by(&leaf.spiffe_id) else {
            return Err(Unfit::Foreign { spiffe_id: leaf.spiffe_id });
        };
        if !peers.are(&leaf.spiffe_id, agent) {
            return Err(Unfit::NotExpected { spiffe_id: leaf.spiffe_id });
        }
        Ok(Peer {
            agent: agent.to_owned(),
            spiffe_id: leaf.spiffe_id,
            instance,
            until: leaf.until,
            certificate: PeerCertificate::new(own),
        })
    }

    fn path(
        &self,
        held: &Held,
        chain: &[CertificateDer<'_>],
        side: Side,
        (as_of, revocation): (AsOf, Option<RevocationOptions<'_>>),
    ) -> Result<(), Unfit> {
        let (own, between) = chain.split_first().ok_or(Unfit::Certificate(NotAnSvid::Malformed))?;
        let seconds = u64::try_from(as_of.server_time.seconds()).unwrap_or_default();
        let at = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let leaf = EndEntityCert::try_from(own)?;
        let algorithms = self.0.shared.algorithms.all;
        leaf.verify_for_usage(
            algorithms,
            &held.anchors,
            between,
            at,
            side.usage(),
            revocation,
            None,
        )?;
        Ok(())
    }
}

/// How far up a chain is looked up in the lists, and what it is where they know nothing of it.
///
/// Above a root of ours that somebody else's has signed, the lists are that one's, and ours know nothing of
/// it. What they do know of is looked up there as well; and the leaf's own authority must have a list, which none
/// has that was revoked: whoever adds certificates to a chain gets nothing by it.
fn looked_up(
    chain: &[CertificateDer<'_>],
) -> &'static [(RevocationCheckDepth, UnknownStatusPolicy)] {
    use RevocationCheckDepth::{Chain, EndEntity};
    use UnknownStatusPolicy::{Allow, Deny};
    match chain {
        [_leaf, _intermediate] => &[(Chain, Deny)],
        _ => &[(EndEntity, Deny), (Chain, Allow)],
    }
}

/// What a list says of itself, against what is known of revocations.
trait Known {
    fn check(&self, as_of: AsOf, age_max: Duration) -> Result<(), Unfit>;
}

impl Known for Head {
    /// A list that is not over and knows of everything is good. One that does not know of what was
    /// revoked last is good for as long as the feed itself would be.
    fn check(&self, as_of: AsOf, age_max: Duration) -> Result<(), Unfit> {
        let knows_all = self.counter >= as_of.rev;
        let is_young = as_of.server_time.since(self.made_at) <= age_max;
        let is_over = as_of.server_time > self.until;
        if is_over || !(knows_all || is_young) { Err(Unfit::Stale) } else { Ok(()) }
    }
}

/// Goes on fetching roots and lists when they are due, until it is cancelled.
async fn keep(shared: Arc<Shared>) {
    let mut feed = shared.verifier.changes();
    let (mut roots, mut lists) = (Due::now(), Due::now());
    roots.done(shared.held.load().roots.refresh);
    lists.done(shared.lists_last());
    loop {
        if shared.is_behind() {
            lists.soon();
        }
        let wait = roots.at.min(lists.at).saturating_duration_since(ambient::instant());
        tokio::select! {
            () = ambient::sleep(wait) => {}
            _ = feed.changed() => {}
            () = shared.wanted.notified() => lists.soon(),
        }
        if lists.is_due() {
            let fetched = fetch_lists(&shared.verifier).await;
            lists.asked = ambient::instant();
            match fetched {
                Ok(new) => {
                    shared.replace(|held| Held { lists: Arc::new(new), ..held });
                    lists.done(shared.lists_last());
                }
                Err(error) => lists.failed(&error, LISTS),
            }
            shared.asked.send_modify(|count| *count += 1);
        }
        if roots.is_due() {
            match fetch_roots(&shared.verifier).await.and_then(|new| Ok((anchors(&new)?, new))) {
                Ok((anchors, new)) => {
                    roots.done(new.refresh);
                    if shared.held.load().roots != new {
                        shared.replace(|held| Held { anchors, roots: new, ..held });
                    }
                }
                Err(error) => roots.failed(&error, "bundle"),
            }
        }
    }
}

/// When something is fetched next.
struct Due {
    at: Instant,
    asked: Instant,
    retry: Duration,
}

impl Due {
    fn now() -> Self {
        let now = ambient::instant();
        Self { at: now, asked: now, retry: RETRY_MIN }
    }

    fn is_due(&self) -> bool {
        self.at <= ambient::instant()
    }

    /// As soon as it may be asked for again.
    fn soon(&mut self) {
        self.at = self.at.min(self.asked + LISTS_INTERVAL_MIN);
    }

    fn done(&mut self, lasts: Duration) {
        self.retry = RETRY_MIN;
        self.at = ambient::instant() + ambient::jittered(lasts);
    }

    fn failed(&mut self, error: &AuthorityError, what: &str) {
        tracing::warn!(%error, what, "not fetched; it is asked for again");
        self.at = ambient::instant() + ambient::jittered(self.retry);
        self.retry = (self.retry * 2).min(RETRY_MAX);
    }
}

impl Shared {
    /// Whether something was revoked that the lists do not know of.
    fn is_behind(&self) -> bool {
        let known = self.held.load().lists.head.counter;
        self.verifier.status().is_some_and(|status| status.rev > known)
    }

    /// After how long the lists are fetched where nothing was revoked: half of what is left of them.
    fn lists_last(&self) -> Duration {
        let until = self.held.load().lists.head.until;
        (until.since(ambient::now()) / 2).max(LISTS_INTERVAL_MIN)
    }

    fn replace(&self, change: impl FnOnce(Held) -> Held) {
        let held = self.held.load();
        let copy = Held {
            anchors: held.anchors.clone(),
            roots: held.roots.clone(),
            lists: Arc::clone(&held.lists),
        };
        self.held.store(Arc::new(change(copy)));
        self.changes.send_modify(|version| *version += 1);
    }
}

async fn fetch_roots(verifier: &Verifier) -> Result<Roots, AuthorityError> {
    let client = verifier.client();
    let url = client.issuer.endpoint("/spiffe/bundle");
    let bundle = client.public(&url, "bundle").await?;
    Roots::read(&bundle).ok_or(AuthorityError::Malformed("bundle"))
}

/// Roots as a path begins with them. Without one nobody is believed, and that may be said.
fn anchors(roots: &Roots) -> Result<Vec<TrustAnchor<'static>>, AuthorityError> {
    let anchor = |der: &Vec<u8>| {
        let certificate = CertificateDer::from(der.as_slice());
        let anchor = anchor_from_trusted_cert(&certificate).ok()?.to_owned();
        Some(TrustAnchor { name_constraints: None, ..anchor })
    };
    let anchors: Option<Vec<_>> = roots.certificates.iter().map(anchor).collect();
    anchors.ok_or(AuthorityError::Malformed("bundle"))
}

async fn fetch_lists(verifier: &Verifier) -> Result<Lists, AuthorityError> {
    let client = verifier.client();
    let url = client.issuer.endpoint(LISTS_PATH);
    // Each handshake reads all of the one that it needs. Where they are longer nobody is talked to.
    let text = client.public_up_to(&url, LISTS, LISTS_BYTES_MAX).await?;
    let text = std::str::from_utf8(&text).ok();
    text.and_then(Lists::read).ok_or(AuthorityError::Malformed(LISTS))
}

impl Lists {
    /// Reads lists that are PEM blocks one after the other, and nothing else.
    fn read(text: &str) -> Option<Self> {
        let found = all_decoded(LIST, text).filter(|found| found.len() <= LISTS_MAX)?;
        let (mut lists, mut least) = (Vec::with_capacity(found.len()), None::<Head>);
        for der in &found {
            let head = crl::head(der).ok()?;
            least = Some(least.map_or(head, |least| Head {
                counter: least.counter.min(head.counter),
                made_at: least.made_at.min(head.made_at),
                until: least.until.min(head.until),
            }));
            lists.push(OwnedCertRevocationList::from_der(der).ok()?.into());
        }
        Some(Self { lists, head: least? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_list_is_believed_while_it_lasts_and_knows_of_everything_or_is_young() {
        let at = Time::from_seconds;
        let head = Head { counter: 7, made_at: at(1000), until: at(1300) };
        let age_max = Duration::from_mins(1);
        let check = |rev: u64, now: i64| head.check(AsOf { rev, server_time: at(now) }, age_max);
        for (rev, now) in [(7, 1000), (7, 1300), (3, 1300), (8, 1060), (99, 1001)] {
            assert_eq!(check(rev, now), Ok(()), "{rev} {now}");
        }
        for (rev, now) in [(7, 1301), (8, 1061), (8, 1301), (8, 1200)] {
            assert_eq!(check(rev, now), Err(Unfit::Stale), "{rev} {now}");
        }
    }

    #[test]
    fn what_is_no_list_is_not_read() {
        let block = accredit_wire::x509::pem(LIST, &[0x30, 0]);
        for wrong in ["", " ", "x", &*block, &accredit_wire::x509::pem("CERTIFICATE", &[1])] {
            assert!(Lists::read(wrong).is_none(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(
            text in ".{0,300}",
            der in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = Lists::read(&text);
            let _ = Lists::read(&accredit_wire::x509::pem(LIST, &der));
        }
    }
}
