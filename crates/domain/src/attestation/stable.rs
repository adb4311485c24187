//! Which claims name a workload for good: ids that its platform gives once, and never to another.
//!
//! Names are given away: a repository is renamed, its old name taken by somebody else, and a token of
//! that one claims the same `sub` as before. A rule on a name is refused, with the id that says the same.
//! Names that narrow a rule further (a branch, an environment, a workflow) may stand beside the id.

use std::collections::BTreeMap;

use accredit_wire::claim_rule::ClaimName;

use crate::refusal::Refusal;

/// Claims that are names which somebody else can have later, and what to compare instead.
const NAMES: [(&str, &str); 16] = [
    ("repository", "repository_id"),
    ("repository_owner", "repository_owner_id"),
    ("actor", "actor_id"),
    ("enterprise", "enterprise_id"),
    ("project_path", "project_id"),
    ("namespace_path", "namespace_id"),
    ("user_login", "user_id"),
    ("organization_slug", "organization_id"),
    ("pipeline_slug", "pipeline_id"),
    ("terraform_organization_name", "terraform_organization_id"),
    ("terraform_project_name", "terraform_project_id"),
    ("terraform_workspace_name", "terraform_workspace_id"),
    ("/kubernetes.io/pod/name", "/kubernetes.io/pod/uid in `instance_by`"),
    ("/kubernetes.io/node/name", "/kubernetes.io/node/uid"),
    ("/kubernetes.io/secret/name", "/kubernetes.io/serviceaccount/uid"),
    ("app_displayname", "oid"),
];

/// How a `sub` begins that is made of such names, and what to compare instead.
const SUBJECTS_OF_NAMES: [(&str, &str); 3] = [
    ("repo:", "repository_id"),
    ("project_path:", "project_id"),
    ("organization:", "pipeline_id or terraform_workspace_id"),
];

/// Claims of which one alone says which workload it is.
const IDENTIFYING: [&str; 7] = [
    "sub",
    "oid",
    "repository_id",
    "project_id",
    "pipeline_id",
    "terraform_workspace_id",
    "/kubernetes.io/serviceaccount/uid",
];

/// A service account's name and its namespace, which say together who it is.
const SERVICE_ACCOUNT: [&str; 2] =
    ["/kubernetes.io/serviceaccount/name", "/kubernetes.io/namespace"];
/// How the `sub` of a service account begins; its namespace and its name follow.
const SERVICE_ACCOUNT_SUBJECT: &str = "system:serviceaccount:";

/// Whether an issuer is GitHub Actions, also of an own server: there whoever has a repository says
/// what `sub` is made of.
fn is_github(issuer: &str) -> bool {
    issuer == "https://token.actions.githubusercontent.com"
        || issuer.starts_with("https://token.actions.githubusercontent.com/")
        || issuer.ends_with("/_services/token")
}

