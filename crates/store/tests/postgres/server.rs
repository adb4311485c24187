//! A PostgreSQL server of this process's own: in a temporary folder, on a socket in it, as a user that
//! is not root, stopped when the process ends, however it ends.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use tokio_postgres::{Config, NoTls};

/// Whom the server runs as where the tests run as root, which it refuses: `nobody`.
const NOBODY: u32 = 65_534;
/// How long it may take to start.
const START_TIME_MAX: Duration = Duration::from_mins(1);

/// What keeps the server: nothing is to outlast it, so it waits for no disk. It ends with its input,
/// which is ours as long as this process lives.
const KEEPER: &str = r#"
"$1/postgres" -D "$2/data" -k "$2" -c listen_addresses= -c max_connections=400 \
    -c fsync=off >"$2/log" 2>&1 &
cat >/dev/null
kill -QUIT $!
wait $!
rm -rf "$2"
"#;

static FOLDER: LazyLock<PathBuf> = LazyLock::new(start);
/// Databases are made one at a time: two at once would wait for the template.
static MAKING: Mutex<()> = Mutex::new(());

/// The database that is called like a folder, made where there is none.
pub(crate) fn database_of(folder: &tempfile::TempDir) -> Config {
    let name = folder.path().file_name().and_then(|name| name.to_str()).expect("a name");
    let name = name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "");
    let _one = MAKING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (server, made) = (config("postgres"), name.clone());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let (client, connection) = server.connect(NoTls).await.expect("the server");
            tokio::spawn(connection);
            let there = client
                .query_opt("SELECT 1 FROM pg_database WHERE datname = $1", &[&made])
                .await
                .expect("an answer");
            if there.is_none() {
                let sql = format!("CREATE DATABASE \"{made}\" TEMPLATE template0");
                client.batch_execute(&sql).await.expect("a database");
            }
        });
    })
    .join()
    .expect("made");
    config(&name)
}

fn config(database: &str) -> Config {
    let mut config = Config::new();
    config.host_path(&*FOLDER).user("accredit").dbname(database);
    config
}

fn start() -> PathBuf {
    let programs = programs();
    let folder = tempfile::Builder::new().prefix("accredit-pg").tempdir().expect("a folder").keep();
    let root = is_root();
    if root {
        chown(&folder, Some(NOBODY), Some(NOBODY)).expect("given away");
    }
    let as_user = |command: &mut Command| {
        if root {
            command.uid(NOBODY).gid(NOBODY);
        }
    };
    let mut init = Command::new(programs.join("initdb"));
    init.arg("-D").arg(folder.join("data")).args(["-U", "accredit", "-A", "trust", "-E", "UTF8"]);
    init.args(["--locale=C", "--no-sync"]).current_dir(&folder).stdout(Stdio::null());
    as_user(&mut init);
    assert!(init.status().expect("initdb runs").success(), "initdb failed");
    let mut keeper = Command::new("sh");
    keeper.args(["-c", KEEPER, "sh"]).arg(&programs).arg(&folder);
    keeper.current_dir("/").stdin(Stdio::piped());
    as_user(&mut keeper);
    let child = keeper.spawn().expect("a server");
    // Its input is never closed by us.
    std::mem::forget(child);
    wait_for(&folder);
    folder
}

#[expect(clippy::disallowed_methods, reason = "a server takes some time to start")]
fn wait_for(folder: &Path) {
    let began = Instant::now();
    loop {
        let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
        if log.contains("ready to accept connections") {
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
fn programs() -> PathBuf {
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
