//! A backup gives everything back, tells nothing to whoever steals it, and brings nothing back to
//! life that was ended since.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;
use serde_json::Value;

use crate::stage::binary::{self, Ran};
use crate::stage::cast::text;
use crate::stage::server::{Folder, free_port};
use crate::stage::{Cast, Server};

/// `accredit init` in a folder, and what it printed.
fn init(folder: &Folder) -> Value {
    let address = format!("127.0.0.1:{}", free_port());
    let (data, url) = (folder.file("data"), format!("http://{address}"));
    let args = ["init", "--data", &data, "--org", "acme", "--public-url", &url, "--listen"];
    binary::run(binary::command(&[&args[..], &[&address, "--output", "json"]].concat())).json()
}

fn accredit(args: &[&str]) -> Ran {
    binary::run(binary::command(args))
}

fn create(founded: &Value, out: &str) -> Ran {
    let config = text(founded, "config");
    accredit(&["backup", "create", "--config", &config, "-o", out, "--output", "json"])
}

fn verify(file: &str, root_key: &str) -> Ran {
    accredit(&["backup", "verify", file, "--root-key", root_key, "--output", "json"])
}

/// Fails as a verification does, says why, and what to do.
fn check_refused(ran: &Ran, says: &str) {
    assert_eq!(ran.code, 9, "{ran:?}");
    assert!(ran.err.contains(says), "`{says}` is not in {ran:?}");
    assert!(ran.err.contains("hint"), "what to do? {ran:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_made_under_load_and_is_whole() {
    let folder = Folder::new();
    let founded = init(&folder);
    let cast = Cast::at(Server::serve(folder.clone(), &founded).await, 60).await;
    let agent = cast.agent("planner").await;
    let cast = Arc::new(cast);
    let stop = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn({
        let (cast, agent, stop) = (Arc::clone(&cast), agent.clone(), Arc::clone(&stop));
        async move {
            let mut issued = 0u64;
            while !stop.load(Ordering::Relaxed) {
                cast.token(&agent).await;
                issued += 1;
            }
            issued
        }
    });
    let mut files = Vec::new();
    for name in ["first.backup", "second.backup", "third.backup"] {
        let file = folder.file(name);
        let (made, out) = (founded.clone(), file.clone());
        let ran = tokio::task::spawn_blocking(move || create(&made, &out)).await.expect("ran");
        files.push((file, ran.json()));
    }
    stop.store(true, Ordering::Relaxed);
    assert!(load.await.expect("the load") > 0);
    let mut events = 0;
    for (file, told) in &files {
        let report = verify(file, &text(&founded, "root_key_file")).json();
        assert_eq!(report["ok"], true, "{report}");
        assert_eq!(report["events"], told["events"], "{report}");
        assert_eq!(report["organizations"][0]["name"], "acme", "{report}");
        assert_eq!(report["agents"], 1, "{report}");
        assert!(report["events"].as_u64() > Some(events), "it went on meanwhile: {report}");
        events = report["events"].as_u64().expect("a number");
    }
    // Private, and nothing else is left lying about.
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(&files[0].0).expect("a file").permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    let left: Vec<_> = std::fs::read_dir(folder.data())
        .expect("a folder")
        .map(|file| file.expect("a file").file_name().into_string().expect("a name"))
        .filter(|name| !name.starts_with("accredit.") && name != "root.key")
        .collect();
    assert!(left.is_empty(), "{left:?}");
    // What is there is not overwritten.
    assert_eq!(create(&founded, &files[0].0).code, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_is_not_whole_or_not_ours_is_refused() {
    let folder = Folder::new();
    let founded = init(&folder);
    let mut cast = Cast::at(Server::serve(folder.clone(), &founded).await, 60).await;
    let agent = cast.agent("planner").await;
    for _ in 0..5 {
        cast.token(&agent).await;
    }
    let (file, root_key) = (folder.file("good.backup"), text(&founded, "root_key_file"));
    assert_eq!(create(&founded, &file).code, 0);
    assert_eq!(verify(&file, &root_key).code, 0);
    let good = std::fs::read(&file).expect("a backup");
    for secret in [&agent.secret, &cast.resource_secret, &cast.server.admin] {
        assert!(!contains(&good, secret.as_bytes()));
    }
    for word in ["planner", "acme", "token.issued", "SQLite format"] {
        assert!(!contains(&good, word.as_bytes()), "`{word}` stands in clear in the backup");
    }

    let bad = folder.file("bad.backup");
    let put = |bytes: &[u8]| std::fs::write(&bad, bytes).expect("a file");
    let mut edited = good.clone();
    let middle = good.len() / 2;
    edited[middle] ^= 1;
    put(&edited);
    check_refused(&verify(&bad, &root_key), "does not open");
    put(&good[..good.len() - 1]);
    check_refused(&verify(&bad, &root_key), "cut off");
    put(&[&good[..], b"more"].concat());
    check_refused(&verify(&bad, &root_key), "cut off");
    put(b"");
    check_refused(&verify(&bad, &root_key), "does not begin");
    let newer = String::from_utf8_lossy(&good[..60]).replace("backup\":1", "backup\":2");
    put(&[newer.as_bytes(), &good[60..]].concat());
    check_refused(&verify(&bad, &root_key), "version 2");

    // Another installation's root key, and after a rotation of ours, the one before.
    let other = Folder::new();
    check_refused(&verify(&file, &text(&init(&other), "root_key_file")), "neither");
    assert_eq!(cast.server.stop(), Some(0));
    let config = text(&founded, "config");
    accredit(&["root", "rotate", "--config", &config]).good();
    check_refused(&verify(&file, &root_key), "root.key.previous");
    assert_eq!(verify(&file, &format!("{root_key}.previous")).code, 0);

    // A log that was altered before the backup was made is found in it.
    let store = || Connection::open(folder.data().join("accredit.db")).expect("a store");
    let edit = "UPDATE event SET payload = replace(payload, 'planner', 'blanner') WHERE seq = 3";
    assert_eq!(store().execute(edit, []).expect("edited"), 1);
    let altered = folder.file("altered.backup");
    assert_eq!(create(&founded, &altered).code, 0);
    let ran = verify(&altered, &root_key);
    check_refused(&ran, "not what was signed");
    assert!(ran.out.contains("leaf 3 was edited"), "{ran:?}");

    // So is one that a newer version wrote, already where it would be made.
    let add = "INSERT INTO schema_migration VALUES (9999, 'later', '0', '9.9.9')";
    assert_eq!(store().execute(add, []).expect("added"), 1);
    let ran = create(&founded, &folder.file("newer.backup"));
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("9.9.9"), "{ran:?}");
    assert!(!Path::new(&folder.file("newer.backup")).exists());
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
