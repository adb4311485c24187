//! After a declared loss the old log may part from the store's own: a node added leaves, and signed a
//! checkpoint over them, before anybody noticed that the standby had been behind.

use accredit_domain::Refusal;
use accredit_domain::restoration::reconcile::{Ends, OldLog, Parting, Reconciled, reconcile};
use accredit_testkit::TestWorld;
use accredit_testkit::fixture::{Client, Scene};
use serde_json::json;

const READ: (&str, &str) = ("scope", "crm:read");

/// A lost primary, and the standby that took its place and does not have all of it.
struct Parted {
    lost: TestWorld,
    scene: Scene,
    /// Ended in what was lost.
    ended: Client,
    other: Client,
    /// What both have.
    common: u64,
    /// An export of when there was nothing else.
    earlier: String,
}

async fn export(world: &TestWorld, scene: &Scene) -> String {
    let exported = world.admin(&scene.org, "GET", "/v1/events/export", None).await.expect(200);
    exported.text().to_owned()
}

/// The leaves of the first lane from a place on.
async fn leaves(world: &TestWorld, scene: &Scene, from: u64) -> Vec<[u8; 32]> {
    let org = world.tenant(&scene.org).await.id;
    world.world.store.leaf_hashes(org, 0, from, 10_000).await.expect("leaves")
}

async fn read(world: &TestWorld, scene: &Scene, export: &str) -> Result<Ends, Refusal> {
    let cx = world.cx(&scene.org).await;
    let mut log = OldLog::new(&cx).await.expect("a new generation");
    for line in export.lines() {
        log.line(line).await.expect("a readable store");
    }
    log.finish()
}

async fn check_refused(world: &TestWorld, scene: &Scene, export: &str, says: &str) {
    let refusal = read(world, scene, export).await.expect_err(says);
    assert!(refusal.detail.contains(says), "`{says}` is not in {refusal}");
}

impl Parted {
    /// The standby as it was promoted, with the lost primary's later history beside it.
    async fn begin() -> (Self, TestWorld) {
        let lost = TestWorld::new(41).await;
        let scene = lost.scene().await;
        let ended = lost.agent_secret(&scene.org, "planner", None).await;
        lost.agent(&scene.org, "other", &["crm:read"]).await;
        let other = lost.agent_secret(&scene.org, "other", None).await;
        let earlier = export(&lost, &scene).await;
        let standby = lost.copied(42).await;
        let common = leaves(&standby, &scene, 0).await.len() as u64;
        lost.token(&scene.org, &ended, &[READ]).await.expect(200);
        lost.revoke(&scene.org, &ended.credential).await.expect("done");
        (Self { lost, scene, ended, other, common, earlier }, standby)
    }

    /// Leaves of the standby's own, as many as tokens, with a signed checkpoint over them.
    async fn goes_on(&self, standby: &TestWorld, tokens: usize) {
        for _ in 0..tokens {
            standby.token(&self.scene.org, &self.other, &[READ]).await.expect(200);
        }
        let checkpoint = standby.admin(&self.scene.org, "POST", "/v1/log/fsck", None).await;
        assert_eq!(checkpoint.expect(200).json()["ok"], true);
        export(standby, &self.scene).await;
    }
}

#[tokio::test]
async fn after_a_declared_loss_an_export_that_parts_from_the_store_is_believed_behind_what_both_have()
 {
    // Shorter than the lost part, longer, and over more leaves than are compared at a time.
    for tokens in [1, 30, 700] {
        let (parted, standby) = Parted::begin().await;
        let Parted { lost, scene, ended, other, common, .. } = &parted;
        parted.goes_on(&standby, tokens).await;
        let own = leaves(&standby, scene, *common).await;
        assert!(own.len() >= tokens);
        let world = standby.loss_declared(&scene.org, 43).await;
        let whole = export(lost, scene).await;

        let ends = read(&world, scene, &whole).await.expect("the lost log");
        let mut done = Reconciled::default();
        let cx = world.cx(&scene.org).await;
        reconcile(&cx, &ends, &mut done).await.expect("reconciled");
        let origin = whole.split("\"origin\":\"").nth(1).and_then(|rest| rest.split('"').next());
        let origin = origin.expect("an origin").to_owned();
        let place = format!("{origin} {common}");
        let expected = Parting { lane: 0, origin, at: *common, own: own.len() as u64 };
        assert_eq!(done.parted, [expected]);
        assert_eq!(done.ended, 1, "{done:?}");
        let told = crate::events(&world, &scene.org, "restore.reconciled").await;
        assert_eq!(told[0]["payload"]["changes"]["parted"], json!(place), "{told:?}");
        // What was ended in what was lost is ended; what the store had of its own is there.
        assert_eq!(world.token(&scene.org, ended, &[READ]).await.status, 401);
        world.token(&scene.org, other, &[READ]).await.expect(200);
        assert_eq!(leaves(&world, scene, *common).await, own, "nothing of its own is lost");
        let report = world.admin(&scene.org, "POST", "/v1/log/fsck", None).await.expect(200).json();
        assert_eq!(report["ok"], true, "{report}");
    }
}

