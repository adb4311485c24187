//! The keys of the certificate authorities are in a PKCS#11 token, which never gives them out: made
//! there, used there, rotated into it, missed when they are gone. The token is SoftHSM2's.

#[path = "../../../crates/pkcs11/tests/softhsm/mod.rs"]
mod softhsm;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use self::softhsm::{CONFIGURATION, PIN, SoftHsm};
use crate::stage::binary::{self, Ran, is_there};
use crate::stage::cast::text;
use crate::stage::server::{Folder, free_port};
use crate::stage::{Cast, Server};
use crate::story_revoked_certificates::holder;

const LABEL: &str = "acme-authority";
const WRONG_PIN: &str = "648210";

/// An installation beside a token.
struct Hall {
    folder: Folder,
    hsm: SoftHsm,
    pin_file: String,
}

impl Hall {
    /// Nothing where the machine has no token.
    fn new() -> Option<Self> {
        let folder = Folder::new();
        let hsm = SoftHsm::in_folder(folder.path())?;
        hsm.make(LABEL);
        let pin_file = folder.file("pin");
        let hall = Self { folder, hsm, pin_file };
        hall.write_pin(PIN, 0o600);
        Some(hall)
    }

    fn write_pin(&self, pin: &str, mode: u32) {
        std::fs::write(&self.pin_file, format!("{pin}\n")).expect("written");
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&self.pin_file, mode).expect("its mode");
    }

    /// A command that finds the token.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = binary::command(args);
        command.env(CONFIGURATION, &self.hsm.configuration);
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        let ran = binary::run(self.command(args));
        for secret in [PIN, WRONG_PIN] {
            assert!(!ran.out.contains(secret) && !ran.err.contains(secret), "{ran:?}");
        }
        ran
    }

    /// `accredit init`, with these flags besides.
    fn init(&self, flags: &[&str]) -> Ran {
        let address = format!("127.0.0.1:{}", free_port());
        let (data, url) = (self.folder.file("data"), format!("http://{address}"));
        let args = ["init", "--data", &data, "--org", "acme", "--public-url", &url];
        let args = [&args[..], &["--listen", &address, "--output", "json"], flags].concat();
        self.run(&args)
    }

    fn module(&self) -> &str {
        self.hsm.module.to_str().expect("a path in UTF-8")
    }

    fn flags(&self) -> [&str; 6] {
        let pin = ["--pkcs11-pin-file", &*self.pin_file];
        ["--pkcs11-module", self.module(), "--pkcs11-token", LABEL, pin[0], pin[1]]
    }

    async fn serve(&self, founded: &Value) -> Server {
        let command = self.command(&["serve", "--config", &text(founded, "config")]);
        Server::serve_by(command, self.folder.clone(), founded).await
    }

    /// A server that does not start: how it ends, and that it says all of this.
    fn check_refused(&self, founded: &Value, code: i32, says: &[&str]) {
        let ran = self.run(&["serve", "--config", &text(founded, "config")]);
        assert_eq!(ran.code, code, "{ran:?}");
        for part in says {
            assert!(ran.err.contains(part), "`{part}`: {ran:?}");
        }
    }

    /// Which check of the doctor came to what.
    fn doctor(&self, founded: &Value) -> Value {
        let ran = self.run(&["doctor", "--config", &text(founded, "config"), "--output", "json"]);
        let checks: Value = serde_json::from_str(&ran.out).expect("one JSON document");
        let mut all = checks["items"].as_array().expect("checks").iter();
        all.find(|check| check["check"] == "pkcs11").cloned().unwrap_or_default()
    }
}

/// Replaces a text of the configuration.
fn rewrite(founded: &Value, from: &str, to: &str) {
    let config = text(founded, "config");
    let kept = std::fs::read_to_string(&config).expect("a configuration");
    assert!(kept.contains(from), "{from}: {kept}");
    std::fs::write(&config, kept.replace(from, to)).expect("written");
}

/// Which purposes have keys in these states, and where they are.
fn held(server: &Server, states: &[&str]) -> Vec<(String, String)> {
    let listed = server.cli_json(&["signing-key", "list"]);
    let keys = listed["items"].as_array().expect("keys").iter();
    let of = keys.filter(|key| states.contains(&key["state"].as_str().unwrap_or_default()));
    let mut of: Vec<_> = of.map(|key| (text(key, "purpose"), text(key, "held"))).collect();
    of.sort();
    of.dedup();
    of
}

