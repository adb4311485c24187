//! The README's own words: every command of `accredit` in it is run as it stands.

use std::collections::BTreeMap;

use crate::stage::binary::{self, workspace};
use crate::stage::cast::text;
use crate::stage::{Ask, Server};

/// The commands of `accredit` in the blocks marked `sh`, one a line, continued lines joined.
fn commands() -> Vec<String> {
    let readme = std::fs::read_to_string(workspace().join("README.md")).expect("a README");
    let mut commands = Vec::new();
    let mut inside = false;
    for line in readme.replace("\\\n", " ").lines() {
        match line.trim() {
            "```sh" => inside = true,
            "```" => inside = false,
            line if inside => commands.extend(line.split("&&").map(|part| part.trim().to_owned())),
            _ => {}
        }
    }
    commands.retain(|command| command.starts_with("accredit "));
    commands
}

/// The words of a command as a shell splits them: blanks, double quotes, comments.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for letter in command.chars() {
        let word = words.last_mut().expect("one at least");
        match letter {
            '"' => quoted = !quoted,
            '#' if !quoted && word.is_empty() => break,
            ' ' if !quoted => {
                if !word.is_empty() {
                    words.push(String::new());
                }
            }
            _ => word.push(letter),
        }
    }
    assert!(!quoted, "a quote that does not end: {command}");
    words.retain(|word| !word.is_empty());
    words
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_of_the_readme_does_what_it_says() {
    let commands = commands();
    assert!(commands.len() >= 8, "{commands:?}");
    assert_eq!(commands[0], "accredit dev", "it begins with a server for trying");
    let server = Server::dev().await;
    // What stands for an id that the reader has.
    let mut known: BTreeMap<&str, String> = BTreeMap::new();
    for command in &commands[1..] {
        let mut words = words(command);
        for word in &mut words {
            if let Some((placeholder, id)) = known.iter().find(|(key, _)| *key == word) {
                assert!(placeholder.ends_with('…'));
                word.clone_from(id);
            }
            assert!(!word.contains('…'), "nobody knows what `{word}` stands for in `{command}`");
        }
        let mut args: Vec<&str> = words[1..].iter().map(String::as_str).collect();
        let makes = args.get(1) == Some(&"create");
        if makes {
            args.extend(["--output", "json"]);
        }
        let mut prepared = server.command(&args);
        prepared.current_dir(server.folder().path());
        let ran = binary::run(prepared);
        assert_eq!(ran.code, 0, "`{command}`: {ran:?}");
        if command.contains("credential create") {
            // The next step of the text: any client gets a token now, and its copies are stopped.
            let made: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
            let (client, secret) = (text(&made, "client_id"), text(&made, "client_secret"));
            server.token(&client, &secret, "crm:read").await.good();
            let instance = server.cli_json(&["instance", "create", "--agent", &client]);
            known.insert("ins_…", text(&instance, "id"));
        }
    }
    assert!(known.contains_key("ins_…"));
}

/// The installation that its last lines set up, and every file that it names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_installation_of_the_readme_is_set_up_and_its_files_are_there() {
    let readme = std::fs::read_to_string(workspace().join("README.md")).expect("a README");
    let spans: Vec<&str> = readme.split('`').skip(1).step_by(2).collect();
    let init = spans.iter().find(|span| span.starts_with("accredit init ")).expect("init");
    let serve = spans.iter().find(|span| span.starts_with("accredit serve ")).expect("serve");
    let folder = crate::stage::server::Folder::new();
    let run = |command: &str| {
        let words = words(command);
        let args: Vec<&str> = words[1..].iter().map(String::as_str).collect();
        let mut command = binary::command(&args);
        command.current_dir(folder.path());
        command
    };
    binary::run(run(init)).good();
    let mut child = run(serve)
        .env("ACCREDIT_LISTEN", format!("127.0.0.1:{}", crate::stage::server::free_port()))
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut log = std::io::BufReader::new(child.stderr.take().expect("its log"));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut log, &mut line).expect("a line");
    let serving: serde_json::Value = serde_json::from_str(&line).expect("a line of JSON");
    let address = text(&serving, "address").parse().expect("an address");
    let live = Ask::get("/livez").send(address).await.status;
    child.kill().expect("killed");
    child.wait().expect("ended");
    assert_eq!(live, 200);
}
