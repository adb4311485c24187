//! What is written to a store, one operation of each kind and more, always the same.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Mutex;
use std::time::Duration;

use accredit_domain::audit::checkpointed::{OtherLanes, Pen};
use accredit_domain::audit::event::{Body, Event, EventKind};
use accredit_domain::ca::listener::Roots;
use accredit_domain::federation::{Federation, Identity, KeptKeys};
use accredit_domain::keys::{KeyPurpose, KeyState, SigningKey};
use accredit_domain::nodes::{Nodes as _, Telling};
use accredit_domain::ports::{
    Audited, Change, Fence, Integrated, Issuance, Job, Leaf, LeafBody, Lease, Leases as _,
    Ledger as _, ListenerRoots as _, Log as _, Lookup, Pruned, Registry as _, Replaced, Room,
    RoomOf, Row, SingleUse, StatusPlace, Store as _, Tile, Use, UsedUp,
};
use accredit_domain::registry::agent::AgentState;
use accredit_domain::registry::credential::Holder;
use accredit_domain::registry::instance::InstanceState;
use accredit_domain::registry::jwks::Followed;
use accredit_domain::registry::operator::OperatorKey;
use accredit_domain::registry::quota::Quotas;
use accredit_domain::registry::rotation_schedule::Looked;
use accredit_domain::registry::{
    Agent, Credential, Instance, Organization, Person, Resource, State, Task,
};
use accredit_domain::restoration::{Issuing, NewGeneration};
use accredit_domain::revocation::Revocation;
use accredit_domain::status_list::ListId;
use accredit_domain::terms::{KeptAnswer, Once};
use accredit_domain::trust_domains::ForeignDomain;
use accredit_store::SqlStore;
use accredit_wire::crypto::sha256_of;
use accredit_wire::ids::{CredentialId, OrganizationId, PersonId};

use crate::given::{
    self, NOW, NewWorkload, agent, instance, organization, person, secret, signing_key, single_use,
    task,
};
use crate::{certificates, rewrap};

/// The operation that needs an installation first.
pub(super) const REWRAP: &str = "rewrap under another root key";
/// And this one.
pub(super) const LISTENER: &str = "make roots of the listener's";

/// A store as it was before each operation, and the rows that operations write, always the same.
pub(super) struct Base {
    pub(super) folder: tempfile::TempDir,
    pub(super) org: OrganizationId,
    pub(super) agent: Agent,
    owner: Person,
    crm: Resource,
    /// Of the first organization: the one that signs, and the one that will; and one that is made.
    keys: [SigningKey; 3],
    operator: OperatorKey,
    listener: Roots,
    instance: Instance,
    task: Task,
    of_instance: Credential,
    second: (Organization, SigningKey),
    newcomer: (Person, Agent, Credential),
    workload: NewWorkload,
    revocation: Revocation,
    /// One that is there, and one that is not.
    federations: [(Federation, KeptKeys); 2],
}

impl Base {
    pub(super) async fn new() -> Self {
        let given::World { store, org, folder } = given::World::new().await;
        let world = given::World { store, org, folder };
        let crm = world.resource("crm").await;
        let bot = world.agent("bot").await;
        let by_id = Lookup::Id(bot.owner.expect("an owner"));
        let owner = world.store.person(org, by_id).await.expect("read").expect("there");
        let (vault, _) = rewrap::vault();
        let mut keys = Vec::new();
        for state in [KeyState::Active, KeyState::Next, KeyState::Next] {
            let key = rewrap::wrapped(&vault, org, KeyPurpose::Token).await;
            keys.push(SigningKey { state, ..key });
        }
        let keys: [SigningKey; 3] = keys.try_into().expect("three keys");
        let [active, next, _] = keys.clone();
        let federations = [given::federation("corp"), given::federation("other")];
        let follow = Row::Follow(Box::new(Followed::new(bot.id, URL.to_owned(), NOW)));
        let org_row = world.store.organization(Lookup::Id(org)).await.expect("read");
        let closed = Organization { issuing: Issuing::Closed, ..org_row.expect("there") };
        let rows = vec![
            Row::Organization(closed),
            Row::Key(active),
            Row::Key(next),
            Row::Operator(operator_key()),
            follow,
            Row::Federation(federations[0].0.clone()),
            Row::FederationKeys(Box::new(federations[0].1.clone())),
            Row::Identity(Box::new(identity(&federations, owner.id))),
            Row::ForeignDomain(Box::new(given::foreign_domain("there.example"))),
        ];
        world.commit(rows).await.expect("committed");
        world.credential(Holder::Agent(bot.id)).await;
        let (copy, of_copy) = world.instance(bot.id).await;
        let (other, _) = instance(bot.id);
        world.revoke(other.id.any(), Vec::new()).await;
        let spent = SingleUse { until: NOW.minus(hours(3)), ..single_use(bot.id.any(), 9) };
        assert!(world.store.consume_once(org, spent).await.expect("consumed"));
        let lease = world.store.move_lease(Job::Scheduled, None, lease(7)).await;
        assert!(lease.expect("answered"));
        world.store.tell(telling("ended", org)).await.expect("told");
        world.store.close();
        let second = organization("second");
        let key = signing_key(second.id, KeyPurpose::Token);
        let new_owner = person("newcomer@example.com");
        let newcomer = agent("newcomer", Some(&new_owner));
        let credential = secret(Holder::Agent(newcomer.id));
        Self {
            folder: world.folder,
            org,
            revocation: given::revocation(bot.id.any()),
            task: task(bot.id),
            workload: given::workload(bot.id, federations[0].0.id, "pod-1"),
            agent: bot,
            instance: copy,
            of_instance: of_copy,
            second: (second, key),
            newcomer: (new_owner, newcomer, credential),
            owner,
            crm,
            keys,
            operator: operator_key(),
            listener: given::listener_roots(1),
            federations,
        }
    }

