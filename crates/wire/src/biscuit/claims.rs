//! The vocabulary of the authority block: the claims of an access token as facts, and what bounds
//! them as checks.
//!
//! A fact says who and what; a check says what the bearer is held to, in the words of the
//! narrowings ([`super::checks`]): when it ends, what may be done at the audience, by whose key. So
//! that no fact can be taken for one that a Verifier supplies, the names of the two are distinct.
//! Read back strictly: what is unknown, missing, or there twice is refused.

use std::collections::BTreeMap;

use super::datalog::{Content, Predicate, Term};
use super::{BiscuitError, Holder, Narrowing};
use crate::authority::{Authority, Permission, ScopeToken, WINDOW_SECONDS_MAX};
use crate::binding::Confirmation;
use crate::ids::{AnyId, KeyId};
use crate::oauth::authorization_details::AuthorizationDetails;
use crate::token::{
    AccessToken, Actor, CHAIN_DEPTH_MAX, ClaimsError, INTEGER_MAX, LINEAGE_MAX, SubjectKind,
};

/// The version of the vocabulary that is written and read here: the fact `accredit(1)`.
pub const VOCABULARY_VERSION: i64 = 1;

/// The most permissions that a token passes on, each in its text.
pub const DELEGABLE_MAX: usize = 256;

impl Narrowing {
    /// What the authority block of this token is held to.
    pub(super) fn of_token(token: &AccessToken) -> Self {
        Self {
            authority: Some(held(token)),
            not_before: token.not_before,
            expires_at: Some(token.expires_at),
            // One that is bound to a certificate is not written: it would not be read back as it is.
            holder: token
                .cnf
                .and_then(Confirmation::key)
                .map(|key| Holder { agent: token.client_id, key }),
        }
    }
}

/// What a token allows at its audience.
pub(super) fn held(token: &AccessToken) -> Authority {
    let plain = token
        .scope
        .tokens()
        .cloned()
        .map(|ScopeToken { resource, action }| Permission::plain(resource, [action].into()));
    let limited = token.details.authority().permissions().iter().cloned();
    // Within the bounds: it was taken apart from one.
    Authority::new(plain.chain(limited)).unwrap_or_default()
}

/// Puts into a token what it allows at its audience.
pub(super) fn hold(token: &mut AccessToken, held: &Authority) {
    token.scope = held.scope().unwrap_or_default();
    token.details = AuthorizationDetails::of(held);
}

/// The facts of a token, in the order of the documentation.
pub(super) fn facts(token: &AccessToken) -> Vec<Predicate<'_>> {
    let mut facts = vec![Predicate::new("accredit", [Term::Integer(VOCABULARY_VERSION)])];
    let mut text = |name, text: String| facts.push(Predicate::new(name, [Term::text(text)]));
    text("issuer", token.issuer.clone());
    text("client", token.client_id.to_string());
    text("audience", token.audience.clone());
    text("token_id", token.id.to_string());
    text("key_id", token.key.to_string());
    text("organization_id", token.organization.to_string());
    text("credential_id", token.credential.to_string());
    text("owner_id", token.owner.to_string());
    text("resource_id", token.resource.to_string());
    if let Some(instance) = token.instance {
        text("instance_id", instance.to_string());
    }
    for permission in token.delegable.texts() {
        text("delegable", permission);
    }
    let subject = [Term::text(token.subject.to_string()), Term::text(token.kind.name())];
    facts.push(Predicate::new("subject", subject));
    facts.push(Predicate::new("issued_at", [Term::Date(token.issued_at as u64)]));
    facts.push(Predicate::new("rev", [Term::Integer(token.rev as i64)]));
    for (number, id) in (0..).zip(&token.further) {
        let terms = [Term::Integer(number), Term::text(id.to_string())];
        facts.push(Predicate::new("lineage", terms));
    }
    for (number, actor) in (0..).zip(&token.chain) {
        let mut terms = vec![Term::Integer(number), Term::text(actor.agent.to_string())];
        terms.extend(actor.instance.map(|instance| Term::text(instance.to_string())));
        facts.push(Predicate::new("act", terms));
    }
    facts
}

/// The token whose authority block says this, signed by `key`; by whatever key it names where that
/// is not known.
pub(super) fn read(content: &Content<'_>, key: Option<KeyId>) -> Result<AccessToken, BiscuitError> {
    let facts = Facts::of(content)?;
    let bounds = Narrowing::of_checks(&content.checks)?;
    let token = facts.token(&bounds)?;
    if key.is_some_and(|key| key != token.key) {
        return Err(BiscuitError::Claims(ClaimsError::Malformed("key_id")));
    }
    let is_canonical = Narrowing::of_token(&token) == bounds;
    if !is_canonical || content.checks.len() != bounds.to_checks().len() {
        return Err(BiscuitError::Claims(ClaimsError::Malformed("check")));
    }
    token.check_consistency(token.chain.len() as i64).map_err(BiscuitError::Claims)?;
    Ok(token)
}

/// The facts of an authority block, by their names.
#[derive(Default)]
struct Facts<'c> {
    single: BTreeMap<&'static str, &'c [Term<'c>]>,
    delegable: Vec<Permission>,
    lineage: Vec<AnyId>,
    chain: Vec<Actor>,
}

/// The facts of which there is exactly one, or at most one.
const SINGLE: [&str; 14] = [
    "accredit",
    "issuer",
    "client",
    "audience",
    "token_id",
    "key_id",
    "organization_id",
    "credential_id",
    "owner_id",
    "resource_id",
    "instance_id",
    "subject",
    "issued_at",
    "rev",
];

