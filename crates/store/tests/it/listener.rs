//! The roots by which the listener speaks TLS: of whoever makes or changes them at the same time, one
//! does.

use accredit_domain::ca::listener::Roots;
use accredit_domain::ports::{CommitError, ListenerRoots as _, Replaced, Store as _};

use crate::given::{World, installation, listener_roots};

async fn replace(world: &World, seen: Option<&Roots>, by: &Roots) -> bool {
    let replaced = Replaced { seen: seen.map(Roots::ids), by: by.clone() };
    match world.store.replace_listener_roots(replaced).await {
        Ok(()) => true,
        Err(CommitError::Stale) => false,
        Err(other) => panic!("{other:?}"),
    }
}

async fn found(world: &World) -> Option<Roots> {
    world.store.listener_roots().await.expect("read")
}

/// Everything of the roots that is kept.
fn texts(roots: &Roots) -> String {
    format!("{roots:?}")
}

#[tokio::test]
async fn roots_take_the_place_of_those_that_were_seen_and_of_no_others() {
    let world = World::new().await;
    let [first, second, third] = [1, 2, 3].map(listener_roots);
    assert!(!replace(&world, None, &first).await, "nobody has said under which root key");
    world.store.found(installation()).await.expect("founded");
    assert!(found(&world).await.is_none());
    assert!(!replace(&world, Some(&first), &second).await, "there are none yet");
    assert!(replace(&world, None, &first).await);
    assert!(!replace(&world, None, &second).await, "somebody was faster");
    assert_eq!(texts(&found(&world).await.expect("there")), texts(&first));

    // The one that was next signs, and another is next.
    let moved = Roots { active: first.next.clone(), next: second.next.clone() };
    assert!(replace(&world, Some(&first), &moved).await);
    assert!(!replace(&world, Some(&first), &third).await, "others are there by now");
    let half = Roots { active: moved.active.clone(), next: third.next.clone() };
    assert!(!replace(&world, Some(&half), &third).await, "one of both is another");
    let world = world.reopened();
    assert_eq!(texts(&found(&world).await.expect("there")), texts(&moved));
}

#[tokio::test]
async fn roots_that_are_wrapped_under_another_root_key_are_not_written() {
    let world = World::new().await;
    world.store.found(installation()).await.expect("founded");
    let mut late = listener_roots(1);
    late.next.key.root = 2;
    assert!(!replace(&world, None, &late).await);
    assert!(found(&world).await.is_none(), "nor the other one of both");
}
