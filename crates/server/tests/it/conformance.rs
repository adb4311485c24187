//! One kill ends every kind of credential and of token: a row for each kind, tried with a kill of
//! each id that it hangs on.
//!
//! A kind that has no row does not compile: [`row_of`], [`kind_of`], [`rows_of`], [`row_of_subject`] and
//! [`row_of_use`] match on the kinds that the program knows, without a rest. What a token hangs on is read from the token
//! itself: an id that is added to tokens is tried from then on.

use accredit_domain::issuance::admission::{CredentialFacts, HolderFacts, ProofFacts};
use accredit_domain::registry::agent::CreateAgent;
use accredit_domain::registry::credential::AdminPermission;
use accredit_domain::status_list::REMADE_EVERY;
use accredit_testkit::fixture::{Client, Org, Scene};
use accredit_testkit::idp::Idp;
use accredit_testkit::{Answer, Ask, Signer, TestWorld};
use accredit_wire::api_key::SecretKind;
use accredit_wire::binding::Thumbprint;
use accredit_wire::binding::dpop::{ProofKey, ToProve};
use accredit_wire::biscuit::{Held, Holder, Narrowing};
use accredit_wire::crypto::{Algorithm, PrivateKey};
use accredit_wire::ids::{AnyId, Kind};
use accredit_wire::oauth::token_exchange::{IssuedTokenType, SubjectTokenType};
use accredit_wire::oauth::token_request::Grant;
use accredit_wire::oauth::token_response::TokenType;
use accredit_wire::status_list::Status;
use serde_json::{Value, json};

use crate::jwks::Served;

const READ: (&str, &str) = ("scope", "crm:read");

/// A kind of thing that lets somebody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Row {
    ClientSecret,
    InstanceSecret,
    /// Of an instance that another brought into being.
    ChildSecret,
    ResourceSecret,
    AdminKey,
    OperatorKey,
    ClientKey,
    InstanceKey,
    ResourceKey,
    FollowedKey,
    /// A token of the platform on which an instance runs.
    Workload,
    AccessToken,
    ChildToken,
    BoundToken,
    TaskToken,
    ExchangedToken,
    UsersToken,
    UnnamedToken,
    /// What another issuer signed, with which a chain begins.
    UsersJwt,
    /// What a user granted for a task, which outlasts their token.
    DurableGrant,
    /// A Biscuit.
    AttenuableToken,
    /// A Biscuit that was narrowed and handed on.
    NarrowedToken,
    /// A token that its resource looks up in a status list.
    ListedToken,
    /// A token that was got with one of the platform's.
    WorkloadToken,
    /// An X.509-SVID.
    Certificate,
    /// That of an instance that another brought into being.
    ChildCertificate,
    /// A registered key in the form of a certificate (RFC 8705 section 2.2).
    ClientCertificate,
    /// A token that was got with an X.509-SVID.
    CertifiedToken,
    /// With which a machine becomes a node.
    JoinToken,
    /// That of a node which joined with such a token.
    NodeKey,
    /// That of a node for which a platform vouches.
    PlatformNodeKey,
    /// That of a process for which such a node vouches.
    ProcessKey,
    ProcessToken,
    ProcessCertificate,
    /// A JWT-SVID.
    JwtSvid,
    /// That of an instance that another brought into being.
    ChildJwtSvid,
    /// That of a process for which a node vouches.
    ProcessJwtSvid,
    /// A token that was got with a JWT-SVID.
    SvidToken,
}

impl Row {
    /// What it is of ours that is shown to others.
    const fn is_token(self) -> bool {
        matches!(
            self,
            Self::AccessToken
                | Self::ChildToken
                | Self::BoundToken
                | Self::TaskToken
                | Self::ExchangedToken
                | Self::UsersToken
                | Self::UnnamedToken
                | Self::AttenuableToken
                | Self::NarrowedToken
                | Self::ListedToken
                | Self::WorkloadToken
                | Self::Certificate
                | Self::ChildCertificate
                | Self::CertifiedToken
                | Self::ProcessToken
                | Self::ProcessCertificate
                | Self::JwtSvid
                | Self::ChildJwtSvid
                | Self::ProcessJwtSvid
                | Self::SvidToken
        )
    }
}

const ROWS: [Row; 38] = [
    Row::ClientSecret,
    Row::InstanceSecret,
    Row::ChildSecret,
    Row::ResourceSecret,
    Row::AdminKey,
    Row::OperatorKey,
    Row::ClientKey,
    Row::InstanceKey,
    Row::ResourceKey,
    Row::FollowedKey,
    Row::Workload,
    Row::AccessToken,
    Row::ChildToken,
    Row::BoundToken,
    Row::TaskToken,
    Row::ExchangedToken,
    Row::UsersToken,
    Row::UnnamedToken,
    Row::UsersJwt,
    Row::DurableGrant,
    Row::AttenuableToken,
    Row::NarrowedToken,
    Row::ListedToken,
    Row::WorkloadToken,
    Row::Certificate,
    Row::ChildCertificate,
    Row::ClientCertificate,
    Row::CertifiedToken,
    Row::JoinToken,
    Row::NodeKey,
    Row::PlatformNodeKey,
    Row::ProcessKey,
    Row::ProcessToken,
    Row::ProcessCertificate,
    Row::JwtSvid,
    Row::ChildJwtSvid,
    Row::ProcessJwtSvid,
    Row::SvidToken,
];

/// The row of each kind of secret.
const fn row_of(kind: SecretKind) -> Row {
    match kind {
        SecretKind::Agent => Row::ClientSecret,
        SecretKind::Instance => Row::InstanceSecret,
        SecretKind::Resource => Row::ResourceSecret,
        SecretKind::Admin => Row::AdminKey,
        SecretKind::Operator => Row::OperatorKey,
        SecretKind::Join => Row::JoinToken,
    }
}