impl<'c> Facts<'c> {
    fn of(content: &'c Content<'c>) -> Result<Self, BiscuitError> {
        let mut facts = Self::default();
        for Predicate { name, terms } in &content.facts {
            facts.add(name, terms).map_err(BiscuitError::Claims)?;
        }
        Ok(facts)
    }

    fn add(&mut self, name: &str, terms: &'c [Term<'c>]) -> Result<(), ClaimsError> {
        if let Some(name) = SINGLE.into_iter().find(|known| *known == name) {
            let is_first = self.single.insert(name, terms).is_none();
            return if is_first { Ok(()) } else { Err(ClaimsError::Malformed(name)) };
        }
        match (name, terms) {
            ("delegable", [Term::Text(text)]) if self.delegable.len() < DELEGABLE_MAX => {
                let one = text.parse().map_err(|_| ClaimsError::Malformed("delegable"))?;
                self.delegable.push(one);
                Ok(())
            }
            ("lineage", [Term::Integer(number), Term::Text(id)])
                if self.lineage.len() < LINEAGE_MAX - 4 =>
            {
                let id =
                    id.parse().ok().filter(|_| usize::try_from(*number) == Ok(self.lineage.len()));
                self.lineage.push(id.ok_or(ClaimsError::Malformed("lineage"))?);
                Ok(())
            }
            ("act", _) if self.chain.len() == CHAIN_DEPTH_MAX => Err(ClaimsError::TooDeep),
            ("act", [Term::Integer(number), Term::Text(agent), rest @ ..])
                if usize::try_from(*number) == Ok(self.chain.len()) =>
            {
                let wrong = || ClaimsError::Malformed("act");
                let instance = match rest {
                    [] => None,
                    [Term::Text(instance)] => Some(instance.parse().map_err(|_| wrong())?),
                    _ => return Err(wrong()),
                };
                let agent = agent.parse().map_err(|_| wrong())?;
                self.chain.push(Actor { agent, instance });
                Ok(())
            }
            ("delegable", _) => Err(ClaimsError::Malformed("delegable")),
            ("lineage", _) => Err(ClaimsError::Malformed("lineage")),
            ("act", _) => Err(ClaimsError::Malformed("act")),
            _ => Err(ClaimsError::UnknownMember("authority block")),
        }
    }

    fn token(self, bounds: &Narrowing) -> Result<AccessToken, BiscuitError> {
        // The version first: what another version has is no reason of its own.
        match self.terms("accredit") {
            Ok([Term::Integer(VOCABULARY_VERSION)]) => {}
            Ok(_) | Err(_) => return Err(BiscuitError::Vocabulary),
        }
        let mut token = self.claims(bounds).map_err(BiscuitError::Claims)?;
        let authority = bounds.authority.as_ref();
        hold(&mut token, authority.ok_or(BiscuitError::Claims(ClaimsError::Missing("check")))?);
        Ok(token)
    }

    fn claims(self, bounds: &Narrowing) -> Result<AccessToken, ClaimsError> {
        let (subject, kind) = match self.terms("subject")? {
            [Term::Text(id), Term::Text(kind)] => {
                let kinds = [SubjectKind::Agent, SubjectKind::User];
                let kind = kinds.into_iter().find(|known| known.name() == *kind);
                (id.parse().ok(), kind)
            }
            _ => (None, None),
        };
        let (Some(subject), Some(kind)) = (subject, kind) else {
            return Err(ClaimsError::Malformed("subject"));
        };
        let issued_at = match self.terms("issued_at")? {
            [Term::Date(second)] => i64::try_from(*second).ok(),
            _ => None,
        };
        let issued_at = issued_at.filter(|second| *second <= WINDOW_SECONDS_MAX);
        let rev = match self.terms("rev")? {
            [Term::Integer(rev)] => Some(*rev).filter(|rev| (0..=INTEGER_MAX).contains(rev)),
            _ => None,
        };
        let instance = match self.single.get("instance_id") {
            None => None,
            Some(_) => Some(self.id("instance_id")?),
        };
        Ok(AccessToken {
            issuer: self.text("issuer")?.to_owned(),
            subject,
            kind,
            client_id: self.id("client")?,
            audience: self.text("audience")?.to_owned(),
            issued_at: issued_at.ok_or(ClaimsError::Malformed("issued_at"))?,
            not_before: bounds.not_before,
            expires_at: bounds.expires_at.ok_or(ClaimsError::Missing("time"))?,
            id: self.id("token_id")?,
            scope: crate::authority::Scope::default(),
            details: AuthorizationDetails::default(),
            key: self.id("key_id")?,
            instance,
            organization: self.id("organization_id")?,
            credential: self.id("credential_id")?,
            owner: self.id("owner_id")?,
            resource: self.id("resource_id")?,
            rev: rev.ok_or(ClaimsError::Malformed("rev"))? as u64,
            delegable: Authority::new(self.delegable)
                .map_err(|_| ClaimsError::Malformed("delegable"))?,
            further: self.lineage,
            chain: self.chain,
            impersonated: false,
            cnf: bounds.holder.map(|holder| Confirmation::Key(holder.key)),
            status: None,
        })
    }

    fn terms(&self, name: &'static str) -> Result<&'c [Term<'c>], ClaimsError> {
        self.single.get(name).copied().ok_or(ClaimsError::Missing(name))
    }

    fn text(&self, name: &'static str) -> Result<&'c str, ClaimsError> {
        match self.terms(name)? {
            [Term::Text(text)] => Ok(text),
            _ => Err(ClaimsError::Malformed(name)),
        }
    }

    fn id<T: std::str::FromStr>(&self, name: &'static str) -> Result<T, ClaimsError> {
        self.text(name)?.parse().map_err(|_| ClaimsError::Malformed(name))
    }
}
