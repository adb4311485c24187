//! SPIFFE Workload Endpoint section 3: an instance for each process of a machine, by the rules that the
//! server keeps.
//!
//! A process is attested when it first asks, and born at the server with a key that is made here for it
//! alone. It is that instance while it runs the same program; when it is over, so is the instance.
//!
//! **Who shares.** A process that descends from one with an instance has that one's, where it is of the
//! same user, group, container, pod and unit of systemd, and either runs the same program or runs one that
//! no rule names. Whatever differs in one of the former never shares, and is attested for itself; so is a
//! process whose ancestor has not asked before it, or is over. A process that begins another program is
//! attested anew, and what it was ends unless the server says that it is the same.
//!
//! **What goes wrong.** While the server does not answer, processes that are known have what there is until
//! it is over, and others are told to come back. When it refuses the node, nothing is given out any more.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use accredit::{AgentError, BirthError, PrivateJwk};
use accredit_wire::crypto::{Algorithm, PrivateKey};
use futures_util::future::{BoxFuture, FutureExt as _, Shared};
use futures_util::stream::{self, StreamExt as _};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::ambient;
use crate::attest::{self, Attestor, FileId, ProcFolder, Selector, Selectors, Told, Unattested};
use crate::door::{Denied, Door};
use crate::ending::{self, Ending, Endings};
use crate::identity::{Identity, Standing};
use crate::node::Node;
use crate::peer::{Held, Peer};
use crate::process::{self, ProcessKey};
use crate::refusals::{Known, Refusals};
use crate::turns::Turns;

/// Processes with an instance at a time.
pub const WORKLOADS_MAX: usize = 4096;
/// Processes that are looked at, and that are born, at a time; and of one user.
const LOOKS_MAX: usize = 16;
const LOOKS_OF_USER_MAX: usize = 4;
const BIRTHS_MAX: usize = 16;
const BIRTHS_OF_USER_MAX: usize = 8;
/// How long it may take to look at a process: its program is read, once.
const LOOK_TIME_MAX: Duration = Duration::from_secs(20);
/// The server's rule by which it refuses a process that is no agent (docs/refusals.md).
const NO_RULE: &str = "workload-agent";
/// How long it is not asked again about a process whose instance it refuses.
const ASKED_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// Instances that are ended at a time when all are.
const ENDS_AT_ONCE: usize = 16;

/// An instance that its daemon left, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Left {
    /// Its id.
    pub instance: String,
    /// Its process.
    pub pid: i32,
    /// When that began, ticks after the machine did.
    pub started: u64,
}

/// The hosts that certificates of some agents' instances are to name on this machine, by the agent's name or
/// id.
pub type Hosts = BTreeMap<String, Vec<String>>;

/// The processes of a machine.
pub struct Workloads(Arc<Inner>);

impl fmt::Debug for Workloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workloads").field("count", &self.count()).finish_non_exhaustive()
    }
}

struct Inner {
    node: Arc<Node>,
    hosts: Hosts,
    attestors: Arc<[Box<dyn Attestor>]>,
    boot: String,
    looks: Turns,
    births: Turns,
    state: Mutex<State>,
    endings: Endings,
}

#[derive(Default)]
struct State {
    entries: HashMap<ProcessKey, Entry>,
    refusals: Refusals,
    is_stopping: bool,
}

#[derive(Clone)]
enum Entry {
    /// It is being born; whoever asks meanwhile waits for the same birth.
    Coming(Coming),
    /// It is there.
    Is(Arc<Workload>),
}

/// A process with an instance.
struct Workload {
    peer: Arc<Peer>,
    instance: String,
    identity: Arc<Identity>,
    /// What it executed when it was attested.
    executable: Option<FileId>,
    walls: Walls,
    /// Told when it has its instance no longer, though the process is not over.
    over: Notify,
    /// When the server was asked again, though it refused the instance.
    again_at: Mutex<Option<Instant>>,
}

impl Workload {
    /// Whether it is time to ask the server again; then it counts as asked.
    fn asked_again(&self, now: Instant) -> bool {
        let mut at = self.again_at.lock().unwrap_or_else(PoisonError::into_inner);
        let is_time = at.is_none_or(|at| now.saturating_duration_since(at) >= ASKED_AGAIN_AFTER);
        if is_time {
            *at = Some(now);
        }
        is_time
    }

