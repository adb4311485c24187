//! The file: what was answered is there after reopening, one process holds it, no secret is in it.

use accredit_domain::keys::KeyPurpose;
use accredit_domain::ports::{
    Installation, Ledger as _, Lookup, NotRecorded, Registry as _, Revocations as _, Row,
    Store as _,
};
use accredit_domain::registry::credential::{Holder, Proof};
use accredit_domain::vault::WrappedPepper;
use accredit_store::{Options, SqlStore};
use accredit_wire::api_key::{ApiKey, SecretKind};
use accredit_wire::crypto::MacKey;
use std::sync::Arc;

use crate::given::{NOW, World, issue, secret, signing_key, single_use};
use crate::log::check_chain;

pub(crate) fn installation() -> Installation {
    let peppers = vec![
        WrappedPepper { version: 1, wrapped: vec![1; 60] },
        WrappedPepper { version: 2, wrapped: vec![2; 60] },
    ];
    Installation { peppers, root: 1, public_url: "https://id.example".to_owned() }
}

#[tokio::test]
async fn an_installation_is_founded_once() {
    let world = World::new().await;
    assert!(world.store.installation().await.expect("read").is_none());
    world.store.found(installation()).await.expect("founded");
    assert!(world.store.found(installation()).await.is_err());
    let found = world.store.installation().await.expect("read").expect("there");
    assert_eq!(found.public_url, "https://id.example");
    let kept: Vec<_> = found.peppers.iter().map(|p| (p.version, p.wrapped.clone())).collect();
    assert_eq!(kept, [(1, vec![1; 60]), (2, vec![2; 60])]);
}

#[tokio::test]
async fn everything_that_was_answered_is_there_after_reopening() {
    let world = World::new().await;
    world.store.found(installation()).await.expect("founded");
    let agent = world.agent("a").await;
    let value = single_use(agent.id.any(), 1);
    world.issue(vec![agent.id.any()], 0, Some(value.clone())).await.expect("issued");
    world.revoke(agent.id.any(), vec![Row::Key(signing_key(world.org, KeyPurpose::Log))]).await;
    let before = check_chain(&world.store, world.org).await;

    let world = world.reopened();
    assert!(world.store.installation().await.expect("read").is_some());
    let after = check_chain(&world.store, world.org).await;
    assert_eq!(
        after.iter().map(|leaf| leaf.hash).collect::<Vec<_>>(),
        before.iter().map(|leaf| leaf.hash).collect::<Vec<_>>()
    );
    assert!(world.store.agent(world.org, Lookup::Id(agent.id), NOW).await.expect("read").is_some());
    assert_eq!(world.store.signing_keys(world.org).await.expect("read").len(), 1);
    assert_eq!(world.store.revocations_after(world.org, 0, NOW).await.expect("read").len(), 1);
    let overtaken = world.issue(vec![agent.id.any()], 0, None).await;
    assert!(matches!(overtaken, Err(NotRecorded::Overtaken(_))), "the fence is kept");
    let replayed = world.issue(vec![agent.id.any()], 1, Some(value)).await;
    assert!(matches!(replayed, Err(NotRecorded::Replayed)), "what was used up is kept");
    world.issue(vec![agent.id.any()], 1, None).await.expect("issued");
    assert_eq!(check_chain(&world.store, world.org).await.len(), before.len() + 1);
}

