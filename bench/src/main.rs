//! The bench: the release binary measured from outside, beside a bare limit in the same run.
//!
//! One program with several roles, so that each role is a process of its own: `run` starts the
//! others and measures, `limit` is the bare server ([`limit`]), `load` the load generator
//! ([`load`]), `drain` the followers that only read. `accredit-bench-follow`, one Verifier, is another
//! program. One file per scenario:
//! [`issue`], [`verify`], [`bound`], [`attenuable`], [`revoke`], [`kill`], [`memory`], [`empty`], [`edge`],
//! [`overload`], [`log`], [`million`], [`postgres`].
//!
//! Absent on purpose: any knowledge of the server's inside. What a figure means, and what it does
//! not, stands in `docs/performance.md`.
#![expect(clippy::print_stdout, reason = "roles talk to each other and to people by stdout")]

mod ambient;
mod attenuable;
mod bound;
mod client;
#[path = "../../crates/store/tests/postgres/cluster.rs"]
#[expect(clippy::expect_used, dead_code, reason = "as the tests start it")]
mod cluster;
mod edge;
mod empty;
mod histogram;
mod issue;
mod kill;
mod limit;
mod load;
mod log;
mod machine;
mod memory;
mod million;
mod overload;
mod plan;
mod postgres;
mod report;
mod revoke;
mod rounds;
mod server;
mod verify;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use machine::Machine;
use plan::Method;
use report::{Figure, Report};

/// The allocator of the product, so that the limit has it too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USAGE: &str = "\
usage: accredit-bench run --accredit FILE --work FOLDER [--markdown FILE] [--json FILE]
                          [--quick] [--registry FOLDER] [SCENARIO…]

--registry FOLDER keeps the million agents there, and uses them again

scenarios: empty verify bound attenuable revoke kill memory issue assertion exchange certificate
overload log edge million postgres million-postgres (all where none is named)
exit code: 0 every target met, 1 one missed or not measured, 2 usage
";

/// What a step answers, or why it could not.
type Answer<T> = Result<T, String>;

/// Every scenario, in the order of measuring.
const SCENARIOS: [&str; 17] = [
    "empty",
    "verify",
    "bound",
    "attenuable",
    "revoke",
    "kill",
    "memory",
    "issue",
    "assertion",
    "exchange",
    "certificate",
    "overload",
    "log",
    "edge",
    "million",
    "postgres",
    "million-postgres",
];

/// How much is measured.
#[derive(Clone, Copy)]
struct Effort {
    /// Rounds of each comparison.
    rounds: usize,
    /// Time of one round.
    round: Duration,
    /// Time of the open loop.
    open_loop: Duration,
    /// Revocations for each number of followers.
    revocations: usize,
    /// Live copies of the agent that is killed, and how often it is.
    descendants: usize,
    kills: usize,
    /// Revoked ids that one Verifier holds.
    revoked: usize,
    /// Instances that renew their certificates.
    instances: usize,
    /// Processes of one machine.
    workloads: usize,
    /// Time for which too much is asked for.
    overload: Duration,
    /// Agents of a large registry, and how many of them are active.
    agents: (usize, usize),
    /// Time for which the log grows.
    log: Duration,
}

const FULL: Effort = Effort {
    rounds: 9,
    round: Duration::from_secs(2),
    open_loop: Duration::from_secs(20),
    revocations: 200,
    descendants: 100_000,
    kills: 20,
    revoked: 1_000_000,
    instances: 100_000,
    workloads: 1_000,
    overload: Duration::from_mins(1),
    agents: (1_000_000, 200_000),
    log: Duration::from_secs(30),
};

const QUICK: Effort = Effort {
    rounds: 3,
    round: Duration::from_secs(1),
    open_loop: Duration::from_secs(4),
    revocations: 20,
    descendants: 2_000,
    kills: 4,
    revoked: 6_000,
    instances: 2_000,
    workloads: 100,
    overload: Duration::from_secs(10),
    agents: (20_000, 4_000),
    log: Duration::from_secs(5),
};

/// What is measured, and where.
struct Setting {
    accredit: PathBuf,
    bench: PathBuf,
    work: PathBuf,
    registry: Option<PathBuf>,
    device: String,
}