/// Refuses claims that do not say for good which workload is meant.
pub fn check(issuer: &str, claims: &BTreeMap<ClaimName, String>) -> Result<(), Refusal> {
    let wrong = |why: String, hint: String| Err(Refusal::field("workload.claims", why, hint));
    let value = |name: &str| {
        claims.iter().find(|(claim, _)| claim.as_str() == name).map(|(_, value)| value.as_str())
    };
    for claim in claims.keys() {
        let plain = claim.as_str().strip_prefix('/').filter(|name| !name.contains('/'));
        let is_it = |name: &&str| *name == claim.as_str() || Some(*name) == plain;
        if let Some((name, instead)) = NAMES.iter().find(|(name, _)| is_it(name)) {
            return wrong(
                format!("`{name}` is a name that somebody else can have later"),
                format!("compare `{instead}`"),
            );
        }
    }
    let subject = value("sub").or_else(|| value("/sub"));
    if let Some(subject) = subject {
        if is_github(issuer) {
            return wrong(
                "whoever has a repository there says what `sub` is made of".to_owned(),
                "compare `repository_id`, and `environment` or `ref` beside it".to_owned(),
            );
        }
        let of_names = SUBJECTS_OF_NAMES.iter().find(|(head, _)| subject.starts_with(head));
        if let Some((_, instead)) = of_names {
            return wrong(
                "this `sub` is made of names that somebody else can have later".to_owned(),
                format!("compare `{instead}`"),
            );
        }
        if let Some(account) = subject.strip_prefix(SERVICE_ACCOUNT_SUBJECT) {
            let parts: Vec<&str> = account.split(':').collect();
            if parts.len() != 2 || parts.iter().any(|part| part.is_empty()) {
                return wrong(
                    "a service account is named by its namespace and its name".to_owned(),
                    format!("write `{SERVICE_ACCOUNT_SUBJECT}NAMESPACE:NAME`"),
                );
            }
        }
    }
    let [name, namespace] = SERVICE_ACCOUNT;
    let has_account = match (value(name), value(namespace)) {
        (Some(_), None) => {
            return wrong(
                "a service account of this name is in any namespace".to_owned(),
                format!("compare `{namespace}` too, or `/kubernetes.io/serviceaccount/uid`"),
            );
        }
        (Some(_), Some(_)) => true,
        (None, _) => false,
    };
    if has_account || subject.is_some() || IDENTIFYING.iter().any(|claim| value(claim).is_some()) {
        return Ok(());
    }
    wrong(
        "none of them says which workload it is".to_owned(),
        format!("compare one of `{}`", IDENTIFYING.join("`, `")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const GITHUB: &str = "https://token.actions.githubusercontent.com";
    const OTHER: &str = "https://oidc.example";

    fn checked(issuer: &str, claims: &[(&str, &str)]) -> Result<(), String> {
        let named = claims
            .iter()
            .map(|(claim, value)| (ClaimName::new(claim).expect("a claim"), (*value).to_owned()));
        check(issuer, &named.collect()).map_err(|refusal| refusal.hint)
    }

    #[test]
    fn names_that_somebody_else_can_have_later_are_refused_with_what_to_use_instead() {
        for (issuer, claims, instead) in [
            (GITHUB, &[("repository", "acme/app")][..], "repository_id"),
            (GITHUB, &[("/repository", "acme/app")], "repository_id"),
            (GITHUB, &[("repository_id", "74"), ("repository_owner", "acme")], "owner_id"),
            (GITHUB, &[("sub", "repo:acme/app:ref:refs/heads/main")], "repository_id"),
            (GITHUB, &[("sub", "environment:prod")], "repository_id"),
            (GITHUB, &[("/sub", "environment:prod")], "repository_id"),
            ("https://ghe.example/_services/token", &[("sub", "x")], "repository_id"),
            (GITHUB, &[("actor", "mia")], "actor_id"),
            (GITHUB, &[("ref", "refs/heads/main")], "repository_id"),
            (GITHUB, &[("repository_owner_id", "65")], "repository_id"),
            (OTHER, &[("sub", "repo:acme/app:ref:refs/heads/main")], "repository_id"),
            (OTHER, &[("sub", "project_path:acme/app:ref_type:branch:ref:main")], "project_id"),
            (OTHER, &[("sub", "organization:acme:pipeline:app")], "pipeline_id"),
            (OTHER, &[("sub", "system:serviceaccount:planner")], "NAMESPACE:NAME"),
            (OTHER, &[("sub", "system:serviceaccount::planner")], "NAMESPACE:NAME"),
            (OTHER, &[("sub", "system:serviceaccount:prod:")], "NAMESPACE:NAME"),
            (OTHER, &[("sub", "system:serviceaccount:a:b:c")], "NAMESPACE:NAME"),
            (OTHER, &[("/kubernetes.io/serviceaccount/name", "planner")], "namespace"),
            (OTHER, &[("/kubernetes.io/namespace", "prod")], "sub"),
            (OTHER, &[("/kubernetes.io/pod/name", "planner-0")], "pod/uid"),
            (OTHER, &[("iss", OTHER)], "sub"),
            (OTHER, &[("aud", "x")], "sub"),
            (OTHER, &[], "sub"),
        ] {
            let hint = checked(issuer, claims).expect_err(&format!("{claims:?}"));
            assert!(hint.contains(instead), "{claims:?}: {hint}");
        }
    }

    #[test]
    fn ids_that_are_given_once_are_taken_with_names_that_narrow_them() {
        for (issuer, claims) in [
            (GITHUB, &[("repository_id", "74")][..]),
            (GITHUB, &[("repository_id", "74"), ("environment", "prod")]),
            (GITHUB, &[("repository_id", "74"), ("ref", "refs/heads/main")]),
            (OTHER, &[("sub", "system:serviceaccount:prod:planner")]),
            (
                OTHER,
                &[
                    ("/kubernetes.io/serviceaccount/name", "planner"),
                    ("/kubernetes.io/namespace", "prod"),
                ],
            ),
            (OTHER, &[("/kubernetes.io/serviceaccount/uid", "7f1e")]),
            (OTHER, &[("sub", "0f9d7c")]),
            (OTHER, &[("project_id", "22")]),
        ] {
            checked(issuer, claims).unwrap_or_else(|hint| panic!("{claims:?}: {hint}"));
        }
    }
}