/// The rows of a credential of the registry, by whose it is and how it proves.
fn kind_of(facts: &CredentialFacts) -> &'static [Row] {
    match (&facts.holder, &facts.proof) {
        (HolderFacts::Agent(_), ProofFacts::Secret { .. }) => &[Row::ClientSecret],
        (HolderFacts::Agent(_), ProofFacts::Key(_)) => {
            &[Row::ClientKey, Row::FollowedKey, Row::ClientCertificate]
        }
        (HolderFacts::Instance { .. }, ProofFacts::Secret { .. }) => {
            &[Row::InstanceSecret, Row::ChildSecret]
        }
        (HolderFacts::Instance { .. }, ProofFacts::Key(_)) => {
            &[Row::InstanceKey, Row::NodeKey, Row::PlatformNodeKey, Row::ProcessKey]
        }
        (HolderFacts::Agent(_), ProofFacts::Join { .. }) => &[Row::JoinToken],
        // Whoever proves itself so is an instance; the rule itself is its agent's.
        (HolderFacts::Agent(_) | HolderFacts::Instance { .. }, ProofFacts::Workload) => {
            &[Row::Workload]
        }
        (HolderFacts::Resource(_), ProofFacts::Secret { .. }) => &[Row::ResourceSecret],
        (HolderFacts::Resource(_), ProofFacts::Key(_)) => &[Row::ResourceKey],
        (HolderFacts::Admin(_), ProofFacts::Secret { .. }) => &[Row::AdminKey],
        // There is none: an administrator has no key pair, and no resource gets tokens.
        (
            HolderFacts::Admin(_),
            ProofFacts::Key(_) | ProofFacts::Workload | ProofFacts::Join { .. },
        )
        | (HolderFacts::Resource(_), ProofFacts::Workload | ProofFacts::Join { .. })
        | (HolderFacts::Instance { .. }, ProofFacts::Join { .. }) => &[],
    }
}

/// The rows of what a grant gives.
const fn rows_of(grant: &Grant) -> &'static [Row] {
    match grant {
        Grant::ClientCredentials => &[
            Row::AccessToken,
            Row::ChildToken,
            Row::TaskToken,
            Row::CertifiedToken,
            Row::ProcessToken,
        ],
        Grant::TokenExchange(_) => &[Row::ExchangedToken, Row::UsersToken, Row::UnnamedToken],
        Grant::JwtBearer => &[Row::WorkloadToken],
    }
}

/// The row of whatever is exchanged.
const fn row_of_subject(kind: SubjectTokenType) -> Row {
    match kind {
        SubjectTokenType::AccessToken => Row::ExchangedToken,
        SubjectTokenType::Jwt | SubjectTokenType::IdToken => Row::UsersJwt,
        SubjectTokenType::Biscuit => Row::AttenuableToken,
        SubjectTokenType::Task => Row::DurableGrant,
    }
}

/// The row of whatever is issued.
const fn row_of_issued(kind: IssuedTokenType) -> Row {
    match kind {
        IssuedTokenType::AccessToken | IssuedTokenType::Jwt => Row::AccessToken,
        IssuedTokenType::Biscuit => Row::AttenuableToken,
    }
}

/// The row of each way in which a token is used.
const fn row_of_use(kind: TokenType) -> Row {
    match kind {
        TokenType::Bearer => Row::AccessToken,
        TokenType::Dpop => Row::BoundToken,
    }
}

/// Something of a row that lets in, in an organization of its own.
struct Case {
    row: Row,
    scene: Scene,
    /// Whoever authenticates with a secret.
    client: Option<Client>,
    /// Whoever signs.
    signer: Option<Signer>,
    token: String,
    /// The certificate of the connection, DER.
    der: Vec<u8>,
    /// A certificate as it was answered.
    issued: Value,
    /// What it hangs on.
    lineage: Vec<AnyId>,
}

struct Stage {
    world: TestWorld,
    served: Served,
    /// An identity provider, and the key that it signs with.
    idp: (Idp, Signer),
    tried: std::cell::Cell<u32>,
}

fn id(text: impl ToString) -> AnyId {
    text.to_string().parse().expect("an id")
}

