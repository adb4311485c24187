//! The guide's own words: the blocks marked `sh` of each chapter are one script, run as it stands by
//! a shell, against a server that nobody has used.
//!
//! Blocks marked otherwise (`console`, `rust`) show what cannot be run here: a server in the
//! foreground, somebody else's program.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::stage::binary::{self, workspace};
use crate::stage::{Ask, Server};

/// Chapters without commands: a table of settings.
const WITHOUT_COMMANDS: [&str; 1] = ["configuration.md"];

fn guide(file: &str) -> String {
    let path = workspace().join("docs/guide").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The chapters that the summary names, in its order.
fn chapters() -> Vec<String> {
    let summary = guide("SUMMARY.md");
    let links = summary.lines().filter_map(|line| line.strip_prefix("- [")?.split_once("]("));
    links.map(|(_, file)| file.trim_end_matches(')').to_owned()).collect()
}

/// All blocks of a chapter that are marked `sh`, joined.
fn script(chapter: &str) -> String {
    let (mut script, mut inside) = (String::new(), false);
    for line in chapter.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            line if inside => {
                script.push_str(line);
                script.push('\n');
            }
            _ => {}
        }
    }
    assert!(!inside, "a block that does not end");
    script
}

/// A shell that ends at the first command that fails, with the binary and this server at hand.
fn shell(server: &Server, script: &str) -> Command {
    let programs = binary::accredit().parent().expect("its folder");
    let mut shell = Command::new("/bin/sh");
    shell.args(["-eu", "-c", script]).env_clear().stdin(Stdio::null());
    shell.env("PATH", format!("{}:/usr/bin:/bin", programs.display()));
    shell.env("HOME", "/nonexistent").current_dir(server.folder().path());
    shell.env("ACCREDIT_URL", &server.url).env("ACCREDIT_TOKEN", &server.admin);
    shell
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_chapter_of_the_guide_does_what_it_says() {
    let chapters = chapters();
    assert!(chapters.len() >= 7, "{chapters:?}");
    for chapter in &chapters {
        let script = script(&guide(chapter));
        if WITHOUT_COMMANDS.contains(&chapter.as_str()) {
            assert!(script.is_empty(), "{chapter} has commands");
            continue;
        }
        assert!(script.contains("accredit "), "{chapter} has no commands");
        let server = Server::dev().await;
        let ran = binary::run(shell(&server, &script));
        assert_eq!(ran.code, 0, "{chapter}: {}\n{}", ran.out, ran.err);
        assert_eq!(server.send(Ask::get("/readyz")).await.status, 200, "{chapter}");
    }
}

#[test]
fn the_summary_names_every_chapter_and_links_lead_somewhere() {
    let chapters = chapters();
    let files = std::fs::read_dir(workspace().join("docs/guide")).expect("the guide");
    for file in files {
        let name = file.expect("a file").file_name().into_string().expect("a name");
        let is_chapter = Path::new(&name).extension().is_some_and(|kind| kind == "md");
        if is_chapter && name != "SUMMARY.md" {
            assert!(chapters.contains(&name), "the summary does not name {name}");
        }
    }
    for chapter in &chapters {
        let text = guide(chapter);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = workspace().join("docs/guide").join(link);
            assert!(link.starts_with("http") || path.exists(), "{chapter}: {link}");
        }
    }
}
