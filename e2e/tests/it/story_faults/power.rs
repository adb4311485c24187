//! The power is cut, at 200 moments of one run: every token that had left the process has its
//! event, the store opens, and the log is what was signed.
//!
//! The run is recorded once, by a disk that knows what was synced; each cut is then played from the
//! record. The same is done to a store that does not sync, to show that this test can fail.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::load::{Load, jti};
use super::shim::Disk;
use super::trace::{Random, Record, Replay, records};
use crate::stage::server::Folder;
use crate::stage::{Cast, Server, binary};

/// Cuts of the run that syncs.
const CUTS: usize = 200;
/// Cuts of the run that does not: one that loses a token would be enough.
const CUTS_UNSYNCED: usize = 40;
/// Clients that ask for tokens while it is recorded.
const CLIENTS: usize = 32;
/// Tokens that they are given.
const TOKENS: u64 = 800;
/// Clients that go on until the journal is moved: few, so that the log stays small.
const CLIENTS_LATER: usize = 4;
/// How long recording may take.
const RECORDING_TIME_MAX: Duration = Duration::from_secs(30);

/// A run that was recorded.
struct Run {
    trace: Vec<u8>,
    received: BTreeSet<String>,
    public_url: String,
    /// The name of the store's file.
    store: &'static str,
    /// The root key, where it is not in the trace.
    root_key: Option<&'static str>,
}

