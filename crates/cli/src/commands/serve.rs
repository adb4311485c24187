//! `accredit serve`: the server, from a configuration file.

use std::net::SocketAddr;
use std::path::PathBuf;

use accredit_server::serve::{self, Listening};
use clap::Args;
use tracing_subscriber::filter::LevelFilter;

use super::serving;
use crate::compose;
use crate::context::Context;
use crate::errors::Failure;
use crate::exit::Exit;
use crate::settings::Settings;

/// Arguments of `accredit serve`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  accredit serve --config /etc/accredit/accredit.toml\n  ACCREDIT_LISTEN=127.0.0.1:9000 accredit serve --config accredit.toml"
)]
pub(crate) struct Serve {
    /// The configuration that `accredit init` wrote
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The address to listen on, instead of the configuration's
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
}

/// Runs until told to stop.
pub(crate) async fn run(args: &Serve, cx: &Context) -> Result<(), Failure> {
    serving::start_log(cx, LevelFilter::INFO);
    let stop = serving::stop_signal()?;
    let settings = Settings::read(&args.config, &cx.around)?;
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
    let tls = match &settings.tls {
        Some((certificates, key)) => {
            Some(serve::tls(certificates, key).map_err(|error| serving::not_bound(&error))?)
        }
        None => None,
    };
    let composed = compose::compose(&store, &settings.root_key_file, &settings.public_url).await?;
    let listen = args.listen.unwrap_or(settings.listen);
    let listening =
        Listening::bind(listen, tls).await.map_err(|error| serving::not_bound(&error))?;
    if let Ok(address) = listening.address() {
        tracing::info!(%address, public_url = %settings.public_url, "serving");
    }
    serving::serve(composed, listening, stop).await;
    Ok(())
}
