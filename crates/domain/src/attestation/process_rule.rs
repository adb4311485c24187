//! Process rule: which processes that nodes vouch for are an agent's (`docs/formats.md`).
//!
//! Whose nodes are believed is an agent, whichever of its instances says so. What they say of a process
//! are selectors; a rule demands some, each exactly. Refused is a rule that would let in programs which
//! nobody thought of: an interpreter runs whatever it is given, a user runs many programs, and what runs as
//! root or nobody is of many origins.

use accredit_wire::ids::{AgentId, CredentialId};
use accredit_wire::selectors::{Selector, Selectors, interpreter_of};
use serde::{Deserialize, Serialize};

use super::rule::{CreateWorkloadRule, births_per_hour, instance_lifetime};
use crate::context::Cx;
use crate::refusal::{Error, Fault, Refusal, Rule};
use crate::registry::find_agent;

/// Users that many programs share, whoever started them: root and nobody.
const SHARED_USERS: [&str; 2] = ["0", "65534"];

/// What to demand of an interpreter besides.
const PLACES: &str = "add where it was put: `systemd_unit`, `container_id`, `pod_uid` or `cgroup`; or \
                      let the agent be a program of its own";

/// What a rule demands: the proof of a credential that has no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessRule {
    /// The agent whose nodes are believed.
    pub edge: AgentId,
    /// What they must say of a process.
    pub claims: Selectors,
    /// How many instances the rule brings into being in an hour.
    pub births_per_hour: u32,
    /// How long each of these lives, seconds.
    pub instance_lifetime: u32,
}

/// A rule as nodes have it: which agent is meant.
#[derive(Clone, Debug)]
pub struct ProcessRuleFacts {
    /// The credential that the rule is.
    pub credential: CredentialId,
    /// Whose.
    pub agent: AgentId,
    /// When the credential ends by itself.
    pub expires_at: accredit_wire::time::Time,
    /// What it demands.
    pub rule: ProcessRule,
}

/// Checks a rule and finds the agent of its nodes.
pub(super) async fn checked(
    cx: &Cx,
    edge: &str,
    asked: &CreateWorkloadRule,
) -> Result<ProcessRule, Error> {
    let of_tokens = [
        ("instance_by", !asked.instance_by.is_empty()),
        ("audience", asked.audience.is_some()),
        ("age_max", asked.age_max.is_some()),
    ];
    if let Some((name, _)) = of_tokens.into_iter().find(|(_, is_said)| *is_said) {
        return Err(Refusal::field(
            &format!("workload.{name}"),
            "is for tokens of a platform",
            "leave it out: each process is a copy of its own, and a node says what it sees now",
        )
        .into());
    }
    let claims = asked.claims.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let claims = Selectors::new(claims).map_err(|error| {
        let hint = "name what the node sees of the process: `accredit attest rule add --help`";
        Refusal::field("workload.claims", error, hint)
    })?;
    is_narrow(&claims)?;
    Ok(ProcessRule {
        edge: find_agent(cx, edge).await?.id,
        claims,
        births_per_hour: births_per_hour(asked)?,
        instance_lifetime: instance_lifetime(asked)?,
    })
}

/// Refuses what would let in programs that nobody thought of.
fn is_narrow(claims: &Selectors) -> Result<(), Refusal> {
    let wrong = |why: &str, hint: &str| Err(Refusal::field("workload.claims", why, hint));
    let (path, digest) = (claims.get(Selector::Path), claims.get(Selector::Sha256));
    let has_place = claims.has_place();
    if path.is_none() && digest.is_none() && !has_place {
        let is_interpreter = claims.get(Selector::Interpreter).is_some();
        return if is_interpreter {
            wrong("an interpreter runs whatever it is given", PLACES)
        } else {
            let hint = "a user runs many programs: add `path`, `sha256`, `systemd_unit`, \
                        `container_id`, `pod_uid` or `cgroup`";
            wrong("say of no program which it is", hint)
        };
    }
    let name = path.and_then(|path| path.rsplit('/').next());
    let interpreter = claims.get(Selector::Interpreter).or(name.and_then(interpreter_of));
    if let (Some(interpreter), false) = (interpreter, has_place) {
        let why = format!("`{interpreter}` is an interpreter and runs whatever it is given");
        return wrong(&why, PLACES);
    }
    let user = claims.get(Selector::Uid);
    if user.is_some_and(|user| SHARED_USERS.contains(&user))
        && (path.is_none() || !(has_place || digest.is_some()))
    {
        let hint = "let the agent run as a user of its own; else add `path` and, besides, `sha256`, \
                    `systemd_unit`, `container_id`, `pod_uid` or `cgroup`";
        return wrong("root and nobody are shared by programs of many origins", hint);
    }
    Ok(())
}

