//! Several nodes on one store: from one seed a small world in which nodes answer, are cut off from the
//! store, stand still, end in the middle of a write and start again, and checkers of what must hold
//! whichever of them is asked (ARCHITECTURE.md, invariants).
//!
//! The store is one file, which the nodes share as they would share a database: the code by which a
//! node tells the others what it wrote, hears what they wrote and knows how old that is runs as it does
//! on PostgreSQL. Only waiting for each other is left to the one writer that the engine has; races in
//! which two transactions are open at a time are tried on a real server (`store/tests/postgres`).
//! Requests go through the router, one at a time; what happens between a decision and its write
//! happens in the signing of the token. All nodes have the same monotonic time and each a time of day
//! of its own, within what clocks may differ by.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use accredit_domain::audit::fsck;
use accredit_domain::audit::integrate;
use accredit_domain::lease::{Job, Lease};
use accredit_domain::ports::Clock as _;
use accredit_domain::view::VIEW_AGE_MAX;
use accredit_server::{jobs, slots};
use accredit_store::driver::around::{Around, DriverAround, Step};
use accredit_store::driver::sqlite::SqliteDriver;
use accredit_store::driver::{Driver, DriverError};
use accredit_wire::crypto::Algorithm;
use accredit_wire::ids::{AnyId, EventId};
use accredit_wire::time::Time;
use serde_json::json;
use tempfile::TempDir;

use super::check::check_point;
use super::issue::read;
use super::model::{AGENTS, RESOURCES, Side};
use super::{Broke, Broken, Invariant, Plan, must};
use crate::entropy::Chance;
use crate::fault::FailAt;
use crate::{Answer, Ask, Client, Org, RootPlace, SettableClock, Signer, TestWorld};

/// Nodes of one world.
const NODES: usize = 3;
/// By how much their times of day differ, milliseconds.
const SKEW_MILLIS_MAX: u64 = 900;
/// How old what a node with a flaw knows may be.
const NEVER_TOO_OLD: Duration = Duration::from_hours(1000);

/// What is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A node takes itself for up to date and does not look what others wrote.
    NobodyCatchesUp,
    /// A node does not look how old what it knows is.
    AgeIsNoMatter,
    /// A write of an issuance does not see what was revoked since its decision.
    FenceIsBlind,
}

/// What came of a simulation in which everything held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What happened, one line each.
    pub told: Vec<String>,
    /// Tokens that left.
    pub issued: usize,
    /// Tokens that a revocation covers.
    pub ended: usize,
    /// Revocations that were answered.
    pub revoked: usize,
    /// Requests that a node refused because it had heard nothing for too long.
    pub stale: usize,
    /// Requests to a node that was cut off from the store.
    pub cut: usize,
    /// Nodes that ended and started again.
    pub restarts: usize,
    /// Faults of the store in the middle of a write.
    pub faults: usize,
    /// Decisions at one node that a revocation at another overtook.
    pub overtaken: usize,
    /// Single-use values that were shown to a second node.
    pub shown_again: usize,
    /// Tokens whose event is in a lane of a node's own.
    pub beside: usize,
    /// Slots that were taken from a node between a decision and its write.
    pub slots_lost: usize,
    /// Messages that enforcement points took.
    pub heard: usize,
}

/// What is between a node and the store.
#[derive(Default)]
struct Link {
    is_cut: AtomicBool,
}

impl Link {
    /// What was begun ends with the connection, whatever is carried.
    fn carries(&self, step: Step) -> Result<(), DriverError> {
        if step != Step::Rollback && self.is_cut.load(Ordering::SeqCst) {
            return Err(DriverError::Unavailable("a cut that the test asked for".to_owned()));
        }
        Ok(())
    }
}

impl Around for Link {
    fn writing<T: Default>(
        &self,
        step: Step,
        run: impl FnOnce() -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        self.carries(step)?;
        run()
    }

    fn reading<T: Default>(
        &self,
        step: Step,
        run: impl FnOnce() -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        self.carries(step)?;
        run()
    }

    fn is_shared(&self, _is_shared: bool) -> bool {
        true
    }
}

