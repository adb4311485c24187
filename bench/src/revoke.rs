//! From the revoke request sent to the refusal at a Verifier that follows the feed.

use std::path::Path;
use std::time::{Duration, Instant};

use accredit::Verifier;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use crate::client::Client;
use crate::histogram::Histogram;
use crate::report::{Figure, Target};
use crate::server::{self, AUDIENCE, Process, Server};
use crate::{Answer, Effort, Setting, ambient};

const SCENARIO: &str = "revoke";
/// Followers in all, where there are many.
const FOLLOWERS: usize = 1000;
/// Those of them that are full Verifiers.
const VERIFIERS: usize = 10;
/// Before each revocation: everybody waits by then.
const GAP: Duration = Duration::from_millis(25);
/// How long a refusal may take before the run is given up.
const REFUSAL_TIME_MAX: Duration = Duration::from_secs(10);

/// Measures with one follower and with many.
pub(crate) fn run(setting: &Setting, effort: Effort) -> Answer<Vec<Figure>> {
    let runtime = Runtime::new().map_err(|error| error.to_string())?;
    let server = Server::start(&setting.accredit, &setting.work)?;
    let key = server.resource()?;
    let agent = server::agent(&mut server.admin()?, "agent")?;
    let case = Case { runtime: &runtime, server: &server, key: &key, agent: &agent };

    let alone = case.measure(effort.revocations, 1)?;
    let drain = case.drain(setting, FOLLOWERS - VERIFIERS)?;
    let crowd = case.measure(effort.revocations, VERIFIERS)?;
    drop(drain);
    Ok(vec![
        figure("p99, a single follower, a full Verifier", &alone, 5.0),
        figure("p99, 1,000 followers: 10 full Verifiers, 990 draining", &crowd, 50.0),
    ])
}

fn figure(what: &str, seen: &Seen, most: f64) -> Figure {
    let millis = |histogram: &Histogram, part| histogram.quantile(part) as f64 / 1000.0;
    let beside = format!(
        "revoke request sent to refusal at a full Verifier (accredit::Verifier, feed): p50 {:.2}, \
         longest {:.2} ms; {} samples; revoke request answered: p50 {:.2} ms",
        millis(&seen.refused, 0.5),
        seen.refused.max() as f64 / 1000.0,
        seen.refused.count(),
        millis(&seen.answered, 0.5),
    );
    let (what, value) = (what.to_owned(), millis(&seen.refused, 0.99));
    Figure { scenario: SCENARIO, what, value, unit: "ms", target: Target::AtMost(most), beside }
}

/// Latencies from the moment at which the revoke request was sent.
struct Seen {
    /// To the refusal, at each Verifier.
    refused: Histogram,
    /// To the answer of the revoke request.
    answered: Histogram,
}

struct Case<'a> {
    runtime: &'a Runtime,
    server: &'a Server,
    key: &'a str,
    agent: &'a str,
}

