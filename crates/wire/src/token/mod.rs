//! RFC 9068: the claims of a JWT access token, and our own object `accredit` among them.
//!
//! One type both ways: the issuer fills an [`AccessToken`] and writes [`AccessToken::to_payload`];
//! the Verifier reads the same from a payload whose signature holds. Reading is strict where the
//! claim is ours: an unknown member of `accredit`, `act` or `cnf` is refused, since it may be an id by
//! whose revocation the token should die. Unknown claims at top level are ignored, as RFC 7519
//! section 4 wants.
//!
//! Absent on purpose: signatures ([`crate::jose`]), times against a clock and everything else that
//! depends on who reads ([`crate::verify`]).

use std::fmt::{self, Write as _};

use serde::{Deserialize as _, Serialize};

use crate::authority::{Authority, PERMISSION_MEMBERS, Permission, Scope};
use crate::binding::Confirmation;
use crate::ids::{
    AgentId, AnyId, CredentialId, InstanceId, KeyId, OrganizationId, PersonId, ResourceId, TaskId,
    TokenId,
};
use crate::jose::TOKEN_BYTES_MAX;
use crate::json::Json;
use crate::oauth::authorization_details::AuthorizationDetails;
use crate::status_list::{Reference, URI_BYTES_MAX};

#[cfg(test)]
mod tests;

/// The `typ` of an access token's header (RFC 9068 section 2.1).
pub const TOKEN_TYPE: &str = "at+jwt";

/// The version of the `accredit` object that is written and read here.
pub const ACCREDIT_VERSION: i64 = 1;

/// The most parties in `act`, which is the most hops from the root of a chain.
pub const CHAIN_DEPTH_MAX: usize = 16;

/// The most ids in `lin`: four of the token's own, five for each hop before it (key, credential,
/// owner, resource, token), and as much again for tasks, grants and issuers.
pub const LINEAGE_MAX: usize = 4 + 6 * CHAIN_DEPTH_MAX + 12;

/// The largest number read as a time or a counter: above it, numbers in JSON are not exact in
/// every reader (RFC 7493 section 2.2).
pub const INTEGER_MAX: i64 = (1 << 53) - 1;

/// What `sub` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SubjectKind {
    /// An agent: a machine token, or a chain that begins with an agent.
    Agent,
    /// A person, for whom the chain acts.
    User,
}

impl SubjectKind {
    /// The value of `kind`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::User => "user",
        }
    }
}

/// A party that acts for the subject (RFC 8693 section 4.1), of the token's own issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The acting agent.
    pub agent: AgentId,
    /// The instance of it, where one authenticated.
    pub instance: Option<InstanceId>,
}

