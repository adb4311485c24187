//! Which store a configuration or a command names, and how its server is shown who comes.

use std::path::{Path, PathBuf};

use accredit_store::driver::target::Target;
use accredit_store::place::Place;
use accredit_wire::secret::Secret;

use crate::errors::Failure;
use crate::input;

/// Why a text names no store that can be used.
pub(crate) enum NoStore {
    /// What is written is wrong: why, and what to do.
    Written(String, &'static str),
    /// The password's file cannot be read.
    Password(Failure),
}

/// What comes beside the name of a store.
#[derive(Clone, Copy, Default)]
pub(crate) struct Login<'a> {
    /// The file with the password, which goes before the environment's.
    pub(crate) password_file: Option<&'a Path>,
    /// The environment's password.
    pub(crate) password: Option<&'a Secret>,
    /// The file with the authorities.
    pub(crate) authorities: Option<&'a Path>,
}

impl Login<'_> {
    /// The store that `text` names; a file's path is relative to `folder`.
    pub(crate) fn reach(&self, text: &str, folder: &Path) -> Result<Place, NoStore> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            return self.reach_file(folder.join(path));
        }
        if !Target::is_meant(text) {
            // What it is may hold a password, and is not repeated.
            let hint = "write sqlite:FILE or postgres://USER@HOST:PORT/DATABASE";
            return Err(NoStore::Written("it is no store".to_owned(), hint));
        }
        let target: Target =
            text.parse().map_err(|error: accredit_store::driver::target::TargetError| {
                NoStore::Written(error.detail, error.hint)
            })?;
        let password = match self.password_file {
            Some(file) => Some(input::secret(file).map_err(NoStore::Password)?),
            None => self.password.cloned(),
        };
        let target = target.with_password(password);
        let target = target.with_authorities(self.authorities.map(Path::to_path_buf));
        Ok(Place::Database(Box::new(target)))
    }

    /// The store in a file, which needs neither password nor authority.
    pub(crate) fn reach_file(&self, path: PathBuf) -> Result<Place, NoStore> {
        if self.password_file.is_some() || self.authorities.is_some() {
            let detail = "a file is shown no password and proves nothing".to_owned();
            let hint = "leave store_password_file and store_ca_file out, or name a database";
            return Err(NoStore::Written(detail, hint));
        }
        Ok(Place::File(path))
    }
}
