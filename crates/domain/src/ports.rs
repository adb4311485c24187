//! Everything impure, in one file: clock, randomness, keys and storage, as the domain needs them.
//!
//! Storage traits are named for what the domain does, and each method is one decision's read or
//! one decision's write. A write takes an [`Audited`] value, which cannot be built without an
//! event: *no change without a leaf* is a type error. Reads say how stale they may be.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use accredit_wire::crypto::Algorithm;
use accredit_wire::ids::{
    AgentId, AnyId, CredentialId, FederationId, InstanceId, KeyId, OrganizationId, PersonId,
    ResourceId, TaskId, TokenId,
};
use accredit_wire::time::Time;
use accredit_wire::x509::spiffe::TrustDomain;

pub use crate::attestation::{Born, Voucher, Workload, Workloads};
use crate::audit::event::Event;
pub use crate::audit::kept::{Integrated, LaneHead, Leaf, LeafBody, Log, Pruned, Tile};
pub use crate::ca::issued::{Certificates, IssuedCertificate, SignedCertificate};
pub use crate::ca::listener::{ListenerRoots, Replaced};
use crate::federation::{Federation, FederationFacts, Identity, KeptKeys, PersonFacts};
use crate::issuance::admission::{AgentFacts, CredentialFacts, ResourceFacts};
use crate::keys::{KeyPurpose, SealedKey, SigningKey};
pub use crate::lease::{Fence, Job, Lease, Leases, OwnSlot, Slot};
pub use crate::nodes::Nodes;
pub use crate::page::{LOOKED_ROWS_MAX, Order, Page, Span};
use crate::refusal::{Error, Fault};
use crate::registry::credential_use::UseName;
use crate::registry::jwks::Followed;
use crate::registry::operator::OperatorKey;
use crate::registry::quota::{Quotas, Reached};
pub use crate::registry::quota::{Room, RoomOf};
use crate::registry::rotation_schedule::Looked;
use crate::registry::task::TaskFacts;
use crate::registry::{Agent, Credential, Instance, Listed, Organization, Person, Resource, Task};
use crate::revocation::{Blast, Revocation};
use crate::root::{Rewrapped, Rewrapping};
pub use crate::single_use::{SingleUse, UsedUp};
pub use crate::status_list::{StatusLists, StatusPlace};
pub use crate::store_health::{StoreHealth, StoreTrouble};
use crate::terms::{KeptAnswer, Once};
use crate::trust_domains::ForeignDomain;
use crate::vault::{NumberedRoot, RootKey, WrappedPepper};
use crate::view::Loss;

/// A boxed future: ports are object-safe, so that `server` never compiles a store.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The only source of time.
pub trait Clock: Send + Sync {
    /// The time of day. Somebody may set it, forwards and backwards.
    fn now(&self) -> Time;

    /// The time since some moment before the start of this process, the time in which the machine
    /// was suspended included. Nobody can set it.
    fn elapsed(&self) -> Duration;
}

/// The only source of randomness.
pub trait Entropy: Send + Sync {
    /// Fills `bytes` with random bits fit for keys.
    fn fill(&self, bytes: &mut [u8]);
}

/// Documents from destinations that somebody outside named. The one who fetches is hardened against
/// what that can do to us (`accredit-net`); errors may be shown and name the host alone.
pub trait Outbound: Send + Sync {
    /// Whether a URL may be fetched from at all, as far as it says itself.
    fn check(&self, url: &str) -> Result<(), String>;

    /// The bytes of an issuer's metadata (RFC 8414, OpenID Connect Discovery 1.0), unread, or why
    /// they could not be had.
    fn fetch_metadata<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Vec<u8>, String>>;

    /// The bytes of a JWK set, unread, or why they could not be had.
    fn fetch_jwks<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Vec<u8>, String>>;

    /// The bytes of a trust domain's bundle (SPIFFE Federation section 5), unread, or why they could not be
    /// had. Where it is said whom the server must be, it proves that and nothing else.
    fn fetch_bundle<'a>(
        &'a self,
        url: &'a str,
        server: Option<SpiffeServer>,
    ) -> BoxFuture<'a, Result<Vec<u8>, String>>;
}