/// Whether nodes of an agent may vouch for another: they are in one environment, and none vouches for
/// its own.
pub(crate) async fn may_vouch(cx: &Cx, edge: AgentId, agent: AgentId) -> Result<(), Error> {
    if edge == agent {
        return Err(Refusal::field(
            "workload.edge",
            "is the agent itself",
            "nodes join by a token or by a platform's word, and never by another node's",
        )
        .into());
    }
    let mut both = Vec::with_capacity(2);
    for id in [edge, agent] {
        let facts = cx.world.store.agent_facts(cx.tenant.id, id).await?;
        both.push(
            facts.ok_or_else(|| Fault::new("agent facts", "a rule without agent"))?.environment,
        );
    }
    if both[0] == both[1] {
        return Ok(());
    }
    Err(Refusal::new(
        Rule::EnvironmentBoundary,
        "the nodes and the agent are in different environments",
        "let nodes of the agent's own environment vouch for it",
    )
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DIGEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    fn narrow(pairs: &[(&str, &str)]) -> Result<(), Refusal> {
        is_narrow(&Selectors::new(pairs.iter().copied()).expect("selectors"))
    }

    #[test]
    fn an_interpreter_alone_is_no_program() {
        for path in [
            "/usr/bin/python3",
            "/usr/bin/python3.12",
            "/opt/venv/bin/python",
            "/usr/bin/node",
            "/bin/sh",
            "/usr/bin/env",
            "/home/mia/.local/bin/uv",
            "/usr/bin/Rscript",
        ] {
            for more in [&[][..], &[("uid", "1200")], &[("sha256", DIGEST), ("gid", "7")]] {
                let refused = narrow(&[&[("path", path)], more].concat()).expect_err(path);
                assert!(refused.hint.contains("systemd_unit"), "{path}: {}", refused.hint);
            }
            for place in [
                ("systemd_unit", "planner.service"),
                ("container_id", DIGEST),
                ("pod_uid", "4e5d9c7a-1b2c-4d3e-8f90-123456789abc"),
                ("cgroup", "/system.slice/planner.service"),
            ] {
                assert!(narrow(&[("path", path), place]).is_ok(), "{path} {place:?}");
            }
        }
        assert!(narrow(&[("interpreter", "python")]).is_err());
        assert!(narrow(&[("interpreter", "python"), ("sha256", DIGEST)]).is_err());
        assert!(narrow(&[("interpreter", "python"), ("path", "/opt/planner")]).is_err());
        assert!(narrow(&[("interpreter", "python"), ("systemd_unit", "p.service")]).is_ok());
        assert!(narrow(&[("path", "/opt/planner/bin/planner")]).is_ok());
        assert!(narrow(&[("sha256", DIGEST)]).is_ok());
    }

    #[test]
    fn a_user_alone_is_no_program() {
        for wrong in [&[("uid", "1200")][..], &[("gid", "7")], &[("uid", "1200"), ("gid", "7")]] {
            let refused = narrow(wrong).expect_err("a user");
            assert!(refused.hint.contains("many programs"), "{}", refused.hint);
        }
    }

    #[test]
    fn root_and_nobody_need_more_than_a_path() {
        let path = ("path", "/opt/planner");
        for user in ["0", "65534"] {
            let user = ("uid", user);
            for wrong in [
                &[user][..],
                &[user, path],
                &[user, ("sha256", DIGEST)],
                &[user, ("systemd_unit", "p.service")],
            ] {
                assert!(narrow(wrong).is_err(), "{wrong:?}");
            }
            assert!(narrow(&[user, path, ("sha256", DIGEST)]).is_ok());
            assert!(narrow(&[user, path, ("systemd_unit", "p.service")]).is_ok());
        }
        assert!(narrow(&[("uid", "1200"), path]).is_ok());
    }

    proptest! {
        /// What a rule may be, an interpreter's process never is without where it was put.
        #[test]
        fn no_rule_without_a_place_takes_an_interpreter(
            uid in proptest::option::of(0u32..3),
            path in proptest::option::of("/(opt|usr/bin)/(planner|python3|node|sh)"),
            digest: bool,
        ) {
            let uid = uid.map(|uid| uid.to_string());
            let mut claims = Vec::new();
            claims.extend(uid.as_deref().map(|uid| ("uid", uid)));
            claims.extend(path.as_deref().map(|path| ("path", path)));
            claims.extend(digest.then_some(("sha256", DIGEST)));
            prop_assume!(!claims.is_empty());
            let rule = Selectors::new(claims.iter().copied()).expect("selectors");
            prop_assume!(is_narrow(&rule).is_ok());
            let said = [&claims[..], &[("interpreter", "python")]].concat();
            prop_assert!(!rule.match_process(&Selectors::new(said).expect("selectors")));
            prop_assert!(rule.match_process(&rule));
        }
    }
}
