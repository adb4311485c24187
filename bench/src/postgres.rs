//! The store on a PostgreSQL server of this machine: issuing beside the same binary on SQLite, a
//! revocation from one node to a Verifier at another, what a token writes, and a large registry.
//!
//! The server is this run's own, in a folder on the same disk, with `synchronous_commit` and `fsync`
//! as they are by default. It shares the machine's cores with all the rest, which SQLite does not.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::load::{Among, Script};
use crate::plan::Method;
use crate::report::{Figure, Target, median, number, spread};
use crate::revoke;
use crate::rounds::{CONNECTIONS, Rounds, Side, WARM_UP};
use crate::server::Server;
use crate::{Answer, Effort, Setting, cluster, million};

const SCENARIO: &str = "postgres";
/// How long a revocation may take from one node to a Verifier at another, milliseconds.
const ACROSS_MAX: f64 = 100.0;
/// Memory that the server keeps pages in.
const BUFFERS: &str = "shared_buffers=256MB";
/// Between two checkpoints of the server, at most: what is written anew after each is part of what a
/// token costs, as often as with its defaults.
const WAL: &str = "max_wal_size=1GB";

/// A PostgreSQL server of this run's own, stopped with this process.
pub(crate) struct Database {
    port: u16,
}

impl Database {
    /// Starts one below `work`, empty.
    pub(crate) fn start(work: &Path) -> Answer<Self> {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = free.map_err(|error| error.to_string())?.port();
        let at = port.to_string();
        let settings = ["-c", "fsync=on", "-c", "synchronous_commit=on", "-c", BUFFERS, "-c", WAL];
        let reached = ["-c", "listen_addresses=127.0.0.1", "-p", &at];
        cluster::start_in(work, &[&settings[..], &reached].concat(), &|_| {});
        Ok(Self { port })
    }

    /// Where a store is in it.
    pub(crate) fn url(&self) -> String {
        format!("postgres://accredit@127.0.0.1:{}/postgres?sslmode=disable", self.port)
    }

    /// The number that a statement answers.
    fn number(&self, sql: &str) -> Answer<u64> {
        // It comes with the client, which may stand elsewhere than the server.
        let beside = cluster::programs().join("psql");
        let program = if beside.is_file() { beside } else { "psql".into() };
        let mut ask = Command::new(program);
        ask.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "accredit"]);
        ask.args(["-d", "postgres", "-Atc", sql]).stdin(Stdio::null()).stderr(Stdio::inherit());
        let told = ask.output().map_err(|error| format!("psql: {error}"))?.stdout;
        let told = String::from_utf8_lossy(&told);
        told.trim().parse().map_err(|error| format!("psql: {error}: {told}"))
    }

    /// Bytes of its journal so far.
    fn written(&self) -> Answer<u64> {
        self.number("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")
    }

    /// Bytes of its tables and indexes.
    pub(crate) fn size(&self) -> Answer<u64> {
        self.number("SELECT pg_database_size(current_database())")
    }
}

fn figure(
    what: &str,
    (value, unit): (f64, &'static str),
    target: Target,
    beside: String,
) -> Figure {
    Figure { scenario: SCENARIO, what: what.to_owned(), value, unit, target, beside }
}

/// Measures issuing, what it writes, and revoking across two nodes.
pub(crate) fn run(setting: &Setting, effort: Effort) -> Answer<Vec<Figure>> {
    let database = Database::start(&setting.work)?;
    let server = Server::start_at(&setting.accredit, &setting.work, &database.url())?;
    let mut figures = issuing(setting, effort, &database, &server)?;
    let other = server.node(&setting.accredit)?;
    figures.push(revoke::across(SCENARIO, effort, (&server, &other), ACROSS_MAX)?);
    Ok(figures)
}

/// The same binary on SQLite and on PostgreSQL, in turns under the same load.
fn issuing(
    setting: &Setting,
    effort: Effort,
    database: &Database,
    server: &Server,
) -> Answer<Vec<Figure>> {
    let embedded = Server::start(&setting.accredit, &setting.work)?;
    let on = |server: &Server, name: &str| -> Answer<(Rounds, Side)> {
        let file = setting.work.join(name);
        server.plan(Method::Basic, CONNECTIONS)?.write(&file)?;
        let rounds = Rounds { program: setting.bench.clone(), plan: file, time: effort.round };
        Ok((rounds, Side::new(server.pid(), &server.address)))
    };
    let (on_file, mut theirs) = on(&embedded, "plan-sqlite.json")?;
    let (on_server, mut ours) = on(server, "plan-postgres.json")?;
    let mut wal = 0;
    for round in 0..effort.rounds {
        if round % 2 == 1 {
            on_file.round(&mut theirs, Among::Own)?;
        }
        let before = database.written()?;
        on_server.round(&mut ours, Among::Own)?;
        wal += database.written()? - before;
        if round % 2 == 0 {
            on_file.round(&mut theirs, Among::Own)?;
        }
    }
    let ratios: Vec<f64> =
        ours.rates.iter().zip(&theirs.rates).map(|(a, b)| 100.0 * a / b).collect();
    let (rate, embedded_rate) = (median(&ours.rates), median(&theirs.rates));
    let rates = format!(
        "{} against {}, closed loop, {CONNECTIONS} connections; {} rounds, ratios {}; the database \
         shares the cores; CPU of the node per token {} against {}",
        number(rate, "/s"),
        number(embedded_rate, "/s"),
        ratios.len(),
        spread(&ratios, "%"),
        number(median(&ours.cpu), "µs"),
        number(median(&theirs.cpu), "µs"),
    );
    let issued = format!(
        "{} bytes of WAL for {} tokens, `synchronous_commit=on`, with whole pages after each checkpoint",
        number(wal as f64, ""),
        number(ours.answered as f64, ""),
    );
    let each = wal as f64 / (ours.answered as f64).max(1.0);
    drop(embedded);
    let script = Script {
        address: ours.address.clone(),
        connections: CONNECTIONS,
        warm_up: WARM_UP,
        time: effort.open_loop,
        rate: rate / 2.0,
        assertions: 0,
        among: Among::Own,
        may_shed: false,
    };
    let load = on_server.load(&script)?;
    let [half, p90, p99, p999, most] = load.quantiles.map(|micros| micros as f64 / 1000.0);
    let open = format!(
        "{} sent for {:.0} s, from the intended send time: p50 {half:.2}, p90 {p90:.2}, p99.9 \
         {p999:.2}, longest {most:.2} ms",
        number(rate / 2.0, "/s"),
        load.seconds
    );
    for rounds in [on_file, on_server] {
        // Its secrets are worth nothing any more, but need not lie about.
        let _ = std::fs::remove_file(&rounds.plan);
    }
    Ok(vec![
        figure(
            "issuing, of the rate of the same binary on SQLite",
            (median(&ratios), "%"),
            Target::AtLeast(50.0),
            rates,
        ),
        figure("p99, open loop at half the maximum", (p99, "ms"), Target::AtMost(40.0), open),
        figure("WAL for each token", (each, "bytes"), Target::None, issued),
    ])
}

/// A large registry on PostgreSQL.
pub(crate) fn million(setting: &Setting, effort: Effort) -> Answer<Vec<Figure>> {
    let database = Database::start(&setting.work)?;
    let server = Server::start_at(&setting.accredit, &setting.work, &database.url())?;
    million::on_database(setting, effort, (server, &database))
}
