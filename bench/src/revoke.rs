//! From the revoke request sent to the refusal at a Verifier that follows the feed, and to the
//! acknowledgements of all that follow.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use accredit::Verifier;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

use crate::client::{Client, text};
use crate::histogram::Histogram;
use crate::report::{Figure, Target};
use crate::server::{self, AUDIENCE, Process, RESOURCE, Server};
use crate::{Answer, Effort, Setting, ambient};

const SCENARIO: &str = "revoke";
/// Followers in all, where there are many.
pub(crate) const FOLLOWERS: usize = 1000;
/// Those of them that are full Verifiers.
pub(crate) const VERIFIERS: usize = 10;
/// Before each revocation: everybody waits by then.
const GAP: Duration = Duration::from_millis(25);
/// How long a refusal may take before the run is given up.
const REFUSAL_TIME_MAX: Duration = Duration::from_secs(10);
/// How long the last acknowledgement may take: each follower says one a second.
pub(crate) const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(10);
/// The time between two acknowledgements of one follower, as of a Verifier.
const SAY_EVERY: Duration = Duration::from_secs(1);

/// Measures with one follower and with many.
pub(crate) fn run(setting: &Setting, effort: Effort) -> Answer<Vec<Figure>> {
    let runtime = Runtime::new().map_err(|error| error.to_string())?;
    let server = Server::start(&setting.accredit, &setting.work)?;
    let key = server.resource()?;
    let agent = server::agent(&mut server.admin()?, "agent")?;
    let case =
        Case { runtime: &runtime, server: &server, asked: &server, key: &key, agent: &agent };

    let alone = case.measure(effort.revocations, 1)?;
    let mut drain = case.drain(setting, FOLLOWERS - VERIFIERS)?;
    let crowd = case.measure(effort.revocations, VERIFIERS)?;
    let said = acknowledged(&server, ACKNOWLEDGED_WITHIN, FOLLOWERS - VERIFIERS)?;
    all_heard(&drain.finish()?, effort.revocations)?;
    Ok(vec![
        figure("p99, a single follower, a full Verifier", &alone, 5.0),
        figure("p99, 1,000 followers: 10 full Verifiers, 990 draining", &crowd, 50.0),
        said.figure(SCENARIO, "p99 of acknowledgements of the last, 990 followers and more"),
    ])
}

/// From the revoke request at one of two nodes to the refusal at a Verifier that follows the other.
pub(crate) fn across(
    scenario: &'static str,
    effort: Effort,
    (followed, asked): (&Server, &Server),
    most: f64,
) -> Answer<Figure> {
    let runtime = Runtime::new().map_err(|error| error.to_string())?;
    let body = json!({"resource": RESOURCE, "type": "client-secret"});
    let key = text(&followed.admin()?.post("/v1/credentials", &body)?, "client_secret")?;
    let agent = server::agent(&mut followed.admin()?, "to-be-revoked")?;
    let case = Case { runtime: &runtime, server: followed, asked, key: &key, agent: &agent };
    let seen = case.measure(effort.revocations, 1)?;
    let what = "p99 of a revocation at one node, at a Verifier that follows another";
    Ok(Figure { scenario, ..figure(what, &seen, most) })
}

/// What the server was told of its newest revocation.
pub(crate) struct Said {
    points: u64,
    p50: f64,
    p99: f64,
    max: f64,
}

impl Said {
    /// The p99, milliseconds.
    pub(crate) fn p99(&self) -> f64 {
        self.p99
    }

    /// As a figure without a target: a follower that has said something within the last second
    /// says the next thing later, and how long it waited.
    pub(crate) fn figure(&self, scenario: &'static str, what: &str) -> Figure {
        let beside = format!(
            "revoke request come to applied, as {} followers say: p50 {:.2}, longest {:.2} ms",
            self.points, self.p50, self.max
        );
        let (what, value) = (what.to_owned(), self.p99);
        Figure { scenario, what, value, unit: "ms", target: Target::None, beside }
    }
}

/// Waits until so many followers have acknowledged the newest revocation.
pub(crate) fn acknowledged(server: &Server, within: Duration, least: usize) -> Answer<Said> {
    let (mut admin, begun) = (server.admin()?, ambient::instant());
    loop {
        let told = admin.body("/v1/revocations/acknowledgements?named=0")?;
        let told: Value = serde_json::from_str(&told).map_err(|error| error.to_string())?;
        let count = |name: &str| told.get(name).and_then(Value::as_u64).unwrap_or_default();
        let millis = |name: &str| count(name) as f64 / 1000.0;
        if count("acknowledged") >= least as u64 {
            return Ok(Said {
                points: count("acknowledged"),
                p50: millis("microseconds_p50"),
                p99: millis("microseconds_p99"),
                max: millis("microseconds_max"),
            });
        }
        if begun.elapsed() > within {
            return Err(format!("of {least} followers not all acknowledged: {told}"));
        }
        ambient::sleep(GAP);
    }
}

