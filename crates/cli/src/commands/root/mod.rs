//! `accredit root`: the root key, which wraps all others, and how a new one takes its place.
//!
//! Offline: the store is held by one process, so that this fails while a server runs on it. The
//! order is such that a crash at any moment leaves a store that exactly one of the two files
//! opens: the new key is written beside the old one and synced; all that is wrapped is rewrapped
//! in one transaction; then the files change their names. Run again, it finishes what was cut
//! off. The old key stays as `.previous`, since older backups open with nothing else.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use accredit_domain::Fault;
use accredit_domain::audit::event::{Actor, Body, Event, EventKind};
use accredit_domain::ports::{Audited, Clock, Entropy, Ledger as _, Store as _};
use accredit_domain::vault::{RootKey, SoftVault, WrappedPepper};
use accredit_store::{Options, Rewrapped, SqliteStore};
use accredit_wire::ids::OrganizationId;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::compose;
use crate::context::Context;
use crate::errors::Failure;
use crate::exit::Exit;
use crate::output::line;
use crate::settings::Settings;

/// The noun.
#[derive(Debug, Args)]
pub(crate) struct Root {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a new root key and wrap everything under it; while no server runs on the store
    #[command(
        after_help = "Example:\n  accredit root rotate --config /etc/accredit/accredit.toml\n\n\
                      The old key stays beside the new one as `.previous`: backups made before \
                      open with it alone. Cut off, it is finished by running it again."
    )]
    Rotate(Rotate),
}