/// A node, and what it must know.
struct Node {
    world: Option<Arc<TestWorld>>,
    clock: Arc<SettableClock>,
    link: Arc<Link>,
    /// Up to when it was last up to date, by the monotonic clock.
    caught_up: Duration,
    /// The counter of the newest revocation that it must know.
    knows: u64,
}

/// Something that may be used once, and whether it was.
struct Once {
    text: String,
    expires: Time,
    used: bool,
}

/// The nodes, and all that is known about them.
struct Nodes {
    plan: Plan,
    flaw: Option<Flaw>,
    chance: Chance,
    folder: TempDir,
    driver: Arc<SqliteDriver>,
    root: Option<Arc<RootPlace>>,
    all: Vec<Node>,
    side: Option<Side>,
    signer: Option<Signer>,
    once: Vec<Once>,
    /// When each revocation was answered, by the monotonic clock.
    answered: Vec<Duration>,
    /// What had been answered when a point asked.
    asked: BTreeMap<i64, u64>,
    /// Tokens, each with the slot in whose lane its event must not be.
    outside: Vec<(String, u16)>,
    report: Report,
    starts: u64,
}

/// Runs a seed to its end, or to the first thing that does not hold.
pub async fn run(seed: u64, steps: usize, flaw: Option<Flaw>) -> Result<Report, Box<Broken>> {
    let mut nodes = Nodes::begin(Plan { seed, steps, flaw: None }, flaw).await;
    let mut step = 0;
    let result = loop {
        if step == steps {
            break nodes.finish().await;
        }
        step += 1;
        if let Err(broke) = nodes.step(step).await {
            break Err(broke);
        }
    };
    result.map(|()| nodes.report.clone()).map_err(|(invariant, what)| {
        let told = nodes.report.told.clone();
        Box::new(Broken { seed, step, invariant, what, told })
    })
}

impl Nodes {
    async fn begin(plan: Plan, flaw: Option<Flaw>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let driver = SqliteDriver::open(&folder.path().join("shared.db")).expect("a database");
        let (driver, chance) = (Arc::new(driver), Chance::new(plan.seed));
        let mut nodes = Self {
            plan,
            flaw,
            chance,
            folder,
            driver,
            root: None,
            all: Vec::new(),
            side: None,
            signer: None,
            once: Vec::new(),
            answered: Vec::new(),
            asked: BTreeMap::new(),
            outside: Vec::new(),
            report: Report::default(),
            starts: 0,
        };
        for n in 0..NODES {
            let clock = Arc::new(SettableClock::default());
            let skew = Duration::from_millis(nodes.chance.below(SKEW_MILLIS_MAX as usize) as u64);
            clock.set(clock.now().plus(skew));
            let node = Node {
                world: None,
                clock,
                link: Arc::default(),
                caught_up: Duration::ZERO,
                knows: 0,
            };
            nodes.all.push(node);
            nodes.start(n).await;
            if n == 0 {
                let world = nodes.world(0);
                nodes.root = Some(Arc::clone(&world.root));
                let side = Side::new(&world, "acme", plan).await;
                let signer = world.agent_key(&side.org, AGENTS[0], "k1", Algorithm::EdDsa).await;
                (nodes.side, nodes.signer) = (Some(side), Some(signer));
            }
        }
        nodes
    }

    fn world(&self, n: usize) -> Arc<TestWorld> {
        Arc::clone(self.all[n].world.as_ref().expect("it runs between steps"))
    }

    fn side(&mut self) -> &mut Side {
        self.side.as_mut().expect("founded")
    }

    fn org(&self) -> Org {
        self.side.as_ref().expect("founded").org.clone()
    }

    fn rev(&self) -> u64 {
        self.side.as_ref().map_or(0, Side::rev)
    }

    fn tell(&mut self, what: String) {
        self.report.told.push(what);
    }

    fn up(&self) -> Duration {
        self.all[0].clock.elapsed()
    }

