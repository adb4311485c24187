//! What every attestor keeps to, and what each tells of a process as the kernel describes one.

use std::os::unix::fs::symlink;
use std::path::Path;

use accredit_edge::attest::{self, Attestor, ProcFolder, Selector, Told, Unattested};

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const STAT: &str = "42 (crm) S 41 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 98765 1 2 3\n";

/// A folder that looks as the kernel's, of a process of user 7 and group 8.
struct Process(tempfile::TempDir);

impl Process {
    fn new() -> Self {
        let process = Self(tempfile::tempdir().expect("a folder"));
        process.has("stat", STAT);
        process.has("status", "Name:\tcrm\nUid:\t7\t7\t7\t7\nGid:\t8\t8\t8\t8\n");
        process.has("cgroup", &format!("0::/system.slice/docker-{ID}.scope\n"));
        std::fs::write(process.0.path().join("program"), "what it runs").expect("written");
        process.runs(&process.0.path().join("program"));
        process
    }

    fn has(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), text).expect("written");
    }

    fn lacks(&self, name: &str) {
        std::fs::remove_file(self.0.path().join(name)).expect("removed");
    }

    fn runs(&self, program: &Path) {
        let _ = std::fs::remove_file(self.0.path().join("exe"));
        symlink(program, self.0.path().join("exe")).expect("a link");
    }

    fn folder(&self) -> ProcFolder {
        ProcFolder::at(self.0.path(), 7, 8).expect("a folder")
    }

    fn told(&self) -> Result<Told, Unattested> {
        attest::attest(&attest::all(), &self.folder())
    }

    fn tells(&self, selector: Selector) -> Option<String> {
        self.told().expect("attested").get(selector).map(str::to_owned)
    }
}

/// What one attestor alone tells.
fn alone(attestor: &dyn Attestor, process: &Process) -> Result<Told, Unattested> {
    let mut told = Told::default();
    attestor.attest(&process.folder(), &mut told).map(|()| told)
}

/// Whatever an attestor tells is what it says that it tells.
fn keeps_to_its_own(attestor: &dyn Attestor, process: &Process) {
    if let Ok(told) = alone(attestor, process) {
        assert!(told.names().all(|name| attestor.selectors().contains(&name)), "{told:?}");
    }
}

#[test]
fn each_attestor_tells_what_is_its_own_and_nothing_that_it_did_not_see() {
    let all = attest::all();
    let mut names: Vec<_> = all.iter().flat_map(|one| one.selectors()).collect();
    names.sort();
    assert_eq!(names.len(), Selector::ALL.len());
    names.dedup();
    assert_eq!(names.len(), Selector::ALL.len(), "each selector is one attestor's");
    for attestor in &all {
        let process = Process::new();
        let told = alone(&**attestor, &process).expect("attested");
        assert!(told.names().next().is_some(), "of a whole process something is told");
        keeps_to_its_own(&**attestor, &process);
        assert_eq!(alone(&**attestor, &process).as_ref(), Ok(&told), "twice the same");
        // Of a process without files, or with files of another's making, nothing is.
        let garbage =
            ["", "\n", "0::", "Uid:\t7\n", "0::/../docker\n", "\u{0}\u{1}", &"x".repeat(70_000)];
        for text in garbage {
            for name in ["stat", "status", "cgroup"] {
                process.has(name, text);
            }
            process.lacks("exe");
            keeps_to_its_own(&**attestor, &process);
            if let Ok(told) = alone(&**attestor, &process) {
                assert_eq!(told, Told::default(), "{text:?}");
            }
            process.runs(Path::new("/nowhere"));
        }
        for name in ["stat", "status", "cgroup", "exe"] {
            process.lacks(name);
        }
        assert!(
            alone(&**attestor, &process).is_ok_and(|told| told == Told::default())
                || alone(&**attestor, &process) == Err(Unattested::Gone)
        );
    }
}

