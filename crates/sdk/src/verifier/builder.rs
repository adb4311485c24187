//! From settings to a verifier that knows its issuer.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use accredit_net::ConfigError;
use accredit_wire::api_key::{ApiKey, ApiKeyError, SecretKind};
use accredit_wire::binding::replay::REPLAY_ENTRIES_MAX;
use accredit_wire::binding::uri::{BaseUri, UriError};
use accredit_wire::revocations::acknowledgement::FollowerInvalid;
use accredit_wire::revocations::kept::{KEPT_LINE_BYTES_MAX, Restoring};
use accredit_wire::revocations::witness::LogWitness;
use accredit_wire::revocations::{Follower, FollowerId, FollowerName};
use accredit_wire::secret::Secret;
use accredit_wire::verify::{AudienceRule, Config, Proofs, REVOCATIONS_AGE_MAX};
use tokio::task::JoinSet;

use super::acknowledge::{Introduction, acknowledge_forever};
use super::follow::{Broken, Follow};
use super::keys::{KEYS_FILE_BYTES_MAX, Keys};
use super::shared::Shared;
use super::state_dir::{self, StateDir};
use super::{Verifier, refresh_keys_forever};
use crate::ambient;
use crate::issuer::{Issuer, IssuerClient, IssuerInvalid};

/// The shortest age bound: below it, one lost packet would refuse everything.
pub const REVOCATIONS_AGE_MIN: Duration = Duration::from_secs(1);

/// The settings of a [`Verifier`].
#[derive(Debug)]
#[must_use = "`connect` makes the verifier"]
pub struct Builder {
    issuer: String,
    audience: String,
    credential: Option<String>,
    state_dir: Option<PathBuf>,
    authorities: Option<PathBuf>,
    age_max: Duration,
    skew: Option<Duration>,
    restored: Option<u64>,
    name: Option<String>,
    public_url: Option<String>,
    nonces: Nonces,
    proofs_remembered_max: usize,
    unheld_attenuable: bool,
}

/// Whether proofs of possession need a nonce.
#[derive(Clone, Copy, Debug)]
enum Nonces {
    Accepted,
    Required,
}

/// Why a verifier could not be made. The first five are the operator's to mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// The issuer is not a URL of the right kind.
    Issuer(IssuerInvalid),
    /// There is no credential, or its text is not one.
    Credential(Option<ApiKeyError>),
    /// The credential is an agent's, an instance's or an administrator's.
    CredentialNotOfResource,
    /// The certificate authorities cannot be used.
    Net(ConfigError),
    /// The verifier's name cannot be one.
    Name(FollowerInvalid),
    /// The system has no randomness to draw an id from.
    Random,
    /// The public URL is none.
    PublicUrl(UriError),
    /// The state folder cannot be used; [`io::ErrorKind::ResourceBusy`] where another verifier
    /// has it.
    StateDir {
        /// The folder.
        path: PathBuf,
        /// What the operating system said.
        reason: io::ErrorKind,
    },
    /// The issuer cannot be asked, and nothing of it is known from before.
    Unknown {
        /// What went wrong.
        reason: String,
    },
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Issuer(error) => error.fmt(f),
            Self::Credential(Some(error)) => error.fmt(f),
            Self::Credential(None) => {
                f.write_str("the verifier needs a credential of its resource, `acr_resource_…`")
            }
            Self::CredentialNotOfResource => f.write_str(
                "the credential is not a resource's: make one for the resource, `acr_resource_…`",
            ),
            Self::Name(error) => write!(f, "the verifier's name: {error}"),
            Self::Random => f.write_str("the system has no randomness"),
            Self::Net(error) => error.fmt(f),
            Self::PublicUrl(error) => write!(f, "the public URL cannot be used: {error}"),
            Self::StateDir { path, reason: io::ErrorKind::ResourceBusy } => write!(
                f,
                "the state folder `{}` belongs to another running verifier; each needs its own",
                path.display()
            ),
            Self::StateDir { path, reason } => {
                write!(f, "the state folder `{}` cannot be used: {reason}", path.display())
            }
            Self::Unknown { reason } => {
                write!(f, "nothing is known of the issuer, and it cannot be asked: {reason}")
            }
        }
    }
}

impl std::error::Error for ConnectError {}

impl Builder {
    pub(super) fn new(issuer: &str, audience: &str) -> Self {
        Self {
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
            credential: None,
            state_dir: None,
            authorities: None,
            age_max: REVOCATIONS_AGE_MAX,
            skew: None,
            restored: None,
            name: None,
            public_url: None,
            nonces: Nonces::Accepted,
            proofs_remembered_max: REPLAY_ENTRIES_MAX,
            unheld_attenuable: false,
        }
    }

    /// The resource's own credential, `acr_resource_…`, with which it follows the feed.
    pub fn credential(mut self, text: impl Into<String>) -> Self {
        self.credential = Some(text.into());
        self
    }

