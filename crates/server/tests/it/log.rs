//! RFC 6962, C2SP tlog-tiles: the log from outside hashes to what was signed.

use accredit_domain::audit::integrate;
use accredit_domain::keys::rotation::LOG_KEY_RETIRING;
use accredit_domain::ports::Integrated;
use accredit_domain::ports::LeafBody;
use accredit_domain::registry::credential::AdminPermission;
use accredit_server::jobs;
use accredit_testkit::fixture::Scene;
use accredit_testkit::{Ask, TestWorld};
use accredit_wire::oauth::metadata::Metadata;
use accredit_wire::tlog::checkpoint::{self, Checkpoint};
use accredit_wire::tlog::export::{Auditor, Report};
use accredit_wire::tlog::leaf::Entry;
use accredit_wire::tlog::note::Vkey;
use accredit_wire::tlog::proof::{ConsistencyProof, InclusionProof};
use accredit_wire::tlog::succession;
use accredit_wire::tlog::tile::decode_bundle;
use accredit_wire::tlog::tree::{entry_hash, root};
use accredit_wire::tlog::{HASH_LEN, Hash};
use serde_json::json;

/// Seconds of a day.
const DAY: u64 = 86_400;

/// A log of a bit more than one full tile, and the checkpoints on the way.
async fn begin() -> (TestWorld, Scene, Vec<Checkpoint>) {
    let world = TestWorld::new(10).await;
    let scene = world.scene().await;
    let mut checkpoints = Vec::new();
    for tokens in [1, 0, 90, 80, 100] {
        for _ in 0..tokens {
            world.token(&scene.org, &scene.client, &[("scope", "crm:read")]).await.expect(200);
        }
        world.advance(1);
        jobs::integrate_all(&world.server).await;
        checkpoints.push(checkpoint(&world, &scene).await);
    }
    (world, scene, checkpoints)
}

async fn vkey(world: &TestWorld, scene: &Scene) -> Vkey {
    let lanes = world.admin(&scene.org, "GET", "/v1/log", None).await.expect(200).json();
    assert_eq!(lanes["lanes"][0]["origin"], "id.example/o/acme/log/g1l0");
    lanes["lanes"][0]["key"].as_str().expect("a key").parse().expect("a verifier key")
}

fn log(scene: &Scene, rest: &str) -> Ask {
    Ask::get(scene.org.path(&format!("/log/g1l0/{rest}"))).bearer(&scene.org.admin)
}

async fn checkpoint(world: &TestWorld, scene: &Scene) -> Checkpoint {
    let note = world.ask(log(scene, "checkpoint")).await.expect(200);
    let vkeys = [vkey(world, scene).await];
    checkpoint::open(&note.body, &vkeys).expect("a signed checkpoint")
}

/// The leaf hashes, from the tiles of level 0.
async fn leaves(world: &TestWorld, scene: &Scene, size: u64) -> Vec<Hash> {
    let mut leaves = Vec::new();
    for (index, width) in [(0, size.min(256)), (1, size.saturating_sub(256))] {
        let partial = if width < 256 { format!(".p/{width}") } else { String::new() };
        let tile = world.ask(log(scene, &format!("tile/0/{index:03}{partial}"))).await.expect(200);
        leaves.extend(tile.body.chunks(HASH_LEN).map(|hash| Hash::from_slice(hash).expect("32")));
    }
    leaves
}