#[derive(Debug, Args)]
struct Rotate {
    /// The server's configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Runs one of its verbs.
pub(crate) async fn run(root: Root, cx: &Context) -> Result<(), Failure> {
    let Verb::Rotate(args) = root.verb;
    let settings = Settings::read(&args.config, &cx.around)?;
    let rotation = Rotation::begin(&settings.store_file(), &settings.root_key_file)?;
    let outcome = rotation.run().await;
    rotation.store.close();
    let done = outcome?;
    if cx.out.is_json() {
        let (root_key, previous) = (&rotation.files.current, &rotation.files.previous);
        let told = json!({
            "root_key_file": root_key,
            "previous": previous,
            "keys": done.keys,
            "finished_earlier": done.finished_earlier,
        });
        return line(&told.to_string());
    }
    if done.finished_earlier {
        cx.out.say("an earlier rotation was cut off; this finished it, with the key it had made");
    }
    line(&format!("root key     {}", rotation.files.current.display()))?;
    line(&format!("previous     {}", rotation.files.previous.display()))?;
    cx.out.say(
        "copy the new key to where the old one is kept apart from backups; destroy the previous \
         one when no backup needs it any more",
    );
    Ok(())
}

/// The files of a rotation, beside each other.
#[derive(Clone, Debug)]
struct Files {
    /// The root key that the configuration names.
    current: PathBuf,
    /// The one that is to take its place.
    next: PathBuf,
    /// The one whose place was taken.
    previous: PathBuf,
}

impl Files {
    fn beside(current: &Path) -> Self {
        Self {
            current: current.to_owned(),
            next: compose::root_key_beside(current, "next"),
            previous: compose::root_key_beside(current, "previous"),
        }
    }
}

/// What a rotation came to.
#[derive(Debug)]
struct Done {
    /// Signing keys that were rewrapped.
    keys: usize,
    /// An earlier rotation was finished, and no new key was made.
    finished_earlier: bool,
}

/// A rotation that holds its store alone.
struct Rotation {
    store: Arc<SqliteStore>,
    files: Files,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Rotation {
    fn begin(store_file: &Path, root_key_file: &Path) -> Result<Self, Failure> {
        // A store that is not there would be made.
        if !store_file.exists() {
            return Err(Failure::new(
                Exit::NotFound,
                "root",
                "there is no store",
                &format!("`{}` does not exist", store_file.display()),
                "check `data` in the configuration, or run `accredit init`",
            ));
        }
        let opened = SqliteStore::open(store_file, &Options::default());
        let store = opened.map_err(|fault| {
            let title = format!("the store `{}` cannot be used", store_file.display());
            let hint = "stop the server that runs on it; it takes a moment";
            Failure::new(Exit::Conflict, "root", &title, &fault.to_string(), hint)
        })?;
        let (clock, entropy) = compose::clock_and_entropy();
        Ok(Self { store, files: Files::beside(root_key_file), clock, entropy })
    }

    async fn run(&self) -> Result<Done, Failure> {
        let peppers = self.peppers().await?;
        let current = compose::root_key(&self.files.current)?;
        let finished_earlier = !SoftVault::opens(&current, &peppers);
        let keys = if finished_earlier {
            self.check_next_opens(&peppers)?;
            self.store.all_signing_keys().await.map_err(failed)?.len()
        } else {
            let next = self.write_next()?;
            self.rewrap(&current, &next, &peppers).await?
        };
        self.record().await.map_err(failed)?;
        self.put_in_place()?;
        Ok(Done { keys, finished_earlier })
    }

    async fn peppers(&self) -> Result<Vec<WrappedPepper>, Failure> {
        let installation = self.store.installation().await.map_err(failed)?;
        let peppers = installation.map(|installation| installation.peppers);
        peppers.ok_or_else(|| failed(Fault::new("root key", "the store was never founded")))
    }

    fn check_next_opens(&self, peppers: &[WrappedPepper]) -> Result<(), Failure> {
        let next = compose::root_key(&self.files.next).ok();
        if next.is_some_and(|next| SoftVault::opens(&next, peppers)) {
            return Ok(());
        }
        Err(compose::wrong_root_key(&self.files.current, peppers))
    }

    /// The first step: the new key, durable, beside the old one.
    fn write_next(&self) -> Result<RootKey, Failure> {
        let next = &self.files.next;
        if next.exists() {
            // Left by a rotation that ended before it touched the store, which the current key
            // opens: this one opens nothing.
            std::fs::remove_file(next).map_err(|error| unwritten(next, &error))?;
        }
        compose::new_root_key(next)?;
        sync_folder(next)?;
        compose::root_key(next)
    }

    /// The second step: everything that is wrapped, in one transaction.
    async fn rewrap(
        &self,
        current: &RootKey,
        next: &RootKey,
        peppers: &[WrappedPepper],
    ) -> Result<usize, Failure> {
        let roots = (current, next);
        let entropy = self.entropy.as_ref();
        let keys = self.store.all_signing_keys().await.map_err(failed)?;
        let peppers: Result<Vec<_>, _> =
            peppers.iter().map(|pepper| SoftVault::rewrap_pepper(roots, entropy, pepper)).collect();
        let keys: Result<Vec<_>, _> =
            keys.iter().map(|key| SoftVault::rewrap_key(roots, entropy, key)).collect();
        let rewrapped =
            Rewrapped { peppers: peppers.map_err(failed)?, keys: keys.map_err(failed)? };
        let count = rewrapped.keys.len();
        self.store.rewrap(rewrapped).await.map_err(failed)?;
        Ok(count)
    }

    /// One event in the log of every organization. Cut off here, another one is written when the
    /// rotation is finished.
    async fn record(&self) -> Result<(), Fault> {
        let keys = self.store.all_signing_keys().await?;
        let mut orgs: Vec<OrganizationId> = keys.iter().map(|key| key.org).collect();
        orgs.dedup();
        for org in orgs {
            let actor = Some(Actor { id: None, kind: "system" });
            let body = Body { actor, target: Some(org.any()), ..Body::default() };
            let mut salt = [0u8; 16];
            self.entropy.fill(&mut salt);
            let event = Event::new(EventKind::RootKeyRotated, self.clock.now(), salt, body);
            self.store.record_event(Audited::new((org, None), event)).await?;
        }
        Ok(())
    }

    /// The third step: the files change their names. At no moment is there no current key.
    fn put_in_place(&self) -> Result<(), Failure> {
        let Files { current, next, previous } = &self.files;
        let aside = compose::root_key_beside(current, "aside");
        let moved = || {
            if aside.exists() {
                std::fs::remove_file(&aside)?;
            }
            std::fs::hard_link(current, &aside)
                .or_else(|_| std::fs::copy(current, &aside).map(drop))?;
            std::fs::rename(&aside, previous)?;
            std::fs::rename(next, current)
        };
        moved().map_err(|error| unwritten(current, &error))?;
        sync_folder(current)
    }
}

fn failed(fault: Fault) -> Failure {
    Failure::new(
        Exit::Failure,
        "root",
        "the root key was not rotated",
        &fault.to_string(),
        "run it again: it goes on where it stopped",
    )
}

fn unwritten(file: &Path, error: &std::io::Error) -> Failure {
    let title = format!("the root key `{}` was not put in place", file.display());
    Failure::file(&title, error, "mend that and run it again: it goes on where it stopped")
}

/// Makes the names in a file's folder durable.
fn sync_folder(file: &Path) -> Result<(), Failure> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| unwritten(file, &e))
}

#[cfg(test)]
mod tests;
