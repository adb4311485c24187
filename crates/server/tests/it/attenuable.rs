//! Biscuit v3: tokens that their holder narrows offline, as the server issues them and takes them
//! back.

use accredit_domain::registry::agent::CreateAgent;
use accredit_testkit::{Answer, Ask, Client, Org, Scene, TestWorld};
use accredit_wire::authority::{Authority, Permission};
use accredit_wire::binding::dpop::{ProofKey, ToProve};
use accredit_wire::biscuit::{self, Attenuable, BiscuitError, Held, Holder, HolderKey, Narrowing};
use accredit_wire::crypto::{Algorithm, PrivateKey};
use accredit_wire::ids::{AgentId, Kind};
use accredit_wire::jose::jwk::JwkSet;
use accredit_wire::verify::KeyRing;
use biscuit_auth::{BlockBuilder, UnverifiedBiscuit};
use serde_json::{Value, json};

use crate::{claims, events};

const READ: (&str, &str) = ("scope", "crm:read");
const WANTED: (&str, &str) = ("requested_token_type", biscuit::TOKEN_TYPE);

/// A published key set of the organization.
async fn published(world: &TestWorld, org: &Org, name: &str) -> JwkSet {
    let path = org.path(&format!("/.well-known/{name}.json"));
    JwkSet::parse(&world.ask(Ask::get(path)).await.expect(200).body).expect("a key set")
}

/// What a third party reads of a token with nothing but a published key set.
pub(crate) async fn read(
    world: &TestWorld,
    org: &Org,
    set: &str,
    text: &str,
) -> Result<Attenuable, BiscuitError> {
    let set = published(world, org, set).await;
    let keys = set.keys().iter().filter_map(|key| Some((key.kid.parse().ok()?, &key.key)));
    biscuit::verify(text, keys)
}

#[tokio::test]
async fn a_client_that_asks_for_one_gets_it_and_the_published_keys_verify_it() {
    let world = TestWorld::new(601).await;
    let Scene { org, client, planner, .. } = world.scene().await;
    let answer = world.token(&org, &client, &[READ, WANTED]).await.expect(200).json();
    assert_eq!(answer["issued_token_type"], biscuit::TOKEN_TYPE);
    assert_eq!((&answer["token_type"], &answer["scope"]), (&json!("Bearer"), &json!("crm:read")));
    let text = answer["access_token"].as_str().expect("a token");
    let said = read(&world, &org, "biscuit-jwks", text).await.expect("signed by a published key");
    let token = said.token();
    assert_eq!((token.issuer.as_str(), token.client_id), (org.issuer.as_str(), planner.id));
    assert_eq!(token.scope.to_string(), "crm:read");
    assert_eq!(token.expires_at - token.issued_at, answer["expires_in"].as_i64().expect("life"));
    assert_eq!(said.minted_for().agent, planner.id);
    assert_eq!((said.narrowings().len(), said.unnamed_narrowings()), (0, 0));

    let event = events(&world, &org, "token.issued").await.pop().expect("an event");
    let told = &event["payload"];
    assert_eq!((&told["format"], &told["token"]), (&json!("biscuit"), &json!(token.id)));
    assert_eq!(told["key"], json!(token.key));
    let block = told["block"].as_str().expect("its first block").to_owned();
    assert!(token.lineage().any(|id| id.to_string() == block), "{block}");

    // Who asks for nothing gets what it always got, and is told no more.
    let answer = world.token(&org, &client, &[READ]).await.expect(200).json();
    assert!(answer.get("issued_token_type").is_none(), "{answer}");
    let jwt = answer["access_token"].as_str().expect("a token");
    assert_eq!(claims(jwt)["scope"], "crm:read");
    let event = events(&world, &org, "token.issued").await.pop().expect("an event");
    assert!(event["payload"].get("format").is_none() && event["payload"].get("block").is_none());
    for named in ["access_token", "jwt"] {
        let named = format!("urn:ietf:params:oauth:token-type:{named}");
        let form = [READ, ("requested_token_type", &named)];
        let answer = world.token(&org, &client, &form).await.expect(200).json();
        assert_eq!(answer["issued_token_type"], named);
        claims(answer["access_token"].as_str().expect("a token"));
    }
}