#[tokio::test]
async fn entries_hash_to_tiles_and_tiles_to_the_signed_root() {
    let (world, scene, checkpoints) = begin().await;
    let last = checkpoints.last().expect("a checkpoint");
    assert!(last.size > 256 && last.size < 512, "{}", last.size);
    let leaves = leaves(&world, &scene, last.size).await;
    assert_eq!(leaves.len() as u64, last.size);
    assert_eq!(root(&leaves), last.root);
    for checkpoint in &checkpoints {
        let size = usize::try_from(checkpoint.size).expect("small");
        assert_eq!(root(&leaves[..size]), checkpoint.root, "size {size}");
    }
    let (mut previous, mut sequence) = (Hash::ZERO, 0);
    for (index, width) in [("000", 256), ("001", last.size - 256)] {
        let partial = if width < 256 { format!(".p/{width}") } else { String::new() };
        let path = format!("tile/entries/{index}{partial}");
        let bundle = world.ask(log(&scene, &path)).await.expect(200);
        for bytes in decode_bundle(&bundle.body).expect("a bundle") {
            let entry = Entry::decode(bytes).expect("an entry");
            assert_eq!(entry.sequence, sequence);
            assert_eq!(entry.previous, previous, "leaf {sequence}");
            previous = entry_hash(bytes);
            assert_eq!(previous, leaves[usize::try_from(sequence).expect("small")]);
            sequence += 1;
        }
    }
    assert_eq!(sequence, last.size);
    // Level 1 holds the one full tile's root.
    let upper = world.ask(log(&scene, "tile/1/000.p/1")).await.expect(200);
    assert_eq!(Hash::from_slice(&upper.body), Some(root(&leaves[..256])));
}

#[tokio::test]
async fn proofs_lead_to_the_signed_roots() {
    let (world, scene, checkpoints) = begin().await;
    let last = checkpoints.last().expect("a checkpoint");
    let leaves = leaves(&world, &scene, last.size).await;
    for checkpoint in &checkpoints {
        let size = checkpoint.size;
        for index in [0, 1, size / 2, size - 1] {
            let path = format!("inclusion?index={index}&size={size}");
            let answer = world.ask(log(&scene, &path)).await.expect(200);
            let proof: InclusionProof = serde_json::from_slice(&answer.body).expect("a proof");
            let leaf = &leaves[usize::try_from(index).expect("small")];
            proof.verify(leaf, &checkpoint.root).expect("included");
            let other = &leaves[usize::try_from((index + 1) % size).expect("small")];
            assert!(proof.verify(other, &checkpoint.root).is_err());
        }
        let path = format!("consistency?from={size}&to={}", last.size);
        let answer = world.ask(log(&scene, &path)).await.expect(200);
        let proof: ConsistencyProof = serde_json::from_slice(&answer.body).expect("a proof");
        proof.verify(&checkpoint.root, &last.root).expect("consistent");
        if size < last.size {
            assert!(proof.verify(&last.root, &last.root).is_err());
        }
    }
}

#[tokio::test]
async fn what_the_log_has_not_is_not_found_and_what_is_nonsense_is_refused() {
    let (world, scene, checkpoints) = begin().await;
    let size = checkpoints.last().expect("a checkpoint").size;
    for missing in [
        format!("inclusion?index=0&size={}", size + 1),
        format!("consistency?from=1&to={}", size + 1),
        "tile/0/002".to_owned(),
        "tile/0/001".to_owned(),
        "tile/5/000".to_owned(),
        "tile/9/000".to_owned(),
        "tile/0/1".to_owned(),
        "tile/0/000.p/0".to_owned(),
        "tile/0/000.p/256".to_owned(),
        "tile/0/../../secret".to_owned(),
        "tile/-1/000".to_owned(),
        format!("tile/0/001.p/{}", size - 256 + 1),
        format!("tile/entries/001.p/{}", size - 256 + 1),
    ] {
        let answer = world.ask(log(&scene, &missing)).await;
        assert_eq!(answer.status, 404, "{missing}: {}", answer.text());
    }
    for wrong in [
        "inclusion".to_owned(),
        "inclusion?index=x&size=5".to_owned(),
        format!("inclusion?index={size}&size={size}"),
        "inclusion?index=0&size=0".to_owned(),
        "consistency?from=5&to=4".to_owned(),
        "consistency?from=0&to=-1".to_owned(),
        "consistency?from=1".to_owned(),
    ] {
        let answer = world.ask(log(&scene, &wrong)).await;
        assert_eq!(answer.status, 400, "{wrong}: {}", answer.text());
    }
    // From the empty tree there is nothing to prove, or it is refused: never a fault.
    let answer = world.ask(log(&scene, "consistency?from=0&to=4")).await;
    assert!([200, 400].contains(&answer.status), "{}", answer.text());
    for log in ["g2l0", "g1l1", "g1", "x", "g1l0x", "g1l99999"] {
        let path = scene.org.path(&format!("/log/{log}/checkpoint"));
        let answer = world.ask(Ask::get(path).bearer(&scene.org.admin)).await;
        assert_eq!(answer.status, 404, "{log}: {}", answer.text());
    }
}

