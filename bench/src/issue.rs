//! Issuing over HTTP: the real server against the limit, in turns under the same load.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::load::{Load, Script};
use crate::plan::Method;
use crate::report::{Figure, Target, median, number, spread};
use crate::server::{Process, Server, first_token};
use crate::{Answer, Effort, Setting, ambient, machine};

/// Connections that are kept alive, and clients that take turns on them.
const CONNECTIONS: usize = 64;
/// Sent before a round counts.
const WARM_UP: Duration = Duration::from_millis(300);
/// After a round, so that what the server puts off is done, and charged to it, before the other
/// side's turn.
const PAUSE: Duration = Duration::from_millis(1200);
/// Assertions a second to sign before anything is known of the rate.
const RATE_GUESS: f64 = 40_000.0;
/// By how much a token of the limit may be shorter or longer than ours.
const LENGTH_TOLERANCE: f64 = 0.05;

/// One side of the comparison.
struct Side {
    pid: u32,
    address: String,
    rates: Vec<f64>,
    cpu: Vec<f64>,
    load_cpu: Vec<f64>,
    answered: u64,
}

impl Side {
    fn new(pid: u32, address: &str) -> Self {
        let address = address.to_owned();
        Self { pid, address, rates: vec![], cpu: vec![], load_cpu: vec![], answered: 0 }
    }
}

/// What a method is called, and what is promised of it.
struct Promise {
    scenario: &'static str,
    ratio: f64,
    rate: Option<f64>,
}

fn promise(method: Method) -> Promise {
    match method {
        Method::Basic => Promise { scenario: "issue", ratio: 60.0, rate: Some(7000.0) },
        Method::Assertion => Promise { scenario: "assertion", ratio: 70.0, rate: None },
    }
}

/// Measures one method, and for secrets also the open loop.
pub(crate) fn run(setting: &Setting, effort: Effort, method: Method) -> Answer<Vec<Figure>> {
    let server = Server::start(&setting.accredit, &setting.work)?;
    let plan = server.plan(method, CONNECTIONS)?;
    let file = setting.work.join("plan.json");
    plan.write(&file)?;
    let (limit, address) = Process::start(&setting.bench, &["limit", &file.to_string_lossy()])?;
    let lengths = same_length(
        first_token(&plan, &server.address)?.len(),
        first_token(&plan, &address)?.len(),
    )?;
    let mut ours = Side::new(server.pid(), &server.address);
    let mut theirs = Side::new(limit.pid(), &address);
    let bench = Bench { program: setting.bench.clone(), plan: file, effort };
    let device = &setting.device;
    let mut flushes = Some(0);
    for round in 0..effort.rounds {
        if round % 2 == 1 {
            bench.round(&mut theirs)?;
        }
        let before = machine::flushes(device);
        bench.round(&mut ours)?;
        let after = machine::flushes(device);
        flushes = flushes.zip(before).zip(after).map(|((sum, from), to)| sum + to - from);
        if round % 2 == 0 {
            bench.round(&mut theirs)?;
        }
    }
    let promised = promise(method);
    let mut figures = compared(&promised, &ours, &theirs, &lengths);
    figures.push(synced(promised.scenario, &ours, flushes));
    if method == Method::Basic {
        figures.extend(open_loop(&bench, &ours)?);
    }
    let kib = machine::resident_kib(server.pid())? as f64;
    figures.push(Figure {
        scenario: promised.scenario,
        what: "resident after all rounds".to_owned(),
        value: kib / 1024.0,
        unit: "MiB",
        target: Target::None,
        beside: format!("{} tokens issued by this process", number(ours.answered as f64, "")),
    });
    drop(limit);
    // Its secrets are worth nothing any more, but need not lie about.
    let _ = std::fs::remove_file(&bench.plan);
    Ok(figures)
}

/// How rounds are run.
struct Bench {
    program: PathBuf,
    plan: PathBuf,
    effort: Effort,
}

impl Bench {
    /// One closed-loop round against one side.
    fn round(&self, side: &mut Side) -> Answer<()> {
        let time = self.effort.round;
        let known = side.rates.iter().copied().fold(0.0, f64::max);
        let estimate = if known > 0.0 { known * 1.6 } else { RATE_GUESS };
        let assertions = estimate * (time + WARM_UP).as_secs_f64();
        let script = Script {
            address: side.address.clone(),
            connections: CONNECTIONS,
            warm_up: WARM_UP,
            time,
            rate: 0.0,
            assertions: assertions as usize,
        };
        let before = machine::cpu_of(side.pid)?;
        let load = self.load(&script)?;
        ambient::sleep(PAUSE);
        let used = machine::cpu_of(side.pid)?.saturating_sub(before);
        side.rates.push(load.rate());
        side.cpu.push(used.as_secs_f64() * 1e6 / load.answered.max(1) as f64);
        side.load_cpu.push(load.cpu_per_request);
        side.answered += load.answered;
        Ok(())
    }

