//! The whole API as a stranger, and as another tenant.
//!
//! What is tried comes from the server's own OpenAPI document: an endpoint that is not in the
//! table here fails the test, so that none is left out.

use serde_json::{Value, json};

use crate::stage::cast::{Client, text};
use crate::stage::{Answer, Ask, Cast};

/// One operation of the document.
struct Operation {
    method: String,
    path: String,
    id: String,
    /// Who may call, as the document says.
    callers: Vec<String>,
}

async fn operations(cast: &Cast) -> Vec<Operation> {
    let document = cast.server.send(Ask::get("/openapi.json")).await.good();
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let security = operation["security"].as_array().expect("every one says who may call");
            let names = security.iter().flat_map(|one| one.as_object().expect("a scheme").keys());
            all.push(Operation {
                method: method.to_ascii_uppercase(),
                path: path.clone(),
                id: text(operation, "operationId"),
                callers: names.cloned().collect(),
            });
        }
    }
    assert!(all.len() > 50, "{}", all.len());
    all
}

/// Another trust domain that organization A knows.
const TRUST_DOMAIN: &str = "there.example";
/// A bundle of nobody's.
const BUNDLE: &str = r#"{"keys":[]}"#;

/// The things of organization A that somebody else tries to reach.
struct Prey {
    cast: Cast,
    client: Client,
    instance: Client,
    person: String,
    org: String,
    event: String,
    /// An auditor's key.
    admin_key: String,
    task: String,
    token: String,
    /// The status list that the token names.
    list: String,
    /// The id of one of the instance.
    certificate: String,
    /// The intermediate that signed it.
    authority: String,
}

impl Prey {
    async fn new() -> Self {
        let cast = Cast::new().await;
        let client = cast.agent("planner").await;
        let instance = cast.instance_of(&client.agent).await;
        let server = &cast.server;
        let listed = json!({"status_list": true});
        server.api("PATCH", "/v1/resources/crm", listed).await.good();
        let token = cast.token(&client).await;
        let payload = token.split('.').nth(1).expect("a payload");
        let payload = accredit_wire::jose::b64url_decode(payload).expect("base64url");
        let claims: Value = serde_json::from_slice(&payload).expect("claims");
        let uri = text(&claims["status"]["status_list"], "uri");
        let list = uri.rsplit('/').next().expect("a list").to_owned();
        let person = text(&server.get("/v1/persons/planner@example.com").await, "id");
        let org = text(&server.get(&format!("/v1/orgs/{}", server.org)).await, "id");
        let event = text(&server.get("/v1/events?limit=1").await["items"][0], "id");
        let body = json!({"role": "auditor", "purpose": "to be in a story"});
        let admin_key = text(&server.post("/v1/admin-keys", body).await, "id");
        let body = json!({"agent": client.agent, "purpose": "to be in a story"});
        let task = text(&server.post("/v1/tasks", body).await, "id");
        let certificate = text(&certificate_of(&cast, &instance), "id");
        let shown = server.get(&format!("/v1/certificates/{certificate}")).await;
        let authority = text(&shown, "key");
        server.post("/v1/trust-domains", json!({"name": TRUST_DOMAIN, "bundle": BUNDLE})).await;
        Self {
            cast,
            client,
            instance,
            person,
            org,
            event,
            admin_key,
            task,
            token,
            list,
            certificate,
            authority,
        }
    }

