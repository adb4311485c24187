//! A backup gives everything back, tells nothing to whoever steals it, and brings nothing back to
//! life that was ended since.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use accredit::verifier::Contradiction;
use accredit_wire::crypto::{MacKey, open, seal, sha256};
use accredit_wire::jose::b64url_decode;
use accredit_wire::revocations::feed::Alarm;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::stage::binary::{self, Ran};
use crate::stage::cast::{Client, text};
use crate::stage::server::{Folder, free_port};
use crate::stage::{Ask, Cast, FOLLOWS_WITHIN, Server, until};

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
    // As a backup that was killed leaves it, found by the start and by the next backup.
    let left_behind = format!("{}/backup-k1LL3d.copy", folder.file("data"));
    std::fs::write(&left_behind, "half a store").expect("written");
    let cast = Cast::at(Server::serve(folder.clone(), &founded).await, 60).await;
    assert!(!std::path::Path::new(&left_behind).exists(), "removed at the start");
    std::fs::write(&left_behind, "half a store").expect("written");
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

/// The content of a backup, read as `docs/formats.md` says and with nothing of the program's reader.
pub(crate) struct Content {
    header: String,
    key: [u8; 32],
    pub(crate) manifest: Value,
    pub(crate) store: Vec<u8>,
}

impl Content {
    pub(crate) fn read(file: &str, root_key: &str) -> Self {
        let bytes = std::fs::read(file).expect("a backup");
        let end = bytes.iter().position(|byte| *byte == b'\n').expect("a header") + 1;
        let header = String::from_utf8(bytes[..end].to_vec()).expect("text");
        let said: Value = serde_json::from_str(&header).expect("a header");
        let salt = b64url_decode(said["salt"].as_str().expect("a salt")).expect("base64url");
        let hex = std::fs::read_to_string(root_key).expect("a root key");
        let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
        let root: Vec<u8> = (0..32).map(|index| digits(2 * index)).collect();
        let root = MacKey::new(root.as_slice().try_into().expect("32 bytes"));
        let key = root.mac(&[b"accredit/backup/1/", salt.as_slice()].concat());
        let (mut rest, mut plain, mut last) = (&bytes[end..], Vec::new(), 0);
        for number in 0u64.. {
            if rest.is_empty() {
                break;
            }
            assert_eq!(last, 0, "nothing comes after the last");
            last = rest[0];
            let length = u32::from_be_bytes(rest[1..5].try_into().expect("four")) as usize;
            let aad = Self::aad(&header, number, last);
            plain.extend_from_slice(&open(&key, &aad, &rest[5..5 + length]).expect("it opens"));
            rest = &rest[5 + length..];
        }
        assert_eq!(last, 1);
        let end = plain.iter().position(|byte| *byte == b'\n').expect("a manifest");
        let manifest = serde_json::from_slice(&plain[..end]).expect("a manifest");
        Self { header, key, manifest, store: plain[end + 1..].to_vec() }
    }

    fn aad(header: &str, number: u64, last: u8) -> Vec<u8> {
        [&sha256(header.as_bytes())[..], &number.to_be_bytes(), &[last]].concat()
    }

    fn write(&self, file: &str) {
        let mut manifest = self.manifest.clone();
        manifest["bytes"] = Value::from(self.store.len());
        let plain = [format!("{manifest}\n").as_bytes(), &self.store].concat();
        let mut out = self.header.clone().into_bytes();
        let chunks: Vec<&[u8]> = plain.chunks(1024 * 1024).collect();
        for (number, chunk) in chunks.iter().enumerate() {
            let last = u8::from(number + 1 == chunks.len());
            let mut nonce = [0; 12];
            nonce[4..].copy_from_slice(&(number as u64).to_be_bytes());
            let aad = Self::aad(&self.header, number as u64, last);
            let sealed = seal(&self.key, nonce, &aad, chunk).expect("sealed");
            out.push(last);
            out.extend_from_slice(&(sealed.len() as u32).to_be_bytes());
            out.extend_from_slice(&sealed);
        }
        std::fs::write(file, out).expect("written");
    }