#[tokio::test]
async fn a_type_that_is_not_known_is_refused_by_name() {
    let world = TestWorld::new(602).await;
    let Scene { org, client, .. } = world.scene().await;
    for named in ["biscuit", "urn:ietf:params:oauth:token-type:biscuit", "", "URN:accredit"] {
        let form = [READ, ("requested_token_type", named)];
        let answer = world.token(&org, &client, &form).await;
        if named.is_empty() {
            // RFC 6749 section 3.2: sent without a value, it is as if it were not sent.
            answer.expect(200);
            continue;
        }
        answer.refused(400, "invalid_request", "token-type-unsupported");
        assert!(answer.member("hint").contains(biscuit::TOKEN_TYPE));
    }
    let twice = [READ, WANTED, WANTED];
    assert_eq!(world.token(&org, &client, &twice).await.status, 400);
}

/// STANDARDS 15, item 8: a key of one format, or of another purpose, verifies nothing of the other.
#[tokio::test]
async fn no_key_of_another_purpose_verifies_one() {
    let world = TestWorld::new(603).await;
    let Scene { org, client, .. } = world.scene().await;
    let text = world.token(&org, &client, &[READ, WANTED]).await.expect(200);
    let text = text.member("access_token");
    for set in ["jwks", "feed-jwks"] {
        let said = read(&world, &org, set, &text).await;
        assert_eq!(said.err(), Some(BiscuitError::UnknownKey), "{set}");
    }
    let jwt = world.token(&org, &client, &[READ]).await.expect(200).member("access_token");
    assert!(read(&world, &org, "biscuit-jwks", &jwt).await.is_err(), "a JWT is none");
    let tokens = KeyRing::new(&published(&world, &org, "jwks").await);
    let biscuits = KeyRing::new(&published(&world, &org, "biscuit-jwks").await);
    assert!(tokens.ids().all(|id| !biscuits.contains(id)));
    // A rotated key's tokens are still believed, a revoked one's are not.
    let rotate = json!({"purpose": "biscuit", "now": true});
    world.admin(&org, "POST", "/v1/signing-keys/rotate", Some(rotate)).await.expect(201);
    let key = read(&world, &org, "biscuit-jwks", &text).await.expect("retiring").token().key;
    world.revoke(&org, &key.to_string()).await.expect("revoked");
    let said = read(&world, &org, "biscuit-jwks", &text).await;
    assert_eq!(said.err(), Some(BiscuitError::UnknownKey));
    let new = world.token(&org, &client, &[READ, WANTED]).await.expect(200);
    read(&world, &org, "biscuit-jwks", &new.member("access_token")).await.expect("another signs");
}

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const EXCHANGE: (&str, &str) = ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange");

/// A copy of an agent, and the key with which it proves itself.
struct Party {
    client: Client,
    id: AgentId,
    private: PrivateKey,
    key: ProofKey,
}

/// A planner and a worker that both may use the CRM, others, and the worker's own resource.
struct Case {
    world: TestWorld,
    org: Org,
    planner: Party,
    worker: Party,
    stranger: Party,
}

impl Case {
    async fn begin(seed: u64) -> Self {
        let world = TestWorld::new(seed).await;
        let org = world.found("acme").await;
        world.resource(&org, "crm", &["read", "update", "delete"]).await;
        world.resource(&org, "worker", &["run"]).await;
        for name in ["planner", "worker", "stranger", "one", "two", "three"] {
            let allow = ["worker:run", "crm:read", "crm:update"].map(str::to_owned).to_vec();
            let (name, may_delegate) = (name.to_owned(), true);
            let asked = CreateAgent { name, allow, may_delegate, ..CreateAgent::default() };
            world.agent_like(&org, asked).await;
        }
        let served = json!({"agent": "worker"});
        world.admin(&org, "PATCH", "/v1/resources/worker", Some(served)).await.expect(200);
        let [planner, worker, stranger] = [
            party(&world, &org, "planner").await,
            party(&world, &org, "worker").await,
            party(&world, &org, "stranger").await,
        ];
        Self { world, org, planner, worker, stranger }
    }

