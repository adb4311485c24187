//! What the tests start from: a store in a folder of its own, and rows that may stand in it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use accredit_domain::attestation::{ProcessRule, Voucher, Workload, WorkloadRule};
use accredit_domain::audit::event::{Body, Event, EventKind};
use accredit_domain::ca::listener::{ListenerRoot, Roots};
use accredit_domain::federation::{Federation, KeptKeys, Suspensions};
use accredit_domain::keys::{KeyPurpose, KeyState, SealedKey, SigningKey};
use accredit_domain::ports::{
    Audited, Change, CommitError, Committed, Installation, Issuance, Ledger as _, NotRecorded,
    Registry as _, Row, SingleUse, UsedUp,
};
use accredit_domain::registry::admin_key::{AdminRole, Administrator};
use accredit_domain::registry::agent::AgentState;
use accredit_domain::registry::credential::{CredentialState, Holder, Proof};
use accredit_domain::registry::credential_use::UseName;
use accredit_domain::registry::durable::DurableGrant;
use accredit_domain::registry::environment::Environment;
use accredit_domain::registry::instance::InstanceState;
use accredit_domain::registry::node::NodeToBe;
use accredit_domain::registry::quota::Quotas;
use accredit_domain::registry::rotation_schedule::RotationPolicy;
use accredit_domain::registry::task::{Task, TaskState};
use accredit_domain::registry::{
    Agent, Credential, Instance, Organization, Person, Resource, State,
};
use accredit_domain::restoration::Issuing;
use accredit_domain::revocation::Revocation;
use accredit_domain::trust_domains::{ForeignDomain, Source};
use accredit_store::{Options, SqlStore};
use accredit_wire::authority::{ActionName, Authority, Permission, ResourceName};
use accredit_wire::claim_rule::ClaimName;
use accredit_wire::crypto::{Algorithm, PrivateKey};
use accredit_wire::ids::{
    AgentId, AnyId, CredentialId, FederationId, InstanceId, KeyId, OrganizationId, PersonId,
    ResourceId, RevocationId, TaskId, TokenId,
};
use accredit_wire::jose::jwk::Jwk;
use accredit_wire::selectors::Selectors;
use accredit_wire::time::Time;
use accredit_wire::x509::bundle::Bundle;
use accredit_wire::x509::certificate::{Life, Named, Unsigned};
use accredit_wire::x509::dns_name::DnsName;
use accredit_wire::x509::listener::Host;
use accredit_wire::x509::spiffe::TrustDomain;

use crate::engine;

/// The time at which everything happens unless a test says otherwise.
pub(crate) const NOW: Time = Time::from_seconds(1_763_717_400);

/// Ten bytes that no other call gives.
pub(crate) fn unique() -> [u8; 10] {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut bytes = [0; 10];
    bytes[2..].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    bytes
}

/// A store in a folder of its own, with one organization in it.
pub(crate) struct World {
    pub(crate) store: Arc<SqlStore>,
    pub(crate) org: OrganizationId,
    pub(crate) folder: tempfile::TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(&folder);
        let org = found_organization(&store, "dev").await;
        Self { store, org, folder }
    }

    /// The same folder, opened again.
    pub(crate) fn reopened(self) -> Self {
        let Self { store, org, folder } = self;
        store.close();
        drop(store);
        Self { store: open(&folder), org, folder }
    }

    pub(crate) async fn commit(&self, rows: Vec<Row>) -> Result<Committed, CommitError> {
        commit(&self.store, self.org, rows, None).await
    }

    pub(crate) async fn revoke(&self, target: AnyId, rows: Vec<Row>) -> Committed {
        commit(&self.store, self.org, rows, Some(revocation(target))).await.expect("committed")
    }

    /// An active agent with an owner and a permission to read and update `crm`, committed.
    pub(crate) async fn agent(&self, name: &str) -> Agent {
        let person = person(&format!("{name}@example.com"));
        let agent = agent(name, Some(&person));
        let rows = vec![Row::Person(person), Row::Agent(agent.clone())];
        self.commit(rows).await.expect("committed");
        Agent { version: 1, ..agent }
    }

    pub(crate) async fn resource(&self, name: &str) -> Resource {
        let resource = resource(name);
        self.commit(vec![Row::Resource(resource.clone())]).await.expect("committed");
        Resource { version: 1, ..resource }
    }

    pub(crate) async fn credential(&self, holder: Holder) -> Credential {
        let credential = secret(holder);
        self.commit(vec![Row::Credential(credential.clone())]).await.expect("committed");
        Credential { version: 1, ..credential }
    }

    pub(crate) async fn instance(&self, agent: AgentId) -> (Instance, Credential) {
        let (instance, credential) = instance(agent);
        let rows = vec![Row::Instance(instance.clone()), Row::Credential(credential.clone())];
        self.commit(rows).await.expect("committed");
        (Instance { version: 1, ..instance }, Credential { version: 1, ..credential })
    }

    pub(crate) async fn issue(
        &self,
        lineage: Vec<AnyId>,
        rev: u64,
        single_use: Option<SingleUse>,
    ) -> Result<TokenId, NotRecorded> {
        issue(&self.store, self.org, lineage, rev, single_use).await
    }
}

