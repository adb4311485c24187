//! `accredit root`: the root key, which wraps all others, and how a new one takes its place.
//!
//! Mostly by the running server, which makes the new key itself: none ever crosses the network.
//! With `--config` here, on a store that no server runs on. Both do the same
//! ([`accredit_domain::root`]), and both finish what was cut off. The old key stays as
//! `.previous`, since older backups open with nothing else.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use accredit_domain::audit::event::{Actor, Body};
use accredit_domain::root::{RotatedRoot, rotate};
use accredit_domain::{Error, Fault};
use accredit_store::place::Place;
use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::interruptible;
use crate::compose;
use crate::context::Context;
use crate::errors::Failure;
use crate::exit::Exit;
use crate::output::line;
use crate::request_path::RequestPath;
use crate::root_key::{self, Files};
use crate::settings::Settings;

/// The noun.
#[derive(Debug, Args)]
pub(crate) struct Root {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a new root key and wrap everything under it: the running server does, without a stop
    #[command(
        after_help = "Examples:\n  ACCREDIT_TOKEN=$ACCREDIT_OPERATOR_TOKEN accredit root rotate\n  \
                      accredit root rotate --config /etc/accredit/accredit.toml\n\n\
                      The first is for the installation's operator alone. The second needs no \
                      server, and none may run on the store; it also finishes what was cut off, as \
                      a server does when it starts. The old key stays beside the new one as \
                      `.previous`: backups made before open with it alone."
    )]
    Rotate(Rotate),
}

#[derive(Debug, Args)]
struct Rotate {
    /// Rotate here, where no server runs, by the server's configuration
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs one of its verbs.
pub(crate) async fn run(root: Root, cx: &Context) -> Result<(), Failure> {
    let Verb::Rotate(args) = root.verb;
    match args.config {
        Some(config) => here(&config, cx).await,
        None => interruptible(at_server(cx)).await,
    }
}

/// At the server, by its operator.
async fn at_server(cx: &Context) -> Result<(), Failure> {
    let path = RequestPath::new("/v1/root").segment("rotate");
    let answer = cx.api()?.call(Method::POST, path, None).await?;
    cx.out.object(&answer)?;
    if answer.value.get("in_place").and_then(Value::as_bool) == Some(false) {
        cx.out.warn(
            "the new key opens the store, but its file still ends in `.next`: the log of the \
             server says why, and its next start finishes that",
        );
    }
    remind(cx);
    Ok(())
}

/// On the store itself.
async fn here(config: &Path, cx: &Context) -> Result<(), Failure> {
    let settings = Settings::read(config, &cx.around)?;
    let files = Files::of(&settings.root_key_file);
    let done = rotate_here(&settings.store, &files, &settings.public_url).await?;
    if cx.out.is_json() {
        let told = json!({
            "root_key_file": files.current,
            "previous": files.previous,
            "keys": done.as_ref().map(|done| done.keys),
            "finished_earlier": done.is_none(),
        });
        return line(&told.to_string());
    }
    if done.is_none() {
        cx.out.say("an earlier rotation was cut off; this finished it, with the key it had made");
    }
    line(&format!("root key     {}", files.current.display()))?;
    line(&format!("previous     {}", files.previous.display()))?;
    remind(cx);
    Ok(())
}

fn remind(cx: &Context) {
    cx.out.say(
        "copy the new key to where the old one is kept apart from backups; destroy the previous \
         one when no backup needs it any more",
    );
}

/// Rotates; nothing where that only finished an earlier rotation.
async fn rotate_here(
    store: &Place,
    files: &Files,
    public_url: &str,
) -> Result<Option<RotatedRoot>, Failure> {
    // A store that is not there would be made.
    if !compose::holds_store(store)? {
        return Err(Failure::new(
            Exit::NotFound,
            "root",
            "there is no store",
            &format!("`{store}` holds none"),
            "check `data` and `store` in the configuration, or run `accredit init`",
        ));
    }
    root_key::read(&files.current)?;
    let opened = compose::open_store(store, public_url).await.map_err(|failure| {
        let hint = "stop the server that runs on it, or leave out `--config` and let it rotate";
        Failure { exit: Exit::Conflict, hint: hint.into(), ..failure }
    })?;
    let Some(installation) = &opened.installation else {
        return Err(failed(&Fault::new("root key", "the store was never founded").into()));
    };
    let opening = files.opening(&installation.peppers).map_err(|(_, failure)| failure)?;
    if let Some(finished) = opening.finished {
        return finished.map(|()| None);
    }
    let place = Arc::new(files.clone());
    let composed = compose::put_together(opened, opening.root, public_url, place, None).await?;
    let body = Body { actor: Some(Actor { id: None, kind: "system" }), ..Body::default() };
    let now = composed.world.clock.now();
    let rotated = rotate(&composed.world, now, body).await;
    composed.store.close();
    let rotated = rotated.map_err(|error| failed(&error))?;
    if !rotated.in_place {
        files.move_next()?;
    }
    Ok(Some(rotated))
}

fn failed(error: &Error) -> Failure {
    let (detail, hint) = match error {
        Error::Refused(refusal) => (refusal.detail.clone(), refusal.hint.clone()),
        Error::Fault(fault) => {
            (fault.to_string(), "run it again: it goes on where it stopped".to_owned())
        }
    };
    Failure::new(Exit::Failure, "root", "the root key was not rotated", &detail, &hint)
}

#[cfg(test)]
mod tests;
