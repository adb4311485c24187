//! Before anything is served: the token opens, and every key that is in it and not over is there.
//!
//! Fail closed: a server that cannot sign what it should is not started, unless its operator said so
//! (`pkcs11.missing_keys`), so that what is lost for good can be revoked.

use accredit_domain::Fault;
use accredit_domain::ca::listener::{ListenerRoots as _, Roots};
use accredit_domain::keys::SealedKey;
use accredit_domain::ports::{Absent, Registry as _};
use accredit_pkcs11::{Trouble, What};

use crate::compose::Composed;
use crate::errors::Failure;
use crate::exit::Exit;
use crate::settings::pkcs11::Pkcs11;

/// Keys that a failure names.
const NAMED_MAX: usize = 5;

/// What a token cannot do. One that refuses the PIN ends the process with a code of its own, on which
/// whoever starts it again does not: each time is a try.
pub(crate) fn failed(trouble: &Trouble) -> Failure {
    let exit = if trouble.what == What::Pin { Exit::NotAuthenticated } else { Exit::Failure };
    let title = "the PKCS#11 token cannot be used";
    Failure::new(exit, "pkcs11", title, &trouble.detail, trouble.hint())
}

/// Opens the token, where there is one.
pub(crate) async fn open(composed: &Composed) -> Result<(), Failure> {
    let Some(vault) = &composed.hardware else { return Ok(()) };
    vault.token().open().await.map_err(|trouble| failed(&trouble))
}

/// Opens the token and looks for every key that should be in it.
pub(crate) async fn check(composed: &Composed, token: Option<&Pkcs11>) -> Result<(), Failure> {
    open(composed).await?;
    let broken = |fault: Fault| missing(&fault.to_string());
    let now = composed.world.clock.now();
    let keys = composed.store.keys_in_token().await.map_err(broken)?.into_iter();
    let needed = keys.filter(|key| key.is_needed_in_token(now)).map(|key| key.sealed);
    let mut keys: Vec<SealedKey> = needed.collect();
    let listener = composed.store.listener_roots().await.map_err(broken)?;
    keys.extend(listener.iter().flat_map(Roots::keys_in_token).cloned());
    if keys.is_empty() {
        return Ok(());
    }
    let absent = composed.world.vault.absent(&keys).await.map_err(broken)?;
    for Absent { why, .. } in &absent {
        tracing::error!(why, "a key that is in use cannot be used");
    }
    let why = named(absent.iter().map(|absent| absent.why.as_str()));
    match token {
        _ if absent.is_empty() => {
            tracing::info!(keys = keys.len(), "every key that is in the token was found");
            Ok(())
        }
        Some(token) if token.starts_without => Ok(()),
        Some(token) => {
            let (label, module) = (&token.token, token.module.display());
            Err(missing(&format!("token `{label}` of `{module}`: {why}")))
        }
        None => Err(missing(&why)),
    }
}

/// What is wrong with the first few of them.
pub(crate) fn named<'a>(absent: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = absent.len().saturating_sub(NAMED_MAX);
    let few = absent.take(NAMED_MAX).collect::<Vec<_>>().join("; ");
    if more == 0 { few } else { format!("{few}; and {more} more") }
}

fn missing(detail: &str) -> Failure {
    let title = "keys that are in use are not in the PKCS#11 token";
    let hint = "put back the token that has them, or the settings `pkcs11`; where they are lost for good, \
                set `pkcs11.missing_keys = \"revocable\"` and revoke them";
    Failure::new(Exit::Failure, "pkcs11", title, detail, hint)
}
