//! The load generator: a process of its own with one thread, some connections that are kept
//! alive, and requests that were made beforehand.
//!
//! *Closed loop*: each connection sends its next request when its last one is answered; what
//! comes out is how much the server can do. *Open loop*: requests are sent at times that do not
//! depend on the answers, and a latency counts from the time at which a request *should* have
//! been sent, so that a server that stalls is not excused from what it kept from being sent.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::ambient::Numbers;
use crate::histogram::Histogram;
use crate::plan::{Method, Plan};
use crate::{Answer, ambient, machine};

/// The longest answer to a token request that is read.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// Due times that a connection may be behind in the open loop; beyond, they count as failed.
const DUE_MAX: usize = 100_000;

/// Whose request a connection sends next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Among {
    /// That of its own client, again and again.
    Own,
    /// Those of the plan's clients from one on, so many of them, one after the other.
    InTurn {
        /// The first.
        from: usize,
        /// How many.
        clients: usize,
    },
    /// Those of the plan's first clients, at random.
    AtRandom(usize),
}

/// How to load a server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Script {
    /// `127.0.0.1:PORT`.
    pub(crate) address: String,
    /// Connections at a time.
    pub(crate) connections: usize,
    /// What is sent before anything counts.
    pub(crate) warm_up: Duration,
    /// How long it counts.
    pub(crate) time: Duration,
    /// Requests a second, in the open loop; 0 for the closed one.
    pub(crate) rate: f64,
    /// Assertions to sign beforehand, where each request needs one.
    pub(crate) assertions: usize,
    /// Whose requests, where they prove themselves with secrets.
    pub(crate) among: Among,
    /// Whether an answer that sheds load (503 with `Retry-After`) is one to be counted rather than
    /// a failure.
    pub(crate) may_shed: bool,
}

/// What one run of the load generator saw.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Load {
    /// Requests answered with a token while it counted.
    pub(crate) counted: u64,
    /// Requests answered with a token at all.
    pub(crate) answered: u64,
    /// Requests that the server told to come back later.
    pub(crate) shed: u64,
    /// Requests that were answered otherwise or not at all.
    pub(crate) failed: u64,
    /// The first such answer.
    pub(crate) first_failure: Option<String>,
    /// Whether the prepared assertions did not last.
    pub(crate) ran_dry: bool,
    /// How long it counted, seconds.
    pub(crate) seconds: f64,
    /// Latencies in microseconds: half, 90, 99, 99.9 per cent, and all are below.
    pub(crate) quantiles: [u64; 5],
    /// Processor time of this process per request answered, microseconds.
    pub(crate) cpu_per_request: f64,
}

impl Load {
    /// Tokens a second.
    pub(crate) fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.counted as f64 / self.seconds } else { 0.0 }
    }
}

/// Loads a server as the script says.
pub(crate) fn run(plan: &Plan, script: &Script) -> Answer<Load> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let requests = Rc::new(Requests::prepare(plan, script)?);
    let local = LocalSet::new();
    local.block_on(&runtime, drive(requests, plan.method.beginning(), script))
}

/// Requests, made beforehand.
enum Requests {
    /// One for each client, sent again and again.
    Repeated { all: Vec<Vec<u8>>, among: Among, next: RefCell<Numbers>, turn: Cell<usize> },
    /// Each sent once.
    Single(RefCell<Vec<Vec<u8>>>),
}

impl Requests {
    fn prepare(plan: &Plan, script: &Script) -> Answer<Self> {
        let among = script.among;
        let clients = match among {
            Among::Own => script.connections,
            Among::InTurn { clients, .. } | Among::AtRandom(clients) => clients,
        };
        if plan.clients.is_empty() || clients == 0 {
            return Err("a script without clients".to_owned());
        }
        if plan.method == Method::Assertion {
            let mut single = plan.assertions(script.assertions, &script.address)?;
            // The first ones signed are used first: they end first.
            single.reverse();
            return Ok(Self::Single(RefCell::new(single)));
        }
        if plan.method == Method::Exchange {
            return Ok(Self::Single(RefCell::new(plan.exchanges(&script.address))));
        }
        let from = if let Among::InTurn { from, .. } = among { from } else { 0 };
        let clients = plan.clients.iter().cycle().skip(from).take(clients);
        let all = match plan.method {
            Method::Certificate => clients
                .zip(plan.csrs.iter().cycle())
                .map(|(client, csr)| plan.certified(client, csr, &script.address))
                .collect(),
            _ => clients.map(|client| plan.basic(client, &script.address)).collect(),
        };
        let next = RefCell::new(Numbers::fresh());
        Ok(Self::Repeated { all, among, next, turn: Cell::new(0) })
    }

