//! Lanes that tell of each other: when they do, when they do not, and what is found where one is gone.

use std::time::Duration;

use accredit_domain::audit::checkpointed::CHECKPOINTED_EVERY;
use accredit_domain::audit::event::{Body, Event, EventKind};
use accredit_domain::ports::{Audited, Leaf, LeafBody, UsedUp};
use accredit_server::{jobs, slots, turns};
use accredit_testkit::{Engine, Org, TestWorld};
use accredit_wire::ids::OrganizationId;
use accredit_wire::tlog::claim::{CHECKPOINTED, Claim};
use accredit_wire::tlog::export::{Auditor, Finding, Report, end_line};
use accredit_wire::tlog::note::Vkey;
use serde_json::Value;

/// Nodes on one store: the first has the turn and slot 0, a second one slot 1.
struct Stage {
    nodes: Vec<TestWorld>,
    org: Org,
    id: OrganizationId,
}

impl Stage {
    /// Two nodes on PostgreSQL; each has written to a lane of its own.
    async fn two() -> Self {
        let one = TestWorld::new_on(Engine::Postgres, 81).await;
        let other = one.another_node(82).await;
        Self::of(vec![one, other]).await
    }

    /// One node that others may be beside.
    async fn one() -> Self {
        Self::of(vec![TestWorld::shared(83).await]).await
    }

    async fn of(nodes: Vec<TestWorld>) -> Self {
        let org = nodes[0].found("acme").await;
        let id = nodes[0].tenant(&org).await.id;
        let stage = Self { nodes, org, id };
        for node in &stage.nodes {
            jobs::catch_up(&node.server).await;
            node.tenant(&stage.org).await;
            stage.beat(node).await;
            // The first begins the lane, in the one that all share.
            stage.record(node).await;
            stage.record(node).await;
        }
        stage
    }

    async fn beat(&self, node: &TestWorld) {
        turns::look(&node.server).await.expect("looked");
        slots::look(&node.server).await.expect("looked");
    }

    async fn record(&self, node: &TestWorld) {
        let event = Event::new(EventKind::TokenRefused, node.now(), [7; 16], Body::default());
        let recorded = Audited::new((self.id, UsedUp::NOTHING), event);
        node.world.store.record_event(recorded).await.expect("recorded");
    }

    /// Time goes by, and the jobs of each node have a turn.
    async fn turn(&self, after: Duration) {
        self.nodes[0].clock.advance(after);
        for node in &self.nodes {
            jobs::catch_up(&node.server).await;
            self.beat(node).await;
        }
        for node in &self.nodes {
            jobs::integrate_all(&node.server).await;
            jobs::checkpointed_all(&node.server).await;
        }
    }

    async fn leaves(&self, lane: u16) -> Vec<Leaf> {
        self.nodes[0].world.store.leaves(self.id, lane, 0, 1000).await.expect("leaves")
    }

    /// What each lane has told of others, event by event.
    async fn told(&self) -> Vec<Vec<Vec<Claim>>> {
        let mut told = Vec::new();
        for head in self.nodes[0].world.store.lanes(self.id).await.expect("lanes") {
            let leaves = self.leaves(head.lane).await;
            let claims = leaves.iter().filter(|leaf| leaf.kind == CHECKPOINTED).map(|leaf| {
                let LeafBody::Kept { payload, .. } = &leaf.body else { panic!("it is kept") };
                Claim::read(&leaf.kind, payload).expect("claims")
            });
            told.push(claims.collect());
        }
        told
    }

    /// How often each lane has told.
    async fn times(&self) -> Vec<usize> {
        self.told().await.iter().map(Vec::len).collect()
    }

    /// An export, and the keys that verify it.
    async fn export(&self) -> (Vec<String>, Vec<Vkey>) {
        let node = &self.nodes[0];
        let export = node.admin(&self.org, "GET", "/v1/events/export", None).await.expect(200);
        let log = node.admin(&self.org, "GET", "/v1/log", None).await.expect(200).json();
        let key = |lane: &Value| lane["key"].as_str()?.parse().ok();
        let keys = log["lanes"].as_array().expect("lanes").iter().map(key);
        let lines = export.text().lines().map(str::to_owned).collect();
        (lines, keys.collect::<Option<_>>().expect("keys"))
    }

