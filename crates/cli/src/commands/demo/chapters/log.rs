//! The audit log: exported while the server runs, verified without it, and then tampered with.

use std::path::Path;

use accredit_wire::tlog::checkpoint;
use accredit_wire::tlog::export::{Auditor, Finding, Report};
use accredit_wire::tlog::note::Vkey;
use serde_json::Value;

use super::Stage;
use crate::api::Api;
use crate::commands::demo::registration::told;
use crate::commands::demo::report::{Promise, Proven, ScoreCard};
use crate::commands::demo::resource::ResourceServer;
use crate::commands::demo::tamper;
use crate::errors::Failure;
use crate::request_path::RequestPath;

/// The exported log, in the demo's folder.
pub(in crate::commands::demo) const EXPORT_FILE_NAME: &str = "log.ndjson";
/// The public keys of the log.
pub(in crate::commands::demo) const KEY_FILE_NAME: &str = "log.key";
/// The checkpoint that was kept elsewhere.
const CHECKPOINT_FILE_NAME: &str = "checkpoint.note";
/// The copy in which an event was edited.
const EDITED_FILE_NAME: &str = "edited.ndjson";
/// The copy that lost its end.
const CUT_FILE_NAME: &str = "cut.ndjson";

/// The type of the event that a forger would like to hide.
const REVOKED: &str = "instance.revoked";

/// The largest export that is read, in bytes. The demo's has some hundreds of
/// events.
const EXPORT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How often it is exported until a checkpoint is found that covers just what was exported: an
/// event may be written between the two requests.
const EXPORTS_MAX: u32 = 5;

/// What an auditor takes away, and the folder it lies in.
pub(super) struct Kept<'a> {
    folder: &'a Path,
    export: String,
    keys: Vec<Vkey>,
    /// The newest checkpoint, signed.
    note: String,
}

/// Exports the log as it stands before the revocation. So there is a signed checkpoint at which a
/// forger could end the log as if nothing had been revoked.
pub(super) async fn visit(stage: &Stage) -> Result<(), String> {
    export(stage.office.api()).await.map(drop)
}

/// Exports the log and looks whether what was done stands in it.
pub(super) async fn keep<'a>(
    folder: &'a Path,
    stage: &Stage,
    before: Result<(), String>,
    card: &mut ScoreCard,
) -> Result<Option<Kept<'a>>, Failure> {
    card.chapter("What was done stands in the log")?;
    let proof = async {
        before?;
        recorded(folder, stage).await
    };
    card.prove(Promise::Records, proof).await
}

async fn recorded<'a>(folder: &'a Path, stage: &Stage) -> Result<Proven<Kept<'a>>, String> {
    let kept = take_away(folder, stage.office.api()).await?;
    let events = events(&kept.export);
    for id in &stage.token_ids {
        let issued = |event: &&Value| event["payload"]["token"] == id.as_str();
        of_type(&events, "token.issued")
            .find(issued)
            .ok_or_else(|| format!("the log has no event for the token `{id}`"))?;
    }
    let issued = of_type(&events, "token.issued").count();
    if issued != stage.token_ids.len() {
        let expected = stage.token_ids.len();
        return Err(format!("{expected} tokens were issued, and the log has {issued}"));
    }
    let refused = of_type(&events, "token.refused").count();
    let revoked = of_type(&events, REVOKED)
        .find(|event| event["payload"]["instance"] == stage.cast.planner.instance_id.as_str())
        .ok_or("the log has no event for the revocation")?;
    if let Some(kind) = stage.event_types.iter().find(|kind| of_type(&events, kind).count() == 0) {
        return Err(format!("the log has no event of the type `{kind}`"));
    }
    let proof = format!(
        "{} events, {issued} of them issued tokens, {refused} refused, and the revocation as \
         number {}",
        events.len(),
        revoked["seq"]
    );
    let text = |pointer: &str| revoked.pointer(pointer).and_then(Value::as_str).unwrap_or("-");
    let story = format!(
        "{} events are exported. Number {} is the revocation, with the administrator's key {}, \
         because: {}.",
        events.len(),
        revoked["seq"],
        text("/payload/actor/id"),
        text("/payload/reason")
    );
    Ok(Proven::new(kept, proof).story(story))
}

/// Exports the log, with its keys and its newest checkpoint.
async fn take_away<'a>(folder: &'a Path, api: &Api) -> Result<Kept<'a>, String> {
    for _ in 0..EXPORTS_MAX {
        let export = export(api).await?;
        let log = api.get(RequestPath::new("/v1/log")).await.map_err(|failure| told(&failure))?;
        let lanes = log.value["lanes"].as_array().cloned().unwrap_or_default();
        let [lane] = lanes.as_slice() else {
            return Err(format!("the log was expected to have one lane: {}", log.text));
        };
        let (Some(key), Some(note)) = (lane["key"].as_str(), lane["checkpoint"].as_str()) else {
            return Err(format!("the log has no key or no checkpoint: {}", log.text));
        };
        let keys = vec![key.parse().map_err(|error| format!("the log's key: {error}"))?];
        let newest = checkpoint::open(note.as_bytes(), &keys);
        let newest = newest.map_err(|error| format!("the checkpoint: {error}"))?;
        if newest.size == events(&export).len() as u64 {
            write(folder, EXPORT_FILE_NAME, &export)?;
            write(folder, KEY_FILE_NAME, &format!("{key}\n"))?;
            write(folder, CHECKPOINT_FILE_NAME, note)?;
            return Ok(Kept { folder, export, keys, note: note.to_owned() });
        }
    }
    Err("no checkpoint covers just what was exported".to_owned())
}

