//! The guide's own words: a reader with a machine that nobody has used goes through each chapter,
//! types every command and sees what it says they print. How is said in `stage/reader.rs`.

use std::path::Path;
use std::time::Duration;

use crate::stage::binary::{self, workspace};
use crate::stage::cast::text;
use crate::stage::reader::{Block, Reader, blocks};
use crate::stage::server::{Folder, free_port};
use crate::stage::{Server, until};
use crate::story_restart::write_certificate;

/// Chapters without commands: a table of settings, which is generated, and what needs a server of
/// somebody else's, whose commands `story_postgres` runs, whose nodes `story_nodes` does, and whose files `story_compose`
/// and the interop tests do.
const WITHOUT_COMMANDS: [&str; 4] =
    ["configuration.md", "postgresql.md", "many-nodes.md", "deploying.md"];

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

/// Reads a chapter to its end and does what it says.
async fn read(chapter: &str) {
    let mut reader = Reader::new();
    reader.follow(&guide(chapter)).await;
    assert!(reader.is_served().await, "{chapter} leaves a server behind that is not well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_ten_minutes_are_as_the_guide_says() {
    read("first-ten-minutes.md").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_are_registered_as_the_guide_says() {
    read("registering-agents.md").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_come_as_the_guide_says() {
    read("users.md").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workloads_need_no_secret_as_the_guide_says() {
    read("workloads.md").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_are_invited_as_the_guide_says() {
    read("nodes.md").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_run_without_code_of_ours_as_the_guide_says() {
    read("running-agents.md").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_verified_as_the_guide_says() {
    read("verifying.md").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_get_certificates_as_the_guide_says() {
    read("certificates.md").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_known_by_certificates_as_the_guide_says() {
    read("mutual-tls.md").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_in_a_token_as_the_guide_says() {
    if binary::is_there("softhsm2-util") {
        read("hardware-keys.md").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_trust_domains_are_known_as_the_guide_says() {
    read("trust-domains.md").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_is_delegated_as_the_guide_says() {
    read("delegating.md").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn things_rotate_and_end_as_the_guide_says() {
    read("rotating-and-revoking.md").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_read_and_proven_as_the_guide_says() {
    read("the-log.md").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installation_runs_as_the_guide_says() {
    read("running.md").await;
}

#[test]
fn every_chapter_is_read_by_a_test_and_has_commands_in_blocks_that_are_run() {
    let this = std::fs::read_to_string(workspace().join("e2e/tests/it/story_guide.rs"));
    let this = this.expect("this file");
    for chapter in chapters() {
        let mut commands = 0;
        for block in blocks(&guide(&chapter)) {
            match block {
                Block::Commands(lines) => commands += lines.len(),
                Block::Output(lines) => {
                    let typed = ["accredit ", "$ ", "curl "];
                    let hidden =
                        lines.iter().find(|line| typed.iter().any(|t| line.starts_with(t)));
                    assert_eq!(hidden, None, "{chapter} hides a command in its output");
                }
                Block::Settings(_) => {}
            }
        }
        let is_exempt = WITHOUT_COMMANDS.contains(&chapter.as_str());
        assert_eq!(commands == 0, is_exempt, "{chapter} has {commands} commands");
        assert!(
            is_exempt || this.contains(&format!("read(\"{chapter}\")")),
            "who reads {chapter}?"
        );
    }
}

#[test]
#[should_panic(expected = "nobody runs a block marked `json`")]
fn a_block_of_a_language_that_nobody_runs_is_refused() {
    blocks("It says:\n\n```json\n{}\n```\n");
}

#[test]
#[should_panic(expected = "nobody runs a block marked `sh,ignore`")]
fn a_block_that_is_marked_to_be_left_out_is_refused() {
    blocks("```sh,ignore\naccredit dev\n```\n");
}

/// Settings in a chapter or in the README, each in an installation of its own: they are taken as
/// they stand, the check looks at every one of them, and a server runs with them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_in_a_chapter_are_served_with() {
    let readme = std::fs::read_to_string(workspace().join("README.md")).expect("a README");
    let texts = chapters().into_iter().map(|chapter| guide(&chapter)).chain([readme]);
    let mut found = Vec::new();
    for block in texts.flat_map(|text| blocks(&text)) {
        if let Block::Settings(lines) = block {
            found.push(lines);
        }
    }
    assert!(found.len() >= 2, "{found:?}");
    for settings in found {
        let folder = Folder::new();
        let address = format!("127.0.0.1:{}", free_port());
        let url = format!("https://{address}");
        let public = settings.iter().find_map(|line| line.strip_prefix("public_url = "));
        let public = public.map_or(url.as_str(), |public| public.trim_matches('"'));
        let data = folder.file("data");
        let init = ["init", "--data", &data, "--org", "acme", "--public-url", public];
        let init = [&init[..], &["--listen", &address, "--output", "json"]].concat();
        let mut founded = binary::run(binary::command(&init)).json();
        let certificate = write_certificate(&folder);
        let config = text(&founded, "config");
        let written = std::fs::read_to_string(&config).expect("a configuration");
        // A whole file stands for itself. A part joins the file that `init` wrote.
        let is_whole = settings.iter().any(|line| line.starts_with("public_url "));
        let before = if is_whole { "" } else { written.as_str() };
        let together = |lines: &[String]| format!("{before}\n{}\n", lines.join("\n"));
        for left_out in 0..settings.len() {
            let Some((name, _)) = settings[left_out].split_once(" = ") else { continue };
            let mut misspelled = settings.clone();
            misspelled[left_out] = settings[left_out].replacen(name, &format!("{name}s"), 1);
            std::fs::write(&config, together(&misspelled)).expect("a file");
            let ran = binary::run(binary::command(&["config", "check", "--config", &config]));
            assert_ne!(ran.code, 0, "`{name}s` is taken for a setting: {ran:?}");
        }
        std::fs::write(&config, together(&settings)).expect("a file");
        binary::run(binary::command(&["config", "check", "--config", &config])).good();
        // It listens where nobody else does; its clients reach it there.
        let mut serve = binary::command(&["serve", "--config", &config]);
        serve.env("ACCREDIT_LISTEN", &address);
        let is_tls = settings.iter().any(|line| line == "[tls]");
        founded["url"] = if is_tls { url } else { format!("http://{address}") }.into();
        let server = Server::serve_by(serve, folder.clone(), &founded).await;
        let ca = certificate.to_str().expect("a path");
        let list = ["org", "list", "--ca-file", ca];
        until("it serves", Duration::from_secs(20), async || server.cli(&list).code == 0).await;
    }
}

/// Commands that stand in sentences, such as `accredit revoke`: they are run for their help alone.
#[test]
fn every_command_that_a_chapter_mentions_exists() {
    for chapter in chapters() {
        let text = guide(&chapter);
        let mentioned = text.split('`').filter(|span| span.starts_with("accredit "));
        for span in mentioned {
            let is_name = |word: &&str| {
                word.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-')
                    && !word.starts_with('-')
            };
            let names = span.split_whitespace().skip(1).take_while(is_name).take(2);
            let args: Vec<&str> = names.chain(["--help"]).collect();
            let ran = binary::run(binary::command(&args));
            assert_eq!(ran.code, 0, "{chapter}: `{span}`: {ran:?}");
        }
    }
}

/// So that there is one text to be kept right; the library's is compiled with its documentation.
#[test]
fn rust_in_a_chapter_is_that_of_the_readme_or_of_the_library() {
    let of = |path: &str| std::fs::read_to_string(workspace().join(path)).expect("a file");
    let library = of("crates/sdk/src/lib.rs") + &of("crates/sdk/src/mtls/mod.rs");
    // An empty line of a comment has no blank behind.
    let known = of("README.md") + &library.replace("//! ", "").replace("//!\n", "\n");
    for chapter in chapters() {
        let text = guide(&chapter);
        for block in text.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            assert!(known.contains(block), "{chapter} has Rust of its own:\n{block}");
        }
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
            let (file, place) = link.split_once('#').unwrap_or((link, ""));
            let path = workspace().join("docs/guide").join(file);
            assert!(link.starts_with("http") || path.exists(), "{chapter}: {link}");
            let is_there = place.is_empty() || anchors(&guide(file)).any(|it| it == place);
            assert!(link.starts_with("http") || is_there, "{chapter}: {link}");
        }
    }
}

/// What the headings of a page are linked by, as mdBook names them.
fn anchors(page: &str) -> impl Iterator<Item = String> {
    page.lines().filter(|line| line.starts_with('#')).map(|line| {
        let words = line.trim_start_matches('#').trim().to_lowercase();
        let kept =
            words.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
        kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
    })
}
