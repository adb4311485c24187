//! The files of the root key: the one that the configuration names, and those beside it while
//! another takes its place, and after.
//!
//! `NAME.next` is written and synced before the store is touched, and opens nothing until all that
//! is wrapped is under it. Then `NAME` becomes `NAME.previous`, and `NAME.next` becomes `NAME`; at
//! no moment is there no `NAME`. So exactly one of the files opens the store after a crash at any
//! moment, and whoever opens the store next finishes what was cut off ([`Files::opening`]).

use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use accredit_domain::ports::{BoxFuture, Entropy as _, RootKeyPlace};
use accredit_domain::vault::{RootKey, SoftVault, WrappedPepper};
use accredit_domain::{Error, Fault, Refusal, Rule};
use accredit_wire::secret::Secret;

use crate::compose::{SystemEntropy, folder_of};
use crate::errors::Failure;
use crate::exit::Exit;
use crate::secrecy;

fn fault(title: &str, error: &dyn std::fmt::Display, hint: &str) -> Failure {
    Failure::new(Exit::Failure, "start", title, &error.to_string(), hint)
}

/// Makes a root key, readable by its owner alone. An existing file is never overwritten.
pub(crate) fn make(file: &Path) -> Result<(), Failure> {
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

/// Reads a root key. A file that others can read is refused.
pub(crate) fn read(file: &Path) -> Result<RootKey, Failure> {
    let title = format!("the root key `{}` cannot be used", file.display());
    let failed = |error: io::Error| Failure::file(&title, &error, "run `accredit init` first");
    let metadata = std::fs::metadata(file).map_err(failed)?;
    if let Some(mode) = secrecy::open_to_others(&metadata) {
        return Err(fault(
            &title,
            &format!("others can read it (mode {mode:o})"),
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

/// The file beside a root key whose name is longer by one word.
pub(crate) fn beside(file: &Path, word: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".");
    name.push(word);
    PathBuf::from(name)
}

/// A root key that opens a store, and how it came into its place.
pub(crate) struct Opening {
    /// The key.
    pub(crate) root: RootKey,
    /// Set where an earlier rotation was cut off: whether it is finished now.
    pub(crate) finished: Option<Result<(), Failure>>,
}

/// Why there is no root key that opens a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// There is no file.
    Missing,
    /// The file cannot be read, is no root key, or others can read it.
    Unusable,
    /// It is a root key, and not the store's.
    Wrong,
}

/// The files of a root key, beside each other.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    /// The root key that the configuration names.
    pub(crate) current: PathBuf,
    /// The one that is to take its place.
    pub(crate) next: PathBuf,
    /// The one whose place was taken.
    pub(crate) previous: PathBuf,
}

impl Files {
    /// Of the root key that the configuration names.
    pub(crate) fn of(current: &Path) -> Self {
        Self {
            current: current.to_owned(),
            next: beside(current, "next"),
            previous: beside(current, "previous"),
        }
    }

    /// The root key in the file that the configuration names.
    pub(crate) fn read_current(&self) -> Result<RootKey, (Trouble, Failure)> {
        read(&self.current).map_err(|failure| {
            let missing = failure.exit == Exit::NotFound;
            (if missing { Trouble::Missing } else { Trouble::Unusable }, failure)
        })
    }

    /// The root key that opens `peppers`. Where that is the next one, a rotation was cut off after
    /// it had rewrapped the store, and is finished.
    pub(crate) fn opening(&self, peppers: &[WrappedPepper]) -> Result<Opening, (Trouble, Failure)> {
        let current = self.read_current()?;
        if SoftVault::opens(&current, peppers) {
            return Ok(Opening { root: current, finished: None });
        }
        match read(&self.next).ok().filter(|next| SoftVault::opens(next, peppers)) {
            Some(root) => {
                let finished = Some(self.move_next());
                Ok(Opening { root, finished })
            }
            None => Err((Trouble::Wrong, self.wrong(peppers))),
        }
    }

    /// The root key that opens a copy of the store: the store may have come under the next one
    /// before its copy was made, or after. Nothing is moved.
    pub(crate) fn opening_copy(
        &self,
        peppers: &[WrappedPepper],
    ) -> Result<(RootKey, PathBuf), Failure> {
        let current = read(&self.current)?;
        if SoftVault::opens(&current, peppers) {
            return Ok((current, self.current.clone()));
        }
        let others = [&self.next, &self.current, &self.previous];
        let opening = others.into_iter().find_map(|file| {
            let root = read(file).ok()?;
            SoftVault::opens(&root, peppers).then(|| (root, file.clone()))
        });
        opening.ok_or_else(|| self.wrong(peppers))
    }

    /// Says that the root key is not the store's, and whether the one before it is.
    fn wrong(&self, peppers: &[WrappedPepper]) -> Failure {
        let title = "the root key does not open this store";
        let (current, previous) = (self.current.display(), self.previous.display());
        if read(&self.previous).is_ok_and(|root| SoftVault::opens(&root, peppers)) {
            return fault(
                title,
                &format!("`{previous}` opens it: the store is older than the key"),
                &format!("copy that file to `{current}`"),
            );
        }
        fault(
            title,
            &format!("`{current}` is another store's, and no file beside it opens this one"),
            "put back the root key that this store was founded with",
        )
    }

    /// The first step: the next key, durable, beside the one that opens `peppers`. Fails before
    /// anything is touched where it could not take that one's place.
    pub(crate) fn write_next(&self, peppers: &[WrappedPepper]) -> Result<RootKey, Failure> {
        let opening = self.opening(peppers).map_err(|(_, failure)| failure)?;
        opening.finished.transpose()?;
        self.check_replaceable()?;
        if self.next.exists() {
            // Left by a rotation that ended before it touched the store, which the current key
            // opens: this one opens nothing.
            std::fs::remove_file(&self.next).map_err(|error| unwritten(&self.next, &error))?;
        }
        make(&self.next)?;
        sync_folder(&self.next)?;
        read(&self.next)
    }

    /// Whether the current key can be given another name, tried with one that nobody knows.
    fn check_replaceable(&self) -> Result<(), Failure> {
        let title = format!("the root key `{}` cannot be replaced", self.current.display());
        let elsewhere = |why: &str| {
            fault(&title, &why, "rotate it where it comes from, with the server stopped")
        };
        let kind = std::fs::symlink_metadata(&self.current);
        if kind.is_ok_and(|file| file.file_type().is_symlink()) {
            return Err(elsewhere("it is a link: something else puts it there"));
        }
        match self.set_aside() {
            Ok(aside) => std::fs::remove_file(aside),
            Err(error) if error.kind() == ErrorKind::CrossesDevices => {
                return Err(elsewhere("it is mounted: something else puts it there"));
            }
            Err(error) => Err(error),
        }
        .map_err(|error| {
            let hint = "let the server write the folder that it is in";
            Failure::file(&title, &error, hint)
        })
    }

    /// The current key under a further name.
    fn set_aside(&self) -> io::Result<PathBuf> {
        let aside = beside(&self.current, "aside");
        if aside.exists() {
            std::fs::remove_file(&aside)?;
        }
        match std::fs::hard_link(&self.current, &aside) {
            Err(error) if error.kind() != ErrorKind::CrossesDevices => {
                // A file system without such links.
                std::fs::copy(&self.current, &aside)?;
            }
            linked => linked?,
        }
        Ok(aside)
    }

    /// The last step: the files change their names.
    pub(crate) fn move_next(&self) -> Result<(), Failure> {
        let moved = || {
            std::fs::rename(self.set_aside()?, &self.previous)?;
            std::fs::rename(&self.next, &self.current)
        };
        moved().map_err(|error| unwritten(&self.current, &error))?;
        sync_folder(&self.current)
    }
}

/// Tells a failure of the files in the log of a server.
pub(crate) fn told(failure: &Failure) {
    tracing::error!(why = %failure.detail, hint = %failure.hint, "{}", failure.title);
}

impl RootKeyPlace for Files {
    fn make_next(&self, peppers: Vec<WrappedPepper>) -> BoxFuture<'_, Result<RootKey, Error>> {
        let files = self.clone();
        Box::pin(async move {
            let made = tokio::task::spawn_blocking(move || files.write_next(&peppers)).await;
            let made = made.map_err(|error| Fault::new("make a root key", error))?;
            made.map_err(|failure| {
                told(&failure);
                // Without the names of files: those are in the log.
                let detail = format!("the root key cannot be replaced: {}", failure.detail);
                Refusal::new(Rule::StateForbids, detail, "nothing was changed; the log says more")
                    .into()
            })
        })
    }

    fn put_in_place(&self) -> BoxFuture<'_, Result<(), Fault>> {
        let files = self.clone();
        Box::pin(async move {
            let moved = tokio::task::spawn_blocking(move || files.move_next()).await;
            let failed = |error: &dyn std::fmt::Display| Fault::new("move the root key", error);
            moved.map_err(|error| failed(&error))?.map_err(|failure| failed(&failure.detail))
        })
    }
}

/// The place of a root key that was given and not read from a file: nothing can be put there.
pub(crate) struct Given;

impl RootKeyPlace for Given {
    fn make_next(&self, _: Vec<WrappedPepper>) -> BoxFuture<'_, Result<RootKey, Error>> {
        let why = "the root key was given to this process and is in no file of it";
        let refusal = Refusal::new(Rule::StateForbids, why, "rotate it where it comes from");
        Box::pin(std::future::ready(Err(refusal.into())))
    }

    fn put_in_place(&self) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(std::future::ready(Err(Fault::new("move the root key", "it is in no file"))))
    }
}

fn unwritten(file: &Path, error: &io::Error) -> Failure {
    let title = format!("the root key `{}` was not put in place", file.display());
    Failure::file(&title, error, "mend that and run it again: it goes on where it stopped")
}

/// Makes the names in a file's folder durable.
fn sync_folder(file: &Path) -> Result<(), Failure> {
    let synced = File::open(folder_of(file)).and_then(|folder| folder.sync_all());
    synced.map_err(|error| unwritten(file, &error))
}
