//! `accredit backup verify`: would this file give everything back, and is the log in it still what
//! was signed?
//!
//! It is opened as a restore would open it, in a folder that is removed at the end: every part
//! decrypted, the engine's own check, each lane of each log computed again from its events, and the
//! checkpoints compared with those that the backup says it was made with.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use accredit_domain::Fault;
use accredit_domain::audit::fsck::fsck;
use accredit_domain::vault::RootKey;
use accredit_store::backup::{Contents, contents, defects};
use accredit_wire::backup::{Manifest, ManifestOrganization};
use accredit_wire::time::Time;
use serde_json::json;

use super::file::Backup;
use crate::compose::{self, Composed};
use crate::context::Context;
use crate::errors::Failure;
use crate::exit::Exit;
use crate::output::{counted, line};
use crate::settings::STORE_FILE_NAME;
use crate::settings::pkcs11::Pkcs11;

/// Checks the file and says what it holds.
pub(super) async fn run(
    file: &Path,
    root_key: &Path,
    scratch: Option<&Path>,
    cx: &Context,
) -> Result<(), Failure> {
    let backup = Backup::open(file)?;
    let root = backup.root_key(root_key)?;
    let folder = match scratch {
        Some(folder) => tempfile::tempdir_in(folder),
        None => tempfile::tempdir(),
    };
    let folder = folder.map_err(|error| {
        let hint = "name a folder with --scratch that may be written to";
        Failure::file("a folder for the time of the check could not be made", &error, hint)
    })?;
    let opened = Opened::new(backup, &root, &folder.path().join(STORE_FILE_NAME))?;
    let composed = opened.compose(root, None).await?;
    let findings = opened.check(&composed).await;
    composed.store.close();
    let findings = findings?;
    tell(&opened, &findings, cx)?;
    if findings.is_empty() {
        return Ok(());
    }
    Err(Failure::new(
        Exit::VerificationFailed,
        "backup",
        "the log in the backup is not what was signed",
        "leaves, tiles and checkpoints do not agree; what was found is listed",
        "the store was so when the backup was made: compare it with an earlier backup",
    ))
}

/// A backup whose parts have all opened, as a store on its own.
pub(super) struct Opened {
    /// Where the store lies.
    pub(super) store: PathBuf,
    /// What the backup says that it holds.
    pub(super) manifest: Manifest,
    /// What it does hold.
    pub(super) contents: Contents,
}

impl Opened {
    /// Decrypts a backup to `store`, which must not be there, and compares what it holds with what
    /// it says.
    pub(super) fn new(backup: Backup<'_>, root: &RootKey, store: &Path) -> Result<Self, Failure> {
        let cannot = |error: std::io::Error| {
            let title = format!("`{}` could not be written", store.display());
            Failure::file(&title, &error, "check the folder and its free space")
        };
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(store);
        let manifest = backup.extract(root, &mut file.map_err(cannot)?)?;
        if let Some(defects) = defects(store).map_err(unusable)? {
            return Err(unusable(Fault::new("backup", defects)));
        }
        let contents = contents(store).map_err(unusable)?;
        let said = Self { store: store.to_owned(), manifest, contents };
        if said.agrees() {
            return Ok(said);
        }
        Err(unusable(Fault::new("backup", "it does not hold the lanes that it says it does")))
    }

    fn agrees(&self) -> bool {
        let held = self.contents.organizations.iter();
        self.manifest.schema == self.contents.schema
            && self.manifest.public_url == self.contents.installation.public_url
            && held.len() == self.manifest.organizations.len()
            && held.zip(&self.manifest.organizations).all(|(held, said)| {
                let lanes =
                    held.lanes.iter().map(|lane| (lane.lane, lane.sequenced, lane.note.clone()));
                let said_lanes = said
                    .lanes
                    .iter()
                    .map(|lane| (lane.lane, lane.sequenced, lane.checkpoint.clone()));
                held.id.to_string() == said.id
                    && (&held.name, held.generation, held.rev)
                        == (&said.name, said.generation, said.rev)
                    && lanes.eq(said_lanes)
            })
    }

    /// Opens the store with its key. An older schema is brought up to date, a newer one refused.
    pub(super) async fn compose(
        &self,
        root: RootKey,
        token: Option<&Pkcs11>,
    ) -> Result<Composed, Failure> {
        let place = self.store.clone().into();
        compose::compose_with(&place, root, &self.manifest.public_url, token).await
    }

    /// Computes all logs again; returns what does not agree, by organization.
    pub(super) async fn check(
        &self,
        composed: &Composed,
    ) -> Result<Vec<(String, String)>, Failure> {
        let mut findings = Vec::new();
        for org in &self.contents.organizations {
            let now = composed.world.clock.now();
            let tenant = composed.server.tenants.by_id(org.id, now).await.map_err(unusable)?;
            let Some(tenant) = tenant else { continue };
            let report = fsck(&composed.world, &tenant).await.map_err(unusable)?;
            findings.extend(report.findings.into_iter().map(|found| (org.name.clone(), found)));
        }
        Ok(findings)
    }
}

fn tell(opened: &Opened, findings: &[(String, String)], cx: &Context) -> Result<(), Failure> {
    let Opened { manifest, contents, .. } = opened;
    let at = Time::from_micros(manifest.created_at).to_string();
    if cx.out.is_json() {
        let names: Vec<_> = manifest
            .organizations
            .iter()
            .map(|org| json!({"name": org.name, "generation": org.generation, "rev": org.rev}))
            .collect();
        let findings: Vec<_> =
            findings.iter().map(|(org, what)| json!({"org": org, "finding": what})).collect();
        let told = json!({
            "ok": findings.is_empty(),
            "created_at": at,
            "program": manifest.program,
            "schema": manifest.schema,
            "public_url": manifest.public_url,
            "organizations": names,
            "agents": contents.agents,
            "events": contents.events,
            "findings": findings,
        });
        return line(&told.to_string());
    }
    line(&format!("made          {at}, by version {}", manifest.program))?;
    line(&format!("installation  {}", manifest.public_url))?;
    for ManifestOrganization { name, generation, rev, lanes, .. } in &manifest.organizations {
        let events: u64 = lanes.iter().map(|lane| lane.sequenced).sum();
        line(&format!(
            "{name}: generation {generation}, revocation {rev}, {}",
            counted(events, "event")
        ))?;
    }
    let (agents, events) = (counted(contents.agents, "agent"), counted(contents.events, "event"));
    line(&format!("{agents}, {events}"))?;
    findings.iter().try_for_each(|(org, what)| line(&format!("  {org}: {what}")))
}

fn unusable(fault: Fault) -> Failure {
    Failure::new(
        Exit::VerificationFailed,
        "backup",
        "what is in the backup cannot be used",
        &fault.to_string(),
        "use another copy of it, or another backup",
    )
}
