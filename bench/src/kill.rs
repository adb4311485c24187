//! The kill of an agent with very many live copies, seen by 1,000 followers; more than once, since it
//! is activated again in between.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::client::Client;
use crate::histogram::Histogram;
use crate::report::{Figure, Target};
use crate::revoke::{ACKNOWLEDGED_WITHIN, Case, FOLLOWERS, VERIFIERS, acknowledged, refused};
use crate::server::{self, Server};
use crate::{Answer, Effort, Setting, ambient};

const SCENARIO: &str = "kill";
/// Connections that register at a time.
const REGISTRARS: usize = 32;

/// Between two kills: everybody has said what it heard, which it does once a second, and waits.
const GAP: Duration = Duration::from_secs(2);

/// Registers the copies, connects everybody, and kills.
pub(crate) fn run(setting: &Setting, effort: Effort) -> Answer<Vec<Figure>> {
    let runtime = Runtime::new().map_err(|error| error.to_string())?;
    let server = Server::start(&setting.accredit, &setting.work)?;
    let key = server.resource()?;
    let agent = server::agent(&mut server.admin()?, "agent")?;
    register(&server, &agent, effort.descendants)?;
    let case =
        Case { runtime: &runtime, server: &server, asked: &server, key: &key, agent: &agent };
    let _drain = case.drain(setting, FOLLOWERS - VERIFIERS)?;
    let verifiers: Vec<_> = (0..VERIFIERS).map(|_| case.verifier()).collect::<Answer<_>>()?;
    let mut admin = server.admin()?;
    let mut seen = Seen { answered: Histogram::new(), refused: Histogram::new(), applied: 0.0 };
    let mut blast = Value::Null;
    for round in 0..effort.kills {
        if round > 0 {
            let reason = json!({"reason": "measured again"});
            admin.post(&format!("/v1/agents/{agent}/activate"), &reason)?;
        }
        blast = once(&case, &mut admin, &verifiers, &mut seen)?;
        let said = acknowledged(&server, ACKNOWLEDGED_WITHIN, FOLLOWERS - VERIFIERS)?;
        seen.applied = seen.applied.max(said.p99());
    }
    let count = |name: &str| blast.get(name).and_then(Value::as_u64);
    let (instances, credentials) = (count("instances"), count("credentials"));
    if instances < Some(effort.descendants as u64) {
        return Err(format!("the blast is {instances:?} instances"));
    }
    let whom = format!(
        "an agent with {} live instances and {} credentials, 1,000 followers, {} kills",
        instances.unwrap_or_default(),
        credentials.unwrap_or_default(),
        effort.kills
    );
    let figure = |what: &str, value: f64, target: Target, beside: String| Figure {
        scenario: SCENARIO,
        what: what.to_owned(),
        value,
        unit: "ms",
        target,
        beside,
    };
    let millis = |histogram: &Histogram, part| histogram.quantile(part) as f64 / 1000.0;
    let spread = |histogram: &Histogram| {
        let longest = histogram.max() as f64 / 1000.0;
        format!("p50 {:.2}, longest {longest:.2} ms", millis(histogram, 0.5))
    };
    let beside = format!("{}; {whom}", spread(&seen.answered));
    let of_verifiers = format!(
        "{}; {} refusals of 10 full Verifiers, beside 990 followers that drain and acknowledge",
        spread(&seen.refused),
        seen.refused.count()
    );
    let worst = "revoke request come to told; each tells at most once a second; the worst kill";
    let most = Target::AtMost(100.0);
    Ok(vec![
        figure("p99, kill request sent to answered", millis(&seen.answered, 0.99), most, beside),
        figure(
            "p99, kill request sent to refusal",
            millis(&seen.refused, 0.99),
            most,
            of_verifiers,
        ),
        figure("p99, to told by 1,000 followers", seen.applied, Target::None, worst.to_owned()),
    ])
}

/// Latencies from the moment at which the kill was sent.
struct Seen {
    answered: Histogram,
    refused: Histogram,
    /// What the server was told, milliseconds.
    applied: f64,
}

/// Gets a token that everybody accepts, kills, and waits until everybody refuses; the blast.
fn once(
    case: &Case<'_>,
    admin: &mut Client,
    verifiers: &[accredit::Verifier],
    seen: &mut Seen,
) -> Answer<Value> {
    let (_, token) = case.server.instance_token(admin, case.agent)?;
    let (told, times) = std::sync::mpsc::channel();
    for verifier in verifiers {
        let (watching, told) = (refused(verifier.clone(), token.clone()), told.clone());
        case.runtime.spawn(async move {
            // The receiver goes only when the run has failed already.
            let _ = told.send(watching.await);
        });
    }
    drop(told);
    ambient::sleep(GAP);
    let sent = ambient::instant();
    let body = json!({"target": case.agent, "reason": "measured"});
    let ended = admin.post("/v1/revocations", &body)?;
    seen.answered.record(sent.elapsed());
    for _ in verifiers {
        let at: Instant =
            times.recv_timeout(ACKNOWLEDGED_WITHIN).map_err(|error| error.to_string())??;
        if at < sent {
            return Err("a Verifier refused before the kill".to_owned());
        }
        seen.refused.record(at.duration_since(sent));
    }
    ended.get("blast").cloned().ok_or_else(|| "the kill tells of no blast".to_owned())
}

/// Registers the copies over the API.
fn register(server: &Server, agent: &str, count: usize) -> Answer<()> {
    let next = AtomicUsize::new(0);
    let work = || -> Answer<()> {
        let mut admin = server.admin()?;
        while next.fetch_add(1, Ordering::Relaxed) < count {
            admin.post("/v1/instances", &json!({"agent": agent}))?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..REGISTRARS).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| "a registrar panicked".to_owned())?)
    })
}