/// The claims of an access token, and the id of the key that signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessToken {
    /// `iss`: the organization's issuer.
    pub issuer: String,
    /// `sub`: an agent or a person, as [`Self::kind`] says.
    pub subject: AnyId,
    /// What `sub` names.
    pub kind: SubjectKind,
    /// `client_id`: the acting agent.
    pub client_id: AgentId,
    /// `aud`: the resource's audience URI.
    pub audience: String,
    /// `iat`, seconds.
    pub issued_at: i64,
    /// `nbf`, seconds. We do not write it, but honour it.
    pub not_before: Option<i64>,
    /// `exp`, seconds.
    pub expires_at: i64,
    /// `jti`.
    pub id: TokenId,
    /// `scope`: what may be done at the audience. Empty where the claim is absent.
    pub scope: Scope,
    /// `authorization_details` (RFC 9396 section 9.1): what may be done at the audience within
    /// limits. Every permission in it has some, and none of it is in [`Self::scope`].
    pub details: AuthorizationDetails,
    /// `kid` of the header.
    pub key: KeyId,
    /// The instance that authenticated; none where the agent's own credential did.
    pub instance: Option<InstanceId>,
    /// The organization.
    pub organization: OrganizationId,
    /// The credential that authenticated.
    pub credential: CredentialId,
    /// The person who answers for the agent.
    pub owner: PersonId,
    /// The resource that the audience names.
    pub resource: ResourceId,
    /// Further ids of the lineage: a task, grants, ancestor tokens.
    pub further: Vec<AnyId>,
    /// The organization's revocation counter as the decision saw it.
    pub rev: u64,
    /// What the holder may pass on by exchange. Never honoured by a resource.
    pub delegable: Authority,
    /// `act`, newest first: the acting party, then the one it acted for. Empty in a machine token.
    pub chain: Vec<Actor>,
    /// Whether the acting parties are kept out of `act` (RFC 8693 section 1.1, impersonation). They
    /// stand in `accredit.by` then, and whatever ends one of them ends the token all the same.
    pub impersonated: bool,
    /// `cnf` (RFC 7800): the key (RFC 9449 section 6.1) or the certificate (RFC 8705 section 3.1) by
    /// which whoever sends the token must prove that it is theirs. None in a token that whoever has it
    /// may use.
    pub cnf: Option<Confirmation>,
    /// `status` (Token Status List section 6): where its resource reads whether it was revoked.
    /// None where the resource did not ask for that.
    pub status: Option<Box<Reference>>,
}

impl AccessToken {
    /// Hops from the root of the chain: 0 for a machine token.
    pub fn depth(&self) -> usize {
        self.chain.len()
    }

    /// The task that it was minted for, where it was for one: it is of no use outside.
    pub fn task(&self) -> Option<TaskId> {
        self.further.iter().find_map(|id| TaskId::try_from(*id).ok())
    }

