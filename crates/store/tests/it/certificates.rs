//! Certificates as rows: written with the event or not at all, found until they are over, then gone.

use std::collections::BTreeSet;
use std::time::Duration;

use accredit_domain::audit::event::{Body, EventKind};
use accredit_domain::issuance::certificate::CERTIFICATES_OF_INSTANCE_MAX;
use accredit_domain::ports::{
    Audited, Certificates as _, Issuance, IssuedCertificate, Ledger as _, NotRecorded, Order, Page,
    Revocations as _, UsedUp,
};
use accredit_wire::ids::{AgentId, InstanceId, KeyId, TokenId};
use accredit_wire::jose::jwt::SKEW_MAX;
use accredit_wire::time::Time;
use accredit_wire::x509::dns_name::DnsName;

use crate::given::{NOW, World, event, found_organization, unique};
use crate::log::check_chain;

/// When they are over.
fn over() -> Time {
    NOW.plus(Duration::from_hours(1))
}

/// A certificate of an instance.
pub(crate) fn row(agent: AgentId, instance: InstanceId, unique: [u8; 10]) -> IssuedCertificate {
    let (id, key) = (TokenId::new(NOW.millis(), unique), KeyId::new(1, [4; 10]));
    let (mut serial, mut digest) = ([0xff; 16], [9; 32]);
    serial[6..].copy_from_slice(&unique);
    digest[..10].copy_from_slice(&unique);
    IssuedCertificate {
        id,
        agent,
        instance,
        key,
        spiffe_id: format!("spiffe://acme.example/agent/bot/instance/{instance}"),
        dns_names: BTreeSet::from([DnsName::parse("bot.acme.example").expect("a name")]),
        serial,
        digest,
        rev: 0,
        lineage: vec![agent.any(), instance.any(), key.any(), id.any()],
        created_at: NOW,
        expires_at: over(),
    }
}

pub(crate) async fn issue(world: &World, row: IssuedCertificate) -> Result<(), NotRecorded> {
    let issuance = Issuance {
        org: world.org,
        lineage: row.lineage.clone(),
        rev: row.rev,
        used_up: UsedUp::NOTHING,
        status: None,
        certificate: Some(Box::new(row)),
    };
    let issued = event(EventKind::CertificateIssued, Body::default());
    world.store.record_issuance(Audited::new(issuance, issued)).await
}

fn new() -> (AgentId, InstanceId) {
    (AgentId::new(1, unique()), InstanceId::new(1, unique()))
}

async fn listed(world: &World, page: Page) -> Vec<IssuedCertificate> {
    let page = Page { limit: 100, ..page };
    world.store.certificates(world.org, page).await.expect("a page").items
}

