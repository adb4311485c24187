//! `accredit dev`: a server for trying, on loopback, with an organization and a key.

use std::net::SocketAddr;
use std::path::PathBuf;

use accredit_server::serve::Listening;
use clap::Args;
use serde_json::json;
use tracing_subscriber::filter::LevelFilter;

use super::serving;
use crate::compose::{self, Composed};
use crate::context::Context;
use crate::errors::Failure;
use crate::exit::Exit;
use crate::output::line;
use crate::root_key;
use crate::settings::{self, LISTEN_DEFAULT, ROOT_KEY_FILE_NAME, STORE_FILE_NAME};

/// The organization of a server for trying.
pub(crate) const DEV_ORGANIZATION: &str = "dev";

/// Arguments of `accredit dev`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  accredit dev\n  accredit dev --data ./accredit-dev --listen 127.0.0.1:9000"
)]
pub(crate) struct Dev {
    /// The loopback address to listen on; port 0 takes any
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// Tell metrics at this address, for example 127.0.0.1:8421
    #[arg(long, value_name = "ADDR:PORT")]
    metrics_listen: Option<SocketAddr>,
    /// Keep everything in this folder, and go on from it the next time
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Runs until told to stop.
pub(crate) async fn run(args: &Dev, cx: &Context) -> Result<(), Failure> {
    serving::start_log(cx, LevelFilter::WARN);
    let stop = serving::stop_signal()?;
    let temporary = tempfile::tempdir().map_err(|error| {
        Failure::file("no temporary folder", &error, "name a folder with `--data`")
    })?;
    let data = match &args.data {
        Some(data) => data.clone(),
        None => temporary.path().to_path_buf(),
    };
    let metrics = args.metrics_listen.or_else(|| from_environment(cx, "metrics_listen"));
    let metrics = serving::bind_metrics(metrics).await?;
    let (composed, listening, token) = start(args, cx, &data).await?;
    let loopback = cx.around.settings.get("outbound.loopback").map_or("", String::as_str);
    let loopback = settings::loopback(loopback).map_err(|detail| {
        Failure::usage("no outbound client", &detail, "write loopback addresses, as 127.0.0.1:9000")
    })?;
    serving::allow_outbound(&composed, &loopback)?;
    if let Some(nonces) = cx.around.settings.get("dpop.nonces") {
        let nonces = settings::nonces(nonces)
            .map_err(|detail| Failure::usage("no server", &detail, "write accepted or required"))?;
        let _ = composed.world.nonces.set(nonces);
    }
    let url = composed.world.public_url.clone();
    let issuer = format!("{url}/o/{DEV_ORGANIZATION}");
    if cx.out.is_json() {
        let ready = json!({
            "url": url,
            "issuer": issuer,
            "org": DEV_ORGANIZATION,
            "admin_token": token.expose(),
        });
        line(&ready.to_string())?;
    } else {
        let kept = match &args.data {
            Some(data) => format!("everything is kept in {}", data.display()),
            None => "nothing is kept".to_owned(),
        };
        cx.out.say(&format!("DEV: loopback only, plain HTTP, {kept}. Stop with Ctrl-C."));
        line(&format!("export ACCREDIT_URL={url}"))?;
        line(&format!("export ACCREDIT_TOKEN={}", token.expose()))?;
        cx.out.say(&format!("issuer: {issuer}"));
    }
    serving::serve(composed, (listening, metrics), stop).await;
    Ok(())
}

/// An address that the environment sets.
fn from_environment(cx: &Context, key: &str) -> Option<SocketAddr> {
    cx.around.settings.get(key)?.parse().ok()
}

/// Binds, opens or founds the store, and makes a key for its administrator.
async fn start(
    args: &Dev,
    cx: &Context,
    data: &std::path::Path,
) -> Result<(Composed, Listening, accredit_wire::secret::Secret), Failure> {
    std::fs::create_dir_all(data).map_err(|error| {
        Failure::file(&format!("no folder `{}`", data.display()), &error, "choose another")
    })?;
    let listen = args.listen.or_else(|| from_environment(cx, "listen"));
    let listen = match listen {
        Some(listen) => listen,
        None => LISTEN_DEFAULT.parse().map_err(|_| {
            Failure::usage("no address to listen on", LISTEN_DEFAULT, "name one with `--listen`")
        })?,
    };
    if !listen.ip().is_loopback() {
        return Err(Failure::new(
            Exit::Usage,
            "listen",
            "a server for trying listens on loopback only",
            &format!("`{listen}` is reached by others"),
            "set up a real one: `accredit init`, then `accredit serve`",
        ));
    }
    let bound = Listening::bind(listen, None).await;
    let listening = bound.map_err(|error| serving::not_bound(&error))?;
    let address = listening.address().map_err(|error| {
        Failure::file("the address that was bound is not known", &error, "try again")
    })?;
    let root_key = data.join(ROOT_KEY_FILE_NAME);
    if !root_key.exists() {
        root_key::make(&root_key)?;
    }
    let store = data.join(STORE_FILE_NAME);
    let founded = store.exists();
    let composed =
        compose::compose(&store.into(), &root_key, &format!("http://{address}"), None).await?;
    let token = if founded {
        compose::further_admin(&composed, DEV_ORGANIZATION).await?
    } else {
        compose::found_organization(&composed, DEV_ORGANIZATION).await?.admin_token
    };
    // In memory from the start, so that its jobs run.
    let now = composed.world.clock.now();
    composed.server.tenants.get(DEV_ORGANIZATION, now).await.map_err(|fault| {
        Failure::new(
            Exit::Failure,
            "start",
            "the organization cannot be read",
            &fault.to_string(),
            "",
        )
    })?;
    Ok((composed, listening, token))
}
