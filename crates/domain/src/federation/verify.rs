//! RFC 7519, RFC 8725, OpenID Connect Core 1.0 section 3.1.3.7: whether a user's token is one that an
//! external issuer made for us.
//!
//! The issuer is one that is registered, compared byte for byte; its keys are those of the registry,
//! and each has one algorithm. All audiences of the token must be ours: one that is for somebody else
//! too was shown to somebody else. `azp`, the client that the token was made for, must be one of our
//! audiences where it is there. Tokens that are something else (an access token, a logout token, a
//! security event, a proof) or that only their holder may use are refused.

use std::sync::Arc;
use std::time::Duration;

use accredit_wire::jose::jws::{JwsError, TypRule, Unverified};
use accredit_wire::jose::jwt::{Claims, ClaimsError, SKEW_MAX};
use accredit_wire::json::Json;
use accredit_wire::time::Time;

use super::MayAct;
use super::keys;
use super::person::SUBJECT_BYTES_MAX;
use super::registry::FederationFacts;
use crate::context::Cx;
use crate::refusal::{Error, Refusal, Rule};
use crate::registry::State;

/// How far ahead a user's token may expire. What comes of it lives for an hour at most.
pub const TOKEN_LIFE_MAX: Duration = Duration::from_hours(24);

/// Claims of tokens that are no word of an issuer on who a user is, and why.
pub(crate) const CONFUSABLE: [(&str, &str); 3] = [
    ("events", "it is a security event or a logout token (RFC 8417)"),
    ("cnf", "only the holder of its key may use it (RFC 7800), and there is no proof of it"),
    ("act", "somebody acts for its subject already (RFC 8693)"),
];

/// What a token says whose issuer is believed.
pub(super) struct VerifiedToken {
    /// The payload, strict JSON.
    pub(super) payload: Vec<u8>,
    pub(super) subject: String,
    pub(super) expires_at: Time,
    pub(super) may_act: Option<Vec<MayAct>>,
}

/// Verifies a token and says by whose word.
pub(super) async fn token(
    cx: &Cx,
    text: &str,
) -> Result<(Arc<FederationFacts>, VerifiedToken), Error> {
    let unverified = Unverified::parse(text).map_err(|error| invalid(&error))?;
    let issuer = unverified.peek_unverified_issuer().ok_or_else(|| {
        Refusal::new(
            Rule::SubjectTokenInvalid,
            "the user's token has no `iss`",
            "send the token of an issuer that is registered here",
        )
    })?;
    let facts = federation(cx, &issuer).await?;
    drop(issuer);
    let kid = unverified.peek_unverified_kid().map(str::to_owned);
    let facts = with_key(cx, facts, kid.as_deref()).await?;
    let Some(key) = facts.keys.find(kid.as_deref()) else {
        return Err(Refusal::new(
            Rule::SubjectTokenInvalid,
            "the user's token names a key that its issuer does not publish",
            "get a new token; an issuer's keys are asked for again at most once a minute",
        )
        .into());
    };
    let verified = unverified.verify_by_issuer(key, TypRule::JwtOrAbsent);
    let verified = verified.map_err(|error| invalid(&error))?;
    let claims = verified.claims().map_err(|error| claims_refused(&error))?;
    let (subject, expires_at) = check(cx, &facts, &claims)?;
    let may_act = may_act(&claims)?;
    let payload = verified.into_payload();
    Ok((facts, VerifiedToken { payload, subject, expires_at, may_act }))
}

/// The federation of an issuer, where it is active.
async fn federation(cx: &Cx, issuer: &str) -> Result<Arc<FederationFacts>, Error> {
    let found = cx.world.store.federation_facts(cx.tenant.id, issuer).await?;
    let facts = found.ok_or_else(|| {
        Refusal::new(
            Rule::FederationUnknown,
            "the issuer of the user's token is none that is registered here",
            "an administrator registers it: `accredit federation add`",
        )
    })?;
    is_active(&facts)?;
    Ok(facts)
}

fn is_active(facts: &FederationFacts) -> Result<(), Refusal> {
    if facts.state == State::Active {
        return Ok(());
    }
    Err(Refusal::new(
        Rule::FederationNotActive,
        format!("federation `{}` is suspended", facts.name),
        "an administrator can activate it: `accredit federation activate`",
    ))
}

/// The same facts with keys that may be used and the one that is named, where that can be had.
async fn with_key(
    cx: &Cx,
    facts: Arc<FederationFacts>,
    kid: Option<&str>,
) -> Result<Arc<FederationFacts>, Error> {
    let name = facts.name.clone();
    let facts = keys::with_key(cx, facts, kid).await?.ok_or_else(|| keys_refused(&name))?;
    is_active(&facts)?;
    Ok(facts)
}