    /// Starts a node: what it knows, it reads.
    async fn start(&mut self, n: usize) {
        self.starts += 1;
        // A seed of its own: no two processes draw the same.
        let seed = (self.plan.seed << 16) + self.starts;
        let folder = tempfile::tempdir_in(self.folder.path()).expect("a temporary folder");
        let (clock, link) = (Arc::clone(&self.all[n].clock), Arc::clone(&self.all[n].link));
        let driver: Arc<dyn Driver> = Arc::clone(&self.driver) as _;
        let wrap = |_| Arc::new(DriverAround::new(driver, link)) as Arc<dyn Driver>;
        let root = self.root.clone();
        let world = TestWorld::open_with(folder, clock, (seed, root), wrap).await;
        assert!(world.world.store.is_shared(), "nobody has the store alone");
        world.faults.blind_fence(self.flaw == Some(Flaw::FenceIsBlind));
        if self.flaw == Some(Flaw::AgeIsNoMatter) {
            world.world.view.age_max.set(NEVER_TOO_OLD).expect("a new process");
        }
        self.all[n].world = Some(Arc::new(world));
        (self.all[n].caught_up, self.all[n].knows) = (self.up(), self.rev());
    }

    /// A node ends, however it stands, and starts again.
    async fn restart(&mut self, n: usize) {
        self.all[n].link.is_cut.store(false, Ordering::SeqCst);
        let world = self.all[n].world.take().and_then(Arc::into_inner);
        let world = world.expect("nobody else holds the world between steps");
        world.store.close();
        drop(world);
        self.start(n).await;
        self.report.restarts += 1;
        self.tell(format!("node {n} starts again"));
    }

    fn is_cut(&self, n: usize) -> bool {
        self.all[n].link.is_cut.load(Ordering::SeqCst)
    }

    /// Whether what a node knows is young enough, as it ought to be.
    fn is_current(&self, n: usize) -> bool {
        self.up() <= self.all[n].caught_up + VIEW_AGE_MAX
    }

    async fn step(&mut self, step: usize) -> Result<(), Broke> {
        let by = Duration::from_millis(1 + self.chance.below(500) as u64);
        self.all.iter().for_each(|node| node.clock.advance(by));
        // Mostly a node looks all the time; one that stands still does not.
        for n in 0..NODES {
            if !self.chance.once_in(3) {
                self.catch_up(n).await?;
                self.look_for_a_slot(n).await?;
            }
        }
        let n = self.chance.below(NODES);
        match self.chance.below(24) {
            0..=5 => self.issue(n).await?,
            6 => self.issue_while_the_slot_is_taken(n).await?,
            7 | 8 => self.issue_while_another_revokes(n).await?,
            9..=11 => self.revoke(n).await?,
            12..=14 => self.introspect(n).await?,
            15 | 16 => self.use_once(n).await?,
            17 => {
                let is_cut = !self.is_cut(n);
                self.all[n].link.is_cut.store(is_cut, Ordering::SeqCst);
                self.tell(format!("node {n} is cut off: {is_cut}"));
            }
            18 => self.restart(n).await,
            19 | 20 => self.fail(n).await?,
            21 => {
                let by = Duration::from_secs(1 + self.chance.below(4) as u64);
                self.all.iter().for_each(|node| node.clock.advance(by));
                self.tell(format!("{} s pass", by.as_secs()));
            }
            _ => self.a_point_asks(n, step).await?,
        }
        self.points_hear(step).await
    }

    /// A node looks what the others wrote.
    async fn catch_up(&mut self, n: usize) -> Result<(), Broke> {
        let (world, up, rev) = (self.world(n), self.up(), self.rev());
        if self.flaw == Some(Flaw::NobodyCatchesUp) {
            world.world.view.confirmed(up);
            (self.all[n].caught_up, self.all[n].knows) = (up, rev);
            return Ok(());
        }
        let is_done = jobs::catch_up(&world.server).await;
        must(is_done != self.is_cut(n), Invariant::StepEndsWell, || {
            format!("node {n} looked what others wrote: {is_done}")
        })?;
        if is_done {
            (self.all[n].caught_up, self.all[n].knows) = (up, rev);
        }
        Ok(())
    }

    /// A node shows that it lives, or looks for lanes of its own.
    async fn look_for_a_slot(&mut self, n: usize) -> Result<(), Broke> {
        let is_done = slots::look(&self.world(n).server).await.is_ok();
        must(is_done != self.is_cut(n), Invariant::StepEndsWell, || {
            format!("node {n} looked for lanes of its own: {is_done}")
        })
    }

