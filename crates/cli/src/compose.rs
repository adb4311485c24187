//! The composition root: the one place where the real world is put together.

use std::cell::RefCell;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use accredit_domain::audit::event::{Actor, Body};
use accredit_domain::limits::Limits;
use accredit_domain::ports::{Clock, Entropy, Installation, Outbound, Page, Registry as _, Store};
use accredit_domain::registry::credential::AdminPermission;
use accredit_domain::registry::operator::renew;
use accredit_domain::registry::organization::{
    CreateOrganization, CreatedOrganization, found, found_first, new_admin,
};
use accredit_domain::vault::{RootKey, SoftVault, WrappedPepper};
use accredit_domain::{Error, World};
use accredit_net::JwkSets;
use accredit_server::Server;
use accredit_store::{Options, SqliteStore};
use accredit_wire::secret::Secret;
use accredit_wire::time::Time;
use rustix::time::{ClockId, clock_gettime};

use crate::errors::Failure;
use crate::exit::Exit;
use crate::outbound::Outside;

/// The machine's clock.
struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the clock that everything else is given")]
    fn now(&self) -> Time {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Time::from_micros(0).plus(since)
    }

    fn elapsed(&self) -> Duration {
        // Both count on while the machine is suspended.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        const CLOCK: ClockId = ClockId::Boottime;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        const CLOCK: ClockId = ClockId::Monotonic;
        let time = clock_gettime(CLOCK);
        let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
        Duration::new(seconds.unwrap_or_default(), nanos.unwrap_or_default())
    }
}

/// The operating system's randomness.
pub(crate) struct SystemEntropy;

/// Bytes drawn at once for small wishes.
const POOL_BYTES: usize = 1024;

thread_local! {
    /// Random bytes of this thread that were not given out yet, at the end of the array.
    static POOL: RefCell<(zeroize::Zeroizing<[u8; POOL_BYTES]>, usize)> =
        RefCell::new((zeroize::Zeroizing::new([0; POOL_BYTES]), 0));
}

impl SystemEntropy {
    #[expect(clippy::disallowed_methods, reason = "the randomness that everything else is given")]
    #[expect(clippy::expect_used, reason = "without randomness nothing may go on")]
    fn draw(bytes: &mut [u8]) {
        aws_lc_rs::rand::fill(bytes).expect("the operating system has no randomness");
    }
}

impl Entropy for SystemEntropy {
    /// A token needs three small draws; each has a price of its own, so they share one. What was
    /// given out is wiped from the pool, and no byte is given out twice.
    fn fill(&self, bytes: &mut [u8]) {
        if bytes.len() > POOL_BYTES / 8 {
            return Self::draw(bytes);
        }
        POOL.with_borrow_mut(|(pool, left)| {
            if *left < bytes.len() {
                Self::draw(pool.as_mut());
                *left = POOL_BYTES;
            }
            let start = *left - bytes.len();
            if let Some(drawn) = pool.get_mut(start..*left) {
                bytes.copy_from_slice(drawn);
                drawn.fill(0);
            }
            *left = start;
        });
    }
}

/// The store and what is around it.
pub(crate) struct Composed {
    /// The world that the domain is given.
    pub(crate) world: Arc<World>,
    /// The server over it.
    pub(crate) server: Arc<Server>,
    /// The store, to be closed at the end.
    pub(crate) store: Arc<SqliteStore>,
    /// How documents are fetched.
    pub(crate) outbound: Arc<Outside>,
}

fn fault(title: &str, error: &dyn std::fmt::Display, hint: &str) -> Failure {
    Failure::new(Exit::Failure, "start", title, &error.to_string(), hint)
}

/// Makes a root key, readable by its owner alone. An existing file is never overwritten.
pub(crate) fn new_root_key(file: &Path) -> Result<(), Failure> {
    let mut bytes = zeroize::Zeroizing::new([0u8; 32]);
    SystemEntropy.fill(bytes.as_mut());
    let mut hex = String::with_capacity(65);
    for byte in bytes.iter() {
        let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
        hex.extend([digit(byte >> 4), digit(byte & 15)]);
    }
    hex.push('\n');
    let text = Secret::new(hex);
    let written =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).and_then(
            |mut file| {
                file.write_all(text.expose().as_bytes())?;
                file.sync_all()
            },
        );
    written.map_err(|error| {
        let title = format!("the root key `{}` was not written", file.display());
        Failure::file(&title, &error, "choose another folder; a root key is never overwritten")
    })
}