/// The verifier keys of all lanes that are published, each lane's active one first, and the
/// statements by which they follow one another.
async fn published(world: &TestWorld) -> (Vec<Vkey>, Vec<String>) {
    let metadata = world.ask(Ask::get("/o/acme/.well-known/openid-configuration")).await;
    let metadata: Metadata = serde_json::from_slice(&metadata.body).expect("metadata");
    let read = |key: &String| key.parse().expect("a verifier key");
    let keys = metadata.accredit_log_keys.iter().map(read).collect();
    (keys, metadata.accredit_log_key_statements)
}

async fn rotate_log_key(world: &TestWorld, scene: &Scene) -> serde_json::Value {
    let body = json!({"purpose": "log", "now": true});
    let path = "/v1/signing-keys/rotate";
    world.admin(&scene.org, "POST", path, Some(body)).await.expect(201).json()
}

/// By which of some keys the checkpoint that is served is signed.
async fn signers(world: &TestWorld, scene: &Scene, lane: &str, keys: &[Vkey]) -> Vec<bool> {
    let path = scene.org.path(&format!("/log/{lane}/checkpoint"));
    let note = world.ask(Ask::get(path).bearer(&scene.org.admin)).await.expect(200);
    let opens = |key: &Vkey| checkpoint::open(&note.body, std::slice::from_ref(key)).is_ok();
    keys.iter().map(opens).collect()
}

#[tokio::test]
async fn a_rotated_log_key_is_named_by_the_one_before_and_signs_every_lane() {
    let old = TestWorld::new(57).await;
    let scene = old.scene().await;
    jobs::integrate_all(&old.server).await;
    let (first, statements) = published(&old).await;
    assert_eq!((first.len(), statements.len()), (2, 1), "the active one and the next");
    let export = async |world: &TestWorld| {
        let exported = world.admin(&scene.org, "GET", "/v1/events/export", None).await;
        exported.expect(200).text().to_owned()
    };
    assert!(audited(&first[0], &export(&old).await).ok);

    // In a store that was restored, lane 0 is closed and grows no more.
    let world = old.copied(58).await.restored(&scene.org, 59).await;
    let answer = rotate_log_key(&world, &scene).await;
    assert_eq!(answer["active"]["purpose"], "log");
    rotate_log_key(&world, &scene).await;
    jobs::integrate_all(&world.server).await;
    let (keys, statements) = published(&world).await;
    assert_eq!((keys.len(), statements.len()), (2 * 4, 3));
    for (lane, origin) in
        [("g1l0", first[0].name().to_owned()), ("g2l1", first[0].name().replace("g1l0", "g2l1"))]
    {
        let of_lane: Vec<Vkey> = keys.iter().filter(|key| key.name() == origin).cloned().collect();
        assert_eq!(signers(&world, &scene, lane, &of_lane).await, [true; 4], "{lane}");
    }
    // Who knows the first key alone follows.
    let name = succession::log_name(&scene.org.issuer);
    let believed = succession::follow(&name, [first[0].key().clone()], &statements);
    assert_eq!(believed.len(), 4);
    assert!(keys.iter().all(|key| succession::is_among(key.key(), &believed)));
    let told = crate::events(&world, &scene.org, "key.rotated").await;
    assert_eq!(told[0]["payload"]["changes"]["statement"], json!(statements[0]));

    // A month later the first ones are gone. Whoever has them still verifies the whole log.
    world.clock.advance(LOG_KEY_RETIRING);
    jobs::rotate_all(&world.server).await;
    jobs::integrate_all(&world.server).await;
    let (now, _) = published(&world).await;
    assert_eq!(now.len(), 2 * 2);
    let of_lane: Vec<Vkey> =
        now.iter().filter(|key| key.name() == first[0].name()).cloned().collect();
    let text = export(&world).await;
    let report = {
        let other = Vkey::new(&first[0].name().replace("g1l0", "g2l1"), first[0].key());
        let mut auditor = Auditor::new(vec![first[0].clone(), other.expect("a key")]);
        text.lines().for_each(|line| auditor.line(line));
        auditor.finish()
    };
    assert!(report.ok && report.complete, "{report:?}");
    assert_eq!(signers(&world, &scene, "g1l0", &of_lane).await, [true; 2]);
    let checked = world.admin(&scene.org, "POST", "/v1/log/fsck", None).await.expect(200).json();
    assert_eq!(checked["ok"], true, "{checked}");
}