    /// A request at the token endpoint; with a proof by the client's own key, or without.
    async fn ask(&self, by: &Party, bound: bool, form: &[(&str, &str)]) -> Answer {
        let ask = Ask::post(self.org.path("/oauth/token")).basic(&by.client);
        let url = format!("{}/oauth/token", self.org.issuer);
        let request = ToProve { method: "POST", url: &url, token: None, nonce: None };
        let proof = by.key.prove(&request, self.world.world.random(), self.world.now());
        let ask = if bound { ask.header("dpop", &proof.expect("a proof")) } else { ask };
        self.world.ask(ask.form(form)).await
    }

    /// An attenuable token of a party's own.
    async fn own(&self, by: &Party, bound: bool, scope: &str) -> String {
        let form = [("grant_type", "client_credentials"), ("scope", scope), WANTED];
        self.ask(by, bound, &form).await.expect(200).member("access_token")
    }

    async fn exchange(&self, by: &Party, bound: bool, subject: &str, scope: &str) -> Answer {
        let form = [
            EXCHANGE,
            ("subject_token", subject),
            ("subject_token_type", biscuit::TOKEN_TYPE),
            ("scope", scope),
        ];
        self.ask(by, bound, &form).await
    }

    /// Narrows a token, as its holder does offline.
    fn narrow(&self, text: &str, narrowing: &Narrowing, by: Option<&Party>) -> String {
        let public = by.map(|by| by.private.public().expect("its public half"));
        let sign = |message: &[u8]| by.expect("a holder").private.sign(message);
        let key = public.as_ref().map(|public| HolderKey { public, sign: &sign });
        let held = Held::read(text).expect("a token");
        held.narrow(narrowing, &self.world.world.random(), key).expect("narrowed")
    }

    async fn introspect(&self, text: &str) -> Value {
        let ask = Ask::post(self.org.path("/oauth/introspect")).bearer(&self.org.admin);
        self.world.ask(ask.form(&[("token", text)])).await.expect(200).json()
    }

    async fn is_active(&self, text: &str) -> bool {
        self.introspect(text).await["active"] == true
    }
}

async fn party(world: &TestWorld, org: &Org, agent: &str) -> Party {
    let client = world.instance(org, agent, None).await;
    let seed = world.world.random();
    let key = || PrivateKey::ed25519_from_seed(&seed).expect("a key");
    let (private, proves) = (key(), ProofKey::new(key()).expect("a key"));
    assert_eq!(private.algorithm(), Algorithm::EdDsa);
    let id = client.id.parse().expect("an agent's id");
    Party { client, id, private, key: proves }
}

fn to(party: &Party) -> Narrowing {
    let holder = Holder { agent: party.id, key: party.key.thumbprint() };
    Narrowing { holder: Some(holder), ..Narrowing::default() }
}

fn only(permission: &str) -> Narrowing {
    let permission: Permission = permission.parse().expect("a permission");
    let authority = Authority::new([permission]).expect("an authority");
    Narrowing { authority: Some(authority), ..Narrowing::default() }
}