    /// What an answer must be, whatever was asked: one that is stale says so and nothing else.
    fn check_answer(&mut self, n: usize, answer: &Answer, writes: bool) -> Result<bool, Broke> {
        let says_stale = answer.status == 503 && answer.text().contains("view-stale");
        let (is_current, is_cut) = (self.is_current(n), self.is_cut(n));
        self.report.stale += usize::from(says_stale);
        self.report.cut += usize::from(is_cut);
        must(says_stale != is_current, Invariant::StaleRefuses, || {
            format!("node {n}, current: {is_current}: {} {}", answer.status, answer.text())
        })?;
        let is_yes = answer.status < 300;
        must(!(is_cut && writes && is_yes), Invariant::EveryTokenHasItsEvent, || {
            format!("node {n} said yes without the store: {}", answer.text())
        })?;
        let is_fault = answer.status >= 500 && !says_stale;
        must(!is_fault || is_cut, Invariant::StepEndsWell, || {
            format!("node {n}: {} {}", answer.status, answer.text())
        })?;
        Ok(is_yes)
    }

    fn client(&mut self) -> Client {
        let side = self.side.as_ref().expect("founded");
        side.clients[self.chance.below(side.clients.len())].clone()
    }

    async fn issue(&mut self, n: usize) -> Result<(), Broke> {
        let (client, world, org) = (self.client(), self.world(n), self.org());
        let scope = ["crm:read", "crm:update", "mail:read"][self.chance.below(3)];
        let answer = world.token(&org, &client, &[("scope", scope)]).await;
        self.tell(format!("node {n} is asked for `{scope}`: {}", answer.status));
        if self.check_answer(n, &answer, true)? {
            self.left(n, &answer)?;
        }
        Ok(())
    }

    /// Notes a token that left a node.
    fn left(&mut self, n: usize, answer: &Answer) -> Result<(), Broke> {
        let text = answer.member("access_token");
        let token = read(&text);
        let side = self.side();
        side.left(text, token);
        let left = side.tokens.last().expect("it was noted");
        let (ended, told) = (left.ended, left.told());
        self.report.issued += 1;
        must(ended.is_none(), Invariant::RevokedIsDead, || {
            format!("node {n} issued what had been ended when it was written: {told}")
        })
    }

    /// An id that tokens hang on.
    fn target(&mut self) -> Option<AnyId> {
        let (choice, side) = (self.chance.below(12), self.side.as_ref().expect("founded"));
        let n = self.chance.below(side.tokens.len().max(1));
        let token = &side.tokens.get(n)?.token;
        Some(match choice {
            0..=5 => token.id.any(),
            6 | 7 => token.client_id.any(),
            8 => token.owner.any(),
            9 => token.resource.any(),
            10 => token.key.any(),
            _ => side.id,
        })
    }

    /// Notes a revocation that was answered.
    fn ended(&mut self, n: usize, target: AnyId, rev: u64) -> Result<(), Broke> {
        let up = self.up();
        let side = self.side();
        side.revoked(target);
        let expected = side.rev();
        self.answered.push(up);
        self.report.revoked += 1;
        self.all[n].knows = expected;
        must(rev == expected, Invariant::LogIsWhole, || {
            format!("node {n} answered with {rev}, the {expected}th that counts")
        })
    }

    async fn revoke(&mut self, n: usize) -> Result<(), Broke> {
        let Some(target) = self.target() else { return Ok(()) };
        let (world, org) = (self.world(n), self.org());
        let body = json!({"target": target.to_string(), "reason": "a test"});
        let answer = world.admin(&org, "POST", "/v1/revocations", Some(body)).await;
        self.tell(format!("node {n} is told to end {target}: {}", answer.status));
        if self.check_answer(n, &answer, true)? {
            let rev = answer.json()["rev"].as_u64().expect("a counter");
            self.ended(n, target, rev)?;
            drop(world);
            self.activate(n).await?;
        }
        Ok(())
    }

