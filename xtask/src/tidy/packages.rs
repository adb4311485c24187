//! What the dependency trees contain: little below `wire`, one cryptographic back end, and nothing twice.

use std::collections::BTreeSet;

use crate::run;

/// A program that only verifies tokens compiles fewer packages than this.
const WIRE_PACKAGES_MAX: usize = 40;

/// Packages that have no place below `wire`: it does no I/O and knows no async runtime.
const NOT_IN_WIRE: [&str; 6] = ["axum", "hyper", "mio", "reqwest", "rusqlite", "tokio"];

/// Packages that are built nowhere here, not even for a test: aws-lc-rs and rustls do this.
const NOWHERE: [&str; 5] = ["native-tls", "openssl", "openssl-sys", "ring", "rsa"];

/// One finding per package that stands where it should not.
pub(crate) fn findings() -> Result<Vec<String>, String> {
    let wire = tree(&["--package", "accredit-wire", "--edges", "normal"])?;
    let all = tree(&["--workspace", "--edges", "normal,build,dev"])?;
    let mut findings = judge(&wire, &all);
    let binary = featured(&["--package", "accredit-cli", "--edges", "normal,build"])?;
    findings.extend(twice(&binary, &featured(&["--workspace", "--edges", "normal,build,dev"])?));
    Ok(findings)
}

/// A package that the binary has with other features than the tests is built once more for it, with all
/// that stands on it.
fn twice(binary: &BTreeSet<String>, tests: &BTreeSet<String>) -> Vec<String> {
    let other = binary.difference(tests);
    let finding = |package: &String| {
        format!(
            "the binary is built with `{package}`, the tests with more features of it; ask for the \
             same ones in the workspace's dependencies"
        )
    };
    other.map(finding).collect()
}

/// The distinct `name vX.Y.Z feature,feature` lines of a `cargo tree`.
fn featured(args: &[&str]) -> Result<BTreeSet<String>, String> {
    let mut command = run::cargo(&["tree", "--prefix", "none", "--format", "{p}|{f}"]);
    let text = run::output(command.args(args))?;
    let line = |line: &str| {
        let (name, features) = line.split_once('|')?;
        Some(format!("{} {}", package(name)?, features.trim_end_matches(" (*)")))
    };
    Ok(text.lines().filter_map(line).collect())
}

fn judge(wire: &BTreeSet<String>, all: &BTreeSet<String>) -> Vec<String> {
    let mut findings = Vec::new();
    if wire.len() >= WIRE_PACKAGES_MAX {
        findings.push(format!(
            "`accredit-wire` compiles {} packages and must stay below {WIRE_PACKAGES_MAX}; \
             see `cargo tree --package accredit-wire --edges normal`",
            wire.len()
        ));
    }
    for banned in NOT_IN_WIRE.iter().filter(|banned| has(wire, banned)) {
        findings.push(format!("`accredit-wire` depends on `{banned}`; I/O belongs above it"));
    }
    for banned in NOWHERE.iter().filter(|banned| has(all, banned)) {
        findings.push(format!(
            "`{banned}` is built; find who asks with `cargo tree --invert {banned}` and choose \
             its aws-lc-rs feature"
        ));
    }
    findings
}

/// The distinct `name vX.Y.Z` lines of a `cargo tree`, the package itself included.
fn tree(args: &[&str]) -> Result<BTreeSet<String>, String> {
    let mut command = run::cargo(&["tree", "--prefix", "none", "--format", "{p}"]);
    let text = run::output(command.args(args))?;
    Ok(text.lines().filter_map(package).collect())
}

/// Name and version of one line, without a path, `(proc-macro)` or `(*)`.
fn package(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    Some(format!("{} {}", words.next()?, words.next()?))
}

fn has(tree: &BTreeSet<String>, name: &str) -> bool {
    tree.iter().any(|package| package.split(' ').next() == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(lines: &[&str]) -> BTreeSet<String> {
        lines.iter().filter_map(|line| package(line)).collect()
    }

    #[test]
    fn a_line_of_the_tree_is_name_and_version() {
        let lines =
            set(&["serde v1.0.1", "serde v1.0.1 (*)", "", "zeroize_derive v1 (proc-macro)"]);
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn a_runtime_below_wire_and_ring_anywhere_are_findings() {
        let clean = set(&["accredit-wire v0.1.0", "tokio-like v1.0.0"]);
        assert!(judge(&clean, &clean).is_empty());
        assert_eq!(judge(&set(&["tokio v1.0.0"]), &clean).len(), 1);
        assert_eq!(judge(&clean, &set(&["ring v0.17.0", "rsa v0.9.0"])).len(), 2);
    }

    #[test]
    fn a_package_with_fewer_features_in_the_binary_is_a_finding() {
        let set = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
        let tests = set(&["tokio v1.0.0 net,time", "proptest v1.0.0 std"]);
        assert!(twice(&set(&["tokio v1.0.0 net,time"]), &tests).is_empty());
        let found = twice(&set(&["tokio v1.0.0 net"]), &tests);
        assert!(found.len() == 1 && found[0].contains("tokio v1.0.0 net"), "{found:?}");
    }

    #[test]
    fn forty_packages_below_wire_are_too_many() {
        let many = |n: usize| (0..n).map(|i| format!("p{i} v1.0.0")).collect::<BTreeSet<_>>();
        assert!(judge(&many(39), &set(&[])).is_empty());
        assert_eq!(judge(&many(40), &set(&[])).len(), 1);
    }
}
