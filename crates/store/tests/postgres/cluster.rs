//! A PostgreSQL server of this process's own: in a temporary folder, on a socket in it, as a user that
//! is not root, stopped when the process ends, however it ends.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Whom the server runs as where the tests run as root, which it refuses: `nobody`.
const NOBODY: u32 = 65_534;
/// How long it may take to start.
const START_TIME_MAX: Duration = Duration::from_mins(1);

/// What keeps the server: nothing is to outlast it, so it waits for no disk, unless the file `kept` is
/// in its folder. It ends with its input, which is ours as long as this process lives.
const KEEPER: &str = r#"
programs="$1" folder="$2"
shift 2
"$programs/postgres" -D "$folder/data" -k "$folder" -c max_connections=400 -c fsync=off "$@" \
    >"$folder/log" 2>&1 &
cat >/dev/null
kill -QUIT $! 2>/dev/null
wait $!
[ -e "$folder/kept" ] || rm -rf "$folder"
"#;

/// Writes a file that is the server's, and nobody else's.
pub(crate) fn give(path: &Path, text: &str) {
    fs::write(path, text).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("private");
    if is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).expect("given away");
    }
}

/// Starts a server with these options in a folder that `prepare` may add to.
pub(crate) fn start_with(options: &[&str], prepare: &dyn Fn(&Path)) -> PathBuf {
    start_in(&std::env::temp_dir(), options, prepare)
}

/// The same, in a folder below `parent`.
pub(crate) fn start_in(parent: &Path, options: &[&str], prepare: &dyn Fn(&Path)) -> PathBuf {
    let folder = folder_in(parent);
    init(&folder);
    prepare(&folder);
    keep(&folder, options);
    folder
}

/// Makes a server's data in its folder.
pub(crate) fn init(folder: &Path) {
    let mut init = Command::new(programs().join("initdb"));
    init.arg("-D").arg(folder.join("data")).args(["-U", "accredit", "-A", "trust", "-E", "UTF8"]);
    init.args(["--locale=C", "--no-sync"]).current_dir(folder).stdout(Stdio::null());
    as_owner(&mut init);
    assert!(init.status().expect("initdb runs").success(), "initdb failed");
}

/// A folder below `parent` for a server, which is the server's.
pub(crate) fn folder_in(parent: &Path) -> PathBuf {
    let folder = tempfile::Builder::new().prefix("accredit-pg").tempdir_in(parent);
    let folder = folder.expect("a folder").keep();
    give_folder(&folder);
    folder
}

/// Makes a folder the server's.
pub(crate) fn give_folder(folder: &Path) {
    if is_root() {
        chown(folder, Some(NOBODY), Some(NOBODY)).expect("given away");
    }
}

/// Lets a program run as whom the server runs.
pub(crate) fn as_owner(command: &mut Command) {
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
}

/// Runs the server whose data is in a folder, until this process ends.
pub(crate) fn keep(folder: &Path, options: &[&str]) {
    let mut keeper = Command::new("sh");
    keeper.args(["-c", KEEPER, "sh"]).arg(programs()).arg(folder).args(options);
    keeper.current_dir("/").stdin(Stdio::piped());
    as_owner(&mut keeper);
    let child = keeper.spawn().expect("a server");
    // Its input is never closed by us.
    std::mem::forget(child);
    wait_for(folder);
}

#[expect(clippy::disallowed_methods, reason = "a server takes some time to start")]
fn wait_for(folder: &Path) {
    let began = Instant::now();
    loop {
        let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
        if log.contains("ready to accept ") {
            return;
        }
        assert!(began.elapsed() < START_TIME_MAX, "the server has not started: {log}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").is_ok_and(|this| this.uid() == 0)
}

/// Where `initdb` and `postgres` are: on the path, or where Debian puts them.
#[expect(clippy::disallowed_methods, reason = "where programs are is no setting")]
pub(crate) fn programs() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    if let Ok(versions) = fs::read_dir("/usr/lib/postgresql") {
        let mut versions: Vec<_> = versions.flatten().map(|it| it.path().join("bin")).collect();
        versions.sort();
        folders.extend(versions.into_iter().rev());
    }
    let has = |folder: &PathBuf| {
        ["initdb", "postgres"].iter().all(|program| folder.join(program).is_file())
    };
    folders.into_iter().find(has).expect(
        "PostgreSQL's `initdb` and `postgres`: install them, on Debian `apt-get install postgresql`",
    )
}