const SIGNING: [&str; 2] = ["active", "next"];

fn expected(inside: &[&str]) -> Vec<(String, String)> {
    let all = ["biscuit", "ca", "ca-root", "feed", "jwt-svid", "log", "token"];
    let place = |purpose| if inside.contains(&purpose) { "pkcs11" } else { "software" };
    all.into_iter().map(|one| (one.to_owned(), place(one).to_owned())).collect()
}

fn openssl(args: &[&str]) -> Ran {
    let mut command = Command::new("openssl");
    command.args(args).stdin(Stdio::null());
    binary::run(command)
}

/// A new instance gets a certificate, which OpenSSL verifies up to the published root.
async fn issues(cast: &Cast, agent: &str, name: &str) {
    let server = &cast.server;
    let holder = holder(server, cast.instance_of(agent).await, name);
    let bundle = server.folder().file("bundle.pem");
    std::fs::write(&bundle, server.cli(&["ca", "bundle"]).good()).expect("written");
    let lists = server.folder().file("crl.pem");
    server.cli(&["ca", "crl", "-o", &lists]).good();
    let by = ["-crl_check_all", "-CRLfile", &*lists, "-CAfile", &*bundle];
    let of = ["-untrusted", &*holder.issuer, &*holder.leaf];
    openssl(&[&["verify", "-x509_strict"], &by[..], &of].concat()).good();
}

fn rotate(server: &Server, purpose: &str) -> Value {
    server.cli_json(&["signing-key", "rotate", "--purpose", purpose, "--now"])
}

/// What the store has of keys that are in a token: that, and no ciphertext.
fn rows_in_token(store: &Path) -> Vec<(String, Vec<u8>)> {
    let store = rusqlite::Connection::open(store).expect("a store");
    let sql = "SELECT purpose, wrapped FROM signing_key WHERE purpose IN ('ca', 'ca-root')";
    let mut rows = store.prepare(sql).expect("rows");
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
    rows.collect::<Result<_, _>>().expect("rows")
}

