//! PKCS#11: whether the token opens, and has every key that is in use.
//!
//! It is logged in to for that, once. A PIN that would be the last try is not tried.

use accredit_domain::keys::SealedKey;
use accredit_pkcs11::{Token, Trouble};

use super::Checks;
use crate::hardware;
use crate::settings::pkcs11::Pkcs11;

const CHECK: &str = "pkcs11";

/// Looks for the store's keys in the token; nothing is said where there is neither.
pub(super) async fn check(token: Option<&Pkcs11>, keys: &[SealedKey], checks: &mut Checks) {
    let Some(set) = token else {
        if !keys.is_empty() {
            let found = format!("{} signing keys are in a token, and none is set", keys.len());
            checks.fail(CHECK, found, "set `pkcs11.module`, `pkcs11.token` and `pkcs11.pin_file`");
        }
        return;
    };
    let (label, module) = (&set.token, set.module.display());
    match absent(&Token::new(set.options()), keys).await {
        Ok(absent) if absent.is_empty() => {
            let found =
                format!("token `{label}` of `{module}` has {} keys that are in use", keys.len());
            checks.ok(CHECK, found);
        }
        Ok(absent) => {
            let why = hardware::named(absent.iter().map(String::as_str));
            let hint =
                "put back the token that has them; `pkcs11.missing_keys` where they are lost";
            checks.fail(CHECK, format!("token `{label}` of `{module}`: {why}"), hint);
        }
        Err(trouble) => checks.fail(CHECK, trouble.detail.clone(), trouble.hint()),
    }
}

async fn absent(token: &Token, keys: &[SealedKey]) -> Result<Vec<String>, Trouble> {
    token.open().await?;
    Ok(token.absent(keys).await?.into_iter().map(|(_, why)| why).collect())
}
