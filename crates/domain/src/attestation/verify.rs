//! RFC 7519, RFC 7523 section 3, RFC 8725: whether a token is one that a platform made for us and for
//! nobody else, a moment ago, for one of its workloads.
//!
//! The issuer is one that is registered, its keys are those of the registry, whatever the token's header
//! says of others. It has one audience. It is taken once: by its `jti`, or, as some platforms give none,
//! by what was signed. Whose it is says a rule ([`super::rule`]), and how old it may be.
//!
//! That an issuer is none that is believed, that it is suspended and that a signature does not hold is one
//! answer, so that nobody learns by asking whom an organization believes.

use std::sync::Arc;
use std::time::Duration;

use accredit_wire::claim_rule::ClaimName;
use accredit_wire::crypto::sha256_of;
use accredit_wire::ids::AgentId;
use accredit_wire::jose::TOKEN_BYTES_MAX;
use accredit_wire::jose::jws::{JwsError, TypRule, Unverified, Verified};
use accredit_wire::jose::jwt::{ClaimsError, SKEW_MAX};
use accredit_wire::json::Json;
use accredit_wire::time::Time;

use super::rule::RuleFacts;
use crate::context::Cx;
use crate::federation::verify::{CONFUSABLE, keys_refused};
use crate::federation::{FederationFacts, keys};
use crate::ports::SingleUse;
use crate::refusal::{Error, Fault, Refusal, Rule};
use crate::registry::State;

/// How far ahead a platform's token may expire: until then it is remembered that it was used.
pub const TOKEN_LIFE_MAX: Duration = Duration::from_hours(24);

/// As what a token is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presented {
    /// As the grant itself (RFC 7523 section 2.1).
    Grant,
    /// As a client's authentication (RFC 7523 section 2.2).
    ClientAssertion,
}

/// What is wrong with a token; which rule that is, depends on as what it was shown.
#[derive(Clone, Copy, Debug)]
enum Wrong {
    Unknown,
    Invalid,
    Audience,
    Lifetime,
}

impl Presented {
    /// How events name it.
    pub const fn method(self) -> &'static str {
        match self {
            Self::Grant => "jwt_bearer",
            Self::ClientAssertion => "workload_jwt",
        }
    }

    /// The refusal of a token that was used before.
    pub fn replayed(self) -> Refusal {
        let rule = match self {
            Self::Grant => Rule::GrantAssertionReplayed,
            Self::ClientAssertion => Rule::AssertionReplayed,
        };
        let hint = "get another token of the platform for each request";
        Refusal::new(rule, "this token of the platform was used before", hint)
    }

    const fn rule(self, wrong: Wrong) -> Rule {
        match (self, wrong) {
            (Self::Grant, Wrong::Unknown) => Rule::GrantAssertionUnknown,
            (Self::Grant, Wrong::Invalid) => Rule::GrantAssertionInvalid,
            (Self::Grant, Wrong::Audience) => Rule::GrantAssertionAudience,
            (Self::Grant, Wrong::Lifetime) => Rule::GrantAssertionLifetime,
            (Self::ClientAssertion, Wrong::Unknown) => Rule::ClientAuthentication,
            (Self::ClientAssertion, Wrong::Invalid) => Rule::AssertionInvalid,
            (Self::ClientAssertion, Wrong::Audience) => Rule::AssertionAudience,
            (Self::ClientAssertion, Wrong::Lifetime) => Rule::AssertionLifetime,
        }
    }

    /// The one answer to an issuer that is not believed and to a signature that does not hold.
    fn unknown(self) -> Refusal {
        Refusal::new(
            self.rule(Wrong::Unknown),
            "the token is of an issuer that is not believed here, or is not as that one signed it",
            "an administrator registers the platform: `accredit federation add`; its keys are asked \
             for again at most once a minute",
        )
    }

    fn invalid(self, why: &str) -> Refusal {
        Refusal::new(
            self.rule(Wrong::Invalid),
            format!("the platform's token: {why}"),
            "send a token that the platform makes for its workloads, as it came",
        )
    }
}

