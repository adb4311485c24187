//! `accredit serve`: the server, from a configuration file.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use accredit_domain::vault::RootKey;
use accredit_server::serve::Listening;
use accredit_server::tls::Tls;
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
use crate::hardware;
use crate::root_key::{self, Files, Trouble};
use crate::settings::{self, Settings};

const EXAMPLES: &str = "Examples:\n  accredit serve --config /etc/accredit/accredit.toml\n  \
     ACCREDIT_LISTEN=127.0.0.1:9000 accredit serve --config accredit.toml\n  \
     accredit serve --config accredit.toml --metrics-listen 127.0.0.1:8421\n  \
     accredit serve --config accredit.toml --store postgres://accredit@db.example/accredit";

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
    /// The store, instead of the configuration's
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// The file with the database's password, instead of the configuration's
    #[arg(long, value_name = "FILE")]
    store_password_file: Option<PathBuf>,
    /// The file with the authorities for the database's server, instead of the configuration's
    #[arg(long, value_name = "FILE")]
    store_ca_file: Option<PathBuf>,
}

impl Serve {
    /// The flags that were given, by the setting's key.
    fn flags(&self) -> Vec<(&'static str, String)> {
        let address = |address: Option<SocketAddr>| address.map(|address| address.to_string());
        let file = |file: &Option<PathBuf>| {
            // Relative to where the command is given, not to the configuration.
            let file = std::path::absolute(file.as_ref()?).ok()?;
            Some(file.display().to_string())
        };
        let flags = [
            ("listen", address(self.listen)),
            ("metrics_listen", address(self.metrics_listen)),
            ("store", self.store.clone()),
            ("store_password_file", file(&self.store_password_file)),
            ("store_ca_file", file(&self.store_ca_file)),
        ];
        flags.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }
}

/// Runs until told to stop.
pub(crate) async fn run(args: &Serve, cx: &Context) -> Result<(), Failure> {
    let settings = Settings::read_with(&args.config, &cx.around, &args.flags())?;
    serving::start_log(cx, settings.log_level);
    let stop = serving::stop_signal()?;
    let store = &settings.store;
    if !compose::holds_store(store)? {
        return Err(Failure::new(
            Exit::NotFound,
            "start",
            "there is no store yet",
            &format!("`{store}` holds none"),
            "create one with `accredit init`",
        ));
    }
    compose::tell_durability(store)?;
    let left_behind = scratch::remove_left_behind(&settings.data);
    if left_behind > 0 {
        tracing::info!(left_behind, "copies of the store that a killed backup left were removed");
    }
    let tls = settings.listener_tls().map(|tls| Tls::read(&tls)).transpose();
    let tls = tls.map_err(|error| serving::not_bound(&error))?;
    let listening =
        Listening::bind(settings.listen, tls).await.map_err(|error| serving::not_bound(&error))?;
    let opened = compose::open_store(store, &settings.public_url).await?;
    let files = Files::of(&settings.root_key_file);
    let Some(root) = root_key_of(&opened, &files, &listening, &stop).await else {
        tracing::info!("stopped");
        return Ok(());
    };
    let place = Arc::new(files);
    let token = settings.pkcs11.as_ref();
    let composed = compose::put_together(opened, root, &settings.public_url, place, token).await?;
    hardware::check(&composed, token).await?;
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
    let _ = composed.server.client_certificates.set(settings.client_certificates);
    let _ = composed.server.certified_proxies.set(settings.certified_proxies.clone());
    let _ = composed.world.nonces.set(settings.nonces);
    let _ = composed.world.view.age_max.set(settings.view_age_max);
    serving::allow_outbound(&composed, &settings.outbound_loopback)?;
    listening.begin(&composed.server).await.map_err(|error| serving::not_bound(&error))?;
    let metrics = serving::bind_metrics(settings.metrics_listen).await?;
    if let Ok(address) = listening.address() {
        tracing::info!(%address, public_url = %settings.public_url, "serving");
    }
    serving::tell_manager(cx, stop.clone());
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