#[tokio::test]
async fn what_a_holder_gets_for_a_narrowed_token_is_as_narrow() {
    let case = Case::begin(610).await;
    let whole = case.own(&case.planner, false, "crm:read crm:update").await;
    let ends = case.world.now().seconds() + 60;
    let shorter = Narrowing { expires_at: Some(ends), ..only("crm:read") };
    let narrow = case.narrow(&whole, &shorter, None);
    // The whole one gives what it always did, the narrow one no more than what is left of it.
    let both = "crm:read crm:update";
    case.exchange(&case.planner, false, &whole, both).await.expect(200);
    let refused = case.exchange(&case.planner, false, &narrow, both).await;
    refused.refused(400, "invalid_scope", "delegation-exceeded");
    let said = refused.member("error_description");
    assert!(said.contains("`crm:update`") && !said.contains("crm:read"), "{said}");
    let answer = case.exchange(&case.planner, false, &narrow, "crm:read").await.expect(200);
    let answer = answer.json();
    assert_eq!(answer["issued_token_type"], ACCESS_TOKEN);
    let jwt = answer["access_token"].as_str().expect("a token");
    let said = claims(jwt);
    assert_eq!((&said["exp"], &said["scope"]), (&json!(ends), &json!("crm:read")));
    let passed_on = said["accredit"]["dlg"].to_string();
    assert!(passed_on.contains("read") && !passed_on.contains("update"), "{passed_on}");
    assert!(said.get("act").is_none(), "nobody else acts");

    // It hangs on both blocks: the end of the narrow one ends it, and leaves the whole one be.
    let [first, second] = blocks(&case, &narrow).await.try_into().expect("two blocks");
    let lineage = said["accredit"]["lin"].to_string();
    assert!(lineage.contains(&first) && lineage.contains(&second), "{lineage}");
    case.world.revoke(&case.org, &second).await.expect("revoked");
    assert!(!case.is_active(jwt).await && !case.is_active(&narrow).await);
    assert!(case.is_active(&whole).await);
    let over = case.exchange(&case.planner, false, &narrow, "crm:read").await;
    over.refused(400, "invalid_request", "subject-token");
    case.world.revoke(&case.org, &first).await.expect("revoked");
    assert!(!case.is_active(&whole).await);
}

/// The ids of the blocks of a token, the first one first.
async fn blocks(case: &Case, text: &str) -> Vec<String> {
    let said = read(&case.world, &case.org, "biscuit-jwks", text).await.expect("ours");
    let further = said.token().further.iter();
    further.filter(|id| id.kind() == Kind::Block).map(ToString::to_string).collect()
}

#[tokio::test]
async fn whoever_is_named_enters_the_chain_and_a_thief_does_not() {
    let case = Case::begin(611).await;
    let whole = case.own(&case.planner, true, "crm:read crm:update").await;
    let handed_on = case.narrow(
        &whole,
        &Narrowing { holder: to(&case.worker).holder, ..only("crm:read") },
        Some(&case.planner),
    );
    let answer = case.exchange(&case.worker, true, &handed_on, "crm:read").await.expect(200);
    let answer = answer.json();
    assert_eq!(answer["token_type"], "DPoP");
    let said = claims(answer["access_token"].as_str().expect("a token"));
    assert_eq!(
        (&said["sub"], &said["client_id"]),
        (&json!(case.planner.id), &json!(case.worker.id))
    );
    let copy = case.worker.client.instance.expect("an instance");
    let act = json!({"iss": case.org.issuer, "sub": case.worker.id, "ins": copy});
    assert_eq!((&said["act"], &said["accredit"]["depth"]), (&act, &json!(1)));
    assert_eq!(said["cnf"]["jkt"], case.worker.key.thumbprint().to_string());

    // Neither without the key, nor somebody else, nor whoever held it before.
    let refused = case.exchange(&case.worker, false, &handed_on, "crm:read").await;
    refused.refused(400, "invalid_dpop_proof", "dpop-required");
    for other in [&case.stranger, &case.planner] {
        let refused = case.exchange(other, true, &handed_on, "crm:read").await;
        refused.refused(400, "invalid_request", "subject-token-not-yours");
    }
    let mut thief = party(&case.world, &case.org, "worker").await;
    thief.client = case.worker.client.clone();
    let refused = case.exchange(&thief, true, &handed_on, "crm:read").await;
    refused.refused(400, "invalid_dpop_proof", "dpop-required");
    // A plain one is whoever's who has it: they would name themselves.
    let plain = case.own(&case.planner, false, "crm:read").await;
    let named = case.narrow(&plain, &to(&case.stranger), None);
    let refused = case.exchange(&case.stranger, true, &named, "crm:read").await;
    refused.refused(400, "invalid_request", "subject-token-not-yours");
    // Who has stolen the bound token names nobody: the holder before signs the naming.
    let held = Held::read(&whole).expect("a token");
    assert!(held.narrow(&to(&case.stranger), &[7; 32], None).is_err());

    // The end of any party ends it.
    let jwt = answer["access_token"].as_str().expect("a token").to_owned();
    assert!(case.is_active(&jwt).await && case.is_active(&handed_on).await);
    case.world.revoke(&case.org, &case.worker.id.to_string()).await.expect("revoked");
    assert!(!case.is_active(&jwt).await && !case.is_active(&handed_on).await);
    assert!(case.is_active(&whole).await);
}

