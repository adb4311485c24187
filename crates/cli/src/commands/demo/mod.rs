//! `accredit demo`: the main job from end to end on this machine, with what it measured.
//!
//! Real parts only, all on loopback: the server is this same program started once more, the
//! resource is guarded by the library that users compile in, and every request is HTTP. Each
//! promise is proven by what was seen: nothing is said to hold that was not measured in this run.
//! It takes a few seconds, most of them the overlap in which an old credential still works.
//! Absent on purpose: anything that a user could not do in the same way.

mod caller;
mod chapters;
mod clock;
mod idp;
mod registration;
mod report;
mod resource;
mod scan;
mod server;
mod tamper;

use std::path::{Path, PathBuf};

use clap::Args;

use self::report::ScoreCard;
use super::serving;
use crate::context::Context;
use crate::errors::Failure;
use crate::exit::Exit;

/// Arguments of `accredit demo`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  accredit demo\n  accredit demo --keep ./demo\n  accredit demo --output json"
)]
pub(crate) struct Demo {
    /// Keep the server's data, the log with the leaked secret, the exported log and its altered
    /// copies in this new folder
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// Runs the story to its end, or until told to stop. Whatever was started is ended with it.
pub(crate) async fn run(args: &Demo, cx: &Context) -> Result<(), Failure> {
    let mut stop = serving::stop_signal()?;
    let temporary = tempfile::tempdir().map_err(|error| {
        Failure::file("no temporary folder", &error, "name a new folder with `--keep`")
    })?;
    let folder = match &args.keep {
        Some(kept) => new_folder(kept)?,
        None => temporary.path().to_path_buf(),
    };
    let mut card = ScoreCard::new(&cx.out, clock::now());
    tokio::select! {
        outcome = Box::pin(chapters::tell(&folder, &mut card)) => outcome?,
        _ = stop.wait_for(|stop| *stop) => return Err(Failure::interrupted()),
    }
    card.finish(clock::now())?;
    if args.keep.is_some() {
        let folder = folder.display();
        cx.out.say(&format!(
            "Everything is in {folder}. Try: accredit audit verify {folder}/{} --key {folder}/{}",
            chapters::log::EXPORT_FILE_NAME,
            chapters::log::KEY_FILE_NAME
        ));
    }
    verdict(&card)
}

/// An empty folder: a store that is there already belongs to another address.
fn new_folder(folder: &Path) -> Result<PathBuf, Failure> {
    let title = format!("`{}` cannot be the demo's folder", folder.display());
    let failed =
        |error: std::io::Error| Failure::file(&title, &error, "name another with `--keep`");
    std::fs::create_dir_all(folder).map_err(failed)?;
    if std::fs::read_dir(folder).map_err(failed)?.next().is_some() {
        return Err(Failure::usage(&title, "it is not empty", "name a new folder with `--keep`"));
    }
    folder.canonicalize().map_err(failed)
}

fn verdict(card: &ScoreCard) -> Result<(), Failure> {
    let failed = card.failed();
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Failure,
        "demo",
        "not every promise held",
        &failed.join("; "),
        "run it with `--keep DIR` and look into the server's log there",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_new_or_empty_folder_is_taken() {
        let outer = tempfile::tempdir().expect("a folder");
        let inner = outer.path().join("a").join("b");
        assert!(new_folder(&inner).expect("made").ends_with("a/b"));
        assert!(new_folder(&inner).is_ok(), "empty");
        let failure = new_folder(outer.path()).expect_err("not empty");
        assert_eq!(failure.exit, Exit::Usage);
        std::fs::write(inner.join("file"), "").expect("written");
        assert!(new_folder(&inner.join("file")).is_err(), "a file");
    }
}
