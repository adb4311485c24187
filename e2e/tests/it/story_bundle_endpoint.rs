//! Two servers that federate by `https_spiffe`: one follows the bundle of an organization of the other by the
//! roots that it was given once, through a change of them, and believes nobody else.
//!
//! Names of hosts are this machine's by a library under both (`shim/names.c`): there is no DNS here.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::stage::binary::{self, Ran, is_there};
use crate::stage::cast::text;
use crate::stage::server::{Folder, free_port};
use crate::stage::{Server, until};

const SERVES_WITHIN: Duration = Duration::from_secs(20);
/// What is below this host is on this machine.
const HOST: &str = "id.accredit.test";

/// A command for which names below the host are this machine's.
fn here(mut command: Command, library: &Path) -> Command {
    command.env("LD_PRELOAD", library).env("NAMES_BELOW", HOST);
    command
}

/// A server that speaks TLS by its own authority, reached by its name.
struct Followed {
    server: Server,
    url: String,
    ca: String,
}

impl Followed {
    async fn new(library: &Path) -> Self {
        let (folder, port) = (Folder::new(), free_port());
        let (data, listen) = (folder.file("data"), format!("127.0.0.1:{port}"));
        let url = format!("https://{HOST}:{port}");
        let args = ["init", "--data", &data, "--org", "acme", "--public-url", &url, "--own-ca"];
        let args = [&args[..], &["--listen", &listen, "--output", "json"]].concat();
        let mut founded = binary::run(binary::command(&args)).json();
        let ca = folder.file("ca.pem");
        let bundle = ["tls", "bundle", "--config", &text(&founded, "config"), "-o", &ca];
        binary::run(binary::command(&bundle)).good();
        founded["url"] = format!("https://{listen}").into();
        let followed = Self { server: Server::serve(folder, &founded).await, url, ca };
        let list = || followed.cli(&["org", "list"], library).code == 0;
        until("it serves", SERVES_WITHIN, async || list()).await;
        followed
    }

    /// A command at its name.
    fn cli(&self, args: &[&str], library: &Path) -> Ran {
        let mut command = here(self.server.command(args), library);
        command.env("ACCREDIT_URL", &self.url).env("ACCREDIT_CA_FILE", &self.ca);
        binary::run(command)
    }

    fn cli_json(&self, args: &[&str], library: &Path) -> Value {
        self.cli(&[args, &["--output", "json"]].concat(), library).json()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_follows_another_ones_bundle_by_the_roots_that_it_was_given() {
    if !is_there("curl") {
        assert!(!binary::in_ci(), "CI fetches with curl: install it");
        return;
    }
    let library = binary::shim("names");
    let followed = Followed::new(&library).await;
    let folder = Folder::new();
    let mut follower = here(Server::dev_command(&folder, 0), &library);
    follower.env("ACCREDIT_OUTBOUND_LOOPBACK", followed.server.address.to_string());
    let follower = Server::started(follower, folder).await;

    let ca = followed.cli_json(&["ca", "show"], &library);
    let (domain, url) = (text(&ca, "trust_domain"), text(&ca, "bundle_endpoint_url"));
    assert_eq!(domain, format!("acme.{HOST}"));
    // What somebody brings over once.
    let given = follower.folder().file("acme.json");
    let at = format!("{}/o/acme/spiffe/bundle", followed.url);
    let resolve = at.replace("https://", "").replace("/o/acme/spiffe/bundle", ":127.0.0.1");
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--cacert", &followed.ca, "--resolve", &resolve, "-o", &given, &at]);
    binary::run(curl).good();

    let id = text(&ca, "bundle_endpoint_id");
    let add = |id: &str, bundle: &str| {
        let add = ["trust-domain", "add", &domain, "--profile", "https_spiffe"];
        let by = ["--bundle", bundle, "--bundle-url", &url, "--endpoint-id", id];
        follower.cli(&[&add[..], &by, &["--output", "json"]].concat())
    };
    let other = format!("spiffe://{domain}/spire/server");
    let refused = add(&other, &given);
    assert!(refused.code != 0, "another server than is expected: {refused:?}");
    let foreign = follower.folder().file("foreign.json");
    let own = follower.get(&follower.at("/spiffe/bundle")).await;
    std::fs::write(&foreign, own.to_string()).expect("written");
    let refused = add(&id, &foreign);
    assert!(refused.code != 0, "roots that have not signed it: {refused:?}");
    let added = add(&id, &given).json();
    assert_eq!(added["profile"], "https_spiffe");

    // The next root signs: it was in the bundle that is held, and by it the new one is had.
    let rotate = ["signing-key", "rotate", "--purpose", "ca-root", "--now"];
    followed.cli(&rotate, &library).good();
    let refreshed = follower.cli_json(&["trust-domain", "refresh", &domain]);
    assert!(refreshed["sequence"].as_u64() > added["sequence"].as_u64(), "{refreshed}");
    followed.cli(&rotate, &library).good();
    follower.cli(&["trust-domain", "refresh", &domain]).good();
}
