//! The flags that name a PKCS#11 token where there is no configuration yet.

use std::path::PathBuf;

use clap::Args;

use crate::context::Context;
use crate::errors::Failure;
use crate::settings::pkcs11::{NoToken, PURPOSES_DEFAULT, Pkcs11};

/// A token.
#[derive(Debug, Args)]
#[expect(clippy::struct_field_names, reason = "they are the names of the flags")]
pub(crate) struct TokenFlags {
    /// The PKCS#11 library of a token in which signing keys are
    #[arg(long, value_name = "FILE", env = "ACCREDIT_PKCS11_MODULE", requires = "pkcs11_token")]
    pkcs11_module: Option<PathBuf>,
    /// The token's label
    #[arg(long, value_name = "LABEL", env = "ACCREDIT_PKCS11_TOKEN", requires = "pkcs11_module")]
    pkcs11_token: Option<String>,
    /// The file with the token's user PIN; ACCREDIT_PKCS11_PIN where not given
    #[arg(long, value_name = "FILE", env = "ACCREDIT_PKCS11_PIN_FILE")]
    pkcs11_pin_file: Option<PathBuf>,
    /// Which new keys are made in the token
    #[arg(long, value_name = "PURPOSES", env = "ACCREDIT_PKCS11_PURPOSES",
          default_value = PURPOSES_DEFAULT)]
    pkcs11_purposes: String,
}

impl TokenFlags {
    /// The token, where one is named. Its PIN is read.
    pub(crate) fn token(&self, cx: &Context) -> Result<Option<Pkcs11>, Failure> {
        let (Some(module), Some(label)) = (&self.pkcs11_module, &self.pkcs11_token) else {
            return Ok(None);
        };
        let (named, pin) = ((module.clone(), label.clone()), self.pkcs11_pin_file.clone());
        let token = Pkcs11::new(named, pin, &self.pkcs11_purposes, &cx.around);
        token.map(Some).map_err(|failure| match failure {
            NoToken::Written(detail, hint) => {
                Failure::usage("the PKCS#11 token cannot be used", &detail, hint)
            }
            NoToken::Pin(failure) => *failure,
        })
    }
}
