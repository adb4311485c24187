//! `accredit audit verify`: an export checked without a server, with public keys only.
//!
//! The work is [`accredit_wire::tlog::export::Auditor`]'s; here stand the files, the progress
//! and the words. Fail closed: an export of which only a part could be proven is not verified
//! unless `--partial` says that a part is enough.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use accredit_wire::tlog::export::{Auditor, ClaimsReport, LINE_LEN_MAX, Report};
use accredit_wire::tlog::note::Vkey;
use indicatif::{ProgressBar, ProgressStyle};

use super::Verify;
use crate::context::Context;
use crate::errors::{Failure, one_line};
use crate::exit::Exit;
use crate::output::counted;
use crate::{input, output};

/// An export smaller than this is verified before a bar could be seen, in bytes.
const PROGRESS_FROM_BYTES: u64 = 8 * 1024 * 1024;

/// How many lines are read between two looks at the bar.
const PROGRESS_EVERY_LINES: u64 = 4096;

/// Verifies, prints the report, and fails where anything was found.
pub(super) async fn run(args: Verify, cx: &Context) -> Result<(), Failure> {
    let partial = args.partial;
    let with_progress = cx.out.shows_progress();
    let work = tokio::task::spawn_blocking(move || report(&args, with_progress)).await;
    let report = work.map_err(|error| {
        let why = error.to_string();
        Failure::new(Exit::Failure, "verify", "the verifier stopped", &why, "run it again")
    })??;
    if cx.out.is_json() {
        cx.out.json(&serde_json::to_string(&report).unwrap_or_default())?;
    } else {
        words(&report).iter().try_for_each(|line| output::line(line))?;
    }
    verdict(&report, partial)
}

/// Nothing where the report satisfies; what to do next where it does not.
fn verdict(report: &Report, partial: bool) -> Result<(), Failure> {
    let failed = |title: &str, detail: &str, hint: &str| {
        Err(Failure::new(Exit::VerificationFailed, "verification-failed", title, detail, hint))
    };
    match report.findings.first() {
        Some(finding) => failed(
            "the export is not what was logged",
            &finding.to_string(),
            "keep this file, make a new export and compare; where both fail, the log was altered",
        ),
        None if !report.ok => failed(
            "the export is not what was logged",
            "the verifier did not accept it",
            "make a new export and verify it",
        ),
        None if !report.complete && !partial => failed(
            "the export proves only a part of the log",
            "it does not begin at the first event, no signed root covers it, or what one lane says of \
             another could not be compared",
            "export the whole log, or add --partial where the chain of events is enough",
        ),
        None => Ok(()),
    }
}

fn report(args: &Verify, with_progress: bool) -> Result<Report, Failure> {
    let mut auditor = Auditor::new(keys(&args.key)?);
    for path in &args.checkpoint {
        let note = input::text(path)?;
        auditor.against(note.as_bytes()).map_err(|error| {
            Failure::new(
                Exit::VerificationFailed,
                "checkpoint",
                &format!("the checkpoint in `{}` is not accepted", path.display()),
                &error.to_string(),
                "give the signed note as it was kept, and the key that signed it",
            )
        })?;
    }
    let cannot = |error: &std::io::Error| {
        let what = format!("`{}` could not be read", args.file.display());
        Failure::file(&what, error, "check the path and its permissions")
    };
    let file = File::open(&args.file).map_err(|error| cannot(&error))?;
    let size = file.metadata().map_or(0, |metadata| metadata.len());
    let bar = progress(with_progress && size >= PROGRESS_FROM_BYTES, size);
    let read = feed(BufReader::with_capacity(1 << 16, file), &mut auditor, &bar);
    bar.finish_and_clear();
    read.map_err(|error| cannot(&error))?;
    Ok(auditor.finish())
}

/// The verifier keys in a file: a line each, empty lines and comments aside.
fn keys(path: &Path) -> Result<Vec<Vkey>, Failure> {
    let text = input::text(path)?;
    let lines = text.lines().map(str::trim).enumerate();
    let keys: Vec<Vkey> = lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| {
            line.parse().map_err(|error: accredit_wire::tlog::note::NoteError| {
                Failure::usage(
                    &format!("`{}`, line {}, is not a key", path.display(), number + 1),
                    &error.to_string(),
                    "write the log's keys with `accredit audit key -o FILE`",
                )
            })
        })
        .collect::<Result<_, _>>()?;
    if keys.is_empty() {
        return Err(Failure::usage(
            &format!("`{}` holds no key", path.display()),
            "without a key nothing can be verified",
            "write the log's keys with `accredit audit key -o FILE`",
        ));
    }
    Ok(keys)
}

/// Hands each line to the auditor. A line that is longer than any can be is handed over in part,
/// which the auditor refuses, so that memory stays bounded.
fn feed(mut from: impl BufRead, auditor: &mut Auditor, bar: &ProgressBar) -> std::io::Result<()> {
    let bound = LINE_LEN_MAX as u64 + 2;
    let (mut line, mut lines, mut bytes) = (Vec::new(), 0u64, 0u64);
    loop {
        line.clear();
        let came = from.by_ref().take(bound).read_until(b'\n', &mut line)? as u64;
        if came == 0 {
            return Ok(());
        }
        bytes += came;
        if came == bound && line.last() != Some(&b'\n') {
            bytes += from.skip_until(b'\n')? as u64;
        }
        auditor.line(&String::from_utf8_lossy(&line));
        lines += 1;
        if lines.is_multiple_of(PROGRESS_EVERY_LINES) {
            bar.set_position(bytes);
        }
    }
}

fn progress(shown: bool, bytes: u64) -> ProgressBar {
    if !shown {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(bytes);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent}% {bytes_per_sec} {eta}") {
        bar.set_style(style);
    }
    bar
}

/// The report for people.
fn words(report: &Report) -> Vec<String> {
    let verdict = match (report.ok, report.complete) {
        (true, true) => "verified: nothing was edited, dropped or reordered",
        (true, false) => {
            "in part: the chain holds, but no signed root covers it from the beginning, or what one \
             lane says of another could not be compared"
        }
        (false, _) => "NOT verified",
    };
    let mut lines = vec![
        verdict.to_owned(),
        format!(
            "{}, {}",
            counted(report.events, "event"),
            counted(report.checkpoints, "signed checkpoint")
        ),
    ];
    let ClaimsReport { compared, not_compared, .. } = report.claims;
    if compared + not_compared > 0 {
        let left = if not_compared > 0 {
            format!(", {not_compared} could not be compared")
        } else {
            String::new()
        };
        let compared = counted(compared, "claim");
        lines.push(format!("{compared} of lanes about each other compared{left}"));
    }
    for lane in &report.lanes {
        let origin = one_line(&lane.origin);
        let root = lane.root.as_deref().unwrap_or("-");
        lines.push(format!(
            "log {origin}: events {} to {}, proven to {}, root {root}",
            lane.from, lane.size, lane.proven
        ));
        lines.extend(lane.signed_by.iter().map(|signer| {
            let how = if signer.given { "" } else { ", which a key before it named" };
            format!("  the root is signed by {}{how}", one_line(&signer.key))
        }));
    }
    lines.extend(
        report.findings.iter().map(|finding| format!("- {}", one_line(&finding.to_string()))),
    );
    if report.findings_left_out > 0 {
        lines.push(format!("- and {} more", report.findings_left_out));
    }
    lines
}

#[cfg(test)]
mod tests;
