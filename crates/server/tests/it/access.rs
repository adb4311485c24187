//! `docs/access-matrix.md` is generated: every row of the table of endpoints, asked by every kind
//! of caller with every kind of credential.

use std::fmt::Write as _;
use std::path::Path;

use accredit_domain::audit::event::{Body, Event, EventKind};
use accredit_domain::ports::{Audited, Change, Row};
use accredit_domain::registry::admin_key::{self, AdminRole, CreateAdminKey};
use accredit_domain::registry::credential::{self, AdminPermission, CreateCredential};
use accredit_domain::registry::operator::OperatorKey;
use accredit_domain::registry::quota::Quotas;
use accredit_server::caller::Requirement;
use accredit_server::endpoints::{ENDPOINTS, Endpoint, Verb};
use accredit_testkit::fixture::{Client, Org, Scene};
use accredit_testkit::idp::Idp;
use accredit_testkit::{Ask, Signer, TestWorld};
use accredit_wire::crypto::Algorithm;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

const HEAD: &str = "# Who may call what

Every endpoint as asked by every kind of caller, with a good credential and with such as must not
do: one of another organization, one that lacks the permission the row needs, one that has expired
and one that was revoked. `yes` means let in and carried out, or told apart by the state of things
(409); a number is the status of the refusal; `inactive` is what introspection says to who may not
know of a live token, in place of a refusal (RFC 7662 section 2.2); `own` means answered, with what the caller's own
organization has; `-` means that there is no such case. The installation's operator belongs to no
organization and holds no permissions, so that it has neither a foreign nor a narrowed key.

This file is generated from the table of endpoints by a test, which asks a running server and
rewrites the file where it differs.
";

/// How long the credentials live that are meant to expire, seconds.
const SHORT: u64 = 60;

#[derive(Clone, Copy, PartialEq)]
enum Class {
    Anyone,
    Agent,
    Instance,
    Resource,
    Admin(AdminRole),
    Operator,
}

const CLASSES: [Class; 9] = [
    Class::Anyone,
    Class::Agent,
    Class::Instance,
    Class::Resource,
    Class::Admin(AdminRole::Owner),
    Class::Admin(AdminRole::Security),
    Class::Admin(AdminRole::Operator),
    Class::Admin(AdminRole::Auditor),
    Class::Operator,
];