/// Reads the root key. A file that others can read is refused.
pub(crate) fn root_key(file: &Path) -> Result<RootKey, Failure> {
    let title = format!("the root key `{}` cannot be used", file.display());
    let failed = |error: std::io::Error| Failure::file(&title, &error, "run `accredit init` first");
    let mode = std::fs::metadata(file).map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(fault(
            &title,
            &format!("others can read it (mode {:o})", mode & 0o777),
            &format!("chmod 600 {}", file.display()),
        ));
    }
    let text = Secret::new(std::fs::read_to_string(file).map_err(failed)?);
    let hex = text.expose().trim();
    let mut bytes = zeroize::Zeroizing::new([0u8; 32]);
    let broken = || fault(&title, &"it is not 64 hexadecimal digits", "restore it from a backup");
    if hex.len() != 64 || !hex.is_ascii() {
        return Err(broken());
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        let digits = hex.get(2 * index..2 * index + 2).ok_or_else(broken)?;
        *byte = u8::from_str_radix(digits, 16).map_err(|_| broken())?;
    }
    Ok(RootKey::new(*bytes))
}

/// The folder in which a file is.
pub(crate) fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// The file beside a root key whose name is longer by one word.
pub(crate) fn root_key_beside(file: &Path, word: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".");
    name.push(word);
    PathBuf::from(name)
}

/// Says that a root key is not the store's, and which of the files beside it is, if any.
pub(crate) fn wrong_root_key(file: &Path, peppers: &[WrappedPepper]) -> Failure {
    let title = "the root key does not open this store";
    let opens = |word| {
        let beside = root_key_beside(file, word);
        let opens = root_key(&beside).is_ok_and(|root| SoftVault::opens(&root, peppers));
        opens.then_some(beside)
    };
    if let Some(next) = opens("next") {
        return fault(
            title,
            &format!("a rotation of the root key was cut off: `{}` opens it", next.display()),
            "finish it with `accredit root rotate --config FILE`",
        );
    }
    if let Some(previous) = opens("previous") {
        return fault(
            title,
            &format!("`{}` opens it: the store is older than the key", previous.display()),
            &format!("copy that file to `{}`", file.display()),
        );
    }
    fault(
        title,
        &format!("`{}` is another store's, and no file beside it opens this one", file.display()),
        "put back the root key that this store was founded with",
    )
}

/// The machine's clock and the operating system's randomness, for commands without a world.
pub(crate) fn clock_and_entropy() -> (Arc<dyn Clock>, Arc<dyn Entropy>) {
    (Arc::new(SystemClock), Arc::new(SystemEntropy))
}

/// Opens the store at `store_file` with the root key in `root_key_file`. A new store is founded
/// at `public_url`; one that was founded elsewhere is refused.
pub(crate) async fn compose(
    store_file: &Path,
    root_key_file: &Path,
    public_url: &str,
) -> Result<Composed, Failure> {
    let root = root_key(root_key_file)?;
    let wrong = |peppers: &[WrappedPepper]| wrong_root_key(root_key_file, peppers);
    put_together(store_file, root, public_url, wrong).await
}

/// The same with a root key that was read before.
pub(crate) async fn compose_with(
    store_file: &Path,
    root: RootKey,
    public_url: &str,
) -> Result<Composed, Failure> {
    let wrong = |_: &[WrappedPepper]| {
        let detail = "the peppers in it are wrapped under another one";
        fault("the root key does not open this store", &detail, "find the one that does")
    };
    put_together(store_file, root, public_url, wrong).await
}

