//! `accredit tls`: the installation's own authority, by which its listener speaks TLS.
//!
//! Trust begins with what is printed here, on the machine of the store: without a server, before the first one,
//! and beside a running one, since roots that are there are only read.

use std::path::PathBuf;
use std::sync::Arc;

use accredit_domain::ca::listener::{self, ListenerRoot, Roots};
use accredit_domain::{Fault, World};
use accredit_store::inspect;
use accredit_store::place::Place;
use accredit_wire::time::Time;
use accredit_wire::tlog::Hash;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::certificate;
use crate::compose;
use crate::context::Context;
use crate::errors::Failure;
use crate::exit::Exit;
use crate::output::line;
use crate::root_key::{self, Files};
use crate::settings::Settings;

/// The noun.
#[derive(Debug, Args)]
pub(crate) struct Tls {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print or write the roots that clients of the server are to trust, PEM; made where there are none yet
    #[command(
        after_help = "Examples:\n  accredit tls bundle --config /etc/accredit/accredit.toml -o ca.pem\n  \
                      ACCREDIT_CA_FILE=ca.pem accredit org list\n  \
                      curl --cacert ca.pem https://id.example.com/readyz\n\n\
                      For a server with `own_ca = true` in `[tls]`. They are for the host of its public URL and \
                      no other.\nOne signs and the other one follows it within nine years: whoever has both sees \
                      no difference then."
    )]
    Bundle(Bundle),
    /// Let the next root sign, end the one that signs, and make another the next
    #[command(
        after_help = "Example:\n  accredit tls rotate --config /etc/accredit/accredit.toml\n\n\
                      The server does it by itself a year before the end. Clients that have both roots go on; \
                      give them the\nnew bundle before the next time. Where the store is a file, no server may \
                      run on it meanwhile; nodes on\na database take the other root within ten seconds."
    )]
    Rotate(Rotate),
}

#[derive(Debug, Args)]
struct Bundle {
    /// The configuration that `accredit init` wrote
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Where they are written, all at once; else standard output
    #[arg(long = "output-file", short = 'o', value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Rotate {
    /// The configuration that `accredit init` wrote
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Runs one of its verbs.
pub(crate) async fn run(tls: Tls, cx: &Context) -> Result<(), Failure> {
    match tls.verb {
        Verb::Bundle(args) => bundle(args, cx).await,
        Verb::Rotate(args) => rotate(&args, cx).await,
    }
}

async fn bundle(args: Bundle, cx: &Context) -> Result<(), Failure> {
    let settings = Settings::read(&args.config, &cx.around)?;
    let found = find(&settings.store)?;
    let roots = match found {
        Some(roots) => roots,
        None => changed(&settings, Change::Made).await?,
    };
    let text = roots.bundle();
    match args.file {
        Some(file) => {
            let put = tokio::task::spawn_blocking(move || certificate::replace(&file, &text)).await;
            put.unwrap_or_else(|_| Err(Failure::interrupted()))?;
            if cx.out.is_json() { line(&told(&roots).to_string()) } else { Ok(()) }
        }
        None if cx.out.is_json() => line(&told(&roots).to_string()),
        None => line(text.trim_end()),
    }
}

async fn rotate(args: &Rotate, cx: &Context) -> Result<(), Failure> {
    let settings = Settings::read(&args.config, &cx.around)?;
    find(&settings.store)?;
    let roots = changed(&settings, Change::Rotated).await?;
    if cx.out.is_json() {
        return line(&told(&roots).to_string());
    }
    for (root, state) in both(&roots) {
        line(&format!("{state:<12} {}  until {}", root.key.id, root.certificate.until()))?;
    }
    let config = args.config.display();
    cx.out.say(&format!("give clients the new roots: accredit tls bundle --config {config}"));
    Ok(())
}

/// The roots that a store has, which must exist; it may be served meanwhile.
fn find(place: &Place) -> Result<Option<Roots>, Failure> {
    if compose::holds_store(place)? {
        return inspect::listener_roots(place).map_err(|fault| failed(&fault));
    }
    let detail = format!("`{place}` holds none");
    let hint = "check `data` and `store` in the configuration, or run `accredit init`";
    Err(Failure::new(Exit::NotFound, "tls", "there is no store", &detail, hint))
}

/// What becomes of the roots.
#[derive(Clone, Copy)]
enum Change {
    Made,
    Rotated,
}

/// The roots after a change, by this process.
async fn changed(settings: &Settings, change: Change) -> Result<Roots, Failure> {
    let (files, url) = (Files::of(&settings.root_key_file), &settings.public_url);
    // Before the store is brought up to date.
    root_key::read(&files.current)?;
    let is_file = settings.store.file().is_some();
    let opened = compose::open_store(&settings.store, url).await;
    let opened = opened.map_err(|failure| if is_file { in_use(failure) } else { failure })?;
    let root = opened.root_key(&files).map_err(|(_, failure)| failure)?;
    let composed =
        compose::put_together(opened, root, url, Arc::new(files), settings.pkcs11.as_ref()).await?;
    let (world, now) = (&composed.world, composed.world.clock.now());
    let roots = carried_out(world, change, now).await;
    composed.store.close();
    roots.map_err(|fault| failed(&fault))
}

async fn carried_out(world: &World, change: Change, now: Time) -> Result<Roots, Fault> {
    match change {
        Change::Made => listener::roots(world, now).await,
        Change::Rotated => listener::rotate(world, now).await,
    }
}

/// A store that is a file cannot be opened: most likely a server has it alone.
fn in_use(failure: Failure) -> Failure {
    let hint = "stop the server; one with `own_ca = true` in `[tls]` makes roots at its start";
    Failure { exit: Exit::Conflict, hint: hint.into(), ..failure }
}

fn both(roots: &Roots) -> [(&ListenerRoot, &'static str); 2] {
    [(&roots.active, "active"), (&roots.next, "next")]
}

/// The roots as an object.
fn told(roots: &Roots) -> Value {
    let each = both(roots).map(|(root, state)| {
        json!({
            "id": root.key.id,
            "state": state,
            "held": root.key.held().as_str(),
            "expires_at": root.certificate.until(),
            "sha256": Hash::new(root.certificate.digest()).to_string(),
            "certificate": root.certificate.pem(),
        })
    });
    json!({ "roots": each })
}

fn failed(fault: &Fault) -> Failure {
    let title = "the listener's roots cannot be used";
    Failure::new(Exit::Failure, "tls", title, &fault.to_string(), "see `accredit doctor`")
}
