//! The kill of an agent with very many live copies, seen by 1,000 followers.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::report::{Figure, Target};
use crate::revoke::{ACKNOWLEDGED_WITHIN, Case, FOLLOWERS, VERIFIERS, acknowledged, refused};
use crate::server::{self, Server};
use crate::{Answer, Effort, Setting, ambient};

const SCENARIO: &str = "kill";
/// Connections that register at a time.
const REGISTRARS: usize = 32;

/// Registers the copies, connects everybody, and kills once.
pub(crate) fn run(setting: &Setting, effort: Effort) -> Answer<Vec<Figure>> {
    let runtime = Runtime::new().map_err(|error| error.to_string())?;
    let server = Server::start(&setting.accredit, &setting.work)?;
    let key = server.resource()?;
    let agent = server::agent(&mut server.admin()?, "agent")?;
    register(&server, &agent, effort.descendants)?;
    let case = Case { runtime: &runtime, server: &server, key: &key, agent: &agent };
    let _drain = case.drain(setting, FOLLOWERS - VERIFIERS)?;
    let mut admin = server.admin()?;
    let (_, token) = server.instance_token(&mut admin, &agent)?;
    let (told, times) = std::sync::mpsc::channel();
    for _ in 0..VERIFIERS {
        let (verifier, told) = (case.verifier()?, told.clone());
        let token = token.clone();
        runtime.spawn(async move {
            // The receiver goes only when the run has failed already.
            let _ = told.send(refused(verifier, token).await);
        });
    }
    drop(told);
    // Everybody waits by then.
    ambient::sleep(std::time::Duration::from_secs(2));
    let sent = ambient::instant();
    let ended = admin.post("/v1/revocations", &json!({"target": agent, "reason": "measured"}))?;
    let answered = sent.elapsed().as_secs_f64() * 1000.0;
    let mut slowest = 0.0_f64;
    for _ in 0..VERIFIERS {
        let at = times.recv_timeout(ACKNOWLEDGED_WITHIN).map_err(|error| error.to_string())??;
        slowest = slowest.max(at.duration_since(sent).as_secs_f64() * 1000.0);
    }
    let count = |name: &str| ended.pointer(&format!("/blast/{name}")).and_then(Value::as_u64);
    let (instances, credentials) = (count("instances"), count("credentials"));
    if instances < Some(effort.descendants as u64) {
        return Err(format!("the blast is {instances:?} instances"));
    }
    let beside = format!(
        "one kill of an agent with {} live instances and {} credentials, 1,000 followers",
        instances.unwrap_or_default(),
        credentials.unwrap_or_default()
    );
    let figure = |what: &str, value: f64, beside: String| Figure {
        scenario: SCENARIO,
        what: what.to_owned(),
        value,
        unit: "ms",
        target: Target::AtMost(100.0),
        beside,
    };
    let said = acknowledged(&server, ACKNOWLEDGED_WITHIN, FOLLOWERS - VERIFIERS)?;
    Ok(vec![
        figure("kill request sent to answered", answered, beside),
        figure(
            "kill request sent to refusal, the slowest of 10 full Verifiers",
            slowest,
            "beside 990 followers that drain and acknowledge".to_owned(),
        ),
        said.figure(SCENARIO, "p99 of acknowledgements"),
    ])
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