    /// The path with A's ids in the places of its parameters.
    fn path(&self, path: &str) -> String {
        let noun = path.split('/').nth(2).unwrap_or_default();
        let key = match noun {
            "orgs" => &self.org,
            "persons" => &self.person,
            "resources" => &self.cast.resource,
            "agents" => &self.client.agent,
            "instances" => &self.instance.id,
            "credentials" => &self.client.credential,
            "events" => &self.event,
            // None was registered: this server reaches no identity provider.
            "federations" => "corp",
            "trust-domains" => TRUST_DOMAIN,
            "admin-keys" => &self.admin_key,
            "tasks" => &self.task,
            "certificates" => &self.certificate,
            _ => "",
        };
        let filled = path
            .replace("{org}", &self.cast.server.org)
            .replace("{key}", key)
            .replace("{resource}", &self.cast.resource)
            .replace("{log}", "g1l0")
            .replace("{list}", &self.list)
            .replace("{authority}", &self.authority)
            .replace("{request}", "AAAA")
            .replace("{tile}", "0/000.p/1");
        assert!(!filled.contains(['{', '}']), "a parameter that nobody knows: {path}");
        filled
    }

    /// A body that would work, if the caller were entitled.
    fn body(&self, operation: &str) -> Option<Value> {
        let (agent, resource) = (&self.client.agent, &self.cast.resource);
        Some(match operation {
            "create_org" | "update_person" => json!({"name": "mine"}),
            "update_org" => json!({"display_name": "mine"}),
            "create_admin_key" => json!({"role": "auditor", "purpose": "mine"}),
            "rotate_admin_key" => json!({"overlap": 60}),
            "identify_credential" => json!({"secret": self.client.secret}),
            "prune_log" => json!({"older_than": 86_400}),
            "create_person" => json!({"email": "new@example.com"}),
            "grant_person" | "ungrant_person" => json!({"allow": [format!("{resource}:read")]}),
            "link_person" | "unlink_person" => json!({"federation": "corp", "subject": "mine"}),
            "create_federation" => json!({"name": "mine", "issuer": "https://10.0.0.1",
                "jwks_url": "https://10.0.0.1/jwks", "audiences": ["mine"]}),
            "update_federation" => json!({"provision": true}),
            "add_trust_domain" => json!({"name": "mine.example", "bundle": BUNDLE}),
            "refresh_trust_domain" => json!({"bundle": BUNDLE}),
            "create_resource" => {
                json!({"name": "mine", "audience": "https://mine.example/", "actions": ["read"]})
            }
            "update_resource" | "set_permission" => json!({"actions": ["read"]}),
            "create_agent" => json!({"name": "mine", "owner": self.person, "purpose": "takes",
                "allow": [format!("{resource}:read")]}),
            "update_agent" => json!({"purpose": "mine"}),
            "create_instance" => json!({"agent": agent}),
            "create_task" => json!({"agent": agent, "purpose": "mine"}),
            "create_credential" => json!({"agent": agent, "type": "client-secret"}),
            "acknowledge_revocations" => {
                json!({"gen": 1, "rev": 0, "follower": "00".repeat(16), "waited": 0})
            }
            // Refused before anything is made: it would be of their own.
            "run_drill" => json!({"wait": 31}),
            "strip_agent" => json!({"allow": [format!("{resource}:read")], "reason": "mine"}),
            "allow_impersonation" | "end_impersonation" => {
                json!({"subject": self.person, "reason": "mine"})
            }
            "undo_revocation" => {
                json!({"revocation": "rvk_00000000000000000000000000", "reason": "mine"})
            }
            "revoke_id" => json!({"target": agent, "reason": "mine"}),
            "suspend_org"
            | "activate_org"
            | "suspend_person"
            | "activate_person"
            | "suspend_resource"
            | "activate_resource"
            | "activate_agent"
            | "suspend_agent"
            | "decommission_agent"
            | "waive_restore"
            | "end_task"
            | "suspend_federation"
            | "activate_federation" => json!({"reason": "mine"}),
            _ => return None,
        })
    }

    fn ask(&self, operation: &Operation) -> Ask {
        let path = self.path(&operation.path);
        match self.body(&operation.id) {
            Some(body) => Ask::json(&operation.method, &path, &body),
            None if operation.path.contains("/oauth/") => {
                let form = [("grant_type", "client_credentials"), ("token", &self.token)];
                Ask::form(&path, &form)
            }
            None => Ask::new(&operation.method, &path),
        }
    }

