//! Another root key: all of what is wrapped is replaced, or nothing.

use accredit_domain::keys::KeyPurpose;
use accredit_domain::ports::{Row, Store as _};
use accredit_domain::vault::WrappedPepper;
use accredit_store::Rewrapped;

use crate::file::installation;
use crate::given::{World, found_organization, signing_key};

#[tokio::test]
async fn everything_is_rewrapped_in_all_organizations_or_nothing_is() {
    let world = World::new().await;
    let founded = installation();
    world.store.found(founded.clone()).await.expect("founded");
    let other = found_organization(&world.store, "other").await;
    for org in [world.org, other] {
        let rows = KeyPurpose::ALL.map(|purpose| Row::Key(signing_key(org, purpose)));
        crate::given::commit(&world.store, org, rows.to_vec(), None).await.expect("committed");
    }
    let before = world.store.all_signing_keys().await.expect("read");
    assert_eq!(before.len(), 6);
    let mut keys = before.clone();
    for key in &mut keys {
        key.wrapped = vec![9; 40];
    }
    let again = |pepper: &WrappedPepper| WrappedPepper { wrapped: vec![8; 40], ..pepper.clone() };
    let peppers: Vec<_> = founded.peppers.iter().map(again).collect();

    // A key too few, an unknown one, no pepper: nothing of it is written.
    let few = Rewrapped { peppers: peppers.clone(), keys: keys[1..].to_vec() };
    let mut unknown = Rewrapped { peppers: peppers.clone(), keys: keys.clone() };
    unknown.keys[5].org = world.org;
    let bare = Rewrapped { peppers: Vec::new(), keys: keys.clone() };
    for wrong in [few, unknown, bare] {
        assert!(world.store.rewrap(wrong).await.is_err());
        let kept = world.store.all_signing_keys().await.expect("read");
        let same = kept.iter().zip(&before).all(|(kept, before)| kept.wrapped == before.wrapped);
        assert!(same, "something was written");
        let found = world.store.installation().await.expect("read").expect("founded");
        assert_eq!(found.peppers[0].wrapped, founded.peppers[0].wrapped);
    }

    world.store.rewrap(Rewrapped { peppers, keys }).await.expect("rewrapped");
    let world = world.reopened();
    let keys = world.store.all_signing_keys().await.expect("read");
    assert!(keys.iter().all(|key| key.wrapped == vec![9; 40]));
    let found = world.store.installation().await.expect("read").expect("founded");
    assert!(found.peppers.iter().all(|pepper| pepper.wrapped == vec![8; 40]));
}