    async fn fsck(&self) -> Value {
        let checked = self.nodes[0].admin(&self.org, "POST", "/v1/log/fsck", None).await;
        checked.expect(200).json()
    }
}

fn audited(lines: &[String], keys: &[Vkey]) -> Report {
    let mut auditor = Auditor::new(keys.to_vec());
    for line in lines {
        auditor.line(line);
    }
    auditor.finish()
}

/// The export without one lane, as if the log had never had it.
fn without(lines: &[String], lane: u16, origin: &str) -> Vec<String> {
    let mut header: Value = serde_json::from_str(&lines[0]).expect("a header");
    header["lanes"].as_array_mut().expect("lanes").retain(|it| it["lane"] != lane);
    let (event, note) = (format!("{{\"event\":{{\"lane\":{lane},"), format!("\"{origin}\\n"));
    let stays = |line: &&String| !line.starts_with(&event) && !line.contains(&note);
    let mut left: Vec<_> = lines[1..lines.len() - 1].iter().filter(stays).cloned().collect();
    let events = left.iter().filter(|line| line.starts_with("{\"event\"")).count();
    left.insert(0, header.to_string());
    left.push(end_line(events as u64));
    left
}

#[tokio::test]
async fn the_lanes_of_two_nodes_and_the_one_that_both_share_tell_of_each_other() {
    let stage = Stage::two().await;
    stage.turn(Duration::ZERO).await;
    let heads = stage.nodes[0].world.store.lanes(stage.id).await.expect("lanes");
    let told = stage.told().await;
    assert_eq!(told.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1]);
    for (own, told) in heads.iter().zip(&told) {
        let others: Vec<_> = heads.iter().filter(|head| head.lane != own.lane).collect();
        assert_eq!(told[0].len(), others.len(), "lane {}", own.lane);
        for (claim, head) in told[0].iter().zip(others) {
            let note = head.note.as_deref().expect("a checkpoint");
            let Claim { origin, size, root } = claim.clone();
            let text = accredit_wire::tlog::checkpoint::Checkpoint { origin, size, root };
            assert!(note.starts_with(&text.to_string()), "{claim} is not {note}");
        }
    }

    // That they told is no reason to tell again, however long nothing else happens.
    for _ in 0..5 {
        stage.turn(CHECKPOINTED_EVERY).await;
    }
    assert_eq!(stage.times().await, [1, 1, 1]);
    let quiet: Vec<_> = told.iter().map(|told| told[0].clone()).collect();

    // One lane grows: the two others tell of it, at once, and then once a minute at most.
    let writer = &stage.nodes[1];
    stage.record(writer).await;
    stage.turn(Duration::ZERO).await;
    assert_eq!(stage.times().await, [2, 2, 1]);
    for _ in 0..3 {
        stage.record(writer).await;
        stage.turn(CHECKPOINTED_EVERY / 4).await;
        assert_eq!(stage.times().await, [2, 2, 1]);
    }
    stage.turn(CHECKPOINTED_EVERY / 4).await;
    let told = stage.told().await;
    assert_eq!(told.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 1]);
    let of_writer = told[0][2].iter().find(|claim| claim.origin.ends_with("l2")).expect("a claim");
    let before = quiet[0].iter().find(|claim| claim.origin.ends_with("l2")).expect("a claim");
    assert_eq!(of_writer.size, before.size + 1 + 4, "what it told itself is a leaf, too");

    let report = stage.fsck().await;
    assert_eq!((&report["ok"], &report["claims"]), (&true.into(), &14.into()), "{report}");
}

#[tokio::test]
async fn whoever_leaves_a_lane_out_of_an_export_is_found() {
    let stage = Stage::two().await;
    stage.turn(Duration::ZERO).await;
    let (lines, keys) = stage.export().await;
    let report = audited(&lines, &keys);
    assert!(report.ok && report.complete, "{report:?}");
    assert_eq!((report.claims.compared, report.claims.not_compared), (6, 0));
    for lane in &report.lanes {
        let found = audited(&without(&lines, lane.lane, &lane.origin), &keys).findings;
        let is_missed = |it: &Finding| matches!(it, Finding::LaneMissing { origin, .. } if *origin == lane.origin);
        assert!(found.iter().all(is_missed) && found.len() == 1, "{found:?}");
    }
}