/// Whom a server must be by its X.509-SVID (SPIFFE Federation section 5.2.2).
#[derive(Clone, Debug)]
pub struct SpiffeServer {
    /// Its SPIFFE ID.
    pub id: String,
    /// The roots of its trust domain, DER.
    pub roots: Vec<Vec<u8>>,
}

/// A key that could not be used.
#[derive(Clone, Debug)]
pub struct Absent {
    /// The key.
    pub id: KeyId,
    /// Why.
    pub why: String,
}

/// Keeps and uses secret keys; never hands one out. It observes the store, so that whoever is told
/// that a key of theirs came too late for a new root key finds that one in use.
pub trait KeyVault: Observer {
    /// Makes a new signing key, of an organization or of the installation itself, and returns it wrapped,
    /// with its public half.
    fn generate(
        &self,
        org: Option<OrganizationId>,
        id: KeyId,
        purpose: KeyPurpose,
        algorithm: Algorithm,
    ) -> BoxFuture<'_, Result<SealedKey, Fault>>;

    /// Signs `message`: 64 bytes, ES256 as `r || s` or Ed25519.
    fn sign<'a>(
        &'a self,
        key: &'a SealedKey,
        message: &'a [u8],
    ) -> BoxFuture<'a, Result<[u8; 64], Fault>>;

    /// Which of these keys could not be used, and why; nothing is signed.
    fn absent<'a>(&'a self, keys: &'a [SealedKey]) -> BoxFuture<'a, Result<Vec<Absent>, Fault>>;

    /// Destroys the private half of a key for good, where it is in a token; what is wrapped in the store
    /// stays there. Whether there was something to destroy.
    fn destroy<'a>(&'a self, key: &'a SealedKey) -> BoxFuture<'a, Result<bool, Fault>>;

    /// HMAC-SHA-256 of a machine secret under pepper `version`; `None` for an unknown version.
    fn mac(&self, version: u32, secret: &[u8]) -> Option<[u8; 32]>;

    /// The pepper under which new secrets are kept.
    fn pepper_version(&self) -> u32;

    /// Takes a root key that is to follow the one in use, and gives both. It is in use when
    /// [`Observer::rewrapped`] has told that the store is wrapped under it; one that was given
    /// before and never came into use is forgotten.
    fn prepare(&self, next: RootKey) -> [NumberedRoot; 2];

    /// Wipes a root key that was replaced longer ago than anybody needs it.
    fn forget_replaced(&self, now: Time);
}

/// Where the root key is kept, outside the store, and how another one takes its place there.
pub trait RootKeyPlace: Send + Sync {
    /// Makes another root key, durable, beside the one that opens `peppers`. Refused, and nothing
    /// touched, where it could not take that one's place.
    fn make_next(&self, peppers: Vec<WrappedPepper>) -> BoxFuture<'_, Result<RootKey, Error>>;

    /// Puts the other one in the place of the one before, which is kept aside.
    fn put_in_place(&self) -> BoxFuture<'_, Result<(), Fault>>;
}

/// A change together with the event that records it. Neither can be stored without the other.
#[derive(Debug)]
pub struct Audited<T> {
    change: T,
    event: Event,
}

impl<T> Audited<T> {
    /// Joins a change with its event.
    pub fn new(change: T, event: Event) -> Self {
        Self { change, event }
    }

    /// Takes both apart, for the store.
    pub fn into_parts(self) -> (T, Event) {
        (self.change, self.event)
    }
}

