//! RFC 5280, RFC 9525: the installation's own authority, by which its listener speaks TLS.
//!
//! It belongs to no organization: the listener serves all of them, and before there is one. Its roots are
//! for the host of the public URL alone, which never changes. One signs; another was made ahead and is
//! handed out with it, so that it can take its place one day without anybody being told. What the listener
//! shows is for a key that its process makes and keeps in memory, and is over within a day.
//! Absent on purpose: events, since there is no log before an organization; the process says what it does
//! ([decision 16](../../../../docs/decisions/0016-the-listener-has-an-authority-of-its-own.md)).

use std::time::Duration;

use accredit_wire::crypto::{Algorithm, PublicKey};
use accredit_wire::ids::KeyId;
use accredit_wire::time::Time;
use accredit_wire::x509::certificate::{Certificate, Life, Named, SERIAL_BYTES, Unsigned};
use accredit_wire::x509::listener::Host;

use super::{ROOT_LIFE, ROOT_ROTATED_BEFORE_END, SHOWN_LIFE, certificate, name};
use crate::context::World;
use crate::keys::held::Held;
use crate::keys::{KeyPurpose, SealedKey};
use crate::ports::{BoxFuture, CommitError};
use crate::refusal::Fault;

/// How long the certificate of a root that waits holds: it waits for as long as a root lives, and lives
/// for as long.
pub const NEXT_LIFE: Duration = Duration::from_secs(2 * ROOT_LIFE.as_secs());
/// How often it is tried to make roots, or to change them, while others do.
const TRIES_MAX: usize = 3;
/// What is shown is called so.
const SHOWN_NAME: &str = "Accredit listener";

/// A root of the listener's: its key as the vault has wrapped it, and its certificate.
#[derive(Clone, Debug)]
pub struct ListenerRoot {
    /// The key.
    pub key: SealedKey,
    /// The certificate that it signed for itself.
    pub certificate: Certificate,
}

/// The roots: whoever trusts both trusts the listener now and when the next one signs.
#[derive(Clone, Debug)]
pub struct Roots {
    /// It signs.
    pub active: ListenerRoot,
    /// It takes its place.
    pub next: ListenerRoot,
}

impl Roots {
    /// Which they are.
    pub fn ids(&self) -> [KeyId; 2] {
        [self.active.key.id, self.next.key.id]
    }

    /// Those of their keys that are in a token.
    pub fn keys_in_token(&self) -> impl Iterator<Item = &SealedKey> {
        let keys = [&self.active.key, &self.next.key].into_iter();
        keys.filter(|key| key.held() == Held::Pkcs11)
    }

    /// Both certificates, PEM: what a client is given to trust.
    pub fn bundle(&self) -> String {
        [&self.active, &self.next].map(|root| root.certificate.pem()).concat()
    }
}

/// Roots in the place of those that were seen; of none where the store had none.
#[derive(Debug)]
pub struct Replaced {
    /// Those that were seen.
    pub seen: Option<[KeyId; 2]>,
    /// Those that are to be.
    pub by: Roots,
}

/// Where the roots are kept.
pub trait ListenerRoots: Send + Sync {
    /// The roots, where there are any.
    fn listener_roots(&self) -> BoxFuture<'_, Result<Option<Roots>, Fault>>;

    /// Puts roots in the place of others, all or nothing: [`CommitError::Stale`] where others are there
    /// than were seen, or the store is under another root key. The key of one that is there no more is gone.
    fn replace_listener_roots(&self, replaced: Replaced) -> BoxFuture<'_, Result<(), CommitError>>;
}

/// What the listener shows for a key of its process.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The certificate. The root that signed it is at whoever checks it.
    pub certificate: Certificate,
    /// Which root that is.
    pub root: KeyId,
    /// When it was made.
    pub from: Time,
}

/// Whom the listener is reached as.
pub fn host(world: &World) -> Result<Host, Fault> {
    Host::of_url(&world.public_url).map_err(|error| Fault::new("the host of the public URL", error))
}

/// The roots; made where there are none.
pub async fn roots(world: &World, now: Time) -> Result<Roots, Fault> {
    settled(world, now, |_| true).await
}

/// The roots, the next in the place of the one that signs where that ends within a year.
pub async fn tick(world: &World, now: Time) -> Result<Roots, Fault> {
    let year = now.plus(ROOT_ROTATED_BEFORE_END);
    settled(world, now, |found| year < found.active.certificate.until()).await
}

/// The roots after the next one has taken the place of the one that signs.
pub async fn rotate(world: &World, now: Time) -> Result<Roots, Fault> {
    let seen = roots(world, now).await?.ids();
    settled(world, now, |found| found.ids() != seen).await
}

/// The roots as they are to be: made where there are none, and moved on by one where they are not so.
/// Whoever does the same meanwhile has done it for this one, too.
async fn settled(
    world: &World,
    now: Time,
    is_so: impl Fn(&Roots) -> bool + Send + Sync,
) -> Result<Roots, Fault> {
    const OPERATION: &str = "change the listener's roots";
    for _ in 0..TRIES_MAX {
        let found = world.store.listener_roots().await?;
        let active = match &found {
            Some(found) if is_so(found) => return Ok(found.clone()),
            Some(found) => found.next.clone(),
            None => made(world, ROOT_LIFE, now).await?,
        };
        let by = Roots { active, next: made(world, NEXT_LIFE, now).await? };
        let seen = found.as_ref().map(Roots::ids);
        match world.store.replace_listener_roots(Replaced { seen, by: by.clone() }).await {
            Ok(()) => {
                let [active, next] = by.ids();
                tracing::warn!(%active, %next, "the listener has other roots: clients are to have both");
                return Ok(by);
            }
            Err(CommitError::Stale | CommitError::Taken(_) | CommitError::Reached(_)) => {}
            Err(CommitError::Fault(fault)) => return Err(fault),
        }
    }
    Err(Fault::new(OPERATION, "others change them again and again"))
}

/// A root with the certificate that it signs for itself.
async fn made(world: &World, life: Duration, now: Time) -> Result<ListenerRoot, Fault> {
    let id = KeyId::new(now.millis(), world.random());
    let key = world.vault.generate(None, id, KeyPurpose::CaRoot, Algorithm::Es256).await?;
    let (name, serial) = (name(id), world.random::<SERIAL_BYTES>());
    let life = Life { from: now, until: now.plus(life) };
    let own = Named::new(&name, &key.public);
    let unsigned = Unsigned::listener_root(&host(world)?, own, &serial, life);
    let certificate = certificate(world, &key, unsigned).await?;
    Ok(ListenerRoot { key, certificate })
}

/// What the listener is to show for a key that it has made.
pub async fn show(
    world: &World,
    by: &ListenerRoot,
    key: &PublicKey,
    now: Time,
) -> Result<Shown, Fault> {
    let (name, serial) = (name(by.key.id), world.random::<SERIAL_BYTES>());
    let names = (Named::new(&name, &by.key.public), Named::new(SHOWN_NAME, key));
    let until = now.plus(SHOWN_LIFE).min(by.certificate.until());
    let life = Life { from: now, until };
    let unsigned = Unsigned::listener(&host(world)?, names, &serial, life);
    let certificate = certificate(world, &by.key, unsigned).await?;
    Ok(Shown { certificate, root: by.key.id, from: now })
}
