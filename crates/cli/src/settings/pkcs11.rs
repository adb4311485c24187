//! The PKCS#11 token of a configuration: all of module, label and PIN, or nothing.

use std::path::{Path, PathBuf};

use accredit_domain::keys::KeyPurpose;
use accredit_pkcs11::Options;
use accredit_wire::secret::Secret;

use super::Said;
use crate::client_settings::Surroundings;
use crate::errors::Failure;
use crate::input;

/// Which new keys are made in the token where nobody says: those of the certificate authorities.
pub(crate) const PURPOSES_DEFAULT: &str = "ca-root,ca";

/// A token, as it was set.
#[derive(Clone)]
pub(crate) struct Pkcs11 {
    /// The module's file.
    pub(crate) module: PathBuf,
    /// The token's label.
    pub(crate) token: String,
    /// The file with the PIN; none where the environment gave it.
    pub(crate) pin_file: Option<PathBuf>,
    /// Which new keys are made in it.
    pub(crate) purposes: Vec<KeyPurpose>,
    /// Whether the server starts without keys that should be there.
    pub(crate) starts_without: bool,
    pin: Secret,
}

impl std::fmt::Debug for Pkcs11 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (module, token) = (&self.module, &self.token);
        f.debug_struct("Pkcs11")
            .field("module", module)
            .field("token", token)
            .finish_non_exhaustive()
    }
}

/// Why no token can be used as it was set.
pub(crate) enum NoToken {
    /// What is written is wrong: why, and what to do.
    Written(String, &'static str),
    /// The PIN's file cannot be read.
    Pin(Box<Failure>),
}

impl Pkcs11 {
    /// The token that was set, if one was. Its PIN is read.
    pub(super) fn read(
        said: &Said,
        folder: &Path,
        around: &Surroundings,
    ) -> Result<Option<Self>, NoToken> {
        let module = said.path("pkcs11.module", folder);
        let (Some(module), Some(token)) = (module, said.value("pkcs11.token")) else {
            // The environment's PIN alone sets nothing.
            if let Some(key) = said.0.keys().find(|key| key.starts_with("pkcs11.")) {
                let detail =
                    format!("`{key}` is set, and not both `pkcs11.module` and `pkcs11.token`");
                return Err(NoToken::Written(detail, "set both, or nothing of `pkcs11`"));
            }
            return Ok(None);
        };
        let purposes = said.value("pkcs11.purposes").unwrap_or(PURPOSES_DEFAULT);
        let pin_file = said.path("pkcs11.pin_file", folder);
        let token = Self::new((module, token.to_owned()), pin_file, purposes, around)?;
        let starts_without = said.value("pkcs11.missing_keys").unwrap_or("refused");
        Ok(Some(Self { starts_without: may_start_without(starts_without)?, ..token }))
    }

    /// The token that is called so in a module, for these purposes. The PIN is read, and nobody asked.
    pub(crate) fn new(
        (module, token): (PathBuf, String),
        pin_file: Option<PathBuf>,
        purposes: &str,
        around: &Surroundings,
    ) -> Result<Self, NoToken> {
        let pin = match &pin_file {
            Some(file) => input::private_secret(file, around.credentials.as_deref())
                .map_err(|failure| NoToken::Pin(Box::new(failure)))?,
            None => around.pkcs11_pin.clone().ok_or_else(|| {
                let detail = "the token's PIN is not set".to_owned();
                NoToken::Written(detail, "set `pkcs11.pin_file`, or ACCREDIT_PKCS11_PIN")
            })?,
        };
        let purposes = parse(purposes)?;
        Ok(Self { module, token, pin_file, purposes, starts_without: false, pin })
    }

    /// Its purposes, as they are written.
    pub(crate) fn purposes_text(&self) -> String {
        self.purposes.iter().map(|one| one.as_str()).collect::<Vec<_>>().join(",")
    }

    /// As the token is opened.
    pub(crate) fn options(&self) -> Options {
        Options {
            module: self.module.clone(),
            token: self.token.clone(),
            pin: self.pin.clone(),
            purposes: self.purposes.clone(),
        }
    }
}

/// Purposes, separated by commas; none where the text is empty.
fn parse(text: &str) -> Result<Vec<KeyPurpose>, NoToken> {
    let each = text.split(',').map(str::trim).filter(|one| !one.is_empty());
    each.map(|one| {
        KeyPurpose::parse(one).ok_or_else(|| {
            let detail = format!("`pkcs11.purposes`: `{one}` is no purpose of a key");
            let hint = "write purposes that `accredit signing-key list` shows, as ca-root,ca";
            NoToken::Written(detail, hint)
        })
    })
    .collect()
}

fn may_start_without(text: &str) -> Result<bool, NoToken> {
    match text {
        "refused" => Ok(false),
        "revocable" => Ok(true),
        _ => {
            let detail = format!("`pkcs11.missing_keys`: `{text}` is neither");
            Err(NoToken::Written(detail, "write refused or revocable"))
        }
    }
}

/// A setting's value as it is used.
pub(super) fn shown(token: Option<&Pkcs11>, key: &str) -> String {
    let Some(token) = token else { return "none".to_owned() };
    match key {
        "pkcs11.module" => token.module.display().to_string(),
        "pkcs11.token" => token.token.clone(),
        "pkcs11.pin_file" => {
            token.pin_file.as_ref().map_or("none".to_owned(), |file| file.display().to_string())
        }
        "pkcs11.purposes" => token.purposes_text(),
        _ => if token.starts_without { "revocable" } else { "refused" }.to_owned(),
    }
}
