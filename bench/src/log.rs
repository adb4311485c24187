//! The log under load: whether it is integrated as fast as it grows, what an event costs on the
//! disk, and how fast its export is verified by somebody else.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::load::{Among, Script};
use crate::plan::Method;
use crate::report::{Figure, Target, number};
use crate::rounds::{CONNECTIONS, Rounds, WARM_UP};
use crate::server::Server;
use crate::{Answer, Effort, Setting, ambient, machine};

const SCENARIO: &str = "log";
/// Between two looks at how far behind integration is.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// What integration may need after the last event.
const CATCH_UP_MAX: Duration = Duration::from_secs(20);

/// Grows a log, and measures what that costs.
pub(crate) fn run(setting: &Setting, effort: Effort) -> Answer<Vec<Figure>> {
    let server = Server::start(&setting.accredit, &setting.work)?;
    let plan = server.plan(Method::Basic, CONNECTIONS)?;
    let file = setting.work.join("plan.json");
    plan.write(&file)?;
    let rounds = Rounds { program: setting.bench.clone(), plan: file, time: effort.log };
    let script = Script {
        address: server.address.clone(),
        connections: CONNECTIONS,
        warm_up: WARM_UP,
        time: effort.log,
        rate: 0.0,
        assertions: 0,
        among: Among::Own,
        may_shed: false,
    };
    let (events, size) = (integration(&server)?[0], server.size()?);
    let written = machine::written_bytes(server.pid())?;
    let (load, behind) = std::thread::scope(|scope| {
        let loading = scope.spawn(|| rounds.load(&script));
        let mut behind = Vec::new();
        while !loading.is_finished() {
            ambient::sleep(LOOK_EVERY);
            let [sequenced, integrated] = integration(&server)?;
            behind.push(sequenced.saturating_sub(integrated));
        }
        let load = loading.join().map_err(|_| "the load's thread panicked".to_owned())??;
        Ok::<_, String>((load, behind))
    })?;
    let caught_up = catch_up(&server)?;
    let events = integration(&server)?[0].saturating_sub(events).max(1) as f64;
    let most = behind.iter().copied().max().unwrap_or(0) as f64;
    let grown = server.size()?.saturating_sub(size) as f64;
    let written = machine::written_bytes(server.pid())?.saturating_sub(written) as f64;
    let mut figures = vec![
        Figure::of(
            SCENARIO,
            "most events that no signed checkpoint covered yet, of a second's",
            (100.0 * most / load.rate().max(1.0), "%"),
            Target::AtMost(200.0),
            format!(
                "{} of {} events at {}, looked at {} times; after the last event all were covered \
                 in {:.0} ms",
                number(most, ""),
                number(events, ""),
                number(load.rate(), "/s"),
                behind.len(),
                caught_up.as_secs_f64() * 1000.0
            ),
        ),
        Figure::of(
            SCENARIO,
            "store for each event",
            (grown / events, "bytes"),
            Target::None,
            "event with its payload, salt, hash and row; tree and checkpoints; the journal at \
             its size then"
                .to_owned(),
        ),
        Figure::of(
            SCENARIO,
            "write amplification",
            (written / grown.max(1.0), ""),
            Target::None,
            format!(
                "{} written for each event: journal, then pages, then tiles",
                number(written / events, "bytes")
            ),
        ),
    ];
    figures.extend(verified(setting, &server)?);
    let _ = std::fs::remove_file(&rounds.plan);
    Ok(figures)
}

/// Events that are in the log, and those of them that a signed checkpoint covers. Not asked of the
/// API: whoever asks there for the log has it integrated first.
fn integration(server: &Server) -> Answer<[u64; 2]> {
    server.metrics(["accredit_log_sequenced_events", "accredit_log_integrated_events"])
}

fn catch_up(server: &Server) -> Answer<Duration> {
    let begun = ambient::instant();
    loop {
        let [sequenced, integrated] = integration(server)?;
        if integrated >= sequenced {
            return Ok(begun.elapsed());
        }
        if begun.elapsed() > CATCH_UP_MAX {
            return Err("the log is not integrated".to_owned());
        }
        ambient::sleep(Duration::from_millis(10));
    }
}

/// Exports the log and verifies the export with the key alone, as a third party does.
fn verified(setting: &Setting, server: &Server) -> Answer<Vec<Figure>> {
    let (export, key) = (setting.work.join("log.ndjson"), setting.work.join("log.key"));
    let (export_arg, key_arg) = (export.to_string_lossy(), key.to_string_lossy());
    let accredit: &Path = &setting.accredit;
    done(server.command(accredit, &["audit", "key", "-o", &key_arg]))?;
    let begun = ambient::instant();
    done(server.command(accredit, &["audit", "export", "-o", &export_arg]))?;
    let exporting = begun.elapsed().as_secs_f64();
    let before = machine::cpu_of_children()?;
    let begun = ambient::instant();
    let verdict = done({
        let mut verify = Command::new(accredit);
        verify.args(["audit", "verify", &export_arg, "--key", &key_arg, "--output", "json"]);
        verify
    })?;
    let (took, cpu) = (begun.elapsed(), machine::cpu_of_children()?.saturating_sub(before));
    let bytes = std::fs::metadata(&export).map_err(|error| error.to_string())?.len() as f64;
    let verdict: Value = serde_json::from_str(&verdict).map_err(|error| error.to_string())?;
    let _ = (std::fs::remove_file(&export), std::fs::remove_file(&key));
    let events = verdict.get("events").and_then(Value::as_f64);
    let events = events.ok_or_else(|| format!("`audit verify` counts no events: {verdict}"))?;
    Ok(vec![
        Figure::of(
            SCENARIO,
            "`audit verify`, events a second and core",
            (events / cpu.as_secs_f64().max(0.01), "/s"),
            Target::AtLeast(200_000.0),
            format!(
                "{} events, {} each in the export; {:.2} s of processor time in {:.2} s",
                number(events, ""),
                number(bytes / events.max(1.0), "bytes"),
                cpu.as_secs_f64(),
                took.as_secs_f64()
            ),
        ),
        Figure::of(
            SCENARIO,
            "`audit export`",
            (events / exporting.max(0.01), "/s"),
            Target::None,
            format!("{exporting:.2} s from the server over HTTP into a file"),
        ),
    ])
}

/// Runs a command to its good end: what it printed.
fn done(mut command: Command) -> Answer<String> {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.map_err(|error| error.to_string())?;
    let (mut out, mut err) = (String::new(), String::new());
    if let Some(stdout) = &mut child.stdout {
        stdout.read_to_string(&mut out).map_err(|error| error.to_string())?;
    }
    if let Some(stderr) = &mut child.stderr {
        stderr.read_to_string(&mut err).map_err(|error| error.to_string())?;
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    if status.success() { Ok(out) } else { Err(format!("{status}: {err}")) }
}