    /// Every id whose revocation ends this token. An id may come twice.
    pub fn lineage(&self) -> impl Iterator<Item = AnyId> + '_ {
        let fixed = [
            self.organization.any(),
            self.key.any(),
            self.client_id.any(),
            self.credential.any(),
            self.owner.any(),
            self.resource.any(),
            self.id.any(),
        ];
        // A machine token's subject is its client, which is looked at already.
        let subject = (self.subject != self.client_id.any()).then_some(self.subject);
        let actors = self.chain.iter().flat_map(|actor| {
            [Some(actor.agent.any()), actor.instance.map(AnyId::from)].into_iter().flatten()
        });
        fixed
            .into_iter()
            .chain(self.instance.map(AnyId::from))
            .chain(subject)
            .chain(self.further.iter().copied())
            .chain(actors)
    }

    /// The payload to be signed: compact JSON.
    pub fn to_payload(&self) -> Vec<u8> {
        let mut out = String::with_capacity(1024);
        out.push_str("{\"iss\":");
        push_string(&mut out, &self.issuer);
        push(&mut out, format_args!(",\"sub\":\"{}\"", self.subject));
        push(&mut out, format_args!(",\"client_id\":\"{}\",\"aud\":", self.client_id));
        push_string(&mut out, &self.audience);
        push(&mut out, format_args!(",\"iat\":{},\"exp\":{}", self.issued_at, self.expires_at));
        if let Some(not_before) = self.not_before {
            push(&mut out, format_args!(",\"nbf\":{not_before}"));
        }
        push(&mut out, format_args!(",\"jti\":\"{}\"", self.id));
        if !self.scope.is_empty() {
            // Names of resources and actions have no character that JSON would escape.
            push(&mut out, format_args!(",\"scope\":\"{}\"", self.scope));
        }
        if !self.details.is_empty() {
            out.push_str(",\"authorization_details\":");
            push_json(&mut out, &self.details);
        }
        if let Some(cnf) = self.cnf {
            let (name, thumbprint) = (cnf.name(), cnf.thumbprint());
            push(&mut out, format_args!(",\"cnf\":{{\"{name}\":\"{thumbprint}\"}}"));
        }
        if let Some(status) = &self.status {
            let index = status.index;
            push(
                &mut out,
                format_args!(",\"status\":{{\"status_list\":{{\"idx\":{index},\"uri\":"),
            );
            push_string(&mut out, &status.uri);
            out.push_str("}}");
        }
        self.push_chain(&mut out);
        self.push_accredit(&mut out);
        out.push('}');
        out.into_bytes()
    }

    fn push_chain(&self, out: &mut String) {
        if self.impersonated {
            return;
        }
        for actor in &self.chain {
            out.push_str(",\"act\":{\"iss\":");
            push_string(out, &self.issuer);
            push(out, format_args!(",\"sub\":\"{}\"", actor.agent));
            if let Some(instance) = actor.instance {
                push(out, format_args!(",\"ins\":\"{instance}\""));
            }
        }
        out.extend(self.chain.iter().map(|_| '}'));
    }

    fn push_accredit(&self, out: &mut String) {
        let kind = self.kind.name();
        push(out, format_args!(",\"accredit\":{{\"v\":{ACCREDIT_VERSION},\"kind\":\"{kind}\""));
        if let Some(instance) = self.instance {
            push(out, format_args!(",\"ins\":\"{instance}\""));
        }
        push(out, format_args!(",\"lin\":[\"{}\",\"{}\"", self.organization, self.credential));
        push(out, format_args!(",\"{}\",\"{}\"", self.owner, self.resource));
        for id in &self.further {
            push(out, format_args!(",\"{id}\""));
        }
        push(out, format_args!("],\"rev\":{},\"depth\":{}", self.rev, self.depth()));
        if self.impersonated {
            out.push_str(",\"by\":[");
            for (index, actor) in self.chain.iter().enumerate() {
                let comma = if index == 0 { "" } else { "," };
                push(out, format_args!("{comma}{{\"sub\":\"{}\"", actor.agent));
                if let Some(instance) = actor.instance {
                    push(out, format_args!(",\"ins\":\"{instance}\""));
                }
                out.push('}');
            }
            out.push(']');
        }
        if !self.delegable.is_empty() {
            out.push_str(",\"dlg\":[");
            push_permissions(out, self.delegable.permissions());
            out.push(']');
        }
        out.push('}');
    }

    /// Reads the claims of a payload whose signature was made by `key`.
    pub fn parse(payload: &[u8], key: KeyId) -> Result<Self, ClaimsError> {
        let json = Json::parse(payload, TOKEN_BYTES_MAX).map_err(|_| ClaimsError::NotJson)?;
        if json.as_object().is_none() {
            return Err(ClaimsError::NotJson);
        }
        let issuer = text(&json, "iss")?.to_owned();
        let accredit = Accredit::parse(member(&json, "accredit")?)?;
        let scope = match json.get("scope") {
            None => Scope::default(),
            Some(_) => parsed(&json, "scope")?,
        };
        let details = match json.get("authorization_details") {
            None => AuthorizationDetails::default(),
            Some(details) => AuthorizationDetails::deserialize(details)
                .map_err(|_| ClaimsError::Malformed("authorization_details"))?,
        };
        let impersonated = accredit.by.is_some();
        let chain = match (json.get("act"), accredit.by) {
            (None, by) => by.unwrap_or_default(),
            (Some(act), None) => parse_chain(act, &issuer)?,
            (Some(_), Some(_)) => {
                return Err(ClaimsError::Inconsistent("the acting parties stand in two places"));
            }
        };
        let token = Self {
            subject: parsed(&json, "sub")?,
            kind: accredit.kind,
            client_id: parsed(&json, "client_id")?,
            audience: text(&json, "aud")?.to_owned(),
            issued_at: integer(&json, "iat")?,
            not_before: json.get("nbf").map(|_| integer(&json, "nbf")).transpose()?,
            expires_at: integer(&json, "exp")?,
            id: parsed(&json, "jti")?,
            scope,
            details,
            key,
            instance: accredit.instance,
            organization: accredit.organization,
            credential: accredit.credential,
            owner: accredit.owner,
            resource: accredit.resource,
            further: accredit.further,
            rev: accredit.rev,
            delegable: accredit.delegable,
            chain,
            impersonated,
            cnf: json.get("cnf").map(parse_cnf).transpose()?,
            status: json.get("status").map(parse_status).transpose()?.flatten(),
            issuer,
        };
        token.check_consistency(accredit.depth)?;
        Ok(token)
    }

    /// The claims that say one thing twice must agree.
    pub(crate) fn check_consistency(&self, depth: i64) -> Result<(), ClaimsError> {
        let subject_is = match self.kind {
            SubjectKind::Agent => AgentId::try_from(self.subject).is_ok(),
            SubjectKind::User => PersonId::try_from(self.subject).is_ok(),
        };
        if !subject_is {
            return Err(ClaimsError::Inconsistent("`sub` is not of the kind that `kind` says"));
        }
        if usize::try_from(depth) != Ok(self.chain.len()) {
            return Err(ClaimsError::Inconsistent("`depth` is not the number of parties in `act`"));
        }
        let acting = match self.chain.first() {
            Some(actor) => actor.agent.any(),
            None => self.subject,
        };
        if acting != self.client_id.any() {
            return Err(ClaimsError::Inconsistent("`client_id` is not the acting party"));
        }
        Ok(())
    }
}