    /// A folder of this verifier's own, for keys and state: with it, it starts while the issuer
    /// is down, and remembers the audit log over a restart. Made where it is missing.
    pub fn state_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.state_dir = Some(path.into());
        self
    }

    /// A PEM file with certificate authorities to trust beside the built-in ones.
    pub fn authorities(mut self, path: impl Into<PathBuf>) -> Self {
        self.authorities = Some(path.into());
        self
    }

    /// How old the state of revocations may be; 60 s where nothing is said, 1 s at least. A
    /// revoked token is accepted no longer than this, and everything is refused when the issuer
    /// was silent for this long. Not below the resource's `revocations_age_max` at the issuer,
    /// which paces the heartbeats.
    pub fn age_max(mut self, age_max: Duration) -> Self {
        self.age_max = age_max.max(REVOCATIONS_AGE_MIN);
        self
    }

    /// What an administrator sees this verifier called where something is ended and it says that it
    /// refuses it: letters, digits, `.`, `_`, `-` and `:`, such as a host name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// By how much clocks may differ when a token's times are compared.
    pub fn skew(mut self, skew: Duration) -> Self {
        self.skew = Some(skew);
        self
    }

    /// The operator's word that the issuer restored a backup and that `generation`, which the
    /// operator names, began with it. A restore can lose events that this verifier saw; without
    /// this word that is an alarm, as it must be, and everything is refused once the state is too
    /// old. With it the verifier forgets, once, the checkpoints of lanes that began before that
    /// generation, and goes on with those that it is shown. It forgets no revocation. Says nothing
    /// to a verifier that is in that generation already, so that it may stay where it is.
    pub fn accept_restored(mut self, generation: u64) -> Self {
        self.restored = Some(generation);
        self
    }

    /// Where the service is reached, such as `https://crm.example/api`: what proofs of possession must
    /// have been made for, joined with the path that the service sees. Where it is not set it is the
    /// audience, if that is a URL; if it is not, tokens that are bound to a key are refused. A
    /// request's own `Host` is never believed.
    pub fn public_url(mut self, url: impl Into<String>) -> Self {
        self.public_url = Some(url.into());
        self
    }

    /// Demands in each proof a nonce that this verifier gave at most five minutes ago (RFC 9449
    /// section 9), so that nobody makes proofs for later. Clients without one are refused once and
    /// told it. Each process has nonces of its own: behind a balancer, requests of one client should
    /// come to one process.
    pub fn require_nonces(mut self) -> Self {
        self.nonces = Nonces::Required;
        self
    }

    /// How many proofs are remembered at a time, so that each is taken once: for a minute or two, 64
    /// bytes each. Where it is reached, bound tokens are refused until some are over. Each process
    /// remembers its own: behind a balancer, requests of one client should come to one process.
    pub fn proofs_remembered_max(mut self, entries: usize) -> Self {
        self.proofs_remembered_max = entries;
        self
    }

    /// Takes attenuable tokens that were minted for nobody's key, from whoever has them. By default they
    /// are refused, also where somebody named a holder since: what is narrowed and handed on passes
    /// through many hands, and a thief's key is as good as any.
    pub fn accept_unheld_attenuable(mut self) -> Self {
        self.unheld_attenuable = true;
        self
    }

    /// How proofs are checked, where that is possible.
    fn proofs(&self) -> Result<Option<Proofs>, ConnectError> {
        let base = match &self.public_url {
            Some(url) => BaseUri::parse(url).map_err(ConnectError::PublicUrl)?,
            None => match BaseUri::parse(&self.audience) {
                Ok(base) => base,
                Err(_) => return Ok(None),
            },
        };
        let secret = ambient::random::<32>().ok_or(ConnectError::Random)?;
        let proofs = Proofs::new(base, &secret).remembering(self.proofs_remembered_max);
        Ok(Some(match self.nonces {
            Nonces::Accepted => proofs,
            Nonces::Required => proofs.with_nonces(),
        }))
    }

    /// Asks the issuer for its keys and its revocations, and starts to follow it. Where the
    /// issuer cannot be asked, starts from the state folder. Needs a tokio runtime.
    pub async fn connect(self) -> Result<Verifier, ConnectError> {
        let issuer = Issuer::parse(&self.issuer).map_err(ConnectError::Issuer)?;
        let key = credential(self.credential.as_deref())?;
        let client = IssuerClient::new(issuer, Some(key), self.authorities.clone())
            .map_err(ConnectError::Net)?;
        let follower_id = FollowerId::new(ambient::random().ok_or(ConnectError::Random)?);
        let name = self.name.as_deref().map(str::parse::<FollowerName>).transpose();
        let name = name.map_err(ConnectError::Name)?;
        let dir = self.state_dir.as_deref().map(open_dir).transpose()?;
        let known = dir.as_ref().map(|dir| Known::read(dir, &self.issuer)).unwrap_or_default();
        let Known { keys, follower } = known;
        let stored = follower.is_some();
        let proofs = self.proofs()?;
        let mut config = Config::new(&self.issuer, AudienceRule::Exact(self.audience));
        config.proofs = proofs;
        config.unheld_attenuable = self.unheld_attenuable;
        config.revocations_age_max = self.age_max;
        config.skew = self.skew.unwrap_or(config.skew);

        let shared = Arc::new(Shared::new(client, config, keys.unwrap_or_default(), dir.clone()));
        let refreshed = shared.refresh_keys().await;
        let fresh_keys = refreshed.is_ok();
        if let Err(error) = refreshed {
            excuse(stored, &error)?;
        }
        let begin = || Follower::new(self.issuer, Some(LogWitness::new(Vec::new())));
        let mut follower = follower.unwrap_or_else(begin);
        if let Some(generation) = self.restored {
            follower.accept_restored(generation);
        }
        let introduction = Introduction { follower: follower_id, name };
        let follow = Follow::new(Arc::clone(&shared), follower, dir, introduction).await;
        let (follow, loaded) = load(follow, fresh_keys).await?;
        if let Err(error) = loaded {
            excuse(stored, &error)?;
        }
        let tasks = [
            tokio::spawn(follow.run()).abort_handle(),
            tokio::spawn(refresh_keys_forever(Arc::clone(&shared), fresh_keys)).abort_handle(),
            tokio::spawn(acknowledge_forever(Arc::clone(&shared), follower_id)).abort_handle(),
        ];
        Ok(Verifier::new(shared, tasks))
    }
}