/// One row to write. `version` in a row is the one that was read: 0 inserts, and a row that has
/// moved on in the meantime is a [`CommitError::Stale`].
#[derive(Clone, Debug)]
pub enum Row {
    /// A tenant.
    Organization(Organization),
    /// A human.
    Person(Person),
    /// What is protected.
    Resource(Resource),
    /// An external issuer.
    Federation(Federation),
    /// The keys of an external issuer, and how it goes with them.
    FederationKeys(Box<KeptKeys>),
    /// Who a person is at an external issuer: only ever a new one.
    Identity(Box<Identity>),
    /// A person is that no more.
    EndIdentity(Box<Identity>),
    /// A role, with its permissions.
    Agent(Agent),
    /// A running copy.
    Instance(Instance),
    /// What whoever vouches for it calls the workload that an instance is.
    Workload(Box<Workload>),
    /// A unit of work.
    Task(Task),
    /// What somebody proves itself with.
    Credential(Credential),
    /// A signing key.
    Key(SigningKey),
    /// A key of the installation's operator: only ever a new one.
    Operator(OperatorKey),
    /// The end of all live keys of the installation's operator.
    EndOperators,
    /// The end of all live instances and credentials of an agent, in one statement each.
    EndAgent(AgentId),
    /// The end of all live credentials of an instance, and of all instances that descend from it.
    EndInstance(InstanceId),
    /// Nothing to write: the change is stale unless the agent has the version that was seen and
    /// follows the same URL.
    StillFollows(Box<Followed>),
    /// Nothing to write: the change is refused where the lease has another number by now.
    Leased(Fence),
    /// Where an agent's keys are followed, and how it goes.
    Follow(Box<Followed>),
    /// An agent's keys are followed no longer.
    Unfollow(AgentId),
    /// Another trust domain: a new one where there is room for it.
    ForeignDomain(Box<ForeignDomain>),
    /// Another trust domain is forgotten.
    EndForeignDomain(Box<ForeignDomain>),
    /// Nothing to write: the change is stale where somebody has as much as they may.
    Room(Room),
    /// A further event of the change, recorded before its own: the birth of an agent's owner.
    Event(Box<Event>),
    /// What the change answers, kept for a repetition of its request. Where the change makes a
    /// `rev`, the object's member of that name is set to it. A live answer under the same key
    /// makes the change [`CommitError::Taken`]: write it before the rows it tells of.
    Answer(Box<KeptAnswer>),
}

/// A change to the registry: its rows, and what it turns from yes to no.
#[derive(Debug)]
pub struct Change {
    /// The organization it happens in.
    pub org: OrganizationId,
    /// When it was decided.
    pub at: Time,
    /// The rows, written in this order in one transaction.
    pub rows: Vec<Row>,
    /// Set where the change ends something: one new entry of the revocation graph. Its `rev` is
    /// assigned when written.
    pub revocation: Option<Revocation>,
    /// How much the organization may have, rows of this change included.
    pub quotas: Quotas,
}

/// What a committed change came to.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The organization's revocation counter after the change.
    pub rev: u64,
    /// The number of rows that were not named one by one (see [`Row::EndAgent`]).
    pub ended: u64,
}

/// Why a change was not committed. Nothing of it was written.
#[derive(Debug)]
pub enum CommitError {
    /// Something it relied on has changed since it was read: decide again.
    Stale,
    /// A value that must be unique is taken, also by something that has ended.
    Taken(&'static str),
    /// The organization would have more than it may.
    Reached(Reached),
    /// The store failed.
    Fault(Fault),
}

impl From<Fault> for CommitError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// By id, or by the name that is unique in the organization (a person's e-mail address).
#[derive(Clone, Debug)]
pub enum Lookup<I> {
    /// By id.
    Id(I),
    /// By name.
    Name(String),
}

/// The nouns: reads that are current, and the one write.
pub trait Registry: Send + Sync {
    /// Commits a change with its event.
    fn commit(&self, change: Audited<Change>) -> BoxFuture<'_, Result<Committed, CommitError>>;

    /// One organization.
    fn organization(
        &self,
        key: Lookup<OrganizationId>,
    ) -> BoxFuture<'_, Result<Option<Organization>, Fault>>;
    /// How many organizations there are.
    fn organization_count(&self) -> BoxFuture<'_, Result<u64, Fault>>;
    /// Organizations of the installation.
    fn organizations(&self, page: Page) -> BoxFuture<'_, Result<Listed<Organization>, Fault>>;

