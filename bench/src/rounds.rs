//! Rounds of load from a process of its own against a server, and what each of them cost it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::load::{Among, Load, Script};
use crate::{Answer, ambient, machine};

/// Connections that are kept alive, and clients that take turns on them.
pub(crate) const CONNECTIONS: usize = 64;
/// Sent before a round counts.
pub(crate) const WARM_UP: Duration = Duration::from_millis(300);
/// After a round, so that what the server puts off is done, and charged to it, before the other
/// side's turn.
const PAUSE: Duration = Duration::from_millis(1200);
/// Assertions to sign for each second of a round: more than any side answers.
const ASSERTIONS_A_SECOND: f64 = 40_000.0;

/// One side of the comparison.
pub(crate) struct Side {
    pub(crate) pid: u32,
    pub(crate) address: String,
    pub(crate) rates: Vec<f64>,
    pub(crate) cpu: Vec<f64>,
    pub(crate) load_cpu: Vec<f64>,
    pub(crate) answered: u64,
}

impl Side {
    /// Nothing measured yet.
    pub(crate) fn new(pid: u32, address: &str) -> Self {
        let address = address.to_owned();
        Self { pid, address, rates: vec![], cpu: vec![], load_cpu: vec![], answered: 0 }
    }
}

/// How rounds are run.
pub(crate) struct Rounds {
    /// This program, as load generator.
    pub(crate) program: PathBuf,
    /// Who asks for what.
    pub(crate) plan: PathBuf,
    /// Time of one round.
    pub(crate) time: Duration,
}

impl Rounds {
    /// One closed-loop round against one side.
    pub(crate) fn round(&self, side: &mut Side, among: Among) -> Answer<()> {
        let time = self.time;
        let assertions = ASSERTIONS_A_SECOND * (time + WARM_UP).as_secs_f64();
        let script = Script {
            address: side.address.clone(),
            connections: CONNECTIONS,
            warm_up: WARM_UP,
            time,
            rate: 0.0,
            assertions: assertions as usize,
            among,
            may_shed: false,
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
    pub(crate) fn load(&self, script: &Script) -> Answer<Load> {
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
            Load { failed: 1.., .. } => {
                Err(format!("{} requests were not sent in their time", load.failed))
            }
            Load { ran_dry: true, .. } => Err("what was prepared did not last".to_owned()),
            _ => Ok(load),
        }
    }
}

/// The program's entry for the load generator: a plan's file and a script as JSON.
pub(crate) fn load(plan: &Path, script: &str) -> Answer<()> {
    let plan = crate::plan::Plan::read(plan)?;
    let script: Script = serde_json::from_str(script).map_err(|error| error.to_string())?;
    let load = crate::load::run(&plan, &script)?;
    println!("{}", serde_json::to_string(&load).map_err(|error| error.to_string())?);
    Ok(())
}
