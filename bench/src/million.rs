//! A large registry: a million agents with a credential each, a fifth of them active at once.
//!
//! The same server answers all of it, so that what differs is only whose requests come. Agents hold
//! one of [`ROLES`] sets of permissions, as agents of a company do.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::client::{Client, text};
use crate::load::Among;
use crate::plan::{self, Method, Plan};
use crate::postgres::Database;
use crate::report::{Figure, Target, median, number, spread};
use crate::rounds::{Rounds, Side};
use crate::server::{RESOURCE, Server, with_secret};
use crate::{Answer, Effort, Setting, ambient, machine};

const SCENARIO: &str = "million";
/// Agents whose facts are in memory whatever happens: what others are compared with.
const FEW: usize = 1_000;
/// Connections that register at a time.
const REGISTRARS: usize = 32;
/// Who was registered, for the load generator.
const PLAN: &str = "plan.json";
/// Owners of the agents.
const OWNERS: usize = 1_000;
/// Sets of permissions.
const ROLES: usize = 50;
/// Resources besides the one that tokens are for, and actions of each.
const RESOURCES: usize = 10;
const ACTIONS: [&str; 4] = ["read", "write", "list", "delete"];
/// What issuing needs to know of a client, found in memory or read from the store.
const FACTS: [&str; 2] = ["accredit_store_cache_hits_total", "accredit_store_cache_misses_total"];
/// Starts, and looks at each list.
const REPEATS: usize = 5;
/// How often progress is told, in agents.
const TOLD_EVERY: usize = 100_000;

/// Registers, restarts, and measures issuing, lists and memory.
pub(crate) fn run(setting: &Setting, effort: Effort) -> Answer<Vec<Figure>> {
    let agents = effort.agents.0;
    let mut figures = Vec::new();
    let (server, file) = match &setting.registry {
        Some(folder) if folder.join(PLAN).is_file() => {
            let (data, file) = (folder.join("data"), folder.join(PLAN));
            let issuer = Plan::read(&file)?.issuer;
            (Server::start_kept(&setting.accredit, &data, Some(&issuer))?, file)
        }
        kept => {
            let server = match kept {
                Some(folder) => Server::start_kept(&setting.accredit, &folder.join("data"), None)?,
                None => Server::start(&setting.accredit, &setting.work)?,
            };
            let file = kept.as_ref().unwrap_or(&setting.work).join(PLAN);
            let begun = ambient::instant();
            register(&server, agents)?.write(&file)?;
            figures.push(registered(agents, begun.elapsed(), server.size()?));
            (server, file)
        }
    };
    figures.extend(measured(setting, effort, server, &file)?);
    if setting.registry.is_none() {
        // Its secrets are worth nothing any more, but need not lie about.
        let _ = std::fs::remove_file(&file);
    }
    Ok(figures)
}

/// The same with the store in a database: registered in a file, and copied as an installation that
/// moves is. One that is kept was moved before.
pub(crate) fn on_database(
    setting: &Setting,
    effort: Effort,
    database: &Database,
) -> Answer<Vec<Figure>> {
    let (accredit, agents) = (&setting.accredit, effort.agents.0);
    let folder = setting.registry.as_ref().unwrap_or(&setting.work);
    let (file, founded) = (folder.join("plan-postgres.json"), folder.join("founded.json"));
    let mut figures = Vec::new();
    let server = if setting.registry.is_some() && founded.is_file() {
        database.settle()?;
        Server::start_founded(accredit, &founded, &database.url())?
    } else {
        let mut server = Server::start_at(accredit, folder, None)?;
        register(&server, agents)?.write(&file)?;
        let took = server.move_to(accredit, &database.url())?;
        database.settle()?;
        figures.push(moved(agents, took, database.size()?));
        if setting.registry.is_some() {
            server.keep(&founded)?;
        }
        server
    };
    figures.extend(measured(setting, effort, server, &file)?);
    if setting.registry.is_none() {
        let _ = std::fs::remove_file(&file);
    }
    let of_here = |figure| Figure { scenario: "million-postgres", ..figure };
    Ok(figures.into_iter().map(of_here).collect())
}