pub(crate) fn held_by(role: AdminRole) -> Administrator {
    Administrator {
        role,
        permissions: role.permissions().to_vec(),
        purpose: format!("a test of `{}`, 100 %", role.as_str()),
        created_by: Some(CredentialId::new(NOW.millis(), unique())),
    }
}

pub(crate) fn open(folder: &tempfile::TempDir) -> Arc<SqlStore> {
    SqlStore::open_on(engine::driver(folder), &Options::default()).expect("a store")
}

pub(crate) fn organization(name: &str) -> Organization {
    Organization {
        id: OrganizationId::new(NOW.millis(), unique()),
        name: name.to_owned(),
        display_name: None,
        issuer: format!("https://id.example/o/{name}"),
        state: State::Active,
        rotation_policy: RotationPolicy::Warn,
        chain_depth_max: 4,
        issuing: Issuing::Open,
        rev: 0,
        generation: 1,
        created_at: NOW,
        version: 0,
    }
}

pub(crate) async fn found_organization(store: &SqlStore, name: &str) -> OrganizationId {
    let row = organization(name);
    let id = row.id;
    commit(store, id, vec![Row::Organization(row)], None).await.expect("committed");
    id
}

pub(crate) async fn commit(
    store: &SqlStore,
    org: OrganizationId,
    rows: Vec<Row>,
    revocation: Option<Revocation>,
) -> Result<Committed, CommitError> {
    let change = Change { org, at: NOW, rows, revocation, quotas: Quotas::default() };
    store.commit(Audited::new(change, event(EventKind::AgentUpdated, Body::default()))).await
}

pub(crate) async fn issue(
    store: &SqlStore,
    org: OrganizationId,
    lineage: Vec<AnyId>,
    rev: u64,
    single_use: Option<SingleUse>,
) -> Result<TokenId, NotRecorded> {
    let token = TokenId::new(NOW.millis(), unique());
    let body = Body {
        actor: lineage
            .first()
            .map(|id| accredit_domain::audit::event::Actor { id: Some(*id), kind: "agent" }),
        token: Some(token),
        rev: Some(rev),
        ..Body::default()
    };
    let used_up = UsedUp { assertion: single_use, possession: None };
    let issuance = Issuance { org, lineage, rev, used_up, status: None, certificate: None };
    store.record_issuance(Audited::new(issuance, event(EventKind::TokenIssued, body))).await?;
    Ok(token)
}

pub(crate) fn event(kind: EventKind, body: Body) -> Event {
    let mut salt = [0; 16];
    salt[..10].copy_from_slice(&unique());
    Event::new(kind, NOW, salt, body)
}

pub(crate) fn revocation(target: AnyId) -> Revocation {
    Revocation {
        id: RevocationId::new(NOW.millis(), unique()),
        target,
        rev: 0,
        reason: "a test".to_owned(),
        revoked_at: NOW,
        keep_until: NOW.plus(std::time::Duration::from_mins(62)),
        ends_at: None,
    }
}

pub(crate) fn person(email: &str) -> Person {
    Person {
        id: PersonId::new(NOW.millis(), unique()),
        email: Some(email.to_owned()),
        name: None,
        state: State::Active,
        permissions: Authority::none(),
        created_at: NOW,
        version: 0,
    }
}

/// A federation and the keys it has at first.
pub(crate) fn federation(name: &str) -> (Federation, KeptKeys) {
    let id = FederationId::new(NOW.millis(), unique());
    let federation = Federation {
        id,
        name: name.to_owned(),
        issuer: format!("https://{name}.example"),
        jwks_url: None,
        audiences: vec!["accredit".to_owned()],
        rules: vec!["groups contains a => crm:read".parse().expect("a rule")],
        provision: true,
        state: State::Active,
        keys: Box::default(),
        created_at: NOW,
        version: 0,
    };
    (federation, KeptKeys::new(id, NOW))
}

fn action(name: &str) -> ActionName {
    ActionName::new(name).expect("an action")
}

pub(crate) fn resource(name: &str) -> Resource {
    Resource {
        id: ResourceId::new(NOW.millis(), unique()),
        name: ResourceName::new(name).expect("a name"),
        audience: format!("https://{name}.example"),
        actions: [action("read"), action("update")].into(),
        environment: Environment::Dev,
        agent: None,
        state: State::Active,
        revocations_age_max: 60,
        bound_only: true,
        status_list: true,
        created_at: NOW,
        version: 0,
    }
}

