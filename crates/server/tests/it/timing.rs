//! The time of a refusal does not tell whether there is such a
//! client. Measured in one process, interleaved, by medians; what is compared is the work, since a
//! network only adds noise.

use std::hint::black_box;
use std::time::{Duration, Instant};

use accredit_testkit::{Ask, Client, Signer, TestWorld};
use accredit_wire::api_key::{ApiKey, SecretKind};
use accredit_wire::crypto::Algorithm;
use accredit_wire::ids::{AgentId, CredentialId};

/// Samples of each kind in one attempt.
const SAMPLES: usize = 300;
/// Attempts, since the machine has other work too.
const ATTEMPTS_MAX: usize = 12;
/// By how much two medians that are equal may differ.
const NOISE_MAX: f64 = 0.15;

/// Medians of two or three kinds of request, asked in turn, always another first.
async fn medians(world: &TestWorld, kinds: &[&dyn Fn(usize) -> Ask]) -> Vec<Duration> {
    let mut samples = vec![Vec::with_capacity(SAMPLES); kinds.len()];
    for round in 0..SAMPLES {
        for turn in 0..kinds.len() {
            let kind = (round + turn) % kinds.len();
            let ask = kinds[kind](round);
            #[expect(clippy::disallowed_methods, reason = "what takes how long is the question")]
            let start = Instant::now();
            let answer = black_box(world.ask(ask).await);
            samples[kind].push(start.elapsed());
            assert_eq!(answer.status, 401, "{}", answer.text());
        }
    }
    let median = |mut times: Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2]
    };
    samples.into_iter().map(median).collect()
}

/// Tries until the medians of the first two kinds are equal, and the third, which is less work,
/// shows that a difference would be seen.
async fn equal(world: &TestWorld, what: &str, kinds: [&dyn Fn(usize) -> Ask; 3]) {
    let mut seen = Vec::new();
    for _ in 0..ATTEMPTS_MAX {
        let medians = medians(world, &kinds).await;
        let [unknown, wrong, less] = medians[..] else { panic!("three kinds") };
        let apart = |a: Duration, b: Duration| (a.as_secs_f64() / b.as_secs_f64() - 1.0).abs();
        if apart(unknown, wrong) <= NOISE_MAX && less < unknown && apart(less, unknown) > NOISE_MAX
        {
            return;
        }
        seen.push(medians);
    }
    panic!("{what}: unknown, wrong, and less work: {seen:?}");
}

fn another(round: usize) -> CredentialId {
    CredentialId::new(1_767_225_600_000 + round as u64, [round as u8; 10])
}

#[tokio::test]
async fn an_unknown_client_and_a_wrong_secret_take_the_same_time() {
    let world = TestWorld::new(900).await;
    let scene = world.scene().await;
    // Known and used: its facts are in memory.
    assert_eq!(world.token(&scene.org, &scene.client, &[("scope", "crm:read")]).await.status, 200);
    let known = ApiKey::parse(&scene.client.secret).expect("a secret").credential;
    let ask = |id: String, secret: String| {
        let client = Client { id, secret, ..scene.client.clone() };
        let form = [("grant_type", "client_credentials"), ("scope", "crm:read")];
        Ask::post(scene.org.path("/oauth/token")).basic(&client).form(&form)
    };
    let secret = |of: CredentialId, round: usize| {
        let key = ApiKey::new(SecretKind::Agent, of, [round as u8 ^ 0x5a; 32]);
        key.expose().to_owned()
    };
    let agent = |round: usize| AgentId::new(7 + round as u64, [round as u8; 10]).to_string();
    let unknown = |round| ask(agent(round), secret(another(round), round));
    let wrong = |round| ask(scene.client.id.clone(), secret(known, round));
    let malformed = |round| ask(agent(round), format!("{}x", secret(known, round)));
    equal(&world, "the token endpoint", [&unknown, &wrong, &malformed]).await;
}

#[tokio::test]
async fn an_unknown_administrator_and_a_wrong_key_take_the_same_time() {
    let world = TestWorld::new(901).await;
    let org = world.found("acme").await;
    assert_eq!(world.admin(&org, "GET", "/v1/agents", None).await.status, 200);
    let known = ApiKey::parse(&org.admin).expect("a key").credential;
    let ask = |of: CredentialId, round: usize| {
        let key = ApiKey::new(SecretKind::Admin, of, [round as u8 ^ 0x5a; 32]);
        Ask::get("/v1/agents").bearer(key.expose())
    };
    let unknown = |round| ask(another(round), round);
    let wrong = |round| ask(known, round);
    let malformed = |round| Ask::get("/v1/agents").bearer(&format!("acr_admin_{round}"));
    equal(&world, "the admin API", [&unknown, &wrong, &malformed]).await;
}

#[tokio::test]
async fn an_unknown_client_and_a_wrong_signature_take_the_same_time() {
    let world = TestWorld::new(902).await;
    let scene = world.scene().await;
    let right = world.agent_key(&scene.org, "planner", "k", Algorithm::EdDsa).await;
    let assertion = right.assertion(world.now(), "first");
    let answer = world.token_by(&scene.org, &assertion, &[("scope", "crm:read")]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let forged = |client: String, round: usize| {
        let mut signer = Signer::new(Algorithm::EdDsa, "k", [9; 32]);
        signer.client = client;
        signer.issuer.clone_from(&scene.org.issuer);
        signer.assertion(world.now(), &round.to_string())
    };
    let kind = accredit_wire::oauth::client_auth::ASSERTION_TYPE;
    let ask = |assertion: &str| {
        let form = [
            ("grant_type", "client_credentials"),
            ("scope", "crm:read"),
            ("client_assertion_type", kind),
            ("client_assertion", assertion),
        ];
        Ask::post(scene.org.path("/oauth/token")).form(&form)
    };
    let stranger = |round: usize| AgentId::new(7 + round as u64, [round as u8; 10]).to_string();
    let unknown = |round| ask(&forged(stranger(round), round));
    let wrong = |round| ask(&forged(scene.client.id.clone(), round));
    // Refused before anything is looked up or checked.
    let malformed = |round| {
        let client = Client { id: stranger(round), secret: "x".to_owned(), ..scene.client.clone() };
        let form = [("grant_type", "client_credentials")];
        Ask::post(scene.org.path("/oauth/token")).basic(&client).form(&form)
    };
    equal(&world, "assertions", [&unknown, &wrong, &malformed]).await;
}