/// What the `accredit` object says.
struct Accredit {
    kind: SubjectKind,
    instance: Option<InstanceId>,
    organization: OrganizationId,
    credential: CredentialId,
    owner: PersonId,
    resource: ResourceId,
    further: Vec<AnyId>,
    rev: u64,
    depth: i64,
    by: Option<Vec<Actor>>,
    delegable: Authority,
}

impl Accredit {
    fn parse(json: &Json<'_>) -> Result<Self, ClaimsError> {
        // The version first: members that another version has are no reason of their own.
        if integer(json, "v")? != ACCREDIT_VERSION {
            return Err(ClaimsError::Version);
        }
        known_members(json, "accredit", &["v", "kind", "ins", "lin", "rev", "depth", "by", "dlg"])?;
        let lineage = member(json, "lin")?.as_array().ok_or(ClaimsError::Malformed("lin"))?;
        if lineage.len() > LINEAGE_MAX {
            return Err(ClaimsError::Malformed("lin"));
        }
        let mut lineage = lineage.iter().map(|id| {
            let id = id.as_str().and_then(|text| text.parse::<AnyId>().ok());
            id.ok_or(ClaimsError::Malformed("lin"))
        });
        Ok(Self {
            kind: match text(json, "kind")? {
                "agent" => SubjectKind::Agent,
                "user" => SubjectKind::User,
                _ => return Err(ClaimsError::Malformed("kind")),
            },
            instance: json.get("ins").map(|_| parsed(json, "ins")).transpose()?,
            organization: next_id(&mut lineage)?,
            credential: next_id(&mut lineage)?,
            owner: next_id(&mut lineage)?,
            resource: next_id(&mut lineage)?,
            further: lineage.collect::<Result<_, _>>()?,
            rev: integer(json, "rev")? as u64,
            depth: integer(json, "depth")?,
            by: json.get("by").map(parse_by).transpose()?,
            delegable: match json.get("dlg") {
                None => Authority::none(),
                Some(permissions) => parse_authority(permissions)?,
            },
        })
    }
}

fn next_id<T: TryFrom<AnyId>>(
    ids: &mut impl Iterator<Item = Result<AnyId, ClaimsError>>,
) -> Result<T, ClaimsError> {
    let id = ids.next().ok_or(ClaimsError::Malformed("lin"))??;
    T::try_from(id).map_err(|_| ClaimsError::Malformed("lin"))
}

