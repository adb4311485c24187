//! The threads that wait for the token, so that no thread of the server does: a few, each with a
//! session of its own, that take from one bounded queue.
//!
//! A module that hangs holds the thread that asked it, and there is no way to take it back: then the
//! queue fills, and whoever comes is told at once. Whoever has waited for long enough goes away; what
//! was not begun by then is not begun any more.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use accredit_domain::keys::held::ObjectName;
use accredit_domain::keys::{KeyPurpose, SealedKey};
use accredit_wire::crypto::PublicKey;
use accredit_wire::ids::KeyId;
use accredit_wire::secret::Secret;
use cryptoki::types::AuthPin;
use tokio::sync::oneshot;

use crate::link::{Link, Site};
use crate::module;
use crate::object::{self, Wanted};
use crate::trouble::{Trouble, What};

/// Sessions with the token, at most: small tokens have no more, and sign one after the other.
pub const SESSIONS_MAX: usize = 4;
/// What may wait for a session.
pub const WAITING_MAX: usize = 256;
/// How long a signature may take, and the wait for it.
pub const SIGN_TIME_MAX: Duration = Duration::from_secs(10);
/// How long anything else may take: opening the module, making a key, looking through all of them.
pub const WORK_TIME_MAX: Duration = Duration::from_mins(1);

/// Which token, what opens it, and what it is for.
#[derive(Clone)]
pub struct Options {
    /// The module's file.
    pub module: PathBuf,
    /// The token's label.
    pub token: String,
    /// What the token is shown.
    pub pin: Secret,
    /// Which new keys are made in it.
    pub purposes: Vec<KeyPurpose>,
}

type Job = Box<dyn FnOnce(&mut Link, &Site) + Send>;

/// A token. Nothing is loaded before it is asked for something.
pub struct Token {
    site: Arc<Site>,
    purposes: Vec<KeyPurpose>,
    queue: OnceLock<Result<SyncSender<Job>, Trouble>>,
}

impl Token {
    /// The token that is called so.
    pub fn new(options: Options) -> Self {
        let pin = AuthPin::from(options.pin.expose());
        let site = Arc::new(Site::new(options.module, options.token, pin));
        Self { site, purposes: options.purposes, queue: OnceLock::new() }
    }

    /// Whether new keys of a purpose are made in it.
    pub fn is_for(&self, purpose: KeyPurpose) -> bool {
        self.purposes.contains(&purpose)
    }

    /// Opens it: the module, the token, the PIN, and what the purposes need.
    pub async fn open(&self) -> Result<(), Trouble> {
        let purposes = self.purposes.clone();
        self.work(WORK_TIME_MAX, move |link, site| {
            let module = module::load(&site.module)?;
            link.with(site, |_| {
                let (slot, _) = site.slot(&module)?;
                let has = module.get_mechanism_list(slot)?;
                for purpose in &purposes {
                    let needs = object::mechanisms(purpose.algorithm());
                    if let Some(lacks) = needs.iter().find(|needed| !has.contains(needed)) {
                        let why =
                            format!("it has no {lacks}, which keys of `{}` need", purpose.as_str());
                        return Err(Trouble::new(What::Mechanism, why));
                    }
                }
                Ok(())
            })
        })
        .await
    }

    pub(crate) async fn generate(
        &self,
        wanted: Wanted,
    ) -> Result<(ObjectName, PublicKey), Trouble> {
        self.work(WORK_TIME_MAX, move |link, site| {
            link.with(site, |open| object::generate(open, wanted))
        })
        .await
    }

    pub(crate) async fn sign(&self, key: &SealedKey, message: &[u8]) -> Result<[u8; 64], Trouble> {
        let (key, message) = (key.clone(), message.to_vec());
        self.work(SIGN_TIME_MAX, move |link, site| {
            link.with(site, |open| object::sign(open, &key, &message))
        })
        .await
    }

    /// Which of these keys could not be used, and why.
    pub async fn absent(&self, keys: &[SealedKey]) -> Result<Vec<(KeyId, String)>, Trouble> {
        let keys = keys.to_vec();
        self.work(WORK_TIME_MAX, move |link, site| {
            link.with(site, |open| object::absent(open, &keys))
        })
        .await
    }

    pub(crate) async fn destroy(&self, key: &SealedKey) -> Result<bool, Trouble> {
        let key = key.clone();
        self.work(WORK_TIME_MAX, move |link, site| {
            link.with(site, |open| object::destroy(open, &key))
        })
        .await
    }

    /// Lets one of the threads do something, and waits for it, not for longer than `limit`.
    async fn work<T: Send + 'static>(
        &self,
        limit: Duration,
        act: impl FnOnce(&mut Link, &Site) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Trouble> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |link, site| {
            // Whoever asked may have gone away meanwhile.
            if !answer.is_closed() {
                let _ = answer.send(act(link, site));
            }
        });
        let queue = self.queue.get_or_init(|| start(&self.site)).as_ref().map_err(Clone::clone)?;
        let slow = |why: String| {
            let (label, module) = (&self.site.label, self.site.module.display());
            Trouble::new(What::Slow, format!("token `{label}` of `{module}`: {why}"))
        };
        queue.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => slow(format!("{WAITING_MAX} wait for it already")),
            TrySendError::Disconnected(_) => slow("the threads that ask it are gone".to_owned()),
        })?;
        match tokio::time::timeout(limit, answered).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => Err(slow("the thread that asked it panicked".to_owned())),
            Err(_) => Err(slow(format!("no answer in {} seconds", limit.as_secs()))),
        }
    }
}

/// Starts the threads; they end when nobody can ask any more.
fn start(site: &Arc<Site>) -> Result<SyncSender<Job>, Trouble> {
    let (queue, jobs) = sync_channel::<Job>(WAITING_MAX);
    let jobs = Arc::new(Mutex::new(jobs));
    for number in 0..SESSIONS_MAX {
        let (site, jobs) = (Arc::clone(site), Arc::clone(&jobs));
        let thread = std::thread::Builder::new().name(format!("pkcs11-{number}"));
        let started = thread.spawn(move || {
            let mut link = Link::default();
            while let Some(job) = next(&jobs) {
                job(&mut link, &site);
            }
        });
        started.map_err(|error| Trouble::new(What::Refused, format!("no thread: {error}")))?;
    }
    Ok(queue)
}

/// What is to be done next. One thread waits for it, the others for that one.
fn next(jobs: &Mutex<Receiver<Job>>) -> Option<Job> {
    jobs.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}