/// What a user of a federation grants for a task.
pub(crate) fn grant(person: PersonId, federation: &Federation) -> DurableGrant {
    DurableGrant {
        id: TokenId::new(NOW.millis(), unique()),
        person,
        federation: federation.id,
        issuer: federation.issuer.clone(),
        subject: "user-1".to_owned(),
        rules: federation.rules.clone(),
        authority: authority("crm"),
        instance: Some(InstanceId::new(NOW.millis(), unique())),
        suspensions: Suspensions::default(),
        revoked: false,
        granted_at: NOW,
        expires_at: NOW.plus(std::time::Duration::from_mins(30)),
    }
}

/// A task of an agent, for an hour.
pub(crate) fn task(agent: AgentId) -> Task {
    Task {
        id: TaskId::new(NOW.millis(), unique()),
        agent,
        purpose: "to be tested".to_owned(),
        state: TaskState::Active,
        created_at: NOW,
        deadline: NOW.plus(std::time::Duration::from_hours(1)),
        grant: None,
        version: 0,
    }
}

pub(crate) fn authority(resource: &str) -> Authority {
    let resource = ResourceName::new(resource).expect("a name");
    let actions = [action("read"), action("update")].into();
    Authority::new([Permission::plain(resource, actions)]).expect("an authority")
}

pub(crate) fn agent(name: &str, owner: Option<&Person>) -> Agent {
    let id = AgentId::new(NOW.millis(), unique());
    Agent {
        id,
        client_id: id,
        name: name.to_owned(),
        owner: owner.map(|person| person.id),
        owner_email: owner.and_then(|person| person.email.clone()),
        purpose: Some("to be tested".to_owned()),
        environment: Environment::Dev,
        across_environments: BTreeSet::new(),
        state: AgentState::Active,
        permissions: authority("crm"),
        default_scope: Some("crm:read".parse().expect("a scope")),
        may_delegate: true,
        bound_only: true,
        impersonates: Vec::new(),
        drill: false,
        token_lifetime: 300,
        certificate_lifetime: 3600,
        dns_names: BTreeSet::from([DnsName::parse("a.acme.test").expect("a name")]),
        review_due_at: NOW,
        created_at: NOW,
        last_seen_at: None,
        last_rotated_at: None,
        last_reviewed_at: None,
        rotation_days: 30,
        rotation_due_at: None,
        rotation_asked_at: None,
        rotation_asked_because: None,
        credential_made_at: None,
        rotation_due: false,
        rotation_warned_for: None,
        look_at: None,
        jwks: Box::default(),
        version: 0,
    }
}

pub(crate) fn secret(holder: Holder) -> Credential {
    let proof = Proof::Secret { pepper: 1, mac: [7; 32] };
    credential(holder, proof)
}

/// A credential with a new public key, called `kid`.
pub(crate) fn public_key(holder: Holder, kid: &str) -> Credential {
    let (private, _) = PrivateKey::generate(Algorithm::EdDsa).expect("a key");
    let public = private.public().expect("its public half");
    let jwk = Jwk::new(public, Some(kid.to_owned())).expect("a JWK");
    credential(holder, Proof::Key(Box::new(jwk)))
}

fn credential(holder: Holder, proof: Proof) -> Credential {
    Credential {
        id: CredentialId::new(NOW.millis(), unique()),
        holder,
        r#use: one_more_use(),
        proof,
        followed: false,
        state: CredentialState::Active,
        created_at: NOW,
        expires_at: NOW.plus(std::time::Duration::from_hours(1)),
        last_used_at: None,
        last_used_from: None,
        successor: None,
        version: 0,
    }
}