/// RFC 7800 section 3.1: a member that is not known here may demand more than is checked here.
fn parse_cnf(json: &Json<'_>) -> Result<Confirmation, ClaimsError> {
    known_members(json, "cnf", &["jkt", "x5t#S256"])?;
    let made = match (json.get("jkt"), json.get("x5t#S256")) {
        (Some(_), None) => parsed(json, "jkt").map(Confirmation::Key),
        (None, Some(_)) => parsed(json, "x5t#S256").map(Confirmation::Certificate),
        // Nobody said whether one of both is enough.
        (Some(_), Some(_)) | (None, None) => Err(ClaimsError::Malformed("cnf")),
    };
    made.map_err(|_| ClaimsError::Malformed("cnf"))
}

/// Token Status List section 6.1: there may be other mechanisms beside, which say nothing to us.
fn parse_status(json: &Json<'_>) -> Result<Option<Box<Reference>>, ClaimsError> {
    let wrong = || ClaimsError::Malformed("status");
    json.as_object().ok_or_else(wrong)?;
    let Some(list) = json.get("status_list") else { return Ok(None) };
    let uri = list.get("uri").and_then(Json::as_str);
    let uri = uri.filter(|uri| (1..=URI_BYTES_MAX).contains(&uri.len())).ok_or_else(wrong)?;
    let index = list.get("idx").and_then(Json::as_i64).and_then(|idx| u32::try_from(idx).ok());
    let index = index.ok_or_else(wrong)?;
    Ok(Some(Box::new(Reference { uri: uri.to_owned(), index })))
}

/// Reads permissions. A member that is not known can only narrow, so it is no reason to go on.
fn parse_authority(json: &Json<'_>) -> Result<Authority, ClaimsError> {
    let wrong = || ClaimsError::Malformed("dlg");
    for permission in json.as_array().ok_or_else(wrong)? {
        known_members(permission, "dlg", &PERMISSION_MEMBERS)?;
    }
    Authority::deserialize(json).map_err(|_| wrong())
}

/// The acting parties of an impersonation, newest first; there is one at least.
fn parse_by(json: &Json<'_>) -> Result<Vec<Actor>, ClaimsError> {
    let parties = json.as_array().ok_or(ClaimsError::Malformed("by"))?;
    if parties.is_empty() {
        return Err(ClaimsError::Malformed("by"));
    }
    if parties.len() > CHAIN_DEPTH_MAX {
        return Err(ClaimsError::TooDeep);
    }
    let party = |party: &Json<'_>| {
        known_members(party, "by", &["sub", "ins"])?;
        Ok(Actor {
            agent: text(party, "sub")?.parse().map_err(|_| ClaimsError::Malformed("by"))?,
            instance: party.get("ins").map(|_| parsed(party, "ins")).transpose()?,
        })
    };
    parties.iter().map(party).collect()
}

/// RFC 8693 section 4.1: "a nested `act` claim … the outermost `act` claim represents the current
/// actor".
fn parse_chain(outermost: &Json<'_>, issuer: &str) -> Result<Vec<Actor>, ClaimsError> {
    let mut chain = Vec::new();
    let mut next = Some(outermost);
    while let Some(act) = next {
        if chain.len() == CHAIN_DEPTH_MAX {
            return Err(ClaimsError::TooDeep);
        }
        known_members(act, "act", &["iss", "sub", "ins", "act"])?;
        if text(act, "iss")? != issuer {
            return Err(ClaimsError::Inconsistent("a party in `act` is of another issuer"));
        }
        chain.push(Actor {
            agent: text(act, "sub")?.parse().map_err(|_| ClaimsError::Malformed("act"))?,
            instance: act.get("ins").map(|_| parsed(act, "ins")).transpose()?,
        });
        next = act.get("act");
    }
    Ok(chain)
}

fn member<'j>(json: &'j Json<'j>, name: &'static str) -> Result<&'j Json<'j>, ClaimsError> {
    json.get(name).ok_or(ClaimsError::Missing(name))
}