/// What a token proves.
pub(crate) struct Evidence {
    /// By whose word.
    pub(crate) federation: Arc<FederationFacts>,
    /// Its `sub`.
    pub(crate) subject: String,
    /// That it was used.
    pub(crate) used: SingleUse,
    /// The payload, strict JSON.
    payload: Vec<u8>,
    audience: String,
    issued_at: Time,
}

/// Verifies a token, whatever it claims to be.
pub(crate) async fn evidence(cx: &Cx, presented: Presented, text: &str) -> Result<Evidence, Error> {
    let unverified = parsed(presented, text)?;
    let issuer = unverified.peek_unverified_issuer().ok_or_else(|| presented.unknown())?;
    let found = cx.world.store.federation_facts(cx.tenant.id, &issuer).await?;
    drop(issuer);
    let is_active = |facts: &Arc<FederationFacts>| facts.state == State::Active;
    let facts = found.filter(is_active).ok_or_else(|| presented.unknown())?;
    let (kid, name) = (unverified.peek_unverified_kid().map(str::to_owned), facts.name.clone());
    let facts = keys::with_key(cx, facts, kid.as_deref()).await?;
    let facts = facts.ok_or_else(|| keys_refused(&name))?;
    let key = facts.keys.find(kid.as_deref()).filter(|_| is_active(&facts));
    let key = key.ok_or_else(|| presented.unknown())?;
    let verified = unverified.verify_by_issuer(key, TypRule::JwtOrAbsent);
    let verified = verified.map_err(|error| match error {
        JwsError::Typ { .. } => presented.invalid(&error.to_string()),
        _ => presented.unknown(),
    })?;
    Ok(checked(cx, presented, facts, verified)?)
}

fn parsed(presented: Presented, text: &str) -> Result<Unverified<'_>, Refusal> {
    Unverified::parse(text).map_err(|error| presented.invalid(&error.to_string()))
}

/// Checks the claims that every token has.
fn checked(
    cx: &Cx,
    presented: Presented,
    federation: Arc<FederationFacts>,
    verified: Verified<'_>,
) -> Result<Evidence, Refusal> {
    let wrong = |error: ClaimsError| claims_refused(presented, &error);
    let claims = verified.claims().map_err(wrong)?;
    if claims.iss() != Some(&federation.issuer) {
        return Err(presented.unknown());
    }
    if let Some((claim, why)) = CONFUSABLE.into_iter().find(|(name, _)| claims.get(name).is_some())
    {
        return Err(presented.invalid(&format!("it has `{claim}`: {why}")));
    }
    claims.check_times(cx.now, SKEW_MAX).map_err(wrong)?;
    claims.check_life(cx.now, TOKEN_LIFE_MAX, SKEW_MAX).map_err(wrong)?;
    let missing = |name| wrong(ClaimsError::Missing(name));
    let exp = claims.exp().ok_or_else(|| missing("exp"))?;
    let issued_at = claims.iat().ok_or_else(|| missing("iat"))?;
    let subject = claims.sub().ok_or_else(|| missing("sub"))?.to_owned();
    if subject.chars().any(char::is_control) {
        return Err(presented.invalid("its `sub` has control characters"));
    }
    let audience = claims.sole_audience().map(str::to_owned);
    // One that is for users, too, is no workload's.
    let audience = audience.filter(|audience| !federation.audiences.contains(audience));
    let audience = audience.ok_or_else(|| audience_refused(cx, presented))?;
    let hash = if let Some(jti) = claims.jti() {
        sha256_of(&[b"jti ", jti.as_bytes()])
    } else {
        // Not the signature: of what was signed there can be several that hold.
        let signed = verified.text().rsplit_once('.').map_or("", |(signed, _)| signed);
        sha256_of(&[b"jws ", signed.as_bytes()])
    };
    let used = SingleUse { client: federation.id.any(), hash, until: exp.plus(SKEW_MAX) };
    drop(claims);
    let payload = verified.into_payload();
    Ok(Evidence { federation, subject, used, payload, audience, issued_at })
}