#[tokio::test]
async fn the_agent_that_serves_a_resource_goes_on_with_one_that_was_sent_to_it() {
    let case = Case::begin(612).await;
    let sent = case.own(&case.planner, false, "worker:run").await;
    let narrow = case.narrow(
        &sent,
        &Narrowing {
            authority: Some(
                Authority::new(
                    ["worker:run", "crm:read"]
                        .map(|text| text.parse::<Permission>().expect("a permission")),
                )
                .expect("an authority"),
            ),
            ..Narrowing::default()
        },
        None,
    );
    let wide = case.exchange(&case.worker, false, &narrow, "crm:update").await;
    wide.refused(400, "invalid_scope", "delegation-exceeded");
    let form = [
        EXCHANGE,
        ("subject_token", narrow.as_str()),
        ("subject_token_type", ACCESS_TOKEN),
        ("scope", "crm:read"),
        WANTED,
    ];
    // And may get the next one in the same format, which is narrowed on.
    let answer = case.ask(&case.worker, true, &form).await.expect(200).json();
    assert_eq!(answer["issued_token_type"], biscuit::TOKEN_TYPE);
    let text = answer["access_token"].as_str().expect("a token");
    let said = read(&case.world, &case.org, "biscuit-jwks", text).await.expect("ours");
    assert_eq!(said.token().chain.len(), 1);
    assert_eq!(said.token().delegable.texts().collect::<Vec<_>>(), ["crm:read", "worker:run"]);
    let stranger = case.exchange(&case.stranger, false, &narrow, "crm:read").await;
    stranger.refused(400, "invalid_request", "subject-token-not-yours");
}

/// STANDARDS 15, items 8 and 22: a token that is said to be of another kind.
#[tokio::test]
async fn a_token_of_one_format_is_not_taken_for_the_other() {
    let case = Case::begin(613).await;
    let text = case.own(&case.planner, false, "crm:read").await;
    let jwt = case.world.token(&case.org, &case.planner.client, &[READ]).await.expect(200);
    let jwt = jwt.member("access_token");
    let ask = async |token: &str, kind: &str| {
        let form = [EXCHANGE, ("subject_token", token), ("subject_token_type", kind), READ];
        case.ask(&case.planner, false, &form).await
    };
    for (token, kind) in [(&text, JWT), (&jwt, biscuit::TOKEN_TYPE)] {
        ask(token, kind).await.refused(400, "invalid_request", "subject-token");
    }
    for (token, kind) in [(&text, ACCESS_TOKEN), (&jwt, ACCESS_TOKEN), (&jwt, JWT)] {
        ask(token, kind).await.expect(200);
    }
    // One that somebody minted with a key of their own, or bent, or cut short.
    let token = read(&case.world, &case.org, "biscuit-jwks", &text).await.expect("ours");
    let mut claims = token.token().clone();
    claims.further.retain(|id| id.kind() != Kind::Block);
    let forged = biscuit::Unsigned::new(&claims, &[1; 32]).expect("well formed");
    let signature = case.stranger.private.sign(forged.signing_input()).expect("signed");
    let forged = forged.finish(&signature).expect("whole").text;
    let bent = format!("{}A{}", &text[..200], &text[201..]);
    let cut = text[..text.len() - 40].to_owned();
    let huge = "A".repeat(64 * 1024 - 400);
    for wrong in [forged, bent, cut, huge, "AAAA".to_owned()] {
        let refused = ask(&wrong, biscuit::TOKEN_TYPE).await;
        assert!([400, 413].contains(&refused.status), "{}", refused.text());
        assert!(!case.is_active(&wrong).await);
    }
}