    fn key(&self) -> ProcessKey {
        (self.peer.pid, self.peer.started)
    }
}

/// What a process never shares an instance across.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Walls([Option<String>; 5]);

impl Walls {
    fn of(told: &Told) -> Self {
        use Selector::{ContainerId, Gid, PodUid, SystemdUnit, Uid};
        Self(
            [Uid, Gid, ContainerId, PodUid, SystemdUnit]
                .map(|one| told.get(one).map(str::to_owned)),
        )
    }
}

/// What a process was before.
enum Before {
    /// Nothing.
    Stranger,
    /// An instance that it is not any more, since it runs another program.
    Other(String),
    /// An instance that the server refuses now: it may be over while the process is not.
    Refused(Arc<Workload>),
}

/// What was seen of a process.
struct Seen {
    told: Told,
    executable: Option<FileId>,
    /// The processes above, and what each runs.
    ancestors: Vec<(ProcessKey, Option<FileId>)>,
}

/// A birth that whoever asks for the same process waits for.
type Coming = Shared<BoxFuture<'static, Result<Arc<Workload>, Denied>>>;

/// What is decided of a process.
enum Settled {
    /// It is this one.
    Is(Arc<Workload>),
    /// It is being born; and what it is where that comes to nothing.
    Coming(Coming, Option<Arc<Workload>>),
}

/// What a process is that the server gave no instance: its own, which is refused still, or its ancestor's where
/// no rule names it. One that is an agent of its own is never its ancestor.
fn in_its_place<'a>(
    denied: Denied,
    old: Option<&'a Arc<Workload>>,
    ancestor: Option<&'a Arc<Workload>>,
) -> Option<&'a Arc<Workload>> {
    match denied {
        Denied::Unruled => old.or(ancestor),
        Denied::Refused => old,
        _ => None,
    }
}

impl Workloads {
    /// None yet.
    pub fn new(node: Arc<Node>, hosts: Hosts) -> Result<Self, process::NoProcess> {
        Ok(Self(Arc::new(Inner {
            node,
            hosts,
            attestors: attest::all().into(),
            boot: process::boot()?,
            looks: Turns::new(LOOKS_MAX, LOOKS_OF_USER_MAX),
            births: Turns::new(BIRTHS_MAX, BIRTHS_OF_USER_MAX),
            state: Mutex::default(),
            endings: Endings::default(),
        })))
    }

    /// How many processes have an instance now.
    pub fn count(&self) -> usize {
        self.0.state().entries.len()
    }

    /// The name of this start of the machine.
    pub fn boot(&self) -> &str {
        &self.0.boot
    }

    /// Ends what is over, looks how the node stands and what was revoked, for as long as the future is polled.
    pub async fn keep(&self) {
        let mut refused = self.0.node.refused();
        let take_back = async {
            while refused.changed().await.is_ok() {
                if *refused.borrow_and_update() {
                    self.0.take_all_back();
                }
            }
        };
        let follow = self.0.node.upstream.follow();
        tokio::join!(self.0.node.keep(), self.0.endings.keep(&self.0.node), take_back, follow);
    }

    /// Gives nothing out any more, and ends every instance and then the node at the server.
    pub async fn end(&self, reason: &'static str) {
        let stopped = self.stop().await.into_iter();
        let ended = stopped.map(|left| Ending { instance: left.instance, reason });
        self.end_now(ended.collect()).await;
        if let Err(error) = self.0.node.end(reason).await {
            tracing::error!(%error, "the node was not ended");
        }
    }

    /// Gives nothing out any more, and leaves the instances to a daemon that comes back as this node.
    pub async fn leave(&self) -> Vec<Left> {
        let left = self.stop().await;
        self.end_now(Vec::new()).await;
        left
    }