    /// Runs the load generator. An answer that is no token makes the whole run worthless.
    fn load(&self, script: &Script) -> Answer<Load> {
        let script = serde_json::to_string(script).map_err(|error| error.to_string())?;
        let mut command = Command::new(&self.program);
        command.arg("load").arg(&self.plan).arg(script).stderr(Stdio::inherit());
        let output = command.output().map_err(|error| error.to_string())?;
        let load: Load = serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("the load generator ended badly: {error}"))?;
        match &load {
            Load { first_failure: Some(why), failed, .. } => {
                Err(format!("{failed} requests failed; the first: {why}"))
            }
            Load { ran_dry: true, .. } => Err("the prepared assertions did not last".to_owned()),
            _ => Ok(load),
        }
    }
}

fn same_length(ours: usize, limit: usize) -> Answer<String> {
    let ratio = limit as f64 / ours as f64;
    if (ratio - 1.0).abs() > LENGTH_TOLERANCE {
        return Err(format!("the limit's token has {limit} bytes and ours {ours}"));
    }
    Ok(format!("tokens of {ours} and {limit} bytes"))
}

fn compared(promised: &Promise, ours: &Side, theirs: &Side, lengths: &str) -> Vec<Figure> {
    let scenario = promised.scenario;
    let pairs = |a: &[f64], b: &[f64]| -> Vec<f64> {
        a.iter().zip(b).map(|(a, b)| 100.0 * a / b).collect()
    };
    let ratios = pairs(&ours.rates, &theirs.rates);
    let cpu = pairs(&theirs.cpu, &ours.cpu);
    let (rate, limit) = (median(&ours.rates), median(&theirs.rates));
    let rates = format!(
        "{} against {}, closed loop, {CONNECTIONS} connections; {} rounds, ratios {}; {lengths}",
        number(rate, "/s"),
        number(limit, "/s"),
        ratios.len(),
        spread(&ratios, "%")
    );
    let figure = |what: &str, value, unit, target, beside| {
        let what = what.to_owned();
        Figure { scenario, what, value, unit, target, beside }
    };
    vec![
        figure("of the limit's rate", median(&ratios), "%", Target::AtLeast(promised.ratio), rates),
        figure(
            "tokens, each durable before it is visible",
            rate,
            "/s",
            promised.rate.map_or(Target::None, Target::AtLeast),
            format!("rounds {}", spread(&ours.rates, "/s")),
        ),
        figure(
            "server CPU per token",
            median(&ours.cpu),
            "µs",
            Target::None,
            format!(
                "limit {}; by CPU alone {} of the limit; load generator {}",
                number(median(&theirs.cpu), "µs"),
                number(median(&cpu), "%"),
                number(median(&ours.load_cpu), "µs")
            ),
        ),
    ]
}

fn synced(scenario: &'static str, ours: &Side, flushes: Option<u64>) -> Figure {
    let flushes = flushes.unwrap_or(0) as f64;
    let value = if flushes > 0.0 { ours.answered as f64 / flushes } else { 0.0 };
    let beside = format!(
        "{} flushes that the disk completed for {} tokens",
        number(flushes, ""),
        number(ours.answered as f64, "")
    );
    let what = "tokens per disk flush".to_owned();
    Figure { scenario, what, value, unit: "", target: Target::None, beside }
}

/// Half of what the closed loop reached, sent whatever the server does.
fn open_loop(bench: &Bench, ours: &Side) -> Answer<Vec<Figure>> {
    let rate = median(&ours.rates) / 2.0;
    let script = Script {
        address: ours.address.clone(),
        connections: CONNECTIONS,
        warm_up: WARM_UP,
        time: bench.effort.open_loop,
        rate,
        assertions: 0,
    };
    let load = bench.load(&script)?;
    let [half, p90, p99, p999, most] = load.quantiles.map(|micros| micros as f64 / 1000.0);
    let beside = format!(
        "{} sent for {:.0} s, from the intended send time: p50 {half:.2}, p90 {p90:.2}, \
         p99.9 {p999:.2}, longest {most:.2} ms",
        number(rate, "/s"),
        load.seconds
    );
    let what = "p99, open loop at half the maximum".to_owned();
    let target = Target::AtMost(10.0);
    Ok(vec![Figure { scenario: "issue", what, value: p99, unit: "ms", target, beside }])
}

/// The program's entry for the load generator: a plan's file and a script as JSON.
pub(crate) fn load(plan: &Path, script: &str) -> Answer<()> {
    let plan = crate::plan::Plan::read(plan)?;
    let script: Script = serde_json::from_str(script).map_err(|error| error.to_string())?;
    let load = crate::load::run(&plan, &script)?;
    println!("{}", serde_json::to_string(&load).map_err(|error| error.to_string())?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_with_other_tokens_is_refused() {
        assert!(same_length(800, 839).is_ok());
        assert!(same_length(800, 841).is_err());
        assert!(same_length(800, 759).is_err());
    }
}