fn audience_refused(cx: &Cx, presented: Presented) -> Refusal {
    Refusal::new(
        presented.rule(Wrong::Audience),
        "the platform's token is not for us alone",
        format!(
            "let the platform make it for `{}` and for nothing else, or for the audience that the \
             agent's rule names",
            cx.tenant.issuer
        ),
    )
}

fn claims_refused(presented: Presented, error: &ClaimsError) -> Refusal {
    let wrong = match error {
        ClaimsError::Expired { .. }
        | ClaimsError::NotYetValid { .. }
        | ClaimsError::IssuedInTheFuture { .. }
        | ClaimsError::LivesTooLong { .. } => Wrong::Lifetime,
        ClaimsError::Json(_)
        | ClaimsError::NotAnObject
        | ClaimsError::Text { .. }
        | ClaimsError::Audience
        | ClaimsError::NumericDate(_)
        | ClaimsError::Missing(_) => Wrong::Invalid,
    };
    let hint =
        "get a new token of the platform, and check the clocks; it has `exp`, `iat` and `sub`";
    Refusal::new(presented.rule(wrong), format!("the platform's token: {error}"), hint)
}

impl Evidence {
    /// The rule that a token is under, and what it calls the copy that runs. `client_id` says which agent
    /// it wants to be, where rules of several match.
    pub(crate) fn rule(
        &self,
        cx: &Cx,
        presented: Presented,
        client_id: Option<&str>,
    ) -> Result<(Arc<RuleFacts>, String), Error> {
        let claims = Json::parse(&self.payload, TOKEN_BYTES_MAX);
        let claims = claims.map_err(|error| Fault::new("claims", error))?;
        let rules = &self.federation.workloads;
        let is_for =
            |rule: &&Arc<RuleFacts>| rule.rule.audience(&cx.tenant.issuer) == self.audience;
        if !rules.is_empty() && !rules.iter().any(|rule| is_for(&rule)) {
            return Err(audience_refused(cx, presented).into());
        }
        let matching = rules.iter().filter(is_for).filter(|rule| rule.rule.matches(&claims));
        let named = client_id.map(|text| text.parse::<AgentId>().ok());
        let is_named = |rule: &&Arc<RuleFacts>| named.is_none_or(|id| id == Some(rule.agent));
        let mut matching = matching.filter(is_named);
        let rule = matching.next().ok_or_else(|| no_agent("no rule matches what it claims"))?;
        if matching.any(|other| other.agent != rule.agent) {
            return Err(no_agent("rules of several agents match what it claims").into());
        }
        if self.issued_at.plus(Duration::from_secs(rule.rule.age_max.into())).plus(SKEW_MAX)
            <= cx.now
        {
            return Err(Refusal::new(
                presented.rule(Wrong::Lifetime),
                format!("the platform's token is older than {} seconds", rule.rule.age_max),
                "get a new one; an administrator can let a rule take older ones",
            )
            .into());
        }
        let copy = rule.rule.instance_in(&claims).ok_or_else(|| {
            let names: Vec<_> = rule.rule.instance_by.iter().map(ClaimName::as_str).collect();
            let why = format!("it does not name the copy that runs: `{}`", names.join("`, `"));
            presented.invalid(&why)
        })?;
        Ok((Arc::clone(rule), copy))
    }
}

fn no_agent(why: &str) -> Refusal {
    Refusal::new(
        Rule::WorkloadAgent,
        format!("which agent the workload is cannot be told: {why}"),
        "an administrator sees the rules: `accredit attest rule list`; `client_id` chooses among \
         agents",
    )
}
