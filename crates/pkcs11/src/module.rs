//! PKCS#11 section 5.4: the module, loaded and initialized once in a process, and never let go.
//!
//! What is loaded runs in this process and may have started threads of its own: nobody takes it away
//! under them. It is also the process's and not ours that is logged in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};

use crate::trouble::{Trouble, What};

static LOADED: Mutex<BTreeMap<PathBuf, Pkcs11>> = Mutex::new(BTreeMap::new());

/// The module in a file.
pub(crate) fn load(file: &Path) -> Result<Pkcs11, Trouble> {
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(module) = loaded.get(file) {
        return Ok(module.clone());
    }
    let failed = |error: &Error| {
        let detail = Trouble::of(error).detail;
        Trouble::new(What::Module, format!("the module `{}`: {detail}", file.display()))
    };
    let module = Pkcs11::new(file).map_err(|error| failed(&error))?;
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        // Under another name it was loaded before.
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(error) => return Err(failed(&error)),
    }
    loaded.insert(file.to_owned(), module.clone());
    Ok(module)
}