    /// Takes over what an earlier daemon left as this node: what is over by now is ended, and the rest when
    /// its process is. A process that asks again is the same instance with a new key.
    pub fn take_over(&self, boot: &str, left: Vec<Left>) {
        for Left { instance, pid, started } in left.into_iter().take(WORKLOADS_MAX) {
            let inner = Arc::clone(&self.0);
            // After a restart of the machine an id means nothing.
            let found = (boot == self.0.boot).then(|| Held::again(pid, started));
            tokio::spawn(async move {
                if let Some(Ok(process)) = found {
                    process.ended().await;
                }
                // It is kept by another, if it asked again.
                if !inner.state().entries.contains_key(&(pid, started)) {
                    inner.end_later(Some(instance), "its process is over");
                }
            });
        }
    }

    /// Ends these, and what still waits for its end, once each.
    async fn end_now(&self, mut endings: Vec<Ending>) {
        endings.extend(self.0.endings.take());
        let count = endings.len();
        let tried = stream::iter(endings)
            .map(|ending| async move { ending::end(&self.0.node, &ending).await });
        let done = tried.buffer_unordered(ENDS_AT_ONCE).filter(|done| std::future::ready(*done));
        let done = done.count().await;
        if done < count {
            tracing::error!(not_ended = count - done, "the server did not answer in time");
        }
    }

    async fn stop(&self) -> Vec<Left> {
        let coming: Vec<_> = {
            let mut state = self.0.state();
            state.is_stopping = true;
            let coming = |entry: &Entry| match entry {
                Entry::Coming(coming) => Some(coming.clone()),
                Entry::Is(_) => None,
            };
            state.entries.values().filter_map(coming).collect()
        };
        futures_util::future::join_all(coming).await;
        self.0.take_all_back()
    }
}

