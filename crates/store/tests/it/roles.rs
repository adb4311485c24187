//! Administrators' and operators' keys as rows, and keys from before there were roles.

use accredit_domain::ports::{Page, Registry as _, Row};
use accredit_domain::registry::admin_key::AdminRole;
use accredit_domain::registry::credential::{AdminPermission, CredentialState, Holder};
use accredit_domain::registry::operator::OperatorKey;
use accredit_store::{Options, SqlStore};
use accredit_wire::crypto::sha256;
use accredit_wire::ids::{AgentId, CredentialId, OrganizationId};
use accredit_wire::time::Time;
use accredit_wire::tlog::Hash;
use std::time::Duration;

use crate::given::{NOW, World, found_organization, held_by, secret, unique};

/// A key that ends so many hours from now.
async fn key(world: &World, role: AdminRole, hours: u64) -> CredentialId {
    let mut key = secret(Holder::Admin(held_by(role)));
    key.expires_at = NOW.plus(Duration::from_hours(hours));
    world.commit(vec![Row::Credential(key.clone())]).await.expect("committed");
    key.id
}

#[tokio::test]
async fn administrators_keys_are_read_as_written_and_listed_apart() {
    let world = World::new().await;
    let agent = world.agent("bot").await;
    world.credential(Holder::Agent(agent.id)).await;
    let other = found_organization(&world.store, "other").await;
    let mut made = Vec::new();
    for role in AdminRole::ALL {
        let holder = Holder::Admin(held_by(role));
        let credential = world.credential(holder.clone()).await;
        let found = world.store.credential(world.org, credential.id).await.expect("read");
        assert_eq!(found.expect("there").holder, holder);
        made.push(credential.id);
    }
    let page = |limit, cursor| Page { limit, cursor, ..Page::default() };
    let ids = async |org, page| -> Vec<CredentialId> {
        let found = world.store.admin_keys(org, page).await.expect("read").items;
        found.into_iter().map(|row| row.id).collect()
    };
    assert_eq!(ids(world.org, page(10, None)).await, made);
    assert_eq!(ids(world.org, page(2, Some(made[0].to_string()))).await, made[1..3]);
    assert!(ids(other, page(10, None)).await.is_empty());
}

#[tokio::test]
async fn the_last_of_the_other_owners_counts_and_nobody_else() {
    let world = World::new().await;
    let until = async |apart| world.store.owners_until(world.org, apart).await.expect("read");
    let nobody = CredentialId::new(NOW.millis(), unique());
    assert_eq!(until(nobody).await, None);
    for role in [AdminRole::Security, AdminRole::Operator, AdminRole::Auditor] {
        key(&world, role, 100).await;
    }
    assert_eq!(until(nobody).await, None);
    let (early, late) =
        (key(&world, AdminRole::Owner, 1).await, key(&world, AdminRole::Owner, 50).await);
    let hours = |hours| Some(NOW.plus(Duration::from_hours(hours)));
    assert_eq!(until(nobody).await, hours(50));
    assert_eq!(until(early).await, hours(50));
    assert_eq!(until(late).await, hours(1));
    let mut ended = world.store.credential(world.org, late).await.expect("read").expect("there");
    ended.state = CredentialState::Revoked;
    world.commit(vec![Row::Credential(ended)]).await.expect("committed");
    assert_eq!(until(nobody).await, hours(1));
    let other = found_organization(&world.store, "other").await;
    assert_eq!(world.store.owners_until(other, nobody).await.expect("read"), None);
}

#[tokio::test]
async fn an_operators_key_is_in_no_organization_and_renewing_ends_all() {
    let world = World::new().await;
    let new = |tail: u8| OperatorKey {
        id: CredentialId::new(NOW.millis(), unique()),
        pepper: 1,
        mac: [tail; 32],
        revoked: false,
        created_at: NOW,
        expires_at: NOW.plus(Duration::from_hours(1)),
    };
    let (first, second) = (new(1), new(2));
    world.commit(vec![Row::Operator(first.clone())]).await.expect("committed");
    let found = world.store.operator_key(first.id).await.expect("read").expect("there");
    assert_eq!((found.mac, found.pepper, found.revoked), ([1; 32], 1, false));
    assert_eq!((found.created_at, found.expires_at), (first.created_at, first.expires_at));
    assert!(world.store.credential(world.org, first.id).await.expect("read").is_none());
    let rows = vec![Row::EndOperators, Row::Operator(second.clone())];
    assert_eq!(world.commit(rows).await.expect("committed").ended, 1);
    let world = world.reopened();
    for (id, revoked) in [(first.id, true), (second.id, false)] {
        let found = world.store.operator_key(id).await.expect("read").expect("there");
        assert_eq!(found.revoked, revoked);
    }
    assert!(
        world
            .store
            .operator_key(secret(Holder::Admin(held_by(AdminRole::Owner))).id)
            .await
            .expect("read")
            .is_none()
    );
}