/// Every id that stands in the payload of a token.
fn ids_in(value: &Value, found: &mut Vec<AnyId>) {
    match value {
        Value::String(text) => found.extend(text.parse::<AnyId>().ok()),
        Value::Array(items) => items.iter().for_each(|item| ids_in(item, found)),
        Value::Object(members) => members.values().for_each(|member| ids_in(member, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Every id that a token hangs on: those in its payload, and the key in its header.
fn lineage_of(token: &str) -> Vec<AnyId> {
    let mut lineage = Vec::new();
    for part in token.split('.').take(2) {
        let text = accredit_wire::jose::b64url_decode(part).expect("base64url");
        ids_in(&serde_json::from_slice(&text).expect("JSON"), &mut lineage);
    }
    lineage.sort_unstable_by_key(ToString::to_string);
    lineage.dedup();
    lineage
}

/// Every id that an attenuable token hangs on: those of its claims, and of each of its blocks.
async fn lineage_in(world: &TestWorld, org: &Org, text: &str) -> Vec<AnyId> {
    let said = crate::attenuable::read(world, org, "biscuit-jwks", text).await.expect("ours");
    let mut lineage: Vec<AnyId> = said.token().lineage().chain(said.named()).collect();
    lineage.sort_unstable_by_key(ToString::to_string);
    lineage.dedup();
    let blocks = lineage.iter().filter(|id| id.kind() == Kind::Block).count();
    assert_eq!(blocks, 1 + said.narrowings().len(), "each block is one of them: {lineage:?}");
    lineage
}

impl Stage {
    /// An attenuable token of an instance.
    async fn attenuable(&self, org: &Org, client: &Client) -> String {
        let wanted = ("requested_token_type", accredit_wire::biscuit::TOKEN_TYPE);
        let answer = self.world.token(org, client, &[READ, wanted]).await;
        answer.expect(200).member("access_token")
    }

    /// The same, narrowed and handed on to another agent, and narrowed again.
    async fn narrowed(&self, org: &Org, client: &Client) -> String {
        let named = self.world.agent(org, "helper", &["crm:read"]).await.id;
        let text = self.attenuable(org, client).await;
        let key = PrivateKey::ed25519_from_seed(&self.world.world.random()).expect("a key");
        let key = Thumbprint::of(&key.public().expect("its public half"));
        let holder = Holder { agent: named, key };
        let handed_on = Narrowing { holder: Some(holder), ..Narrowing::default() };
        let shorter =
            Narrowing { expires_at: Some(self.world.now().seconds() + 60), ..Narrowing::default() };
        [handed_on, shorter].iter().fold(text, |text, narrowing| {
            let held = Held::read(&text).expect("a token");
            held.narrow(narrowing, &self.world.world.random(), None).expect("narrowed")
        })
    }

    /// A token that an agent got with one that was sent to it (RFC 8693).
    async fn exchanged(&self, org: &Org) -> String {
        let world = &self.world;
        world.resource(org, "worker", &["run"]).await;
        for name in ["caller", "worker"] {
            let allow = ["worker:run", "crm:read"].map(str::to_owned).to_vec();
            let name = name.to_owned();
            let asked = CreateAgent { name, allow, may_delegate: true, ..CreateAgent::default() };
            world.agent_like(org, asked).await;
        }
        let served = json!({"agent": "worker"});
        world.admin(org, "PATCH", "/v1/resources/worker", Some(served)).await.expect(200);
        let caller = world.instance(org, "caller", None).await;
        let worker = world.instance(org, "worker", None).await;
        let first = world.token(org, &caller, &[("scope", "worker:run")]).await.expect(200);
        let first = first.member("access_token");
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token", first.as_str()),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            READ,
        ];
        let ask = Ask::post(org.path("/oauth/token")).basic(&worker).form(&form);
        world.ask(ask).await.expect(200).member("access_token")
    }

    /// An instance that was brought into being by one of another agent, for a task; and what it hangs
    /// on: itself, its agent, and everybody before it.
    async fn child(&self, org: &Org) -> (Client, Vec<AnyId>) {
        let world = &self.world;
        let mut lineage = Vec::new();
        for name in ["parent", "child"] {
            let (name, allow) = (name.to_owned(), vec!["crm:read".to_owned()]);
            let asked = CreateAgent { name, allow, may_delegate: true, ..CreateAgent::default() };
            let made = world.agent_like(org, asked).await;
            lineage.extend([id(made.id), id(made.owner.expect("an owner"))]);
        }
        let parent = world.instance(org, "parent", None).await.instance.expect("an instance");
        let task = json!({"agent": "parent", "purpose": "a test"});
        let task = world.admin(org, "POST", "/v1/tasks", Some(task)).await.expect(201);
        let task = task.member("id");
        let body = json!({"agent": "child", "parent": parent, "task": task, "allow": ["crm:read"]});
        let made = world.admin(org, "POST", "/v1/instances", Some(body)).await.expect(201);
        let child = Client {
            id: made.member("client_id"),
            secret: made.member("client_secret"),
            credential: made.member("credential"),
            instance: Some(made.member("id").parse().expect("an id")),
        };
        lineage.extend([id(parent), id(task), id(made.member("id")), id(&child.credential)]);
        (child, lineage)
    }

    /// A federation of an organization with the identity provider, whose users may read.
    async fn federation(&self, org: &Org) -> AnyId {
        let (idp, _) = &self.idp;
        let corp = json!({"name": "corp", "issuer": idp.issuer(), "jwks_url": idp.jwks_url(),
            "audiences": ["accredit"], "rules": ["groups contains sales => crm:read"]});
        id(self
            .world
            .admin(org, "POST", "/v1/federations", Some(corp))
            .await
            .expect(201)
            .member("id"))
    }

    /// The provider as a platform of an organization, with a rule on one of its workloads; both.
    async fn platform(&self, org: &Org) -> (AnyId, AnyId) {
        let (idp, _) = &self.idp;
        let body = json!({"name": "k8s", "issuer": idp.issuer(), "jwks_url": idp.jwks_url()});
        let platform = self.world.admin(org, "POST", "/v1/federations", Some(body)).await;
        let rule = crate::workload::rule("k8s", &json!({"instance_by": ["pod"]}));
        let rule = crate::workload::add_rule(&self.world, org, "planner", rule).await;
        (id(platform.expect(201).member("id")), id(rule.expect(201).member("id")))
    }

    /// A token of the pod that runs there.
    fn pod(&self, org: &Org) -> String {
        let (now, (idp, key)) = (self.world.now().seconds(), &self.idp);
        let claims = json!({"iss": idp.issuer(), "sub": "system:serviceaccount:prod:planner",
            "aud": org.issuer, "iat": now, "exp": now + 3600, "pod": "one",
            "jti": format!("n{}", self.unique())});
        key.sign(&json!({"alg": "ES256", "kid": "k1"}), &claims)
    }

    /// The agent `node` of an organization, with its owner.
    async fn nodes(&self, org: &Org) -> Vec<AnyId> {
        let made = self.world.agent(org, "node", &["crm:read"]).await;
        vec![id(made.id), id(made.owner.expect("an owner"))]
    }

    /// A node for which the provider vouches as a platform; what it hangs on.
    async fn platform_node(&self, org: &Org) -> (Signer, Vec<AnyId>) {
        let mut lineage = self.nodes(org).await;
        let (idp, _) = &self.idp;
        let body = json!({"name": "k8s", "issuer": idp.issuer(), "jwks_url": idp.jwks_url()});
        let platform = self.world.admin(org, "POST", "/v1/federations", Some(body)).await;
        let rule = crate::workload::rule("k8s", &json!({"instance_by": ["pod"]}));
        let rule = crate::workload::add_rule(&self.world, org, "node", rule).await.expect(201);
        let answer = crate::nodes::joined(&self.world, org, &self.pod(org)).await;
        let (answer, signer) = answer;
        let ids = ["id", "key_credential"].map(|name| id(answer.member(name)));
        lineage.extend(ids);
        lineage.extend([id(platform.expect(201).member("id")), id(rule.member("id"))]);
        (signer, lineage)
    }

    /// A process of the planner on such a node; what it hangs on, the node's key apart.
    async fn process(&self, org: &Org, agent: &[AnyId]) -> (Signer, Vec<AnyId>) {
        let (node, of_node) = self.platform_node(org).await;
        let rule = crate::nodes::planner_rule();
        let rule = crate::workload::add_rule(&self.world, org, "planner", rule).await.expect(201);
        let process = crate::nodes::process(&self.world, org, &node, "1").await;
        let key = id(&node.credential);
        let of_node = of_node.into_iter().filter(|other| *other != key);
        let own = [id(&process.id), id(&process.signer.credential), id(rule.member("id"))];
        (process.signer, agent.iter().copied().chain(own).chain(of_node).collect())
    }

    /// A user's token of the identity provider.
    fn jwt(&self) -> String {
        let (now, (idp, key)) = (self.world.now().seconds(), &self.idp);
        let claims = json!({"iss": idp.issuer(), "sub": "mia", "aud": "accredit", "iat": now,
            "exp": now + 300, "groups": ["sales"]});
        key.sign(&json!({"alg": "ES256", "kid": "k1"}), &claims)
    }

    /// What a client gets for a user's token.
    async fn for_user(&self, org: &Org, client: &Client, jwt: &str, unnamed: bool) -> Answer {
        let mut form = vec![
            ("subject_token", jwt),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
            READ,
        ];
        if unnamed {
            form.push(("impersonation", "true"));
        }
        crate::exchange::ask(&self.world, org, client, &form).await
    }

    /// The person that the user's token made known.
    async fn person(&self, org: &Org) -> AnyId {
        let made = crate::events(&self.world, org, "person.created").await;
        let mine = made.iter().rfind(|event| event["payload"]["subject"] == "mia");
        id(mine.expect("mia")["payload"]["target"].as_str().expect("an id"))
    }

    /// A certificate of an instance as it was answered, its DER, and its id.
    async fn certificate(&self, org: &Org, client: &Client) -> (Value, Vec<u8>, String) {
        let (der, issued) = crate::mtls::svid(&self.world, org, client).await;
        let id = issued["id"].as_str().expect("an id").to_owned();
        (issued, der, id)
    }

    /// Every id that a certificate hangs on, as the store keeps it.
    async fn certificate_lineage(&self, org: &Org, certificate: &str) -> Vec<AnyId> {
        let (org, id) = (self.world.tenant(org).await.id, certificate.parse().expect("an id"));
        let found = self.world.world.store.certificate(org, id).await.expect("a store");
        found.expect("a certificate").lineage
    }

    /// A token that is bound to a key.
    async fn bound(&self, org: &Org, client: &Client) -> String {
        let (private, _) = PrivateKey::generate(Algorithm::Es256).expect("a key");
        let key = ProofKey::new(private).expect("a key");
        let url = format!("{}/oauth/token", org.issuer);
        let request = ToProve { method: "POST", url: &url, token: None, nonce: None };
        let proof = key.prove(&request, self.world.world.random(), self.world.now());
        let form = [("grant_type", "client_credentials"), READ];
        let ask = Ask::post(org.path("/oauth/token")).basic(client).form(&form);
        let answer = self.world.ask(ask.header("dpop", &proof.expect("a proof"))).await.expect(200);
        assert_eq!(answer.member("token_type"), "DPoP");
        answer.member("access_token")
    }

    fn unique(&self) -> u32 {
        self.tried.set(self.tried.get() + 1);
        self.tried.get()
    }

    /// An organization with one agent of one person at one resource.
    async fn scene(&self) -> Scene {
        let org = self.world.found(&format!("org-{}", self.unique())).await;
        let crm = self.world.resource(&org, "crm", &["read", "update", "delete"]).await;
        let planner = self.world.agent(&org, "planner", &["crm:read", "crm:update"]).await;
        let client = self.world.agent_secret(&org, "planner", None).await;
        Scene { org, crm, planner, client }
    }

    async fn case(&self, row: Row) -> Case {
        let (world, scene) = (&self.world, self.scene().await);
        let org = &scene.org;
        let owner = scene.planner.owner.expect("an owner");
        let agent = [id(scene.planner.id), id(owner)];
        let instance = world.instance(org, "planner", None).await;
        let of_instance = id(instance.instance.expect("one"));
        let kid = format!("k{}", self.unique());
        let (mut client, mut signer, mut token) = (None, None, String::new());
        let (mut issued, mut der) = (Value::Null, Vec::new());
        let lineage = match row {
            Row::ClientSecret => {
                client = Some(scene.client.clone());
                [&agent[..], &[id(&scene.client.credential)]].concat()
            }
            Row::InstanceSecret => {
                let lineage = [&agent[..], &[id(&instance.credential), of_instance]].concat();
                client = Some(instance);
                lineage
            }
            Row::ChildSecret => {
                let (child, lineage) = self.child(org).await;
                client = Some(child);
                lineage
            }
            Row::ChildToken => {
                let (child, of_child) = self.child(org).await;
                token = world.token(org, &child, &[READ]).await.expect(200).member("access_token");
                let lineage = lineage_of(&token);
                for needed in of_child {
                    assert!(lineage.contains(&needed), "{needed} is not in {lineage:?}");
                }
                lineage
            }
            Row::ResourceSecret => {
                token =
                    world.token(org, &instance, &[READ]).await.expect(200).member("access_token");
                let made = world.resource_secret(org, "crm").await;
                let lineage = vec![id(&made.credential), id(scene.crm.id)];
                client = Some(made);
                lineage
            }
            Row::AdminKey => {
                let all = AdminPermission::ALL.to_vec();
                let secret = world.admin_with(org, &all).await;
                let credential = secret.split('_').nth(2).map(|id| format!("crd_{id}"));
                let credential = credential.expect("an id");
                let lineage = vec![id(&credential)];
                client = Some(Client { id: String::new(), secret, credential, instance: None });
                lineage
            }
            Row::OperatorKey => Vec::new(),
            Row::ClientKey => {
                let made = world.agent_key(org, "planner", &kid, Algorithm::Es256).await;
                let lineage = [&agent[..], &[id(&made.credential)]].concat();
                signer = Some(made);
                lineage
            }
            Row::InstanceKey => {
                let of = Some(of_instance.to_string());
                let made = world.short_key(org, "planner", of, &kid, 3600).await;
                let lineage = [&agent[..], &[id(&made.credential), of_instance]].concat();
                signer = Some(made);
                lineage
            }
            Row::ResourceKey => {
                token =
                    world.token(org, &instance, &[READ]).await.expect(200).member("access_token");
                let made = world.resource_key(org, "crm", &kid).await;
                let lineage = vec![id(&made.credential), id(scene.crm.id)];
                signer = Some(made);
                lineage
            }
            Row::FollowedKey => {
                let mut made = Signer::new(Algorithm::EdDsa, &kid, world.world.random());
                made.client = scene.planner.id.to_string();
                made.issuer.clone_from(&org.issuer);
                self.served.has(&[&made]);
                let body = json!({"jwks_url": self.served.url()});
                world.admin(org, "PATCH", "/v1/agents/planner", Some(body)).await.expect(200);
                accredit_server::jobs::follow_all(&world.server).await;
                let keys = world.admin(org, "GET", "/v1/credentials?agent=planner", None).await;
                let keys = keys.expect(200).json();
                let own = [&scene.client.credential, &instance.credential];
                let followed = keys["items"].as_array().expect("items").iter().find_map(|row| {
                    let found = row["id"].as_str().filter(|id| own.iter().all(|own| *own != id))?;
                    Some(found.to_owned())
                });
                signer = Some(made);
                [&agent[..], &[id(followed.expect("the followed key"))]].concat()
            }
            Row::Workload | Row::WorkloadToken => {
                let (platform, rule) = self.platform(org).await;
                let jwt = self.pod(org);
                let answer = crate::workload::granted(world, org, &jwt, &[]).await.expect(200);
                token = answer.member("access_token");
                let born = crate::events(world, org, "instance.created").await;
                let born = &born.last().expect("a birth")["payload"]["instance"];
                let hangs_on =
                    [platform, rule, agent[0], agent[1], id(born.as_str().expect("one"))];
                let lineage = lineage_of(&token);
                assert!(hangs_on.iter().all(|id| lineage.contains(id)), "{lineage:?}");
                if row == Row::Workload { hangs_on.to_vec() } else { lineage }
            }
            Row::ExchangedToken => {
                token = self.exchanged(org).await;
                let lineage = lineage_of(&token);
                let count = |kind| lineage.iter().filter(|id| id.kind() == kind).count();
                assert!(count(Kind::Token) >= 2 && count(Kind::Agent) >= 2, "{lineage:?}");
                lineage
            }
            Row::BoundToken => {
                token = self.bound(org, &instance).await;
                lineage_of(&token)
            }
            Row::TaskToken => {
                let task = json!({"agent": "planner", "purpose": "a test"});
                let task = world.admin(org, "POST", "/v1/tasks", Some(task)).await.expect(201);
                let task = task.member("id");
                let form = [READ, ("task", task.as_str())];
                token = world.token(org, &instance, &form).await.expect(200).member("access_token");
                let lineage = lineage_of(&token);
                assert!(lineage.contains(&id(&task)), "{lineage:?}");
                lineage
            }
            Row::UsersToken | Row::UnnamedToken => {
                let federation = self.federation(org).await;
                let jwt = self.jwt();
                let unnamed = row == Row::UnnamedToken;
                let named = self.for_user(org, &instance, &jwt, false).await.expect(200);
                let person = self.person(org).await;
                token = named.member("access_token");
                if unnamed {
                    let body = Some(json!({"subject": person, "reason": "a test"}));
                    let path = "/v1/agents/planner/allow-impersonation";
                    world.admin(org, "POST", path, body).await.expect(200);
                    let answer = self.for_user(org, &instance, &jwt, true).await.expect(200);
                    token = answer.member("access_token");
                }
                let lineage = lineage_of(&token);
                for needed in [federation, person, agent[0], of_instance] {
                    assert!(lineage.contains(&needed), "{needed} is not in {lineage:?}");
                }
                lineage
            }
            Row::AttenuableToken => {
                token = self.attenuable(org, &instance).await;
                lineage_in(world, org, &token).await
            }
            Row::NarrowedToken => {
                token = self.narrowed(org, &instance).await;
                lineage_in(world, org, &token).await
            }
            Row::ListedToken => {
                crate::status_list::opt_in(world, org, "crm").await;
                token =
                    world.token(org, &instance, &[READ]).await.expect(200).member("access_token");
                lineage_of(&token)
            }
            Row::Certificate => {
                (issued, der, token) = self.certificate(org, &instance).await;
                let lineage = self.certificate_lineage(org, &token).await;
                let keys = lineage.iter().filter(|id| id.kind() == Kind::Key).count();
                assert_eq!(keys, 2, "the intermediate and its root: {lineage:?}");
                let credential = id(&instance.credential);
                for needed in [agent[0], agent[1], of_instance, credential, id(&token)] {
                    assert!(lineage.contains(&needed), "{needed} is not in {lineage:?}");
                }
                lineage
            }
            Row::ChildCertificate => {
                let (child, of_child) = self.child(org).await;
                (issued, der, token) = self.certificate(org, &child).await;
                client = Some(child);
                let lineage = self.certificate_lineage(org, &token).await;
                for needed in of_child {
                    assert!(lineage.contains(&needed), "{needed} is not in {lineage:?}");
                }
                lineage
            }
            Row::ClientCertificate => {
                let own = crate::mtls::Own::new();
                let credential = crate::mtls::register(world, org, "planner", &own).await;
                der = own.der;
                [&agent[..], &[id(&credential)]].concat()
            }
            Row::CertifiedToken => {
                let (_, shown, certificate) = self.certificate(org, &instance).await;
                let named = (instance.id.as_str(), &*shown);
                let answer = crate::mtls::over(world, org, named, &[READ]).await.expect(200);
                token = answer.member("access_token");
                let lineage = lineage_of(&token);
                for needed in self.certificate_lineage(org, &certificate).await {
                    assert!(lineage.contains(&needed), "{needed} is not in {lineage:?}");
                }
                lineage
            }
            Row::JoinToken => {
                let lineage = self.nodes(org).await;
                let made = crate::nodes::invite(world, org, &json!({})).await.expect(201);
                token = made.member("join_token");
                [&lineage[..], &[id(made.member("id"))]].concat()
            }
            Row::NodeKey => {
                let lineage = self.nodes(org).await;
                let node = crate::nodes::node(world, org).await;
                let own = [id(&node.id), id(&node.signer.credential)];
                signer = Some(node.signer);
                [&lineage[..], &own].concat()
            }
            Row::PlatformNodeKey => {
                let (node, lineage) = self.platform_node(org).await;
                signer = Some(node);
                lineage
            }
            Row::ProcessKey => {
                let (process, lineage) = self.process(org, &agent).await;
                signer = Some(process);
                lineage
            }
            Row::ProcessToken => {
                let (process, hangs_on) = self.process(org, &agent).await;
                let shown = crate::nodes::assertion(world, &process);
                let answer = world.token_by(org, &shown, &[READ]).await.expect(200);
                token = answer.member("access_token");
                let lineage = lineage_of(&token);
                for needed in hangs_on {
                    assert!(lineage.contains(&needed), "{needed} is not in {lineage:?}");
                }
                lineage
            }
            Row::ProcessCertificate => {
                let (process, hangs_on) = self.process(org, &agent).await;
                let csr = crate::certificates::csr();
                let way = ("/oauth/certificates", &process);
                let answer = crate::nodes::asked(world, org, way, &[("csr", &*csr)]).await;
                issued = answer.expect(200).json();
                token = issued["id"].as_str().expect("an id").to_owned();
                let [leaf, _] = crate::certificates::chain(&issued);
                der = leaf;
                let lineage = self.certificate_lineage(org, &token).await;
                for needed in hangs_on {
                    assert!(lineage.contains(&needed), "{needed} is not in {lineage:?}");
                }
                lineage
            }
            Row::JwtSvid => {
                token = crate::jwt_svids::issue(world, org, &instance, &org.issuer).await;
                let lineage = crate::jwt_svids::lineage(world, org, &token).await;
                let credential = id(&instance.credential);
                for needed in [agent[0], agent[1], of_instance, credential] {
                    assert!(lineage.contains(&needed), "{needed} is not in {lineage:?}");
                }
                let kinds: Vec<Kind> = lineage.iter().map(|id| id.kind()).collect();
                for kind in [Kind::Organization, Kind::Key, Kind::Token] {
                    assert!(kinds.contains(&kind), "{kind:?} is not in {kinds:?}");
                }
                lineage
            }
            Row::ChildJwtSvid => {
                let (child, of_child) = self.child(org).await;
                token = crate::jwt_svids::issue(world, org, &child, &org.issuer).await;
                let lineage = crate::jwt_svids::lineage(world, org, &token).await;
                for needed in of_child {
                    assert!(lineage.contains(&needed), "{needed} is not in {lineage:?}");
                }
                lineage
            }
            Row::ProcessJwtSvid => {
                let (process, hangs_on) = self.process(org, &agent).await;
                let (way, form) = (("/oauth/jwt-svids", &process), [("audience", &*org.issuer)]);
                let answer = crate::nodes::asked(world, org, way, &form).await;
                token = answer.expect(200).member("svid");
                let lineage = crate::jwt_svids::lineage(world, org, &token).await;
                for needed in hangs_on {
                    assert!(lineage.contains(&needed), "{needed} is not in {lineage:?}");
                }
                lineage
            }
            Row::SvidToken => {
                let svid = crate::jwt_svids::issue(world, org, &instance, &org.issuer).await;
                let answer = crate::jwt_svids::by_svid(world, org, &svid, &[READ]).await;
                token = answer.expect(200).member("access_token");
                let lineage = lineage_of(&token);
                for needed in crate::jwt_svids::lineage(world, org, &svid).await {
                    assert!(lineage.contains(&needed), "{needed} is not in {lineage:?}");
                }
                lineage
            }
            Row::DurableGrant => {
                let federation = self.federation(org).await;
                let jwt = self.jwt();
                let form = [
                    ("purpose", "a test"),
                    ("subject_token", &*jwt),
                    ("subject_token_type", SubjectTokenType::Jwt.uri()),
                    ("scope", "crm:read"),
                ];
                let ask = Ask::post(org.path("/oauth/tasks")).basic(&instance).form(&form);
                let made = world.ask(ask).await.expect(200).json();
                token = made["id"].as_str().expect("a task").to_owned();
                let person = self.person(org).await;
                let credential = id(&instance.credential);
                client = Some(instance);
                vec![federation, person, agent[0], agent[1], of_instance, credential, id(&token)]
            }
            Row::UsersJwt => {
                let federation = self.federation(org).await;
                token = self.jwt();
                self.for_user(org, &instance, &token, false).await.expect(200);
                let credential = id(&instance.credential);
                let person = self.person(org).await;
                client = Some(instance);
                vec![federation, person, agent[0], agent[1], of_instance, credential]
            }
            Row::AccessToken => {
                token =
                    world.token(org, &instance, &[READ]).await.expect(200).member("access_token");
                let lineage = lineage_of(&token);
                let kinds: Vec<Kind> = lineage.iter().map(|id| id.kind()).collect();
                for kind in [
                    Kind::Organization,
                    Kind::Key,
                    Kind::Agent,
                    Kind::Instance,
                    Kind::Credential,
                    Kind::Person,
                    Kind::Resource,
                    Kind::Token,
                ] {
                    assert!(kinds.contains(&kind), "{kind:?} is not in {kinds:?}");
                }
                lineage
            }
        };
        // Whatever gets tokens hangs on the organization; administrators stay, to lift it.
        let mut lineage = lineage;
        if !row.is_token() && !matches!(row, Row::AdminKey | Row::OperatorKey) {
            lineage.push(id(world.tenant(org).await.id));
        }
        Case { row, scene, client, signer, token, der, issued, lineage }
    }

    /// Whether it lets in.
    async fn lets_in(&self, case: &Case) -> bool {
        let (world, org) = (&self.world, &case.scene.org);
        let assertion = || {
            let nonce = format!("n{}", self.unique());
            case.signer.as_ref().expect("a signer").assertion(world.now(), &nonce)
        };
        let client = || case.client.as_ref().expect("a client");
        let answer = match case.row {
            Row::ClientSecret | Row::InstanceSecret | Row::ChildSecret => {
                world.token(org, client(), &[READ]).await
            }
            Row::ClientKey
            | Row::InstanceKey
            | Row::FollowedKey
            | Row::NodeKey
            | Row::PlatformNodeKey
            | Row::ProcessKey => world.token_by(org, &assertion(), &[READ]).await,
            // It is good once: what is asked with it is wrong in another way, which is told to whom it
            // lets in.
            Row::JoinToken => {
                let answer = crate::nodes::join(world, org, &case.token, "{}").await;
                return answer.status == 400 && answer.member("rule") == "field-invalid";
            }
            Row::Workload => crate::workload::granted(world, org, &self.pod(org), &[]).await,
            // What a resource server is for: it is told of a token that is for it. One that is
            // stopped may still learn what has ended.
            Row::ResourceSecret | Row::ResourceKey => {
                let kind = accredit_wire::oauth::client_auth::ASSERTION_TYPE;
                let mut form = vec![("token", case.token.as_str())];
                let path = Ask::post(org.path("/oauth/introspect"));
                let assertion = case.signer.as_ref().map(|_| assertion());
                let ask = match (&case.client, &assertion) {
                    (Some(client), _) => path.bearer(&client.secret),
                    (None, Some(assertion)) => {
                        form.extend([("client_assertion_type", kind)]);
                        form.extend([("client_assertion", assertion.as_str())]);
                        path
                    }
                    (None, None) => unreachable!("it proves itself with something"),
                };
                let answer = world.ask(ask.form(&form)).await;
                return answer.status == 200 && answer.json()["active"] == true;
            }
            Row::ClientCertificate => {
                let agent = case.scene.planner.id.to_string();
                crate::mtls::over(world, org, (&agent, &case.der), &[READ]).await
            }
            // It is looked up, by administrators, in lists and by questions, which a verifier of the
            // chain alone does not, and it lets its instance in here.
            Row::Certificate | Row::ChildCertificate | Row::ProcessCertificate => {
                let planner = case.scene.planner.id.to_string();
                let agent = case.client.as_ref().map_or(planner, |client| client.id.clone());
                let answer = crate::mtls::over(world, org, (&agent, &case.der), &[READ]).await;
                let standing = crate::certificates::standing(world, org, &case.token).await;
                let valid = standing == "valid";
                assert!(valid || answer.status != 200, "what is over lets nobody in: {answer:?}");
                let told = crate::certificate_status::status(world, org, &case.issued).await;
                let expected = if valid { (false, "good") } else { (true, "revoked") };
                assert_eq!(told, expected, "list and answer agree with {standing}");
                return valid && answer.status == 200;
            }
            // It lets its instance in here, and whoever it is for is told that it stands.
            Row::JwtSvid | Row::ChildJwtSvid | Row::ProcessJwtSvid => {
                let answer = crate::jwt_svids::by_svid(world, org, &case.token, &[READ]).await;
                let stands = crate::jwt_svids::stands(world, org, &case.token).await;
                assert!([200, 400, 401].contains(&answer.status), "{}", answer.text());
                assert!(
                    stands || answer.status != 200,
                    "what has ended lets nobody in: {answer:?}"
                );
                return stands && answer.status == 200;
            }
            Row::AdminKey => world.ask(Ask::get("/v1/agents").bearer(&client().secret)).await,
            Row::OperatorKey => unreachable!("no kill reaches it"),
            Row::UsersJwt => self.for_user(org, client(), &case.token, false).await,
            Row::DurableGrant => {
                let form = [
                    ("subject_token", case.token.as_str()),
                    ("subject_token_type", SubjectTokenType::Task.uri()),
                    READ,
                ];
                crate::exchange::ask(world, org, client(), &form).await
            }
            Row::AccessToken
            | Row::ChildToken
            | Row::BoundToken
            | Row::TaskToken
            | Row::ExchangedToken
            | Row::UsersToken
            | Row::UnnamedToken
            | Row::AttenuableToken
            | Row::NarrowedToken
            | Row::ListedToken
            | Row::CertifiedToken
            | Row::ProcessToken
            | Row::SvidToken
            | Row::WorkloadToken => {
                let form = [("token", &*case.token)];
                let ask = Ask::post(org.path("/oauth/introspect")).bearer(&org.admin).form(&form);
                let active = world.ask(ask).await.expect(200).json()["active"] == true;
                let tenant = world.tenant(org).await;
                // Whoever sends it has proved what it is bound to: that is not what is tried here.
                let verified = tenant.verifier.alive(&case.token, world.now()).is_ok();
                assert_eq!(active, verified, "introspection and the Verifier agree");
                if case.row == Row::ListedToken {
                    world.advance(REMADE_EVERY.as_secs());
                    let status = crate::status_list::status(world, org, &case.token).await;
                    assert_eq!(active, status == Status::Valid, "so does the list");
                }
                return active;
            }
        };
        assert!([200, 400, 401, 403].contains(&answer.status), "{}", answer.text());
        answer.status == 200
    }

    /// Kills one id of the lineage of something that lets in, and looks.
    async fn tried(&self, row: Row, place: usize) {
        let case = self.case(row).await;
        let Some(target) = case.lineage.get(place) else { return };
        assert!(self.lets_in(&case).await, "{row:?} lets in");
        let body = json!({"target": target, "reason": "a test"});
        let org = &case.scene.org;
        self.world.admin(org, "POST", "/v1/revocations", Some(body)).await.expect(201);
        assert!(!self.lets_in(&case).await, "{row:?} lets in after the end of {target}");
    }
}

#[tokio::test]
async fn each_kind_dies_by_a_kill_of_each_id_that_it_hangs_on() {
    let world = TestWorld::new(71).await;
    let served = Served::start().await;
    let idp = world.idp().await;
    world.outside.0.allow(&[served.address, idp.0.address]).expect("allowed");
    let stage = Stage { world, served, idp, tried: std::cell::Cell::new(0) };
    for row in ROWS {
        let ids = stage.case(row).await.lineage.len();
        assert!(ids > 0 || row == Row::OperatorKey, "{row:?} hangs on nothing");
        for place in 0..ids {
            stage.tried(row, place).await;
        }
    }
}

#[tokio::test]
async fn each_kind_that_there_is_has_a_row() {
    let kinds = [
        SecretKind::Agent,
        SecretKind::Instance,
        SecretKind::Resource,
        SecretKind::Admin,
        SecretKind::Operator,
        SecretKind::Join,
    ];
    assert!(kinds.into_iter().all(|kind| ROWS.contains(&row_of(kind))));
    assert!(rows_of(&Grant::ClientCredentials).iter().all(|row| ROWS.contains(row)));
    assert!(SubjectTokenType::ALL.into_iter().all(|kind| ROWS.contains(&row_of_subject(kind))));
    assert!(IssuedTokenType::ALL.into_iter().all(|kind| ROWS.contains(&row_of_issued(kind))));
    for kind in [TokenType::Bearer, TokenType::Dpop] {
        assert!(ROWS.contains(&row_of_use(kind)));
    }
    assert!(rows_of(&Grant::JwtBearer).iter().all(|row| ROWS.contains(row)));
    assert_eq!(Grant::NAMES.len(), 3, "a grant that has no row");
    let world = TestWorld::new(72).await;
    let scene = world.scene().await;
    let org = world.tenant(&scene.org).await.id;
    let credential = scene.client.credential.parse().expect("an id");
    let facts = world.world.store.credential_facts(org, credential).await.expect("a store").found;
    assert_eq!(kind_of(&facts.expect("a credential")), [Row::ClientSecret]);
}

#[tokio::test]
async fn the_operators_key_is_none_of_an_organizations_and_no_kill_reaches_it() {
    let stage = crate::access::Stage::new().await;
    let operator = stage.operator(3600, false).await;
    let body = json!({"target": operator.credential, "reason": "a test"});
    let answer = stage.world.admin(&stage.acme, "POST", "/v1/revocations", Some(body)).await;
    answer.problem(404, "not-found");
    stage.world.ask(Ask::get("/v1/orgs").bearer(&operator.secret)).await.expect(200);
}