    /// The first organization's row with issuing open, as it now stands.
    async fn opened(&self, store: &SqlStore) -> Option<Row> {
        let found = store.organization(Lookup::Id(self.org)).await.ok()??;
        Some(Row::Organization(Organization { issuing: Issuing::Open, ..found }))
    }

    /// What comes of the keys where the first goes into `state`.
    fn rotated(&self, state: KeyState) -> [Row; 3] {
        let [active, next, new] = self.keys.clone();
        let changed_at = Some(NOW);
        [
            Row::Key(SigningKey { state, changed_at, version: 1, ..active }),
            Row::Key(SigningKey { state: KeyState::Active, changed_at, version: 1, ..next }),
            Row::Key(new),
        ]
    }

    fn identity(&self, person: PersonId) -> Identity {
        identity(&self.federations, person)
    }

    fn followed(&self) -> Followed {
        let followed = Followed::new(self.agent.id, URL.to_owned(), NOW);
        Followed { agent_version: self.agent.version, ..followed }
    }

    fn issuance(&self, single_use: Option<SingleUse>) -> Audited<Issuance> {
        let lineage = vec![self.agent.id.any()];
        let issuance = Issuance {
            org: self.org,
            lineage,
            rev: 1,
            used_up: UsedUp { assertion: single_use, possession: None },
            status: None,
            certificate: None,
        };
        Audited::new(issuance, event(EventKind::TokenIssued))
    }

    fn certificate(&self, single_use: Option<SingleUse>, random: [u8; 10]) -> Audited<Issuance> {
        let (mut change, _) = self.issuance(single_use).into_parts();
        let row = certificates::row(self.agent.id, self.instance.id, random);
        change.certificate = Some(Box::new(row));
        Audited::new(change, event(EventKind::CertificateIssued))
    }
}

/// Who a person is at the first federation.
fn identity(federations: &[(Federation, KeptKeys); 2], person: PersonId) -> Identity {
    let (federation, subject) = (federations[0].0.id, "user-1".to_owned());
    Identity { person, federation, subject, created_at: NOW }
}

/// The lease of what one node does for all, with this number.
fn lease(lease: u64) -> Lease {
    Lease { holder: Some("a node".to_owned()), lease, beat: 0 }
}

/// What a node tells of an organization.
fn telling(node: &str, org: OrganizationId) -> Telling {
    Telling { node: node.to_owned(), place: 3, words: vec![(org, "a word".to_owned())] }
}

/// Where the first agent's keys are followed.
const URL: &str = "https://keys.example/jwks";

fn operator_key() -> OperatorKey {
    let id = CredentialId::new(NOW.millis(), given::unique());
    let expires_at = NOW.plus(hours(24));
    OperatorKey { id, pepper: 1, mac: [8; 32], revoked: false, created_at: NOW, expires_at }
}

macro_rules! rows {
    ($($name:literal $pattern:pat,)*) => {
        /// Every kind of row that a change may write.
        pub(super) const ROWS: &[&str] = &[$($name),*];

        fn name_of(row: &Row) -> &'static str {
            match row {
                $($pattern => $name,)*
            }
        }
    };
}

