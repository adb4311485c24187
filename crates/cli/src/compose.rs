//! The composition root: the one place where the real world is put together.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use accredit_domain::audit::event::{Actor, Body};
use accredit_domain::limits::Limits;
use accredit_domain::ports::{
    Clock, Entropy, Installation, KeyVault, Outbound, Page, Registry as _, RootKeyPlace, Store,
};
use accredit_domain::registry::credential::AdminPermission;
use accredit_domain::registry::operator::renew;
use accredit_domain::registry::organization::{
    CreateOrganization, CreatedOrganization, found, found_first, new_admin,
};
use accredit_domain::root::Root;
use accredit_domain::vault::{RootKey, SoftVault};
use accredit_domain::view::View;
use accredit_domain::{Error, World};
use accredit_net::JwkSets;
use accredit_pkcs11::{Pkcs11Vault, Token};
use accredit_server::Server;
use accredit_store::place::Place;
use accredit_store::{Options, SqlStore};
use accredit_wire::secret::Secret;
use accredit_wire::time::Time;
use rustix::time::{ClockId, clock_gettime};

use crate::errors::Failure;
use crate::exit::Exit;
use crate::outbound::Outside;
use crate::root_key::{self, Files, Given, Trouble};
use crate::settings::Settings;
use crate::settings::pkcs11::Pkcs11;

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
    pub(crate) store: Arc<SqlStore>,
    /// How documents are fetched.
    pub(crate) outbound: Arc<Outside>,
    /// The vault, where it has a token.
    pub(crate) hardware: Option<Arc<Pkcs11Vault>>,
}

fn fault(title: &str, error: &dyn std::fmt::Display, hint: &str) -> Failure {
    Failure::new(Exit::Failure, "start", title, &error.to_string(), hint)
}

/// The folder in which a file is.
pub(crate) fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// The machine's clock and the operating system's randomness, before there is a world.
pub(crate) fn clock_and_entropy() -> (Arc<dyn Clock>, Arc<dyn Entropy>) {
    (Arc::new(SystemClock), Arc::new(SystemEntropy))
}

/// A store that is open, before there is a root key for it.
pub(crate) struct Opened {
    title: String,
    store: Arc<SqlStore>,
    /// What it was founded with; nothing in a new one.
    pub(crate) installation: Option<Installation>,
}

/// Whether there is a store. Fails where its server cannot be asked.
pub(crate) fn holds_store(place: &Place) -> Result<bool, Failure> {
    place.holds_store().map_err(|error| {
        fault(&format!("the store `{place}` cannot be reached"), &error, hint_for(place))
    })
}

/// Says what the store may lose with its server, where that is not nothing.
pub(crate) fn tell_durability(place: &Place) -> Result<(), Failure> {
    let found = place.durability().map_err(|error| {
        fault(&format!("the store `{place}` cannot be reached"), &error, hint_for(place))
    })?;
    let Some(found) = found else { return Ok(()) };
    let recovery_point = found.recovery_point();
    match found.hint() {
        None => tracing::info!(recovery_point, "what is lost with the database's server"),
        Some(hint) => {
            tracing::warn!(recovery_point, hint, "what is lost with the database's server");
        }
    }
    Ok(())
}

/// What to look at where a store cannot be used.
fn hint_for(place: &Place) -> &'static str {
    match place {
        Place::File(_) => "is another server running on it? see `accredit serve --help`",
        Place::Database(_) => {
            "does the server run, and may this user in? the password is read from \
             `store_password_file` or ACCREDIT_STORE_PASSWORD"
        }
    }
}

/// Opens the store at `place`. One that was founded at another URL is refused.
pub(crate) async fn open_store(place: &Place, public_url: &str) -> Result<Opened, Failure> {
    let title = format!("the store `{place}` cannot be used");
    let failed = |error: accredit_domain::Fault| fault(&title, &error, hint_for(place));
    if let Place::Database(target) = place
        && target.believes_anyone()
    {
        tracing::warn!("with sslmode=require whoever answers is believed to be the database");
    }
    let store = place.open(&Options::default()).map_err(failed)?;
    let installation = store.installation().await.map_err(failed)?;
    if let Some(installation) = &installation
        && installation.public_url != public_url
    {
        return Err(fault(
            &title,
            &format!("it was founded at `{}`, not at `{public_url}`", installation.public_url),
            "issuers are made from the public URL: set it back, or begin a new store",
        ));
    }
    Ok(Opened { title, store, installation })
}

