//! `accredit audit export`: the whole log in one file that is either complete or not there.

use std::io::Write;
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::all;
use crate::api::Pieces;
use crate::context::Context;
use crate::errors::Failure;
use crate::exit::Exit;
use crate::output::{self, counted};

/// The longest end line that is looked for, in bytes.
const END_BYTES_MAX: usize = 256;

/// Writes the export to a file, or to standard output where it is `-`.
pub(super) async fn run(file: &Path, cx: &Context) -> Result<(), Failure> {
    let pieces = cx.api()?.stream(all().segment("export")).await?;
    if file == Path::new("-") {
        let mut out = std::io::stdout().lock();
        let written = copy(pieces, &mut out, ProgressBar::hidden()).await;
        return written.map(drop);
    }
    let cannot = |error: &std::io::Error| {
        Failure::file(
            &format!("`{}` could not be written", file.display()),
            error,
            "check that the folder exists, may be written to and has room",
        )
    };
    let folder = match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut temporary = tempfile::NamedTempFile::new_in(folder).map_err(|error| cannot(&error))?;
    let events = copy(pieces, temporary.as_file_mut(), progress(cx)).await?;
    temporary.as_file().sync_all().map_err(|error| cannot(&error))?;
    temporary.persist(file).map_err(|error| cannot(&error.error))?;
    if cx.out.is_json() {
        let file = file.display().to_string();
        return cx.out.json(&serde_json::json!({"events": events, "file": file}).to_string());
    }
    cx.out.say(&format!(
        "{} in {}\nverify it with: accredit audit verify {} --key FILE (the key: \
         accredit audit key)",
        counted(events, "event"),
        file.display(),
        file.display()
    ));
    Ok(())
}

fn progress(cx: &Context) -> ProgressBar {
    if !cx.out.shows_progress() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {bytes} {bytes_per_sec}") {
        bar.set_style(style);
    }
    bar
}

/// Copies the whole answer and tells how many events its end states. An answer without an end
/// was cut off.
async fn copy(mut pieces: Pieces, to: &mut impl Write, bar: ProgressBar) -> Result<u64, Failure> {
    let mut end = Vec::new();
    while let Some(piece) = pieces.next().await? {
        to.write_all(&piece).map_err(|error| output::data_failure(&error))?;
        bar.inc(piece.len() as u64);
        end.extend_from_slice(&piece[piece.len().saturating_sub(END_BYTES_MAX)..]);
        end.drain(..end.len().saturating_sub(END_BYTES_MAX));
    }
    to.flush().map_err(|error| output::data_failure(&error))?;
    bar.finish_and_clear();
    events_at_end(&end).ok_or_else(|| {
        Failure::new(
            Exit::Failure,
            "export-cut-off",
            "the export is not complete",
            "the server's answer ended before its end line",
            "run it again; if it stays, look into the server's log",
        )
    })
}

/// What `{"end":{"events":N}}`, the last line, states.
fn events_at_end(text: &[u8]) -> Option<u64> {
    let text = text.strip_suffix(b"\n")?;
    let line = text.rsplit(|byte| *byte == b'\n').next()?;
    let end: Value = serde_json::from_slice(line).ok()?;
    end.get("end")?.get("events")?.as_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_end_line_that_is_whole_is_an_end() {
        assert_eq!(events_at_end(b"x\n{\"end\":{\"events\":3}}\n"), Some(3));
        assert_eq!(events_at_end(b"{\"end\":{\"events\":0}}\n"), Some(0));
        for cut in [
            &b""[..],
            b"\n",
            b"{\"end\":{\"events\":3}}",
            b"{\"end\":{\"eve\n",
            b"{\"end\":{\"events\":3}}\n{\"event\":{}}\n",
        ] {
            assert_eq!(events_at_end(cut), None);
        }
    }
}