/// Loads a server on a recording disk, perhaps until its journal was moved once, and kills it.
async fn record(server: Server, disk: &Disk, until_moved: bool, run: Run) -> Run {
    let mut cast = Cast::at(server, 60).await;
    let agent = cast.agent("planner").await;
    let store = find(cast.server.folder().data().as_path(), run.store);
    let size = || std::fs::metadata(&store).expect("a store").len();
    let (start, empty) = (Instant::now(), size());
    let mut received = BTreeSet::new();
    let mut load = Load::start(&cast.server, &agent, CLIENTS);
    // The file itself is written only when the journal is moved.
    while load.given() < TOKENS || (until_moved && size() == empty) {
        assert!(start.elapsed() < RECORDING_TIME_MAX, "{} tokens in that time", load.given());
        let instance = cast.instance_of(&agent.agent).await;
        cast.server.revoke(&instance.id).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        if load.given() >= TOKENS && received.is_empty() && until_moved {
            received = load.end().await;
            load = Load::start(&cast.server, &agent, CLIENTS_LATER);
            load.given.store(TOKENS, Ordering::Relaxed);
        }
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    cast.server.kill();
    received.extend(load.end().await);
    let trace = std::fs::read(disk.trace()).expect("a trace");
    let (tokens, megabytes) = (received.len(), trace.len() / 1_000_000);
    println!("recorded {tokens} tokens, {megabytes} MB, in {:?}", start.elapsed());
    Run { trace, received, ..run }
}

/// A file in a folder or one below it.
fn find(folder: &Path, name: &str) -> std::path::PathBuf {
    let here = folder.join(name);
    let below = || {
        let entries = std::fs::read_dir(folder).expect("a folder");
        let files = entries.map(|entry| entry.expect("an entry").path().join(name));
        files.into_iter().find(|file| file.exists()).expect("the file")
    };
    if here.exists() { here } else { below() }
}

/// The id of the token that leaves in a record, if one does.
fn token_in(record: &Record<'_>) -> Option<String> {
    let text = (record.kind == b'N').then(|| String::from_utf8_lossy(record.bytes))?;
    let (_, after) = text.split_once("\"access_token\":\"")?;
    Some(jti(after.split('"').next()?))
}

/// What one cut has left.
struct Cut {
    place: usize,
    files: BTreeMap<String, Vec<u8>>,
    /// Tokens that had left.
    given: usize,
    in_sync: bool,
    in_move: bool,
}

/// Moments of a run: half of them anywhere, a quarter while something is being synced, and a
/// quarter while the journal is moved.
fn cuts(run: &Run, records: &[Record<'_>], number: usize, mut judge: impl FnMut(Cut)) {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let first = records.iter().position(|record| token_in(record).is_some()).expect("a token");
    let syncs: Vec<usize> =
        (first..records.len() - 1).filter(|place| records[*place].kind == b's').collect();
    let store = records.iter().find(|record| record.opens(run.store)).expect("a store").file;
    let moves: Vec<usize> = (first..records.len())
        .filter(|place| records[*place].kind == b'W' && records[*place].file == store)
        .collect();
    let mut places: Vec<usize> = (0..number)
        .map(|cut| match cut % 4 {
            // Where nothing is synced or moved, those cuts are anywhere too.
            2 if !syncs.is_empty() => syncs[random.below(syncs.len())],
            3 if !moves.is_empty() => moves[random.below(moves.len())],
            _ => first + random.below(records.len() - first),
        })
        .collect();
    places.sort_unstable();
    let mut places = places.into_iter().peekable();
    let (mut replay, mut given) = (Replay::default(), 0);
    for (place, record) in records.iter().enumerate() {
        replay.take(place, record);
        given += usize::from(token_in(record).is_some());
        while places.next_if_eq(&place).is_some() {
            let files = replay.cut(&mut random);
            let in_move = replay.pending(run.store) > 0;
            judge(Cut { place, files, given, in_sync: replay.is_syncing(), in_move });
        }
    }
}

/// How a store came out of a cut.
#[derive(Debug)]
struct Verdict {
    place: usize,
    in_sync: bool,
    in_move: bool,
    /// Why it does not open or is not what was signed.
    broken: Option<String>,
    lost: Vec<String>,
}

fn judge(run: &Run, order: &[String], cut: &Cut) -> Verdict {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, bytes) in &cut.files {
        let name = name.replace(run.store, "accredit.db");
        write_private(&folder.path().join(name), bytes);
    }
    if let Some(key) = run.root_key {
        write_private(&folder.path().join("root.key"), key.as_bytes());
    }
    let config = folder.path().join("accredit.toml");
    std::fs::write(&config, format!("public_url = {}\n", json!(run.public_url))).expect("written");
    let config = config.to_str().expect("a path");
    let ran = binary::run(binary::command(&["fsck", "--config", config, "--output", "json"]));
    let is_ok = ran.code == 0 && ran.out.lines().count() == 1 && ran.out.contains("\"ok\":true");
    let broken = (!is_ok).then(|| format!("{ran:?}"));
    let logged = logged(&folder.path().join("accredit.db"));
    let lost = order[..cut.given].iter().filter(|token| !logged.contains(*token));
    let Cut { place, in_sync, in_move, .. } = *cut;
    Verdict { place, in_sync, in_move, broken, lost: lost.cloned().collect() }
}

fn write_private(file: &Path, bytes: &[u8]) {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(file);
    file.expect("a file").write_all(bytes).expect("written");
}

/// The ids of all tokens whose issuance stands in the store; none where it cannot be read, and not
/// those of damaged rows, which `fsck` finds.
fn logged(store: &Path) -> BTreeSet<String> {
    let read = || -> rusqlite::Result<BTreeSet<String>> {
        let conn = rusqlite::Connection::open(store)?;
        let mut events = conn.prepare("SELECT payload FROM event WHERE kind = 'token.issued'")?;
        let payloads = events.query_map([], |row| row.get::<_, String>(0))?;
        let token = |payload: String| {
            let payload: Value = serde_json::from_str(&payload).ok()?;
            payload["token"].as_str().map(ToOwned::to_owned)
        };
        payloads.filter_map(|payload| payload.map(token).transpose()).collect()
    };
    read().unwrap_or_default()
}

/// Cuts a run and judges what is left, on two threads.
fn cut(run: &Run, number: usize) -> Vec<Verdict> {
    let records = records(&run.trace);
    let order: Vec<String> = records.iter().filter_map(token_in).collect();
    let left: BTreeSet<String> = order.iter().cloned().collect();
    assert!(run.received.is_subset(&left), "the trace shows every token that was received");
    let start = Instant::now();
    // Bounded, so that only a few cuts lie in memory.
    let (send, receive) = std::sync::mpsc::sync_channel::<Cut>(2);
    let receive = std::sync::Mutex::new(receive);
    let verdicts = std::thread::scope(|scope| {
        let (receive, order) = (&receive, &order);
        let work = move || {
            let next = || receive.lock().expect("nobody panics with it").recv().ok();
            let mut verdicts = Vec::new();
            while let Some(cut) = next() {
                verdicts.push(judge(run, order, &cut));
            }
            verdicts
        };
        let workers = [scope.spawn(work), scope.spawn(work)];
        cuts(run, &records, number, |cut| send.send(cut).expect("somebody judges"));
        drop(send);
        workers.into_iter().flat_map(|worker| worker.join().expect("judged")).collect::<Vec<_>>()
    });
    assert_eq!(verdicts.len(), number);
    println!("{number} cuts judged in {:?}", start.elapsed());
    verdicts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_loses_no_token_that_was_given() {
    let folder = Folder::new();
    let disk = Disk::new(&folder, true);
    let mut command = Server::dev_command(&folder, 0);
    disk.under(&mut command);
    let server = Server::started(command, folder.clone()).await;
    let public_url = server.url.clone();
    let (trace, received) = (Vec::new(), BTreeSet::new());
    let run = Run { trace, received, public_url, store: "accredit.db", root_key: None };
    let run = record(server, &disk, true, run).await;
    let verdicts = cut(&run, CUTS);
    // A quarter of the places is chosen in each; others fall there by chance.
    let in_sync = verdicts.iter().filter(|verdict| verdict.in_sync).count();
    let in_move = verdicts.iter().filter(|verdict| verdict.in_move).count();
    assert!(in_sync >= CUTS / 8, "{in_sync} of {CUTS} cuts in a commit's sync");
    assert!(in_move >= CUTS / 8, "{in_move} of {CUTS} cuts while the journal was moved");
    for verdict in verdicts {
        assert!(verdict.broken.is_none(), "cut at {}: {:?}", verdict.place, verdict.broken);
        assert!(verdict.lost.is_empty(), "cut at {}: lost {:?}", verdict.place, verdict.lost);
    }
}

/// The server of the testkit, whose store syncs or does not.
fn testkit_server(folder: &Folder, synchronous: &str) -> Command {
    let accredit = binary::accredit();
    let example = accredit.with_file_name("examples").join("serve_synchronous");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = accredit.ancestors().nth(2).expect("the target folder");
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "-p", "accredit-testkit", "--example", "serve_synchronous"]);
    build.arg("--target-dir").arg(target).current_dir(binary::workspace());
    if accredit.parent().is_some_and(|profile| profile.ends_with("release")) {
        build.arg("--release");
    }
    assert!(build.status().expect("cargo runs").success(), "the example cannot be built");
    let mut command = Command::new(example);
    command.env_clear().arg(folder.data()).arg(synchronous);
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_does_not_sync_loses_tokens_and_this_test_sees_it() {
    for (synchronous, loses) in [("FULL", false), ("OFF", true)] {
        let folder = Folder::new();
        std::fs::create_dir(folder.data()).expect("a folder");
        let disk = Disk::new(&folder, true);
        let mut command = testkit_server(&folder, synchronous);
        disk.under(&mut command);
        let server = Server::started(command, folder.clone()).await;
        let public_url = server.issuer.replace(&format!("/o/{}", server.org), "");
        let (trace, received) = (Vec::new(), BTreeSet::new());
        let key = "0707070707070707070707070707070707070707070707070707070707070707";
        let run = Run { trace, received, public_url, store: "store.db", root_key: Some(key) };
        let run = record(server, &disk, false, run).await;
        let verdicts = cut(&run, CUTS_UNSYNCED);
        let losing = verdicts.iter().filter(|verdict| !verdict.lost.is_empty()).count();
        println!("synchronous={synchronous}: {losing} of {CUTS_UNSYNCED} cuts lose tokens");
        assert_eq!(losing > 0, loses, "synchronous={synchronous}: {verdicts:?}");
    }
}