    /// The same with a statement run on the store.
    fn altered(&self, folder: &Folder, statement: &str) -> Self {
        let file = folder.file("altered.db");
        std::fs::write(&file, &self.store).expect("written");
        let store = Connection::open(&file).expect("a store");
        assert!(store.execute(statement, []).expect("altered") > 0, "{statement}");
        drop(store);
        let store = std::fs::read(&file).expect("a store");
        let Self { header, key, manifest, .. } = self;
        Self { header: header.clone(), key: *key, manifest: manifest.clone(), store }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_holds_no_secret_and_what_was_slipped_into_it_is_found() {
    let secrets = std::sync::OnceLock::new();
    let mut lost = Lost::new(
        async |cast| secrets.set(cast.agent("planner").await.secret).expect("once"),
        async |_| {},
    )
    .await;
    let root_key = text(&lost.founded, "root_key_file");
    let content = Content::read(&lost.backup, &root_key);
    assert!(content.store.starts_with(b"SQLite format 3\0"));
    assert!(contains(&content.store, b"planner"), "the search finds what is there");
    let root = std::fs::read_to_string(&root_key).expect("a root key");
    let raw: Vec<u8> = (0..32)
        .map(|index| u8::from_str_radix(&root[2 * index..2 * index + 2], 16).expect("hexadecimal"))
        .collect();
    let secret = secrets.get().expect("a secret").as_bytes();
    let admin = [lost.cast.server.admin.clone(), text(&lost.founded, "operator_token")];
    let planted = [secret, lost.cast.resource_secret.as_bytes(), root.trim().as_bytes(), &raw];
    for planted in planted.into_iter().chain(admin.iter().map(String::as_bytes)) {
        assert!(!contains(&content.store, planted), "a secret lies in the backup");
        assert!(!contains(content.manifest.to_string().as_bytes(), planted));
    }

    // Whoever has the root key can make a backup that opens; what is in it is looked at all the same.
    let whole = lost.backup.clone();
    lost.backup = lost.folder.file("made.backup");
    content.write(&lost.backup);
    assert_eq!(verify(&lost.backup, &root_key).code, 0, "written as the formats say, it is read");
    let folder = lost.prepared();
    for (statement, says) in [
        ("INSERT INTO schema_migration VALUES (9999, 'later', '0', '9.9.9')", "says it does"),
        ("UPDATE event SET payload = replace(payload, 'planner', 'blanner')", "signed"),
        ("DELETE FROM event WHERE seq = (SELECT max(seq) FROM event)", "signed"),
        ("UPDATE organization SET rev = 0, generation = 5", "says it does"),
        ("UPDATE checkpoint SET note = note || 'x'", "says it does"),
    ] {
        content.altered(&folder, statement).write(&lost.backup);
        std::fs::remove_file(folder.file("altered.db")).expect("removed");
        check_refused(&verify(&lost.backup, &root_key), says);
        check_refused(&lost.restore(&folder, &[]), says);
        assert!(!folder.data().join("accredit.db").exists(), "nothing half-written");
    }
    let mut later = Content::read(&whole, &root_key);
    later.manifest["schema"] = json!(9999);
    let add = "INSERT INTO schema_migration VALUES (9999, 'later', '0', '9.9.9')";
    later.altered(&folder, add).write(&lost.backup);
    for ran in [verify(&lost.backup, &root_key), lost.restore(&folder, &[])] {
        assert_ne!(ran.code, 0, "{ran:?}");
        assert!(ran.err.contains("9.9.9") && ran.err.contains("newer"), "{ran:?}");
    }
    let names = std::fs::read_dir(folder.data()).expect("a folder").count();
    assert_eq!(names, 2, "configuration and root key");
}

/// An installation whose server is stopped, a backup of it, and what came after the backup.
struct Lost {
    folder: Folder,
    founded: Value,
    backup: String,
    /// The last export of its log.
    export: String,
    /// One from before the backup.
    older: String,
    cast: Cast,
}

impl Lost {
    /// `after` is what happens between backup and loss.
    async fn new(before: impl AsyncFnOnce(&Cast), after: impl AsyncFnOnce(&Cast)) -> Self {
        let folder = Folder::new();
        let founded = init(&folder);
        let mut cast = Cast::at(Server::serve(folder.clone(), &founded).await, 3).await;
        before(&cast).await;
        let [older, backup, export] =
            ["older.ndjson", "the.backup", "last.ndjson"].map(|name| folder.file(name));
        cast.server.cli(&["audit", "export", "-o", &older]).good();
        assert_eq!(create(&founded, &backup).code, 0);
        after(&cast).await;
        cast.server.cli(&["audit", "export", "-o", &export]).good();
        assert_eq!(cast.server.stop(), Some(0));
        Self { folder, founded, backup, export, older, cast }
    }

    /// A folder with what an operator puts there before a restore: configuration and root key.
    fn prepared(&self) -> Folder {
        let folder = Folder::new();
        std::fs::create_dir_all(folder.data()).expect("a folder");
        for name in ["accredit.toml", "root.key"] {
            let (from, to) = (self.folder.data().join(name), folder.data().join(name));
            std::fs::copy(from, to).expect("copied");
        }
        folder
    }

    fn restore(&self, folder: &Folder, more: &[&str]) -> Ran {
        let (data, root_key) = (folder.file("data"), text(&self.founded, "root_key_file"));
        let args = ["backup", "restore", &self.backup, "--data", &data, "--root-key", &root_key];
        accredit(&[&args[..], more, &["--output", "json"]].concat())
    }

    /// What `init` printed, for the restored installation.
    fn founded_in(&self, folder: &Folder) -> Value {
        let mut founded = self.founded.clone();
        founded["config"] = Value::from(folder.file("data/accredit.toml"));
        founded
    }

    /// Serves the restored installation, at the address of the lost one.
    async fn serve(&mut self, folder: &Folder) {
        self.cast.server = Server::serve(folder.clone(), &self.founded_in(folder)).await;
    }
}

fn reconcile(folder: &Folder, export: &str) -> Ran {
    let config = folder.file("data/accredit.toml");
    let args = ["backup", "reconcile", "--config", &config, "--org", "acme", "--audit-export"];
    accredit(&[&args[..], &[export, "--output", "json"]].concat())
}

/// No tokens, and why.
async fn check_closed(cast: &Cast, client: &Client) {
    let answer = cast.server.token(&client.agent, &client.secret, "crm:read").await;
    answer.refused(503, "temporarily_unavailable", "issuing-closed");
    assert!(answer.header("retry-after").is_some());
    assert!(answer.text().contains("accredit backup reconcile"), "{}", answer.text());
    let ready = cast.server.send(Ask::get("/readyz?verbose")).await;
    assert_eq!(ready.status, 200, "administration has to reach it");
    assert!(ready.text().contains("issuing-closed"), "{}", ready.text());
    assert_eq!(cast.server.get("/v1/orgs/acme").await["issuing"], "closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_ended_after_a_backup_stays_ended_when_it_is_restored() {
    let found: std::sync::OnceLock<Vec<Client>> = std::sync::OnceLock::new();
    let tokens: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
    let state = Folder::new();
    let verifiers = std::sync::Mutex::new(Vec::new());
    let bound = Duration::from_secs(3);
    let names = ["revoked", "rotated", "narrowed", "decommissioned", "unchanged", "instance"];
    let mut lost = Lost::new(
        async |cast| {
            let mut clients = Vec::new();
            for name in names {
                clients.push(cast.agent(name).await);
            }
            let last = clients.pop().expect("an agent");
            clients.push(cast.instance_of(&last.agent).await);
            found.set(clients).expect("once");
        },
        async |cast| {
            let clients = found.get().expect("clients");
            let mut live = Vec::new();
            for client in &clients[..5] {
                live.push(cast.token(client).await);
            }
            tokens.set(live).expect("once");
            let kept = state.file("verifier");
            let verifier = cast.verifier().age_max(bound).state_dir(&kept).connect().await;
            let verifier = verifier.expect("a verifier");
            let [revoked, rotated, narrowed, decommissioned, _, instance] = &clients[..] else {
                panic!("six clients")
            };
            cast.server.revoke(&revoked.agent).await;
            let path = format!("/v1/credentials/{}/rotate", rotated.credential);
            cast.server.post(&path, json!({})).await;
            let path = format!("/v1/agents/{}/permissions/crm", narrowed.agent);
            let answer = cast.server.api("PUT", &path, json!({"actions": ["read"]})).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let path = format!("/v1/agents/{}/decommission", decommissioned.agent);
            cast.server.post(&path, json!({"reason": "a story"})).await;
            let rev = cast.server.revoke(&instance.id).await["rev"].as_u64();
            until("the verifier follows", FOLLOWS_WITHIN, async || {
                verifier.status().map(|status| status.rev) == rev
            })
            .await;
            cast.kept(&kept).await;
            verifiers.lock().expect("held").push(verifier);
        },
    )
    .await;
    let clients = found.into_inner().expect("clients");
    let tokens = tokens.into_inner().expect("tokens");
    let verifier = verifiers.lock().expect("held").pop().expect("a verifier");
    let [revoked, rotated, narrowed, decommissioned, unchanged, instance] = &clients[..] else {
        panic!("six clients")
    };

    let folder = lost.prepared();
    let told = lost.restore(&folder, &[]).json();
    assert_eq!(told["organizations"], json!([{"name": "acme", "generation": 2}]), "{told}");
    lost.serve(&folder).await;
    // Nothing of before lives, and nothing new begins.
    for token in &tokens {
        assert!(!lost.cast.server.is_active(token).await);
    }
    check_closed(&lost.cast, unchanged).await;
    check_closed(&lost.cast, revoked).await;
    // The verifier that saw more is not talked out of it.
    until("the verifier raises an alarm", Duration::from_secs(10), async || {
        let mut alarms = verifier.alarms().into_iter();
        alarms.any(|alarm| matches!(alarm.what, Contradiction::Feed(Alarm::LogShrunk { .. })))
    })
    .await;
    let refusal = verifier.verify_token(&tokens[0]).await.expect_err("revoked");
    assert_eq!(refusal.body().rule(), Some("token-revoked"), "{refusal}");
    until("and goes stale", Duration::from_secs(8), async || {
        verifier.verify_token(&tokens[4]).await.is_err()
    })
    .await;
    drop(verifier);

    // Only with the server stopped, and only from the log that goes on where the backup ends.
    assert_eq!(reconcile(&folder, &lost.export).code, 1, "it is being served");
    assert_eq!(lost.cast.server.stop(), Some(0));
    check_refused(&reconcile(&folder, &lost.older), "continuation");
    let altered = folder.file("altered.ndjson");
    let text = std::fs::read_to_string(&lost.export).expect("an export");
    let cut = |kind: &str| {
        let kept: Vec<&str> = text.lines().filter(|line| !line.contains(kind)).collect();
        kept.join("\n") + "\n"
    };
    std::fs::write(&altered, cut("agent.suspended")).expect("written");
    check_refused(&reconcile(&folder, &altered), "continuation");
    std::fs::write(&altered, cut("{\"end\"")).expect("written");
    check_refused(&reconcile(&folder, &altered), "continuation");
    lost.serve(&folder).await;
    check_closed(&lost.cast, unchanged).await;
    assert_eq!(lost.cast.server.stop(), Some(0));

    let told = reconcile(&folder, &lost.export).json();
    assert_eq!(told["changed"], 1, "the narrowed one: {told}");
    assert_eq!(told["ended"], 4, "{told}");
    assert_eq!(told["admin_token"], Value::Null, "{told}");
    let told = reconcile(&folder, &lost.export).json();
    assert_eq!((&told["ended"], &told["changed"]), (&json!(0), &json!(0)), "once: {told}");
    lost.serve(&folder).await;
    let server = &lost.cast.server;
    for (client, rule) in [
        (revoked, "agent-not-active"),
        (rotated, "credential-revoked"),
        (narrowed, "agent-not-active"),
        (decommissioned, "credential-revoked"),
        (instance, "credential-revoked"),
    ] {
        let answer = server.token(&client.agent, &client.secret, "crm:read").await;
        assert!(answer.status == 400 || answer.status == 401, "{rule}: {}", answer.text());
        assert_eq!(answer.rule(), rule, "{}", answer.text());
    }
    let token = lost.cast.token(unchanged).await;
    assert!(server.is_active(&token).await);

    // With a person's word the verifier goes on, and forgets no revocation.
    let builder = || lost.cast.verifier().age_max(bound).state_dir(state.file("verifier"));
    let deaf = builder().connect().await.expect("from what it kept");
    until("without the word it does not", Duration::from_secs(8), async || {
        !deaf.alarms().is_empty() && deaf.verify_token(&token).await.is_err()
    })
    .await;
    drop(deaf);
    let mut goes_on = None;
    until("its tasks let go of the folder", FOLLOWS_WITHIN, async || {
        goes_on = builder().accept_restored(2).connect().await.ok();
        goes_on.is_some()
    })
    .await;
    let verifier = goes_on.expect("a verifier");
    until("the verifier follows again", FOLLOWS_WITHIN, async || {
        verifier.verify_token(&token).await.is_ok()
    })
    .await;
    assert_eq!(verifier.alarms(), []);
    let refusal = verifier.verify_token(&tokens[0]).await.expect_err("revoked");
    assert_eq!(refusal.body().rule(), Some("token-revoked"), "{refusal}");

    // Both lanes are read, exported, proven and checked.
    let listed = server.cli_json(&["audit", "list", "--limit", "1000"]);
    let types: Vec<&str> = listed["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|e| e["type"].as_str().expect("text"))
        .collect();
    let place = |kind| types.iter().position(|found| *found == kind).expect(kind);
    assert!(place("organization.created") < place("log.generation_started"), "{types:?}");
    assert!(place("log.generation_started") < place("restore.reconciled"), "{types:?}");
    let started = &listed["items"][place("log.generation_started")];
    assert_eq!((&started["lane"], &started["seq"]), (&json!(1), &json!(0)), "{started}");
    assert!(
        started["payload"]["changes"]["checkpoints"].as_str().expect("text").contains("/log/g1l0 ")
    );
    let shown = server.cli_json(&["audit", "show", started["id"].as_str().expect("an id")]);
    assert_eq!(&shown["payload"], &started["payload"]);
    let tail = server.cli(&["audit", "tail", "--lines", "3", "--output", "json"]).good();
    assert!(tail.contains("token.issued"), "{tail}");
    let newest = server.get("/v1/events?sort=-created_at&limit=200").await;
    let (first, all) = (&newest["items"][0]["lane"], newest["items"].as_array().expect("items"));
    assert_eq!(first, 1);
    assert!(all.len() >= types.len().min(200), "it goes on in the older lane");
    let (export, key) = (folder.file("restored.ndjson"), folder.file("restored.key"));
    server.cli(&["audit", "export", "-o", &export]).good();
    server.cli(&["audit", "key", "-o", &key]).good();
    accredit(&["audit", "verify", &export, "--key", &key]).good();
    let script = binary::workspace().join("docs/verify_log.py");
    let python = std::process::Command::new("python3").arg(script).args([&export, &key]).output();
    // Where there is no Python, the test in `interop` has one.
    if let Ok(ran) = python {
        assert!(ran.status.success(), "{ran:?}");
    }
    assert_eq!(server.cli_json(&["fsck"])["ok"], true);
    assert_eq!(lost.cast.server.stop(), Some(0));
    let config = folder.file("data/accredit.toml");
    accredit(&["fsck", "--config", &config]).good();

    // And the restored store is backed up and restored in turn.
    let again = folder.file("again.backup");
    assert_eq!(create(&lost.founded_in(&folder), &again).code, 0);
    lost.backup = again;
    let third = lost.prepared();
    let told = lost.restore(&third, &[]).json();
    assert_eq!(told["organizations"][0]["generation"], 3, "{told}");
    let config = third.file("data/accredit.toml");
    accredit(&["fsck", "--config", &config]).good();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_opens_issuing_on_their_word() {
    let (found, second) = (std::sync::OnceLock::new(), std::sync::OnceLock::new());
    let state = Folder::new();
    let mut lost = Lost::new(
        async |cast| {
            found.set(cast.agent("planner").await).expect("once");
            let beta = cast.server.post("/v1/orgs", json!({"name": "beta"})).await;
            second.set(text(&beta, "admin_token")).expect("once");
            // It has seen nothing that will be lost.
            let kept = state.file("verifier");
            let builder = cast.verifier().state_dir(&kept);
            let verifier = builder.connect().await.expect("a verifier");
            cast.kept(&kept).await;
            assert_eq!(verifier.alarms(), []);
        },
        async |cast| drop(cast.token(found.get().expect("an agent")).await),
    )
    .await;
    let folder = lost.prepared();
    assert_eq!(lost.restore(&folder, &["--generation", "7"]).code, 0);
    // A store is never overwritten, served or not.
    let ran = lost.restore(&folder, &[]);
    assert_eq!(ran.code, 6, "{ran:?}");
    assert!(ran.err.contains("not empty"), "{ran:?}");
    let ran = lost.restore(&lost.folder, &[]);
    assert_eq!(ran.code, 6, "{ran:?}");
    // What fails leaves nothing.
    let other = lost.prepared();
    let whole = lost.backup.clone();
    let bytes = std::fs::read(&whole).expect("a backup");
    lost.backup = folder.file("cut.backup");
    std::fs::write(&lost.backup, &bytes[..bytes.len() - 9]).expect("written");
    check_refused(&lost.restore(&other, &[]), "cut off");
    let names = std::fs::read_dir(other.data()).expect("a folder").count();
    assert_eq!(names, 2, "configuration and root key");
    lost.backup = whole;

    lost.serve(&folder).await;
    let agent = found.get().expect("an agent");
    check_closed(&lost.cast, agent).await;
    let config = text(&lost.founded_in(&folder), "config");
    for args in [&["doctor", "--config", &config][..], &["doctor"]] {
        let told = lost.cast.server.cli(args).out;
        assert!(told.contains("closed since a backup was restored: acme, beta"), "{told}");
    }
    let server = &lost.cast.server;
    let auditor = server.cli_json(&["admin-key", "create", "--role", "security", "--purpose", "x"]);
    let body = json!({"reason": "restored at once"});
    let ask = Ask::json("POST", "/v1/restore/waive", &body).bearer(&text(&auditor, "admin_token"));
    server.send(ask).await.problem(403, "not-entitled");
    check_closed(&lost.cast, agent).await;
    let opened = server.cli_json(&["backup", "waive", "--reason", "restored at once"]);
    assert_eq!(opened["issuing"], "open", "{opened}");
    // Each organization for itself.
    let beta = Ask::get("/v1/orgs/beta").bearer(second.get().expect("a key"));
    assert_eq!(server.send(beta).await.good()["issuing"], "closed");
    assert!(server.send(Ask::get("/readyz")).await.text().contains("issuing-closed"));
    let body = json!({"reason": "restored at once"});
    let ask = Ask::json("POST", "/v1/restore/waive", &body).bearer(second.get().expect("a key"));
    assert_eq!(server.send(ask).await.good()["generation"], 7);
    let token = lost.cast.token(agent).await;
    assert!(server.is_active(&token).await);
    let builder = lost.cast.verifier().state_dir(state.file("verifier"));
    let verifier = builder.connect().await.expect("a verifier");
    until("who saw nothing that was lost goes on by itself", FOLLOWS_WITHIN, async || {
        verifier.verify_token(&token).await.is_ok()
    })
    .await;
    assert_eq!(verifier.alarms(), []);
    assert_eq!(verifier.status().map(|status| status.generation), Some(7));
    let events = server.cli_json(&["audit", "list", "--type", "restore.waived"]);
    assert_eq!(events["items"][0]["payload"]["reason"], "restored at once", "{events}");
    let ready = server.send(Ask::get("/readyz")).await;
    assert!(!ready.text().contains("issuing-closed"), "{}", ready.text());
    let again = server.cli(&["backup", "waive", "--reason", "again"]);
    assert_eq!(again.code, 6, "{again:?}");
    assert_eq!(server.get("/v1/orgs/acme").await["generation"], 7);
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
