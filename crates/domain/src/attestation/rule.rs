//! Workload rule: which tokens of a platform are an agent's, and which of its copies each speaks for.

use std::collections::BTreeMap;

use accredit_wire::claim_rule::{ClaimName, VALUE_BYTES_MAX};
use accredit_wire::ids::{AgentId, CredentialId, FederationId};
use accredit_wire::json::Json;
use serde::{Deserialize, Serialize};

use super::process_rule::{self, ProcessRule};
use super::stable;
use crate::context::Cx;
use crate::federation::registry::{AUDIENCE_BYTES_MAX, find_federation};
use crate::refusal::{Error, Refusal};

/// Live rules of one federation: one for each agent that runs there, and some to spare.
pub const RULES_MAX: usize = 256;
/// Claims of one rule.
pub const CLAIMS_MAX: usize = 8;
/// Claims that name a copy.
pub const INSTANCE_CLAIMS_MAX: usize = 3;
/// The oldest a token may be where the rule does not say, seconds: as long as Kubernetes lets a
/// projected token live by default.
pub const AGE_DEFAULT_SECONDS: u32 = 3600;
/// The oldest a token may be, seconds.
pub const AGE_MAX_SECONDS: u32 = 24 * 3600;
/// Instances that a rule brings into being in an hour, where it does not say.
pub const BIRTHS_DEFAULT: u32 = 100;
/// Instances that a rule brings into being in an hour.
pub const BIRTHS_MAX: u32 = 10_000;
/// The life of an instance where the rule does not say, seconds: a day. Then the next token brings a
/// new one into being.
pub const INSTANCE_LIFETIME_DEFAULT_SECONDS: u32 = 24 * 3600;
/// The longest life of an instance, seconds: 30 days.
pub const INSTANCE_LIFETIME_MAX_SECONDS: u32 = 30 * 24 * 3600;
/// The life of a rule where nobody said, seconds: a year. There is no secret in it that could leak.
pub const RULE_LIFETIME_DEFAULT_SECONDS: u64 = 366 * 24 * 3600;
/// Bytes of what names a copy.
pub const INSTANCE_BYTES_MAX: usize = 256;
/// Stands between the claims that name a copy together.
const INSTANCE_JOINT: &str = ".";

/// Audiences that a platform puts into tokens which are for itself or for everybody, by how they begin:
/// whoever is sent such a token for something else could use it here.
const AUDIENCES_OF_PLATFORMS: [&str; 6] = [
    "https://kubernetes.default",
    "https://github.com/",
    "https://gitlab.com",
    "sts.amazonaws.com",
    "api://AzureADTokenExchange",
    "https://iam.googleapis.com/",
];

/// What a rule compares: the proof of a credential that has no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkloadRule {
    /// Whose tokens.
    pub federation: FederationId,
    /// What they must claim: each of these, and exactly this text.
    pub claims: BTreeMap<ClaimName, String>,
    /// The claims that together name the copy which runs.
    pub instance_by: Vec<ClaimName>,
    /// The one audience that they must have; nothing for the organization's issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// How old they may be, seconds.
    pub age_max: u32,
    /// How many instances they bring into being in an hour.
    pub births_per_hour: u32,
    /// How long each of these lives, seconds.
    pub instance_lifetime: u32,
}

/// A rule as its federation has it: which agent is meant, until when the credential says so.
#[derive(Debug)]
pub struct RuleFacts {
    /// The credential that the rule is.
    pub credential: CredentialId,
    /// Whose.
    pub agent: AgentId,
    /// What it compares.
    pub rule: WorkloadRule,
}

/// A new rule.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateWorkloadRule {
    /// Whose tokens: a federation, by id or name.
    pub federation: Option<String>,
    /// Whose word instead: nodes of this agent, by id or name.
    pub edge: Option<String>,
    /// What they must claim, by the claim's name or JSON Pointer: exactly these texts. One of them must be
    /// an id that is never given to anybody else. With `edge`: what a node must say of a process.
    pub claims: BTreeMap<String, String>,
    /// The claims that together name the copy which runs; `jti` where not said, by which each token is
    /// one of its own.
    #[serde(default)]
    pub instance_by: Vec<String>,
    /// The one audience that they must have; the organization's issuer where not said.
    pub audience: Option<String>,
    /// How old they may be, seconds: an hour where not said.
    pub age_max: Option<u32>,
    /// How many instances they may bring into being in an hour: 100 where not said.
    pub births_per_hour: Option<u32>,
    /// How long each of these lives, seconds: a day where not said.
    pub instance_lifetime: Option<u32>,
}

