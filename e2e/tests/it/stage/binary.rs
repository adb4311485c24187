//! The binary under test: always built from what is in the tree now, never a stale one.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The folder of the workspace.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// Where the binary is, built once for this process.
pub(crate) fn accredit() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        // This test is `<target>/<profile>/deps/it-<hash>`.
        let test = std::env::current_exe().expect("this test's own path");
        let profile = test.ancestors().nth(2).expect("the profile's folder");
        let target = profile.parent().expect("the target folder");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "-p", "accredit-cli"]).current_dir(workspace());
        build.arg("--target-dir").arg(target);
        if profile.ends_with("release") {
            build.arg("--release");
        }
        let built = build.status().expect("cargo runs");
        assert!(built.success(), "the binary cannot be built");
        let binary = profile.join("accredit");
        assert!(binary.exists(), "cargo put the binary elsewhere than {}", binary.display());
        binary
    })
}

/// Compiles a library of `shim/` that is loaded under a process.
pub(crate) fn shim(name: &str) -> PathBuf {
    let source = workspace().join(format!("e2e/shim/{name}.c"));
    let test = std::env::current_exe().expect("this test's own path");
    let library = test.with_file_name(format!("{name}-{}.so", std::process::id()));
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"];
    let built = Command::new(compiler).args(flags).args([&library, &source]).arg("-ldl").status();
    assert!(built.expect("a C compiler, which the build needs anyway").success(), "{name}.c");
    library
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ran {
    /// The exit code; -1 where a signal ended it.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

impl Ran {
    /// Standard output, of a command that did what it was asked to.
    pub(crate) fn good(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// Standard output as the one JSON document it is.
    pub(crate) fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.good()).expect("one JSON document")
    }
}

/// Whether these tests may leave nothing out.
pub(crate) fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}

/// Whether this machine has somebody else's program; where it has not, that is said. A pipeline has every
/// one that a story asks for.
pub(crate) fn is_there(program: &str) -> bool {
    let found = Command::new(program).arg("-v").output().is_ok();
    assert!(found || !in_ci(), "CI meets {program}: install it");
    if !found {
        eprintln!("there is no {program}, so this is left out: install it");
    }
    found
}

/// A command of the binary with nothing of this process's environment.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(accredit());
    // A home that is no folder: nothing of the user who runs the tests is read.
    command.args(args).env_clear().env("HOME", "/nonexistent").stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) fn run(mut command: Command) -> Ran {
    let output = command.output().expect("the binary runs");
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    }
}