impl Door for Workloads {
    fn identity<'a>(&'a self, peer: &'a Arc<Peer>) -> BoxFuture<'a, Result<Arc<Identity>, Denied>> {
        Box::pin(self.0.identity(peer))
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn identity(self: &Arc<Self>, peer: &Arc<Peer>) -> Result<Arc<Identity>, Denied> {
        self.is_open()?;
        let key = (peer.pid, peer.started);
        let executable = self.look(peer, |process| Ok(process.executable())).await?;
        if let Some(Entry::Is(known)) = self.state().entries.get(&key)
            && known.executable == executable
            && (known.peer.uid, known.peer.gid) == (peer.uid, peer.gid)
            && !self.is_worth_another(known)
        {
            return Ok(Arc::clone(&known.identity));
        }
        let seen = self.see(peer).await?;
        let ancestor = self.ancestor(peer, &seen);
        let (coming, old) = match self.settle(peer, seen, ancestor.as_ref())? {
            Settled::Is(found) => return Ok(Arc::clone(&found.identity)),
            Settled::Coming(coming, old) => (coming, old),
        };
        let born = coming.await;
        if born.is_err() {
            self.clear(key);
        }
        match born {
            Ok(born) => Ok(Arc::clone(&born.identity)),
            Err(denied) => {
                let other = in_its_place(denied, old.as_ref(), ancestor.as_ref());
                other.map(|other| Arc::clone(&other.identity)).ok_or(denied)
            }
        }
    }

    /// Whether an instance is refused, and was not asked about lately: where its time was over, the process
    /// may be another one.
    fn is_worth_another(&self, known: &Workload) -> bool {
        matches!(known.identity.standing(), Standing::Refused)
            && self.node.upstream.silent_for().is_none()
            && known.asked_again(ambient::instant())
    }

    fn is_open(&self) -> Result<(), Denied> {
        match (self.node.is_refused(), self.state().is_stopping) {
            (true, _) => Err(Denied::Node),
            (_, true) => Err(Denied::Busy),
            (false, false) => Ok(()),
        }
    }

    /// Looks at a process where that may take its time. Whatever was seen is of a process that was there
    /// before and after.
    async fn look<T: Send + 'static>(
        &self,
        peer: &Arc<Peer>,
        at: impl FnOnce(&ProcFolder) -> Result<T, Unattested> + Send + 'static,
    ) -> Result<T, Denied> {
        let looked = async {
            let turn = self.looks.take(peer.uid).await.ok_or(Denied::Busy)?;
            let peer = Arc::clone(peer);
            let looking = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                let process = ProcFolder::of(&peer)?;
                let seen = at(&process)?;
                let is_it = process.started() == Some(peer.started) && peer.is_alive();
                if is_it { Ok(seen) } else { Err(Unattested::Gone) }
            });
            looking.await.map_err(|_| Denied::Busy)?.map_err(Denied::from)
        };
        tokio::time::timeout(LOOK_TIME_MAX, looked).await.unwrap_or(Err(Denied::Busy))
    }

    /// Attests a process.
    async fn see(&self, peer: &Arc<Peer>) -> Result<Seen, Denied> {
        let (attestors, pid) = (Arc::clone(&self.attestors), peer.pid);
        self.look(peer, move |process| {
            let executable = process.executable();
            let told = attest::attest(&attestors, process)?;
            // As it was when it was attested, or it is not known what was.
            if process.executable() != executable {
                return Err(Unattested::Changed);
            }
            let above = process::ancestors(pid).into_iter();
            let ancestors = above.map(|key| (key, ProcFolder::runs(key))).collect();
            Ok(Seen { told, executable, ancestors })
        })
        .await
    }

    /// What becomes of a process that was seen: found, or born. Everything that is decided of it is decided
    /// at once, whoever else asks for the same process.
    fn settle(
        self: &Arc<Self>,
        peer: &Arc<Peer>,
        seen: Seen,
        ancestor: Option<&Arc<Workload>>,
    ) -> Result<Settled, Denied> {
        let key = (peer.pid, peer.started);
        let mut state = self.state();
        let before = match state.entries.get(&key) {
            None => Before::Stranger,
            Some(Entry::Coming(coming)) => return Ok(Settled::Coming(coming.clone(), None)),
            Some(Entry::Is(known)) => {
                let known = Arc::clone(known);
                let is_same =
                    known.executable == seen.executable && known.walls == Walls::of(&seen.told);
                match (is_same, known.identity.standing()) {
                    (true, Standing::Live(..) | Standing::Lapsed) => return Ok(Settled::Is(known)),
                    (true, Standing::Refused) => Before::Refused(known),
                    (false, _) => {
                        known.identity.take_back();
                        known.over.notify_one();
                        Before::Other(known.instance.clone())
                    }
                }
            }
        };
        let same = ancestor.filter(|ancestor| {
            ancestor.executable.is_some() && ancestor.executable == seen.executable
        });
        let old = match (&before, same) {
            (Before::Refused(old), _) => Some(Arc::clone(old)),
            (Before::Stranger | Before::Other(_), Some(same)) => {
                self.not_born(&mut state, key, before);
                return Ok(Settled::Is(Arc::clone(same)));
            }
            (Before::Stranger | Before::Other(_), None) => None,
        };
        if let Err(denied) = self.admitted(&state, peer, &seen) {
            self.not_born(&mut state, key, before);
            let other = in_its_place(denied, old.as_ref(), ancestor);
            return other.map(|other| Settled::Is(Arc::clone(other))).ok_or(denied);
        }
        // Not of the question: that may break off, and a birth may not.
        let birth = tokio::spawn(Arc::clone(self).bear(Arc::clone(peer), seen, before));
        let coming = async move { birth.await.unwrap_or(Err(Denied::Busy)) };
        let coming = coming.boxed().shared();
        state.entries.insert(key, Entry::Coming(coming.clone()));
        Ok(Settled::Coming(coming, old))
    }

    /// There is no birth any more that came to nothing, whatever it came to nothing by.
    fn clear(&self, key: ProcessKey) {
        let mut state = self.state();
        if matches!(state.entries.get(&key), Some(Entry::Coming(one)) if one.peek().is_some()) {
            state.entries.remove(&key);
        }
    }

    /// What a process was is over, since it is another one.
    fn over(&self, before: Before) {
        match before {
            Before::Stranger => {}
            Before::Other(instance) => {
                self.end_later(Some(instance), "its process began another program");
            }
            Before::Refused(old) => {
                old.over.notify_one();
                self.end_later(Some(old.instance.clone()), "its process is another instance");
            }
        }
    }

    /// The nearest process above that has an instance, where there is no wall between and it runs the
    /// program still by which it has it.
    fn ancestor(&self, peer: &Peer, seen: &Seen) -> Option<Arc<Workload>> {
        let (found, executable) = {
            let state = self.state();
            seen.ancestors.iter().find_map(|(key, executable)| match state.entries.get(key)? {
                Entry::Is(known) => Some((Arc::clone(known), *executable)),
                Entry::Coming(_) => None,
            })?
        };
        // Only if both are there and nothing changed between them was it one's ancestor all the while.
        let above = process::ancestors(peer.pid);
        let is_so = above.iter().eq(seen.ancestors.iter().map(|(key, _)| key))
            && found.peer.is_alive()
            && peer.is_alive();
        let is_it = executable == found.executable && found.walls == Walls::of(&seen.told);
        (is_so && is_it).then_some(found)
    }

    /// Whether the server is asked at all.
    fn admitted(&self, state: &State, peer: &Peer, seen: &Seen) -> Result<(), Denied> {
        if state.is_stopping || state.entries.len() >= WORKLOADS_MAX {
            return Err(Denied::Busy);
        }
        match state.refusals.known(&seen.told, peer.uid, ambient::instant()) {
            Known::Refused(denied) => return Err(denied),
            Known::NotNow => return Err(Denied::Busy),
            Known::Nothing => {}
        }
        // The node looks by itself whether the server is back.
        if self.node.upstream.silent_for().is_some() { Err(Denied::Silent) } else { Ok(()) }
    }

    /// Brings an instance into being, and keeps it.
    async fn bear(
        self: Arc<Self>,
        peer: Arc<Peer>,
        seen: Seen,
        before: Before,
    ) -> Result<Arc<Workload>, Denied> {
        let born = self.deliver(&peer, &seen).await;
        let key = (peer.pid, peer.started);
        let mut state = self.state();
        let workload = match &born {
            Ok(workload) => {
                // Whoever takes everything back waits for this one, or is told by the entry.
                state.entries.insert(key, Entry::Is(Arc::clone(workload)));
                Arc::clone(workload)
            }
            Err(denied) => {
                let now = ambient::instant();
                match denied {
                    Denied::Unruled | Denied::Refused if !matches!(before, Before::Refused(_)) => {
                        state.refusals.note(seen.told, *denied, peer.uid, now);
                    }
                    Denied::Later(time) => state.refusals.wait(seen.told, now + *time, now),
                    Denied::Gone
                    | Denied::User
                    | Denied::Stranger
                    | Denied::Unattested(_)
                    | Denied::Unruled
                    | Denied::Refused
                    | Denied::Node
                    | Denied::Silent
                    | Denied::Busy => {}
                }
                self.not_born(&mut state, key, before);
                return born;
            }
        };
        drop(state);
        match before {
            Before::Other(same) if same == workload.instance => {}
            Before::Refused(old) if old.instance == workload.instance => old.over.notify_one(),
            before => self.over(before),
        }
        tokio::spawn(Arc::clone(&self).live(workload));
        if self.node.is_refused() {
            self.take_all_back();
            return Err(Denied::Node);
        }
        born
    }

    /// There is no new instance: what was refused before is kept, for when that is lifted.
    fn not_born(&self, state: &mut State, key: ProcessKey, before: Before) {
        state.entries.remove(&key);
        match before {
            Before::Refused(old) if old.peer.is_alive() => {
                state.entries.insert(key, Entry::Is(old));
            }
            before => self.over(before),
        }
    }

    async fn deliver(&self, peer: &Arc<Peer>, seen: &Seen) -> Result<Arc<Workload>, Denied> {
        let _turn = self.births.take(peer.uid).await.ok_or(Denied::Busy)?;
        if !peer.is_alive() {
            return Err(Denied::Gone);
        }
        let birth = self.born(peer, seen).await?;
        self.node.upstream.answered();
        let instance = birth.instance;
        let keys = birth.name.iter().chain([&birth.client_id]);
        let hosts = keys.filter_map(|key| self.hosts.get(key)).flatten();
        let bound = birth.agent.naming(hosts.map(String::as_str));
        let plain = bound.with_bearer_tokens();
        let identity = Identity::new(bound, plain, Arc::clone(&self.node.upstream));
        if peer.is_alive()
            && let Err(error) = identity.start().await
        {
            // It is kept, and gets its certificate as soon as the server gives it.
            tracing::warn!(instance, %error, "no certificate yet");
        }
        // What was attested is a process that is there when its instance is.
        if !peer.is_alive() {
            identity.take_back();
            self.end_later(Some(instance), "its process was over when it was born");
            return Err(Denied::Gone);
        }
        tracing::info!(pid = peer.pid, uid = peer.uid, instance, "born");
        Ok(Arc::new(Workload {
            peer: Arc::clone(peer),
            instance,
            identity,
            executable: seen.executable,
            walls: Walls::of(&seen.told),
            over: Notify::new(),
            again_at: Mutex::default(),
        }))
    }

    /// Asks the server. What broke off is asked once more: the same process is the same instance.
    async fn born(&self, peer: &Peer, seen: &Seen) -> Result<accredit::Birth, Denied> {
        let process = format!("{}:{}:{}", self.boot, peer.pid, peer.started);
        let selectors: Selectors = seen.told.selectors().ok_or(Denied::Unruled)?;
        let mut is_again = false;
        loop {
            let key = key().ok_or(Denied::Busy)?;
            match self.node.agent().attested(&selectors, &process, key).await {
                Ok(birth) => return Ok(birth),
                Err(BirthError::Agent(AgentError::Issuer(_))) if !is_again => is_again = true,
                Err(error) => return Err(self.denied(&error, peer)),
            }
        }
    }

    /// What the server's answer says of the process, and of this node.
    fn denied(&self, error: &BirthError, peer: &Peer) -> Denied {
        tracing::warn!(pid = peer.pid, uid = peer.uid, %error, "not born");
        match error {
            BirthError::Later(time) => Denied::Later(*time),
            BirthError::Agent(AgentError::Issuer(_)) => {
                self.node.upstream.is_silent();
                Denied::Silent
            }
            BirthError::Agent(AgentError::Refused(refusal)) => {
                if refusal.rule() == Some(NO_RULE) {
                    return Denied::Unruled;
                }
                if refusal.error().is_of_the_client() {
                    // It may be the node that is refused.
                    self.node.upstream.doubt();
                }
                Denied::Refused
            }
            BirthError::Agent(
                AgentError::Signing | AgentError::Url(_) | AgentError::CallerEnded(_),
            )
            | BirthError::Setup(_) => Denied::Busy,
        }
    }

    /// Keeps one until its process is over or it is taken back.
    async fn live(self: Arc<Self>, workload: Arc<Workload>) {
        let is_over = tokio::select! {
            () = workload.peer.ended() => true,
            () = workload.over.notified() => false,
            () = workload.identity.keep() => false,
        };
        workload.identity.take_back();
        if !is_over {
            return;
        }
        let key = workload.key();
        let mut state = self.state();
        let is_it =
            matches!(state.entries.get(&key), Some(Entry::Is(one)) if Arc::ptr_eq(one, &workload));
        if is_it {
            state.entries.remove(&key);
        }
        drop(state);
        if is_it {
            self.end_later(Some(workload.instance.clone()), "its process is over");
        }
    }

    fn end_later(&self, instance: Option<String>, reason: &'static str) {
        if let Some(instance) = instance {
            self.endings.add(Ending { instance, reason });
        }
    }

    /// Takes everything back; what there was.
    fn take_all_back(&self) -> Vec<Left> {
        let entries = {
            let mut state = self.state();
            // What is being born is seen to when it is there.
            let is_there = |entry: &Entry| matches!(entry, Entry::Is(_));
            state.entries.extract_if(|_, entry| is_there(entry)).collect::<Vec<_>>()
        };
        let there = entries.into_iter().filter_map(|(_, entry)| match entry {
            Entry::Is(workload) => Some(workload),
            Entry::Coming(_) => None,
        });
        let taken = there.map(|workload| {
            workload.identity.take_back();
            workload.over.notify_one();
            let (pid, started) = workload.key();
            Left { instance: workload.instance.clone(), pid, started }
        });
        taken.collect()
    }
}

/// A new key.
fn key() -> Option<PrivateJwk> {
    let (key, _) = PrivateKey::generate(Algorithm::Es256).ok()?;
    PrivateJwk::named_by_thumbprint(key).ok()
}
