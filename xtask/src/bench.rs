//! `bench`: the release binary measured against the limit in `bench/src/limit.rs`.
//!
//! A full run writes its table into `docs/performance.md`, between two marks; what people wrote
//! around it stays. A quick run, or one of some scenarios, only prints.

use std::path::Path;

use crate::{Answer, ambient, run};

/// Where the table stands, and between what.
const DOCUMENT: &str = "docs/performance.md";
const BEGIN: &str = "<!-- measured: begin (written by `cargo xtask bench`) -->\n";
const END: &str = "<!-- measured: end -->\n";

/// Builds both programs with the release profile and measures. `words` are `--quick`, `--registry`
/// with a folder, and the names of scenarios.
pub(crate) fn run(words: &[&str]) -> Answer {
    let build = ["build", "--release", "--package", "accredit-cli", "--package", "accredit-bench"];
    run::run(&mut run::cargo(&build))?;
    let target = target()?;
    let work = target.join("bench");
    std::fs::create_dir_all(&work).map_err(|error| format!("{}: {error}", work.display()))?;
    let markdown = work.join("performance.md");
    let mut measure = run::command(target.join("release/accredit-bench"));
    measure.arg("run").arg("--accredit").arg(target.join("release/accredit"));
    measure.arg("--work").arg(work.join("data")).arg("--markdown").arg(&markdown);
    measure.arg("--json").arg(work.join("performance.json")).args(words);
    let measured = run::run(&mut measure);
    // A missed target is written down like one that was met.
    if matches!(words, [] | ["--registry", _]) && markdown.is_file() {
        write(&markdown)?;
        std::fs::remove_file(&markdown).map_err(|error| error.to_string())?;
    }
    measured
}

fn target() -> Result<std::path::PathBuf, String> {
    let metadata = cargo_metadata::MetadataCommand::new()
        .current_dir(ambient::root())
        .no_deps()
        .exec()
        .map_err(|error| format!("cargo metadata: {error}"))?;
    Ok(metadata.target_directory.into_std_path_buf())
}

fn write(markdown: &Path) -> Result<(), String> {
    let table = std::fs::read_to_string(markdown).map_err(|error| error.to_string())?;
    write_between((BEGIN, END), &table)
}

/// Puts a table into the document, between two marks.
pub(crate) fn write_between(marks: (&str, &str), table: &str) -> Result<(), String> {
    let file = ambient::root().join(DOCUMENT);
    let document = std::fs::read_to_string(&file).map_err(|e| format!("{DOCUMENT}: {e}"))?;
    let written = spliced(&document, marks, table)?;
    std::fs::write(&file, written).map_err(|error| format!("{DOCUMENT}: {error}"))
}

/// The document with another text between its marks.
fn spliced(document: &str, (begin, end): (&str, &str), table: &str) -> Result<String, String> {
    let parts = document.split_once(begin).and_then(|(head, rest)| {
        let (_, tail) = rest.split_once(end)?;
        Some((head, tail))
    });
    let (head, tail) = parts.ok_or_else(|| format!("{DOCUMENT} has lost its marks"))?;
    Ok(format!("{head}{begin}\n{}\n\n{end}{tail}", table.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let document = format!("# A\n\nprose\n\n{BEGIN}old\n{END}\nmore prose\n");
        let marks = (BEGIN, END);
        let once = spliced(&document, marks, "new\n").expect("marks");
        assert_eq!(once, format!("# A\n\nprose\n\n{BEGIN}\nnew\n\n{END}\nmore prose\n"));
        assert_eq!(spliced(&once, marks, "new\n").expect("marks"), once, "the same again");
        assert!(spliced("no marks", marks, "new").is_err());
    }
}