/// The objects as OpenSC sees them, which shares no code with ours; nothing where it is not there.
fn objects(hall: &Hall) -> Option<String> {
    if !is_there("pkcs11-tool") {
        return None;
    }
    let mut command = Command::new("pkcs11-tool");
    command.args(["--module", hall.module(), "--token-label", LABEL]);
    command.args(["--login", "--pin", PIN, "--list-objects"]);
    command.env(CONFIGURATION, &hall.hsm.configuration);
    Some(binary::run(command).good())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_lives_in_a_token() {
    let Some(hall) = Hall::new() else { return };
    let founded = hall.init(&hall.flags()).json();
    let config = text(&founded, "config");
    hall.run(&["config", "check", "--config", &config]).good();
    let mut cast = Cast::at(hall.serve(&founded).await, 60).await;
    let inside = expected(&["ca", "ca-root"]);
    assert_eq!(held(&cast.server, &SIGNING), inside);
    let shown = cast.server.cli_json(&["ca", "show"]);
    for key in ["roots", "intermediates"].iter().flat_map(|of| shown[of].as_array().expect("keys"))
    {
        assert_eq!(key["held"], "pkcs11", "{key}");
    }
    let rows = rows_in_token(&hall.folder.data().join("accredit.db"));
    assert_eq!(rows.len(), 4);
    for (purpose, wrapped) in rows {
        assert!(wrapped.starts_with(b"accredit/pkcs11/") && wrapped.len() == 37, "{purpose}");
    }
    if let Some(seen) = objects(&hall) {
        assert_eq!(seen.matches("Private Key Object; EC").count(), 4, "{seen}");
        assert_eq!(
            seen.matches("sensitive, always sensitive, never extractable, local").count(),
            4,
            "{seen}"
        );
    }

    let agent = cast.bare_agent("planner").await;
    issues(&cast, &agent, "first").await;
    let request = hall.folder.file("root.csr");
    cast.server.cli(&["ca", "export-csr", "-o", &request]).good();
    let read = openssl(&["req", "-in", &request, "-noout", "-verify", "-text"]);
    assert!(read.code == 0 && read.out.contains("prime256v1"), "{read:?}");

    for purpose in ["ca-root", "ca"] {
        let rotated = rotate(&cast.server, purpose);
        assert_eq!([&rotated["active"]["held"], &rotated["next"]["held"]], ["pkcs11"; 2]);
        issues(&cast, &agent, purpose).await;
    }
    let well = hall.doctor(&founded);
    assert_eq!(well["level"], "ok", "{well}");

    assert_eq!(cast.server.stop(), Some(0));
    // The installation's own authority is one, too.
    let listener = hall.run(&["tls", "bundle", "--config", &config, "--output", "json"]).json();
    for root in listener["roots"].as_array().expect("roots") {
        assert_eq!(root["held"], "pkcs11", "{root}");
    }
    // What is wrapped comes under another root key, and the token's keys are under none.
    let before = rows_in_token(&hall.folder.data().join("accredit.db"));
    let moved = hall.run(&["root", "rotate", "--config", &config, "--output", "json"]).json();
    // Two of each other purpose.
    assert_eq!(moved["keys"], 10, "{moved}");
    assert_eq!(rows_in_token(&hall.folder.data().join("accredit.db")), before);
    cast.server = hall.serve(&founded).await;
    assert_eq!(held(&cast.server, &SIGNING), inside);
    issues(&cast, &agent, "again").await;

    // A backup has none of them: restored beside the token, a server finds them by their names.
    let backup = hall.folder.file("backup");
    hall.run(&["backup", "create", "--config", &config, "-o", &backup]).good();
    assert_eq!(cast.server.stop(), Some(0));
    let (data, lost) = (hall.folder.data(), hall.folder.path().join("lost"));
    std::fs::rename(&data, &lost).expect("renamed");
    std::fs::create_dir(&data).expect("a folder");
    for file in ["accredit.toml", "root.key"] {
        std::fs::copy(lost.join(file), data.join(file)).expect("copied");
    }
    let (data, root_key) = (hall.folder.file("data"), hall.folder.file("data/root.key"));
    let restore = ["backup", "restore", &backup, "--data", &data, "--root-key", &root_key];
    let refused = hall.run(&restore);
    assert!(refused.code == 1 && refused.err.contains("--pkcs11-module"), "{refused:?}");
    hall.run(&[&restore[..], &hall.flags()].concat()).good();
    cast.server = hall.serve(&founded).await;
    cast.server.cli(&["backup", "waive", "--reason", "a story"]).good();
    issues(&cast, &agent, "restored").await;
    let log = std::fs::read_to_string(hall.folder.file("log")).expect("a log");
    assert!(
        !log.contains(PIN) && log.contains("every key that is in the token was found"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_come_into_a_token_by_two_rotations() {
    let Some(hall) = Hall::new() else { return };
    let founded = hall.init(&[]).json();
    let mut cast = Cast::at(hall.serve(&founded).await, 60).await;
    assert_eq!(held(&cast.server, &SIGNING), expected(&[]));
    let agent = cast.bare_agent("planner").await;
    assert_eq!(cast.server.stop(), Some(0));
    rewrite(
        &founded,
        "# [tls]",
        &format!(
            "[pkcs11]\nmodule = \"{}\"\ntoken = \"{LABEL}\"\npin_file = \"{}\"\n\
         purposes = \"ca-root, ca, jwt-svid, feed\"\n# [tls]",
            hall.module(),
            hall.pin_file,
        ),
    );
    cast.server = hall.serve(&founded).await;
    // Nothing moves by itself: a key never leaves the place where it was made.
    assert_eq!(held(&cast.server, &SIGNING), expected(&[]));
    issues(&cast, &agent, "before").await;
    for turn in 0..2 {
        for purpose in ["ca-root", "ca", "jwt-svid", "feed"] {
            let rotated = rotate(&cast.server, purpose);
            assert_eq!(rotated["next"]["held"], "pkcs11", "{turn}: {rotated}");
        }
    }
    assert_eq!(held(&cast.server, &SIGNING), expected(&["ca-root", "ca", "jwt-svid", "feed"]));
    issues(&cast, &agent, "after").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_a_token_is_said_before_anything_is_served() {
    let Some(hall) = Hall::new() else { return };
    // Nothing is left behind of an installation whose token refuses.
    hall.write_pin(WRONG_PIN, 0o600);
    let refused = hall.init(&hall.flags());
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(refused.err.contains("PinIncorrect") && refused.err.contains(LABEL), "{refused:?}");
    assert!(!hall.folder.data().exists());
    hall.write_pin(PIN, 0o640);
    let refused = hall.init(&hall.flags());
    assert!(refused.code == 2 && refused.err.contains("chmod 600"), "{refused:?}");
    hall.write_pin(PIN, 0o600);
    let alone = hall.init(&["--pkcs11-token", LABEL]);
    assert_eq!(alone.code, 2, "{alone:?}");
    let unknown = hall.init(&[&hall.flags()[..], &["--pkcs11-purposes", "ca,cake"]].concat());
    assert!(unknown.code == 2 && unknown.err.contains("`cake`"), "{unknown:?}");

    let founded = hall.init(&hall.flags()).json();
    let config = text(&founded, "config");
    hall.write_pin(WRONG_PIN, 0o600);
    hall.check_refused(&founded, 4, &["PinIncorrect", LABEL, "not tried again"]);
    hall.write_pin(PIN, 0o600);
    let (module, label) = (hall.module().to_owned(), format!("token = \"{LABEL}\""));
    rewrite(&founded, &module, "/nowhere/module.so");
    hall.check_refused(&founded, 1, &["/nowhere/module.so", "linked statically"]);
    let checked = hall.run(&["config", "check", "--config", &config]);
    assert!(checked.code == 3 && checked.err.contains("/nowhere/module.so"), "{checked:?}");
    rewrite(&founded, "/nowhere/module.so", &module);
    rewrite(&founded, &label, "token = \"other\"");
    hall.check_refused(&founded, 1, &["`other`", LABEL]);
    rewrite(&founded, "token = \"other\"", &label);
    // Without the settings nobody has the keys.
    let kept = std::fs::read_to_string(&config).expect("a configuration");
    let without = kept.lines().filter(|line| !line.starts_with("pkcs11"));
    std::fs::write(&config, without.collect::<Vec<_>>().join("\n")).expect("written");
    hall.check_refused(&founded, 1, &["key_", "PKCS#11", "given none"]);
    assert_eq!(hall.doctor(&founded)["level"], "fail");
    std::fs::write(&config, kept).expect("written");

    // Another token of the same name, and nothing in it.
    let tokens = hall.folder.path().join("tokens");
    std::fs::rename(&tokens, hall.folder.path().join("lost")).expect("renamed");
    std::fs::create_dir(&tokens).expect("a folder");
    hall.hsm.make(LABEL);
    hall.check_refused(
        &founded,
        1,
        &["/ca-root` is not in the token", &module, LABEL, "missing_keys"],
    );
    let ill = hall.doctor(&founded);
    assert!(
        ill["level"] == "fail" && text(&ill, "found").contains("/ca` is not in the token"),
        "{ill}"
    );
    rewrite(&founded, &label, &format!("{label}\npkcs11.missing_keys = \"revocable\""));
    let cast = Cast::at(hall.serve(&founded).await, 60).await;
    let server = &cast.server;
    let agent = cast.bare_agent("planner").await;
    let instance = cast.instance_of(&agent).await;
    let secret = hall.folder.file("secret");
    std::fs::write(&secret, &instance.secret).expect("written");
    let (key, to) = (hall.folder.file("key"), hall.folder.file("pem"));
    let who = ["--org", &*server.org, "--client-id", &*agent, "--secret-file", &*secret];
    let issue =
        [&["certificate", "issue"][..], &who, &["--key", &key, "--certificate", &to]].concat();
    assert_ne!(server.cli(&issue).code, 0, "signed by nobody");
    // What would follow first, which is lost as well; then the root, which takes the intermediate out of
    // use; and that one, which else would have to sign its lists until its certificates are over.
    let listed = server.cli_json(&["signing-key", "list"]);
    let lost =
        listed["items"].as_array().expect("keys").iter().filter(|key| key["held"] == "pkcs11");
    let rank = |key: &Value| (key["state"] != "next", key["purpose"] != "ca-root");
    let mut lost: Vec<_> = lost.collect();
    lost.sort_by_key(|key| rank(key));
    for key in &lost {
        server.cli(&["signing-key", "revoke", &text(key, "id"), "--reason", "lost"]).good();
    }
    assert_eq!(lost.len(), 4);
    assert_eq!(held(server, &SIGNING), expected(&["ca", "ca-root"]));
    issues(&cast, &agent, "anew").await;
}
