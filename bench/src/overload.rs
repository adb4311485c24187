//! Twice what the server can do is asked of it: what is too much is told to come back, memory stays
//! bounded, and a second later the server is as fast as before.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::load::{Among, Script};
use crate::plan::Method;
use crate::report::{Figure, Target, median, number};
use crate::rounds::{CONNECTIONS, Rounds, Side, WARM_UP};
use crate::server::Server;
use crate::{Answer, Effort, Setting, ambient, machine};

const SCENARIO: &str = "overload";
/// Connections that ask for too much: far more than the server works on at a time.
const CROWD: usize = 3_000;
/// Between two looks at the server's memory.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// What the server is given to come to itself.
const RECOVERY: Duration = Duration::from_secs(1);

/// Measures the limit, asks for twice as much, and measures the limit again.
pub(crate) fn run(setting: &Setting, effort: Effort) -> Answer<Vec<Figure>> {
    let server = Server::start(&setting.accredit, &setting.work)?;
    let plan = server.plan(Method::Basic, CONNECTIONS)?;
    let file = setting.work.join("plan.json");
    plan.write(&file)?;
    let rounds = Rounds { program: setting.bench.clone(), plan: file, time: effort.round };
    let mut before = Side::new(server.pid(), &server.address);
    for _ in 0..effort.rounds {
        rounds.round(&mut before, Among::Own)?;
    }
    let limit = median(&before.rates);
    let memory = machine::anonymous_kib(server.pid())?;
    let script = Script {
        address: server.address.clone(),
        connections: CROWD,
        warm_up: WARM_UP,
        time: effort.overload,
        rate: 2.0 * limit,
        assertions: 0,
        among: Among::Own,
        may_shed: true,
    };
    let (ended, pid) = (AtomicBool::new(false), server.pid());
    let (load, most) = std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let mut most = 0;
            while !ended.load(Ordering::Relaxed) {
                most = most.max(machine::anonymous_kib(pid).unwrap_or(0));
                ambient::sleep(LOOK_EVERY);
            }
            most
        });
        let load = rounds.load(&script);
        ended.store(true, Ordering::Relaxed);
        (load, looking.join().unwrap_or(u64::MAX))
    });
    let load = load?;
    ambient::sleep(RECOVERY);
    let mut after = Side::new(server.pid(), &server.address);
    rounds.round(&mut after, Among::Own)?;
    let _ = std::fs::remove_file(&rounds.plan);
    let figure = |what: &str, (value, unit), target, beside| {
        let what = what.to_owned();
        Figure { scenario: SCENARIO, what, value, unit, target, beside }
    };
    let asked = load.counted + load.shed;
    Ok(vec![
        figure(
            "tokens given while twice the limit is asked for, of the limit",
            (100.0 * load.rate() / limit, "%"),
            Target::None,
            format!(
                "{} of {}; asked for {} over {CROWD} connections for {:.0} s: {} answers, {} of \
                 them 503 with `Retry-After`; p99 of the tokens from the intended send time \
                 {:.0} ms",
                number(load.rate(), "/s"),
                number(limit, "/s"),
                number(2.0 * limit, "/s"),
                load.seconds,
                number(asked as f64, ""),
                number(load.shed as f64, ""),
                load.quantiles[2] as f64 / 1000.0
            ),
        ),
        figure(
            "anonymous memory meanwhile, at most",
            (most as f64 * 1.024 / 1000.0, "MB"),
            Target::AtMost(250.0),
            format!("{} MB before", memory / 1000),
        ),
        figure(
            "speed a second later, of the limit",
            (100.0 * median(&after.rates) / limit, "%"),
            Target::AtLeast(85.0),
            number(median(&after.rates), "/s"),
        ),
    ])
}