#[tokio::test]
async fn a_second_store_on_one_file_is_refused_until_the_first_is_gone() {
    let World { store, folder, .. } = World::new().await;
    let path = folder.path().join("accredit.db");
    let second = SqlStore::open(&path, &Options::default());
    assert!(second.err().expect("refused").to_string().contains("in use by another process"));
    drop(store);
    SqlStore::open(&path, &Options::default()).expect("free again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_writes_what_waits_and_refuses_what_comes() {
    let world = World::new().await;
    let agent = world.agent("a").await.id.any();
    let tasks: Vec<_> = (0..200)
        .map(|_| {
            let (store, org) = (Arc::clone(&world.store), world.org);
            tokio::spawn(async move { issue(&store, org, vec![agent], 0, None).await.is_ok() })
        })
        .collect();
    let store = Arc::clone(&world.store);
    tokio::task::spawn_blocking(move || store.close()).await.expect("closed");
    let mut recorded = 0;
    for task in tasks {
        recorded += usize::from(task.await.expect("answered, one way or the other"));
    }
    assert!(world.issue(vec![agent], 0, None).await.is_err());
    assert!(world.store.check().await.is_err(), "a closed store is not ready");
    assert!(world.store.signing_keys(world.org).await.is_err());
    let world = world.reopened();
    let leaves = check_chain(&world.store, world.org).await;
    let issued = leaves.iter().filter(|leaf| leaf.kind == "token.issued").count();
    assert_eq!(issued, recorded, "each answered yes is there, and nothing else");
    world.store.check().await.expect("ready");
}

#[tokio::test]
async fn a_secret_is_nowhere_in_the_files() {
    let world = World::new().await;
    let agent = world.agent("a").await;
    let mut credential = secret(Holder::Agent(agent.id));
    let text = ApiKey::new(SecretKind::Agent, credential.id, [0xa5; 32]);
    let mac = MacKey::new(&[3; 32]).mac(text.expose().as_bytes());
    credential.proof = Proof::Secret { pepper: 1, mac };
    world.commit(vec![Row::Credential(credential.clone())]).await.expect("committed");
    world.store.record_uses(Vec::new()).await.expect("nothing to write");
    let bytes: Vec<u8> = std::fs::read_dir(world.folder.path())
        .expect("the folder")
        .flat_map(|entry| std::fs::read(entry.expect("a file").path()).expect("its bytes"))
        .collect();
    let holds = |wanted: &[u8]| bytes.windows(wanted.len()).any(|window| window == wanted);
    assert!(holds(credential.id.to_string().as_bytes()), "the row is in these files");
    assert!(holds(&mac));
    let secret_part = text.expose().split('_').nth(3).expect("the secret").to_owned();
    assert_eq!(secret_part.len(), 52);
    assert!(!holds(secret_part.as_bytes()));
    assert!(!holds(&[0xa5; 32]));
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_may_read_the_files() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new().await;
    for entry in std::fs::read_dir(world.folder.path()).expect("the folder") {
        let entry = entry.expect("a file");
        let mode = entry.metadata().expect("its metadata").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", entry.path().display());
    }
}

fn raw(folder: &tempfile::TempDir, sql: &str) {
    let path = folder.path().join("accredit.db");
    let conn = rusqlite::Connection::open(path).expect("the file");
    conn.execute_batch(sql).expect("changed");
}

#[tokio::test]
async fn a_store_of_a_newer_version_is_refused_by_name() {
    let World { store, folder, .. } = World::new().await;
    drop(store);
    raw(&folder, "INSERT INTO schema_migration VALUES (1000, 'next', 'ff', '9.1.0')");
    let refused = SqlStore::open(&folder.path().join("accredit.db"), &Options::default());
    let why = refused.err().expect("refused").to_string();
    assert!(why.contains("9.1.0"), "{why}");
}

#[tokio::test]
async fn a_migration_that_ran_with_another_text_is_refused() {
    let World { store, folder, .. } = World::new().await;
    drop(store);
    raw(&folder, "UPDATE schema_migration SET hash = 'ff'");
    let refused = SqlStore::open(&folder.path().join("accredit.db"), &Options::default());
    let why = refused.err().expect("refused").to_string();
    assert!(why.contains("another text"), "{why}");
}

#[tokio::test]
async fn a_lane_that_was_moved_behind_the_writers_back_is_taken_up_where_it_stands() {
    let world = World::new().await;
    let agent = world.agent("a").await.id.any();
    world.issue(vec![agent], 0, None).await.expect("issued");
    // As after a revocation by another writer: the head in memory is behind its row.
    raw(&world.folder, "UPDATE lane SET fence = 1; UPDATE organization SET rev = 1;");
    let nothing_newer = world.issue(vec![agent], 1, None).await;
    assert!(nothing_newer.is_err(), "the memory of the writer does not know 1 yet");
    world.issue(vec![agent], 0, None).await.expect("read again, nothing of it was revoked");
    world.issue(vec![agent], 1, None).await.expect("now it does");
    check_chain(&world.store, world.org).await;
}

/// Whether SQLite finds what a statement asks for by this index, in a store as it was opened.
#[tokio::test]
async fn what_one_holder_has_is_found_by_index() {
    let World { store, folder, .. } = World::new().await;
    drop(store);
    let conn = rusqlite::Connection::open(folder.path().join("accredit.db")).expect("the file");
    let plan = |sql: &str| {
        let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("a plan");
        let steps = statement.query_map([], |row| row.get::<_, String>(3)).expect("its steps");
        steps.map(|step| step.expect("a step")).collect::<Vec<_>>().join("; ")
    };
    for (rows, index) in [
        (
            "credential WHERE org = 'o' AND agent = 'a' AND agent > '' AND state = 'active'",
            "credential_of_agent",
        ),
        ("credential WHERE org = 'o' AND agent = 'a' AND kid = 'k'", "credential_agent_kid"),
        (
            "credential c WHERE c.org = 'o' AND c.agent = 'a' AND c.kid IS NOT NULL \
             AND (c.state = 'active' AND c.expires_at > 1)",
            "credential_agent_key",
        ),
        (
            "credential c WHERE c.org = 'o' AND c.agent = 'a' AND c.kid IS NOT NULL \
             AND NOT (c.state = 'active' AND c.expires_at > 1) ORDER BY c.expires_at DESC LIMIT 4",
            "credential_agent_key",
        ),
        ("agent a WHERE a.org = 'o' AND a.look_at <= 1 ORDER BY a.look_at LIMIT 250", "agent_look"),
        (
            "followed f WHERE f.org = 'o' AND f.due_at <= 1 ORDER BY f.due_at LIMIT 8",
            "followed_due",
        ),
        ("credential WHERE org = 'o' AND instance = 'i'", "credential_instance"),
        ("credential WHERE org = 'o' AND resource = 'r'", "credential_resource"),
        ("credential WHERE org = 'o' AND permissions IS NOT NULL AND id > 'i'", "credential_admin"),
        (
            "instance WHERE org = 'o' AND agent = 'a' AND agent > '' AND state = 'active'",
            "instance_of_agent",
        ),
        ("agent WHERE org = 'o' AND owner = 'p' AND state = 'active'", "agent_owner"),
        (
            "agent WHERE org = 'o' AND name >= 'a' AND name < 'b' AND ('' = '' OR state = '') \
             ORDER BY name DESC LIMIT 51",
            "sqlite_autoindex_agent_2",
        ),
        (
            "person WHERE org = 'o' AND email >= 'a' AND email < 'b' ORDER BY email LIMIT 51",
            "sqlite_autoindex_person_2",
        ),
        (
            "resource WHERE org = 'o' AND name >= 'a' AND name < 'b' ORDER BY name LIMIT 51",
            "sqlite_autoindex_resource_3",
        ),
    ] {
        let plan = plan(&format!("SELECT * FROM {rows}"));
        assert!(plan.contains(&format!("USING INDEX {index} ")), "{rows}: {plan}");
        assert!(!plan.contains("TEMP B-TREE"), "sorted in memory: {rows}: {plan}");
    }
}