impl WorkloadRule {
    /// Whether the claims, a JSON object, have all that it demands.
    pub fn matches(&self, claims: &Json<'_>) -> bool {
        let is_so = |(name, value): (&ClaimName, &String)| {
            name.find(claims).and_then(Json::as_str) == Some(value)
        };
        !self.claims.is_empty() && self.claims.iter().all(is_so)
    }

    /// What the claims call the copy that runs; nothing where one of the names is missing or is none.
    pub fn instance_in(&self, claims: &Json<'_>) -> Option<String> {
        let parts = self.instance_by.iter().map(|name| name.find(claims).and_then(Json::as_str));
        let parts: Vec<&str> = parts.collect::<Option<_>>()?;
        // Of two names nobody could tell where one ends.
        let is_told = |part: &&str| {
            !part.is_empty()
                && !part.chars().any(char::is_control)
                && (self.instance_by.len() == 1 || !part.contains(INSTANCE_JOINT))
        };
        let name = parts.iter().all(is_told).then(|| parts.join(INSTANCE_JOINT))?;
        (1..=INSTANCE_BYTES_MAX).contains(&name.len()).then_some(name)
    }

    /// The audience that its tokens have.
    pub fn audience<'a>(&'a self, issuer: &'a str) -> &'a str {
        self.audience.as_deref().unwrap_or(issuer)
    }
}

/// A rule that was checked.
#[derive(Clone)]
pub(crate) enum Checked {
    /// On the tokens of a platform.
    Platform(WorkloadRule),
    /// On what nodes say of processes.
    Process(ProcessRule),
}

/// Checks a rule and finds whose word it is on.
pub(crate) async fn checked(cx: &Cx, asked: &CreateWorkloadRule) -> Result<Checked, Error> {
    match (&asked.federation, &asked.edge) {
        (Some(federation), None) => {
            Ok(Checked::Platform(of_platform(cx, federation, asked).await?))
        }
        (None, Some(edge)) => {
            Ok(Checked::Process(process_rule::checked(cx, edge, asked).await?))
        }
        _ => Err(Refusal::field(
            "workload",
            "is on the word of one",
            "name a `federation` for tokens of a platform, or with `edge` an agent whose nodes vouch \
             for processes",
        )
        .into()),
    }
}

async fn of_platform(
    cx: &Cx,
    federation: &str,
    asked: &CreateWorkloadRule,
) -> Result<WorkloadRule, Error> {
    let federation = find_federation(cx, federation).await?;
    let claims = claims(asked)?;
    stable::check(&federation.issuer, &claims)?;
    let instance_by = instance_by(&asked.instance_by)?;
    let audience = asked.audience.as_deref();
    let audience = audience.map(|one| self::audience(one, &federation.issuer)).transpose()?;
    let meant = audience.as_deref().unwrap_or(&cx.tenant.issuer);
    if federation.audiences.iter().any(|users| users == meant) {
        return Err(Refusal::field(
            "workload.audience",
            "is what users' tokens of this federation name",
            "choose another: what is for the one must not be taken for the other",
        )
        .into());
    }
    Ok(WorkloadRule {
        federation: federation.id,
        claims,
        instance_by,
        audience,
        age_max: within("age_max", asked.age_max, AGE_DEFAULT_SECONDS, AGE_MAX_SECONDS)?,
        births_per_hour: births_per_hour(asked)?,
        instance_lifetime: instance_lifetime(asked)?,
    })
}