fn measured(
    setting: &Setting,
    effort: Effort,
    mut server: Server,
    file: &Path,
) -> Answer<Vec<Figure>> {
    let (agents, active) = effort.agents;
    let mut figures = Vec::new();
    let mut starts = Vec::new();
    for _ in 0..REPEATS {
        server.restart(&setting.accredit)?;
        starts.push(server.ready_after.as_secs_f64() * 1000.0);
    }
    figures.push(Figure::of(
        SCENARIO,
        "process started until `/readyz` says yes",
        (median(&starts), "ms"),
        Target::AtMost(250.0),
        format!("{} starts on the same folder: {}", starts.len(), spread(&starts, "ms")),
    ));
    figures.extend(lists(&server, agents)?);

    let rounds =
        Rounds { program: setting.bench.clone(), plan: file.to_owned(), time: effort.round };
    let mut sides = [FEW, active].map(|_| Side::new(server.pid(), &server.address));
    warm(&rounds, &server, active)?;
    let [few, many] = &mut sides;
    for _ in 0..effort.rounds {
        rounds.round(few, Among::AtRandom(FEW.min(active)))?;
        rounds.round(many, Among::AtRandom(active))?;
    }
    let mut figures_of = compared(&format!("{} active", grouped(active)), few, many, 80.0);
    figures_of.push(memory(&server, "anonymous memory after those rounds")?);
    figures.extend(figures_of);

    let (mut few, mut all) =
        (Side::new(server.pid(), &server.address), Side::new(server.pid(), &server.address));
    let mut looked = 0;
    // Each in its turn, and none that was active before: what is kept in memory is of no use.
    let idle = (agents - active) / effort.rounds.max(1);
    for round in 0..effort.rounds {
        rounds.round(&mut few, Among::AtRandom(FEW.min(active)))?;
        let before = server.metrics(FACTS)?;
        let from = active + round * idle;
        rounds.round(&mut all, Among::InTurn { from, clients: idle })?;
        let after = server.metrics(FACTS)?;
        looked += after[1].saturating_sub(before[1]);
    }
    figures.extend(compared("each active once, nearly none in memory", &few, &all, 50.0));
    // A request that finds nothing looks twice, for its credential and for its agent, and finds the
    // agent afterwards where the first look has put it: what was found in memory tells nothing.
    let (misses, tokens) = (looked as f64, all.answered as f64);
    figures.push(Figure::of(
        SCENARIO,
        "of these requests, with nothing of theirs in memory",
        ((100.0 * misses / (2.0 * tokens).max(1.0)).min(100.0), "%"),
        if tokens <= (idle * effort.rounds) as f64 { Target::AtLeast(90.0) } else { Target::None },
        format!("{} looks at the store for {} tokens", number(misses, ""), number(tokens, "")),
    ));
    figures.push(memory(&server, "anonymous memory after all rounds")?);
    Ok(figures)
}

fn grouped(count: usize) -> String {
    number(count as f64, "")
}

/// Resources, then agents with a secret each, over many connections at a time.
fn register(server: &Server, agents: usize) -> Answer<Plan> {
    server.resource()?;
    let mut admin = server.admin()?;
    for number in 0..RESOURCES {
        let resource = json!({
            "name": format!("service-{number}"),
            "audience": format!("https://service-{number}.bench.example"),
            "actions": ACTIONS,
        });
        admin.post("/v1/resources", &resource)?;
    }
    let (next, clients) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(agents)));
    let work = || -> Answer<()> {
        let mut admin = server.admin()?.patient();
        let mut own = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= agents {
                break;
            }
            own.push(one(&mut admin, number)?);
            if number % TOLD_EVERY == TOLD_EVERY - 1 {
                eprintln!("registered: {} agents", number + 1);
            }
        }
        clients.lock().map_err(|error| error.to_string())?.append(&mut own);
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..REGISTRARS).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| "a registrar panicked".to_owned())?)
    })?;
    Ok(Plan {
        method: Method::Basic,
        path: server.token_path(),
        issuer: server.issuer.clone(),
        scope: format!("{RESOURCE}:read"),
        clients: clients.into_inner().map_err(|error| error.to_string())?,
        token_bytes: 0,
        subjects: Vec::new(),
        subject_key: String::new(),
        csrs: Vec::new(),
    })
}

fn one(admin: &mut Client, number: usize) -> Answer<plan::Client> {
    let name = format!("agent-{number:07}");
    let role = number % ROLES;
    let mut allow = vec![format!("{RESOURCE}:read")];
    for (index, action) in ACTIONS.iter().enumerate().take(1 + role % ACTIONS.len()) {
        allow.push(format!("service-{}:{action}", (role + index) % RESOURCES));
    }
    let agent = json!({
        "name": name, "owner_email": format!("owner-{:04}@bench.example", number % OWNERS),
        "purpose": "to be one of many", "allow": allow, "activate": true,
    });
    let id = text(&admin.post("/v1/agents", &agent)?, "client_id")?;
    with_secret(admin, &name, id)
}

fn moved(agents: usize, took: Duration, size: u64) -> Figure {
    Figure::of(
        SCENARIO,
        "agents copied to the database, and compared",
        (agents as f64 / took.as_secs_f64(), "/s"),
        Target::None,
        format!(
            "`accredit store copy` of {} agents, credentials and their events in {:.0} s; {} of database for each",
            grouped(agents),
            took.as_secs_f64(),
            number(size as f64 / agents as f64, "bytes"),
        ),
    )
}