#[tokio::test]
async fn a_lane_that_is_gone_from_the_store_is_missed_by_fsck() {
    for (sql, said) in [
        ("DELETE FROM lane WHERE lane = 2", "which is not there"),
        ("UPDATE lane SET next = 0 WHERE lane = 2", "which has 0"),
    ] {
        let stage = Stage::two().await;
        stage.turn(Duration::ZERO).await;
        assert_eq!(stage.fsck().await["ok"], true);
        stage.nodes[0].tampered_with(
            "DELETE FROM event WHERE lane = 2; DELETE FROM checkpoint WHERE lane = 2; \
             DELETE FROM tile WHERE lane = 2",
        );
        stage.nodes[0].tampered_with(sql);
        let report = stage.fsck().await;
        let findings = report["findings"].as_array().expect("findings");
        let told: Vec<_> = findings.iter().filter_map(Value::as_str).collect();
        let found = |by: &str| told.iter().any(|it| it.starts_with(by) && it.contains(said));
        assert!(found("lane 0: leaf ") && found("lane 1: leaf "), "{report}");
    }
}

#[tokio::test]
async fn a_log_of_one_lane_says_nothing_of_lanes_also_when_it_was_restored() {
    let world = TestWorld::new(84).await;
    let scene = world.scene().await;
    let turns = async |world: &TestWorld| {
        for _ in 0..3 {
            world.token(&scene.org, &scene.client, &[("scope", "crm:read")]).await;
            world.clock.advance(CHECKPOINTED_EVERY);
            jobs::integrate_all(&world.server).await;
            jobs::checkpointed_all(&world.server).await;
        }
        crate::events(world, &scene.org, CHECKPOINTED).await.len()
    };
    assert_eq!(turns(&world).await, 0);
    let world = world.restored(&scene.org, 85).await;
    assert_eq!(turns(&world).await, 0, "the closed lane is told of by the event that closed it");
    let checked = world.admin(&scene.org, "POST", "/v1/log/fsck", None).await.expect(200).json();
    assert_eq!((&checked["ok"], &checked["claims"]), (&true.into(), &1.into()), "{checked}");
}

#[tokio::test]
async fn a_process_that_begins_anew_knows_from_the_log_what_was_told() {
    let Stage { mut nodes, org, id } = Stage::one().await;
    let stage = Stage { nodes: vec![nodes.remove(0)], org, id };
    stage.turn(Duration::ZERO).await;
    assert_eq!(stage.times().await, [1, 1]);
    let Stage { mut nodes, org, id } = stage;
    let stage = Stage { nodes: vec![nodes.remove(0).reopened(86).await], org, id };
    stage.nodes[0].tenant(&stage.org).await;
    for _ in 0..3 {
        stage.turn(CHECKPOINTED_EVERY).await;
    }
    assert_eq!(stage.times().await, [1, 1], "nothing has happened since");
}

#[tokio::test]
async fn what_lanes_told_of_each_other_is_not_pruned() {
    let stage = Stage::one().await;
    stage.turn(Duration::ZERO).await;
    let (node, day) = (&stage.nodes[0], Duration::from_hours(24));
    stage.turn(day * 2).await;
    let body = serde_json::json!({"older_than": day.as_secs()});
    let pruned = node.admin(&stage.org, "POST", "/v1/log/prune", Some(body)).await;
    let pruned = pruned.expect(200).json();
    assert!(pruned["pruned"].as_u64().is_some_and(|count| count > 2), "{pruned}");
    assert_eq!(stage.times().await, [1, 1], "and each says what it said");
    let first = &stage.leaves(0).await[0];
    assert!(matches!(first.body, LeafBody::Pruned { .. }), "{first:?}");
    let (lines, keys) = stage.export().await;
    let report = audited(&lines, &keys);
    assert!(report.ok && report.complete, "{report:?}");
    assert_eq!(stage.fsck().await["ok"], true);
}