#[tokio::test]
async fn what_was_narrowed_to_another_time_is_exchanged_at_no_other() {
    let case = Case::begin(614).await;
    let whole = case.own(&case.planner, false, "crm:read").await;
    let now = case.world.now().seconds();
    let within = |from, to| Narrowing { not_before: from, expires_at: to, ..Narrowing::default() };
    let later = case.narrow(&whole, &within(Some(now + 120), None), None);
    let soon = case.narrow(&whole, &within(None, Some(now + 30)), None);
    let refused = case.exchange(&case.planner, false, &later, "crm:read").await;
    refused.refused(400, "invalid_request", "subject-token");
    case.exchange(&case.planner, false, &soon, "crm:read").await.expect(200);
    case.world.clock.advance(std::time::Duration::from_secs(31));
    let refused = case.exchange(&case.planner, false, &soon, "crm:read").await;
    refused.refused(400, "invalid_request", "subject-token");
    assert!(!case.is_active(&soon).await);
    case.world.clock.advance(std::time::Duration::from_secs(90));
    case.exchange(&case.planner, false, &later, "crm:read").await.expect(200);
}

/// STANDARDS 15, items 22 and 46: chains that were grown offline.
#[tokio::test]
async fn a_chain_that_grew_offline_is_bounded_and_has_no_strangers() {
    let case = Case::begin(615).await;
    let hand =
        |text: &str, from: &Party, to_whom: &Party| case.narrow(text, &to(to_whom), Some(from));
    let whole = case.own(&case.planner, true, "crm:read").await;
    let others = [
        party(&case.world, &case.org, "one").await,
        party(&case.world, &case.org, "two").await,
        party(&case.world, &case.org, "three").await,
    ];
    let chain = [&case.worker, &others[0], &others[1], &others[2], &case.stranger];
    let (mut text, mut holder) = (whole.clone(), &case.planner);
    for (depth, next) in chain.into_iter().enumerate() {
        text = hand(&text, holder, next);
        holder = next;
        let answer = case.exchange(holder, true, &text, "crm:read").await;
        if depth < 4 {
            answer.expect(200);
        } else {
            answer.refused(400, "invalid_request", "chain-too-deep");
        }
    }
    // Back to who began, or to who acted before.
    let back = hand(&hand(&whole, &case.planner, &case.worker), &case.worker, &case.planner);
    let answer = case.exchange(&case.planner, true, &back, "crm:read").await;
    answer.refused(400, "invalid_request", "chain-cycle");
    let again = hand(&whole, &case.planner, &case.worker);
    let again = hand(&hand(&again, &case.worker, &others[0]), &others[0], &case.worker);
    let answer = case.exchange(&case.worker, true, &again, "crm:read").await;
    answer.refused(400, "invalid_request", "chain-cycle");
    // By way of somebody who is no agent here, or of one that is suspended.
    let nobody =
        Party { id: AgentId::new(1, [9; 10]), ..party(&case.world, &case.org, "one").await };
    let through = hand(&hand(&whole, &case.planner, &nobody), &nobody, &case.worker);
    let answer = case.exchange(&case.worker, true, &through, "crm:read").await;
    answer.refused(400, "invalid_request", "subject-token");
    assert!(answer.member("error_description").contains(&nobody.id.to_string()));
}

