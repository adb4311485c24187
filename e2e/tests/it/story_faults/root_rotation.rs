//! Another root key while the server serves: not one request fails, backups open, and `kill -9` at
//! any moment of it leaves a store that exactly one file opens and the next start finishes.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use super::load::Load;
use crate::stage::cast::{Client, text};
use crate::stage::server::{Folder, init};
use crate::stage::{Ask, Cast, Server, binary};

/// How often the server is killed: every other time a little later, and in between as soon as another
/// key lies beside the one that is used.
const KILLS: u32 = 16;
/// How often at most, until rotations were cut off on both sides of what makes them final.
const KILLS_MAX: u32 = 256;
/// How much later. A rotation takes some tens of milliseconds.
const LATER: Duration = Duration::from_millis(6);

/// `accredit root rotate` by the operator of a server.
fn rotate(server: &Server, founded: &Value) -> std::process::Command {
    let mut command = server.command(&["root", "rotate", "--output", "json"]);
    command.env("ACCREDIT_TOKEN", text(founded, "operator_token"));
    command
}

async fn staged(folder: &Folder) -> (Value, Cast, Client) {
    let founded = init(folder, "http");
    let cast = Cast::at(Server::serve(folder.clone(), &founded).await, 60).await;
    let agent = cast.agent("planner").await;
    (founded, cast, agent)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_root_key_rotates_under_load_without_a_failed_request() {
    let folder = Folder::new();
    let (founded, mut cast, agent) = staged(&folder).await;
    let (config, root_key) = (text(&founded, "config"), text(&founded, "root_key_file"));
    let backup = |name: &str| {
        let args = ["backup", "create", "--config", &config, "-o", &folder.file(name)];
        binary::command(&[&args[..], &["--output", "json"]].concat())
    };
    // Not by an administrator of an organization, whatever they may do there.
    let refused = cast.server.cli(&["root", "rotate"]);
    assert_eq!(refused.code, 5, "{refused:?}");

    let first = fs::read(&root_key).expect("a key");
    let token = cast.token(&agent).await;
    let load = Load::start(&cast.server, &agent, 8);
    for number in 2..=4 {
        let seen = load.given();
        let before = fs::read(&root_key).expect("a key");
        // A backup is made at the same time: under the root key of its moment, whichever that is.
        let name = format!("{number}.backup");
        let making = std::thread::spawn({
            let making = backup(&name);
            move || binary::run(making)
        });
        let rotated = binary::run(rotate(&cast.server, &founded)).json();
        assert_eq!((&rotated["root"], &rotated["in_place"]), (&number.into(), &true.into()));
        assert!(making.join().expect("ended").code == 0, "no backup");
        assert_eq!(fs::read(format!("{root_key}.previous")).expect("kept"), before);
        assert!(!fs::exists(format!("{root_key}.next")).expect("looked"));
        let opens = |key: &str| {
            let args = ["backup", "verify", &folder.file(&name), "--root-key", key];
            binary::run(binary::command(&args)).code == 0
        };
        assert!(opens(&root_key) || opens(&format!("{root_key}.previous")), "no key opens it");
        while load.given() < seen + 20 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert_eq!(load.shed(), 0, "a request was refused");
    assert!(!load.end().await.is_empty());
    assert!(cast.server.is_active(&token).await, "what was signed before is alive");
    let events = cast.server.get("/v1/events?type=root_key.rotated").await;
    assert_eq!(events["items"].as_array().map(Vec::len), Some(3), "{events}");
    let log = fs::read_to_string(folder.file("log")).expect("a log");
    let key = fs::read_to_string(&root_key).expect("a key");
    assert!(!log.contains(key.trim()), "the key stands in the log");

    // Stopped and started: with the key that is there now, and no earlier one.
    assert_eq!(cast.server.stop(), Some(0));
    cast.server = Server::serve(folder.clone(), &founded).await;
    cast.token(&agent).await;
    assert_eq!(cast.server.stop(), Some(0));
    fs::write(&root_key, first).expect("written");
    let refused = binary::run(binary::command(&["root", "rotate", "--config", &config]));
    assert!(refused.code > 0 && refused.err.contains("opens this"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_of_a_rotation_the_next_start_goes_on_with_everything() {
    let folder = Folder::new();
    let (founded, mut cast, agent) = staged(&folder).await;
    let root_key = text(&founded, "root_key_file");
    let token = cast.token(&agent).await;
    let next = format!("{root_key}.next");
    // Rotations that the kill cut off: those that have come to nothing, and those that had become
    // final and were finished by the next start.
    let (mut undone, mut finished) = (0, 0);
    for round in 0..KILLS_MAX {
        if round >= KILLS && undone > 0 && finished > 0 {
            break;
        }
        let before = fs::read(&root_key).expect("a key");
        // One that came to nothing leaves its key lying there.
        let left = fs::read(&next).ok();
        let is_made = || fs::read(&next).ok().is_some_and(|made| Some(made) != left);
        let ask = Ask::new("POST", "/v1/root/rotate").bearer(&text(&founded, "operator_token"));
        let address = cast.server.address;
        let load = Load::start(&cast.server, &agent, 2);
        let asked = tokio::spawn(async move { ask.try_send(address).await });
        if round % 2 == 0 {
            tokio::time::sleep(LATER * (round % KILLS / 2)).await;
        } else {
            while !asked.is_finished() && !is_made() {
                tokio::time::sleep(Duration::from_micros(100)).await;
            }
            // From the file to the store and back to the file, the further the later the round.
            tokio::time::sleep(Duration::from_millis(u64::from(round / 2 % 8))).await;
        }
        cast.server.kill();
        let answer = asked.await.expect("no panic");
        load.end().await;
        let is_under_way = is_made();
        assert!(answer.is_none() || !is_under_way, "answered, and not in its place");
        let cut_off = fs::read(&root_key).expect("there is always one") == before;
        cast.server = Server::serve(folder.clone(), &founded).await;
        let now = fs::read(&root_key).expect("a key");
        assert!(now != before || answer.is_none(), "answered, and not rotated");
        finished += u32::from(is_under_way && cut_off && now != before);
        undone += u32::from(is_under_way && now == before);
        if now != before {
            assert_eq!(fs::read(format!("{root_key}.previous")).expect("kept"), before);
        }
        // Every key opens: the token's, the feed's and the log's.
        cast.token(&agent).await;
        assert!(cast.server.is_active(&token).await, "round {round}");
        cast.connected().await;
        let report = cast.server.cli_json(&["fsck"]);
        assert_eq!(report["ok"], true, "round {round}: {report}");
    }
    assert!(
        undone > 0 && finished > 0,
        "{undone} cut off before they were final, {finished} after"
    );
    // And a whole one goes on from whatever was left.
    let rotated = binary::run(rotate(&cast.server, &founded)).json();
    assert_eq!(rotated["in_place"], true);
    cast.token(&agent).await;
}
