//! Issuing over HTTP: the real server against the limit, in turns under the same load.

use crate::load::{Among, Script};
use crate::plan::Method;
use crate::report::{Figure, Target, median, number, spread};
use crate::rounds::{CONNECTIONS, Rounds, Side, WARM_UP};
use crate::server::{Process, Server, first_token};
use crate::{Answer, Effort, Setting, machine};

/// By how much a token of the limit may be shorter or longer than ours.
const LENGTH_TOLERANCE: f64 = 0.05;

/// Instances that ask for certificates again and again, and are in the server's memory. With fewer each would
/// have many more certificates after all rounds than the few of one that renews.
const INSTANCES_AT_WORK: usize = 32_000;
/// Half of the longest life of a certificate.
const HALF_LIFE_SECONDS: f64 = 1800.0;
/// Tokens to be exchanged for each second of a round: more than any side answers.
const SUBJECTS_A_SECOND: f64 = 26_000.0;

/// What a method is called, and what is promised of it.
struct Promise {
    scenario: &'static str,
    /// What is issued: one, and several.
    what: [&'static str; 2],
    ratio: f64,
    rate: Option<f64>,
}

fn promise(method: Method) -> Promise {
    let what = ["token", "tokens"];
    match method {
        Method::Basic => Promise { scenario: "issue", what, ratio: 60.0, rate: Some(7000.0) },
        Method::Assertion => Promise { scenario: "assertion", what, ratio: 70.0, rate: None },
        Method::Exchange => Promise { scenario: "exchange", what, ratio: 60.0, rate: None },
        Method::Certificate => {
            let what = ["certificate", "certificates"];
            Promise { scenario: "certificate", what, ratio: 50.0, rate: None }
        }
    }
}

/// Measures one method, and for secrets also the open loop.
pub(crate) fn run(setting: &Setting, effort: Effort, method: Method) -> Answer<Vec<Figure>> {
    let server = Server::start(&setting.accredit, &setting.work)?;
    let clients = if method == Method::Certificate { effort.instances } else { CONNECTIONS };
    let mut plan = server.plan(method, clients)?;
    let file = setting.work.join("plan.json");
    plan.write(&file)?;
    let (limit, address) = Process::start(&setting.bench, &["limit", &file.to_string_lossy()])?;
    let lengths = same_length(
        first_token(&plan, &server.address)?.len(),
        first_token(&plan, &address)?.len(),
    )?;
    let mut ours = Side::new(server.pid(), &server.address);
    let mut theirs = Side::new(limit.pid(), &address);
    let rounds = Rounds { program: setting.bench.clone(), plan: file, time: effort.round };
    let device = &setting.device;
    let mut flushes = Some(0);
    for round in 0..effort.rounds {
        if method == Method::Exchange {
            // Others for each round, and the same for both sides: whoever remembers a token that it
            // has verified has not seen these.
            let wanted = SUBJECTS_A_SECOND * (effort.round + WARM_UP).as_secs_f64();
            plan.subjects = server.subjects(wanted as usize)?;
            plan.write(&rounds.plan)?;
        }
        let among = match method {
            Method::Certificate => {
                Among::InTurn { from: 0, clients: INSTANCES_AT_WORK.min(clients) }
            }
            _ => Among::Own,
        };
        if round % 2 == 1 {
            rounds.round(&mut theirs, among)?;
        }
        let before = machine::flushes(device);
        rounds.round(&mut ours, among)?;
        let after = machine::flushes(device);
        flushes = flushes.zip(before).zip(after).map(|((sum, from), to)| sum + to - from);
        if round % 2 == 0 {
            rounds.round(&mut theirs, among)?;
        }
    }
    let promised = promise(method);
    let mut figures = compared(&promised, &ours, &theirs, &lengths);
    figures.push(synced(&promised, &ours, flushes));
    if method == Method::Certificate {
        let mut rarely = Side::new(server.pid(), &server.address);
        for round in 0..effort.rounds {
            // Others in each round: what the server knows of them is in its store alone.
            let from = INSTANCES_AT_WORK.min(clients) + round * (clients / effort.rounds);
            rounds.round(&mut rarely, Among::InTurn { from, clients })?;
        }
        figures.push(renewing(&promised, clients, &rarely));
    }
    if method == Method::Basic {
        figures.push(open_loop(promised.scenario, (&rounds, &ours), effort, 10.0)?);
    }
    let kib = machine::resident_kib(server.pid())? as f64;
    figures.push(Figure {
        scenario: promised.scenario,
        what: "resident after all rounds".to_owned(),
        value: kib / 1024.0,
        unit: "MiB",
        target: Target::None,
        beside: format!(
            "{} {} issued by this process",
            number(ours.answered as f64, ""),
            promised.what[1]
        ),
    });
    drop(limit);
    // Its secrets are worth nothing any more, but need not lie about.
    let _ = std::fs::remove_file(&rounds.plan);
    Ok(figures)
}

/// What it takes of a core that so many instances renew, each when half of a certificate's life is over.
fn renewing(promised: &Promise, instances: usize, ours: &Side) -> Figure {
    let each_second = instances as f64 / HALF_LIFE_SECONDS;
    let beside = format!(
        "{} instances are {} renewals a second, of {} each where nothing of theirs is in memory; as many as can \
         be, {}",
        number(instances as f64, ""),
        number(each_second, ""),
        number(median(&ours.cpu), "µs"),
        number(median(&ours.rates), "/s")
    );
    let share = each_second * median(&ours.cpu) / 1e6 * 100.0;
    let what = "of one core, with every instance renewing at half of an hour";
    Figure::of(promised.scenario, what, (share, "%"), Target::AtMost(10.0), beside)
}

fn same_length(ours: usize, limit: usize) -> Answer<String> {
    let ratio = limit as f64 / ours as f64;
    if (ratio - 1.0).abs() > LENGTH_TOLERANCE {
        return Err(format!("what the limit issues has {limit} bytes and ours {ours}"));
    }
    Ok(format!("{ours} and {limit} bytes each"))
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
            &format!("{}, each durable before it is visible", promised.what[1]),
            rate,
            "/s",
            promised.rate.map_or(Target::None, Target::AtLeast),
            format!("rounds {}", spread(&ours.rates, "/s")),
        ),
        figure(
            &format!("server CPU per {}", promised.what[0]),
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

fn synced(promised: &Promise, ours: &Side, flushes: Option<u64>) -> Figure {
    let Promise { scenario, what: [_, several], .. } = *promised;
    let answered = ours.answered as f64;
    let (value, beside) = match flushes {
        Some(flushes @ 1..) => (
            answered / flushes as f64,
            format!(
                "{} flushes that the disk completed for {} {several}",
                number(flushes as f64, ""),
                number(answered, "")
            ),
        ),
        _ => (0.0, "not known: flushes are not counted here".to_owned()),
    };
    let what = format!("{several} per disk flush");
    Figure { scenario, what, value, unit: "", target: Target::None, beside }
}

/// Half of what the closed loop reached, sent whatever the server does: the p99, milliseconds.
pub(crate) fn open_loop(
    scenario: &'static str,
    (rounds, ours): (&Rounds, &Side),
    effort: Effort,
    most: f64,
) -> Answer<Figure> {
    let rate = median(&ours.rates) / 2.0;
    let script = Script {
        address: ours.address.clone(),
        connections: CONNECTIONS,
        warm_up: WARM_UP,
        time: effort.open_loop,
        rate,
        assertions: 0,
        among: Among::Own,
        may_shed: false,
    };
    let load = rounds.load(&script)?;
    let [half, p90, p99, p999, longest] = load.quantiles.map(|micros| micros as f64 / 1000.0);
    let beside = format!(
        "{} sent for {:.0} s, from the intended send time: p50 {half:.2}, p90 {p90:.2}, \
         p99.9 {p999:.2}, longest {longest:.2} ms",
        number(rate, "/s"),
        load.seconds
    );
    let what = "p99, open loop at half the maximum";
    Ok(Figure::of(scenario, what, (p99, "ms"), Target::AtMost(most), beside))
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
