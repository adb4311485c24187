//! The process keeps its memory to itself, and has no door
//! but those of its table.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::stage::binary::accredit;
use crate::stage::server::free_port;
use crate::stage::{Ask, Cast, until};

/// A user who is not root, for a process of theirs: the kernel shows whether it is dumpable by
/// whose its files under `/proc` are.
const SOMEBODY: u32 = 65_534;

/// Item 49: no core file, and no other process of the same user reads its memory (proc(5): the
/// files of a process that is not dumpable are root's, whoever runs it).
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_is_not_dumpable_and_leaves_no_core() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).expect("open");
    // Where the tests are built may be closed to others.
    let binary = folder.path().join("accredit");
    std::fs::copy(accredit(), &binary).expect("a copy");
    let own = std::fs::metadata("/proc/self").expect("proc").uid();
    let user = if own == 0 { SOMEBODY } else { own };
    let start = |program: &std::path::Path, args: &[&str]| {
        let mut command = Command::new(program);
        command.args(args).env_clear().env("HOME", "/nonexistent").current_dir(folder.path());
        command.env("TMPDIR", folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if own == 0 {
            command.uid(user);
        }
        command.spawn().expect("it starts")
    };
    let listen = format!("127.0.0.1:{}", free_port());
    let mut server = start(&binary, &["dev", "--listen", &listen]);
    let address = listen.parse().expect("an address");
    until("the server is ready", Duration::from_secs(20), async || {
        std::net::TcpStream::connect(address).is_ok()
            && Ask::get("/livez").try_send(address).await.is_some()
    })
    .await;
    let proc = |id: u32, file: &str| format!("/proc/{id}/{file}");
    let owner = |id: u32| std::fs::metadata(proc(id, "environ")).expect("a file").uid();
    let limits = std::fs::read_to_string(proc(server.id(), "limits")).expect("limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a line");
    let core: Vec<&str> = core.split_whitespace().skip(4).collect();
    let owner_of_server = owner(server.id());
    // What the test looks at tells the difference: a process like any other is its user's own.
    let mut other = start(std::path::Path::new("/bin/sleep"), &["30"]);
    until("another process runs", Duration::from_secs(5), async || owner(other.id()) == user).await;
    server.kill().expect("ended");
    other.kill().expect("ended");
    let (_, _) = (server.wait(), other.wait());
    assert_eq!(core[..2], ["0", "0"], "{limits}");
    if user != 0 {
        assert_eq!(owner_of_server, 0, "its files under /proc are its user's: it is dumpable");
    }
}

/// Item 54: nothing that tells what goes on inside, and nothing that a default would open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_no_door_but_those_of_the_table() {
    let cast = Cast::new().await;
    let server = &cast.server;
    for path in [
        "/debug",
        "/debug/pprof/",
        "/debug/vars",
        "/actuator",
        "/actuator/env",
        "/metrics",
        "/env",
        "/status",
        "/admin",
        "/console",
        "/swagger",
        "/.git/config",
        "/.env",
        "/server-status",
        "/v1/debug",
        "/v1/config",
        "/v1/shutdown",
        "/accredit.db",
        "/root.key",
        "/v1/../root.key",
        "/%2e%2e/root.key",
    ] {
        for method in ["GET", "POST", "TRACE", "CONNECT", "OPTIONS", "DEBUG"] {
            let answer = server.send(Ask::new(method, path).bearer(&server.admin)).await;
            assert!((400..500).contains(&answer.status), "{method} {path}: {}", answer.status);
        }
    }
    // Credentials that others ship with: none of them is anybody's here.
    for (id, secret) in
        [("admin", "admin"), ("accredit", "accredit"), ("root", "root"), ("dev", "dev")]
    {
        let form = [("grant_type", "client_credentials")];
        let ask = Ask::form(&server.at("/oauth/token"), &form).basic(id, secret);
        server.send(ask).await.refused(401, "invalid_client", "client-authentication");
        server.send(Ask::get("/v1/agents").bearer(secret)).await.problem(401, "admin-key");
        server.send(Ask::get("/v1/agents").basic(id, secret)).await.problem(401, "admin-key");
    }
    let other = crate::stage::Server::dev().await;
    assert_ne!(server.admin, other.admin, "every server has a key of its own");
    other.send(Ask::get("/v1/agents").bearer(&server.admin)).await.problem(401, "admin-key");
}
