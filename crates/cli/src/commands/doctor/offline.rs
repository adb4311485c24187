//! What lies on this machine: configuration, files and their modes, store, certificate, disk.

use std::cmp::Ordering;
use std::fs::Metadata;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use accredit_domain::ca::ROOT_ROTATED_BEFORE_END;
use accredit_domain::ca::listener::Roots;
use accredit_domain::keys::SealedKey;
use accredit_server::tls::{Source, Tls};
use accredit_store::inspect::{self, Inspection, inspect};
use accredit_store::place::Place;
use accredit_wire::time::Time;

use super::{Checks, NAMES_SHOWN_MAX, certificate};
use crate::compose;
use crate::context::Context;
use crate::root_key::{self, Files};
use crate::secrecy;
use crate::settings::Settings;
use crate::settings::pkcs11::Pkcs11;

/// Bytes of free disk below which the next days are in doubt.
const DISK_WARN_BYTES: u64 = 1 << 30;
/// Bytes of free disk below which writing is about to fail.
const DISK_FAIL_BYTES: u64 = 100 << 20;
/// Days before the end of a certificate in which it is remarked upon.
const CERTIFICATE_SOON_DAYS: i64 = 21;
/// Events without a checkpoint that are no finding offline: a server may have been killed.
const EVENTS_BEHIND_MAX: u64 = 100_000;

/// What the online checks go on with.
pub(super) struct Found {
    /// Where the server should be reached.
    pub(super) public_url: String,
    /// Names of organizations that it should have.
    pub(super) organizations: Vec<String>,
    /// The token in which keys are made.
    pub(super) pkcs11: Option<Pkcs11>,
    /// The store's keys that should be in it.
    pub(super) in_token: Vec<SealedKey>,
}

/// Checks what the configuration names. Nothing where it cannot be read.
pub(super) fn check(config: &Path, cx: &Context, checks: &mut Checks) -> Option<Found> {
    let settings = match Settings::read(config, &cx.around) {
        Ok(settings) => settings,
        Err(failure) => {
            checks.failed("configuration", &failure);
            return None;
        }
    };
    checks.ok("configuration", config.display().to_string());
    modes(config, &settings, checks);
    outbound(&settings, checks);
    disk(&settings.data, checks);
    let (organizations, in_token) = store(&settings, cx.now, checks);
    match settings.listener_tls() {
        None => {}
        Some(listener) if listener.certificate == Source::OwnCa => {
            listener_roots(&settings.store, cx.now, checks);
        }
        Some(listener) => match (Tls::read(&listener), settings.tls_files()) {
            (Err(error), _) => {
                checks.fail("certificate", error.to_string(), "put certificate and key back");
            }
            (Ok(_), Some((file, _))) => tls(file, &settings.public_url, cx.now, checks),
            (Ok(_), None) => {}
        },
    }
    let Settings { public_url, pkcs11, .. } = settings;
    Some(Found { public_url, organizations, pkcs11, in_token })
}

/// Whether agents' key sets are fetched from this machine itself.
fn outbound(settings: &Settings, checks: &mut Checks) {
    if settings.outbound_loopback.is_empty() {
        checks.ok("outbound", "documents are fetched from the public internet alone");
        return;
    }
    let all: Vec<_> = settings.outbound_loopback.iter().map(ToString::to_string).collect();
    checks.warn(
        "outbound",
        format!("key sets may be fetched from {}", all.join(", ")),
        "for trying only: take `outbound.loopback` out of the configuration",
    );
}

/// Whether others can read or change what they must not.
fn modes(config: &Path, settings: &Settings, checks: &mut Checks) {
    let changed = |metadata: &Metadata| {
        let mode = metadata.permissions().mode() & 0o777;
        (mode & 0o022 != 0).then_some(mode)
    };
    let key = settings.tls_files().map(|(_, key)| key);
    let pin = settings.pkcs11.as_ref().and_then(|token| token.pin_file.as_deref());
    let of_store = [settings.store.file(), settings.store_password_file(), pin];
    let secrets = of_store.into_iter().flatten().chain(key).chain([&*settings.root_key_file]);
    let files = [config, &settings.data].into_iter().map(|file| (file, false));
    let mut open = 0;
    for (file, is_secret) in files.chain(secrets.map(|file| (file, true))) {
        // What is missing is found by another check.
        let Ok(metadata) = std::fs::metadata(file) else { continue };
        let (found, forbidden, verb) = if is_secret {
            (secrecy::open_to_others(&metadata), 0o077, "read")
        } else {
            (changed(&metadata), 0o022, "change")
        };
        if let Some(mode) = found {
            open += 1;
            let found = format!("others may {verb} `{}` (mode {mode:o})", file.display());
            let hint = format!("chmod {:o} {}", mode & !forbidden, file.display());
            checks.fail("modes", found, hint);
        }
    }
    if open == 0 {
        checks.ok("modes", "nobody else reads secrets or changes files");
    }
}

