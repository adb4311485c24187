//! An unknown credential and a wrong secret of a known one are the same work: the same questions to
//! the store, in the same order, and as many MACs. Counted, so that it does not hang on a clock; that
//! the times do not differ either is measured in `timing.rs`.

use std::path::Path;
use std::sync::Arc;

use accredit_domain::Rule;
use accredit_testkit::noting::{Asked, noting};
use accredit_testkit::{Ask, Client, TestWorld};
use accredit_wire::api_key::{ApiKey, SecretKind};
use accredit_wire::ids::CredentialId;

struct Counted {
    world: TestWorld,
    asked: Asked,
}

impl Counted {
    async fn new(seed: u64) -> Self {
        let asked = Asked::default();
        let noted = Arc::clone(&asked);
        let wrap = |driver| noting(driver, noted);
        let world = TestWorld::on(Path::new(env!("CARGO_TARGET_TMPDIR")), seed, wrap).await;
        Self { world, asked }
    }

    /// What a request that is refused takes.
    async fn work(&self, ask: Ask) -> (Vec<&'static str>, u64) {
        self.asked.lock().expect("no thread panics with it").clear();
        let before = self.world.vault.macs();
        let answer = self.world.ask(ask).await;
        assert_eq!(answer.status, 401, "{}", answer.text());
        let asked = self.asked.lock().expect("no thread panics with it").clone();
        (asked, self.world.vault.macs() - before)
    }

    /// Asks with a credential that nobody has and with a wrong secret of `right`, which has been
    /// used: the work must be the same, and be some.
    async fn same(&self, right: &str, kind: SecretKind, ask: impl Fn(&str) -> Ask) {
        let known = ApiKey::parse(right).expect("a secret").credential;
        let nobody = CredentialId::new(1_767_225_600_000, [9; 10]);
        let wrong = ApiKey::new(kind, known, [1; 32]);
        let unknown = ApiKey::new(kind, nobody, [1; 32]);
        let wrong = self.work(ask(wrong.expose())).await;
        let unknown = self.work(ask(unknown.expose())).await;
        assert_eq!(unknown, wrong, "{kind:?}");
        assert!(!wrong.0.is_empty(), "{kind:?}: nothing was looked up");
        assert_eq!(wrong.1, 1, "{kind:?}: one MAC");
    }
}

#[tokio::test]
async fn an_unknown_administrator_is_as_much_work_as_a_wrong_key_and_is_counted_too() {
    let counted = Counted::new(910).await;
    let world = &counted.world;
    let org = world.found("acme").await;
    assert_eq!(world.admin(&org, "GET", "/v1/agents", None).await.status, 200);
    let ask = |key: &str| Ask::get("/v1/agents").bearer(key);
    counted.same(&org.admin, SecretKind::Admin, ask).await;
    let of_acme = world.tenant(&org).await.refusals.take();
    let of_nobody = world.server.strangers.take();
    assert_eq!(of_acme, of_nobody, "each was counted once, as the same");
    assert_eq!(of_nobody[0].0.rule, Some(Rule::AdminKey));
}

#[tokio::test]
async fn an_unknown_operator_is_as_much_work_as_a_wrong_key() {
    let counted = Counted::new(911).await;
    let key = crate::root::operator(&counted.world).await;
    let ask = |key: &str| Ask::post("/v1/root/rotate").bearer(key);
    counted.same(&key, SecretKind::Operator, ask).await;
}

#[tokio::test]
async fn an_unknown_client_is_as_much_work_as_a_wrong_secret() {
    let counted = Counted::new(912).await;
    let world = &counted.world;
    let scene = world.scene().await;
    let form = [("grant_type", "client_credentials"), ("scope", "crm:read")];
    assert_eq!(world.token(&scene.org, &scene.client, &form[1..]).await.status, 200);
    let ask = |secret: &str| {
        let client = Client { secret: secret.to_owned(), ..scene.client.clone() };
        Ask::post(scene.org.path("/oauth/token")).basic(&client).form(&form)
    };
    counted.same(&scene.client.secret, SecretKind::Agent, ask).await;
}

#[tokio::test]
async fn an_unknown_resource_is_as_much_work_as_a_wrong_credential() {
    let counted = Counted::new(913).await;
    let world = &counted.world;
    let scene = world.scene().await;
    let crm = world.resource_secret(&scene.org, "crm").await;
    let ask = |secret: &str| {
        let crm = Client { secret: secret.to_owned(), ..crm.clone() };
        Ask::post(scene.org.path("/oauth/introspect")).basic(&crm).form(&[("token", "x")])
    };
    assert_eq!(world.ask(ask(&crm.secret)).await.status, 200);
    counted.same(&crm.secret, SecretKind::Resource, ask).await;
}