    /// Every id that a stranger must not learn.
    fn ids(&self) -> Vec<&str> {
        let (client, instance) = (&self.client, &self.instance);
        let of_agents = [&client.agent, &client.credential, &instance.id, &instance.credential];
        let others = [&self.cast.resource, &self.person, &self.org, &self.event];
        let more = [&self.admin_key, &self.task, &self.certificate];
        let all = of_agents.into_iter().chain(others).chain(more).map(String::as_str);
        all.chain([TRUST_DOMAIN]).collect()
    }

    /// All that can be seen of A, by its own administrator.
    async fn snapshot(&self) -> Vec<Value> {
        let mut seen = Vec::new();
        for list in [
            "orgs",
            "persons",
            "resources",
            "agents",
            "instances",
            "tasks",
            "certificates",
            "revocations",
        ] {
            seen.push(self.cast.server.get(&format!("/v1/{list}")).await);
        }
        for list in ["credentials", "admin-keys"] {
            let mut keys = self.cast.server.get(&format!("/v1/{list}")).await;
            for item in keys["items"].as_array_mut().expect("items") {
                item["last_used_at"] = Value::Null;
                item["last_used_from"] = Value::Null;
            }
            seen.push(keys);
        }
        let mut domains = self.cast.server.get("/v1/trust-domains").await;
        for item in domains["items"].as_array_mut().expect("items") {
            item["bundle_age"] = Value::Null;
        }
        seen.push(domains);
        for agent in seen[3]["items"].as_array_mut().expect("items") {
            agent["last_seen_at"] = Value::Null;
        }
        seen
    }
}

/// A certificate of an instance, by the command line.
fn certificate_of(cast: &Cast, instance: &Client) -> Value {
    let file = |name: &str| cast.server.folder().file(name);
    let (secret, key, chain) = (file("prey.secret"), file("prey.key"), file("prey.pem"));
    std::fs::write(&secret, &instance.secret).expect("written");
    let who = ["--client-id", &instance.agent, "--secret-file", &secret, "--org", &cast.server.org];
    let to = ["--key", &*key, "--certificate", &chain];
    cast.server.cli_json(&[&["certificate", "issue"][..], &who, &to].concat())
}

/// Another organization at the same server; its administrator's key.
async fn other_organization(prey: &Prey, name: &str) -> String {
    text(&prey.cast.server.post("/v1/orgs", json!({"name": name})).await, "admin_token")
}

