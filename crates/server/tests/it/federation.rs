//! Users' tokens from an external issuer: which are taken, who their users are, and what they may do.

use accredit_domain::federation::{FederatedSubject, KEYS_KEPT_MAX, MayAct, subject};
use accredit_domain::{Error, Rule};
use accredit_server::jobs;
use accredit_testkit::fixture::Scene;
use accredit_testkit::idp::Idp;
use accredit_testkit::{Answer, Org, Signer, TestWorld};
use accredit_wire::crypto::Algorithm;
use accredit_wire::jose::b64url_encode;
use serde_json::{Value, json};

use crate::events;

struct Case {
    world: TestWorld,
    scene: Scene,
    idp: Idp,
    key: Signer,
}

impl Case {
    /// A world with the federation `corp`, which gives `crm:read` to those in the group `sales`.
    async fn begin(seed: u64) -> Self {
        let case = Self::without(seed).await;
        case.add(json!({})).await.expect(201);
        case
    }

    async fn without(seed: u64) -> Self {
        let world = TestWorld::new(seed).await;
        let scene = world.scene().await;
        let idp = Idp::start().await;
        world.outside.0.allow(&[idp.address]).expect("allowed");
        let key = Signer::new(Algorithm::Es256, "k1", world.world.random());
        idp.has(&[&key]);
        Self { world, scene, idp, key }
    }

    fn org(&self) -> &Org {
        &self.scene.org
    }

    /// Registers `corp`, with other members than usual.
    async fn add(&self, with: Value) -> Answer {
        let mut body = json!({
            "name": "corp", "issuer": self.idp.issuer(), "jwks_url": self.idp.jwks_url(),
            "audiences": ["accredit"], "rules": ["groups contains sales => crm:read"],
        });
        let members = body.as_object_mut().expect("an object");
        members.extend(with.as_object().expect("an object").clone());
        members.retain(|_, value| !value.is_null());
        self.admin("POST", "/v1/federations", Some(body)).await
    }

    async fn admin(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.world.admin(self.org(), method, path, body).await
    }

    /// The claims of a good token, and others instead; null takes one away.
    fn claims(&self, with: Value) -> Value {
        let now = self.world.now().seconds();
        let mut claims = json!({
            "iss": self.idp.issuer(), "sub": "user-1", "aud": "accredit", "iat": now,
            "exp": now + 300, "groups": ["sales"], "email": "mia@example.com",
        });
        let members = claims.as_object_mut().expect("an object");
        members.extend(with.as_object().expect("an object").clone());
        members.retain(|_, value| !value.is_null());
        claims
    }

    fn token(&self, with: Value) -> String {
        self.key.sign(&json!({"alg": "ES256", "kid": "k1"}), &self.claims(with))
    }

    async fn subject(&self, token: &str) -> Result<FederatedSubject, Error> {
        subject(&self.world.cx(self.org()).await, token, self.scene.planner.id).await
    }

    async fn taken(&self, with: Value) -> FederatedSubject {
        self.subject(&self.token(with)).await.expect("a token that is taken")
    }

    #[track_caller]
    fn check(answer: Result<FederatedSubject, Error>, rule: Rule, what: &str) {
        match answer {
            Err(Error::Refused(refusal)) => {
                assert_eq!(refusal.rule, rule, "{what}: {}", refusal.detail);
            }
            Err(Error::Fault(fault)) => panic!("{what}: {fault}"),
            Ok(subject) => panic!("{what}: taken for {subject:?}"),
        }
    }

    /// What events of a type say, oldest first.
    async fn told(&self, kind: &str) -> Vec<Value> {
        let events = events(&self.world, self.org(), kind).await;
        events.into_iter().map(|event| event["payload"].clone()).collect()
    }

    async fn refused(&self, token: &str, rule: Rule, what: &str) {
        Self::check(self.subject(token).await, rule, what);
    }
}

fn scope(subject: &FederatedSubject) -> String {
    subject.authority.scope().map(|scope| scope.to_string()).expect("a small authority")
}