/// A use that no other secret of the tests has.
fn one_more_use() -> UseName {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let name = format!("use-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    UseName::parse(&name).expect("a name")
}

pub(crate) fn instance(agent: AgentId) -> (Instance, Credential) {
    let id = InstanceId::new(NOW.millis(), unique());
    let credential = secret(Holder::Instance(id, agent));
    let instance = Instance {
        id,
        agent,
        name: Some("copy-1".to_owned()),
        state: InstanceState::Active,
        credential: credential.id,
        born: None,
        vouched_by: None,
        created_at: NOW,
        expires_at: None,
        last_seen_at: None,
        version: 0,
    };
    (instance, credential)
}

/// A workload that a new rule brings into being.
#[derive(Clone)]
pub(crate) struct NewWorkload {
    pub(crate) rule: Credential,
    pub(crate) instance: Instance,
    pub(crate) workload: Workload,
}

impl NewWorkload {
    pub(crate) fn into_rows(self) -> Vec<Row> {
        let Self { rule, instance, workload } = self;
        vec![Row::Credential(rule), Row::Instance(instance), Row::Workload(Box::new(workload))]
    }
}

pub(crate) fn workload(agent: AgentId, federation: FederationId, name: &str) -> NewWorkload {
    let claim = |text: &str| ClaimName::new(text).expect("a claim");
    let rule = WorkloadRule {
        federation,
        claims: [(claim("sub"), "system:serviceaccount:prod:bot".to_owned())].into(),
        instance_by: vec![claim("/kubernetes.io/pod/uid")],
        audience: Some("api://accredit".to_owned()),
        age_max: 3600,
        births_per_hour: 3,
        instance_lifetime: 3600,
    };
    let rule = credential(Holder::Agent(agent), Proof::Workload(Box::new(rule)));
    let (instance, _) = instance(agent);
    let instance = Instance { credential: rule.id, ..instance };
    let workload = Workload {
        by: Voucher::Platform(federation),
        agent,
        name: name.to_owned(),
        instance: instance.id,
        credential: rule.id,
        born_at: NOW,
        before: None,
    };
    NewWorkload { rule, instance, workload }
}

/// A rule on the processes of an agent's nodes, and one of these by what its node calls it.
pub(crate) fn process(
    agent: AgentId,
    (edge, node): (AgentId, InstanceId),
    name: &str,
) -> NewWorkload {
    let claims = Selectors::new([("path", "/opt/bot"), ("uid", "1200")]).expect("selectors");
    let rule = ProcessRule { edge, claims, births_per_hour: 3, instance_lifetime: 3600 };
    let rule = credential(Holder::Agent(agent), Proof::Process(Box::new(rule)));
    let (instance, _) = instance(agent);
    let vouched_by = Some(node.any());
    let instance = Instance { credential: rule.id, vouched_by, ..instance };
    let workload = Workload {
        by: Voucher::Node(node),
        agent,
        name: name.to_owned(),
        instance: instance.id,
        credential: rule.id,
        born_at: NOW,
        before: None,
    };
    NewWorkload { rule, instance, workload }
}

pub(crate) fn join_token(agent: AgentId) -> Credential {
    let node = NodeToBe { name: Some("host-7".to_owned()), expires_in: 3600 };
    let proof = Proof::Join { pepper: 1, mac: [9; 32], node: Box::new(node) };
    credential(Holder::Agent(agent), proof)
}

pub(crate) fn signing_key(org: OrganizationId, purpose: KeyPurpose) -> SigningKey {
    let (private, _) = PrivateKey::generate(purpose.algorithm()).expect("a key");
    SigningKey {
        sealed: SealedKey {
            org: Some(org),
            id: KeyId::new(NOW.millis(), unique()),
            purpose,
            algorithm: purpose.algorithm(),
            public: private.public().expect("its public half"),
            root: 1,
            wrapped: vec![1, 2, 3],
        },
        state: KeyState::Active,
        changed_at: None,
        created_at: NOW,
        statement: None,
        version: 0,
    }
}

/// Roots of the listener's, told apart by a number.
pub(crate) fn listener_roots(number: u8) -> Roots {
    let root = |serial: u8| {
        let SigningKey { sealed, .. } = signing_key(organization("any").id, KeyPurpose::CaRoot);
        listener_root(SealedKey { org: None, ..sealed }, serial)
    };
    Roots { active: root(2 * number), next: root(2 * number + 1) }
}

/// A key of the listener's with a certificate, which says nothing.
pub(crate) fn listener_root(key: SealedKey, serial: u8) -> ListenerRoot {
    let host = Host::of_url("https://id.example").expect("a host");
    let life = Life { from: NOW, until: NOW.plus(std::time::Duration::from_hours(1)) };
    let named = Named::new("a root", &key.public);
    let unsigned = Unsigned::listener_root(&host, named, &[serial; 16], life).expect("unsigned");
    let certificate = unsigned.finish(&[serial | 1; 64]).expect("a certificate");
    ListenerRoot { key, certificate }
}

/// What a store is founded with that is under its first root key.
pub(crate) fn installation() -> Installation {
    Installation { peppers: Vec::new(), root: 1, public_url: "https://id.example".to_owned() }
}

pub(crate) fn single_use(client: AnyId, hash: u8) -> SingleUse {
    SingleUse { client, hash: [hash; 32], until: NOW.plus(std::time::Duration::from_mins(5)) }
}

/// Another trust domain that is followed, with no keys.
pub(crate) fn foreign_domain(name: &str) -> ForeignDomain {
    let name = TrustDomain::parse(name).expect("a name");
    let text = br#"{"spiffe_sequence":1,"keys":[]}"#;
    ForeignDomain {
        source: Source::Web { url: format!("https://{name}/bundle") },
        bundle: Bundle::parse(&name, text).expect("a bundle"),
        name,
        agents: Vec::new(),
        due_at: Some(NOW),
        fetched_at: NOW,
        failing_since: None,
        failure: None,
        created_at: NOW,
        version: 0,
    }
}