async fn export(api: &Api) -> Result<String, String> {
    let path = RequestPath::new("/v1/events").segment("export");
    let mut pieces = api.stream(path).await.map_err(|failure| told(&failure))?;
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.next().await.map_err(|failure| told(&failure))? {
        bytes.extend_from_slice(&piece);
        if bytes.len() > EXPORT_BYTES_MAX {
            return Err("the export is larger than the demo's can be".to_owned());
        }
    }
    String::from_utf8(bytes).map_err(|_| "the export is not UTF-8".to_owned())
}

fn events(export: &str) -> Vec<Value> {
    let lines = export.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter_map(|mut line| Some(line.get_mut("event")?.take())).collect()
}

fn of_type<'a>(events: &'a [Value], kind: &str) -> impl Iterator<Item = &'a Value> {
    events.iter().filter(move |event| event["type"] == kind)
}

/// Verifies the export without the server, and alters copies of it.
pub(super) async fn verify(
    kept: &Kept<'_>,
    resource: &ResourceServer,
    card: &mut ScoreCard,
) -> Result<(), Failure> {
    card.chapter("The log proves itself, without the server")?;
    card.prove(Promise::Proves, async { intact(kept, resource) }).await?;
    card.prove(Promise::FindsEdits, async { edited(kept) }).await?;
    card.prove(Promise::FindsCuts, async { cut(kept) }).await?;
    Ok(())
}

fn intact(kept: &Kept<'_>, resource: &ResourceServer) -> Result<Proven<()>, String> {
    let report = audit(kept, EXPORT_FILE_NAME, true)?;
    if !report.ok || !report.complete {
        return Err(found(&report));
    }
    if resource.alarms() > 0 {
        return Err("the resource, which follows the log, saw it contradict itself".to_owned());
    }
    let root = report.lanes.iter().find_map(|lane| lane.root.as_deref()).unwrap_or("-");
    let proof = format!(
        "{} events, {} signed checkpoints, nothing edited, dropped or reordered",
        report.events, report.checkpoints
    );
    let story = format!("The export verifies with the log's public key; its root is {root}.");
    Ok(Proven::new((), proof).story(story))
}

fn edited(kept: &Kept<'_>) -> Result<Proven<()>, String> {
    let copy = tamper::change_scope(&kept.export, "crm:read", "crm:update");
    let copy = copy.ok_or("the log has no token for crm:read to edit")?;
    write(kept.folder, EDITED_FILE_NAME, &copy.text)?;
    let report = audit(kept, EDITED_FILE_NAME, false)?;
    let [Finding::Edited { seq, id, .. }] = report.findings.as_slice() else {
        return Err(found(&report));
    };
    if (*seq, id) != (copy.seq, &copy.id) {
        return Err(format!("event {} was edited, but event {seq} is named", copy.seq));
    }
    let story = format!(
        "In a copy, one issued token's scope is changed from crm:read to crm:update. The verifier \
         says: {}.",
        found(&report)
    );
    Ok(Proven::new((), format!("event {seq}, {id}, and no other")).story(story))
}

fn cut(kept: &Kept<'_>) -> Result<Proven<()>, String> {
    let copy = tamper::cut_before(&kept.export, REVOKED);
    let copy = copy.ok_or("the log has no checkpoint before the revocation to cut it at")?;
    write(kept.folder, CUT_FILE_NAME, &copy.text)?;
    let alone = audit(kept, CUT_FILE_NAME, false)?;
    if !alone.ok || !alone.complete {
        return Err(format!("the copy should be sound by itself, but: {}", found(&alone)));
    }
    let report = audit(kept, CUT_FILE_NAME, true)?;
    let [Finding::Truncated { seq, kept: vouched, .. }] = report.findings.as_slice() else {
        return Err(format!("with the checkpoint: {}", found(&report)));
    };
    if copy.text.contains(REVOKED) || *seq != copy.events {
        return Err(format!("the copy has {} events, but {seq} are named", copy.events));
    }
    let proof = format!("{seq} events where the kept checkpoint vouches for {vouched}");
    let story = format!(
        "Another copy ends before the revocation, at a checkpoint with a good signature. By itself \
         it looks whole; against the checkpoint that was kept elsewhere: {}.",
        found(&report)
    );
    Ok(Proven::new((), proof).story(story))
}

/// Reads a file of the folder as an auditor does, with the checkpoint that was kept where asked.
fn audit(kept: &Kept<'_>, file: &str, against_kept: bool) -> Result<Report, String> {
    let text =
        std::fs::read_to_string(kept.folder.join(file)).map_err(|error| error.to_string())?;
    let mut auditor = Auditor::new(kept.keys.clone());
    if against_kept {
        auditor.against(kept.note.as_bytes()).map_err(|error| error.to_string())?;
    }
    text.lines().for_each(|line| auditor.line(line));
    Ok(auditor.finish())
}

fn found(report: &Report) -> String {
    if report.findings.is_empty() {
        return format!("nothing was found (ok {}, complete {})", report.ok, report.complete);
    }
    let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    findings.join("; ")
}

fn write(folder: &Path, file: &str, text: &str) -> Result<(), String> {
    std::fs::write(folder.join(file), text).map_err(|error| format!("`{file}`: {error}"))
}