impl Case<'_> {
    /// Revokes instances one by one, each watched by all Verifiers.
    fn measure(&self, revocations: usize, verifiers: usize) -> Answer<Seen> {
        let mut admin = self.server.admin()?;
        let connected: Vec<Verifier> =
            (0..verifiers).map(|_| self.verifier()).collect::<Answer<_>>()?;
        let (_, sibling) = self.server.instance_token(&mut admin, self.agent)?;
        let mut victims = Vec::new();
        for _ in 0..revocations {
            victims.push(self.server.instance_token(&mut admin, self.agent)?);
        }
        let mut seen = Seen { refused: Histogram::new(), answered: Histogram::new() };
        for (instance, token) in &victims {
            self.one(&mut admin, &connected, instance, token, &mut seen)?;
        }
        for verifier in &connected {
            let alive = self.runtime.block_on(verifier.verify_token(&sibling));
            alive.map_err(|refusal| format!("a sibling was refused too: {refusal:?}"))?;
        }
        Ok(seen)
    }

    fn one(
        &self,
        admin: &mut Client,
        verifiers: &[Verifier],
        instance: &str,
        token: &str,
        seen: &mut Seen,
    ) -> Answer<()> {
        let (sender, mut refusals) = mpsc::channel(verifiers.len());
        for verifier in verifiers {
            let watching = watch(verifier.clone(), token.to_owned());
            let sender = sender.clone();
            self.runtime.spawn(async move {
                // The receiver goes only when the run has failed already.
                let _ = sender.send(watching.await).await;
            });
        }
        drop(sender);
        ambient::sleep(GAP);
        let body = json!({"target": instance, "reason": "measured"});
        let sent = ambient::instant();
        admin.post("/v1/revocations", &body)?;
        seen.answered.record(sent.elapsed());
        for _ in verifiers {
            let late = ambient::instant() + REFUSAL_TIME_MAX;
            let refused = self.runtime.block_on(async {
                tokio::select! {
                    refused = refusals.recv() => refused,
                    () = ambient::wait_until(late) => None,
                }
            });
            let refused: Instant = refused.ok_or("a Verifier never refused")??;
            if refused < sent {
                return Err("a Verifier refused before the revocation".to_owned());
            }
            seen.refused.record(refused.duration_since(sent));
        }
        Ok(())
    }

    fn verifier(&self) -> Answer<Verifier> {
        let builder = Verifier::builder(&self.server.issuer, AUDIENCE).credential(self.key);
        self.runtime.block_on(builder.connect()).map_err(|error| error.to_string())
    }

    /// A process with followers that read and throw away.
    fn drain(&self, setting: &Setting, count: usize) -> Answer<Process> {
        let file = setting.work.join("drain.key");
        std::fs::write(&file, self.key).map_err(|e| format!("{}: {e}", file.display()))?;
        let path = self.server.token_path().replace("/oauth/token", "/revocations/feed");
        let (file, count) = (file.to_string_lossy().into_owned(), count.to_string());
        let args = ["drain", &self.server.address, &path, &file, &count];
        let started = Process::start(&setting.bench, &args);
        let _ = std::fs::remove_file(args[3]);
        let (process, line) = started?;
        if line == "connected" { Ok(process) } else { Err(line) }
    }
}

/// When a Verifier that accepts the token first refuses it.
async fn watch(verifier: Verifier, token: String) -> Answer<Instant> {
    let accepted = verifier.verify_token(&token).await;
    let principal = accepted.map_err(|refusal| format!("not accepted: {refusal:?}"))?;
    principal.revoked().await;
    match verifier.verify_token(&token).await {
        Ok(_) => Err("revoked, and accepted all the same".to_owned()),
        Err(_) => Ok(ambient::instant()),
    }
}

/// The program's entry for followers that drain: connects them, says so, and reads until killed.
pub(crate) fn drain(address: &str, path: &str, key: &Path, count: usize) -> Answer<()> {
    let key = std::fs::read_to_string(key).map_err(|error| error.to_string())?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\n\
         Accept: text/event-stream\r\n\r\n"
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let mut streams = Vec::new();
        for _ in 0..count {
            streams.push(connect(address, &request).await?);
        }
        println!("connected");
        let reading = streams.into_iter().map(|stream| tokio::spawn(read_on(stream)));
        for ended in reading.collect::<Vec<_>>() {
            ended.await.map_err(|error| error.to_string())?;
        }
        Ok(())
    })
}

/// A follower that has its first message.
async fn connect(address: &str, request: &str) -> Answer<TcpStream> {
    let failed = |error: std::io::Error| format!("{address}: {error}");
    let mut stream = TcpStream::connect(address).await.map_err(failed)?;
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut text = Vec::new();
    while !text.windows(5).any(|window| window == b"data:") {
        if stream.read_buf(&mut text).await.map_err(failed)? == 0 || text.len() > 1 << 20 {
            return Err(format!("no feed: {}", String::from_utf8_lossy(&text)));
        }
    }
    Ok(stream)
}

async fn read_on(mut stream: TcpStream) {
    let mut buffer = vec![0; 4096];
    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
}
