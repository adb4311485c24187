//! Which crate of the workspace may name which, and who may name a database driver or
//! what loads foreign code.
//!
//! Normal and build dependencies only: a test may look at anything it likes.

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

use crate::ambient;

/// Every crate of the workspace and the crates of the workspace it may name.
const ALLOWED: &[(&str, &[&str])] = &[
    ("accredit-wire", &[]),
    ("accredit-domain", &["accredit-wire"]),
    ("accredit-store", &["accredit-domain", "accredit-wire"]),
    ("accredit-pkcs11", &["accredit-domain", "accredit-wire"]),
    ("accredit-server", &["accredit-domain", "accredit-wire"]),
    ("accredit-net", &["accredit-wire"]),
    ("accredit", &["accredit-net", "accredit-wire"]),
    ("accredit-edge", &["accredit", "accredit-wire"]),
    (
        "accredit-cli",
        &[
            "accredit",
            "accredit-domain",
            "accredit-edge",
            "accredit-net",
            "accredit-pkcs11",
            "accredit-server",
            "accredit-store",
            "accredit-wire",
        ],
    ),
    (
        "accredit-testkit",
        &[
            "accredit",
            "accredit-domain",
            "accredit-net",
            "accredit-server",
            "accredit-store",
            "accredit-wire",
        ],
    ),
    ("accredit-bench", &["accredit", "accredit-wire"]),
    ("accredit-e2e", &["accredit", "accredit-net", "accredit-testkit", "accredit-wire"]),
    ("xtask", &[]),
];

/// Outside crates that one crate confines, and that crate.
const CONFINED: &[(&str, &str)] = &[
    ("rusqlite", "accredit-store"),
    ("libsqlite3-sys", "accredit-store"),
    ("cryptoki", "accredit-pkcs11"),
];

/// One finding per edge that is not in the tables above.
pub(crate) fn findings() -> Result<Vec<String>, String> {
    let metadata = MetadataCommand::new()
        .current_dir(ambient::root())
        .no_deps()
        .exec()
        .map_err(|error| format!("cargo metadata: {error}"))?;
    let members: Vec<(String, Vec<String>)> =
        metadata.workspace_packages().into_iter().map(named).collect();
    Ok(judge(&members))
}

/// A package and the names in its `[dependencies]` and `[build-dependencies]`.
fn named(package: &Package) -> (String, Vec<String>) {
    let dependencies = package.dependencies.iter();
    let shipped = dependencies.filter(|edge| edge.kind != DependencyKind::Development);
    (package.name.to_string(), shipped.map(|edge| edge.name.clone()).collect())
}

fn judge(members: &[(String, Vec<String>)]) -> Vec<String> {
    let mut findings = Vec::new();
    for (from, named) in members {
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| name == from) else {
            findings.push(format!("crate `{from}` has no row in xtask/src/tidy/edges.rs; add one"));
            continue;
        };
        for to in named {
            let ours = members.iter().any(|(member, _)| member == to);
            if ours && !allowed.contains(&to.as_str()) {
                findings.push(format!(
                    "`{from}` names `{to}`, which the layers in ARCHITECTURE.md do not allow; \
                     move the shared part below both"
                ));
            }
            let home = CONFINED.iter().find(|(outside, _)| outside == to);
            if let Some((_, home)) = home.filter(|(_, home)| home != from) {
                findings.push(format!("`{from}` names `{to}`, which only `{home}` may name"));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(edges: &[(&str, &[&str])]) -> Vec<String> {
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let members: Vec<_> =
            edges.iter().map(|(from, to)| ((*from).to_owned(), owned(to))).collect();
        judge(&members)
    }

    #[test]
    fn an_edge_of_the_picture_passes() {
        let members: &[(&str, &[&str])] =
            &[("accredit-wire", &["serde"]), ("accredit-domain", &["accredit-wire"])];
        assert_eq!(check(members), Vec::<String>::new());
    }

    #[test]
    fn the_server_may_not_name_the_store() {
        let members: &[(&str, &[&str])] =
            &[("accredit-store", &["rusqlite"]), ("accredit-server", &["accredit-store"])];
        assert_eq!(check(members).len(), 1);
    }

    #[test]
    fn nothing_shipped_names_the_testkit() {
        let shipped = ALLOWED.iter().filter(|(from, _)| *from != "accredit-e2e");
        assert!(shipped.into_iter().all(|(_, to)| !to.contains(&"accredit-testkit")));
    }

    #[test]
    fn only_the_store_names_a_driver() {
        assert_eq!(check(&[("accredit-cli", &["rusqlite"])]).len(), 1);
    }

    #[test]
    fn one_crate_alone_loads_foreign_code() {
        assert!(check(&[("accredit-pkcs11", &["cryptoki"])]).is_empty());
        assert_eq!(check(&[("accredit-cli", &["cryptoki"])]).len(), 1);
    }

    #[test]
    fn a_crate_without_a_row_is_a_finding() {
        assert_eq!(check(&[("accredit-utils", &[])]).len(), 1);
    }
}