fn disk(folder: &Path, checks: &mut Checks) {
    let free = match rustix::fs::statvfs(folder) {
        Ok(disk) => disk.f_bavail.saturating_mul(disk.f_frsize),
        Err(error) => {
            let found = format!("`{}`: {error}", folder.display());
            return checks.fail("disk", found, "does the data folder exist?");
        }
    };
    let found = format!("{} MiB free in `{}`", free >> 20, folder.display());
    let hint = "make room: without it nothing can be recorded, so nothing is issued";
    if free < DISK_FAIL_BYTES {
        checks.fail("disk", found, hint);
    } else if free < DISK_WARN_BYTES {
        checks.warn("disk", found, hint);
    } else {
        checks.ok("disk", found);
    }
}

/// The store's schema, whether the root key opens it, and its log. The organizations' names, and which
/// keys are in a token.
fn store(settings: &Settings, now: Time, checks: &mut Checks) -> (Vec<String>, Vec<SealedKey>) {
    let place = &settings.store;
    match compose::holds_store(place) {
        Ok(true) => {}
        Ok(false) => {
            let found = format!("there is no store `{place}`");
            checks.fail("store", found, "create one with `accredit init`, or set `data` right");
            return Default::default();
        }
        Err(failure) => {
            checks.failed("store", &failure);
            return Default::default();
        }
    }
    let seen = match inspect(place) {
        Ok(seen) => seen,
        Err(fault) => {
            checks.fail("store", fault.to_string(), "is the store whole? see `accredit fsck`");
            return Default::default();
        }
    };
    schema(&seen, checks);
    durability(place, checks);
    root_key(settings, &seen, checks);
    if let Some(installation) = &seen.installation
        && installation.public_url != settings.public_url
    {
        let (founded, set) = (&installation.public_url, &settings.public_url);
        let found = format!("the store was founded at `{founded}`, not at `{set}`");
        checks.fail("public-url", found, "set `public_url` back: issuers are made from it");
    }
    log(seen.sequenced, seen.integrated, checks);
    issuing(&seen.closed, checks);
    let needed = seen.in_token.into_iter().filter(|key| key.is_needed_in_token(now));
    let mut needed: Vec<SealedKey> = needed.map(|key| key.sealed).collect();
    // Where they cannot be read, another check says so.
    let listener = inspect::listener_roots(place).ok().flatten();
    needed.extend(listener.iter().flat_map(Roots::keys_in_token).cloned());
    (seen.organizations, needed)
}

/// What is lost with a database's server.
fn durability(place: &Place, checks: &mut Checks) {
    match place.durability() {
        Ok(None) => {}
        Ok(Some(found)) => match found.hint() {
            None => checks.ok("durability", found.recovery_point()),
            Some(hint) => checks.warn("durability", found.recovery_point(), hint),
        },
        Err(fault) => checks.fail("durability", fault.to_string(), "may this user read settings?"),
    }
}

/// Organizations that issue nothing since a backup was restored.
pub(super) fn issuing(closed: &[String], checks: &mut Checks) {
    if closed.is_empty() {
        return checks.ok("issuing", "open in every organization");
    }
    let few = closed[..closed.len().min(NAMES_SHOWN_MAX)].join(", ");
    let more = closed.len().saturating_sub(NAMES_SHOWN_MAX);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    checks.warn(
        "issuing",
        format!("closed since a backup was restored: {few}{rest}"),
        "`accredit backup reconcile` reads the old log again; an owner may `accredit backup waive`",
    );
}