fn claims(asked: &CreateWorkloadRule) -> Result<BTreeMap<ClaimName, String>, Refusal> {
    let wrong = |why: String, hint: &str| Refusal::field("workload.claims", why, hint);
    if !(1..=CLAIMS_MAX).contains(&asked.claims.len()) {
        let hint = "name the id by which the platform knows the workload, and what narrows it";
        return Err(wrong(format!("must be 1 to {CLAIMS_MAX}"), hint));
    }
    let mut claims = BTreeMap::new();
    for (name, value) in &asked.claims {
        let hint = "name a claim of the platform's tokens, or a JSON Pointer to one";
        let claim = ClaimName::new(name).map_err(|error| wrong(error.to_string(), hint))?;
        let fits = (1..=VALUE_BYTES_MAX).contains(&value.len());
        if !fits || value.chars().any(char::is_control) {
            let why = format!("a value is 1 to {VALUE_BYTES_MAX} bytes without control characters");
            return Err(wrong(why, "give the text that the claim has"));
        }
        if value.contains('*') {
            return Err(wrong(
                format!("`{name}` has a `*`, and nothing is a pattern here"),
                "give the whole text that the claim has; add a rule for each workload",
            ));
        }
        claims.insert(claim, value.clone());
    }
    Ok(claims)
}

fn instance_by(asked: &[String]) -> Result<Vec<ClaimName>, Refusal> {
    let hint = "name what is different in each copy and stays while it runs, such as \
                `/kubernetes.io/pod/uid`, or leave it out for `jti`";
    let wrong = |why: String| Refusal::field("workload.instance_by", why, hint);
    if asked.len() > INSTANCE_CLAIMS_MAX {
        return Err(wrong(format!("are more than {INSTANCE_CLAIMS_MAX} claims")));
    }
    let names = if asked.is_empty() { &["jti".to_owned()][..] } else { asked };
    let mut all: Vec<ClaimName> = Vec::with_capacity(names.len());
    for name in names {
        let name = ClaimName::new(name).map_err(|error| wrong(error.to_string()))?;
        if all.contains(&name) {
            return Err(wrong(format!("`{}` stands twice", name.as_str())));
        }
        all.push(name);
    }
    Ok(all)
}

fn audience(asked: &str, issuer: &str) -> Result<String, Refusal> {
    let wrong = |why: &str| {
        let hint = "leave it out for the organization's issuer, and let the platform make tokens \
                    for that; else name an audience that is Accredit's alone";
        Refusal::field("workload.audience", why, hint)
    };
    let fits = (1..=AUDIENCE_BYTES_MAX).contains(&asked.len());
    if !fits || !asked.bytes().all(|byte| byte.is_ascii_graphic()) || asked.contains('*') {
        return Err(wrong("must be 1 to 512 visible ASCII characters, and no pattern"));
    }
    let same =
        |one: &str| one.trim_end_matches('/').eq_ignore_ascii_case(asked.trim_end_matches('/'));
    let of_platform = |known: &&str| {
        asked.get(..known.len()).is_some_and(|head| head.eq_ignore_ascii_case(known))
    };
    if same(issuer) || AUDIENCES_OF_PLATFORMS.iter().any(of_platform) {
        return Err(wrong("is the platform's own, which its tokens have for everybody"));
    }
    Ok(asked.to_owned())
}

fn within(name: &str, asked: Option<u32>, default: u32, max: u32) -> Result<u32, Refusal> {
    let asked = asked.unwrap_or(default);
    if (1..=max).contains(&asked) {
        return Ok(asked);
    }
    let name = format!("workload.{name}");
    Err(Refusal::field(&name, format!("must be from 1 to {max}"), "choose one of these"))
}

pub(super) fn births_per_hour(asked: &CreateWorkloadRule) -> Result<u32, Refusal> {
    within("births_per_hour", asked.births_per_hour, BIRTHS_DEFAULT, BIRTHS_MAX)
}