fn text<'j>(json: &'j Json<'j>, name: &'static str) -> Result<&'j str, ClaimsError> {
    member(json, name)?.as_str().ok_or(ClaimsError::Malformed(name))
}

fn parsed<T: std::str::FromStr>(json: &Json<'_>, name: &'static str) -> Result<T, ClaimsError> {
    text(json, name)?.parse().map_err(|_| ClaimsError::Malformed(name))
}

/// An integer from 0 to [`INTEGER_MAX`]; a text is not one (RFC 7519 section 2, NumericDate).
fn integer(json: &Json<'_>, name: &'static str) -> Result<i64, ClaimsError> {
    let number = member(json, name)?.as_i64().ok_or(ClaimsError::Malformed(name))?;
    if (0..=INTEGER_MAX).contains(&number) { Ok(number) } else { Err(ClaimsError::Malformed(name)) }
}

/// Refuses anything but an object, and members that are not among `names`.
fn known_members(json: &Json<'_>, object: &'static str, names: &[&str]) -> Result<(), ClaimsError> {
    let members = json.as_object().ok_or(ClaimsError::Malformed(object))?;
    if members.iter().all(|(name, _)| names.contains(&name.as_ref())) {
        Ok(())
    } else {
        Err(ClaimsError::UnknownMember(object))
    }
}

/// Appends `text` as a JSON string (RFC 8259 section 7), escaping only what must be.
pub(crate) fn push_string(out: &mut String, text: &str) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\0'..='\u{1f}' => push(out, format_args!("\\u{:04x}", u32::from(letter))),
            _ => out.push(letter),
        }
    }
    out.push('"');
}

/// Appends formatted text. Writing to a string cannot fail.
pub(crate) fn push(out: &mut String, what: fmt::Arguments<'_>) {
    let _ = out.write_fmt(what);
}

fn push_permissions(out: &mut String, permissions: &[Permission]) {
    for (index, permission) in permissions.iter().enumerate() {
        out.push_str(if index == 0 { "" } else { "," });
        if permission.limits.is_some() {
            push_json(out, permission);
            continue;
        }
        push(out, format_args!("{{\"resource\":\"{}\",\"actions\":[", permission.resource));
        for (index, action) in permission.actions.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            push(out, format_args!("{comma}\"{action}\""));
        }
        out.push_str("]}");
    }
}

/// Appends plain data as JSON, which cannot fail; if it did, nothing would be said, and never a
/// permission without its limits.
fn push_json(out: &mut String, what: &impl Serialize) {
    out.push_str(&serde_json::to_string(what).unwrap_or_default());
}

/// Why a signed payload is not the claims of one of our access tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimsError {
    /// Not a JSON object, or not strict JSON: duplicate members, too deep, too long.
    NotJson,
    /// This claim is required.
    Missing(&'static str),
    /// This claim is not of its type or form.
    Malformed(&'static str),
    /// A member of this object of ours is not known here. It may narrow what the token allows.
    UnknownMember(&'static str),
    /// The `accredit` object is of another version.
    Version,
    /// More than [`CHAIN_DEPTH_MAX`] parties in `act`.
    TooDeep,
    /// Two claims contradict each other; says which.
    Inconsistent(&'static str),
}

impl fmt::Display for ClaimsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson => f.write_str("the claims are not one strict JSON object"),
            Self::Missing(claim) => write!(f, "the token has no `{claim}`"),
            Self::Malformed(claim) => write!(f, "the token's `{claim}` is malformed"),
            Self::UnknownMember(object) => {
                write!(f, "the token's `{object}` has a member that is not known here")
            }
            Self::Version => write!(f, "`accredit` is not of version {ACCREDIT_VERSION}"),
            Self::TooDeep => write!(f, "`act` has more than {CHAIN_DEPTH_MAX} parties"),
            Self::Inconsistent(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for ClaimsError {}