    /// What was suspended by its end goes on, so that there is something to issue.
    async fn activate(&mut self, n: usize) -> Result<(), Broke> {
        let (world, org) = (self.world(n), self.org());
        let mut paths = vec![format!("/v1/orgs/{}", org.name)];
        paths.extend(RESOURCES.map(|name| format!("/v1/resources/{name}")));
        paths.extend(AGENTS.map(|name| format!("/v1/persons/{name}-owner@example.com")));
        paths.extend(AGENTS.map(|name| format!("/v1/agents/{name}")));
        for path in paths {
            let path = format!("{path}/activate");
            let body = Some(json!({"reason": "a test"}));
            let answer = world.admin(&org, "POST", &path, body).await;
            must(answer.status < 500, Invariant::StepEndsWell, || {
                format!("{path}: {} {}", answer.status, answer.text())
            })?;
        }
        Ok(())
    }

    /// Between a decision at one node and its write, another one revokes.
    async fn issue_while_another_revokes(&mut self, n: usize) -> Result<(), Broke> {
        let other = (n + 1 + self.chance.below(NODES - 1)) % NODES;
        let Some(target) = self.target() else { return Ok(()) };
        // Whoever knows too little is not let in to revoke.
        if self.is_cut(n) || self.is_cut(other) || !self.is_current(other) {
            return Ok(());
        }
        let (here, there, org) = (self.world(n), self.world(other), self.org());
        let came = Arc::new(Mutex::new(None));
        let (told, of) = (Arc::clone(&came), org.clone());
        here.vault.before_next_token(Box::pin(async move {
            let view = there.revoke(&of, target).await.ok();
            *told.lock().expect("nobody panics with it") = view.map(|view| view.rev);
        }));
        let client = self.client();
        let answer = here.token(&org, &client, &[("scope", "crm:read")]).await;
        here.vault.forget();
        drop(here);
        let rev = *came.lock().expect("nobody panics with it");
        let status = answer.status;
        self.tell(format!("node {n} is overtaken by {other}, which ends {target}: {status}"));
        if let Some(rev) = rev {
            self.ended(other, target, rev)?;
            self.report.overtaken += 1;
        }
        if self.check_answer(n, &answer, true)? {
            self.left(n, &answer)?;
        }
        if rev.is_some() {
            self.activate(other).await?;
        }
        Ok(())
    }

