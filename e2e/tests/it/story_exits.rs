//! How commands end that do not do what they were asked to: the codes on which scripts branch, and
//! nothing left half done.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::stage::Cast;
use crate::stage::binary;
use crate::stage::server::Folder;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_ends_with_3_and_the_keyboard_with_130() {
    let cast = Cast::new().await;
    cast.agent("planner").await;
    for args in [
        &["agent", "get", "nobody"][..],
        &["agent", "suspend", "nobody", "--reason", "a test"],
        &["credential", "get", "crd_00000000000000000000000000"],
        &["permission", "set", "--agent", "nobody", "--resource", "crm", "--action", "read"],
    ] {
        let ran = cast.server.cli(args);
        assert_eq!(ran.code, 3, "{args:?}: {ran:?}");
        assert!(ran.out.is_empty() && ran.err.contains("why:"), "{ran:?}");
    }

    let mut follow = cast.server.command(&["audit", "tail", "--follow", "--output", "json"]);
    let mut child = follow.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    let mut out = BufReader::new(child.stdout.take().expect("its output"));
    let mut line = String::new();
    out.read_line(&mut line).expect("an event");
    assert!(line.starts_with('{'), "{line}");
    let told = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(told.expect("kill runs").success());
    let ended = child.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(130), "{ended:?}");
}

fn names(folder: &Path) -> BTreeSet<String> {
    let files = std::fs::read_dir(folder).expect("a folder");
    files.map(|file| file.expect("a file").file_name().into_string().expect("UTF-8")).collect()
}

#[test]
fn an_installation_that_fails_midway_leaves_nothing_behind() {
    let folder = Folder::new();
    let data = folder.data();
    std::fs::create_dir(&data).expect("a folder");
    std::fs::write(data.join("notes.txt"), "mine").expect("a file");
    // Nothing is there, and nothing can be written there: it fails at its last step.
    let config = data.join("accredit.toml");
    std::os::unix::fs::symlink("/nowhere/accredit.toml", &config).expect("a link");
    let before = names(&data);
    let init = || {
        let data = data.to_str().expect("a path");
        binary::run(binary::command(&["init", "--data", data, "--output", "json"]))
    };
    let ran = init();
    assert_ne!(ran.code, 0, "{ran:?}");
    assert!(ran.out.is_empty(), "no key of what is not there: {ran:?}");
    assert_eq!(names(&data), before, "neither store nor root key");
    // What was in the way is gone: it is as if it had never been tried.
    std::fs::remove_file(&config).expect("removed");
    init().json();
    for file in ["accredit.db", "accredit.toml", "root.key", "notes.txt"] {
        assert!(data.join(file).exists(), "{file}");
    }
    // And what is there is not touched by another try.
    let key = std::fs::read(data.join("root.key")).expect("the key");
    assert_eq!(init().code, 6);
    assert_eq!(std::fs::read(data.join("root.key")).expect("the key"), key);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn colour_and_questions_are_for_who_wants_them() {
    let cast = Cast::new().await;
    cast.agent("planner").await;
    for (variables, coloured) in [
        (&[][..], false),
        (&[("CLICOLOR_FORCE", "1")], true),
        (&[("CLICOLOR_FORCE", "0")], false),
        (&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false),
        (&[("CLICOLOR_FORCE", "1"), ("TERM", "dumb")], false),
    ] {
        let mut command = cast.server.command(&["agent", "get", "nobody"]);
        command.envs(variables.iter().copied());
        let ran = binary::run(command);
        assert_eq!(ran.err.contains('\u{1b}'), coloured, "{variables:?}: {ran:?}");
    }
    // Off a terminal nobody can be asked: without --yes nothing ends.
    for more in [&[][..], &["--no-input"]] {
        let args = [&["agent", "decommission", "planner", "--reason", "a test"], more].concat();
        let ran = cast.server.cli(&args);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.err.contains("--yes"), "{ran:?}");
    }
    // Nor at a terminal where it was said that nobody is there.
    for (more, variables) in [("--no-input", &[][..]), ("", &[("CI", "true")])] {
        let accredit = binary::accredit().to_str().expect("a path");
        let line = format!("{accredit} agent decommission planner --reason test {more}");
        let mut command = Command::new("script");
        command.args(["-qec", &line, "/dev/null"]).stdin(Stdio::null());
        command.env("ACCREDIT_URL", &cast.server.url).env("ACCREDIT_TOKEN", &cast.server.admin);
        command.env_remove("CI").envs(variables.iter().copied());
        let ran = command.output().expect("script(1) of util-linux");
        let told = String::from_utf8_lossy(&ran.stdout).into_owned();
        assert_eq!(ran.status.code(), Some(2), "{told}");
        assert!(told.contains("nobody can be asked"), "{told}");
    }
    assert_eq!(cast.server.get("/v1/agents/planner").await["state"], "active");
}
