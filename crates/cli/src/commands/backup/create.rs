//! `accredit backup create`: the store as of one moment, while a server may be writing to it.
//!
//! First a copy in the data folder, where what it holds lies anyway and as private; from there,
//! encrypted, to where it is wanted. The copy is removed, by the next backup or start at the latest.

use std::path::Path;

use accredit_domain::Fault;
use accredit_store::backup::{Contents, contents, copy};
use accredit_store::copy::copy_all;
use accredit_store::inspect::inspect;
use accredit_store::place::Place;
use accredit_wire::backup::{Manifest, ManifestLane, ManifestOrganization};
use serde_json::json;

use super::{file, scratch};
use crate::compose;
use crate::context::Context;
use crate::errors::Failure;
use crate::exit::Exit;
use crate::output::{counted, line};
use crate::root_key::{self, Files};
use crate::settings::Settings;

/// Writes the backup and says what is in it.
pub(super) fn run(config: &Path, out: &Path, cx: &Context) -> Result<(), Failure> {
    let settings = Settings::read(config, &cx.around)?;
    let store = &settings.store;
    if out.exists() {
        return Err(Failure::new(
            Exit::Conflict,
            "exists",
            "the backup was not made",
            &format!("`{}` exists", out.display()),
            "choose another name: a backup is never overwritten",
        ));
    }
    if !compose::holds_store(store)? {
        return Err(Failure::new(
            Exit::NotFound,
            "backup",
            "there is no store",
            &format!("`{store}` holds none"),
            "check `data` and `store` in the configuration",
        ));
    }
    root_key::read(&settings.root_key_file)?;
    let found = inspect(store).map_err(|fault| failed(&fault))?;
    if found.schema > found.schema_known {
        let newer = format!("the store was written by version {}", found.written_by);
        return Err(failed(&Fault::new(
            "backup",
            format!("{newer}, which is newer; run that one"),
        )));
    }
    let cannot = |error: std::io::Error| {
        let title = format!("the folder `{}` cannot be written", settings.data.display());
        Failure::file(&title, &error, "a copy of the store has to have room there for a moment")
    };
    scratch::remove_left_behind(&settings.data);
    let mut scratch = scratch::create(&settings.data).map_err(cannot)?;
    copy_to(store, scratch.path()).map_err(|fault| failed(&fault))?;
    let contents = contents(scratch.path()).map_err(|fault| failed(&fault))?;
    // Of the moment of the copy: the server may have taken another one meanwhile.
    let files = Files::of(&settings.root_key_file);
    let (root, root_file) = files.opening_copy(&contents.installation.peppers)?;
    let bytes = scratch.as_file().metadata().map_err(cannot)?.len();
    let manifest = manifest(&contents, cx.now.micros(), bytes);
    file::write(out, &root, &manifest, scratch.as_file_mut())?;
    if cx.out.is_json() {
        let told = json!({
            "file": out,
            "bytes": bytes,
            "root_key_file": root_file,
            "organizations": contents.organizations.len(),
            "agents": contents.agents,
            "events": contents.events,
        });
        return line(&told.to_string());
    }
    line(&format!(
        "{}: {}, {}, {}",
        out.display(),
        counted(contents.organizations.len() as u64, "organization"),
        counted(contents.agents, "agent"),
        counted(contents.events, "event")
    ))?;
    cx.out.say(&format!(
        "check it: accredit backup verify {} --root-key {}",
        out.display(),
        root_file.display()
    ));
    Ok(())
}

/// The store as of one moment, as a file: that of a database row by row, compared at the end.
fn copy_to(store: &Place, scratch: &Path) -> Result<(), Fault> {
    if let Some(file) = store.file() {
        return copy(file, scratch);
    }
    let copied = copy_all(store, &scratch.to_owned().into()).map(drop);
    // Beside the copy, and not found by its name.
    let mut lock = scratch.as_os_str().to_owned();
    lock.push(".lock");
    if let Err(error) = std::fs::remove_file(&lock) {
        tracing::warn!(%error, "the lock of a copy is left behind");
    }
    copied
}

fn manifest(contents: &Contents, created_at: i64, bytes: u64) -> Manifest {
    let organization = |org: &accredit_store::backup::ContentsOrganization| {
        let lanes = org.lanes.iter().map(|lane| ManifestLane {
            lane: lane.lane,
            sequenced: lane.sequenced,
            checkpoint: lane.note.clone(),
        });
        ManifestOrganization {
            id: org.id.to_string(),
            name: org.name.clone(),
            generation: org.generation,
            rev: org.rev,
            lanes: lanes.collect(),
        }
    };
    Manifest {
        created_at,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        schema: contents.schema,
        public_url: contents.installation.public_url.clone(),
        bytes,
        organizations: contents.organizations.iter().map(organization).collect(),
    }
}

fn failed(fault: &Fault) -> Failure {
    let hint = "run `accredit doctor --config FILE`";
    Failure::new(Exit::Failure, "backup", "the backup was not made", &fault.to_string(), hint)
}