/// An issuer's keys cannot be had.
pub(crate) fn keys_refused(name: &str) -> Refusal {
    Refusal::new(
        Rule::FederationKeys,
        format!("the keys of federation `{name}` cannot be had"),
        "look at `accredit federation show`; keys are used for a day after they were last had",
    )
}

/// Checks the claims; the subject and the end.
fn check(cx: &Cx, facts: &FederationFacts, claims: &Claims<'_>) -> Result<(String, Time), Refusal> {
    let wrong = |detail: &str, hint: &str| Refusal::new(Rule::SubjectTokenInvalid, detail, hint);
    if claims.iss() != Some(&facts.issuer) {
        return Err(wrong("the user's token has another `iss`", "send it as it was issued"));
    }
    if let Some((claim, why)) = CONFUSABLE.into_iter().find(|(name, _)| claims.get(name).is_some())
    {
        let detail = format!("the user's token has `{claim}`: {why}");
        return Err(wrong(&detail, "send an ID token, or a JWT that says who the user is"));
    }
    let is_ours = |audience: &str| facts.audiences.iter().any(|ours| ours == audience);
    let mut audiences = claims.aud().peekable();
    let azp = claims.get("azp").map(|azp| azp.as_str().is_some_and(is_ours));
    if audiences.peek().is_none() || !audiences.all(is_ours) || azp == Some(false) {
        return Err(Refusal::new(
            Rule::SubjectTokenAudience,
            "the user's token is not for us alone",
            "its `aud`, and `azp` where it is there, are to name the federation's audiences and \
             nothing else",
        ));
    }
    claims.check_times(cx.now, SKEW_MAX).map_err(|error| claims_refused(&error))?;
    claims.check_life(cx.now, TOKEN_LIFE_MAX, SKEW_MAX).map_err(|error| claims_refused(&error))?;
    if claims.iat().is_none() {
        return Err(claims_refused(&ClaimsError::Missing("iat")));
    }
    let subject = claims.sub().filter(|sub| is_subject(sub)).ok_or_else(|| {
        let detail =
            format!("`sub` must be 1 to {SUBJECT_BYTES_MAX} bytes without control characters");
        wrong(&detail, "the issuer names its users so")
    })?;
    let expires_at = claims.exp().ok_or_else(|| claims_refused(&ClaimsError::Missing("exp")))?;
    Ok((subject.to_owned(), expires_at))
}

/// Whether a text can be an external subject.
pub fn is_subject(text: &str) -> bool {
    (1..=SUBJECT_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// RFC 8693 section 4.4: one object, of `sub` and perhaps `iss`. A further member says more about
/// who may act than we understand.
fn may_act(claims: &Claims<'_>) -> Result<Option<Vec<MayAct>>, Refusal> {
    let Some(json) = claims.get("may_act") else { return Ok(None) };
    let wrong = || {
        Refusal::new(
            Rule::SubjectTokenInvalid,
            "`may_act` in the user's token is not an object of `sub` and perhaps `iss`",
            "name the one agent that may act by `sub`, its client id",
        )
    };
    let mut may_act = MayAct { iss: None, sub: String::new() };
    for (name, value) in json.as_object().ok_or_else(wrong)? {
        let text = value.as_str().filter(|text| is_subject(text)).ok_or_else(wrong)?;
        match name.as_ref() {
            "sub" => text.clone_into(&mut may_act.sub),
            "iss" => may_act.iss = Some(text.to_owned()),
            _ => return Err(wrong()),
        }
    }
    if may_act.sub.is_empty() { Err(wrong()) } else { Ok(Some(vec![may_act])) }
}

fn invalid(error: &JwsError) -> Refusal {
    Refusal::new(
        Rule::SubjectTokenInvalid,
        format!("the user's token: {error}"),
        "send the token as its issuer signed it",
    )
}

fn claims_refused(error: &ClaimsError) -> Refusal {
    let rule = match error {
        ClaimsError::Expired { .. } => Rule::SubjectTokenExpired,
        ClaimsError::Json(_)
        | ClaimsError::NotAnObject
        | ClaimsError::Text { .. }
        | ClaimsError::Audience
        | ClaimsError::NumericDate(_)
        | ClaimsError::Missing(_)
        | ClaimsError::NotYetValid { .. }
        | ClaimsError::IssuedInTheFuture { .. }
        | ClaimsError::LivesTooLong { .. } => Rule::SubjectTokenInvalid,
    };
    Refusal::new(rule, format!("the user's token: {error}"), "get a new token of the user")
}

impl VerifiedToken {
    /// The claims, as claim rules read them.
    pub(super) fn claims(&self) -> Option<Json<'_>> {
        Json::parse(&self.payload, accredit_wire::jose::TOKEN_BYTES_MAX).ok()
    }
}
