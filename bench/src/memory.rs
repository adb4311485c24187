//! What a Verifier takes for a million revoked ids: a process that follows, and nothing else.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use accredit_wire::ids::TokenId;
use serde_json::json;

use crate::report::{Figure, Target, number};
use crate::server::{Process, Server};
use crate::{Answer, Effort, Setting, ambient, machine};

const SCENARIO: &str = "memory";
/// The program that follows, beside this one.
const FOLLOWS: &str = "accredit-bench-follow";
/// Connections that revoke at a time.
const REVOKERS: usize = 32;
/// What is revoked while it follows, in so many parts of all.
const MORE: usize = 50;
/// How often memory is looked at.
const LOOKED_EVERY: Duration = Duration::from_millis(2);
/// In this time the last comes, and the state is written: four times within the age bound of a minute.
const HEARD_AND_KEPT: Duration = Duration::from_secs(20);

/// Revokes, follows, revokes more, follows again from what was kept.
pub(crate) fn run(setting: &Setting, effort: Effort) -> Answer<Vec<Figure>> {
    let server = Server::start(&setting.accredit, &setting.work)?;
    let key = server.resource()?;
    let count = effort.revoked;
    let file = setting.work.join("follow.key");
    std::fs::write(&file, &key).map_err(|error| format!("{}: {error}", file.display()))?;
    let state = setting.work.join("follow.state");
    let args = [&*server.issuer, &file.to_string_lossy(), &state.to_string_lossy()];
    let program = setting.bench.with_file_name(FOLLOWS);
    let all = count + count / MORE;
    let measured = (|| {
        let none = watched(Process::start(&program, &args)?.0, 0, || Ok(()))?;
        std::fs::remove_dir_all(&state).map_err(|error| error.to_string())?;
        revoke(&server, count)?;
        let fetches = Process::start(&program, &args)?.0;
        let loaded = watched(fetches, all, || revoke(&server, count / MORE))?;
        let again = Process::start(&program, &args)?.0;
        Ok::<_, String>((none, loaded, watched(again, all, || Ok(()))?))
    })();
    let _ = std::fs::remove_file(&file);
    let _ = std::fs::remove_dir_all(&state);
    let (none, loaded, restarted) = measured?;
    let megabytes = |kib: u64| kib as f64 * 1024.0 / 1e6;
    let figure = |what: &str, seen: &Seen, target: Target| Figure {
        scenario: SCENARIO,
        what: format!("{what}, {} revoked ids", number(count as f64, "")),
        value: megabytes(seen.peak_kib.saturating_sub(none.peak_kib)),
        unit: "MB",
        target,
        beside: format!(
            "anonymous memory of the process on the system's allocator, looked at 500 times a second: {:.1} MB, less {:.1} MB of \
             one that follows without revocations; it knew what there was after {} ms",
            megabytes(seen.peak_kib),
            megabytes(none.peak_kib),
            seen.connected
        ),
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

/// Looks at a process from its start on: while `meanwhile` is done, and until it has heard and kept
/// the last of `all`.
fn watched(
    mut process: Process,
    all: usize,
    meanwhile: impl FnOnce() -> Answer<()>,
) -> Answer<Seen> {
    let (pid, over) = (process.pid(), AtomicBool::new(false));
    let peak_kib = std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let mut peak = Ok(0);
            while let Ok(most) = peak
                && !over.load(Ordering::Relaxed)
            {
                peak = machine::anonymous_kib(pid).map(|now| now.max(most));
                ambient::sleep(LOOKED_EVERY);
            }
            peak
        });
        let done = meanwhile();
        ambient::sleep(HEARD_AND_KEPT);
        over.store(true, Ordering::Relaxed);
        let peak = looking.join().map_err(|_| "the onlooker panicked".to_owned())?;
        done.and(peak)
    })?;
    let line = process.finish()?;
    let numbers = line.split_once(' ').map(|(known, after)| (known.parse(), after.parse()));
    let Some((Ok(known), Ok(connected))) = numbers else { return Err(line) };
    let known: usize = known;
    if known < all {
        return Err(format!("it knows of {known} and not of {all}"));
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