    /// One person.
    fn person(
        &self,
        org: OrganizationId,
        key: Lookup<PersonId>,
    ) -> BoxFuture<'_, Result<Option<Person>, Fault>>;
    /// Persons.
    fn persons(
        &self,
        org: OrganizationId,
        page: Page,
    ) -> BoxFuture<'_, Result<Listed<Person>, Fault>>;

    /// One resource.
    fn resource(
        &self,
        org: OrganizationId,
        key: Lookup<ResourceId>,
    ) -> BoxFuture<'_, Result<Option<Resource>, Fault>>;
    /// Resources.
    fn resources(
        &self,
        org: OrganizationId,
        page: Page,
    ) -> BoxFuture<'_, Result<Listed<Resource>, Fault>>;

    /// One federation, with how it goes with its keys.
    fn federation(
        &self,
        org: OrganizationId,
        key: Lookup<FederationId>,
    ) -> BoxFuture<'_, Result<Option<Federation>, Fault>>;
    /// Federations.
    fn federations(
        &self,
        org: OrganizationId,
        page: Page,
    ) -> BoxFuture<'_, Result<Listed<Federation>, Fault>>;
    /// The keys of a federation.
    fn federation_keys(
        &self,
        org: OrganizationId,
        federation: FederationId,
    ) -> BoxFuture<'_, Result<Option<KeptKeys>, Fault>>;
    /// Keys of federations that are to be fetched at `now`, the longest due first; at most `limit`.
    fn federation_keys_due(
        &self,
        org: OrganizationId,
        now: Time,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<KeptKeys>, Fault>>;
    /// Who a person is at external issuers; at most `limit`.
    fn identities(
        &self,
        org: OrganizationId,
        person: PersonId,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Identity>, Fault>>;

    /// One agent with its permissions, its times of use and what of its credentials is live at
    /// `now`.
    fn agent(
        &self,
        org: OrganizationId,
        key: Lookup<AgentId>,
        now: Time,
    ) -> BoxFuture<'_, Result<Option<Agent>, Fault>>;
    /// Agents.
    fn agents(
        &self,
        org: OrganizationId,
        page: Page,
    ) -> BoxFuture<'_, Result<Listed<Agent>, Fault>>;

    /// Agents at which the job of rotation is to look at `now`, the longest due first; at most
    /// `limit`.
    fn agents_due(
        &self,
        org: OrganizationId,
        now: Time,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Agent>, Fault>>;

    /// One instance.
    fn instance(
        &self,
        org: OrganizationId,
        id: InstanceId,
    ) -> BoxFuture<'_, Result<Option<Instance>, Fault>>;
    /// Instances.
    fn instances(
        &self,
        org: OrganizationId,
        page: Page,
    ) -> BoxFuture<'_, Result<Listed<Instance>, Fault>>;

    /// One task.
    fn task(&self, org: OrganizationId, id: TaskId) -> BoxFuture<'_, Result<Option<Task>, Fault>>;
    /// The task that holds this of a user's.
    fn task_with_grant(
        &self,
        org: OrganizationId,
        grant: TokenId,
    ) -> BoxFuture<'_, Result<Option<Task>, Fault>>;
    /// How many there are of what somebody may have so much of; as many as that at most.
    fn held_of(&self, org: OrganizationId, room: Room) -> BoxFuture<'_, Result<u64, Fault>>;
    /// Tasks.
    fn tasks(&self, org: OrganizationId, page: Page) -> BoxFuture<'_, Result<Listed<Task>, Fault>>;

    /// One credential.
    fn credential(
        &self,
        org: OrganizationId,
        id: CredentialId,
    ) -> BoxFuture<'_, Result<Option<Credential>, Fault>>;
    /// Credentials.
    fn credentials(
        &self,
        org: OrganizationId,
        page: Page,
    ) -> BoxFuture<'_, Result<Listed<Credential>, Fault>>;

    /// The uses for which a holder has a secret that is live at `now` and has no successor, with
    /// the secret; at most `limit`.
    fn uses_of(
        &self,
        org: OrganizationId,
        holder: AnyId,
        now: Time,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(UseName, CredentialId)>, Fault>>;

    /// Public keys of an instance for a use that are live at `now`, the oldest first; at most `limit`.
    fn keys_of_instance(
        &self,
        org: OrganizationId,
        of: (InstanceId, UseName),
        now: Time,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Credential>, Fault>>;

    /// Where an agent's keys are followed.
    fn followed(
        &self,
        org: OrganizationId,
        agent: AgentId,
    ) -> BoxFuture<'_, Result<Option<Followed>, Fault>>;

    /// Key sets that are to be fetched at `now`, the longest due first; at most `limit`.
    fn followed_due(
        &self,
        org: OrganizationId,
        now: Time,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Followed>, Fault>>;

    /// An agent's keys that came from where they are followed and are live at `now`.
    fn followed_keys(
        &self,
        org: OrganizationId,
        agent: AgentId,
        now: Time,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Credential>, Fault>>;

    /// Another trust domain that the organization knows.
    fn foreign_domain(
        &self,
        org: OrganizationId,
        name: TrustDomain,
    ) -> BoxFuture<'_, Result<Option<ForeignDomain>, Fault>>;

    /// All of them, by name.
    fn foreign_domains(
        &self,
        org: OrganizationId,
    ) -> BoxFuture<'_, Result<Vec<ForeignDomain>, Fault>>;

    /// Those whose bundle is to be fetched at `now`, the longest due first; at most `limit`.
    fn foreign_domains_due(
        &self,
        org: OrganizationId,
        now: Time,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<ForeignDomain>, Fault>>;

    /// The answer that is kept under a caller's key, where its time is not over.
    fn kept_answer(
        &self,
        once: Once,
        now: Time,
    ) -> BoxFuture<'_, Result<Option<KeptAnswer>, Fault>>;

    /// Keys of the organization's administrators.
    fn admin_keys(
        &self,
        org: OrganizationId,
        page: Page,
    ) -> BoxFuture<'_, Result<Listed<Credential>, Fault>>;

    /// When the last of the organization's live keys with `administrators` ends, apart from one;
    /// nothing where there is none.
    fn owners_until(
        &self,
        org: OrganizationId,
        apart: CredentialId,
    ) -> BoxFuture<'_, Result<Option<Time>, Fault>>;

    /// A key of the installation's operator, which is in no organization.
    fn operator_key(&self, id: CredentialId) -> BoxFuture<'_, Result<Option<OperatorKey>, Fault>>;

    /// The smallest age bound of the organization's active resources, seconds.
    fn revocations_age_min(&self, org: OrganizationId)
    -> BoxFuture<'_, Result<Option<u32>, Fault>>;

    /// The signing keys of an organization, all states, oldest first.
    fn signing_keys(&self, org: OrganizationId) -> BoxFuture<'_, Result<Vec<SigningKey>, Fault>>;

    /// The signing keys of all organizations that are in a PKCS#11 token, all states.
    fn keys_in_token(&self) -> BoxFuture<'_, Result<Vec<SigningKey>, Fault>>;
}

/// What a look-up found, and what it cost.
#[derive(Clone, Debug, Default)]
pub struct LookedUp<T> {
    /// What was found.
    pub found: T,
    /// Whether it was in memory, so that the store was not asked.
    pub from_memory: bool,
}

/// Public keys of a client.
#[derive(Clone, Debug, Default)]
pub struct ClientKeys {
    /// The keys.
    pub keys: Vec<Arc<CredentialFacts>>,
    /// Whether its keys are followed at a URL.
    pub are_followed: bool,
}

/// Which of a client's public keys an assertion may have been signed with.
#[derive(Clone, Copy, Debug)]
pub struct KeysWanted<'a> {
    /// Only those called so.
    pub kid: Option<&'a str>,
    /// At most so many that are live.
    pub live: usize,
    /// At most so many that have expired or were revoked, or whose instance is over.
    pub ended: usize,
    /// When they are to be live.
    pub now: Time,
}

/// What issuing reads. Served from a bounded cache that a committed change empties before the
/// organization's `rev` becomes visible: whoever reads `rev` first sees facts at least as new.
pub trait Admissions: Send + Sync {
    /// The facts about an agent, or `None` where there is none of that id in the organization.
    fn agent_facts(
        &self,
        org: OrganizationId,
        agent: AgentId,
    ) -> BoxFuture<'_, Result<Option<Arc<AgentFacts>>, Fault>>;

    /// The facts about a resource, or `None` where there is none of that id in the organization.
    fn resource_facts(
        &self,
        org: OrganizationId,
        resource: ResourceId,
    ) -> BoxFuture<'_, Result<Option<Arc<ResourceFacts>>, Fault>>;

    /// The facts about a task, or `None` where there is none of that id in the organization.
    fn task_facts(
        &self,
        org: OrganizationId,
        task: TaskId,
    ) -> BoxFuture<'_, Result<Option<Arc<TaskFacts>>, Fault>>;

    /// The facts about a credential of the organization.
    fn credential_facts(
        &self,
        org: OrganizationId,
        id: CredentialId,
    ) -> BoxFuture<'_, Result<LookedUp<Option<Arc<CredentialFacts>>>, Fault>>;

    /// The facts about the federation of an external issuer.
    fn federation_facts<'a>(
        &'a self,
        org: OrganizationId,
        issuer: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<FederationFacts>>, Fault>>;

    /// The facts about the person who is called so by a federation.
    fn person_facts<'a>(
        &'a self,
        org: OrganizationId,
        federation: FederationId,
        subject: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<PersonFacts>>, Fault>>;

    /// Looks up a credential that nobody has, never from memory: a proof that is wrong is to cost
    /// what one of an unknown client costs.
    fn credential_of_nobody(&self) -> BoxFuture<'_, Result<(), Fault>>;

    /// Looks up the public keys of a client that there is not, never from memory, for the same
    /// reason.
    fn keys_of_nobody<'a>(&'a self, wanted: KeysWanted<'a>) -> BoxFuture<'a, Result<(), Fault>>;

    /// The organization that an administrator's credential belongs to: the one look-up that
    /// cannot name an organization, because the caller has not.
    fn admin_organization(
        &self,
        id: CredentialId,
    ) -> BoxFuture<'_, Result<Option<OrganizationId>, Fault>>;

    /// Public keys of an agent and of its instances: live ones, newest first, then ended ones.
    fn agent_keys<'a>(
        &'a self,
        org: OrganizationId,
        agent: AgentId,
        wanted: KeysWanted<'a>,
    ) -> BoxFuture<'a, Result<LookedUp<ClientKeys>, Fault>>;

    /// Public keys of a resource, as for agents.
    fn resource_keys<'a>(
        &'a self,
        org: OrganizationId,
        resource: ResourceId,
        wanted: KeysWanted<'a>,
    ) -> BoxFuture<'a, Result<LookedUp<ClientKeys>, Fault>>;
}

/// One issuance, ready to be recorded.
#[derive(Debug)]
pub struct Issuance {
    /// In which organization.
    pub org: OrganizationId,
    /// What the token hangs on.
    pub lineage: Vec<AnyId>,
    /// The revocation counter that the decision saw.
    pub rev: u64,
    /// What proving the client's identity and its key used up.
    pub used_up: UsedUp,
    /// Its place in a status list, where it has one.
    pub status: Option<StatusPlace>,
    /// Its row, where it is a certificate.
    pub certificate: Option<Box<IssuedCertificate>>,
}

/// Why an issuance was not recorded. The token must not leave the process.
#[derive(Debug)]
pub enum NotRecorded {
    /// This member of the lineage was revoked since the decision: decide again.
    Overtaken(AnyId),
    /// The client assertion was used before.
    Replayed,
    /// The proof of possession was used before.
    ProofReplayed,
    /// The instance has as many certificates as it may.
    NoRoom,
    /// The store failed.
    Fault(Fault),
}

/// The record of what was issued and refused: durable when the future resolves.
pub trait Ledger: Send + Sync {
    /// Records an issuance unless its lineage was revoked since the decision.
    fn record_issuance(
        &self,
        issuance: Audited<Issuance>,
    ) -> BoxFuture<'_, Result<(), NotRecorded>>;

    /// Records an event without any other change: a refusal, an export. What a proof used up is
    /// consumed with it.
    fn record_event(
        &self,
        event: Audited<(OrganizationId, UsedUp)>,
    ) -> BoxFuture<'_, Result<(), Fault>>;

    /// Consumes a single-use value with which nothing else happens; false where it was used.
    fn consume_once(
        &self,
        org: OrganizationId,
        value: SingleUse,
    ) -> BoxFuture<'_, Result<bool, Fault>>;

    /// Writes when things were last used; outside every decision, lossy by at most a minute.
    fn record_uses(&self, uses: Vec<Use>) -> BoxFuture<'_, Result<(), Fault>>;

    /// Notes how it goes with a key set that is followed, where it is still that URL. No change of
    /// anything that decisions are made from, and therefore without an event.
    fn note_followed(
        &self,
        org: OrganizationId,
        followed: Followed,
    ) -> BoxFuture<'_, Result<(), Fault>>;

    /// Notes how it goes with the bundle of another trust domain, which is the same as before, where the row
    /// is as it was seen. No change of anything that is believed, and therefore without an event.
    fn note_foreign_domain(
        &self,
        org: OrganizationId,
        domain: ForeignDomain,
    ) -> BoxFuture<'_, Result<(), Fault>>;

    /// Notes how it goes with the keys of a federation, which are the same as before. No change of
    /// anything that is believed, and therefore without an event.
    fn note_federation_keys(
        &self,
        org: OrganizationId,
        kept: KeptKeys,
    ) -> BoxFuture<'_, Result<(), Fault>>;

    /// Notes when agents are to be looked at next, where they are as they were seen. No change of
    /// anything that decisions are made from, and therefore without an event.
    fn looked_at(
        &self,
        org: OrganizationId,
        looked: Vec<Looked>,
    ) -> BoxFuture<'_, Result<(), Fault>>;

    /// Forgets what is over at `now`: single-use values, kept answers, places in status lists,
    /// certificates, and
    /// [`KEPT_LONGER`](crate::revocation::KEPT_LONGER) later revocation entries. It does not come
    /// back: `now` is a time that has surely come, whatever the time of day is said to be.
    fn forget_before(&self, now: Time) -> BoxFuture<'_, Result<(), Fault>>;
}

/// That something was used.
#[derive(Clone, Debug)]
pub struct Use {
    /// In which organization.
    pub org: OrganizationId,
    /// What was used.
    pub id: AnyId,
    /// When, the last time.
    pub at: Time,
    /// From which address, where there was one.
    pub source: Option<IpAddr>,
}

/// The revocation graph, for reading. It is written by [`Registry::commit`].
pub trait Revocations: Send + Sync {
    /// Entries with a `rev` above `after` whose time is not over, in order of `rev`.
    fn revocations_after(
        &self,
        org: OrganizationId,
        after: u64,
        now: Time,
    ) -> BoxFuture<'_, Result<Vec<Revocation>, Fault>>;

    /// A page of entries, newest first, also those whose time is over and that are still kept.
    fn revocations(
        &self,
        org: OrganizationId,
        page: Page,
    ) -> BoxFuture<'_, Result<Listed<Revocation>, Fault>>;

    /// The newest entry whose target this is.
    fn newest_revocation(
        &self,
        org: OrganizationId,
        target: AnyId,
    ) -> BoxFuture<'_, Result<Option<Revocation>, Fault>>;

    /// The first entry above `after` whose target this is, while it is kept.
    fn first_revocation_after(
        &self,
        org: OrganizationId,
        target: AnyId,
        after: u64,
    ) -> BoxFuture<'_, Result<Option<Revocation>, Fault>>;

    /// The entries that end by themselves, whether they have or not, while they are kept.
    fn time_boxed(&self, org: OrganizationId) -> BoxFuture<'_, Result<Vec<Revocation>, Fault>>;

    /// The rows that are active and hang on `target`, without its tokens.
    fn rows_below(&self, org: OrganizationId, target: AnyId)
    -> BoxFuture<'_, Result<Blast, Fault>>;

    /// The tokens and certificates issued since `since` that hang on `target`, at most.
    fn tokens_below(
        &self,
        org: OrganizationId,
        target: AnyId,
        since: Time,
    ) -> BoxFuture<'_, Result<u64, Fault>>;
}

/// What everybody who keeps something in memory must know after a commit. Told in the order of
/// commits, after the change is durable and before its caller is answered.
#[derive(Clone, Debug)]
pub struct Notice {
    /// The organization.
    pub org: OrganizationId,
    /// Its revocation counter.
    pub rev: u64,
    /// When the change was decided ([`Change::at`]).
    pub at: Time,
    /// Its place in what all nodes commit; 0 where no other process writes.
    pub place: u64,
    /// Whether another node committed it.
    pub is_elsewhere: bool,
    /// The new entry, where the change made one.
    pub revocation: Option<Revocation>,
    /// The organization's own row, where it changed.
    pub organization: Option<Organization>,
    /// The signing keys that changed.
    pub keys: Vec<SigningKey>,
    /// The smallest age bound of the organization's resources, where a resource changed, seconds.
    pub revocations_age_min: Option<u32>,
    /// The credentials that changed, each with the time at which it ends by itself.
    pub credentials: Vec<(CredentialId, Time)>,
}

/// Somebody who must know. Called on the writer's thread: must not block.
pub trait Observer: Send + Sync {
    /// A change was committed.
    fn committed(&self, notice: &Notice);

    /// Everything that is wrapped came under another root key. Only those who keep something
    /// wrapped need to know.
    fn rewrapped(&self, _rewrapped: &Rewrapped) {}

    /// Changes were missed: what is in memory is to be forgotten and read anew.
    fn lost(&self) {}

    /// The store went back to an earlier state, which was declared: what is in memory may be newer than
    /// what is there, and is to be forgotten whatever it says.
    fn reverted(&self) {
        self.lost();
    }
}

/// What an installation is founded with.
#[derive(Clone, Debug)]
pub struct Installation {
    /// The peppers, wrapped under the root key.
    pub peppers: Vec<WrappedPepper>,
    /// Which of the store's root keys that is, counted from 1.
    pub root: u32,
    /// Where it is reached; issuers are made from it, so it never changes.
    pub public_url: String,
}

/// The store as a whole.
pub trait Store:
    Registry
    + Admissions
    + Workloads
    + Ledger
    + Revocations
    + StatusLists
    + Certificates
    + ListenerRoots
    + Log
    + Leases
    + Nodes
{
    /// What the installation was founded with; `None` in a new store.
    fn installation(&self) -> BoxFuture<'_, Result<Option<Installation>, Fault>>;

    /// Founds the installation; a second founding is a fault.
    fn found(&self, installation: Installation) -> BoxFuture<'_, Result<(), Fault>>;

    /// Reads everything that is wrapped and writes it under another root key, in one transaction
    /// with an event in the log of each organization. [`CommitError::Stale`] where the store is
    /// not under the root key that it says. Returns how many signing keys
    /// are wrapped.
    fn rewrap(&self, rewrapping: Rewrapping) -> BoxFuture<'_, Result<u64, CommitError>>;

    /// Registers somebody who must know of commits.
    fn observe(&self, observer: Arc<dyn Observer>);

    /// Whether others write to it: then memory is as new as the last [`Store::catch_up`].
    fn is_shared(&self) -> bool;

    /// Done when others may have committed, where the engine says so: a hint, by which nothing goes.
    fn woken(&self) -> BoxFuture<'_, ()>;

    /// Takes over what others committed: observers are told all that was durable when it was called.
    fn catch_up(&self) -> BoxFuture<'_, Result<(), Fault>>;

    /// Whether it was found to have lost what it had answered.
    fn loss(&self) -> Arc<Loss>;

    /// Whether a write would succeed now; for readiness.
    fn check(&self) -> BoxFuture<'_, Result<(), Fault>>;

    /// How it is doing; reads memory alone.
    fn health(&self) -> StoreHealth;
}