#[tokio::test]
async fn a_users_token_says_who_they_are_and_what_they_may_do() {
    let case = Case::begin(7100).await;
    let first = case.taken(json!({})).await;
    assert_eq!((scope(&first).as_str(), first.subject.as_str()), ("crm:read", "user-1"));
    assert_eq!((&first.issuer, first.may_act.as_ref()), (&case.idp.issuer(), None));
    assert_eq!(first.expires_at.seconds(), case.world.now().seconds() + 300);
    // The same user, whatever else the token says; and another one with the same address.
    let again = case.taken(json!({"groups": [], "email": "other@example.com"})).await;
    assert_eq!((again.person, scope(&again).as_str()), (first.person, ""));
    let other = case.taken(json!({"sub": "user-2"})).await;
    assert_ne!(other.person, first.person);
    // The event of the birth names the issuer and the subject; there is one for each.
    let made = case.told("person.created").await;
    let of = |subject: &str| made.iter().filter(|event| event["subject"] == subject).count();
    assert_eq!((of("user-1"), of("user-2")), (1, 1));
    let event = made.iter().find(|event| event["subject"] == "user-1").expect("an event");
    assert_eq!(event["issuer"], case.idp.issuer());
    assert_eq!(event["federation"], first.federation.to_string());
    assert_eq!(event["target"], first.person.to_string());
    assert_eq!(event["actor"]["id"], case.scene.planner.id.to_string(), "who brought the token");
    // A person without an address is shown, listed and found by the id.
    let path = format!("/v1/persons/{}", first.person);
    let shown = case.admin("GET", &path, None).await.expect(200).json();
    assert_eq!((&shown["email"], &shown["state"]), (&Value::Null, &json!("active")));
    let listed = case.admin("GET", &format!("{path}/identities"), None).await.expect(200).json();
    assert_eq!(listed["items"][0]["subject"], "user-1");
    assert_eq!(listed["items"][0]["federation"], first.federation.to_string());
}