#[tokio::test]
async fn what_was_written_is_found_by_its_own_organization_alone() {
    let world = World::new().await;
    let ((agent, one), (other, two)) = (new(), new());
    let rows = [row(agent, one, unique()), row(agent, two, unique()), row(other, two, unique())];
    for row in &rows {
        issue(&world, row.clone()).await.expect("issued");
    }
    let stranger = found_organization(&world.store, "other").await;
    for row in &rows {
        let find = async |org| world.store.certificate(org, row.id).await.expect("read");
        assert_eq!(find(world.org).await.as_ref(), Some(row));
        assert_eq!(find(stranger).await, None);
        // By the certificate itself, of whom it names alone.
        let shown = async |org, instance, digest| {
            world.store.certificate_of(org, instance, digest).await.expect("read")
        };
        assert_eq!(shown(world.org, row.instance, row.digest).await.as_ref(), Some(row));
        let another = if row.instance == one { two } else { one };
        let mut forged = row.digest;
        forged[31] ^= 1;
        assert_eq!(shown(world.org, another, row.digest).await, None);
        assert_eq!(shown(world.org, row.instance, forged).await, None);
        assert_eq!(shown(stranger, row.instance, row.digest).await, None);
    }
    let all = Page { limit: 100, ..Page::default() };
    let strangers = world.store.certificates(stranger, all.clone()).await.expect("a page");
    assert!(strangers.items.is_empty());
    let by = |agent: Option<AgentId>, instance: Option<InstanceId>| Page {
        agent,
        instance,
        ..Page::default()
    };
    assert_eq!(listed(&world, all.clone()).await, rows);
    assert_eq!(listed(&world, by(Some(agent), None)).await, rows[..2]);
    assert_eq!(listed(&world, by(None, Some(two))).await, rows[1..]);
    assert_eq!(listed(&world, by(Some(other), Some(two))).await, rows[2..]);
    assert!(listed(&world, by(Some(other), Some(one))).await.is_empty());
    let newest = Page { order: Order::Newest, ..all.clone() };
    assert!(listed(&world, newest.clone()).await.into_iter().rev().eq(rows.clone()));
    // Page by page it is the same.
    let (mut walked, mut cursor) = (Vec::new(), None);
    loop {
        let page = Page { limit: 1, cursor, ..newest.clone() };
        let page = world.store.certificates(world.org, page).await.expect("a page");
        walked.extend(page.items);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert!(walked.into_iter().rev().eq(rows.clone()));
    let world = world.reopened();
    assert_eq!(listed(&world, all).await, rows);
}

#[tokio::test]
async fn a_certificate_that_was_overtaken_is_nowhere() {
    let world = World::new().await;
    let (agent, instance) = new();
    issue(&world, row(agent, instance, unique())).await.expect("issued");
    world.revoke(instance.any(), Vec::new()).await;
    let late = issue(&world, row(agent, instance, unique())).await;
    assert!(matches!(late, Err(NotRecorded::Overtaken(id)) if id == instance.any()), "{late:?}");
    let later = IssuedCertificate { rev: 1, ..row(agent, instance, unique()) };
    issue(&world, later).await.expect("decided after it");
    assert_eq!(listed(&world, Page::default()).await.len(), 2);
    let leaves = check_chain(&world.store, world.org).await;
    assert_eq!(leaves.iter().filter(|leaf| leaf.kind == "certificate.issued").count(), 2);
}

#[tokio::test]
async fn an_instance_has_room_for_so_many_that_are_not_over() {
    let world = World::new().await;
    let (agent, instance) = new();
    for _ in 0..CERTIFICATES_OF_INSTANCE_MAX {
        issue(&world, row(agent, instance, unique())).await.expect("issued");
    }
    let full = issue(&world, row(agent, instance, unique())).await;
    assert!(matches!(full, Err(NotRecorded::NoRoom)), "{full:?}");
    issue(&world, row(agent, new().1, unique())).await.expect("another instance has room");
    let later = IssuedCertificate { created_at: over(), ..row(agent, instance, unique()) };
    issue(&world, later).await.expect("those before are over");
    let leaves = check_chain(&world.store, world.org).await;
    let issued = leaves.iter().filter(|leaf| leaf.kind == "certificate.issued").count();
    assert_eq!(issued as u64, CERTIFICATES_OF_INSTANCE_MAX + 2, "no leaf of what was refused");
}

#[tokio::test]
async fn a_certificate_is_forgotten_when_no_verifier_takes_it_and_not_before() {
    let world = World::new().await;
    let (agent, instance) = new();
    let later = over().plus(Duration::from_secs(1));
    let kept = IssuedCertificate { expires_at: later, ..row(agent, instance, unique()) };
    for row in [row(agent, instance, unique()), kept.clone()] {
        issue(&world, row).await.expect("issued");
    }
    world.store.forget_before(over().plus(SKEW_MAX)).await.expect("forgotten");
    assert_eq!(listed(&world, Page::default()).await.len(), 2);
    world.store.forget_before(later.plus(SKEW_MAX)).await.expect("forgotten");
    assert_eq!(listed(&world, Page::default()).await, [kept]);
}

#[tokio::test]
async fn what_an_intermediate_signed_is_found_in_the_order_of_its_numbers_and_once() {
    let world = World::new().await;
    let (agent, instance) = new();
    let mut rows: Vec<_> = (0..5).map(|_| row(agent, instance, unique())).collect();
    // Each of them is of use as a number without a sign, the first byte above 0x7f or zero.
    rows[0].serial = [0; 16];
    let elsewhere =
        IssuedCertificate { key: KeyId::new(2, [5; 10]), ..row(agent, instance, unique()) };
    for row in rows.iter().chain([&elsewhere]) {
        issue(&world, row.clone()).await.expect("issued");
    }
    rows.sort_by_key(|row| row.serial);
    let (store, org, key) = (&world.store, world.org, rows[0].key);
    let (mut walked, mut after) = (Vec::new(), None);
    loop {
        let page = store.certificates_signed(org, key, after, 2).await.expect("read");
        after = page.last().map(|row| row.serial);
        walked.extend(page);
        if after.is_none() {
            break;
        }
    }
    assert_eq!(walked.len(), rows.len());
    for (signed, row) in walked.iter().zip(&rows) {
        assert_eq!(
            (signed.serial, signed.rev, &signed.lineage),
            (row.serial, row.rev, &row.lineage)
        );
        let found = store.certificate_numbered(org, key, row.serial).await.expect("read");
        assert_eq!(found.expect("a row").lineage, row.lineage);
    }
    let stranger = found_organization(&world.store, "other").await;
    let number = elsewhere.serial;
    for (org, key, number) in [(org, key, number), (stranger, key, rows[0].serial)] {
        assert!(store.certificate_numbered(org, key, number).await.expect("read").is_none());
    }
    assert!(store.certificates_signed(stranger, key, None, 9).await.expect("read").is_empty());
}

#[tokio::test]
async fn the_first_revocation_of_a_target_is_told_from_those_after_it() {
    let world = World::new().await;
    let (_, instance) = new();
    for _ in 0..3 {
        world.revoke(instance.any(), Vec::new()).await;
    }
    let first = async |after| {
        let found = world.store.first_revocation_after(world.org, instance.any(), after).await;
        found.expect("read").map(|entry| entry.rev)
    };
    assert_eq!([first(0).await, first(1).await, first(2).await], [Some(1), Some(2), Some(3)]);
    assert_eq!(first(3).await, None);
}