    /// Between a decision and its write, a node that takes this one for dead takes its slot.
    async fn issue_while_the_slot_is_taken(&mut self, n: usize) -> Result<(), Broke> {
        let other = (n + 1) % NODES;
        let (here, there, org) = (self.world(n), self.world(other), self.org());
        let Some(slot) = here.server.slots.own() else { return Ok(()) };
        if self.is_cut(other) {
            return Ok(());
        }
        let taken = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&taken);
        here.vault.before_next_token(Box::pin(async move {
            let (store, job) = (&there.world.store, Job::Lane(slot));
            let Ok(Some(seen)) = store.lease(job).await else { return };
            let holder = Some("another node".to_owned());
            let to = Lease { holder, lease: seen.lease + 1, beat: 0 };
            told.store(
                store.move_lease(job, Some(seen), to).await.is_ok_and(|it| it),
                Ordering::SeqCst,
            );
        }));
        let client = self.client();
        let answer = here.token(&org, &client, &[("scope", "crm:read")]).await;
        here.vault.forget();
        drop(here);
        let is_taken = taken.load(Ordering::SeqCst);
        self.report.slots_lost += usize::from(is_taken);
        let number = slot.number();
        let told =
            format!("node {n} loses slot {number} ({is_taken}) while it issues: {}", answer.status);
        self.tell(told);
        if self.check_answer(n, &answer, true)? {
            self.left(n, &answer)?;
            if is_taken {
                let token = read(&answer.member("access_token")).id.to_string();
                self.outside.push((token, number));
            }
        }
        Ok(())
    }

    /// Somebody asks a node whether a token is alive.
    async fn introspect(&mut self, n: usize) -> Result<(), Broke> {
        let (world, org) = (self.world(n), self.org());
        let count = self.side().tokens.len();
        let of = self.chance.below(count.max(1));
        let Some(left) = self.side.as_ref().and_then(|side| side.tokens.get(of)) else {
            return Ok(());
        };
        let (text, ended, told) = (left.text.clone(), left.ended, left.told());
        let is_over = left.is_over(world.now());
        let ask = Ask::post(org.path("/oauth/introspect")).bearer(&org.admin);
        let answer = world.ask(ask.form(&[("token", &text)])).await;
        self.tell(format!("node {n} is shown {told}: {}", answer.status));
        if !self.check_answer(n, &answer, false)? {
            return Ok(());
        }
        let is_active = answer.json()["active"] == json!(true);
        let knows = self.all[n].knows;
        let long_ago = ended.and_then(|rev| self.answered.get(rev as usize - 1));
        let long_ago = long_ago.is_some_and(|at| self.up() > *at + VIEW_AGE_MAX);
        let is_known = ended.is_some_and(|rev| rev <= knows);
        must(!(is_active && (is_known || long_ago)), Invariant::RevokedIsDead, || {
            format!("node {n}, which knows {knows}, says that it is active: {told}")
        })?;
        let is_alive = ended.is_none() && !is_over && !self.is_cut(n);
        must(
            !is_alive || is_active || is_over_soon(&world, &text),
            Invariant::AliveIsAccepted,
            || format!("node {n} says that it is not active: {told}"),
        )
    }

    /// A client shows an assertion, a new one or one that it has shown before, to any node.
    async fn use_once(&mut self, n: usize) -> Result<(), Broke> {
        let (world, org) = (self.world(n), self.org());
        let now = world.now();
        self.once.retain(|once| once.expires > now);
        let again = !self.once.is_empty() && !self.chance.once_in(3);
        if !again {
            let nonce = format!("{}", self.report.told.len());
            let signer = self.signer.as_ref().expect("registered");
            let text = signer.assertion(now, &nonce);
            self.once.push(Once { text, expires: now.plus(Duration::from_mins(1)), used: false });
        }
        let of = if again { self.chance.below(self.once.len()) } else { self.once.len() - 1 };
        let (text, used) = (self.once[of].text.clone(), self.once[of].used);
        let answer = world.token_by(&org, &text, &[("scope", "crm:read")]).await;
        self.tell(format!("node {n} is shown assertion {of}, used: {used}: {}", answer.status));
        self.report.shown_again += usize::from(used);
        if self.check_answer(n, &answer, true)? {
            must(!used, Invariant::LogIsWhole, || {
                format!("node {n} took an assertion that had been used")
            })?;
            self.once[of].used = true;
            self.left(n, &answer)?;
        }
        Ok(())
    }

    /// The store fails in the middle of a node's revocation, and the node ends.
    async fn fail(&mut self, n: usize) -> Result<(), Broke> {
        let Some(target) = self.target() else { return Ok(()) };
        if self.is_cut(n) || !self.is_current(n) {
            return Ok(());
        }
        let at = match self.chance.below(4) {
            0 => FailAt::BeforeCommit(1),
            1 => FailAt::AfterCommit(1),
            _ => FailAt::Call(1 + self.chance.below(12) as i64),
        };
        let (world, org) = (self.world(n), self.org());
        world.faults.arm(at);
        let result = world.revoke(&org, target).await;
        let failed = world.faults.disarm();
        drop(world);
        self.report.faults += usize::from(failed);
        self.tell(format!("node {n} fails at {at:?} ({failed}) when it ends {target}"));
        if let Ok(view) = result {
            self.ended(n, target, view.rev)?;
        } else {
            self.restart(n).await;
            // What is durable is in force, though nobody was told.
            let rev = self.world(n).tenant(&org).await.rev();
            if rev > self.rev() {
                self.ended(n, target, rev)?;
            }
        }
        self.activate(n).await
    }

    async fn a_point_asks(&mut self, n: usize, step: usize) -> Result<(), Broke> {
        if self.is_cut(n) || !self.is_current(n) {
            return Ok(());
        }
        let (world, rev) = (self.world(n), self.rev());
        let side = self.side.as_mut().expect("founded");
        let of = self.chance.below(side.points.len());
        self.asked.insert(world.clock.right().micros(), rev);
        self.all[n].knows = rev;
        side.points[of].ask(&world, &side.org, (step, &mut self.chance)).await
    }

    /// Enforcement points take what has arrived, and judge every token.
    async fn points_hear(&mut self, step: usize) -> Result<(), Broke> {
        let Some(n) = (0..NODES).find(|n| !self.is_cut(*n)) else { return Ok(()) };
        let world = self.world(n);
        // Keys and proofs are asked of a node that is up to date.
        self.catch_up(n).await?;
        let side = self.side.as_mut().expect("founded");
        for (place, point) in side.points.iter_mut().enumerate() {
            let taken = point.hear(&world, &side.org, step).await?;
            self.report.heard += taken;
            let asked = point.at.and_then(|at| self.asked.get(&at.micros()));
            must(asked.is_none_or(|rev| point.rev >= *rev), Invariant::RevokedIsDead, || {
                format!("point {place} was told {} where {asked:?} had been answered", point.rev)
            })?;
        }
        let right = world.clock.right();
        for left in &side.tokens {
            for point in &side.points {
                check_point(left, point, right)?;
            }
        }
        Ok(())
    }

    /// All can be reached and know everything: they agree, and the log has every token.
    async fn finish(&mut self) -> Result<(), Broke> {
        let org = self.org();
        for n in 0..NODES {
            self.all[n].link.is_cut.store(false, Ordering::SeqCst);
            self.catch_up(n).await?;
            let (rev, expected) = (self.world(n).tenant(&org).await.rev(), self.rev());
            must(rev == expected, Invariant::LogIsWhole, || {
                format!("node {n} counts {rev} after {expected} revocations")
            })?;
        }
        let n = self.chance.below(NODES);
        let world = self.world(n);
        let tenant = world.tenant(&org).await;
        let failed = |fault: accredit_domain::Fault| (Invariant::StepEndsWell, fault.to_string());
        integrate::integrate(&world.world, &tenant).await.map_err(failed)?;
        let report = fsck::fsck(&world.world, &tenant).await.map_err(failed)?;
        must(report.ok, Invariant::LogIsWhole, || format!("{report:?}"))?;
        let logged = issued(&world, &org).await?;
        let side = self.side.as_ref().expect("founded");
        for left in &side.tokens {
            must(
                logged.contains_key(&left.token.id.to_string()),
                Invariant::EveryTokenHasItsEvent,
                || format!("{} left without an event", left.told()),
            )?;
        }
        self.report.ended = side.tokens.iter().filter(|left| left.ended.is_some()).count();
        let lanes = world.world.store.lanes(tenant.id).await.map_err(failed)?;
        let slots: BTreeMap<_, _> = lanes.iter().map(|head| (head.lane, head.slot)).collect();
        let slot_of = |lane: &u16| slots.get(lane).copied().flatten();
        self.report.beside = logged.values().filter(|lane| slot_of(lane).is_some()).count();
        for (token, slot) in &self.outside {
            let lane = logged.get(token);
            must(lane.and_then(slot_of) != Some(*slot), Invariant::LogIsWhole, || {
                format!("{token} was written to lane {lane:?} of slot {slot} by who had lost it")
            })?;
        }
        Ok(())
    }
}

/// Whether a token is over within the time by which clocks of nodes differ.
fn is_over_soon(world: &TestWorld, text: &str) -> bool {
    world.now().seconds() + 1 >= read(text).expires_at
}

/// The ids of all tokens that events tell of, each once, and in which lane.
async fn issued(world: &TestWorld, org: &Org) -> Result<BTreeMap<String, u16>, Broke> {
    let (mut all, mut cursor) = (BTreeMap::new(), String::new());
    loop {
        let path = format!("/v1/events?type=token.issued&limit=200&cursor={cursor}");
        let answer = world.ask(Ask::get(path).bearer(&org.admin)).await;
        must(answer.status == 200, Invariant::StepEndsWell, || answer.text().to_owned())?;
        let page = answer.json();
        for event in page["items"].as_array().expect("items") {
            let token = event["payload"]["token"].as_str().expect("an id").to_owned();
            let id: EventId = event["id"].as_str().expect("an id").parse().expect("a place");
            must(
                all.insert(token.clone(), id.place().0).is_none(),
                Invariant::EveryTokenHasItsEvent,
                || format!("{token} has two events"),
            )?;
        }
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => return Ok(all),
        }
    }
}
