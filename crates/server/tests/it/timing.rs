//! The time of a refusal does not tell whether there is such a client. What is compared is the work,
//! in one process, since a network only adds noise.
//!
//! Two kinds of request are asked in pairs, one right after the other, so that whatever else the
//! machine does slows both of a pair down; what counts is the median of their ratios, with the
//! interval in which it lies all but certainly. The verdict is one, of all samples: it is not tried
//! again until it suits. That it can be the other one is shown by kinds that do less work, and by an
//! early return that is planted.

use std::hint::black_box;
use std::time::{Duration, Instant};

use accredit_testkit::{Ask, Client, Signer, TestWorld};
use accredit_wire::api_key::{ApiKey, SecretKind};
use accredit_wire::crypto::Algorithm;
use accredit_wire::ids::{AgentId, CredentialId};

/// Pairs of each comparison.
const PAIRS: usize = 1_200;
/// Pairs that are asked before, so that memory and branches are as they will be.
const WARM_UP: usize = 50;
/// By how much the times of what is the same work may differ. They are within a twelfth of each
/// other, also on a busy machine; nothing is optimized in this build, so that the few steps that do
/// differ (a row was found, a refusal is counted elsewhere) show. An early return that would tell
/// something saves a read of the store, which is a quarter and more.
const NOISE_MAX: f64 = 0.15;
/// Standard deviations of the interval: one verdict in thousands is wrong by chance.
const DEVIATIONS: f64 = 3.5;

/// Times of a pair: of the one kind and of the other.
type Pair = [Duration; 2];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Verdict {
    /// The interval lies within the noise.
    Same,
    /// It lies outside.
    Apart,
    /// It lies across the border: too few samples.
    Undecided,
}

/// Compares two kinds of work. The interval is that of a median by ranks (a sign test turned round):
/// it presumes nothing about how times are distributed.
fn compare(pairs: &[Pair]) -> (Verdict, [f64; 2]) {
    let mut ratios: Vec<f64> =
        pairs.iter().map(|[a, b]| a.as_secs_f64() / b.as_secs_f64().max(1e-9)).collect();
    ratios.sort_by(f64::total_cmp);
    let (middle, width) =
        (ratios.len() as f64 / 2.0, DEVIATIONS * (ratios.len() as f64).sqrt() / 2.0);
    let at = |rank: f64| ratios[(rank.max(0.0) as usize).min(ratios.len() - 1)];
    let interval = [at(middle - width), at(middle + width)];
    // As much faster is as much slower: 1.15 and its reciprocal.
    let [least, most] = [1.0 / (1.0 + NOISE_MAX), 1.0 + NOISE_MAX];
    let verdict = if interval[0] >= least && interval[1] <= most {
        Verdict::Same
    } else if interval[1] < least || interval[0] > most {
        Verdict::Apart
    } else {
        Verdict::Undecided
    };
    (verdict, interval)
}

/// Times of two kinds of request, asked in pairs, the other one first in every second.
async fn pairs(world: &TestWorld, kinds: [&dyn Fn(usize) -> Ask; 2]) -> Vec<Pair> {
    let mut pairs = Vec::with_capacity(PAIRS);
    for round in 0..WARM_UP + PAIRS {
        let mut pair = Pair::default();
        for turn in 0..2 {
            let kind = (round + turn) % 2;
            let ask = kinds[kind](round);
            #[expect(clippy::disallowed_methods, reason = "what takes how long is the question")]
            let start = Instant::now();
            let answer = black_box(world.ask(ask).await);
            pair[kind] = start.elapsed();
            assert_eq!(answer.status, 401, "{}", answer.text());
        }
        pairs.push(pair);
    }
    pairs.split_off(WARM_UP)
}

/// Holds the first two kinds to be the same work, and the third, which is less, to be seen as less.
async fn equal(world: &TestWorld, what: &str, kinds: [&dyn Fn(usize) -> Ask; 3]) {
    let [unknown, wrong, less] = kinds;
    let (verdict, interval) = compare(&pairs(world, [unknown, wrong]).await);
    eprintln!("{what}: unknown by wrong is within {interval:.3?}");
    assert_eq!(verdict, Verdict::Same, "{what}: unknown by wrong is within {interval:?}");
    let (verdict, interval) = compare(&pairs(world, [less, wrong]).await);
    eprintln!("{what}: less work by wrong is within {interval:.3?}");
    assert_eq!(verdict, Verdict::Apart, "{what}: less work by wrong is within {interval:?}");
    assert!(interval[1] < 1.0, "{what}: less work takes longer: {interval:?}");
}

/// A comparison of secrets as it must not be, and as it must.
fn compared(secret: &[u8], guess: &[u8], returns_early: bool) -> bool {
    let mut same = true;
    for (a, b) in secret.iter().zip(guess) {
        same &= black_box(a == b);
        if returns_early && !same {
            return false;
        }
    }
    same
}

#[test]
fn an_early_return_is_noticed_and_the_same_work_is_not() {
    let secret = [7; 16 * 1024];
    let (mut first, mut last) = (secret, secret);
    first[100] = 0;
    last[16 * 1024 - 100] = 0;
    let timed = |guess: &[u8], returns_early: bool| {
        #[expect(clippy::disallowed_methods, reason = "what takes how long is the question")]
        let start = Instant::now();
        assert!(!black_box(compared(black_box(&secret), black_box(guess), returns_early)));
        start.elapsed()
    };
    for (returns_early, expected) in [(false, Verdict::Same), (true, Verdict::Apart)] {
        let pair = |round: usize| {
            let mut pair = Pair::default();
            for turn in 0..2 {
                let kind = (round + turn) % 2;
                pair[kind] = timed([&first, &last][kind], returns_early);
            }
            pair
        };
        let pairs: Vec<Pair> = (0..PAIRS).map(pair).collect();
        let (verdict, interval) = compare(&pairs);
        assert_eq!(verdict, expected, "returns early: {returns_early}, {interval:?}");
    }
}

#[test]
fn a_verdict_is_of_the_median_whatever_a_busy_machine_adds() {
    let micros = |micros: u64| Duration::from_micros(micros);
    // Every third pair is interrupted, now the one, now the other: it is no difference of the work.
    let interrupted = |a: u64, b: u64| -> Vec<Pair> {
        (0..PAIRS as u64)
            .map(|round| {
                let late = if round % 3 == 0 { 5_000 } else { round % 7 };
                let other = 7 - round % 7;
                if round % 2 == 0 {
                    [micros(a + late), micros(b + other)]
                } else {
                    [micros(a + other), micros(b + late)]
                }
            })
            .collect()
    };
    for (a, b, expected) in [
        (200, 200, Verdict::Same),
        (205, 200, Verdict::Same),
        (200, 300, Verdict::Apart),
        (300, 200, Verdict::Apart),
    ] {
        let (verdict, interval) = compare(&interrupted(a, b));
        assert_eq!(verdict, expected, "{a} and {b}: {interval:?}");
    }
    // What differs half of the time is neither.
    let torn: Vec<Pair> = (0..PAIRS)
        .map(|round| [micros(if round % 2 == 0 { 100 } else { 200 }), micros(100)])
        .collect();
    assert_eq!(compare(&torn).0, Verdict::Undecided);
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