    /// The next request of a connection; `None` where there are no more.
    fn next(&self, connection: usize) -> Option<Cow<'_, [u8]>> {
        match self {
            Self::Repeated { all, among, next, turn } => {
                let which = match among {
                    Among::Own => connection,
                    Among::InTurn { .. } => turn.replace(turn.get() + 1),
                    Among::AtRandom(_) => next.borrow_mut().next() as usize,
                };
                all.get(which % all.len()).map(|request| Cow::Borrowed(request.as_slice()))
            }
            Self::Single(single) => single.borrow_mut().pop().map(Cow::Owned),
        }
    }
}

/// What all connections share.
struct Run {
    requests: Rc<Requests>,
    /// What an answer with what was asked for begins with.
    beginning: &'static str,
    counts_from: Instant,
    ends_at: Instant,
    may_shed: bool,
    seen: RefCell<Seen>,
}

/// What an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A token.
    Token,
    /// 503 with `Retry-After`.
    Shed,
    /// Anything else.
    Other,
}

struct Seen {
    load: Load,
    latencies: Histogram,
}

async fn drive(requests: Rc<Requests>, beginning: &'static str, script: &Script) -> Answer<Load> {
    let mut connections = Vec::new();
    for _ in 0..script.connections {
        connections.push(Connection::open(&script.address).await?);
    }
    let (start, cpu) = (ambient::instant(), machine::cpu_of(std::process::id())?);
    let counts_from = start + script.warm_up;
    let seen = Seen { load: Load::default(), latencies: Histogram::new() };
    let ends_at = counts_from + script.time;
    let (may_shed, seen) = (script.may_shed, RefCell::new(seen));
    let run = Rc::new(Run { requests, beginning, counts_from, ends_at, may_shed, seen });
    let mut due_times = Vec::new();
    let mut tasks = Vec::new();
    for (index, connection) in connections.into_iter().enumerate() {
        let due = (script.rate > 0.0).then(|| mpsc::channel(DUE_MAX));
        let due = due.map(|(sender, receiver)| {
            due_times.push(sender);
            receiver
        });
        tasks.push(tokio::task::spawn_local(Rc::clone(&run).keep_busy(index, connection, due)));
    }
    let pacing = (script.rate > 0.0).then(|| {
        let rate = script.rate;
        std::thread::spawn(move || pace(start, ends_at, rate, &due_times))
    });
    for task in tasks {
        task.await.map_err(|error| error.to_string())?;
    }
    let unsent = pacing.map_or(0, |thread| thread.join().unwrap_or(u64::MAX));
    let cpu = machine::cpu_of(std::process::id())?.saturating_sub(cpu);
    let mut seen = run.seen.borrow_mut();
    let quantiles = [0.5, 0.9, 0.99, 0.999].map(|part| seen.latencies.quantile(part));
    let [half, p90, p99, p999] = quantiles;
    seen.load.quantiles = [half, p90, p99, p999, seen.latencies.max()];
    seen.load.counted = seen.latencies.count();
    seen.load.failed += unsent;
    let last = ambient::instant().min(ends_at);
    seen.load.seconds = last.saturating_duration_since(counts_from).as_secs_f64();
    seen.load.cpu_per_request = cpu.as_secs_f64() * 1e6 / (seen.load.answered.max(1) as f64);
    Ok(seen.load.clone())
}

/// Tells each connection in turn when its next request is due, at that time. Returns how many
/// could not be told because the connection was too far behind.
fn pace(start: Instant, end: Instant, rate: f64, to: &[mpsc::Sender<Instant>]) -> u64 {
    let mut unsent = 0;
    for (number, connection) in to.iter().cycle().enumerate() {
        let due = start + Duration::from_secs_f64(number as f64 / rate);
        if due >= end {
            break;
        }
        let early = due.saturating_duration_since(ambient::instant());
        if !early.is_zero() {
            ambient::sleep(early);
        }
        unsent += u64::from(connection.try_send(due).is_err());
    }
    unsent
}

impl Run {
    /// One connection's life: in the closed loop until the time is over, in the open loop until
    /// no more is due.
    async fn keep_busy(
        self: Rc<Self>,
        index: usize,
        mut connection: Connection,
        mut due: Option<mpsc::Receiver<Instant>>,
    ) {
        loop {
            let begun = match &mut due {
                None => ambient::instant(),
                Some(due) => match due.recv().await {
                    Some(intended) => intended,
                    None => return,
                },
            };
            if begun >= self.ends_at {
                return;
            }
            let Some(request) = self.requests.next(index) else {
                self.seen.borrow_mut().load.ran_dry = true;
                return;
            };
            let answer = connection.exchange(&request, self.beginning).await;
            if !self.note(begun, answer, due.is_some()) {
                return;
            }
        }
    }

