//! What every command that serves shares: the log, the signals, and the end.

use std::net::SocketAddr;
use std::sync::Arc;

use accredit_server::connections::CONNECTIONS_MAX;
use accredit_server::metrics_listener::MetricsListening;
use accredit_server::serve::{Listening, ServeError};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::filter::LevelFilter;

use crate::compose::Composed;
use crate::context::Context;
use crate::descriptors;
use crate::errors::Failure;
use crate::exit::Exit;
use crate::service_manager;

/// Lets documents be fetched from these loopback addresses, and says so.
pub(crate) fn allow_outbound(composed: &Composed, loopback: &[SocketAddr]) -> Result<(), Failure> {
    if !loopback.is_empty() {
        tracing::warn!(?loopback, "key sets may be fetched from loopback");
    }
    composed.outbound.0.allow(loopback).map_err(|error| {
        Failure::new(Exit::Failure, "start", "no outbound client", &error.to_string(), "")
    })
}

/// Starts the log on standard error: for people on a terminal, else a JSON object a line.
pub(crate) fn start_log(cx: &Context, level: LevelFilter) {
    let log = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_target(false);
    // A second start in one process changes nothing, and that is fine.
    let _ = if cx.out.talk_on_terminal {
        log.compact().try_init()
    } else {
        log.json().flatten_event(true).try_init()
    };
}

/// Becomes true when the process is told to stop: SIGINT or SIGTERM.
pub(crate) fn stop_signal() -> Result<watch::Receiver<bool>, Failure> {
    let failed = |error: std::io::Error| {
        Failure::file("signals cannot be waited for", &error, "check the limits of this process")
    };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let (told, stop) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        let _ = told.send(true);
    });
    Ok(stop)
}

/// Why a socket was not bound, and what to do.
pub(crate) fn not_bound(error: &ServeError) -> Failure {
    let hint = match error {
        ServeError::PlainOffLoopback(_) => {
            "set tls.certificate_file and tls.key_file, or tls.own_ca; or listen on 127.0.0.1 behind \
             a proxy"
        }
        ServeError::Tls(_) => "check the certificate and key files, or with tls.own_ca the log",
        ServeError::Io(_) => "choose another port with `--listen 127.0.0.1:0` or ACCREDIT_LISTEN",
    };
    Failure::new(Exit::Failure, "listen", "the server cannot listen", &error.to_string(), hint)
}

/// Binds the listener for metrics, where there is to be one.
pub(crate) async fn bind_metrics(
    address: Option<SocketAddr>,
) -> Result<Option<MetricsListening>, Failure> {
    let Some(address) = address else { return Ok(None) };
    let bound = MetricsListening::bind(address).await.map_err(|error| {
        let hint = "choose another address with `--metrics-listen` or ACCREDIT_METRICS_LISTEN";
        let title = "the listener for metrics cannot listen";
        Failure::new(Exit::Failure, "listen", title, &error.to_string(), hint)
    })?;
    if let Ok(address) = bound.address() {
        tracing::info!(%address, "metrics");
    }
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "whoever reaches this address reads the metrics");
    }
    Ok(Some(bound))
}

/// Tells the service manager that this process serves, and later that it was told to stop. The socket
/// is bound by now: whoever comes is served.
pub(crate) fn tell_manager(cx: &Context, mut stop: watch::Receiver<bool>) {
    let Some(manager) = cx.around.service_manager.clone() else { return };
    service_manager::tell(&manager, service_manager::READY);
    tokio::spawn(async move {
        if stop.wait_for(|told| *told).await.is_ok() {
            service_manager::tell(&manager, service_manager::STOPPING);
        }
    });
}

/// Serves until told to stop, finishes what is in flight, and closes the store.
pub(crate) async fn serve(
    composed: Composed,
    (listening, metrics): (Listening, Option<MetricsListening>),
    stop: watch::Receiver<bool>,
) {
    let descriptors = descriptors::raise();
    composed.server.connections.at_most(descriptors);
    if descriptors < CONNECTIONS_MAX {
        tracing::warn!(
            connections_max = descriptors,
            "the limit on file descriptors (RLIMIT_NOFILE) is what bounds connections"
        );
    }
    if let Some(metrics) = metrics {
        tokio::spawn(metrics.serve(Arc::clone(&composed.server), stop.clone()));
    }
    listening.serve(composed.server, stop).await;
    composed.store.close();
    tracing::info!("stopped");
}
