//! `accredit backup restore`: a store from a backup, in a folder that has none, as a new generation.
//!
//! All of it happens beside the place where the store is to lie; it is moved there when it is
//! complete, so that a restore which is cut off leaves no store. Afterwards every token of before is
//! dead and none is issued until it is known what was ended since the backup was made
//! ([`accredit_domain::restoration`]).

use std::fs::File;
use std::io;
use std::path::Path;

use accredit_domain::ports::Log as _;
use accredit_domain::restoration;
use accredit_domain::{Error, Fault};
use serde_json::json;

use super::file::Backup;
use super::verify::Opened;
use crate::compose::Composed;
use crate::context::Context;
use crate::errors::Failure;
use crate::exit::Exit;
use crate::hardware;
use crate::output::line;
use crate::settings::pkcs11::Pkcs11;
use crate::settings::{FILE_NAME, ROOT_KEY_FILE_NAME, STORE_FILE_NAME};

/// Restores the file into the folder `data`, at generation `at_least` or above.
pub(super) async fn run(
    file: &Path,
    (data, root_key): (&Path, &Path),
    token: Option<&Pkcs11>,
    at_least: u64,
    cx: &Context,
) -> Result<(), Failure> {
    let backup = Backup::open(file)?;
    let root = backup.root_key(root_key)?;
    let cannot = |error: io::Error| {
        let title = format!("the folder `{}` cannot be written", data.display());
        Failure::file(&title, &error, "choose another one with --data")
    };
    std::fs::create_dir_all(data).map_err(cannot)?;
    check_free(data).map_err(cannot)??;
    let beside = tempfile::tempdir_in(data).map_err(cannot)?;
    let store = beside.path().join(STORE_FILE_NAME);
    let opened = Opened::new(backup, &root, &store)?;
    let composed = opened.compose(root, token).await?;
    hardware::open(&composed).await?;
    let outcome = begin_anew(&opened, &composed, at_least).await;
    composed.store.close();
    let begun = outcome?;
    drop(composed);
    put_in_place(&store, data).map_err(cannot)?;
    beside.close().map_err(cannot)?;
    tell(&opened, &begun, (data, root_key), cx)
}

/// A folder in which there is nothing but what an installation keeps beside its store.
fn check_free(data: &Path) -> io::Result<Result<(), Failure>> {
    for entry in std::fs::read_dir(data)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        if name == FILE_NAME || name.starts_with(ROOT_KEY_FILE_NAME) {
            continue;
        }
        return Ok(Err(Failure::new(
            Exit::Conflict,
            "exists",
            "the folder is not empty",
            &format!("`{}` has `{name}` in it", data.display()),
            "restore into another folder: a store is never overwritten",
        )));
    }
    Ok(Ok(()))
}

/// Checks what was opened and begins a generation of each organization. Returns their numbers.
async fn begin_anew(
    opened: &Opened,
    composed: &Composed,
    at_least: u64,
) -> Result<Vec<(String, u64)>, Failure> {
    if let Some((org, found)) = opened.check(composed).await?.first() {
        return Err(Failure::new(
            Exit::VerificationFailed,
            "backup",
            "the log in the backup is not what was signed",
            &format!("{org}: {found}"),
            "nothing was restored; `accredit backup verify` tells all, an earlier backup may be \
             good",
        ));
    }
    let mut begun = Vec::with_capacity(opened.contents.organizations.len());
    for org in &opened.contents.organizations {
        let now = composed.world.clock.now();
        let tenant = composed.server.tenants.by_id(org.id, now).await.map_err(failed)?;
        let tenant = tenant.ok_or_else(|| failed(Fault::new("restore", "it is not there")))?;
        let asked = (at_least, restoration::Because::Restored);
        let begins = restoration::begin(&composed.world, &tenant, asked, now).await;
        let generation = begins.map_err(|error| match error {
            Error::Fault(fault) => failed(fault),
            Error::Refused(refusal) => failed(Fault::new("restore", refusal)),
        })?;
        composed.store.begin_generation(generation).await.map_err(failed)?;
        begun.push((org.name.clone(), at_least.max(org.generation + 1)));
    }
    Ok(begun)
}

/// Moves the finished store to its place, and makes that durable.
fn put_in_place(store: &Path, data: &Path) -> io::Result<()> {
    let mut journal = store.as_os_str().to_owned();
    journal.push("-wal");
    if std::fs::metadata(&journal).is_ok_and(|journal| journal.len() > 0) {
        return Err(io::Error::other("the store's journal was not written into it"));
    }
    File::open(store)?.sync_all()?;
    let place = data.join(STORE_FILE_NAME);
    // Where there are links, what came there meanwhile is not overwritten.
    match std::fs::hard_link(store, &place) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists || place.exists() => {
            return Err(error);
        }
        Err(_) => std::fs::rename(store, &place)?,
    }
    File::open(data)?.sync_all()
}

fn tell(
    opened: &Opened,
    begun: &[(String, u64)],
    (data, root_key): (&Path, &Path),
    cx: &Context,
) -> Result<(), Failure> {
    if cx.out.is_json() {
        let organizations: Vec<_> = begun
            .iter()
            .map(|(name, generation)| json!({"name": name, "generation": generation}))
            .collect();
        let told = json!({
            "data": data,
            "root_key_file": root_key,
            "public_url": opened.manifest.public_url,
            "organizations": organizations,
            "events": opened.contents.events,
        });
        return line(&told.to_string());
    }
    line(&format!("store         {}", data.join(STORE_FILE_NAME).display()))?;
    line(&format!("root key      {}", root_key.display()))?;
    line(&format!("installation  {}", opened.manifest.public_url))?;
    for (name, generation) in begun {
        line(&format!("{name}: generation {generation}"))?;
    }
    cx.out.say(
        "all tokens of before are dead, and none is issued until it is known what was ended since:\n\
         with an export of the old log   accredit backup reconcile --config FILE --org NAME \
         --audit-export FILE\n\
         without one                     accredit backup waive --reason TEXT\n\
         Verifiers that saw events which are lost now raise an alarm: tell whoever runs them the \
         generation",
    );
    Ok(())
}

fn failed(fault: Fault) -> Failure {
    let hint = "nothing was restored; where a key is in a PKCS#11 token, name it with --pkcs11-module and \
                --pkcs11-token, and run it again";
    Failure::new(Exit::Failure, "backup", "the backup was not restored", &fault.to_string(), hint)
}