rows! {
    "organization" Row::Organization(_),
    "person" Row::Person(_),
    "resource" Row::Resource(_),
    "federation" Row::Federation(_),
    "federation keys" Row::FederationKeys(_),
    "identity" Row::Identity(_),
    "end identity" Row::EndIdentity(_),
    "agent" Row::Agent(_),
    "instance" Row::Instance(_),
    "workload" Row::Workload(_),
    "task" Row::Task(_),
    "credential" Row::Credential(_),
    "key" Row::Key(_),
    "operator" Row::Operator(_),
    "end operators" Row::EndOperators,
    "end agent" Row::EndAgent(_),
    "end instance" Row::EndInstance(_),
    "still follows" Row::StillFollows(_),
    "leased" Row::Leased(_),
    "foreign domain" Row::ForeignDomain(_),
    "end foreign domain" Row::EndForeignDomain(_),
    "room" Row::Room(_),
    "follow" Row::Follow(_),
    "unfollow" Row::Unfollow(_),
    "event" Row::Event(_),
    "answer" Row::Answer(_),
}

/// The kinds of rows that operations have written.
pub(super) static WRITTEN: Mutex<BTreeSet<&str>> = Mutex::new(BTreeSet::new());

fn change(org: OrganizationId, rows: Vec<Row>, revocation: Option<Revocation>) -> Audited<Change> {
    WRITTEN.lock().expect("the kinds").extend(rows.iter().map(name_of));
    Audited::new(
        Change { org, at: NOW, rows, revocation, quotas: Quotas::default() },
        event(EventKind::AgentUpdated),
    )
}

pub(super) fn hours(hours: u64) -> Duration {
    Duration::from_hours(hours)
}

/// The same bytes each time.
pub(super) fn event(kind: EventKind) -> Event {
    Event::new(kind, NOW, [5; 16], Body::default())
}

pub(super) type Done<'a> = Pin<Box<dyn Future<Output = bool> + 'a>>;
/// Does something, always the same, and tells whether it was said to be done.
pub(super) type Operation = for<'a> fn(&'a Base, &'a SqlStore) -> Done<'a>;