fn registered(agents: usize, took: Duration, size: u64) -> Figure {
    Figure::of(
        SCENARIO,
        "agents registered, with a credential each, over the API",
        (agents as f64 / took.as_secs_f64(), "/s"),
        Target::None,
        format!(
            "{} in {:.0} s over {REGISTRARS} connections; {} of store for each with its events",
            grouped(agents),
            took.as_secs_f64(),
            number(size as f64 / agents as f64, "bytes"),
        ),
    )
}

/// Each list once before it counts: what is measured is the server, not the disk.
fn lists(server: &Server, agents: usize) -> Answer<Vec<Figure>> {
    let (middle, last) = (agents / 2, agents - 1);
    let looks = [
        ("first page of agents", "/v1/agents?limit=200".to_owned()),
        ("agents by name, from the end", "/v1/agents?limit=200&sort=-name".to_owned()),
        (
            "agents by the beginning of a name",
            format!("/v1/agents?limit=200&q=agent-{:05}", middle / 100),
        ),
        ("agents of a state that none has", "/v1/agents?limit=200&state=suspended".to_owned()),
        (
            "agents by their review, from the end",
            "/v1/agents?limit=200&sort=-review_due_at".to_owned(),
        ),
        (
            "agents last seen before any was",
            "/v1/agents?limit=200&last_seen_after=2000-01-01T00:00:00Z\
             &last_seen_before=2000-01-02T00:00:00Z"
                .to_owned(),
        ),
        ("credentials by their end", "/v1/credentials?limit=200&sort=expires_at".to_owned()),
        ("an agent by its name", format!("/v1/agents/agent-{last:07}")),
        ("first page of credentials", "/v1/credentials?limit=200".to_owned()),
        ("credentials of an agent", format!("/v1/credentials?agent=agent-{middle:07}")),
        ("a person by the e-mail address", "/v1/persons?q=owner-0999".to_owned()),
        ("newest events", "/v1/events?limit=200&sort=-created_at".to_owned()),
        ("events of a kind that is rare", "/v1/events?limit=200&type=resource.created".to_owned()),
    ];
    let mut admin = server.admin()?;
    let mut figures = Vec::new();
    for (what, path) in looks {
        let mut times = Vec::new();
        for repeat in 0..=REPEATS {
            let begun = ambient::instant();
            let status = admin.get(&path)?;
            if status != 200 {
                return Err(format!("{path} answered {status}"));
            }
            if repeat > 0 {
                times.push(begun.elapsed().as_secs_f64() * 1000.0);
            }
        }
        figures.push(Figure::of(
            SCENARIO,
            what,
            (median(&times), "ms"),
            Target::AtMost(50.0),
            format!("`GET {path}`, {} times: {}", times.len(), spread(&times, "ms")),
        ));
    }
    Ok(figures)
}

/// Three requests for each active agent, at random: one in twenty had none, and what is kept of the
/// others is in memory.
fn warm(rounds: &Rounds, server: &Server, active: usize) -> Answer<()> {
    let mut side = Side::new(server.pid(), &server.address);
    while side.answered < 3 * active as u64 {
        let before = side.answered as usize;
        let slow = Rounds {
            program: rounds.program.clone(),
            plan: PathBuf::clone(&rounds.plan),
            time: Duration::from_secs(10),
        };
        slow.round(&mut side, Among::AtRandom(active))?;
        if side.answered as usize == before {
            return Err("nothing is answered".to_owned());
        }
    }
    Ok(())
}

fn compared(what: &str, few: &Side, many: &Side, least: f64) -> Vec<Figure> {
    let pairs = |a: &[f64], b: &[f64]| -> Vec<f64> {
        a.iter().zip(b).map(|(a, b)| 100.0 * a / b).collect()
    };
    let (ratios, cpu) = (pairs(&many.rates, &few.rates), pairs(&few.cpu, &many.cpu));
    vec![Figure::of(
        SCENARIO,
        &format!("issuing, {what}, of the rate with {} active", grouped(FEW)),
        (median(&ratios), "%"),
        Target::AtLeast(least),
        format!(
            "{} against {}; {} rounds, ratios {}; by CPU alone {}: {} against {} for each token",
            number(median(&many.rates), "/s"),
            number(median(&few.rates), "/s"),
            ratios.len(),
            spread(&ratios, "%"),
            number(median(&cpu), "%"),
            number(median(&many.cpu), "µs"),
            number(median(&few.cpu), "µs"),
        ),
    )]
}

fn memory(server: &Server, what: &str) -> Answer<Figure> {
    let anonymous = machine::anonymous_kib(server.pid())? as f64 * 1.024 / 1000.0;
    let resident = machine::resident_kib(server.pid())? as f64 * 1.024 / 1000.0;
    let beside = format!("{} resident with what is mapped from files", number(resident, "MB"));
    Ok(Figure::of(SCENARIO, what, (anonymous, "MB"), Target::AtMost(250.0), beside))
}
