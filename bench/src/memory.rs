//! What a Verifier takes for a million revoked ids: a process that follows, and nothing else.

use std::io::Read as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use accredit::Verifier;
use accredit_wire::ids::TokenId;
use serde_json::json;

use crate::report::{Figure, Target, number};
use crate::server::{AUDIENCE, Process, Server};
use crate::{Answer, Effort, Setting, ambient, machine};

const SCENARIO: &str = "memory";
/// Connections that revoke at a time.
const REVOKERS: usize = 32;
/// What is revoked while it follows, in so many parts of all.
const MORE: usize = 50;
/// In this time the last comes, and the state is written: four times within the age bound of a minute.
const HEARD_AND_KEPT: Duration = Duration::from_secs(20);

/// Revokes, follows, revokes more, follows again from what was kept.
pub(crate) fn run(setting: &Setting, effort: Effort) -> Answer<Vec<Figure>> {
    let server = Server::start(&setting.accredit, &setting.work)?;
    let key = server.resource()?;
    let count = effort.revoked;
    revoke(&server, count)?;
    let file = setting.work.join("follow.key");
    std::fs::write(&file, &key).map_err(|error| format!("{}: {error}", file.display()))?;
    let state = setting.work.join("follow.state");
    let args = ["follow", &server.issuer, &file.to_string_lossy(), &state.to_string_lossy()];
    let measured = (|| {
        let (first, first_line) = Process::start(&setting.bench, &args)?;
        revoke(&server, count / MORE)?;
        let loaded = heard(first, &first_line, count + count / MORE)?;
        let (again, again_line) = Process::start(&setting.bench, &args)?;
        Ok::<_, String>((loaded, heard(again, &again_line, count + count / MORE)?))
    })();
    let _ = std::fs::remove_file(&file);
    let _ = std::fs::remove_dir_all(&state);
    let (loaded, restarted) = measured?;
    let figure = |what: &str, seen: &Seen, target: Target| Figure {
        scenario: SCENARIO,
        what: format!("{what}, {} revoked ids", number(count as f64, "")),
        value: seen.peak_kib as f64 * 1024.0 / 1e6,
        unit: "MB",
        target,
        beside: format!("the whole process; it knew all of them after {} ms", seen.connected),
    };
    Ok(vec![
        figure("peak of a Verifier that fetches them, and deltas", &loaded, Target::AtMost(64.0)),
        figure("peak of one that reads what it kept", &restarted, Target::AtMost(64.0)),
    ])
}

/// What one process says, and what it took.
struct Seen {
    connected: u64,
    peak_kib: u64,
}

/// Gives a process the time to hear the last and to keep it, and looks at what it took at most.
fn heard(mut process: Process, first: &str, count: usize) -> Answer<Seen> {
    let connected = first.strip_prefix("connected ").and_then(|ms| ms.parse().ok());
    let connected = connected.ok_or_else(|| format!("it says `{first}`"))?;
    ambient::sleep(HEARD_AND_KEPT);
    let peak_kib = machine::peak_kib(process.pid())?;
    let known: usize = process.finish()?.parse().map_err(|_| "it does not say how many")?;
    if known < count {
        return Err(format!("it knows of {known} and not of {count}"));
    }
    Ok(Seen { connected, peak_kib })
}

/// Ends that many tokens that nobody has, over the API.
fn revoke(server: &Server, count: usize) -> Answer<()> {
    let next = AtomicUsize::new(0);
    let work = |seed: u64| -> Answer<()> {
        let (mut admin, mut numbers) = (server.admin()?, ambient::Numbers::new(seed));
        while next.fetch_add(1, Ordering::Relaxed) < count {
            let millis = ambient::now().micros() as u64 / 1000;
            let target = TokenId::new(millis, numbers.ten()).to_string();
            admin.post("/v1/revocations", &json!({"target": target, "reason": "measured"}))?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let start = |seed| scope.spawn(move || work(seed));
        let threads: Vec<_> = (0..REVOKERS as u64).map(start).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| "a revoker panicked".to_owned())?)
    })
}

/// The program's entry for a process that follows: says when it knows all there was, goes on until
/// its standard input ends, and says how many entries it has.
pub(crate) fn follow(issuer: &str, key: &Path, state: &Path) -> Answer<()> {
    let begun = ambient::instant();
    let key = std::fs::read_to_string(key).map_err(|error| error.to_string())?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let builder = Verifier::builder(issuer, AUDIENCE).credential(&key).state_dir(state);
    let verifier = runtime.block_on(builder.connect()).map_err(|error| error.to_string())?;
    println!("connected {}", begun.elapsed().as_millis());
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    println!("{}", verifier.status().map_or(0, |status| status.entries));
    Ok(())
}