/// Fetches the first snapshot, where it is to be fetched, on a thread that goes on working: allocators
/// give back what was allocated on one that sleeps from here on, such as the main one, only when it
/// wakes, and much of what is loaded is replaced soon.
async fn load(
    mut follow: Follow,
    is_fetched: bool,
) -> Result<(Follow, Result<(), Broken>), ConnectError> {
    // Dropped with this future, it is aborted.
    let mut loading = JoinSet::new();
    loading.spawn(async move {
        let loaded = if is_fetched { follow.snapshot().await } else { Ok(()) };
        (follow, loaded)
    });
    match loading.join_next().await {
        Some(Ok(loaded)) => Ok(loaded),
        Some(Err(error)) => Err(ConnectError::Unknown { reason: error.to_string() }),
        None => Err(ConnectError::Unknown { reason: "nothing was fetched".to_owned() }),
    }
}

/// What goes wrong with the issuer is fatal only where nothing is known from before.
fn excuse(stored: bool, error: &impl fmt::Display) -> Result<(), ConnectError> {
    if stored {
        tracing::warn!(reason = %error, "the issuer cannot be asked; starting from what is stored");
        return Ok(());
    }
    Err(ConnectError::Unknown { reason: error.to_string() })
}

fn credential(text: Option<&str>) -> Result<Secret, ConnectError> {
    let text = text.ok_or(ConnectError::Credential(None))?;
    let key = ApiKey::parse(text).map_err(|error| ConnectError::Credential(Some(error)))?;
    if key.kind != SecretKind::Resource {
        return Err(ConnectError::CredentialNotOfResource);
    }
    Ok(Secret::new(text.to_owned()))
}

fn open_dir(path: &Path) -> Result<StateDir, ConnectError> {
    StateDir::open(path)
        .map_err(|error| ConnectError::StateDir { path: path.to_owned(), reason: error.kind() })
}

/// What a state folder holds.
#[derive(Default)]
struct Known {
    keys: Option<Keys>,
    follower: Option<Follower>,
}

impl Known {
    /// Reads what is there and good. Both files are needed to start without the issuer; keys alone
    /// still pin the log's.
    fn read(dir: &StateDir, issuer: &str) -> Self {
        let keys = match dir.read(state_dir::KEYS, KEYS_FILE_BYTES_MAX) {
            Ok(bytes) => bytes.and_then(|bytes| Keys::from_bytes(&bytes, issuer)),
            Err(error) => {
                tracing::warn!(%error, "the stored keys cannot be read");
                None
            }
        };
        let Some(known) = &keys else { return Self::default() };
        let (mut restoring, mut wrong) = (Restoring::new(issuer, Some(known.log.clone())), None);
        let read = dir.read_lines(state_dir::FOLLOWER, KEPT_LINE_BYTES_MAX, |line| {
            wrong = restoring.line(line).err();
            wrong.is_none()
        });
        let follower = match (read, wrong) {
            (Ok(false), _) => return Self { keys, follower: None },
            (Ok(true), None) => restoring.finish().map_err(|error| error.to_string()),
            (Ok(true), Some(error)) => Err(error.to_string()),
            (Err(error), _) => Err(error.to_string()),
        };
        if let Err(error) = &follower {
            tracing::warn!(error, "the stored revocation state is not used");
        }
        Self { follower: follower.ok(), keys }
    }
}