fn main() -> ExitCode {
    let args = ambient::args();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["run", options @ ..] => match Options::parse(options) {
            Some(options) => run(&options),
            None => return usage(),
        },
        ["limit", plan] => limit::serve(Path::new(plan)).map(|()| 0),
        ["load", plan, script] => rounds::load(Path::new(plan), script).map(|()| 0),
        ["ask", socket] => edge::ask(Path::new(socket)).map(|()| 0),
        ["drain", address, path, key, count] => match count.parse() {
            Ok(count) => revoke::drain(address, path, Path::new(key), count).map(|()| 0),
            Err(_) => return usage(),
        },
        _ => return usage(),
    };
    match done {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprint!("{USAGE}");
    ExitCode::from(2)
}

#[derive(Default)]
struct Options {
    accredit: PathBuf,
    work: PathBuf,
    markdown: Option<PathBuf>,
    json: Option<PathBuf>,
    registry: Option<PathBuf>,
    quick: bool,
    scenarios: Vec<String>,
}

impl Options {
    fn parse(words: &[&str]) -> Option<Self> {
        let mut options = Self::default();
        let mut words = words.iter().copied();
        while let Some(word) = words.next() {
            match word {
                "--accredit" => options.accredit = words.next()?.into(),
                "--work" => options.work = words.next()?.into(),
                "--markdown" => options.markdown = Some(words.next()?.into()),
                "--json" => options.json = Some(words.next()?.into()),
                "--registry" => options.registry = Some(words.next()?.into()),
                "--quick" => options.quick = true,
                name if SCENARIOS.contains(&name) => options.scenarios.push(name.to_owned()),
                _ => return None,
            }
        }
        let complete =
            !options.accredit.as_os_str().is_empty() && !options.work.as_os_str().is_empty();
        complete.then_some(options)
    }

    fn wants(&self, scenario: &str) -> bool {
        self.scenarios.is_empty() || self.scenarios.iter().any(|wanted| wanted == scenario)
    }
}

/// Measures, and returns how many targets were missed or not measured.
fn run(options: &Options) -> Answer<usize> {
    let failed = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    std::fs::create_dir_all(&options.work).map_err(|e| failed(&options.work, e))?;
    let machine = Machine::look(&options.work)?;
    let setting = Setting {
        accredit: options.accredit.clone(),
        bench: std::env::current_exe().map_err(|error| error.to_string())?,
        work: options.work.clone(),
        registry: options.registry.clone(),
        device: machine.device.clone(),
    };
    let effort = if options.quick { QUICK } else { FULL };
    let (mut figures, mut unmeasured) = (Vec::new(), 0);
    for name in SCENARIOS.into_iter().filter(|name| options.wants(name)) {
        eprintln!("measuring: {name}");
        match scenario(name, &setting, effort) {
            Ok(measured) => figures.extend(measured),
            Err(why) => {
                eprintln!("error: {name}: {why}");
                unmeasured += 1;
            }
        }
    }
    let date = ambient::now().to_string();
    let report = Report { machine, date, quick: options.quick, figures, unmeasured };
    let table = report.markdown();
    println!("{table}");
    if let Some(path) = &options.markdown {
        std::fs::write(path, table).map_err(|e| failed(path, e))?;
    }
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?;
        std::fs::write(path, text + "\n").map_err(|e| failed(path, e))?;
    }
    Ok(report.missed() + unmeasured)
}

fn scenario(name: &str, setting: &Setting, effort: Effort) -> Answer<Vec<Figure>> {
    match name {
        "issue" => issue::run(setting, effort, Method::Basic),
        "assertion" => issue::run(setting, effort, Method::Assertion),
        "exchange" => issue::run(setting, effort, Method::Exchange),
        "certificate" => issue::run(setting, effort, Method::Certificate),
        "verify" => verify::run(effort),
        "bound" => bound::run(effort),
        "attenuable" => attenuable::run(effort),
        "revoke" => revoke::run(setting, effort),
        "kill" => kill::run(setting, effort),
        "memory" => memory::run(setting, effort),
        "empty" => empty::run(setting, effort),
        "overload" => overload::run(setting, effort),
        "log" => log::run(setting, effort),
        "edge" => edge::run(setting, effort),
        "million" => million::run(setting, effort),
        "postgres" => postgres::run(setting, effort),
        "million-postgres" => postgres::million(setting, effort),
        other => Err(format!("no scenario `{other}`")),
    }
}
