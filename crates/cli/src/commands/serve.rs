//! `accredit serve`: the server, from a configuration file.

use std::net::SocketAddr;
use std::path::PathBuf;

use accredit_server::serve::{self, Listening};
use clap::Args;

use super::backup::scratch;
use super::serving;
use crate::compose;
use crate::context::Context;
use crate::errors::Failure;
use crate::exit::Exit;
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
    let composed = compose::compose(&store, &settings.root_key_file, &settings.public_url).await?;
    composed.world.limits.set(settings.limits);
    if !settings.proxies.networks.is_empty() {
        // Set once, before anything is served.
        let _ = composed.server.proxies.set(settings.proxies.clone());
    }
    serving::allow_outbound(&composed, &settings.outbound_loopback)?;
    let metrics = serving::bind_metrics(settings.metrics_listen).await?;
    let listening =
        Listening::bind(settings.listen, tls).await.map_err(|error| serving::not_bound(&error))?;
    if let Ok(address) = listening.address() {
        tracing::info!(%address, public_url = %settings.public_url, "serving");
    }
    serving::serve(composed, (listening, metrics), stop).await;
    Ok(())
}