async fn put_together(
    store_file: &Path,
    root: RootKey,
    public_url: &str,
    wrong: impl FnOnce(&[WrappedPepper]) -> Failure,
) -> Result<Composed, Failure> {
    let title = format!("the store `{}` cannot be used", store_file.display());
    let failed = |error: accredit_domain::Fault| {
        fault(&title, &error, "is another server running on it? see `accredit serve --help`")
    };
    let store = SqliteStore::open(store_file, &Options::default()).map_err(failed)?;
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let kept = store.installation().await.map_err(failed)?;
    let installation = if let Some(installation) = kept {
        installation
    } else {
        let pepper = SoftVault::new_pepper(&root, entropy.as_ref(), 1).map_err(failed)?;
        let public_url = public_url.to_owned();
        let installation = Installation { peppers: vec![pepper], public_url };
        store.found(installation.clone()).await.map_err(failed)?;
        installation
    };
    if installation.public_url != public_url {
        return Err(fault(
            &title,
            &format!("it was founded at `{}`, not at `{public_url}`", installation.public_url),
            "issuers are made from the public URL: set it back, or begin a new store",
        ));
    }
    if !SoftVault::opens(&root, &installation.peppers) {
        return Err(wrong(&installation.peppers));
    }
    let vault =
        SoftVault::open(root, Arc::clone(&entropy), &installation.peppers).map_err(failed)?;
    let sets = JwkSets::new().map_err(|error| {
        fault(&title, &error, "this is a fault of the program: please report it")
    })?;
    let outbound = Arc::new(Outside(sets));
    let world = Arc::new(World {
        clock: Arc::new(SystemClock),
        entropy,
        vault: Arc::new(vault),
        outbound: Arc::clone(&outbound) as Arc<dyn Outbound>,
        store: Arc::clone(&store) as Arc<dyn Store>,
        public_url: installation.public_url,
        limits: Limits::default(),
    });
    let server = Server::new(Arc::clone(&world));
    Ok(Composed { world, server, store, outbound })
}

/// Founds an organization whose first administrator may do everything.
pub(crate) async fn found_organization(
    composed: &Composed,
    name: &str,
) -> Result<CreatedOrganization, Failure> {
    let asked = CreateOrganization { name: name.to_owned(), display_name: None };
    let body = Body { actor: Some(Actor { id: None, kind: "system" }), ..Body::default() };
    let (world, now) = (&composed.world, composed.world.clock.now());
    found(world, now, &asked, AdminPermission::ALL.to_vec(), body).await.map_err(refused)
}

/// Founds the first organization of an installation, with the operator's key beside its owner's.
pub(crate) async fn found_installation(
    composed: &Composed,
    name: &str,
) -> Result<(CreatedOrganization, Secret), Failure> {
    let asked = CreateOrganization { name: name.to_owned(), display_name: None };
    let body = Body { actor: Some(Actor { id: None, kind: "system" }), ..Body::default() };
    let (world, now) = (&composed.world, composed.world.clock.now());
    found_first(world, now, &asked, AdminPermission::ALL.to_vec(), body).await.map_err(refused)
}

/// A new key for the installation's operator; all earlier ones end.
pub(crate) async fn renew_operator(composed: &Composed) -> Result<Secret, Failure> {
    let now = composed.world.clock.now();
    let failed = |fault: accredit_domain::Fault| refused(fault.into());
    let first = Page { limit: 1, ..Page::default() };
    let first = composed.store.organizations(first).await.map_err(failed)?;
    let first = first.first().map(|org| org.name.as_str()).unwrap_or_default();
    let tenant = composed.server.tenants.get(first, now).await.map_err(failed)?;
    let tenant = tenant.ok_or_else(|| {
        let detail = "the store holds no organization, in whose log it could be recorded";
        Failure::new(Exit::NotFound, "start", "no organization", detail, "run `accredit init`")
    })?;
    renew(&composed.world, &tenant, now).await.map_err(refused)
}

/// A further key for the administrators of an organization that exists already.
pub(crate) async fn further_admin(composed: &Composed, name: &str) -> Result<Secret, Failure> {
    let now = composed.world.clock.now();
    let tenant = composed.server.tenants.get(name, now).await.map_err(|f| refused(f.into()))?;
    let tenant = tenant.ok_or_else(|| {
        let detail = format!("there is no organization `{name}` in this store");
        Failure::new(Exit::NotFound, "start", "no such organization", &detail, "begin a new store")
    })?;
    let permissions = AdminPermission::ALL.to_vec();
    new_admin(&composed.world, &tenant, now, permissions).await.map_err(refused)
}

fn refused(error: Error) -> Failure {
    match error {
        Error::Refused(refusal) => Failure::new(
            Exit::Usage,
            refusal.rule.code(),
            "the organization was not set up",
            &refusal.detail,
            &refusal.hint,
        ),
        Error::Fault(error) => fault("the organization was not set up", &error, "see the log"),
    }
}