    /// Counts an answer; false where the connection cannot go on.
    fn note(&self, begun: Instant, answer: Answer<Kind>, open: bool) -> bool {
        let now = ambient::instant();
        let mut seen = self.seen.borrow_mut();
        match answer {
            Ok(Kind::Token) => seen.load.answered += 1,
            Ok(Kind::Shed) if self.may_shed => {
                seen.load.shed += 1;
                return true;
            }
            Ok(Kind::Shed | Kind::Other) => {
                seen.load.failed += 1;
                seen.load.first_failure.get_or_insert_with(|| "the answer is no token".to_owned());
                return true;
            }
            Err(why) => {
                seen.load.failed += 1;
                seen.load.first_failure.get_or_insert(why);
                return false;
            }
        }
        // The closed loop counts answers that came in time; the open one all that were due.
        let counts = if open {
            begun >= self.counts_from
        } else {
            now >= self.counts_from && now < self.ends_at
        };
        if counts {
            seen.latencies.record(now.saturating_duration_since(begun));
        }
        true
    }
}

/// One connection that is kept alive.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(address: &str) -> Answer<Self> {
        let stream = TcpStream::connect(address).await.map_err(|e| format!("{address}: {e}"))?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        Ok(Self { stream, buffer: vec![0; ANSWER_BYTES_MAX] })
    }

    /// Sends a request and reads its answer whole.
    async fn exchange(&mut self, request: &[u8], beginning: &str) -> Answer<Kind> {
        self.stream.write_all(request).await.map_err(|error| error.to_string())?;
        let mut filled = 0;
        let mut end = None;
        loop {
            let room = self.buffer.get_mut(filled..).unwrap_or_default();
            match self.stream.read(room).await.map_err(|error| error.to_string())? {
                0 => return Err("the server closed the connection".to_owned()),
                more => filled += more,
            }
            let text = self.buffer.get(..filled).unwrap_or_default();
            end = end.or_else(|| end_of_answer(text));
            if end.is_some_and(|(_, end)| filled >= end) {
                break;
            }
        }
        let (head, end) = end.unwrap_or_default();
        let (head, body) = self.buffer.get(..end).unwrap_or_default().split_at(head);
        Ok(if head.starts_with(b"HTTP/1.1 200 ") && body.starts_with(beginning.as_bytes()) {
            Kind::Token
        } else if head.starts_with(b"HTTP/1.1 503 ") && header(head, "retry-after").is_some() {
            Kind::Shed
        } else {
            Kind::Other
        })
    }
}

/// The value of a header in the head of an answer.
fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    head.split(|byte| *byte == b'\n').find_map(|line| {
        let (found, value) = line.split_at_checked(name.len())?;
        let value = value.strip_prefix(b":")?;
        if !found.eq_ignore_ascii_case(name.as_bytes()) {
            return None;
        }
        std::str::from_utf8(value).ok().map(str::trim)
    })
}

/// Where head and body of an answer end, as soon as its head is there.
fn end_of_answer(text: &[u8]) -> Option<(usize, usize)> {
    let head = text.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let length = header(text.get(..head)?, "content-length")?.parse::<usize>().ok()?;
    Some((head, head + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_where_its_length_says() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nx: y\r\n\r\nabcde";
        assert_eq!(end_of_answer(text), Some((text.len() - 5, text.len())));
        assert_eq!(end_of_answer(&text[..text.len() - 3]), Some((text.len() - 5, text.len())));
        assert_eq!(end_of_answer(&text[..20]), None, "the head is not complete");
        assert_eq!(end_of_answer(b"HTTP/1.1 200 OK\r\n\r\n"), None, "no length");
    }

    #[test]
    fn requests_are_due_at_the_rate_and_stop() {
        let (sender, mut receiver) = mpsc::channel(100);
        let start = ambient::instant();
        let end = start + Duration::from_millis(50);
        assert_eq!(pace(start, end, 200.0, &[sender]), 0);
        let mut due = Vec::new();
        while let Ok(at) = receiver.try_recv() {
            due.push(at.duration_since(start).as_millis());
        }
        assert_eq!(due, [0, 5, 10, 15, 20, 25, 30, 35, 40, 45]);
    }
}