#[tokio::test]
async fn a_client_ends_what_it_was_given_and_what_is_wider_lives_on() {
    let case = Case::begin(616).await;
    let whole = case.own(&case.planner, true, "crm:read").await;
    let handed_on = case.narrow(&whole, &to(&case.worker), Some(&case.planner));
    let revoke = async |by: &Party, text: &str| {
        let ask = Ask::post(case.org.path("/oauth/revoke")).basic(&by.client);
        case.world.ask(ask.form(&[("token", text)])).await
    };
    assert_eq!(revoke(&case.stranger, &handed_on).await.status, 403);
    assert_eq!(revoke(&case.worker, &whole).await.status, 403);
    assert!(case.is_active(&handed_on).await);
    revoke(&case.worker, &handed_on).await.expect(200);
    assert!(!case.is_active(&handed_on).await && case.is_active(&whole).await);
    // Who handed it on may end it, too, and all of it.
    let again = case.narrow(&whole, &to(&case.worker), Some(&case.planner));
    revoke(&case.planner, &again).await.expect(200);
    assert!(!case.is_active(&again).await && case.is_active(&whole).await);
    let last = case.narrow(&whole, &to(&case.worker), Some(&case.planner));
    revoke(&case.planner, &whole).await.expect(200);
    assert!(!case.is_active(&last).await && !case.is_active(&whole).await);
}

#[tokio::test]
async fn a_resource_is_told_what_is_left_of_a_narrowed_token() {
    let case = Case::begin(617).await;
    let whole = case.own(&case.planner, true, "crm:read crm:update").await;
    let some = case.narrow(&whole, &only("crm:read(/customers/eu/*)"), None);
    let told = case.introspect(&some).await;
    assert!(told.get("scope").is_none(), "{told}");
    assert_eq!(told["authorization_details"][0]["object"], "/customers/eu/*");
    assert_eq!(
        (&told["token_type"], &told["client_id"]),
        (&json!("DPoP"), &json!(case.planner.id))
    );
    let handed_on = case.narrow(&some, &to(&case.worker), Some(&case.planner));
    let told = case.introspect(&handed_on).await;
    assert_eq!(told["client_id"], json!(case.worker.id));
    assert_eq!(told["cnf"]["jkt"], case.worker.key.thumbprint().to_string());
    assert_eq!(told["act"]["sub"], json!(case.worker.id));
    let billing = case.world.resource_secret(&case.org, "worker").await;
    let ask = Ask::post(case.org.path("/oauth/introspect")).basic(&billing);
    let told = case.world.ask(ask.form(&[("token", &*handed_on)])).await.expect(200).json();
    assert_eq!(told, json!({"active": false}), "for another resource");
}

#[tokio::test]
async fn a_block_in_words_of_somebody_else_is_exchanged_for_nothing_and_named() {
    let case = Case::begin(618).await;
    let whole = case.own(&case.planner, false, "crm:read").await;
    let own = case.narrow(&whole, &only("crm:read"), None);
    for (code, word) in [
        ("check if tenant(\"blue\")", "`tenant`, `blue`"),
        ("check if true", "known words in another form"),
        ("check if operation(\"read\")", "known words in another form"),
        ("right(\"all\")", "`right`, `all`"),
        ("may($x) <- operation($x); check if may(\"read\")", "`may`, `x`"),
        ("reject if operation(\"read\")", "known words in another form"),
    ] {
        let block = BlockBuilder::new().code(code).expect("Datalog");
        let token = UnverifiedBiscuit::from_base64(&own).expect("a token");
        let text = token.append(block).expect("appended").to_base64().expect("text");
        let refused = case.exchange(&case.planner, false, &text, "crm:read").await;
        refused.refused(400, "invalid_request", "block-foreign");
        let said = refused.member("error_description");
        assert!(said.contains("block 2") && said.contains(word), "{code}: {said}");
        // Nobody is told that it allows anything, and it ends as any other.
        let told = case.introspect(&text).await;
        assert!(told.get("scope").is_none() && told.get("authorization_details").is_none());
        let id = blocks(&case, &text).await.pop().expect("a block");
        case.world.revoke(&case.org, &id).await.expect("revoked");
        assert!(!case.is_active(&text).await);
    }
    case.exchange(&case.planner, false, &own, "crm:read").await.expect(200);
}
