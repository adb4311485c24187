//! The store on a PostgreSQL server of this machine: issuing beside the same binary on SQLite, a
//! revocation from one node to a Verifier at another, what a token writes, and a large registry.
//!
//! The server is this run's own, in a folder on the same disk, with `synchronous_commit` and `fsync`
//! as they are by default. It shares the machine's cores with all the rest, which SQLite does not.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::load::Among;
use crate::plan::Method;
use crate::report::{Figure, Target, median, number, spread};
use crate::revoke;
use crate::rounds::{CONNECTIONS, Rounds, Side};
use crate::server::Server;
use crate::{Answer, Effort, Setting, cluster, issue, million};

const SCENARIO: &str = "postgres";
/// The p99 at half of what is reached, milliseconds.
const HALF_LOAD_MAX: f64 = 40.0;
/// How long a revocation may take from one node to a Verifier at another, milliseconds.
const ACROSS_MAX: f64 = 100.0;
/// Memory that the server keeps pages in.
const BUFFERS: &str = "shared_buffers=256MB";
/// Between two checkpoints of the server, at most: what is written anew after each is part of what a
/// token costs, as often as with its defaults.
const WAL: &str = "max_wal_size=1GB";

/// The file by which a server's folder outlives it.
const KEPT: &str = "kept";

/// A PostgreSQL server of this run's own, stopped with this process.
pub(crate) struct Database {
    port: u16,
}

impl Database {
    /// Starts one below `work`, empty.
    pub(crate) fn start(work: &Path) -> Answer<Self> {
        Self::with(|options| {
            cluster::start_in(work, options, &|_| {});
        })
    }

    /// Starts the one of a folder that stays, which is empty the first time.
    pub(crate) fn kept(folder: &Path) -> Answer<Self> {
        let kept = folder.join(KEPT);
        if !kept.is_file() {
            std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
            cluster::give_folder(folder);
            cluster::init(folder);
            cluster::give(&kept, "");
        }
        // What it said when it was started before: it is listened to for its being ready.
        let _ = std::fs::remove_file(folder.join("log"));
        Self::with(|options| cluster::keep(folder, options))
    }

    fn with(start: impl FnOnce(&[&str])) -> Answer<Self> {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = free.map_err(|error| error.to_string())?.port();
        let at = port.to_string();
        let settings = ["-c", "fsync=on", "-c", "synchronous_commit=on", "-c", BUFFERS, "-c", WAL];
        let reached = ["-c", "listen_addresses=127.0.0.1", "-p", &at];
        start(&[&settings[..], &reached].concat());
        Ok(Self { port })
    }

    /// Where a store is in it.
    pub(crate) fn url(&self) -> String {
        format!("postgres://accredit@127.0.0.1:{}/postgres?sslmode=disable", self.port)
    }

    /// The number that a statement answers.
    fn number(&self, sql: &str) -> Answer<u64> {
        let told = self.told(sql)?;
        told.trim().parse().map_err(|error| format!("psql: {error}: {told}"))
    }

    /// What a statement answers.
    fn told(&self, sql: &str) -> Answer<String> {
        // It comes with the client, which may stand elsewhere than the server.
        let beside = cluster::programs().join("psql");
        let program = if beside.is_file() { beside } else { "psql".into() };
        let mut ask = Command::new(program);
        ask.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "accredit"]);
        ask.args(["-d", "postgres", "-Atqc", sql]).stdin(Stdio::null()).stderr(Stdio::inherit());
        let told = ask.output().map_err(|error| format!("psql: {error}"))?;
        if !told.status.success() {
            return Err(format!("psql: {}: {sql}", told.status));
        }
        Ok(String::from_utf8_lossy(&told.stdout).into_owned())
    }

    /// Bytes of its journal so far.
    fn written(&self) -> Answer<u64> {
        self.number("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")
    }

    /// Has the server do now what it would do by itself, some minutes after much was written: it is
    /// not what is measured.
    pub(crate) fn settle(&self) -> Answer<()> {
        self.told("VACUUM (ANALYZE)")?;
        self.told("CHECKPOINT").map(drop)
    }

    /// Bytes of its tables and indexes.
    pub(crate) fn size(&self) -> Answer<u64> {
        self.number("SELECT pg_database_size(current_database())")
    }
}

/// Measures issuing, what it writes, and revoking across two nodes.
pub(crate) fn run(setting: &Setting, effort: Effort) -> Answer<Vec<Figure>> {
    let database = Database::start(&setting.work)?;
    let server = Server::start_at(&setting.accredit, &setting.work, Some(&database.url()))?;
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
    let open = issue::open_loop(SCENARIO, (&on_server, &ours), effort, HALF_LOAD_MAX)?;
    for rounds in [on_file, on_server] {
        // Its secrets are worth nothing any more, but need not lie about.
        let _ = std::fs::remove_file(&rounds.plan);
    }
    Ok(vec![
        Figure::of(
            SCENARIO,
            "issuing, of the rate of the same binary on SQLite",
            (median(&ratios), "%"),
            Target::AtLeast(50.0),
            rates,
        ),
        open,
        Figure::of(SCENARIO, "WAL for each token", (each, "bytes"), Target::None, issued),
    ])
}

/// A large registry on PostgreSQL.
pub(crate) fn million(setting: &Setting, effort: Effort) -> Answer<Vec<Figure>> {
    let database = match &setting.registry {
        Some(folder) => Database::kept(&folder.join("postgres"))?,
        None => Database::start(&setting.work)?,
    };
    million::on_database(setting, effort, &database)
}