impl Class {
    fn name(self) -> &'static str {
        match self {
            Self::Anyone => "anyone",
            Self::Agent => "agent",
            Self::Instance => "instance",
            Self::Resource => "resource",
            Self::Admin(role) => role.as_str(),
            Self::Operator => "installation's operator",
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Condition {
    Good,
    Foreign,
    Narrowed,
    Expired,
    Revoked,
}

/// In the order in which they are tried: what must be refused goes first.
const CONDITIONS: [(Condition, &str); 5] = [
    (Condition::Foreign, "With a credential of another organization"),
    (Condition::Narrowed, "With a key of the role that lacks the permission"),
    (Condition::Expired, "With a credential that has expired"),
    (Condition::Revoked, "With a credential that was revoked"),
    (Condition::Good, "With a good credential"),
];

/// A world with things to reach, in two organizations.
pub(crate) struct Stage {
    pub(crate) world: TestWorld,
    pub(crate) acme: Org,
    other: Org,
    pub(crate) scene: Scene,
    /// Ids that paths and bodies name.
    person: String,
    key: String,
    event: String,
    /// A kill for a time.
    revocation: String,
    /// A task of the planner's.
    task: String,
    /// A status list.
    list: String,
    /// A certificate.
    certificate: String,
    /// The intermediate that signed it.
    authority: String,
    /// A request about it, in base64.
    ocsp: String,
    /// What a root outside makes of the next root.
    chain: String,
    idp: Idp,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::on(TestWorld::new(88).await).await
    }

    /// In a new world.
    pub(crate) async fn on(world: TestWorld) -> Self {
        let scene = world.scene().await;
        // An event's id is its place and its time: later, so that no two are equal.
        world.advance(1);
        let other = world.found("other").await;
        world.resource(&other, "vault", &["open"]).await;
        world.agent(&other, "stranger", &["vault:open"]).await;
        let acme = scene.org.clone();
        let person = scene.planner.owner.expect("an owner").to_string();
        let spare = world.resource(&acme, "spare", &["open"]).await.id;
        let body = json!({"target": spare, "reason": "a test", "expires_in": 3600});
        let killed = world.admin(&acme, "POST", "/v1/revocations", Some(body)).await.expect(201);
        let (key, event, revocation) = (String::new(), String::new(), killed.member("id"));
        let body = json!({"agent": "planner", "purpose": "a test"});
        let task = world.admin(&acme, "POST", "/v1/tasks", Some(body)).await.expect(201);
        let task = task.member("id");
        // Whom the planner may bring into being.
        world.agent(&acme, "worker", &["crm:read"]).await;
        let rule = json!({"edge": "planner", "claims": {"path": "/opt/worker"}});
        crate::workload::add_rule(&world, &acme, "worker", rule).await.expect(201);
        let actions = json!(["read", "update", "delete", "spawn"]);
        for (verb, path, body) in [
            (
                "PATCH",
                "/v1/resources/crm",
                json!({"agent": "worker", "actions": actions, "status_list": true}),
            ),
            ("PATCH", "/v1/agents/planner", json!({"may_delegate": true})),
            (
                "PUT",
                "/v1/agents/planner/permissions/crm",
                json!({"actions": ["read", "update", "spawn"]}),
            ),
        ] {
            world.admin(&acme, verb, path, Some(body)).await.expect(200);
        }
        let (idp, _) = world.idp().await;
        world.federation(&acme, &idp, "corp").await;
        let there = json!({"name": "there.example", "bundle": r#"{"keys":[]}"#});
        world.admin(&acme, "POST", "/v1/trust-domains", Some(there)).await.expect(201);
        let token = world.token(&acme, &scene.client, &[("scope", "crm:read")]).await.expect(200);
        let list = crate::status_list::place(&token.member("access_token")).uri;
        let list = list.rsplit('/').next().expect("an id").to_owned();
        let holder = world.instance(&acme, "planner", None).await;
        let certificate = crate::certificates::issue(&world, &acme, &holder).await;
        let ocsp = STANDARD.encode(crate::certificate_status::asks_about(&certificate));
        let certificate = certificate["id"].as_str().expect("an id").to_owned();
        let chain = crate::upstream::certified(&world, &acme).await;
        let shown = format!("/v1/certificates/{certificate}");
        let shown = world.admin(&acme, "GET", &shown, None).await.expect(200);
        let authority = shown.member("key");
        let mut stage = Self {
            world,
            acme,
            other,
            scene,
            person,
            key,
            event,
            revocation,
            task,
            list,
            certificate,
            authority,
            ocsp,
            chain,
            idp,
        };
        let spare = stage.admin(&stage.acme, AdminRole::Auditor, None, None).await;
        stage.key = spare.credential;
        accredit_server::jobs::integrate_all(&stage.world.server).await;
        let first = stage.world.admin(&stage.acme, "GET", "/v1/events?limit=1", None).await;
        first.json()["items"][0]["id"].as_str().expect("an event").clone_into(&mut stage.event);
        stage
    }

    async fn admin(
        &self,
        org: &Org,
        role: AdminRole,
        without: Option<AdminPermission>,
        expires_in: Option<u64>,
    ) -> Client {
        let held = role.permissions().iter().filter(|one| Some(**one) != without);
        let permissions = Some(held.map(|one| one.as_str().to_owned()).collect());
        let (role, purpose) = (role.as_str().to_owned(), "a test".to_owned());
        let asked = CreateAdminKey { role, purpose, permissions, expires_in };
        let made = admin_key::create(&self.world.cx(org).await, &asked).await.expect("a key");
        let secret = made.admin_token.expect("a secret").expose().to_owned();
        Client { id: made.id.clone(), secret, credential: made.id, instance: None }
    }

    pub(crate) async fn operator(&self, expires_in: u64, revoked: bool) -> Client {
        let (world, now) = (&self.world.world, self.world.now());
        let until = now.plus(std::time::Duration::from_secs(expires_in));
        let (key, secret) = OperatorKey::new(world, now, until).expect("a key");
        let id = key.id.to_string();
        let org = self.world.tenant(&self.acme).await.id;
        let rows = vec![Row::Operator(OperatorKey { revoked, ..key })];
        let event = Event::new(EventKind::CredentialCreated, now, world.random(), Body::default());
        let change = Change { org, at: now, rows, revocation: None, quotas: Quotas::default() };
        world.store.commit(Audited::new(change, event)).await.expect("committed");
        let secret = secret.expose().to_owned();
        Client { id: id.clone(), secret, credential: id, instance: None }
    }

    /// A secret of an agent or a resource.
    async fn secret(&self, org: &Org, class: Class, expires_in: Option<u64>) -> Client {
        let (agent, resource) =
            if org.name == "acme" { ("planner", "crm") } else { ("stranger", "vault") };
        if class == Class::Instance {
            return self.world.instance(org, agent, expires_in).await;
        }
        let asked = CreateCredential {
            r#use: None,
            agent: (class == Class::Agent).then(|| agent.to_owned()),
            instance: None,
            resource: (class == Class::Resource).then(|| resource.to_owned()),
            r#type: "client-secret".to_owned(),
            jwk: None,
            workload: None,
            node: None,
            expires_in,
        };
        let made = credential::create(&self.world.cx(org).await, &asked).await.expect("a secret");
        Client {
            id: made.client_id.expect("of a client"),
            secret: made.client_secret.expect("a secret").expose().to_owned(),
            credential: made.id,
            instance: None,
        }
    }

    /// What a caller proves itself with; nothing where there is no such case.
    async fn credential(
        &self,
        needs: Option<AdminPermission>,
        class: Class,
        condition: Condition,
    ) -> Option<Client> {
        let org = if condition == Condition::Foreign { &self.other } else { &self.acme };
        let life = (condition == Condition::Expired).then_some(SHORT);
        let made = match (class, condition) {
            (Class::Anyone, _)
            | (Class::Operator, Condition::Foreign | Condition::Narrowed)
            | (Class::Agent | Class::Instance | Class::Resource, Condition::Narrowed) => {
                return None;
            }
            (Class::Admin(role), Condition::Narrowed) => {
                let lacks = needs.filter(|needs| role.permissions().contains(needs))?;
                self.admin(org, role, Some(lacks), None).await
            }
            (Class::Admin(role), _) => self.admin(org, role, None, life).await,
            (Class::Operator, _) => {
                self.operator(life.unwrap_or(3600), condition == Condition::Revoked).await
            }
            (_, _) => self.secret(org, class, life).await,
        };
        if condition == Condition::Revoked && class != Class::Operator {
            self.world.revoke(&self.acme, &made.credential).await.expect("revoked");
        }
        Some(made)
    }

    pub(crate) fn path(&self, endpoint: &Endpoint) -> String {
        let (path, query) = (self.filled(endpoint, endpoint.path), self.query(endpoint));
        let query: Vec<String> =
            query.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) }
    }

    /// The query that an endpoint does not answer without.
    pub(crate) fn query(&self, endpoint: &Endpoint) -> Vec<(&'static str, String)> {
        match endpoint.operation {
            "log_consistency" => vec![("from", "1".to_owned()), ("to", "1".to_owned())],
            "log_inclusion" => vec![("index", "0".to_owned()), ("size", "1".to_owned())],
            "preview_revocation" => vec![("target", self.scene.planner.id.to_string())],
            _ => Vec::new(),
        }
    }

    /// The path of an endpoint, of which parts may have been put in already.
    pub(crate) fn filled(&self, endpoint: &Endpoint, path: &str) -> String {
        let planner = self.scene.planner.id.to_string();
        let key = match endpoint.path.split('/').nth(2).unwrap_or_default() {
            "orgs" => "acme",
            "persons" => &self.person,
            "resources" => "crm",
            "federations" => "corp",
            "trust-domains" => "there.example",
            "agents" => &planner,
            "credentials" => &self.scene.client.credential,
            "admin-keys" => &self.key,
            "events" => &self.event,
            "tasks" => &self.task,
            "certificates" => &self.certificate,
            _ => "",
        };
        path.replace("{org}", "acme")
            .replace("{log}", "g1l0")
            .replace("{list}", &self.list)
            .replace("{authority}", &self.authority)
            .replace("{*request}", &self.ocsp)
            .replace("{*tile}", "0/000.p/1")
            .replace("{key}", key)
            .replace("{resource}", "crm")
    }

    /// A request that would work, if the caller were entitled.
    pub(crate) async fn ask(&self, endpoint: &Endpoint, instance: &str) -> Ask {
        let path =
            self.path(endpoint).replace("/v1/instances/", &format!("/v1/instances/{instance}"));
        let ask = Ask::new(endpoint.method.as_str(), path);
        if endpoint.path.contains("/oauth/") {
            match endpoint.operation {
                "create_own_task" => return ask.form(&[("purpose", "a test")]),
                "spawn_instance" => {
                    let task = self.own_task().await;
                    return ask.form(&[
                        ("agent", "worker"),
                        ("task", &*task),
                        ("scope", "crm:read"),
                    ]);
                }
                "join_instance" => return ask.form(&[("jwk", &*self.jwk())]),
                "attested_instance" => {
                    let jwk = self.jwk();
                    let said = r#"{"path":"/opt/worker"}"#;
                    let form = [("selectors", said), ("process", &jwk[20..]), ("jwk", &*jwk)];
                    return ask.form(&form);
                }
                "own_tasks" | "federated_bundles" => return ask.form(&[]),
                "issue_certificate" => {
                    return ask.form(&[("csr", &*crate::certificates::csr())]);
                }
                "issue_jwt_svid" => return ask.form(&[("audience", "a")]),
                "end_own_task" => return ask.form(&[("task", &*self.own_task().await)]),
                _ => {}
            }
            let grant = [("grant_type", "client_credentials"), ("scope", "crm:read")];
            if endpoint.operation == "token" {
                return ask.form(&grant);
            }
            // A new one each time: who may end it, ends it.
            let token = self.world.token(&self.acme, &self.scene.client, &grant[1..]).await;
            return ask.form(&[("token", &*token.member("access_token"))]);
        }
        if endpoint.operation == "remove_trust_domain" {
            // What was removed by somebody else before is there again.
            let body = json!({"name": "there.example", "bundle": r#"{"keys":[]}"#});
            self.world.admin(&self.acme, "POST", "/v1/trust-domains", Some(body)).await;
        }
        if endpoint.method == Verb::Get || endpoint.body_max == 0 {
            return ask;
        }
        if endpoint.operation == "certificate_status" {
            let der = STANDARD.decode(&self.ocsp).expect("base64");
            return ask.body("application/ocsp-request", der);
        }
        ask.json(&self.body(endpoint.operation))
    }

    /// A new public key.
    fn jwk(&self) -> String {
        let random: [u8; 32] = self.world.world.random();
        let kid = accredit_wire::jose::b64url_encode(&random[..9]);
        Signer::new(Algorithm::EdDsa, &kid, random).public_jwk()
    }

    /// A new task of the planner's: who may end it, ends it.
    async fn own_task(&self) -> String {
        let body = json!({"agent": "planner", "purpose": "a test"});
        let made = self.world.admin(&self.acme, "POST", "/v1/tasks", Some(body)).await;
        made.expect(201).member("id")
    }

    /// A body that would work.
    pub(crate) fn body(&self, operation: &str) -> Value {
        let planner = self.scene.planner.id.to_string();
        match operation {
            "create_org" => json!({"name": "third"}),
            "update_org" => json!({"display_name": "Acme"}),
            "create_admin_key" => json!({"role": "auditor", "purpose": "a test"}),
            "create_person" => json!({"email": "new@example.com"}),
            "update_person" => json!({"name": "New"}),
            "grant_person" | "ungrant_person" => json!({"allow": ["crm:read"]}),
            "link_person" | "unlink_person" => json!({"federation": "corp", "subject": "user-1"}),
            "create_federation" => json!({"name": "new", "issuer": self.idp.issuer(),
                "jwks_url": self.idp.jwks_url(), "audiences": ["accredit"]}),
            "update_federation" => json!({"audiences": ["accredit"]}),
            "add_trust_domain" => json!({"name": "new.example", "bundle": r#"{"keys":[]}"#}),
            "refresh_trust_domain" => json!({"bundle": r#"{"keys":[]}"#}),
            "create_resource" => {
                json!({"name": "new", "audience": "https://new.example/", "actions": ["read"]})
            }
            "update_resource" | "set_permission" => json!({"actions": ["read", "update"]}),
            "create_agent" => json!({"name": "new", "owner_email": "new@example.com"}),
            "update_agent" => json!({"purpose": "another"}),
            "create_instance" => json!({"agent": planner}),
            "create_task" => json!({"agent": planner, "purpose": "a test"}),
            "create_credential" => json!({"agent": planner, "type": "client-secret"}),
            "identify_credential" => json!({"secret": self.scene.client.secret}),
            "rotate_signing_key" => json!({"now": true}),
            "import_ca_certificate" => json!({"chain": self.chain}),
            "acknowledge_revocations" => {
                json!({"gen": 1, "rev": 0, "follower": "00".repeat(16), "waited": 0})
            }
            "revoke_id" => json!({"target": planner, "reason": "a test"}),
            "check_log" => json!({}),
            "prune_log" => json!({"older_than": 86_400}),
            "waive_restore" => json!({"reason": "a test"}),
            "run_drill" => json!({"wait": 0}),
            "strip_agent" => json!({"allow": ["crm:read"], "reason": "a test"}),
            "allow_impersonation" | "end_impersonation" => {
                json!({"subject": self.person, "reason": "a test"})
            }
            "undo_revocation" => json!({"revocation": self.revocation, "reason": "a test"}),
            name if name.ends_with("_org")
                || name == "end_task"
                || name.ends_with("_person")
                || name.ends_with("_resource")
                || name.ends_with("_federation")
                || name.ends_with("_agent") =>
            {
                json!({"reason": "a test"})
            }
            _ => json!({}),
        }
    }
}

/// What one caller was told.
fn cell(endpoint: &Endpoint, condition: Condition, status: u16) -> String {
    let let_in = status < 300 || status == 409;
    let names_something = endpoint.path.contains('{');
    match (let_in, condition) {
        (true, Condition::Foreign) if endpoint.caller == Requirement::Anyone => "yes".to_owned(),
        (true, Condition::Foreign) if !names_something => "own".to_owned(),
        (true, _) => "yes".to_owned(),
        (false, _) => status.to_string(),
    }
}

/// The permission that a row needs of an administrator; nothing where it needs none.
fn needed(endpoint: &Endpoint) -> Option<AdminPermission> {
    match endpoint.caller {
        Requirement::Admin(permission) => Some(permission),
        Requirement::Verifier => Some(AdminPermission::Read),
        // An administrator reads what a token is.
        Requirement::Client if endpoint.operation == "introspect" => Some(AdminPermission::Read),
        Requirement::Anyone | Requirement::Client | Requirement::OperatorAlone => None,
    }
}

/// What one caller was told by an endpoint.
async fn told(stage: &Stage, endpoint: &Endpoint, condition: Condition, ask: Ask) -> String {
    if endpoint.operation != "introspect" {
        return cell(endpoint, condition, stage.world.status(ask).await);
    }
    // RFC 7662 section 2.2: who may not know of a live token is told that it is not active.
    let answer = stage.world.ask(ask).await;
    match answer.status {
        200 if answer.json()["active"] == false => "inactive".to_owned(),
        status => cell(endpoint, condition, status),
    }
}

/// The credentials of every class in every condition, for rows that need the same.
type Made = Vec<Vec<Option<Client>>>;

/// Tries rows of the table in one world: for each a cell for each condition and class.
async fn tried(stage: &Stage, endpoints: &[&Endpoint]) -> Vec<Vec<Vec<String>>> {
    let instance = stage.world.instance(&stage.acme, "planner", None).await;
    let instance = instance.instance.expect("an instance").to_string();
    let mut made: Vec<(Option<AdminPermission>, Made)> = Vec::new();
    for needs in endpoints.iter().map(|endpoint| needed(endpoint)) {
        if made.iter().any(|(held, _)| *held == needs) {
            continue;
        }
        let mut all = Vec::new();
        for (condition, _) in CONDITIONS {
            let mut with = Vec::new();
            for class in CLASSES {
                with.push(stage.credential(needs, class, condition).await);
            }
            all.push(with);
        }
        made.push((needs, all));
    }
    stage.world.advance(SHORT + 1);
    let mut rows = Vec::new();
    for endpoint in endpoints {
        let (_, made) = made.iter().find(|(held, _)| *held == needed(endpoint)).expect("made");
        let mut cells = Vec::new();
        for ((condition, _), with) in CONDITIONS.into_iter().zip(made) {
            let mut row = Vec::new();
            for (class, credential) in CLASSES.into_iter().zip(with) {
                let ask = stage.ask(endpoint, &instance).await;
                row.push(match proved(ask, endpoint, credential.as_ref(), (class, condition)) {
                    Some(ask) => told(stage, endpoint, condition, ask).await,
                    None => "-".to_owned(),
                });
            }
            cells.push(row);
        }
        rows.push(cells);
    }
    rows
}

/// A request with the caller's credential; nothing where there is no such case.
fn proved(
    ask: Ask,
    endpoint: &Endpoint,
    credential: Option<&Client>,
    (class, condition): (Class, Condition),
) -> Option<Ask> {
    match (credential, class) {
        (None, Class::Anyone) if condition == Condition::Good => Some(ask),
        (None, _) => None,
        (Some(client), Class::Agent | Class::Instance | Class::Resource)
            if endpoint.path.starts_with("/o/") =>
        {
            Some(ask.basic(client))
        }
        (Some(client), _) => Some(ask.bearer(&client.secret)),
    }
}

/// What holds of every row, whatever the file says.
fn check(endpoint: &Endpoint, cells: &[Vec<String>]) {
    let name = endpoint.operation;
    let all_of = |condition: Condition| {
        let place = CONDITIONS.iter().position(|(one, _)| *one == condition);
        &cells[place.expect("a condition")]
    };
    if endpoint.caller == Requirement::Anyone {
        let told: Vec<&String> = cells.iter().flatten().filter(|cell| *cell != "-").collect();
        assert!(told.iter().all(|cell| *cell == "yes"), "{name} is for anyone: {told:?}");
        return;
    }
    for (condition, why) in CONDITIONS {
        let may = condition == Condition::Good
            || condition == Condition::Foreign && endpoint.path.starts_with("/v1/");
        for (class, cell) in CLASSES.iter().zip(all_of(condition)) {
            let class = class.name();
            // OAuth says 400 to a client whose kind the endpoint is not for.
            let asked_well = cell != "400" || endpoint.caller == Requirement::Client;
            assert!(asked_well && !cell.starts_with('5'), "{name}, {class}, {why}: {cell}");
            assert!(may || cell != "yes" && cell != "own", "{name}, {class}, {why}: {cell}");
            let foreign = condition == Condition::Foreign;
            assert!(!foreign || cell != "yes", "{name} lets strangers in: {class}");
        }
    }
    let good = all_of(Condition::Good);
    assert_eq!(good[0], "401", "{name} is not for anyone");
    for (class, cell) in CLASSES.iter().zip(good) {
        let entitled = match (endpoint.caller, class) {
            (Requirement::Admin(_), Class::Operator) => endpoint.operator,
            (Requirement::Admin(permission), Class::Admin(role)) => {
                role.permissions().contains(&permission)
            }
            (Requirement::Verifier, Class::Resource | Class::Admin(_)) => true,
            (Requirement::OperatorAlone, class) => *class == Class::Operator,
            (Requirement::Admin(_) | Requirement::Verifier, _) => false,
            (Requirement::Client, Class::Resource | Class::Admin(_))
                if endpoint.operation == "introspect" =>
            {
                true
            }
            // OAuth's own endpoints decide by grant and by client.
            (Requirement::Client | Requirement::Anyone, _) => continue,
        };
        assert_eq!(cell == "yes", entitled, "{name}, {}: {cell}", class.name());
    }
}

#[tokio::test]
async fn every_endpoint_lets_in_whom_the_matrix_says() {
    let mut tables: Vec<String> = Vec::new();
    for (_, title) in CONDITIONS {
        let mut table = format!("\n## {title}\n\n| endpoint |");
        for class in CLASSES {
            write!(table, " {} |", class.name()).expect("a string");
        }
        table.push_str("\n|---|");
        table.push_str(&"---|".repeat(CLASSES.len()));
        table.push('\n');
        tables.push(table);
    }
    // What changes nothing shares a world; else one row's success is another's conflict.
    let reads: Vec<&Endpoint> = ENDPOINTS.iter().filter(|row| row.method == Verb::Get).collect();
    let mut read = tried(&Stage::new().await, &reads).await.into_iter();
    for endpoint in ENDPOINTS {
        let cells = match endpoint.method {
            Verb::Get => read.next(),
            _ => tried(&Stage::new().await, &[endpoint]).await.pop(),
        };
        let cells = cells.expect("a row");
        check(endpoint, &cells);
        for (table, row) in tables.iter_mut().zip(&cells) {
            let (verb, path) = (endpoint.method.as_str(), endpoint.path);
            writeln!(table, "| `{verb} {path}` | {} |", row.join(" | ")).expect("a string");
        }
    }
    // The good ones, tried last, are read first.
    tables.rotate_right(1);
    let generated = format!("{HEAD}{}", tables.concat());
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/access-matrix.md");
    if std::fs::read_to_string(&file).is_ok_and(|kept| kept == generated) {
        return;
    }
    std::fs::write(&file, generated).expect("a writable file");
    panic!("docs/access-matrix.md was not current and has been rewritten: look at it, check it in");
}
