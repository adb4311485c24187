//! The daemon of a node: what it takes with nothing to do and with many processes, and how soon a process
//! has its first certificate.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use crate::client::text;
use crate::report::{Figure, Target, median, number, spread};
use crate::server::{self, Process, Server};
use crate::{Answer, Effort, Setting, ambient, machine};

const SCENARIO: &str = "edge";
const AGENT: &str = "workload";
const NODE: &str = "machine";
/// Births that the rule lets through in an hour.
const BIRTHS: &str = "10000";
/// After the start, and after the last birth, so that what is done once is over.
const SETTLE: Duration = Duration::from_secs(2);
/// How long a process waits for its answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

/// Starts a node and processes one after the other, all of which stay and keep their connection.
pub(crate) fn run(setting: &Setting, effort: Effort) -> Answer<Vec<Figure>> {
    let folder = setting.work.join(format!("edge-{:016x}", ambient::Numbers::fresh().next()));
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let measured = measured(setting, effort, &folder);
    let _ = std::fs::remove_dir_all(&folder);
    measured
}

fn measured(setting: &Setting, effort: Effort, folder: &Path) -> Answer<Vec<Figure>> {
    let (server, socket) =
        (Server::start(&setting.accredit, &setting.work)?, folder.join("socket"));
    let token = invited(&server, setting, folder)?;
    let (token, at) = (token.to_string_lossy(), socket.to_string_lossy().into_owned());
    let words = ["edge", "run", "--issuer", &server.issuer, "--join-token-file", &token];
    let more = ["--socket", &at, "--output", "json"];
    let (daemon, _) = Process::start(&setting.accredit, &[&words[..], &more].concat())?;
    ambient::sleep(SETTLE);
    let empty = machine::resident_kib(daemon.pid())?;
    let (mut processes, mut took) = (Vec::new(), Vec::new());
    for _ in 0..effort.workloads {
        let (process, line) = Process::start(&setting.bench, &["ask", &at])?;
        took.push(line.parse::<f64>().map_err(|_| line)? / 1000.0);
        processes.push(process);
    }
    ambient::sleep(SETTLE);
    let full = machine::resident_kib(daemon.pid())?;
    drop(processes);
    took.sort_by(f64::total_cmp);
    let megabytes = |kib: u64| kib as f64 * 1024.0 / 1e6;
    let count = number(effort.workloads as f64, "");
    let figure = |what: String, value, unit, most, beside| {
        let target = Target::AtMost(most);
        Figure { scenario: SCENARIO, what, value, unit, target, beside }
    };
    let kept = "each with a certificate, a key and an open connection".to_owned();
    let worst = took.last().copied().unwrap_or(f64::INFINITY);
    let all = format!("one after the other, each a process of its own: {}", spread(&took, "ms"));
    Ok(vec![
        figure("resident, no process".into(), megabytes(empty), "MB", 20.0, "joined".into()),
        figure(format!("resident, {count} processes"), megabytes(full), "MB", 60.0, kept),
        figure("first certificate after the call".into(), median(&took), "ms", 100.0, all),
        Figure {
            scenario: SCENARIO,
            what: "the slowest of them".into(),
            value: worst,
            unit: "ms",
            target: Target::None,
            beside: format!("of {count}"),
        },
    ])
}

/// A file with a join token, and a rule for this program.
fn invited(server: &Server, setting: &Setting, folder: &Path) -> Answer<PathBuf> {
    server.resource()?;
    let mut admin = server.admin()?;
    for name in [AGENT, NODE] {
        server::agent(&mut admin, name)?;
    }
    let program = format!("path={}", setting.bench.display());
    let words = ["attest", "rule", "add", "--agent", AGENT, "--edge", NODE, "--claim", &program];
    let mut rule =
        server.command(&setting.accredit, &[&words[..], &["--births-per-hour", BIRTHS]].concat());
    let made = rule.output().map_err(|error| error.to_string())?;
    if !made.status.success() {
        return Err(format!("no rule: {}", String::from_utf8_lossy(&made.stderr)));
    }
    let token = admin.post("/v1/credentials", &json!({"agent": NODE, "type": "join-token"}))?;
    let file = folder.join("join-token");
    let failed = |error: std::io::Error| format!("{}: {error}", file.display());
    std::fs::write(&file, text(&token, "join_token")?).map_err(failed)?;
    for (path, mode) in [(&*file, 0o600), (folder, 0o755)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
    }
    Ok(file)
}

/// What each process does: asks, says how many microseconds it took until it had a certificate, and waits
/// until its input ends.
pub(crate) fn ask(socket: &Path) -> Answer<()> {
    let failed = |error: std::io::Error| error.to_string();
    let begun = ambient::instant();
    let mut stream = UnixStream::connect(socket).map_err(failed)?;
    stream.set_read_timeout(Some(ANSWER_TIME_MAX)).map_err(failed)?;
    let asked = b"GET /status HTTP/1.1\r\nHost: localhost\r\nworkload.spiffe.io: true\r\n\r\n";
    stream.write_all(asked).map_err(failed)?;
    let (mut answer, mut piece) = (Vec::new(), [0u8; 4096]);
    while !answer.ends_with(b"}") {
        match stream.read(&mut piece).map_err(failed)? {
            0 => return Err("no answer".into()),
            count => answer.extend_from_slice(&piece[..count]),
        }
    }
    let took = begun.elapsed().as_micros();
    let answer = String::from_utf8_lossy(&answer);
    if !answer.starts_with("HTTP/1.1 200 ") || !answer.contains("\"spiffe_id\"") {
        return Err(format!("refused: {answer}"));
    }
    println!("{took}");
    let _ = std::io::stdin().read(&mut piece);
    Ok(())
}
