//! What the source files themselves must look like: few rules, each with its reason.

use crate::ambient;
use crate::run::files;

/// Lines of one file without its tests; above this nobody reads it as one thing.
const FILE_LINES_MAX: usize = 1000;

/// Texts that may not stand in a source file, and why. They are put together here so that this
/// file does not contain them.
const BANNED: &[(&str, &str)] = &[
    (concat!("TO", "DO"), "finish it, or open an issue and say nothing here"),
    (concat!("FIX", "ME"), "fix it, or open an issue and say nothing here"),
    (concat!("Placeholder", " until"), "write the module, or remove the file"),
    (concat!("dbg", "!("), "use tracing, or remove it"),
    (
        concat!("if ", "sqlite"),
        "give the driver a named method; operations do not know which it is",
    ),
    (
        concat!("is_", "sqlite"),
        "give the driver a named method; operations do not know which it is",
    ),
];

/// One finding per broken rule and file.
pub(crate) fn findings() -> Result<Vec<String>, String> {
    let mut findings = Vec::new();
    for path in files("rs")? {
        let text = std::fs::read_to_string(ambient::root().join(&path));
        judge(&path, &text.map_err(|error| format!("{path}: {error}"))?, &mut findings);
    }
    Ok(findings)
}

fn judge(path: &str, text: &str, findings: &mut Vec<String>) {
    // A file of tests beside its module says in the names of its tests what it is.
    let of_tests = path.ends_with("tests.rs") || path.contains("/tests/");
    if !of_tests && !text.starts_with("//! ") {
        findings.push(format!("{path}:1: start the file with a `//!` line that says what it is"));
    }
    for (number, line) in text.lines().enumerate() {
        for (banned, advice) in BANNED.iter().filter(|(banned, _)| line.contains(banned)) {
            findings.push(format!("{path}:{}: `{banned}`: {advice}", number + 1));
        }
    }
    let lines = lines_without_tests(path, text);
    if lines > FILE_LINES_MAX {
        findings.push(format!(
            "{path}: {lines} lines without tests, at most {FILE_LINES_MAX}; split it by subject"
        ));
    }
}

/// The lines before the inline test module, which stands last; none for a file of tests.
fn lines_without_tests(path: &str, text: &str) -> usize {
    if path.ends_with("tests.rs") || path.split('/').any(|part| part == "tests") {
        return 0;
    }
    text.lines().take_while(|line| *line != "#[cfg(test)]").count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str) -> usize {
        let mut findings = Vec::new();
        judge(path, text, &mut findings);
        findings.len()
    }

    #[test]
    fn a_documented_file_passes() {
        assert_eq!(check("crates/x/src/lib.rs", "//! What it is.\nfn f() {}\n"), 0);
    }

    #[test]
    fn a_file_without_a_doc_line_is_a_finding() {
        assert_eq!(check("crates/x/src/lib.rs", "use std::fmt;\n"), 1);
        assert_eq!(check("crates/x/src/lib.rs", ""), 1);
    }

    #[test]
    fn every_banned_text_is_a_finding() {
        for (banned, _) in BANNED {
            assert_eq!(check("a.rs", &format!("//! A.\n// {banned} x\n")), 1, "{banned}");
        }
    }

    #[test]
    fn tests_do_not_count_towards_the_length() {
        let long = format!("//! A.\n{}", "\n".repeat(FILE_LINES_MAX));
        assert_eq!(check("a.rs", &long), 1);
        assert_eq!(check("src/a/tests.rs", &long), 0);
        assert_eq!(check("tests/it/a.rs", &long), 0);
        assert_eq!(check("a.rs", &format!("//! A.\n#[cfg(test)]\n{long}")), 0);
    }
}