/// Fails where a follower that drains did not get each revocation: then it was no load.
fn all_heard(least: &str, revocations: usize) -> Answer<()> {
    match least.parse::<usize>() {
        Ok(heard) if heard >= revocations => Ok(()),
        _ => Err(format!("of {revocations} revocations a follower that drains got {least}")),
    }
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

pub(crate) struct Case<'a> {
    pub(crate) runtime: &'a Runtime,
    pub(crate) server: &'a Server,
    /// The node that is asked to revoke.
    pub(crate) asked: &'a Server,
    pub(crate) key: &'a str,
    pub(crate) agent: &'a str,
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
        let mut admin = self.asked.admin()?;
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
            let watching = refused(verifier.clone(), token.to_owned());
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

    pub(crate) fn verifier(&self) -> Answer<Verifier> {
        let builder = Verifier::builder(&self.server.issuer, AUDIENCE).credential(self.key);
        self.runtime.block_on(builder.connect()).map_err(|error| error.to_string())
    }

    /// A process with followers that read, throw away, and acknowledge.
    pub(crate) fn drain(&self, setting: &Setting, count: usize) -> Answer<Process> {
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
pub(crate) async fn refused(verifier: Verifier, token: String) -> Answer<Instant> {
    let accepted = verifier.verify_token(&token).await;
    let principal = accepted.map_err(|refusal| format!("not accepted: {refusal:?}"))?;
    principal.revoked().await;
    match verifier.verify_token(&token).await {
        Ok(_) => Err("revoked, and accepted all the same".to_owned()),
        Err(_) => Ok(ambient::instant()),
    }
}

/// The program's entry for followers that drain: connects them, says so, reads until its standard
/// input ends, and says how many revocations came to the one that got the fewest.
pub(crate) fn drain(address: &str, path: &str, key: &Path, count: usize) -> Answer<()> {
    let key = std::fs::read_to_string(key).map_err(|error| error.to_string())?;
    let request = |follower: usize| {
        format!(
            "GET {path}?follower={follower:032x}&age_max=60 HTTP/1.1\r\nHost: {address}\r\n\
             Authorization: Bearer {key}\r\nAccept: text/event-stream\r\n\r\n"
        )
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let mut followers = Vec::new();
        for follower in 0..count {
            followers.push(connect(address, &request(follower)).await?);
        }
        println!("connected");
        let revs: Rc<[Cell<(u64, u64)>]> =
            followers.iter().map(|(_, rev)| Cell::new((*rev, *rev))).collect();
        let local = LocalSet::new();
        for (place, (stream, _)) in followers.into_iter().enumerate() {
            let (heard, hears) = watch::channel(None);
            local.spawn_local(read_on(stream, Rc::clone(&revs), (place, heard)));
            let said = Saying {
                address: address.to_owned(),
                path: path.replace("/feed", "/acknowledgements"),
                key: key.clone(),
                follower: place,
            };
            local.spawn_local(said.on(hears));
        }
        let ended = local.run_until(tokio::io::stdin().read_to_end(&mut Vec::new())).await;
        ended.map_err(|error| error.to_string())?;
        let heard = revs.iter().map(Cell::get).map(|(from, to)| to - from);
        println!("{}", heard.min().unwrap_or(0));
        Ok(())
    })
}

/// A follower that has its first message, and the revocation counter in it.
async fn connect(address: &str, request: &str) -> Answer<(Lines<BufReader<TcpStream>>, u64)> {
    let failed = |error: std::io::Error| format!("{address}: {error}");
    let mut stream = TcpStream::connect(address).await.map_err(failed)?;
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut lines = BufReader::new(stream).lines();
    while let Some(line) = lines.next_line().await.map_err(failed)? {
        if let Some(rev) = rev_of(&line) {
            return Ok((lines, rev));
        }
    }
    Err(format!("{address}: no feed"))
}

/// The revocation counter in the line of a server-sent event that is its id.
fn rev_of(line: &str) -> Option<u64> {
    line.strip_prefix("id: ")?.split_once('.')?.1.parse().ok()
}

/// Reads, and keeps the newest revocation counter that it was told.
async fn read_on(
    mut lines: Lines<BufReader<TcpStream>>,
    revs: Rc<[Cell<(u64, u64)>]>,
    (place, heard): (usize, watch::Sender<Option<(u64, Instant)>>),
) {
    while let Ok(Some(line)) = lines.next_line().await {
        if let (Some(rev), Some(seen)) = (rev_of(&line), revs.get(place)) {
            if rev > seen.get().1 {
                heard.send_replace(Some((rev, ambient::instant())));
            }
            seen.set((seen.get().0, rev));
        }
    }
}

/// Acknowledges as a Verifier does: the newest, once a second at most, on a connection of its own.
struct Saying {
    address: String,
    path: String,
    key: String,
    follower: usize,
}

impl Saying {
    async fn on(self, mut heard: watch::Receiver<Option<(u64, Instant)>>) {
        while heard.changed().await.is_ok() {
            let newest = *heard.borrow_and_update();
            let Some((rev, at)) = newest else { continue };
            // One that fails is seen as one that is missing.
            let _ = self.say(rev, at).await;
            ambient::wait_until(ambient::instant() + SAY_EVERY).await;
        }
    }

    async fn say(&self, rev: u64, at: Instant) -> std::io::Result<()> {
        let Self { address, path, key, follower } = self;
        let waited = at.elapsed().as_micros();
        let body =
            format!(r#"{{"gen":1,"rev":{rev},"follower":"{follower:032x}","waited":{waited}}}"#);
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n{body}"
        );
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        stream.read_to_end(&mut Vec::new()).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_follower_that_missed_one_revocation_makes_the_run_worthless() {
        assert_eq!(rev_of("id: 1.42"), Some(42));
        assert_eq!(rev_of("data: 1.42"), None);
        assert!(all_heard("200", 200).is_ok());
        assert!(all_heard("199", 200).is_err());
        assert!(all_heard("a panic", 200).is_err());
    }
}