#[tokio::test]
async fn a_checkpoint_that_no_key_signed_is_not_signed_again() {
    let world = TestWorld::new(60).await;
    let scene = world.scene().await;
    jobs::integrate_all(&world.server).await;
    let tenant = world.tenant(&scene.org).await;
    let lanes = || world.world.store.lanes(tenant.id);
    let lane = lanes().await.expect("lanes").remove(0);
    // Somebody who has the store writes under the last checkpoint what they like.
    let note = lane.note.clone().expect("a checkpoint");
    let (text, _) = note.split_once("\n\n").expect("signatures");
    let forged = format!("{text}\n\n\u{2014} {} {}\n", tenant.origin(&lane), "AAAAAAAA");
    let again = Integrated { tiles: Vec::new(), size: lane.integrated, note: forged.clone() };
    world.world.store.integrate(tenant.id, 0, lane.integrated, again).await.expect("written");
    assert!(integrate::integrate(&world.world, &tenant).await.is_err());
    assert_eq!(lanes().await.expect("lanes")[0].note.as_ref(), Some(&forged));
}

fn audited(vkey: &Vkey, text: &str) -> Report {
    let mut auditor = Auditor::new(vec![vkey.clone()]);
    text.lines().for_each(|line| auditor.line(line));
    auditor.finish()
}

#[tokio::test]
async fn an_export_proves_itself_and_one_bent_byte_is_found() {
    let (world, scene, checkpoints) = begin().await;
    let exported = world.admin(&scene.org, "GET", "/v1/events/export", None).await.expect(200);
    let vkey = vkey(&world, &scene).await;
    let audit = |text: &str| audited(&vkey, text);
    let text = exported.text();
    let report = audit(text);
    assert!(report.ok, "{report:?}");
    assert_eq!(report.lanes[0].size, checkpoints.last().expect("one").size + 1, "and itself");
    let bent = text.replacen("\"decision\":\"allow\"", "\"decision\":\"allow \"", 1);
    assert_ne!(bent, text);
    assert!(!audit(&bent).ok);
    let mut lines: Vec<&str> = text.lines().collect();
    lines.remove(20);
    assert!(!audit(&lines.join("\n")).ok, "a dropped line");
    let events = crate::events(&world, &scene.org, "log.exported").await;
    assert_eq!(events.len(), 1, "exporting is an event");
    let report = world.ask(Ask::post("/v1/log/fsck").bearer(&scene.org.admin)).await.expect(200);
    assert_eq!(report.json()["ok"], true, "{}", report.text());
}

#[tokio::test]
async fn an_event_is_found_by_its_place_and_nowhere_else() {
    let (world, scene, _) = begin().await;
    let issued = crate::events(&world, &scene.org, "token.issued").await;
    let one = &issued[3];
    let id = one["id"].as_str().expect("an id");
    for key in [id.to_owned(), one["seq"].to_string()] {
        let path = format!("/v1/events/{key}");
        let found = world.admin(&scene.org, "GET", &path, None).await.expect(200).json();
        assert_eq!(found, *one);
    }
    // The same place at another time is another id, and none of ours.
    let (prefix, rest) = id.split_at(5);
    let bent = format!("{prefix}{}{}", &rest[..1], if rest[1..2] == *"1" { "2" } else { "1" });
    let bent = format!("{bent}{}", &rest[2..]);
    for missing in [&*bent, "999999", "x", "-1"] {
        let path = format!("/v1/events/{missing}");
        let answer = world.admin(&scene.org, "GET", &path, None).await;
        answer.problem(404, "not-found");
    }
    let after = format!("/v1/events?after={id}&limit=1");
    let next = world.admin(&scene.org, "GET", &after, None).await.expect(200).json();
    assert_eq!(next["items"][0]["seq"], one["seq"].as_u64().expect("a number") + 1);
}