fn is_admin_only(operation: &Operation) -> bool {
    operation.callers.iter().all(|caller| caller == "admin" || caller == "operator")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_endpoint_answers_without_a_credential_or_with_a_wrong_one() {
    let mut prey = Prey::new().await;
    // Started again, it makes a further key; with that the first is ended.
    let revoked = prey.cast.server.admin.clone();
    assert_eq!(prey.cast.server.stop(), Some(0));
    prey.cast.server = prey.cast.server.again().await;
    let server = &prey.cast.server;
    server.get("/v1/agents").await;
    let credential = format!("crd_{}", revoked.split('_').nth(2).expect("a credential"));
    server.revoke(&credential).await;
    let mut forged = server.admin.clone();
    forged.truncate(forged.len() - 8);
    let credentials = [
        None,
        Some(prey.cast.resource_secret.as_str()),
        Some(prey.client.secret.as_str()),
        Some(prey.instance.secret.as_str()),
        Some(prey.token.as_str()),
        Some(revoked.as_str()),
        Some(forged.as_str()),
        Some("nonsense"),
    ];
    let before = prey.snapshot().await;
    for operation in operations(&prey.cast).await {
        let name = format!("{} {}", operation.method, operation.path);
        let ask = prey.ask(&operation);
        for credential in credentials {
            let ask = credential.map_or_else(|| ask.clone(), |it| ask.clone().bearer(it));
            if operation.callers.is_empty() {
                let status = server.send(ask).await.status;
                // This is no question about a certificate, which needs no credential to be told.
                let asks = operation.id.starts_with("certificate_status");
                let is_heard = status < 300 || asks && [400, 415].contains(&status);
                assert!(is_heard, "{name} is for anyone: {status}");
                continue;
            }
            if is_admin_only(&operation) {
                let answer = server.send(ask).await;
                assert_eq!(answer.status, 401, "{name} with {credential:?}");
                // That a credential has ended is told to whoever proves to have held it.
                let was_good = credential == Some(revoked.as_str());
                answer.problem(401, if was_good { "credential-revoked" } else { "admin-key" });
                let challenge = answer.header("www-authenticate").expect("a challenge");
                assert!(challenge.starts_with("Bearer"), "{challenge}");
                continue;
            }
            // OAuth, the feed and the log: a resource is let in there, and agents at some.
            let entitled = credential == Some(prey.cast.resource_secret.as_str())
                || credential == Some(prey.client.secret.as_str())
                || credential == Some(prey.instance.secret.as_str());
            if !entitled {
                let answer = server.send(ask).await;
                assert!([400, 401].contains(&answer.status), "{name} with {credential:?}");
                assert_eq!(answer.json()["error"], "invalid_client", "{name}: {}", answer.text());
            }
        }
    }
    assert_eq!(prey.snapshot().await, before, "nothing was changed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_tenant_reaches_nothing_and_learns_nothing() {
    let prey = Prey::new().await;
    let server = &prey.cast.server;
    let theirs = other_organization(&prey, "other").await;
    let body = json!({"name": "vault", "audience": "https://vault.example/", "actions": ["open"]});
    server.send(Ask::json("POST", "/v1/resources", &body).bearer(&theirs)).await.good();
    let body = json!({"resource": "vault", "type": "client-secret"});
    let made = server.send(Ask::json("POST", "/v1/credentials", &body).bearer(&theirs)).await;
    let their_resource = text(&made.good(), "client_secret");

    let before = prey.snapshot().await;
    let check_silent = |name: &str, answer: &Answer, asked: &str| {
        let told = answer.text();
        for id in prey.ids() {
            // What the caller itself sent may be repeated to it.
            assert!(asked.contains(id) || !told.contains(id), "{name} tells {id}: {told}");
        }
    };
    for operation in operations(&prey.cast).await {
        let name = format!("{} {}", operation.method, operation.path);
        if operation.callers.is_empty() {
            continue;
        }
        let ask = prey.ask(&operation);
        if !is_admin_only(&operation) {
            for secret in [&theirs, &their_resource] {
                let answer = server.send(ask.clone().bearer(secret)).await;
                answer.refused(401, "invalid_client", &answer.rule());
            }
            continue;
        }
        let answer = server.send(ask.clone().bearer(&theirs)).await;
        check_silent(&name, &answer, &ask.sent());
        match operation.id.as_str() {
            // Their own things, which they may make and see.
            "create_person" | "create_resource" | "create_admin_key" | "add_trust_domain" => {
                assert_eq!(answer.status, 201, "{name}");
            }
            // Nobody makes the server look into its own network.
            "create_federation" => answer.problem(400, "field-invalid"),
            "export_events"
            | "check_log"
            | "get_log"
            | "prune_log"
            | "get_acknowledgements"
            | "get_ca"
            | "get_ca_csr"
            | "get_crls" => {
                assert_eq!(answer.status, 200, "{name}");
            }
            id if id.starts_with("list_") && !operation.path.contains('{') => {
                assert_eq!(answer.status, 200, "{name}");
            }
            // Their own next key, which was published a moment ago, and their own organization,
            // which was not restored.
            "rotate_signing_key" | "waive_restore" => answer.problem(409, "state-forbids"),
            // Whose it is stands in the query or the body, which says nothing here.
            "preview_revocation" | "run_drill" | "import_ca_certificate" => {
                assert_eq!(answer.status, 400, "{name}");
            }
            // Only the bootstrap key makes organizations, and only the operator's rotates the root.
            "create_org" | "rotate_root" => answer.problem(403, "not-entitled"),
            // They name A's person or agent in the body.
            "create_agent" => {
                assert!([400, 404].contains(&answer.status), "{name}: {}", answer.text());
            }
            _ => answer.problem(404, "not-found"),
        }
    }
    for filtered in [
        format!("/v1/instances?agent={}", prey.client.agent),
        format!("/v1/credentials?agent={}", prey.client.agent),
        format!("/v1/certificates?agent={}", prey.client.agent),
        format!("/v1/certificates?instance={}", prey.instance.id),
        format!("/v1/credentials?resource={}", prey.cast.resource),
        format!("/v1/events?after={}", prey.event),
        format!("/v1/agents?cursor={}", prey.client.agent),
        format!("/v1/orgs/{}", server.org),
        "/v1/agents/planner".to_owned(),
        "/v1/resources/crm".to_owned(),
        "/v1/persons/planner@example.com".to_owned(),
    ] {
        let answer = server.send(Ask::get(&filtered).bearer(&theirs)).await;
        check_silent(&filtered, &answer, &filtered);
    }
    for target in prey.ids().into_iter().filter(|id| *id != prey.certificate) {
        let body = json!({"target": target, "reason": "mine"});
        let answer = server.send(Ask::json("POST", "/v1/revocations", &body).bearer(&theirs)).await;
        assert!([400, 404].contains(&answer.status), "{target}: {}", answer.text());
    }
    assert_eq!(prey.snapshot().await[..], before[..], "nothing was changed");
    assert!(server.is_active(&prey.token).await, "A's token lives");
    // Whose token an id is, nobody looks up: the entry would have ended one of theirs.
    let body = json!({"target": prey.certificate, "reason": "mine"});
    server.send(Ask::json("POST", "/v1/revocations", &body).bearer(&theirs)).await.good();
    let certificate = server.get(&format!("/v1/certificates/{}", prey.certificate)).await;
    assert_eq!(certificate["standing"], "valid", "A's certificate lives");

    // A's token at their introspection: as if it never was.
    let introspect = Ask::form("/o/other/oauth/introspect", &[("token", prey.token.as_str())]);
    for secret in [&theirs, &their_resource] {
        let answer = server.send(introspect.clone().bearer(secret)).await;
        assert_eq!((answer.status, answer.json()), (200, json!({"active": false})));
    }
    // A's agent at their token endpoint: unknown.
    let form = [("grant_type", "client_credentials")];
    let ask = Ask::form("/o/other/oauth/token", &form);
    let answer = server.send(ask.basic(&prey.client.id, &prey.client.secret)).await;
    answer.refused(401, "invalid_client", "client-authentication");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admin_api_takes_no_more_than_it_should() {
    let cast = Cast::new().await;
    let server = &cast.server;
    let post = async |path: &str, kind: &str, body: &str| {
        let ask = Ask::new("POST", path).header("content-type", kind).body(body.as_bytes());
        server.send(ask.bearer(&server.admin)).await
    };
    let json_type = "application/json";
    for (body, why) in [
        (r#"{"name":"a","name":"b"}"#, "a member twice"),
        (r#"{"name":"a","owner_email":"m@example.com","surprise":1}"#, "an unknown member"),
        (r#"{"name":"a""#, "cut off"),
        (r#"["a"]"#, "no object"),
        (r#"{"name":1}"#, "a number for text"),
        (r#"{"name":"A"}"#, "an upper-case name"),
        (r#"{"name":"../etc"}"#, "a path"),
        (r#"{"name":"a\u0000b"}"#, "a null"),
        (r#"{"name":"\ud800"}"#, "half a character"),
        ("{\"name\":\"cr\u{43c}\"}", "a letter that looks like another"),
    ] {
        let answer = post("/v1/agents", json_type, body).await;
        assert_eq!(answer.status, 400, "{why}: {}", answer.text());
        answer.problem(400, "field-invalid");
    }
    let deep = format!("{{\"name\":{}1{}}}", "[".repeat(5000), "]".repeat(5000));
    post("/v1/agents", json_type, &deep).await.problem(400, "field-invalid");
    post("/v1/agents", "text/plain", r#"{"name":"a"}"#).await.problem(415, "content-type");
    let large = format!("{{\"name\":\"{}\"}}", "a".repeat(70_000));
    post("/v1/agents", json_type, &large).await.problem(413, "body-too-large");

    let twice = Ask::get("/v1/agents").bearer(&server.admin).bearer(&server.admin);
    server.send(twice).await.problem(401, "admin-key");
    let in_query = Ask::get(&format!("/v1/agents?access_token={}", server.admin));
    server.send(in_query).await.problem(401, "admin-key");
    let wrong = server.api("DELETE", "/v1/agents", Value::Null).await;
    wrong.problem(405, "method-not-allowed");
    assert!(wrong.header("allow").is_some_and(|allowed| allowed.contains("GET")));
    server.api("GET", "/v1/nothing", Value::Null).await.problem(404, "no-such-path");
    server.api("GET", "/v1/agents?limit=1000000", Value::Null).await.problem(400, "field-invalid");

    // Keys that a client must not have (items 3 and 4).
    cast.bare_agent("planner").await;
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    for (jwk, why) in [
        (json!({"kty": "OKP", "crv": "Ed25519", "x": x, "d": x}), "a private part"),
        (json!({"kty": "oct", "k": x}), "a symmetric key"),
        (json!({"kty": "RSA", "e": "AQAB", "n": x}), "a small RSA key"),
        (json!({"kty": "OKP", "crv": "Ed25519", "x": "A".repeat(43)}), "a point of low order"),
        (json!({"kty": "OKP", "crv": "Ed25519", "x": format!("{x}=")}), "padding"),
        (json!({"kty": "EC", "crv": "P-256", "x": x, "y": x}), "a point not on the curve"),
        (json!({"kty": "OKP", "crv": "Ed25519", "x": x, "alg": "HS256"}), "another algorithm"),
        (json!({"kty": "OKP", "crv": "Ed25519", "x": x, "use": "enc"}), "a key to encrypt"),
        (json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": "k".repeat(2000)}), "a long kid"),
    ] {
        let body = json!({"agent": "planner", "type": "public-key", "jwk": jwk});
        let answer = server.api("POST", "/v1/credentials", body).await;
        assert_eq!(answer.status, 400, "{why}: {}", answer.text());
        answer.problem(400, "field-invalid");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_agent_is_active_until_somebody_answers_for_it() {
    let cast = Cast::new().await;
    let server = &cast.server;
    let parts = [
        ("owner_email", json!("mia@example.com")),
        ("purpose", json!("plans the week")),
        ("allow", json!(["crm:read"])),
    ];
    for (place, (missing, _)) in parts.iter().enumerate() {
        let mut body = json!({"name": format!("agent{place}")});
        for (name, value) in parts.iter().filter(|(name, _)| name != missing) {
            body[*name] = value.clone();
        }
        let agent = text(&server.post("/v1/agents", body).await, "id");
        let agent = cast.secret_of(&agent).await;
        let activate = format!("/v1/agents/{}/activate", agent.id);
        let refused = server.api("POST", &activate, json!({})).await;
        refused.problem(409, "agent-incomplete");
        let draft = server.token(&agent.id, &agent.secret, "crm:read").await;
        draft.refused(400, "unauthorized_client", "agent-not-active");
    }
}
