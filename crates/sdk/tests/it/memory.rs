//! What a Verifier takes for a million revoked ids: measured as the system counts it, in a process
//! that does nothing else.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use accredit::Verifier;
use accredit_wire::revocations::Follower;

use crate::issuer::{AUDIENCE, Issuer};

const MANY: u64 = 1_000_000;

/// Bytes at the peak: loading, deltas, a second snapshot and the files included.
const BYTES_MAX: u64 = 64_000_000;

/// Deltas that come one by one, and what each ends.
const DELTAS: u64 = 200;
const OF_EACH: u64 = 100;

/// What is missed then, so that all of it is fetched again.
const MISSED: u64 = 5_000;

/// The counter after all of that; it begins at 1.
const LAST: u64 = 1 + MANY + DELTAS * OF_EACH + MISSED;

/// The name of the child's test, and what it is told by.
const CHILD: &str = "memory::follows_in_a_process_of_its_own";
const ISSUERS: [&str; 2] = ["MEMORY_TEST_SMALL", "MEMORY_TEST_LARGE"];

async fn wait(what: &str, done: impl Fn() -> bool) {
    for _ in 0..3000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("waited in vain: {what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_revoked_ids_take_less_than_64_mb_at_the_peak() {
    let (small, large) = (Issuer::start().await, Issuer::start().await);
    large.revoke_many(0, MANY);
    let child = Command::new(std::env::current_exe().expect("this program"))
        .args([CHILD, "--exact", "--ignored", "--nocapture"])
        .envs(ISSUERS.into_iter().zip([small.url(), large.url()]))
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child");
    let asked = |rev: u64| {
        let introduced = large.inner().introduced.lock().expect("not poisoned");
        introduced.iter().any(|query| query.contains(&format!("rev={rev}&")))
    };
    wait("the million", || asked(1 + MANY)).await;
    let mut rev = 1 + MANY;
    for _ in 0..DELTAS {
        large.revoke_many(rev, OF_EACH);
        large.tell(rev);
        rev += OF_EACH;
    }
    wait("the deltas", || large.acknowledged().contains(&rev)).await;
    large.revoke_many(rev, MISSED);
    wait("all of it again", || large.acknowledged().contains(&LAST)).await;
    let out = tokio::task::spawn_blocking(|| child.wait_with_output()).await.expect("waited");
    let out = out.expect("its output");
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{text}");
    let said = |name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|number| number.trim().parse().ok()).expect("a number")
    };
    assert!(said("entries:") >= LAST - 1, "what came before a snapshot counts twice");
    let bytes = said("bytes:");
    println!("{bytes} bytes, {} for each id", bytes / (LAST - 1));
    assert!(bytes < BYTES_MAX, "{bytes} bytes at the peak");
    // Less than the ids themselves would be a mistake of this test.
    assert!(bytes > 16 * MANY, "{bytes} bytes at the peak");
}

#[tokio::test]
#[ignore = "the other test runs it"]
async fn follows_in_a_process_of_its_own() {
    let [small, large] = ISSUERS.map(|name| std::env::var(name).expect("run by the other test"));
    let connect = async |issuer: &str, folder: &std::path::Path| {
        let builder = Verifier::builder(issuer, AUDIENCE).credential(Issuer::credential());
        let builder = builder.age_max(Duration::from_mins(2)).state_dir(folder);
        builder.connect().await.expect("a verifier")
    };
    let folder = tempfile::tempdir().expect("a folder");
    let [few, many] = ["few", "many"].map(|name| folder.path().join(name));
    // What the program takes anyway.
    let verifier = connect(&small, &few).await;
    wait("a file", || few.join("revocations").exists()).await;
    drop(verifier);
    let before = peak();
    let verifier = connect(&large, &many).await;
    wait("the last", || verifier.status().is_some_and(|status| status.rev == LAST)).await;
    let entries = verifier.status().expect("a state").entries;
    wait("a file of it", || {
        let mut header = String::new();
        let file = std::fs::File::open(many.join("revocations"));
        let read = file.map(|file| file.take(200).read_to_string(&mut header));
        read.is_ok() && header.contains(&format!("\"rev\":{LAST},"))
    })
    .await;
    drop(verifier);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let verifier = connect(&large, &many).await;
    assert_eq!(verifier.status().expect("a state").rev, LAST);
    println!("\nentries: {entries}\nbytes: {}", peak() - before);
    drop(verifier);
    let file = std::fs::read(many.join("revocations")).expect("the file");
    assert!(Follower::from_bytes(&file, &large, None).is_ok());
}

/// The most memory that this process had so far, as Linux counts it.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kilobytes * 1024
}