#[tokio::test]
async fn a_store_with_nothing_of_its_own_is_only_gone_on_from() {
    let (parted, standby) = Parted::begin().await;
    let Parted { lost, scene, .. } = &parted;
    let world = standby.loss_declared(&scene.org, 43).await;
    let ends = read(&world, scene, &export(lost, scene).await).await.expect("the lost log");
    let mut done = Reconciled::default();
    reconcile(&world.cx(&scene.org).await, &ends, &mut done).await.expect("reconciled");
    assert_eq!((done.parted.len(), done.ended), (0, 1), "{done:?}");
}

#[tokio::test]
async fn without_a_declared_loss_an_export_that_parts_is_another_log() {
    let (parted, standby) = Parted::begin().await;
    let Parted { lost, scene, ended, .. } = &parted;
    parted.goes_on(&standby, 1).await;
    let again = standby.copied(44).await;
    let world = standby.restored(&scene.org, 43).await;
    let whole = export(lost, scene).await;
    check_refused(&world, scene, &whole, "the root kept elsewhere").await;
    assert_eq!(world.token(&scene.org, ended, &[READ]).await.status, 503, "closed all the while");
    // Nor where a backup was restored after a loss was declared: that lane is not the one that parted.
    let world = again.loss_declared(&scene.org, 45).await;
    assert!(read(&world, scene, &whole).await.is_ok());
    let world = world.restored(&scene.org, 46).await;
    check_refused(&world, scene, &whole, "does not have the lanes").await;
}

#[tokio::test]
async fn only_the_whole_signed_log_of_what_was_lost_is_believed_after_a_declared_loss() {
    let (parted, standby) = Parted::begin().await;
    let Parted { lost, scene, ended, earlier, .. } = &parted;
    parted.goes_on(&standby, 3).await;
    let of_own = export(&standby, scene).await;
    let world = standby.loss_declared(&scene.org, 43).await;
    let whole = export(lost, scene).await;
    assert!(read(&world, scene, &whole).await.is_ok());

    check_refused(&world, scene, "", "empty").await;
    // Older than the loss, and the store's own before and after it: nothing of what was lost.
    check_refused(&world, scene, earlier, "no event").await;
    check_refused(&world, scene, &of_own, "no event").await;
    check_refused(&world, scene, &export(&world, scene).await, "after the restore").await;
    let without = |part: &str| {
        let kept: Vec<&str> = whole.lines().filter(|line| !line.contains(part)).collect();
        kept.join("\n") + "\n"
    };
    check_refused(&world, scene, &without("{\"checkpoint\""), "nothing vouches").await;
    check_refused(&world, scene, &without("credential.revoked"), "continuation").await;
    check_refused(&world, scene, &without("{\"end\""), "continuation").await;
    check_refused(&world, scene, &whole.replace("a test", "a toast"), "was edited").await;
    // Cut off behind the common part, where no checkpoint says so.
    let cut: Vec<&str> = whole.lines().take_while(|l| !l.contains("credential.revoked")).collect();
    check_refused(&world, scene, &(cut.join("\n") + "\n"), "continuation").await;
    // Another installation's, whose key is another, under the same origin; and another organization's.
    let stranger = TestWorld::new(51).await;
    let theirs = stranger.scene().await;
    check_refused(&world, scene, &export(&stranger, &theirs).await, "signature").await;
    let other = lost.found("other").await;
    let exported = lost.admin(&other, "GET", "/v1/events/export", None).await.expect(200);
    check_refused(&world, scene, exported.text(), "/o/other").await;
    assert_eq!(world.token(&scene.org, ended, &[READ]).await.status, 503, "closed all the while");
}