#[tokio::test]
async fn the_log_of_an_organization_that_nobody_asks_for_is_integrated_too() {
    let world = TestWorld::new(77).await;
    world.found("quiet").await;
    let world = world.reopened(78).await;
    let sequenced = async || {
        jobs::integrate_all(&world.server).await;
        world.server.tenants.all().len()
    };
    assert_eq!(sequenced().await, 0, "nobody has asked");
    jobs::rotate_all(&world.server).await;
    assert_eq!(sequenced().await, 1);
    let quiet = &world.server.tenants.all()[0];
    let lanes = world.world.store.lanes(quiet.id).await.expect("read");
    assert!(lanes[0].sequenced > 0 && lanes[0].integrated == lanes[0].sequenced, "{lanes:?}");
}

#[tokio::test]
async fn what_old_events_say_is_deleted_and_the_log_verifies_as_before() {
    let (world, scene, checkpoints) = begin().await;
    let prune = async |key: &str, older_than: u64| {
        let ask = Ask::post("/v1/log/prune").bearer(key).json(&json!({"older_than": older_than}));
        world.ask(ask).await
    };
    let owner = scene.org.admin.clone();
    let auditor = world.admin_with(&scene.org, &[AdminPermission::Audit]).await;
    prune(&auditor, 7 * DAY).await.problem(403, "not-entitled");
    prune(&owner, DAY - 1).await.problem(400, "field-invalid");
    assert_eq!(prune(&owner, DAY).await.expect(200).json()["pruned"], 0, "all is young");
    world.advance(DAY + 60);
    let young = world.token(&scene.org, &scene.client, &[("scope", "crm:read")]).await;
    let young = young.expect(200).member("access_token");
    let old = crate::events(&world, &scene.org, "token.issued").await[0].clone();
    let told = prune(&owner, DAY).await.expect(200).json();
    let last = checkpoints.last().expect("one").size;
    assert!(told["pruned"].as_u64().is_some_and(|pruned| pruned >= last), "{told}");
    assert_eq!(told["more"], false);
    assert_eq!(prune(&owner, DAY).await.expect(200).json()["pruned"], 0, "nothing is left");
    // Where it ended is remembered: the next one does not read again what has no payload.
    let org = world.tenant(&scene.org).await.id;
    let lanes = world.world.store.lanes(org).await.expect("lanes");
    let first = world.world.store.leaves(org, 0, lanes[0].pruned - 1, 2).await.expect("leaves");
    assert!(lanes[0].pruned == told["pruned"], "{lanes:?}");
    assert!(matches!(first[0].body, LeafBody::Pruned { .. }), "the last that was deleted");
    assert!(matches!(first[1].body, LeafBody::Kept { .. }), "the first that was not");

    // What it said is nowhere any more, and everything that was signed still holds.
    let path = format!("/v1/events/{}", old["seq"]);
    let pruned = world.admin(&scene.org, "GET", &path, None).await.expect(200).json();
    assert_eq!((&pruned["id"], &pruned["leaf"]), (&old["id"], &old["leaf"]));
    assert!(pruned["payload"].is_null(), "{pruned}");
    let report = world.ask(Ask::post("/v1/log/fsck").bearer(&owner)).await.expect(200).json();
    assert_eq!(report["ok"], true, "{report}");
    let exported = world.admin(&scene.org, "GET", "/v1/events/export", None).await.expect(200);
    let token = old["payload"]["token"].as_str().expect("a token");
    assert!(!exported.text().contains(token));
    let jti = crate::claims(&young)["jti"].as_str().expect("its id").to_owned();
    assert!(exported.text().contains(&jti), "what is young is kept");
    let report = audited(&vkey(&world, &scene).await, exported.text());
    assert!(report.ok, "{report:?}");
    let told = crate::events(&world, &scene.org, "log.pruned").await;
    assert_eq!(told.len(), 3, "each time is an event");
    assert!(told[0]["payload"].is_null(), "the first has become old itself");
    assert!(told[1]["payload"]["changes"]["before"].is_string(), "{told:?}");
}
