//! What every log must be, whatever happened: one check for all tests.

use std::collections::BTreeMap;

use accredit_domain::ports::{Leaf, LeafBody};
use accredit_domain::revocation::Revocation;
use accredit_testkit::{Org, TestWorld};
use accredit_wire::time::Time;
use accredit_wire::tlog::Hash;
use accredit_wire::tlog::leaf::{leaf_hash, payload_digest};
use serde_json::Value;

/// An event as it was written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Written {
    pub(crate) kind: String,
    pub(crate) at: Time,
    pub(crate) payload: Value,
}

/// Every event of an organization, in order; their leaves chain without a gap.
pub(crate) async fn events(world: &TestWorld, org: &Org) -> Vec<Written> {
    let tenant = world.tenant(org).await;
    let (mut written, mut previous) = (Vec::new(), Hash::ZERO);
    loop {
        let from = written.len() as u64;
        let leaves = world.world.store.leaves(tenant.id, 0, from, 500).await.expect("leaves");
        if leaves.is_empty() {
            break;
        }
        for leaf in leaves {
            assert_eq!(leaf.sequence, written.len() as u64, "sequences are gapless");
            written.push(read(&leaf, &mut previous));
        }
    }
    let lanes = world.world.store.lanes(tenant.id).await.expect("lanes");
    assert_eq!(lanes[0].sequenced, written.len() as u64, "the head counts what is there");
    written
}

fn read(leaf: &Leaf, previous: &mut Hash) -> Written {
    let LeafBody::Kept { salt, payload } = &leaf.body else { panic!("nothing was pruned") };
    let digest = payload_digest(salt, payload.as_bytes());
    let hash = leaf_hash(leaf.sequence, previous, &leaf.kind, leaf.at, &digest);
    assert_eq!(hash, Hash::new(leaf.hash), "leaf {} follows the one before", leaf.sequence);
    *previous = hash;
    let payload = serde_json::from_str(payload).expect("JSON");
    Written { kind: leaf.kind.clone(), at: leaf.at, payload }
}

/// Every entry of the revocation graph, in order of `rev`.
pub(crate) async fn revocations(world: &TestWorld, org: &Org) -> Vec<Revocation> {
    let tenant = world.tenant(org).await;
    let all = world.world.store.revocations_after(tenant.id, 0, Time::default()).await;
    all.expect("revocations")
}

/// Checks the log against the tokens that left, by `jti`: one event each, and no other token;
/// `rev` gapless; no issuance written after a revocation that covers it and that it did not see.
pub(crate) async fn check(world: &TestWorld, org: &Org, left: &[String]) {
    let events = events(world, org).await;
    let tenant = world.tenant(org).await;
    let mut issued: BTreeMap<&str, usize> = BTreeMap::new();
    let mut ended: Vec<(&Revocation, usize)> = Vec::new();
    let revocations = revocations(world, org).await;
    for (n, entry) in revocations.iter().enumerate() {
        assert_eq!(entry.rev, n as u64 + 1, "`rev` is gapless");
    }
    assert_eq!(tenant.rev(), revocations.len() as u64);
    for (place, event) in events.iter().enumerate() {
        let rev = event.payload["rev"].as_u64();
        if event.kind == "token.issued" {
            let token = event.payload["token"].as_str().expect("a token");
            *issued.entry(token).or_default() += 1;
            let lineage = lineage(&event.payload, &tenant.id.to_string());
            let rev = rev.expect("a token says what it saw");
            for (entry, at) in &ended {
                let covered = lineage.contains(&entry.target.to_string()) && rev < entry.rev;
                assert!(!covered, "event {place} was overtaken at {at} by {entry:?}: {event:?}");
            }
        } else if let Some(rev) = rev {
            let entry = revocations.get(ended.len()).expect("an event for each entry, in order");
            assert_eq!(entry.rev, rev, "{event:?}");
            ended.push((entry, place));
        }
    }
    assert_eq!(ended.len(), revocations.len(), "an entry for each event");
    assert!(issued.values().all(|count| *count == 1), "a token has one event");
    for token in left {
        assert!(issued.contains_key(token.as_str()), "`{token}` left without an event");
    }
    assert_eq!(issued.len(), left.len(), "an event without a token");
}

/// What a token's event says it hangs on.
fn lineage(payload: &Value, org: &str) -> Vec<String> {
    let member = |value: &Value| value.as_str().map(str::to_owned);
    let names = ["credential", "instance", "key", "owner", "resource", "token"];
    let named = names.iter().filter_map(|name| member(&payload[*name]));
    named.chain(member(&payload["actor"]["id"])).chain([org.to_owned()]).collect()
}