pub(super) fn schema(seen: &Inspection, checks: &mut Checks) {
    let (schema, known, by) = (seen.schema, seen.schema_known, &seen.written_by);
    match schema.cmp(&known) {
        Ordering::Greater if seen.is_online => {
            let found = format!("schema {schema} of version {by}, beside which this one may serve");
            checks.warn("schema", found, format!("change this node to version {by}, too"));
        }
        Ordering::Greater => {
            let found = format!("schema {schema} of version {by}; this program knows {known}");
            checks.fail("schema", found, format!("run version {by} or newer"));
        }
        Ordering::Less => {
            let found = format!("schema {schema}; this program brings it to {known} at its start");
            checks.warn("schema", found, "back the store up, then start the server");
        }
        Ordering::Equal => checks.ok("schema", format!("{schema}, written by {by}")),
    }
}

fn root_key(settings: &Settings, seen: &Inspection, checks: &mut Checks) {
    if let Err(failure) = root_key::read(&settings.root_key_file) {
        return checks.failed("root-key", &failure);
    }
    let Some(installation) = &seen.installation else {
        return checks.warn("root-key", "the store was never founded", "start the server once");
    };
    let files = Files::of(&settings.root_key_file);
    match files.opening_copy(&installation.peppers) {
        Ok((_, file)) if file == files.current => checks.ok("root-key", "it opens the store"),
        Ok((_, file)) if file == files.next => {
            let found = format!("a rotation was cut off: `{}` opens the store", file.display());
            checks.warn("root-key", found, "start the server: it finishes that by itself");
        }
        Ok((_, file)) => {
            let found = format!("`{}` opens the store: it is older than the key", file.display());
            let hint = format!("copy that file to `{}`", files.current.display());
            checks.fail("root-key", found, hint);
        }
        Err(failure) => checks.failed("root-key", &failure),
    }
}

/// Whether the log's tree is kept up.
pub(super) fn log(sequenced: u64, integrated: u64, checks: &mut Checks) {
    let behind = sequenced.saturating_sub(integrated);
    let found = format!("{integrated} of {sequenced} events are covered by a checkpoint");
    if behind > EVENTS_BEHIND_MAX {
        checks.warn("log", found, "look for `log not integrated` in the server's log");
    } else {
        checks.ok("log", found);
    }
}

/// The roots of the listener's own authority.
fn listener_roots(place: &Place, now: Time, checks: &mut Checks) {
    const CHECK: &str = "listener-roots";
    match inspect::listener_roots(place) {
        Err(fault) => {
            checks.fail(CHECK, fault.to_string(), "is the store whole? see `accredit fsck`");
        }
        Ok(None) => checks.warn(CHECK, "there are none yet", "`accredit tls bundle` makes them"),
        Ok(Some(Roots { active, next })) => {
            let (until, after) = (active.certificate.until(), next.certificate.until());
            let found = format!("one signs until {until}, the next until {after}");
            if until <= now.plus(ROOT_ROTATED_BEFORE_END) {
                let hint =
                    "start the server, which lets the next one sign; or `accredit tls rotate`";
                checks.warn(CHECK, found, hint);
            } else {
                checks.ok(CHECK, found);
            }
        }
    }
}

/// The certificate's end and its names.
pub(super) fn tls(file: &Path, public_url: &str, now: Time, checks: &mut Checks) {
    let seen = match certificate::read(file) {
        Ok(seen) => seen,
        Err(why) => return checks.fail("certificate", why, "write the chain as PEM, leaf first"),
    };
    let days = (seen.not_after - now.seconds()).div_euclid(86_400);
    let found = format!("it ends in {days} days");
    let hint = "get a new one, and start the server again with it";
    match days {
        ..0 => checks.fail("certificate", format!("it ended {} days ago", -days), hint),
        0..CERTIFICATE_SOON_DAYS => checks.warn("certificate", found, hint),
        _ => checks.ok("certificate", found),
    }
    let uri: Option<http::Uri> = public_url.parse().ok();
    let host = uri.as_ref().and_then(http::Uri::host).unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if seen.is_for(host) {
        checks.ok("certificate-name", format!("it is for `{host}`"));
    } else {
        let found = format!("it is not for `{host}`, the host of `public_url`");
        checks.warn("certificate-name", found, "get one for it, unless a proxy in front has it");
    }
}
