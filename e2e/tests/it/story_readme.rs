//! The README's own words: every command of `accredit` in it is run as it stands.

use crate::stage::binary::workspace;
use crate::stage::cast::text;
use crate::stage::reader::{Block, Reader, blocks};
use crate::stage::server::free_port;

fn readme() -> String {
    std::fs::read_to_string(workspace().join("README.md")).expect("a README")
}

/// The commands of `accredit` in its blocks. The others build it, and run the tests.
fn commands() -> Vec<String> {
    let mut commands = Vec::new();
    for block in blocks(&readme()) {
        if let Block::Commands(lines) = block {
            let (ours, others): (Vec<_>, Vec<_>) =
                lines.into_iter().partition(|line| line.starts_with("accredit "));
            assert!(others.iter().all(|line| line.starts_with("cargo ")), "who runs {others:?}?");
            commands.extend(ours);
        }
    }
    commands
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_of_the_readme_does_what_it_says() {
    let commands = commands();
    assert!(commands.len() >= 8, "{commands:?}");
    assert_eq!(commands[0], "accredit dev", "it begins with a server for trying");
    let mut reader = Reader::new();
    let mut has_copy = false;
    for command in &commands {
        reader.type_in(command).await;
        if command.contains("credential create") {
            // The next step of the text: any client gets a token now, and its copies are stopped.
            let server = reader.server();
            let (client, secret) = (reader.known("agt_"), reader.known("acr_agent_"));
            server.token(client, secret, "crm:read").await.good();
            let instance = server.cli_json(&["instance", "create", "--agent", client]);
            reader.learn(&text(&instance, "id"));
            has_copy = true;
        }
    }
    assert!(has_copy && reader.is_served().await);
}

/// The installation that its last lines set up, and every file that it names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_installation_of_the_readme_is_set_up_and_its_files_are_there() {
    let readme = readme();
    let spans: Vec<&str> = readme.split('`').skip(1).step_by(2).collect();
    let init = spans.iter().find(|span| span.starts_with("accredit init ")).expect("init");
    let serve = spans.iter().find(|span| span.starts_with("accredit serve ")).expect("serve");
    let mut reader = Reader::new();
    reader.keep(&format!("export ACCREDIT_LISTEN=127.0.0.1:{}", free_port()));
    reader.type_in(init).await;
    reader.type_in(serve).await;
    assert!(reader.is_served().await);
}
