//! One kill ends every kind of credential and of token: a row for each kind, tried with a kill of
//! each id that it hangs on.
//!
//! A kind that has no row does not compile: [`row_of`], [`kind_of`] and [`rows_of`] match on the
//! kinds that the program knows, without a rest. What a token hangs on is read from the token
//! itself: an id that is added to tokens is tried from then on.

use accredit_domain::issuance::admission::{CredentialFacts, HolderFacts, ProofFacts};
use accredit_domain::registry::agent::CreateAgent;
use accredit_domain::registry::credential::AdminPermission;
use accredit_testkit::fixture::{Client, Org, Scene};
use accredit_testkit::{Ask, Signer, TestWorld};
use accredit_wire::api_key::SecretKind;
use accredit_wire::crypto::Algorithm;
use accredit_wire::ids::{AnyId, Kind};
use accredit_wire::oauth::token_request::Grant;
use serde_json::{Value, json};

use crate::jwks::Served;

const READ: (&str, &str) = ("scope", "crm:read");

/// A kind of thing that lets somebody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Row {
    ClientSecret,
    InstanceSecret,
    ResourceSecret,
    AdminKey,
    OperatorKey,
    ClientKey,
    InstanceKey,
    ResourceKey,
    FollowedKey,
    AccessToken,
    ExchangedToken,
}

const ROWS: [Row; 11] = [
    Row::ClientSecret,
    Row::InstanceSecret,
    Row::ResourceSecret,
    Row::AdminKey,
    Row::OperatorKey,
    Row::ClientKey,
    Row::InstanceKey,
    Row::ResourceKey,
    Row::FollowedKey,
    Row::AccessToken,
    Row::ExchangedToken,
];

/// The row of each kind of secret.
const fn row_of(kind: SecretKind) -> Row {
    match kind {
        SecretKind::Agent => Row::ClientSecret,
        SecretKind::Instance => Row::InstanceSecret,
        SecretKind::Resource => Row::ResourceSecret,
        SecretKind::Admin => Row::AdminKey,
        SecretKind::Operator => Row::OperatorKey,
    }
}

/// The rows of a credential of the registry, by whose it is and how it proves.
fn kind_of(facts: &CredentialFacts) -> &'static [Row] {
    match (&facts.holder, &facts.proof) {
        (HolderFacts::Agent(_), ProofFacts::Secret { .. }) => &[Row::ClientSecret],
        (HolderFacts::Agent(_), ProofFacts::Key(_)) => &[Row::ClientKey, Row::FollowedKey],
        (HolderFacts::Instance { .. }, ProofFacts::Secret { .. }) => &[Row::InstanceSecret],
        (HolderFacts::Instance { .. }, ProofFacts::Key(_)) => &[Row::InstanceKey],
        (HolderFacts::Resource(_), ProofFacts::Secret { .. }) => &[Row::ResourceSecret],
        (HolderFacts::Resource(_), ProofFacts::Key(_)) => &[Row::ResourceKey],
        (HolderFacts::Admin(_), ProofFacts::Secret { .. }) => &[Row::AdminKey],
        // There is none: an administrator has no key pair.
        (HolderFacts::Admin(_), ProofFacts::Key(_)) => &[],
    }
}

/// The rows of what a grant gives.
const fn rows_of(grant: &Grant) -> &'static [Row] {
    match grant {
        Grant::ClientCredentials => &[Row::AccessToken],
        Grant::TokenExchange(_) => &[Row::ExchangedToken],
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
    /// What it hangs on.
    lineage: Vec<AnyId>,
}

struct Stage {
    world: TestWorld,
    served: Served,
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

impl Stage {
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
            Row::ExchangedToken => {
                token = self.exchanged(org).await;
                let lineage = lineage_of(&token);
                let count = |kind| lineage.iter().filter(|id| id.kind() == kind).count();
                assert!(count(Kind::Token) >= 2 && count(Kind::Agent) >= 2, "{lineage:?}");
                lineage
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
        if !matches!(row, Row::AdminKey | Row::OperatorKey | Row::AccessToken | Row::ExchangedToken)
        {
            lineage.push(id(world.tenant(org).await.id));
        }
        Case { row, scene, client, signer, token, lineage }
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
            Row::ClientSecret | Row::InstanceSecret => world.token(org, client(), &[READ]).await,
            Row::ClientKey | Row::InstanceKey | Row::FollowedKey => {
                world.token_by(org, &assertion(), &[READ]).await
            }
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
            Row::AdminKey => world.ask(Ask::get("/v1/agents").bearer(&client().secret)).await,
            Row::OperatorKey => unreachable!("no kill reaches it"),
            Row::AccessToken | Row::ExchangedToken => {
                let form = [("token", &*case.token)];
                let ask = Ask::post(org.path("/oauth/introspect")).bearer(&org.admin).form(&form);
                let active = world.ask(ask).await.expect(200).json()["active"] == true;
                let tenant = world.tenant(org).await;
                let verified = tenant.verifier.verify_token(&case.token, world.now()).is_ok();
                assert_eq!(active, verified, "introspection and the Verifier agree");
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
    world.outside.0.allow(&[served.address]).expect("allowed");
    let stage = Stage { world, served, tried: std::cell::Cell::new(0) };
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
    ];
    assert!(kinds.into_iter().all(|kind| ROWS.contains(&row_of(kind))));
    assert_eq!(rows_of(&Grant::ClientCredentials), [Row::AccessToken]);
    assert_eq!(Grant::NAMES.len(), 2, "a grant that has no row");
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
