//! A store goes from one engine to the other and back, with everything in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use accredit_domain::ports::{
    Certificates as _, Installation, Ledger as _, Lookup, Registry as _, Row, StatusLists as _,
    Store as _,
};
use accredit_domain::registry::credential::Holder;
use accredit_domain::vault::WrappedPepper;
use accredit_store::Options;
use accredit_store::copy::{copy_all, copy_still};
use accredit_store::place::Place;
use accredit_wire::ids::{AgentId, InstanceId, TokenId};

use crate::given::{NOW, World, issue, single_use, unique};
use crate::{certificates, server, status_lists};

fn database(folder: &tempfile::TempDir) -> Place {
    server::database_of(folder);
    let url = server::url_of(folder);
    Place::Database(Box::new(url.parse().expect("a URL")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_moves_to_a_file_and_back_and_what_was_used_stays_used() {
    let world = World::new().await;
    let agent = world.agent("planner").await;
    world.resource("crm").await;
    world.credential(Holder::Agent(agent.id)).await;
    world.instance(agent.id).await;
    let used = single_use(AgentId::new(1, [1; 10]).any(), 1);
    for hash in 1..=20 {
        let one = single_use(AgentId::new(1, [1; 10]).any(), hash);
        issue(&world.store, world.org, vec![agent.id.any()], 0, Some(one)).await.expect("issued");
    }
    let listed = status_lists::place(77);
    status_lists::issue(&world, &[agent.id.any()], 0, listed).await.expect("issued");
    let instance = InstanceId::new(1, [2; 10]);
    let certificate = certificates::row(agent.id, instance, [3; 10]);
    certificates::issue(&world, certificate.clone()).await.expect("issued");
    let World { store, org, folder } = world;
    store.close();
    let (middle, there) = (tempfile::tempdir().expect("one"), tempfile::tempdir().expect("one"));
    let file = Place::File(middle.path().join("accredit.db"));

    let out = copy_all(&database(&folder), &file).expect("copied");
    let counts = ["agent", "spent", "status_place", "certificate"].map(|table| out.rows_of(table));
    assert_eq!(counts, [1, 20, 1, 1], "{out:?}");
    let again = copy_all(&database(&folder), &file).expect_err("it is full").to_string();
    assert!(again.contains("must be empty"), "{again}");
    let embedded = file.open(&Options::default()).expect("a store");
    assert!(!embedded.consume_once(org, used.clone()).await.expect("asked"), "used there");
    assert!(embedded.agent(org, Lookup::Id(agent.id), NOW).await.expect("asked").is_some());
    let in_use = copy_all(&file, &database(&there)).expect_err("it is open").to_string();
    assert!(in_use.contains("in use"), "{in_use}");
    embedded.close();
    drop(embedded);

    let back = copy_all(&file, &database(&there)).expect("copied");
    assert_eq!(back, out);
    let store = database(&there).open(&Options::default()).expect("a store");
    assert!(!store.consume_once(org, used).await.expect("asked"), "used here too");
    let places = store.listed_tokens(org, status_lists::LIST, 0, 10).await.expect("read");
    assert_eq!(
        (places.len(), places[0].index, &*places[0].lineage),
        (1, 77, &[agent.id.any()][..])
    );
    let found = store.certificate(org, certificate.id).await.expect("read");
    assert_eq!(found, Some(certificate));
    let further = single_use(AgentId::new(1, [1; 10]).any(), 99);
    assert!(store.consume_once(org, further).await.expect("asked"), "another one is not");
    let lanes = accredit_domain::ports::Log::lanes(&*store, org).await.expect("lanes");
    assert!(lanes.iter().map(|lane| lane.sequenced).sum::<u64>() > 20);
    let rows = vec![Row::Agent(crate::given::agent("later", None))];
    crate::given::commit(&store, org, rows, None).await.expect("all goes on");
    store.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_that_is_written_to_while_it_is_copied_is_moved_nowhere() {
    let world = World::new().await;
    let peppers = vec![WrappedPepper { version: 1, wrapped: vec![1; 60] }];
    let public_url = "https://id.example".to_owned();
    world.store.found(Installation { peppers, root: 1, public_url }).await.expect("founded");
    let (stop, given) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (store, org) = (Arc::clone(&world.store), world.org);
    let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&given));
    let writer = tokio::spawn(async move {
        while !stopped.load(Ordering::SeqCst) {
            let lineage = vec![TokenId::new(1, unique()).any()];
            issue(&store, org, lineage, 0, None).await.expect("issued");
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    while given.load(Ordering::SeqCst) < 3 {
        tokio::task::yield_now().await;
    }
    let from = database(&world.folder);
    let folder = tempfile::tempdir().expect("one");
    let place = |name: &str| Place::File(folder.path().join(name));
    let copied = |name: &str, copy: fn(&Place, &Place) -> _| {
        let (from, to) = (from.clone(), place(name));
        tokio::task::spawn_blocking(move || copy(&from, &to))
    };
    let why = copied("moved", copy_still).await.expect("no panic").expect_err("it is served");
    assert!(why.to_string().contains("written to meanwhile"), "{why}");
    let moved = place("moved").open(&Options::default()).expect("a store");
    assert!(moved.installation().await.expect("read").is_none(), "nobody goes on from it");
    // What a backup needs is one moment, whoever goes on.
    copied("kept", copy_all).await.expect("no panic").expect("as of one moment");
    let kept = place("kept").open(&Options::default()).expect("a store");
    assert!(kept.installation().await.expect("read").is_some());
    stop.store(true, Ordering::SeqCst);
    writer.await.expect("no panic");
    copied("still", copy_still).await.expect("no panic").expect("nobody writes");
    let still = place("still").open(&Options::default()).expect("a store");
    assert!(still.installation().await.expect("read").is_some());
}