#[tokio::test]
async fn keys_from_before_there_were_roles_are_their_owners() {
    const FIRST: &str = include_str!("../../migrations/sqlite/0001_first.sql");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("accredit.db");
    let (org, boot, own) = (
        OrganizationId::new(1, [1; 10]),
        CredentialId::new(1, [1; 10]),
        CredentialId::new(1, [2; 10]),
    );
    let conn = rusqlite::Connection::open(&path).expect("the file");
    let hash = Hash::new(sha256(FIRST.as_bytes()));
    conn.execute_batch(FIRST).expect("the first schema");
    conn.execute_batch(&format!(
        "CREATE TABLE schema_migration (version BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL,
         hash TEXT NOT NULL, written_by TEXT NOT NULL);
         INSERT INTO schema_migration VALUES (1, 'first', '{hash}', '0.1.0');
         INSERT INTO organization VALUES ('{org}', 'dev', NULL, 'i', 'active', 0, 1, 0, 1);"
    ))
    .expect("as it was");
    for (id, words) in
        [(boot, "read registry revoke audit organizations"), (own, "read registry revoke audit")]
    {
        conn.execute_batch(&format!(
            "INSERT INTO credential (org, id, permissions, pepper, mac, state, created_at,
             expires_at, version)
             VALUES ('{org}', '{id}', '{words}', 1, zeroblob(32), 'active', 0, 9, 1);
             INSERT INTO admin_key VALUES ('{id}', '{org}');"
        ))
        .expect("a key");
    }
    drop(conn);
    let store = SqlStore::open(&path, &Options::default()).expect("brought up to date");
    for (id, may_found) in [(boot, true), (own, false)] {
        let found = store.credential(org, id).await.expect("read").expect("there");
        let Holder::Admin(admin) = found.holder else { panic!("{:?}", found.holder) };
        assert_eq!((admin.role, admin.created_by), (AdminRole::Owner, None));
        for permission in AdminRole::Owner.permissions() {
            assert!(admin.permissions.contains(permission), "{permission:?}");
        }
        assert_eq!(admin.permissions.contains(&AdminPermission::Organizations), may_found);
        assert!(!admin.purpose.is_empty());
    }
    let until = store.owners_until(org, boot).await.expect("read");
    assert_eq!(until, Some(Time::from_micros(9)));
}

/// Two secrets of one agent from before secrets had a use: each gets one of its own, so that both
/// can be rotated.
#[tokio::test]
async fn secrets_from_before_there_were_uses_have_one_each() {
    const FIRST: &str = include_str!("../../migrations/sqlite/0001_first.sql");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("accredit.db");
    let org = OrganizationId::new(1, [1; 10]);
    let agent = AgentId::new(1, [1; 10]);
    let ids = [1, 2, 3].map(|n| CredentialId::new(n, [1; 10]));
    let conn = rusqlite::Connection::open(&path).expect("the file");
    let hash = Hash::new(sha256(FIRST.as_bytes()));
    conn.execute_batch(FIRST).expect("the first schema");
    conn.execute_batch(&format!(
        "CREATE TABLE schema_migration (version BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL,
         hash TEXT NOT NULL, written_by TEXT NOT NULL);
         INSERT INTO schema_migration VALUES (1, 'first', '{hash}', '0.1.0');
         INSERT INTO organization VALUES ('{org}', 'dev', NULL, 'i', 'active', 0, 1, 0, 1);
         INSERT INTO agent (org, id, name, environment, state, permissions, may_delegate,
         token_lifetime, review_due_at, created_at, version)
         VALUES ('{org}', '{agent}', 'bot', 'dev', 'active', '[]', 0, 300, 0, 0, 1);"
    ))
    .expect("as it was");
    for (id, state) in ids.iter().zip(["active", "active", "revoked"]) {
        conn.execute_batch(&format!(
            "INSERT INTO credential (org, id, agent, pepper, mac, state, created_at, expires_at,
             version) VALUES ('{org}', '{id}', '{agent}', 1, zeroblob(32), '{state}', 0, 9, 1);"
        ))
        .expect("a secret");
    }
    drop(conn);
    let store = SqlStore::open(&path, &Options::default()).expect("brought up to date");
    let uses = async |at| {
        let at = Time::from_micros(at);
        let found = store.uses_of(org, agent.any(), at, 9).await.expect("read");
        found.into_iter().map(|(name, id)| (name.to_string(), id)).collect::<Vec<_>>()
    };
    let both = [("default".to_owned(), ids[1]), ("default-2".to_owned(), ids[0])];
    assert_eq!(uses(8).await, both);
    assert!(uses(9).await.is_empty());
    for (name, id) in both {
        let found = store.credential(org, id).await.expect("read").expect("there");
        assert_eq!(found.r#use.as_str(), name);
    }
}