#[test]
fn a_process_is_of_the_user_that_connected_or_is_nobody() {
    let process = Process::new();
    assert_eq!(process.tells(Selector::Uid).as_deref(), Some("7"));
    assert_eq!(process.tells(Selector::Gid).as_deref(), Some("8"));
    for (uid, gid) in
        [("0\t0\t0\t0", "8\t8\t8\t8"), ("7\t0\t7\t7", "8\t8\t8\t8"), ("7\t7\t7\t7", "8\t8\t0\t8")]
    {
        process.has("status", &format!("Name:\tcrm\nUid:\t{uid}\nGid:\t{gid}\n"));
        assert_eq!(process.told(), Err(Unattested::TwoUsers), "{uid} {gid}");
    }
}

#[test]
fn a_program_is_told_by_what_it_holds_and_by_its_name_where_it_lies_there() {
    let process = Process::new();
    let program = process.0.path().join("program");
    let first = process.tells(Selector::Sha256).expect("a digest");
    assert_eq!(process.tells(Selector::Path), Some(program.display().to_string()));
    assert_eq!(process.tells(Selector::Interpreter), None);
    // The same attestor sees that a file was written to.
    let attestors = attest::all();
    let digest = || {
        let told = attest::attest(&attestors, &process.folder()).expect("attested");
        told.get(Selector::Sha256).map(str::to_owned)
    };
    assert_eq!(digest().as_ref(), Some(&first));
    std::fs::write(&program, "what it RUNS").expect("written");
    let second = digest().expect("a digest");
    assert_ne!(second, first);
    // An interpreter is one wherever it lies.
    let python = process.0.path().join("python3.12");
    std::fs::copy(&program, &python).expect("copied");
    process.runs(&python);
    assert_eq!(process.tells(Selector::Interpreter).as_deref(), Some("python"));
    assert_eq!(digest(), Some(second), "by what it holds");
    // One of this machine's is known under another name.
    let shell = process.0.path().join("crm");
    std::fs::copy("/bin/sh", &shell).expect("copied");
    process.runs(&shell);
    assert!(process.tells(Selector::Interpreter).is_some(), "a shell by another name");
    // What is no file of its own is not read.
    for other in ["/dev/zero", "/proc", "/nowhere"] {
        process.runs(Path::new(other));
        assert_eq!((process.tells(Selector::Path), digest()), (None, None), "{other}");
    }
}

#[test]
fn the_digest_is_that_of_the_standard() {
    let process = Process::new();
    std::fs::write(process.0.path().join("program"), "abc").expect("written");
    // FIPS 180-4, the example of one block.
    let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(process.tells(Selector::Sha256).as_deref(), Some(expected));
}

#[test]
fn a_group_says_unit_and_container_only_where_nobody_could_have_forged_it() {
    let process = Process::new();
    let told = |path: &str| {
        process.has("cgroup", &format!("0::{path}\n"));
        [Selector::SystemdUnit, Selector::ContainerId].map(|one| process.tells(one))
    };
    let unit = |name: &str| Some(name.to_owned());
    assert_eq!(told("/system.slice/crm.service"), [unit("crm.service"), None]);
    let docker = format!("docker-{ID}.scope");
    assert_eq!(told(&format!("/system.slice/{docker}")), [unit(&docker), unit(ID)]);
    let own = format!("/user.slice/user-7.slice/user@7.service/app.slice/{docker}");
    assert_eq!(told(&own), [unit("user@7.service"), None], "a user's own to make");
    let below = format!("/system.slice/crm.service/{docker}");
    assert_eq!(told(&below), [unit("crm.service"), None], "a service's own to make");
    // Two hierarchies: which one counts would be a guess.
    process.has(
        "cgroup",
        &format!("1:name=systemd:/system.slice/{docker}\n0::/system.slice/{docker}\n"),
    );
    for selector in [Selector::Cgroup, Selector::SystemdUnit, Selector::ContainerId] {
        assert_eq!(process.tells(selector), None);
    }
}
