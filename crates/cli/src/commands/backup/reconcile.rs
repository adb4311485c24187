//! `accredit backup reconcile` and `waive`: what was ended since the backup was made, from the old
//! log or on a person's word.
//!
//! The first works where the store is, while no server runs: an export is as large as the log, and
//! whoever restored has both at hand. The second is a request like any other.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

use accredit_domain::refusal::Error;
use accredit_domain::restoration::reconcile::{OldLog, Parting, Reconciled, reconcile};
use accredit_domain::terms::Terms;
use accredit_domain::{Caller, Cx};
use accredit_wire::ids::RequestId;
use accredit_wire::tlog::export::LINE_LEN_MAX;
use http::Method;
use serde_json::json;

use crate::compose::{self, Composed};
use crate::context::Context;
use crate::errors::Failure;
use crate::exit::Exit;
use crate::output::line;
use crate::request_path::RequestPath;
use crate::settings::Settings;

/// What is said before a new owner's key.
const NEW_OWNER: &str = "the last owner's key was ended since; this is a new one, shown this once:";

/// Ends again what the export says was ended, and opens issuing.
pub(super) async fn run(
    config: &Path,
    org: &str,
    export: &Path,
    cx: &Context,
) -> Result<(), Failure> {
    let settings = Settings::read(config, &cx.around)?;
    let composed = compose::compose_as(&settings).await?;
    let mut done = Reconciled::default();
    let outcome = again(&composed, org, export, &mut done).await;
    composed.store.close();
    if let (Err(_), Some(key)) = (&outcome, &done.owner_key) {
        // Shown in any case: there is no other.
        cx.out.say(NEW_OWNER);
        line(&format!("export ACCREDIT_TOKEN={}", key.expose()))?;
    }
    outcome?;
    let Reconciled { ended, changed, passed_over, events, parted, owner_key } = &done;
    let token = owner_key.as_ref().map(accredit_wire::secret::Secret::expose);
    if cx.out.is_json() {
        let parted: Vec<_> = parted
            .iter()
            .map(|Parting { lane, origin, at, own }| {
                json!({"lane": lane, "origin": origin, "at": at, "own": own})
            })
            .collect();
        let told = json!({
            "org": org,
            "events": events,
            "parted": parted,
            "ended": ended,
            "changed": changed,
            "passed_over": passed_over,
            "admin_token": token,
        });
        return line(&told.to_string());
    }
    line(&format!("{org}: {events} events that the store does not have"))?;
    for Parting { lane, at, own, .. } in parted {
        line(&format!(
            "parted        lane {lane} at {at}  ({own} events of the store's own stay)"
        ))?;
    }
    line(&format!("ended again   {ended}"))?;
    line(&format!("suspended     {changed}  (agents that were changed; look at them)"))?;
    line(&format!("passed over   {passed_over}  (made since, or ended already)"))?;
    if let Some(token) = token {
        cx.out.say(NEW_OWNER);
        line(&format!("export ACCREDIT_TOKEN={token}"))?;
    }
    cx.out.say("tokens are issued again once the server runs");
    Ok(())
}

async fn again(
    composed: &Composed,
    org: &str,
    export: &Path,
    done: &mut Reconciled,
) -> Result<(), Failure> {
    let now = composed.world.clock.now();
    let tenant = composed.server.tenants.get(org, now).await;
    let tenant = tenant.map_err(|fault| failed(Error::Fault(fault)))?.ok_or_else(|| {
        let detail = format!("there is no organization `{org}` in this store");
        Failure::new(Exit::NotFound, "backup", "no such organization", &detail, "check --org")
    })?;
    let cx = Cx {
        request: RequestId::new(now.millis(), composed.world.random()),
        world: composed.world.clone(),
        tenant,
        caller: Caller::System,
        source: None,
        now,
        terms: Terms::default(),
    };
    let mut log = OldLog::new(&cx).await.map_err(failed)?;
    read(export, &mut log).await?;
    let ends = log.finish().map_err(|refusal| {
        let title = "the export is not accepted";
        let (detail, hint) = (&refusal.detail, &refusal.hint);
        Failure::new(Exit::VerificationFailed, refusal.rule.code(), title, detail, hint)
    })?;
    reconcile(&cx, &ends, done).await.map_err(failed)
}

/// Hands each line over; one that is longer than any can be, in part.
async fn read(export: &Path, log: &mut OldLog<'_>) -> Result<(), Failure> {
    let unread = |error: std::io::Error| {
        let title = format!("`{}` could not be read", export.display());
        Failure::file(&title, &error, "check the path and its permissions")
    };
    let bound = LINE_LEN_MAX as u64 + 2;
    let mut from = BufReader::with_capacity(1 << 16, File::open(export).map_err(unread)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        let came = from.by_ref().take(bound).read_until(b'\n', &mut line).map_err(unread)? as u64;
        if came == 0 {
            return Ok(());
        }
        if came == bound && line.last() != Some(&b'\n') {
            from.skip_until(b'\n').map_err(unread)?;
        }
        let taken = log.line(&String::from_utf8_lossy(&line)).await;
        taken.map_err(|fault| failed(Error::Fault(fault)))?;
    }
}

/// Opens issuing on a person's word.
pub(super) async fn waive(reason: &str, cx: &Context) -> Result<(), Failure> {
    let path = RequestPath::new("/v1/restore/waive");
    let answer = cx.api()?.call(Method::POST, path, Some(json!({ "reason": reason }))).await?;
    cx.out.object(&answer)
}

fn failed(error: Error) -> Failure {
    let title = "the old log was not reconciled";
    match error {
        Error::Refused(refusal) => {
            let (detail, hint) = (&refusal.detail, &refusal.hint);
            Failure::new(Exit::Conflict, refusal.rule.code(), title, detail, hint)
        }
        Error::Fault(fault) => {
            let hint = "run it again: what has ended stays so";
            Failure::new(Exit::Failure, "backup", title, &fault.to_string(), hint)
        }
    }
}