#[tokio::test]
async fn what_is_not_quite_a_token_for_us_is_refused() {
    let case = Case::begin(7101).await;
    // Warm: whatever is remembered of a good token helps no bad one.
    case.taken(json!({})).await;
    let now = case.world.now().seconds();
    let audience = Rule::SubjectTokenAudience;
    let invalid = Rule::SubjectTokenInvalid;
    for (with, rule) in [
        (json!({"iss": format!("{}/", case.idp.issuer())}), Rule::FederationUnknown),
        (json!({"iss": "https://other.example"}), Rule::FederationUnknown),
        (json!({"iss": case.org().issuer}), Rule::FederationUnknown),
        (json!({"iss": null}), invalid),
        (json!({"aud": null}), audience),
        (json!({"aud": "accredit/"}), audience),
        (json!({"aud": "accredit.evil"}), audience),
        (json!({"aud": "Accredit"}), audience),
        (json!({"aud": ["accredit", "other"]}), audience),
        (json!({"aud": []}), invalid),
        (json!({"aud": ["accredit", 7]}), invalid),
        (json!({"azp": "other"}), audience),
        (json!({"azp": 7}), audience),
        (json!({"exp": null}), invalid),
        (json!({"exp": "soon"}), invalid),
        (json!({"exp": -1}), invalid),
        (json!({"exp": now - 61}), Rule::SubjectTokenExpired),
        (json!({"exp": now + 24 * 3600 + 61}), invalid),
        (json!({"iat": null}), invalid),
        (json!({"iat": now + 61}), invalid),
        (json!({"nbf": now + 61}), invalid),
        (json!({"sub": null}), invalid),
        (json!({"sub": ""}), invalid),
        (json!({"sub": "x".repeat(256)}), invalid),
        (json!({"sub": "a\nb"}), invalid),
        (json!({"sub": 7}), invalid),
        (json!({"events": {}}), invalid),
        (json!({"cnf": {"jkt": "x"}}), invalid),
        (json!({"act": {"sub": "x"}}), invalid),
        (json!({"may_act": ["agt_1"]}), invalid),
        (json!({"may_act": {}}), invalid),
        (json!({"may_act": {"sub": "agt_1", "group": "x"}}), invalid),
    ] {
        let what = with.to_string();
        case.refused(&case.token(with), rule, &what).await;
    }
    for header in [
        json!({"alg": "none", "kid": "k1"}),
        json!({"alg": "RS256", "kid": "k1"}),
        json!({"alg": "EdDSA", "kid": "k1"}),
        json!({"alg": "es256", "kid": "k1"}),
        json!({"alg": "ES256", "kid": "k2"}),
        json!({"alg": "ES256", "kid": "../k1"}),
        json!({"alg": "ES256", "kid": "k1", "typ": "at+jwt"}),
        json!({"alg": "ES256", "kid": "k1", "typ": "application/at+jwt"}),
        json!({"alg": "ES256", "kid": "k1", "typ": "logout+jwt"}),
        json!({"alg": "ES256", "kid": "k1", "typ": "dpop+jwt"}),
        json!({"alg": "ES256", "kid": "k1", "typ": "secevent+jwt"}),
        json!({"alg": "ES256", "kid": "k1", "typ": "client-authentication+jwt"}),
        json!({"alg": "ES256", "kid": "k1", "typ": ""}),
        json!({"alg": "ES256", "kid": "k1", "crit": ["exp"]}),
        json!({"alg": "ES256", "kid": "k1", "b64": false}),
    ] {
        let token = case.key.sign(&header, &case.claims(json!({})));
        case.refused(&token, invalid, &header.to_string()).await;
    }
    // An unsecured token, and one under HMAC with the public key for a secret.
    let good = case.token(json!({}));
    let (signed, _) = good.rsplit_once('.').expect("a token");
    let none = format!(
        "{}.{}.",
        b64url_encode(br#"{"alg":"none"}"#),
        signed.split_once('.').expect("a payload").1
    );
    case.refused(&none, invalid, "none").await;
    let jwk = case.key.public_jwk();
    let secret = accredit_wire::crypto::sha256(jwk.as_bytes());
    let payload = signed.split_once('.').expect("a payload").1;
    let input = format!("{}.{payload}", b64url_encode(br#"{"alg":"HS256","kid":"k1"}"#));
    let mac = accredit_wire::crypto::MacKey::new(&secret).mac(input.as_bytes());
    let hs256 = format!("{input}.{}", b64url_encode(&mac));
    case.refused(&hs256, invalid, "HS256").await;
    // Two members of one name, and a key that the token brings along.
    let twice = case.claims(json!({})).to_string().replacen('{', r#"{"sub":"user-9","#, 1);
    let token = case.key.sign_text(r#"{"alg":"ES256","kid":"k1"}"#, &twice);
    case.refused(&token, invalid, "two subjects").await;
    let thief = Signer::new(Algorithm::Es256, "k1", [0; 32]);
    let own: Value = serde_json::from_str(&thief.public_jwk()).expect("JSON");
    let header = json!({"alg": "ES256", "kid": "k1", "jwk": own, "jku": case.idp.jwks_url()});
    case.refused(&thief.sign(&header, &case.claims(json!({}))), invalid, "its own key").await;
    for text in ["", "a.b.c", "a.b", &format!("{good}="), &format!(" {good}"), signed] {
        case.refused(text, invalid, text).await;
    }
    // What is right with all of this is taken still.
    case.taken(json!({"aud": ["accredit"], "azp": "accredit", "nbf": now})).await;
    let skewed = json!({"exp": now - 59, "iat": now + 59, "nbf": now + 59});
    case.taken(skewed).await;
    let typed = json!({"alg": "ES256", "kid": "k1", "typ": "JWT"});
    case.subject(&case.key.sign(&typed, &case.claims(json!({})))).await.expect("taken");
}

#[tokio::test]
async fn may_act_is_told_as_it_stands() {
    let case = Case::begin(7102).await;
    let named = case.taken(json!({"may_act": {"sub": "agt_1", "iss": "https://id.example"}})).await;
    let wanted = MayAct { iss: Some("https://id.example".into()), sub: "agt_1".into() };
    assert_eq!(named.may_act, Some(vec![wanted]));
}

#[tokio::test]
async fn keys_are_asked_for_once_a_minute_and_kept_for_a_day() {
    let case = Case::begin(7103).await;
    case.taken(json!({})).await;
    let fetched = case.idp.count();
    let new = Signer::new(Algorithm::EdDsa, "k2", case.world.world.random());
    let signed =
        |case: &Case| new.sign(&json!({"alg": "EdDSA", "kid": "k2"}), &case.claims(json!({})));
    for _ in 0..5 {
        case.refused(&signed(&case), Rule::SubjectTokenInvalid, "unknown key").await;
    }
    assert_eq!(case.idp.count(), fetched + 1, "asked once");
    case.idp.has(&[&new]);
    case.world.advance(60);
    case.subject(&signed(&case)).await.expect("the new key was asked for");
    assert_eq!(case.idp.count(), fetched + 2);
    case.refused(&case.token(json!({})), Rule::SubjectTokenInvalid, "a withdrawn key").await;
    let changed = case.told("federation.keys_changed").await;
    assert_eq!(changed.last().expect("an event")["changes"]["keys"], "k2 EdDSA");
    // The issuer is gone: what was had is used for a day, and not longer, also after a restart.
    case.idp.says("/jwks", "503 Service Unavailable", "text/plain", "");
    case.world.advance(600);
    jobs::follow_all(&case.world.server).await;
    case.subject(&signed(&case)).await.expect("an outage stops nobody at once");
    let failing = case.told("federation.keys_failing").await;
    assert_eq!(failing.len(), 1);
    case.world.advance(60);
    jobs::follow_all(&case.world.server).await;
    assert_eq!(case.told("federation.keys_failing").await.len(), 1);
    let shown = case.admin("GET", "/v1/federations/corp", None).await.expect(200).json();
    assert!(shown["keys_failing_since"].is_string() && shown["keys_failure"].is_string());
    let Case { world, scene, idp, key } = case;
    let world = world.reopened(7104).await;
    world.outside.0.allow(&[idp.address]).expect("allowed");
    let case = Case { world, scene, idp, key };
    case.subject(&signed(&case)).await.expect("a restart forgets nothing");
    case.world.advance(KEYS_KEPT_MAX.as_secs());
    case.refused(&signed(&case), Rule::FederationKeys, "a day").await;
    case.idp.has(&[&new]);
    case.world.advance(60);
    jobs::follow_all(&case.world.server).await;
    case.subject(&signed(&case)).await.expect("the issuer is back");
    let changed = case.told("federation.keys_changed").await;
    assert_eq!(changed.len(), 2, "that they are there again is told");
}

#[tokio::test]
async fn a_federation_is_registered_with_keys_that_can_be_had() {
    let case = Case::without(7105).await;
    let ours = case.org().issuer.clone();
    for (with, what) in [
        (json!({"issuer": ours}), "our own issuer"),
        (json!({"issuer": "http://idp.example"}), "no https"),
        (json!({"issuer": "https://10.0.0.1"}), "an inner address"),
        (json!({"issuer": format!("{}/?t=1", case.idp.issuer())}), "a query"),
        (json!({"jwks_url": "https://169.254.169.254/latest"}), "an inner address"),
        (json!({"jwks_url": "http://127.0.0.1:1/jwks"}), "loopback that is not allowed"),
        (json!({"jwks_url": format!("{}/none", case.idp.issuer())}), "no set there"),
        (json!({"jwks_url": null}), "no metadata"),
        (json!({"audiences": (0..9).map(|n| n.to_string()).collect::<Vec<_>>()}), "nine audiences"),
        (json!({"audiences": ["a b"]}), "a space"),
        (json!({"rules": ["groups contains x => crm:fly"]}), "no such action"),
        (json!({"name": "Corp"}), "no name"),
    ] {
        let answer = case.add(with).await;
        assert_eq!(answer.status, 400, "{what}: {}", answer.text());
    }
    case.add(json!({"rules": ["groups contains x => erp:read"]})).await.problem(404, "not-found");
    // What a stranger may serve where keys should be.
    let inner =
        "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n";
    case.idp.says_bytes("/jwks", inner);
    case.add(json!({})).await.problem(400, "field-invalid");
    let huge = format!(r#"{{"keys":[],"x":"{}"}}"#, "x".repeat(70_000));
    case.idp.says("/jwks", "200 OK", "application/json", &huge);
    case.add(json!({})).await.problem(400, "field-invalid");
    case.idp.says("/jwks", "200 OK", "application/json", r#"{"keys":[],"keys":[]}"#);
    case.add(json!({})).await.problem(400, "field-invalid");
    case.idp.says("/jwks", "200 OK", "application/json", r#"{"keys":[{"kty":"oct","k":"AA"}]}"#);
    case.add(json!({})).await.problem(400, "field-invalid");
    case.idp.has(&[&case.key]);
    // Discovery: the metadata of another issuer leads nowhere.
    case.idp.has_metadata("https://other.example");
    case.add(json!({"jwks_url": null})).await.problem(400, "field-invalid");
    case.idp.has_metadata(&case.idp.issuer());
    let made = case.add(json!({"jwks_url": null})).await.expect(201).json();
    assert_eq!((&made["jwks_url"], &made["keys"]), (&Value::Null, &json!(["k1 ES256"])));
    case.taken(json!({})).await;
    // Names and issuers are one federation's, for ever.
    case.add(json!({"issuer": format!("{}/2", case.idp.issuer())}))
        .await
        .problem(409, "name-taken");
    case.add(json!({"name": "corp2"})).await.problem(409, "name-taken");
}

#[tokio::test]
async fn what_narrows_a_federation_or_a_person_is_an_entry_of_the_graph() {
    let case = Case::begin(7106).await;
    let subject = case.taken(json!({})).await;
    let (person, federation) = (subject.person.to_string(), subject.federation.to_string());
    let entries = async |target: &str| {
        let path = format!("/v1/revocations?target={target}");
        let listed = case.admin("GET", &path, None).await.expect(200).json();
        listed["items"].as_array().expect("items").len()
    };
    let patch = async |body: Value| {
        case.admin("PATCH", "/v1/federations/corp", Some(body)).await.expect(200)
    };
    let wide = ["groups contains sales => crm:read", "dept equals it => crm:delete"];
    patch(json!({"rules": wide, "audiences": ["accredit", "other"]})).await;
    assert_eq!(entries(&federation).await, 0, "wider ends nothing");
    assert_eq!(scope(&case.taken(json!({"dept": "it"})).await), "crm:delete crm:read");
    case.taken(json!({"aud": ["other", "accredit"]})).await;
    patch(json!({"rules": [wide[1]]})).await;
    assert_eq!(entries(&federation).await, 1);
    assert_eq!(scope(&case.taken(json!({})).await), "");
    patch(json!({"audiences": ["accredit"]})).await;
    assert_eq!(entries(&federation).await, 2);
    // Grants are the person's own.
    let path = format!("/v1/persons/{person}");
    let allow = |what: &[&str]| Some(json!({ "allow": what }));
    let post = async |verb: &str, body: Option<Value>| {
        case.admin("POST", &format!("{path}/{verb}"), body).await
    };
    post("grant", allow(&["crm:read", "crm:update"])).await.expect(200);
    post("grant", allow(&["crm:fly"])).await.problem(400, "field-invalid");
    post("grant", allow(&["erp:read"])).await.problem(404, "not-found");
    post("grant", allow(&[])).await.problem(400, "field-invalid");
    assert_eq!(
        (scope(&case.taken(json!({})).await).as_str(), entries(&person).await),
        ("crm:read crm:update", 0)
    );
    let listed = case.admin("GET", &format!("{path}/permissions"), None).await.expect(200).json();
    assert_eq!(listed["items"][0]["resource"], "crm");
    post("ungrant", allow(&["crm:delete"])).await.problem(409, "state-forbids");
    post("ungrant", allow(&["crm:update"])).await.expect(200);
    assert_eq!(
        (scope(&case.taken(json!({})).await).as_str(), entries(&person).await),
        ("crm:read", 1)
    );
    post("ungrant", allow(&["crm"])).await.expect(200);
    assert_eq!((scope(&case.taken(json!({})).await).as_str(), entries(&person).await), ("", 2));
    // Suspended, the person is refused, and so is everybody of a suspended federation.
    post("suspend", Some(json!({"reason": "gone"}))).await.expect(200);
    case.refused(&case.token(json!({})), Rule::PersonNotActive, "suspended").await;
    case.taken(json!({"sub": "user-2"})).await;
    let revoked = case.world.revoke(case.org(), &federation).await.expect("revoked");
    assert_eq!(revoked.target.to_string(), federation);
    case.refused(&case.token(json!({"sub": "user-2"})), Rule::FederationNotActive, "x").await;
    let reason = Some(json!({"reason": "over"}));
    case.admin("POST", "/v1/federations/corp/suspend", reason.clone())
        .await
        .problem(409, "state-forbids");
    case.admin("POST", "/v1/federations/corp/activate", reason).await.expect(200);
    case.taken(json!({"sub": "user-2"})).await;
}

#[tokio::test]
async fn without_provisioning_only_who_was_linked_is_known() {
    let case = Case::without(7107).await;
    case.add(json!({"provision": false})).await.expect(201);
    case.refused(&case.token(json!({})), Rule::PersonUnknown, "nobody").await;
    let body = json!({"email": "mia@example.com"});
    case.admin("POST", "/v1/persons", Some(body)).await.expect(201);
    case.refused(&case.token(json!({})), Rule::PersonUnknown, "an address is nobody").await;
    let mia = "/v1/persons/mia@example.com";
    let link = json!({"federation": "corp", "subject": "user-1"});
    let post = async |path: &str, body: &Value| case.admin("POST", path, Some(body.clone())).await;
    let linked = post(&format!("{mia}/link"), &link).await.expect(200).json();
    let subject = case.taken(json!({})).await;
    assert_eq!(linked["id"], subject.person.to_string());
    // A subject is one person's.
    post("/v1/persons/planner-owner@example.com/link", &link).await.problem(409, "name-taken");
    let wrong = json!({"federation": "corp", "subject": "a\nb"});
    post(&format!("{mia}/link"), &wrong).await.problem(400, "field-invalid");
    let wrong = json!({"federation": "none", "subject": "user-1"});
    post(&format!("{mia}/link"), &wrong).await.problem(404, "not-found");
    post(&format!("{mia}/unlink"), &link).await.expect(200);
    case.refused(&case.token(json!({})), Rule::PersonUnknown, "unlinked").await;
    post(&format!("{mia}/unlink"), &link).await.problem(409, "state-forbids");
    let entries = format!("/v1/revocations?target={}", subject.person);
    let entries = case.admin("GET", &entries, None).await.expect(200).json();
    assert_eq!(entries["items"].as_array().expect("items").len(), 1);
}

#[tokio::test]
async fn organizations_do_not_share_federations() {
    let case = Case::begin(7108).await;
    case.taken(json!({})).await;
    let other = case.world.found("other").await;
    let cx = case.world.cx(&other).await;
    let token = case.token(json!({}));
    let by = case.scene.planner.id;
    Case::check(subject(&cx, &token, by).await, Rule::FederationUnknown, "another organization");
    // Nor persons where both believe one issuer.
    let body = json!({
        "name": "corp", "issuer": case.idp.issuer(), "jwks_url": case.idp.jwks_url(),
        "audiences": ["accredit"],
    });
    case.world.admin(&other, "POST", "/v1/federations", Some(body)).await.expect(201);
    let there = subject(&case.world.cx(&other).await, &token, by).await.expect("taken there too");
    let here = case.taken(json!({})).await;
    assert!(there.person != here.person && there.federation != here.federation);
    assert!(there.authority.is_empty());
}

#[tokio::test]
async fn many_first_tokens_at_once_make_one_person() {
    let case = Case::begin(7109).await;
    let token = case.token(json!({}));
    let cx = case.world.cx(case.org()).await;
    let all = (0..20).map(|_| subject(&cx, &token, case.scene.planner.id));
    let all = futures_util::future::join_all(all).await;
    let persons: Vec<_> = all.into_iter().map(|one| one.expect("taken").person).collect();
    assert!(persons.iter().all(|person| *person == persons[0]));
    assert_eq!(case.told("person.created").await.len(), 2);
}
