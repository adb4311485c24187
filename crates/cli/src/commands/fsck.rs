//! `accredit fsck`: is the log in the store still what was signed?
//!
//! Either the running server computes its organization's log again, or, with a configuration and
//! the server stopped, every organization's log of the store is.

use std::path::PathBuf;

use accredit_domain::audit::fsck::{FsckReport, fsck};
use accredit_domain::ports::{Page, Registry as _};
use accredit_domain::registry::PAGE_ROWS_MAX;
use clap::Args;
use http::Method;
use serde_json::json;

use crate::compose;
use crate::context::Context;
use crate::errors::Failure;
use crate::exit::Exit;
use crate::output::{counted, line};
use crate::request_path::RequestPath;
use crate::settings::Settings;

/// Arguments of `accredit fsck`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  accredit fsck\n  accredit fsck --config /etc/accredit/accredit.toml"
)]
pub(crate) struct Fsck {
    /// Check the store of this configuration, all organizations, while no server runs on it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Checks, prints what was found, and fails where something was.
pub(crate) async fn run(args: &Fsck, cx: &Context) -> Result<(), Failure> {
    let Some(config) = &args.config else {
        let path = RequestPath::new("/v1/log/fsck");
        let answer = cx.api()?.call(Method::POST, path, None).await?;
        cx.out.object(&answer)?;
        return verdict(answer.value.get("ok").and_then(serde_json::Value::as_bool) == Some(true));
    };
    let settings = Settings::read(config, &cx.around)?;
    let composed = compose::compose_as(&settings).await?;
    let failed = |fault: accredit_domain::Fault| {
        let hint = "is the file whole? see the system's log";
        Failure::new(Exit::Failure, "fsck", "the store cannot be read", &fault.to_string(), hint)
    };
    let mut all_ok = true;
    let mut page = Page { limit: PAGE_ROWS_MAX, ..Page::default() };
    loop {
        let found = composed.store.organizations(page.clone()).await.map_err(failed)?;
        for row in found.items {
            let now = composed.world.clock.now();
            let tenant = composed.server.tenants.by_id(row.id, now).await.map_err(failed)?;
            let Some(tenant) = tenant else { continue };
            let report = fsck(&composed.world, &tenant).await.map_err(failed)?;
            all_ok &= report.ok;
            print(&row.name, &report, cx)?;
        }
        if found.next.is_none() {
            break;
        }
        page.cursor = found.next;
    }
    composed.store.close();
    verdict(all_ok)
}

fn print(name: &str, report: &FsckReport, cx: &Context) -> Result<(), Failure> {
    if cx.out.is_json() {
        return line(&json!({ "org": name, "report": report }).to_string());
    }
    let word = if report.ok { "ok" } else { "BROKEN" };
    let (events, checkpoints) =
        (counted(report.leaves, "event"), counted(report.checkpoints, "checkpoint"));
    line(&format!("{name}: {word}, {events}, {checkpoints}"))?;
    report.findings.iter().try_for_each(|finding| line(&format!("  {finding}")))
}

fn verdict(ok: bool) -> Result<(), Failure> {
    if ok {
        return Ok(());
    }
    Err(Failure::new(
        Exit::VerificationFailed,
        "fsck",
        "the log is not what was signed",
        "leaves, tiles and checkpoints do not agree; what was found is listed",
        "keep the files as they are, and compare them with a backup and an export",
    ))
}
