//! SoftHSM2 (Debian's `softhsm2`): tokens in a folder, for tests on machines that have none of metal.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where its module is, on the systems that people build on.
const MODULES: [&str; 6] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
];
/// The variable by which the module finds its configuration.
pub(crate) const CONFIGURATION: &str = "SOFTHSM2_CONF";
/// The user PIN of a token that is made.
pub(crate) const PIN: &str = "648219";
/// That of its security officer.
const OFFICER_PIN: &str = "90210-officer";

/// A folder of tokens.
pub(crate) struct SoftHsm {
    pub(crate) module: PathBuf,
    pub(crate) configuration: PathBuf,
}

impl SoftHsm {
    /// In this folder; nothing, and a line that says so, where the machine has none. A pipeline has one.
    pub(crate) fn in_folder(folder: &Path) -> Option<Self> {
        let Some(module) = MODULES.iter().map(PathBuf::from).find(|module| module.exists()) else {
            assert!(!in_ci(), "CI keeps keys in a token: install softhsm2");
            eprintln!("there is no SoftHSM2, so no key is kept in a token here: install softhsm2");
            return None;
        };
        let tokens = folder.join("tokens");
        std::fs::create_dir_all(&tokens).expect("a folder");
        let configuration = folder.join("softhsm2.conf");
        let text = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            tokens.display()
        );
        std::fs::write(&configuration, text).expect("written");
        Some(Self { module, configuration })
    }

    /// Makes a token.
    pub(crate) fn make(&self, label: &str) {
        let mut command = Command::new("softhsm2-util");
        command.args(["--init-token", "--free", "--label", label]);
        command.args(["--pin", PIN, "--so-pin", OFFICER_PIN]);
        command.env(CONFIGURATION, &self.configuration).stdout(Stdio::null());
        assert!(command.status().expect("softhsm2-util runs").success(), "{label}");
    }
}

#[expect(clippy::disallowed_methods, reason = "a pipeline says that it is one")]
fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}
