//! What nodes tell each other of those who follow them.

use accredit_domain::nodes::{Nodes as _, Telling, Told};

use crate::given::{World, found_organization};

fn told(node: &str, beat: u64, place: u64, word: &str) -> Told {
    Told { node: node.to_owned(), beat, place, word: word.to_owned() }
}

#[tokio::test]
async fn what_a_node_tells_is_read_by_organization_with_its_beat_until_it_is_forgotten() {
    let world = World::new().await;
    let (store, org) = (&world.store, world.org);
    let other = found_organization(store, "other").await;
    let tell = async |node: &str, place: u64, words: &[(_, &str)]| {
        let words = words.iter().map(|(org, word)| (*org, (*word).to_owned())).collect();
        let telling = Telling { node: node.to_owned(), place, words };
        store.tell(telling).await.expect("told");
    };
    let read = async |org| store.told(org).await.expect("read");
    assert!(read(None).await.is_empty());
    tell("a", 7, &[(org, "of the first"), (other, "of the other")]).await;
    tell("b", 9, &[]).await;
    assert_eq!(read(Some(org)).await, [told("a", 1, 7, "of the first"), told("b", 1, 9, "")]);
    assert_eq!(read(Some(other)).await, [told("a", 1, 7, "of the other"), told("b", 1, 9, "")]);
    assert_eq!(read(None).await, [told("a", 1, 7, ""), told("b", 1, 9, "")]);
    // A word stands until there is another one, and an empty one is none.
    tell("a", 8, &[(other, "another")]).await;
    tell("a", 8, &[(other, "")]).await;
    assert_eq!(read(Some(org)).await[0], told("a", 3, 8, "of the first"));
    assert_eq!(read(Some(other)).await[0], told("a", 3, 8, ""));
    store.forget_node("a".to_owned()).await.expect("forgotten");
    assert_eq!(read(Some(org)).await, [told("b", 1, 9, "")]);
    tell("a", 1, &[]).await;
    assert_eq!(read(Some(org)).await, [told("a", 1, 1, ""), told("b", 1, 9, "")]);
}