pub(super) const OPERATIONS: &[(&str, Operation)] = &[
    ("issue", |base, store| {
        Box::pin(async { store.record_issuance(base.issuance(None)).await.is_ok() })
    }),
    ("issue by a proof", |base, store| {
        let value = single_use(base.agent.id.any(), 1);
        Box::pin(async { store.record_issuance(base.issuance(Some(value))).await.is_ok() })
    }),
    ("issue by a proof, bound to a key", |base, store| {
        let (client, key) = (base.agent.id.any(), single_use(base.agent.id.any(), 21));
        let mut issuance = base.issuance(Some(single_use(client, 20)));
        issuance = {
            let (mut change, event) = issuance.into_parts();
            change.used_up.possession = Some(key);
            Audited::new(change, event)
        };
        Box::pin(async { store.record_issuance(issuance).await.is_ok() })
    }),
    ("issue with a place in a status list", |base, store| {
        let issuance = {
            let (mut change, event) = base.issuance(None).into_parts();
            let list = ListId { generation: 1, number: 7 };
            change.status = Some(StatusPlace { list, index: 7, until: NOW.plus(hours(1)) });
            Audited::new(change, event)
        };
        Box::pin(async { store.record_issuance(issuance).await.is_ok() })
    }),
    ("issue a certificate", |base, store| {
        let issuance = base.certificate(None, [6; 10]);
        Box::pin(async { store.record_issuance(issuance).await.is_ok() })
    }),
    ("issue a certificate by a proof", |base, store| {
        let value = single_use(base.agent.id.any(), 22);
        let issuance = base.certificate(Some(value), [7; 10]);
        Box::pin(async { store.record_issuance(issuance).await.is_ok() })
    }),
    ("record an event", |base, store| {
        let value = single_use(base.agent.id.any(), 2);
        let refused = Audited::new((base.org, UsedUp::from(value)), event(EventKind::TokenRefused));
        Box::pin(async { store.record_event(refused).await.is_ok() })
    }),
    ("consume", |base, store| {
        let value = single_use(base.agent.id.any(), 3);
        Box::pin(async { store.consume_once(base.org, value).await.is_ok_and(|first| first) })
    }),
    ("found an organization", |base, store| {
        let (org, key) = base.second.clone();
        let (id, rows) = (org.id, vec![Row::Organization(org), Row::Key(key)]);
        Box::pin(async move { store.commit(change(id, rows, None)).await.is_ok() })
    }),
    ("register an agent", |base, store| {
        let (owner, agent, credential) = base.newcomer.clone();
        let rows = vec![Row::Person(owner), Row::Agent(agent), Row::Credential(credential)];
        Box::pin(async move { store.commit(change(base.org, rows, None)).await.is_ok() })
    }),
    ("decommission an agent", |base, store| {
        let over = Agent { state: AgentState::Decommissioned, ..base.agent.clone() };
        let rows = vec![Row::Agent(over), Row::EndAgent(base.agent.id)];
        let change = change(base.org, rows, Some(base.revocation.clone()));
        Box::pin(async { store.commit(change).await.is_ok() })
    }),
    ("revoke an instance", |base, store| {
        let over = Instance { state: InstanceState::Revoked, ..base.instance.clone() };
        let rows = vec![Row::Instance(over), Row::EndInstance(base.instance.id)];
        let target = base.of_instance.id.any();
        let revocation = Revocation { target, ..base.revocation.clone() };
        let change = change(base.org, rows, Some(revocation));
        Box::pin(async { store.commit(change).await.is_ok() })
    }),
    ("make a task with what a user grants for it, where there is room", |base, store| {
        let room = Room { of: RoomOf::Tasks(base.task.agent), at: NOW, max: 1000 };
        let change = change(base.org, vec![Row::Room(room), Row::Task(base.task.clone())], None);
        Box::pin(async { store.commit(change).await.is_ok() })
    }),
    ("suspend an owner", |base, store| {
        let owner = Person { state: State::Suspended, ..base.owner.clone() };
        let revocation = Revocation { target: owner.id.any(), ..base.revocation.clone() };
        let change = change(base.org, vec![Row::Person(owner)], Some(revocation));
        Box::pin(async { store.commit(change).await.is_ok() })
    }),
    ("change a resource", |base, store| {
        let crm = Resource { revocations_age_max: 30, ..base.crm.clone() };
        let change = change(base.org, vec![Row::Resource(crm)], None);
        Box::pin(async { store.commit(change).await.is_ok() })
    }),
    ("create something once", |base, store| {
        let asked = [b"POST".as_slice(), b"/v1/persons", b"{}"];
        let by = (Some(base.org), base.of_instance.id);
        let once = Once::new(by, "once", asked, NOW).expect("a key");
        let kept = KeptAnswer { once, object: "{\"rev\":0}".to_owned() };
        let rows = vec![Row::Answer(Box::new(kept)), Row::Person(base.newcomer.0.clone())];
        let change = change(base.org, rows, Some(base.revocation.clone()));
        Box::pin(async { store.commit(change).await.is_ok() })
    }),
    ("replace the operator's keys", |base, store| {
        let rows = vec![Row::EndOperators, Row::Operator(base.operator.clone())];
        let change = change(base.org, rows, None);
        Box::pin(async { store.commit(change).await.is_ok() })
    }),
    ("rotate a signing key", |base, store| {
        let rows = base.rotated(KeyState::Retiring);
        let change = change(base.org, rows.to_vec(), None);
        Box::pin(async { store.commit(change).await.is_ok() })
    }),
    ("revoke a signing key", |base, store| {
        let target = base.keys[0].sealed.id.any();
        let revocation = Revocation { target, ..base.revocation.clone() };
        let rows = base.rotated(KeyState::Revoked);
        let change = change(base.org, rows.to_vec(), Some(revocation));
        Box::pin(async { store.commit(change).await.is_ok() })
    }),
    ("follow another key set", |base, store| {
        let to = Followed::new(base.agent.id, "https://other.example/jwks".to_owned(), NOW);
        let change = change(base.org, vec![Row::Follow(Box::new(to))], None);
        Box::pin(async { store.commit(change).await.is_ok() })
    }),
    ("register a federation", |base, store| {
        let (federation, keys) = base.federations[1].clone();
        let rows = vec![Row::Federation(federation), Row::FederationKeys(Box::new(keys))];
        let change = change(base.org, rows, None);
        Box::pin(async { store.commit(change).await.is_ok() })
    }),
    ("change a federation and fetch its keys", |base, store| {
        let (federation, keys) = base.federations[0].clone();
        let keys = KeptKeys { keys: Some("{}".to_owned()), federation_version: 1, ..keys };
        let federation = Federation { provision: false, version: 1, ..federation };
        let target = federation.id.any();
        let revocation = Revocation { target, ..base.revocation.clone() };
        let rows = vec![Row::FederationKeys(Box::new(keys)), Row::Federation(federation)];
        let change = change(base.org, rows, Some(revocation));
        Box::pin(async { store.commit(change).await.is_ok() })
    }),
    ("make a user known", |base, store| {
        let person = Person { email: None, ..base.newcomer.0.clone() };
        let identity = Identity { subject: "new".to_owned(), ..base.identity(person.id) };
        let rows = vec![Row::Person(person), Row::Identity(Box::new(identity))];
        let change = change(base.org, rows, None);
        Box::pin(async { store.commit(change).await.is_ok() })
    }),
    ("bring a workload into being by a new rule", |base, store| {
        let change = change(base.org, base.workload.clone().into_rows(), None);
        Box::pin(async { store.commit(change).await.is_ok() })
    }),
    ("unlink a person", |base, store| {
        let rows = vec![Row::EndIdentity(Box::new(base.identity(base.owner.id)))];
        let change = change(base.org, rows, None);
        Box::pin(async { store.commit(change).await.is_ok() })
    }),
    ("note how it goes with a federation's keys", |base, store| {
        let (_, keys) = base.federations[0].clone();
        let due_at = NOW.plus(hours(1));
        let keys =
            KeptKeys { due_at, failure: Some("gone".to_owned()), federation_version: 1, ..keys };
        Box::pin(async { store.note_federation_keys(base.org, keys).await.is_ok() })
    }),
    ("take in another trust domain", |base, store| {
        let new = Row::ForeignDomain(Box::new(given::foreign_domain("new.example")));
        let change = change(base.org, vec![new], None);
        Box::pin(async { store.commit(change).await.is_ok() })
    }),
    ("forget another trust domain", |base, store| {
        let known = ForeignDomain { version: 1, ..given::foreign_domain("there.example") };
        let change = change(base.org, vec![Row::EndForeignDomain(Box::new(known))], None);
        Box::pin(async { store.commit(change).await.is_ok() })
    }),
    ("note how it goes with another trust domain", |base, store| {
        let due_at = Some(NOW.plus(hours(1)));
        let known = ForeignDomain { version: 1, due_at, ..given::foreign_domain("there.example") };
        Box::pin(async { store.note_foreign_domain(base.org, known).await.is_ok() })
    }),
    ("follow no key set", |base, store| {
        let change = change(base.org, vec![Row::Unfollow(base.agent.id)], None);
        Box::pin(async { store.commit(change).await.is_ok() })
    }),
    ("take a followed key", |base, store| {
        let key = Credential { followed: true, ..base.newcomer.2.clone() };
        let key = Credential { holder: Holder::Agent(base.agent.id), ..key };
        let seen = Row::StillFollows(Box::new(base.followed()));
        let change = change(base.org, vec![seen, Row::Credential(key)], None);
        Box::pin(async { store.commit(change).await.is_ok() })
    }),
    ("note how following goes", |base, store| {
        let due_at = NOW.plus(hours(1));
        let failed = Followed { due_at, failure: Some("gone".to_owned()), ..base.followed() };
        Box::pin(async { store.note_followed(base.org, failed).await.is_ok() })
    }),
    ("note that an agent was looked at", |base, store| {
        Box::pin(async move {
            let found = store.agent(base.org, Lookup::Id(base.agent.id), NOW).await;
            let Ok(Some(agent)) = found else { return false };
            let next = Some(NOW.plus(hours(7)));
            let (version, was_due) = (agent.version, agent.look_at);
            let looked = Looked { agent: agent.id, version, was_due, next };
            store.looked_at(base.org, vec![looked]).await.is_ok()
        })
    }),
    ("open issuing on a person's word", |base, store| {
        Box::pin(async move {
            let Some(opened) = base.opened(store).await else { return false };
            store.commit(change(base.org, vec![opened], None)).await.is_ok()
        })
    }),
    ("reconcile a restore", |base, store| {
        Box::pin(async move {
            let Some(opened) = base.opened(store).await else { return false };
            let further = Row::Event(Box::new(event(EventKind::InstanceRevoked)));
            let over = Instance { state: InstanceState::Revoked, ..base.instance.clone() };
            let rows = vec![Row::Instance(over), further, opened];
            let revocation = Some(base.revocation.clone());
            store.commit(change(base.org, rows, revocation)).await.is_ok()
        })
    }),
    ("take a lease", |_, store| {
        Box::pin(async {
            let moved = store.move_lease(Job::Scheduled, Some(lease(7)), lease(8));
            moved.await.is_ok_and(|moved| moved)
        })
    }),
    ("tell other nodes", |base, store| {
        Box::pin(async { store.tell(telling("a node", base.org)).await.is_ok() })
    }),
    ("forget a node", |_, store| {
        Box::pin(async { store.forget_node("ended".to_owned()).await.is_ok() })
    }),
    ("write under a lease", |base, store| {
        let leased = Row::Leased(Fence { job: Job::Scheduled, lease: 7 });
        let rows = vec![leased, Row::Person(base.newcomer.0.clone())];
        let change = change(base.org, rows, None);
        Box::pin(async { store.commit(change).await.is_ok() })
    }),
    ("tell of other lanes", |base, store| {
        let fence = Fence { job: Job::Scheduled, lease: 7 };
        let (org, pen) = (base.org, Pen::Turn(Some(fence)));
        let said = OtherLanes { org, lane: 0, pen, claims: Vec::new() };
        let said = Audited::new(said, event(EventKind::LogCheckpointed));
        Box::pin(async { store.record_checkpoints(said).await.is_ok_and(|written| written) })
    }),
    ("see whether writing works", |_, store| Box::pin(async { store.check().await.is_ok() })),
    ("integrate", |base, store| {
        let tile = |level| Tile { level, index: 0, hashes: vec![level; 32] };
        let note = "a note".to_owned();
        let integrated = Integrated { tiles: vec![tile(0), tile(1)], size: 2, note };
        Box::pin(async {
            store.integrate(base.org, 0, 0, integrated).await.is_ok_and(|first| first)
        })
    }),
    ("begin a generation", |base, store| {
        let revocation = Revocation { target: base.org.any(), ..base.revocation.clone() };
        let spent_before = NOW.plus(hours(1));
        let new = NewGeneration {
            org: base.org,
            generation: 2,
            revocation,
            spent_before,
            keys: Vec::new(),
        };
        let new = Audited::new(new, event(EventKind::LogGenerationStarted));
        Box::pin(async { store.begin_generation(new).await.is_ok() })
    }),
    ("prune the log", |base, store| {
        Box::pin(async move {
            let Ok(leaves) = store.leaves(base.org, 0, 0, 2).await else { return false };
            let pruned = |leaf: &Leaf| match &leaf.body {
                LeafBody::Kept { salt, payload } => Some(Pruned {
                    sequence: leaf.sequence,
                    digest: sha256_of(&[salt, payload.as_bytes()]),
                }),
                LeafBody::Pruned { .. } => None,
            };
            let pruned = leaves.iter().filter_map(pruned).collect();
            store.prune(base.org, 0, pruned).await.is_ok()
        })
    }),
    ("record uses", |base, store| {
        let (org, ids) = (base.org, [base.agent.id.any(), base.of_instance.id.any()]);
        let uses = ids.map(|id| Use { org, id, at: NOW.plus(hours(1)), source: None });
        Box::pin(async move { store.record_uses(uses.to_vec()).await.is_ok() })
    }),
    ("forget single-use values", |_, store| {
        Box::pin(async { store.forget_before(NOW.minus(hours(2))).await.is_ok() })
    }),
    ("take off what has expired too", |_, store| {
        Box::pin(async { store.forget_before(NOW.plus(hours(2))).await.is_ok() })
    }),
    ("forget revocations too", |_, store| {
        Box::pin(async { store.forget_before(NOW.plus(hours(26))).await.is_ok() })
    }),
    (LISTENER, |base, store| {
        let (_, installation) = rewrap::vault();
        let replaced = Replaced { seen: None, by: base.listener.clone() };
        Box::pin(async move {
            let founded = store.installation().await.is_ok_and(|founded| founded.is_some());
            (founded || store.found(installation).await.is_ok())
                && store.replace_listener_roots(replaced).await.is_ok()
        })
    }),
    ("found the installation", |_, store| {
        let (_, installation) = rewrap::vault();
        Box::pin(async { store.found(installation).await.is_ok() })
    }),
    (REWRAP, |_, store| {
        let (vault, installation) = rewrap::vault();
        Box::pin(async move {
            let founded = store.installation().await.is_ok_and(|founded| founded.is_some());
            (founded || store.found(installation).await.is_ok())
                && store.rewrap(rewrap::rewrapping(&vault, 2)).await.is_ok()
        })
    }),
];