/// Opens the store of a configuration, with its root key and its token.
pub(crate) async fn compose_as(settings: &Settings) -> Result<Composed, Failure> {
    let (place, root_key_file) = (&settings.store, &*settings.root_key_file);
    compose(place, root_key_file, &settings.public_url, settings.pkcs11.as_ref()).await
}

/// Opens the store at `place` with the root key in `root_key_file`, and finishes a rotation of
/// it that was cut off. A new store is founded at `public_url`; one that was founded elsewhere is
/// refused. A token is not opened before it is needed.
pub(crate) async fn compose(
    place: &Place,
    root_key_file: &Path,
    public_url: &str,
    token: Option<&Pkcs11>,
) -> Result<Composed, Failure> {
    // Before a store is made that it would not open.
    root_key::read(root_key_file)?;
    let files = Files::of(root_key_file);
    let opened = open_store(place, public_url).await?;
    let root = opened.root_key(&files).map_err(|(_, failure)| failure)?;
    put_together(opened, root, public_url, Arc::new(files), token).await
}

/// The same with a root key that was read before.
pub(crate) async fn compose_with(
    place: &Place,
    root: RootKey,
    public_url: &str,
    token: Option<&Pkcs11>,
) -> Result<Composed, Failure> {
    let opened = open_store(place, public_url).await?;
    if opened.installation.as_ref().is_some_and(|it| !SoftVault::opens(&root, &it.peppers)) {
        let detail = "the peppers in it are wrapped under another one";
        let title = "the root key does not open this store";
        return Err(fault(title, &detail, "find the one that does"));
    }
    put_together(opened, root, public_url, Arc::new(Given), token).await
}

impl Opened {
    /// The root key that opens it. A rotation that was cut off is finished, and said to be.
    pub(crate) fn root_key(&self, files: &Files) -> Result<RootKey, (Trouble, Failure)> {
        let Some(installation) = &self.installation else {
            return files.read_current();
        };
        let opening = files.opening(&installation.peppers)?;
        match opening.finished {
            None => {}
            Some(Ok(())) => {
                tracing::warn!("a rotation of the root key was cut off; it is finished now");
            }
            Some(Err(failure)) => root_key::told(&failure),
        }
        Ok(opening.root)
    }
}

/// The world on a store and the root key that opens it. A new store is founded.
pub(crate) async fn put_together(
    opened: Opened,
    root: RootKey,
    public_url: &str,
    place: Arc<dyn RootKeyPlace>,
    token: Option<&Pkcs11>,
) -> Result<Composed, Failure> {
    let Opened { title, store, installation } = opened;
    let failed = |error: accredit_domain::Fault| fault(&title, &error, "see the log");
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let installation = if let Some(installation) = installation {
        installation
    } else {
        let pepper = SoftVault::new_pepper(&root, entropy.as_ref(), 1).map_err(failed)?;
        let public_url = public_url.to_owned();
        let installation = Installation { peppers: vec![pepper], root: 1, public_url };
        store.found(installation.clone()).await.map_err(failed)?;
        installation
    };
    let soft = SoftVault::open(root, Arc::clone(&entropy), &installation).map_err(failed)?;
    let (vault, hardware): (Arc<dyn KeyVault>, _) = match token {
        None => (Arc::new(soft), None),
        Some(token) => {
            let vault = Arc::new(Pkcs11Vault::new(soft, Token::new(token.options())));
            (Arc::clone(&vault) as _, Some(vault))
        }
    };
    let sets = JwkSets::new().map_err(|error| {
        fault(&title, &error, "this is a fault of the program: please report it")
    })?;
    let outbound = Arc::new(Outside(sets));
    let world = Arc::new(World {
        clock: Arc::new(SystemClock),
        latest: Arc::default(),
        entropy,
        vault,
        root: Root::new(place),
        outbound: Arc::clone(&outbound) as Arc<dyn Outbound>,
        view: View::of(&*store),
        store: Arc::clone(&store) as Arc<dyn Store>,
        public_url: installation.public_url,
        limits: Limits::default(),
        nonces: std::sync::OnceLock::new(),
    });
    let server = Server::new(Arc::clone(&world));
    Ok(Composed { world, server, store, outbound, hardware })
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
    let first = first.items.first().map(|org| org.name.as_str()).unwrap_or_default();
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
