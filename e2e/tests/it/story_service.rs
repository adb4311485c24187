//! A service manager starts the server and is told when it serves and when it stops; the unit for
//! systemd starts what there is, and leaves it little to break.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use crate::stage::Server;
use crate::stage::binary::{self, workspace};
use crate::stage::cast::text;
use crate::stage::server::{Folder, free_port};

/// The most that `systemd-analyze security` may find, in tenths: "OK" ends at 20.
const EXPOSURE_MAX: &str = "15";

/// The most for the daemon of a node, which must see what other processes run.
const EXPOSURE_OF_EDGE_MAX: &str = "22";

fn unit() -> String {
    read("accredit")
}

fn read(name: &str) -> String {
    let file = workspace().join(format!("deploy/systemd/{name}.service"));
    std::fs::read_to_string(file).expect("a unit")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_manager_is_told_that_it_serves_and_that_it_stops() {
    let folder = Folder::new();
    let listen = format!("127.0.0.1:{}", free_port());
    let (data, url) = (folder.file("data"), format!("http://{listen}"));
    let args = ["init", "--data", &data, "--org", "acme", "--public-url", &url];
    let more = ["--listen", &listen, "--output", "json"];
    let founded = binary::run(binary::command(&[&args[..], &more].concat())).json();
    let socket = folder.file("notify");
    let manager = UnixDatagram::bind(&socket).expect("a socket");
    manager.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    let told = || {
        let mut state = [0u8; 64];
        let length = manager.recv(&mut state).expect("the manager is told");
        String::from_utf8_lossy(&state[..length]).into_owned()
    };
    let config = founded["config"].as_str().expect("a path");
    let mut command = binary::command(&["serve", "--config", config]);
    command.env("NOTIFY_SOCKET", &socket);
    let mut server = Server::serve_by(command, folder.clone(), &founded).await;
    assert_eq!(told(), "READY=1");
    assert_eq!(server.stop(), Some(0));
    assert_eq!(told(), "STOPPING=1");
}

#[test]
fn the_unit_starts_a_command_that_there_is() {
    let unit = unit();
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("a command");
    let mut words: Vec<&str> = line.split(' ').collect();
    assert_eq!(words.remove(0), "/usr/bin/accredit");
    let ran = binary::run(binary::command(&words));
    // There is no such configuration here: that, and no mistake in the command line, is the trouble.
    assert!(ran.code != 0 && ran.err.contains("/var/lib/accredit/accredit.toml"), "{ran:?}");
    assert!(!ran.err.contains("Usage"), "{ran:?}");
    assert!(unit.contains("\nType=notify\n"));
}

#[test]
fn the_unit_leaves_the_service_little_to_break() {
    for (name, most) in [("accredit", EXPOSURE_MAX), ("accredit-edge", EXPOSURE_OF_EDGE_MAX)] {
        let file = workspace().join(format!("deploy/systemd/{name}.service"));
        let mut look = Command::new("systemd-analyze");
        look.args(["security", "--offline=true", "--no-pager", "--threshold", most]).arg(file);
        match look.output() {
            Ok(found) => {
                let said = String::from_utf8_lossy(&found.stdout);
                assert!(found.status.success(), "{said}{}", String::from_utf8_lossy(&found.stderr));
            }
            Err(error) => println!("not looked at: systemd-analyze: {error}"),
        }
    }
}

#[test]
fn the_unit_of_a_node_starts_a_command_that_there_is() {
    let unit = read("accredit-edge");
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("a command");
    let folder = Folder::new();
    let line = line.replace("/var/lib/accredit-edge", &folder.file("state"));
    let mut words: Vec<&str> = line.split(' ').collect();
    assert_eq!(words.remove(0), "/usr/bin/accredit");
    let socket = folder.file("no/such");
    words.extend(["--socket", &socket]);
    let ran = binary::run(binary::command(&words));
    // There is no such folder here: that, and no mistake in the command line, is the trouble.
    assert!(ran.code == 1 && ran.err.contains("the socket was not opened"), "{ran:?}");
    assert!(unit.contains("\nType=notify\n") && unit.contains("\nRuntimeDirectory=accredit\n"));
}

/// Whom a server in a container runs as, in this test.
const NOBODY: u32 = 65_534;

#[test]
fn a_root_key_that_a_cluster_mounts_for_the_servers_group_is_taken_and_no_wider_one() {
    let folder = Folder::new();
    if std::fs::metadata(folder.path()).expect("there").uid() != 0 {
        return println!("not run: only root can give files away");
    }
    let data = folder.file("data");
    let founded =
        binary::run(binary::command(&["init", "--data", &data, "--output", "json"])).json();
    let (config, key) = (text(&founded, "config"), folder.file("data/root.key"));
    for path in [folder.path().display().to_string(), data.clone()] {
        chown(&path, Some(NOBODY), Some(NOBODY)).expect("given away");
        for entry in std::fs::read_dir(&path).expect("a folder") {
            let file = entry.expect("an entry").path();
            chown(&file, Some(NOBODY), Some(NOBODY)).expect("given away");
        }
    }
    // A Secret of Kubernetes with `fsGroup`: root's, and the group's to read.
    chown(&key, Some(0), Some(NOBODY)).expect("given away");
    let fsck = |mode: u32, is_root: bool| {
        std::fs::set_permissions(&key, Permissions::from_mode(mode)).expect("set");
        let mut fsck = binary::command(&["fsck", "--config", &config]);
        if !is_root {
            fsck.uid(NOBODY).gid(NOBODY);
        }
        binary::run(fsck)
    };
    fsck(0o440, false).good();
    for (mode, is_root) in [(0o444, false), (0o460, false), (0o440, true)] {
        let ran = fsck(mode, is_root);
        assert!(ran.code != 0 && ran.err.contains("others can read it"), "{mode:o}: {ran:?}");
    }
}
