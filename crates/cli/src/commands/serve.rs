//! `accredit serve`: the server, from a configuration file.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use accredit_domain::vault::RootKey;
use accredit_server::serve::{self, Listening};
use accredit_server::waiting::Waiting;
use accredit_server::watch::State;
use clap::Args;
use tokio::sync::watch;

use super::backup::scratch;
use super::serving;
use crate::compose::{self, Opened};
use crate::context::Context;
use crate::errors::Failure;
use crate::exit::Exit;
use crate::root_key::{self, Files, Trouble};
use crate::settings::{self, Settings};

const EXAMPLES: &str = "Examples:\n  accredit serve --config /etc/accredit/accredit.toml\n  \
     ACCREDIT_LISTEN=127.0.0.1:9000 accredit serve --config accredit.toml\n  \
     accredit serve --config accredit.toml --metrics-listen 127.0.0.1:8421";

/// Arguments of `accredit serve`.
#[derive(Debug, Args)]
#[command(after_help = settings::help(EXAMPLES))]
pub(crate) struct Serve {
    /// The configuration that `accredit init` wrote
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The address to listen on, instead of the configuration's
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// The address that tells metrics, instead of the configuration's
    #[arg(long, value_name = "ADDR:PORT")]
    metrics_listen: Option<SocketAddr>,
}

/// Runs until told to stop.
pub(crate) async fn run(args: &Serve, cx: &Context) -> Result<(), Failure> {
    let flag = |key, value: Option<SocketAddr>| Some((key, value?.to_string()));
    let flags = [flag("listen", args.listen), flag("metrics_listen", args.metrics_listen)];
    let flags: Vec<_> = flags.into_iter().flatten().collect();
    let settings = Settings::read_with(&args.config, &cx.around, &flags)?;
    serving::start_log(cx, settings.log_level);
    let stop = serving::stop_signal()?;
    let store = settings.store_file();
    if !store.exists() {
        return Err(Failure::new(
            Exit::NotFound,
            "start",
            "there is no store yet",
            &format!("`{}` does not exist", store.display()),
            "create one with `accredit init`",
        ));
    }
    let left_behind = scratch::remove_left_behind(&settings.data);
    if left_behind > 0 {
        tracing::info!(left_behind, "copies of the store that a killed backup left were removed");
    }
    let tls = match &settings.tls {
        Some((certificates, key)) => {
            Some(serve::tls(certificates, key).map_err(|error| serving::not_bound(&error))?)
        }
        None => None,
    };
    let listening =
        Listening::bind(settings.listen, tls).await.map_err(|error| serving::not_bound(&error))?;
    let opened = compose::open_store(&store, &settings.public_url).await?;
    let files = Files::of(&settings.root_key_file);
    let Some(root) = root_key_of(&opened, &files, &listening, &stop).await else {
        tracing::info!("stopped");
        return Ok(());
    };
    let place = Arc::new(files);
    let composed = compose::put_together(opened, root, &settings.public_url, place).await?;
    composed.world.limits.set(settings.limits);
    composed.world.limits.set_quotas(settings.quotas);
    if let Some(every) = settings.drill_every {
        // Set once, before anybody reads it.
        let _ = composed.server.drill_every.set(every);
    }
    if !settings.proxies.networks.is_empty() {
        // Set once, before anything is served.
        let _ = composed.server.proxies.set(settings.proxies.clone());
    }
    let _ = composed.world.nonces.set(settings.nonces);
    serving::allow_outbound(&composed, &settings.outbound_loopback)?;
    let metrics = serving::bind_metrics(settings.metrics_listen).await?;
    if let Ok(address) = listening.address() {
        tracing::info!(%address, public_url = %settings.public_url, "serving");
    }
    serving::serve(composed, (listening, metrics), stop).await;
    Ok(())
}

/// The root key that opens the store. Where there is none the process says so, and looks again and
/// again; nothing where it is told to stop meanwhile.
async fn root_key_of(
    opened: &Opened,
    files: &Files,
    listening: &Listening,
    stop: &watch::Receiver<bool>,
) -> Option<RootKey> {
    let (trouble, failure) = match opened.root_key(files) {
        Ok(root) => return Some(root),
        Err(none) => none,
    };
    root_key::told(&failure);
    let (clock, entropy) = compose::clock_and_entropy();
    let waiting = Waiting::new(state_of(trouble), clock, entropy);
    let mut said = failure;
    let look = || match opened.root_key(files) {
        Ok(root) => {
            tracing::info!("the root key opens the store");
            Some(root)
        }
        Err((trouble, failure)) => {
            let turned = waiting.turn(state_of(trouble));
            if turned || failure.detail != said.detail {
                root_key::told(&failure);
                said = failure;
            }
            None
        }
    };
    listening.wait(&waiting, look, stop.clone()).await
}

fn state_of(trouble: Trouble) -> State {
    match trouble {
        Trouble::Missing => State::RootKeyMissing,
        Trouble::Unusable => State::RootKeyUnusable,
        Trouble::Wrong => State::RootKeyWrong,
    }
}