pub(super) fn instance_lifetime(asked: &CreateWorkloadRule) -> Result<u32, Refusal> {
    let (default, max) = (INSTANCE_LIFETIME_DEFAULT_SECONDS, INSTANCE_LIFETIME_MAX_SECONDS);
    within("instance_lifetime", asked.instance_lifetime, default, max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn rule(claims: &[(&str, &str)], instance_by: &[&str]) -> WorkloadRule {
        let name = |text: &str| ClaimName::new(text).expect("a claim");
        WorkloadRule {
            federation: FederationId::new(1, [1; 10]),
            claims: claims.iter().map(|(claim, value)| (name(claim), (*value).into())).collect(),
            instance_by: instance_by.iter().map(|text| name(text)).collect(),
            audience: None,
            age_max: AGE_DEFAULT_SECONDS,
            births_per_hour: BIRTHS_DEFAULT,
            instance_lifetime: INSTANCE_LIFETIME_DEFAULT_SECONDS,
        }
    }

    fn with<T>(claims: &serde_json::Value, read: impl Fn(&Json<'_>) -> T) -> T {
        let text = claims.to_string();
        read(&Json::parse(text.as_bytes(), 4096).expect("JSON"))
    }

    #[test]
    fn a_rule_of_nothing_matches_nothing() {
        assert!(!with(&json!({"sub": "a"}), |claims| rule(&[], &["jti"]).matches(claims)));
    }

    #[test]
    fn claims_that_are_not_quite_the_texts_match_nothing() {
        let both = rule(&[("repository_id", "74"), ("environment", "prod")], &["jti"]);
        let good = json!({"repository_id": "74", "environment": "prod", "sub": "x"});
        assert!(with(&good, |claims| both.matches(claims)));
        for wrong in [
            json!({}),
            json!({"repository_id": "74"}),
            json!({"environment": "prod"}),
            json!({"repository_id": 74, "environment": "prod"}),
            json!({"repository_id": ["74"], "environment": "prod"}),
            json!({"repository_id": "740", "environment": "prod"}),
            json!({"repository_id": "7", "environment": "prod"}),
            json!({"repository_id": "74", "environment": "Prod"}),
            json!({"repository_id": "74 ", "environment": "prod"}),
            json!({"x": {"repository_id": "74", "environment": "prod"}}),
        ] {
            assert!(!with(&wrong, |claims| both.matches(claims)), "{wrong}");
        }
    }

    #[test]
    fn a_copy_is_named_by_all_its_claims_or_not_at_all() {
        let run = rule(&[("sub", "x")], &["run_id", "run_attempt"]);
        let named = |claims: serde_json::Value| with(&claims, |claims| run.instance_in(claims));
        let good = json!({"run_id": "19", "run_attempt": "2"});
        assert_eq!(named(good).as_deref(), Some("19.2"));
        for wrong in [
            json!({"run_id": "19"}),
            json!({"run_id": "19", "run_attempt": ""}),
            json!({"run_id": "19", "run_attempt": 2}),
            json!({"run_id": "1.9", "run_attempt": "2"}),
            json!({"run_id": "1\n9", "run_attempt": "2"}),
            json!({"run_id": "1".repeat(255), "run_attempt": "2"}),
        ] {
            assert_eq!(named(wrong.clone()), None, "{wrong}");
        }
        let pod = rule(&[("sub", "x")], &["/kubernetes.io/pod/uid"]);
        let claims = json!({"kubernetes.io": {"pod": {"uid": "a.b"}}});
        assert_eq!(with(&claims, |claims| pod.instance_in(claims)).as_deref(), Some("a.b"));
    }

    #[test]
    fn a_platforms_own_audience_is_none_for_us() {
        let issuer = "https://oidc.example/id/7";
        for wrong in [
            "https://oidc.example/id/7",
            "https://oidc.example/id/7/",
            "HTTPS://OIDC.example/id/7",
            "https://kubernetes.default.svc.cluster.local",
            "https://github.com/acme",
            "sts.amazonaws.com",
            "api://azureadtokenexchange",
            "accredit/*",
            "",
            "a b",
        ] {
            assert!(audience(wrong, issuer).is_err(), "{wrong}");
        }
        assert!(audience("api://accredit", issuer).is_ok());
    }

    proptest! {
        /// Against a model: two tokens name the same copy only where each claim is the same.
        #[test]
        fn two_copies_never_have_one_name(
            first in proptest::array::uniform2("[a-c.]{0,3}"),
            second in proptest::array::uniform2("[a-c.]{0,3}"),
        ) {
            let run = rule(&[("sub", "x")], &["a", "b"]);
            let named = |[a, b]: &[String; 2]| {
                with(&json!({"a": a, "b": b}), |claims| run.instance_in(claims))
            };
            if let (Some(one), Some(other)) = (named(&first), named(&second)) {
                prop_assert_eq!(one == other, first == second);
            }
        }

        /// What is stored reads back as the same rule.
        #[test]
        fn a_rule_reads_back(value in "[ -~]{1,40}", age_max in 1..AGE_MAX_SECONDS) {
            let rule = WorkloadRule { age_max, ..rule(&[("sub", &value)], &["jti"]) };
            let text = serde_json::to_string(&rule).expect("JSON");
            prop_assert_eq!(serde_json::from_str::<WorkloadRule>(&text).expect("a rule"), rule);
        }
    }
}
