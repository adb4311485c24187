//! A server with nothing in it: how fast it is there, and how much memory it takes.

use std::time::Duration;

use crate::report::{Figure, Target, median, spread};
use crate::server::Server;
use crate::{Answer, Effort, Setting, ambient, machine};

const SCENARIO: &str = "empty";
/// After the start, so that what is loaded lazily is counted.
const SETTLE: Duration = Duration::from_secs(1);

/// Measures starts on new folders, memory after them, and the binary.
pub(crate) fn run(setting: &Setting, effort: Effort) -> Answer<Vec<Figure>> {
    let (mut starts, mut resident) = (Vec::new(), Vec::new());
    for round in 0..effort.rounds {
        let server = Server::start(&setting.accredit, &setting.work)?;
        starts.push(server.ready_after.as_secs_f64() * 1000.0);
        if round < 3 {
            ambient::sleep(SETTLE);
            resident.push(machine::resident_kib(server.pid())? as f64 / 1000.0 * 1.024);
        }
    }
    let file = std::fs::metadata(&setting.accredit);
    let file = file.map_err(|error| format!("{}: {error}", setting.accredit.display()))?;
    let figure = |what: &str, value, unit, most, beside| {
        let what = what.to_owned();
        Figure { scenario: SCENARIO, what, value, unit, target: Target::AtMost(most), beside }
    };
    let beside =
        format!("{} starts on new folders, store created: {}", starts.len(), spread(&starts, "ms"));
    Ok(vec![
        figure("process started until `/readyz` says yes", median(&starts), "ms", 150.0, beside),
        figure("resident a second later", median(&resident), "MB", 40.0, spread(&resident, "MB")),
        figure(
            "release binary",
            file.len() as f64 / 1e6,
            "MB",
            40.0,
            "as the release profile builds it".to_owned(),
        ),
    ])
}
