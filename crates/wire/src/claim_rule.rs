//! Claim rules: what a claim of a user's token from elsewhere (RFC 7519) lets its user do here.
//!
//! As text, `groups contains sales => crm:read crm:update(/eu/*)`; as JSON, an object with the same
//! parts.
//! A rule names one claim, compares it with one text and gives permissions. No rule, no authority:
//! a claim that is absent, of another type or not quite the text gives nothing.
//!
//! Absent on purpose: patterns, case folding, negation (whoever can leave a claim out would gain by
//! it), numbers and truth values, space-separated lists, and claims that users commonly write
//! themselves (see [`MUTABLE_CLAIMS`]).

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::de::{Error as _, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize};

use crate::authority::{Authority, AuthorityError, Permission};
use crate::json::Json;

/// The longest text of a rule, in bytes.
pub const RULE_BYTES_MAX: usize = 4096;
/// The longest name of a claim, in bytes.
pub const CLAIM_BYTES_MAX: usize = 256;
/// The longest text that a claim is compared with, in bytes.
pub const VALUE_BYTES_MAX: usize = 256;
/// How deep a claim may lie in objects.
pub const CLAIM_DEPTH_MAX: usize = 4;

/// Claims that are no ground for authority (OpenID Connect Core 1.0 section 5.7): many identity
/// providers let users write them, or give one user's to another later.
pub const MUTABLE_CLAIMS: [&str; 16] = [
    "email",
    "name",
    "given_name",
    "family_name",
    "middle_name",
    "nickname",
    "preferred_username",
    "unique_name",
    "upn",
    "profile",
    "picture",
    "website",
    "zoneinfo",
    "locale",
    "phone_number",
    "address",
];

/// How a claim is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operator {
    /// The claim is a string, and exactly this one.
    Equals,
    /// The claim is an array of which one element is exactly this string.
    Contains,
}

impl Operator {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Equals => "equals",
            Self::Contains => "contains",
        }
    }
}

/// Which claim: a member of the claims, or, where it begins with `/`, a JSON Pointer (RFC 6901)
/// through objects.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClaimName(String);

impl TryFrom<String> for ClaimName {
    type Error = RuleError;

    fn try_from(text: String) -> Result<Self, RuleError> {
        Self::new(&text)
    }
}

impl From<ClaimName> for String {
    fn from(name: ClaimName) -> Self {
        name.0
    }
}

impl ClaimName {
    /// The claim that is called so.
    pub fn new(text: &str) -> Result<Self, RuleError> {
        let printable = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
        if !(1..=CLAIM_BYTES_MAX).contains(&text.len()) || !printable {
            return Err(RuleError::Claim);
        }
        let name = Self(text.to_owned());
        let steps: Vec<_> = name.steps().collect::<Option<_>>().ok_or(RuleError::Claim)?;
        if steps.len() > CLAIM_DEPTH_MAX {
            return Err(RuleError::Claim);
        }
        if let [only] = steps.as_slice()
            && let Some(mutable) = MUTABLE_CLAIMS.into_iter().find(|claim| claim == only)
        {
            return Err(RuleError::Mutable(mutable));
        }
        Ok(name)
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The names of the members, outermost first; `None` for one that is no JSON Pointer.
    fn steps(&self) -> impl Iterator<Item = Option<Cow<'_, str>>> {
        let pointer = self.0.strip_prefix('/');
        let plain = pointer.is_none().then_some(Some(Cow::Borrowed(self.0.as_str())));
        let deep = pointer.into_iter().flat_map(|path| path.split('/')).map(unescaped);
        plain.into_iter().chain(deep)
    }

    /// The claim, where it is there.
    pub fn find<'j, 'a>(&self, claims: &'j Json<'a>) -> Option<&'j Json<'a>> {
        self.steps().try_fold(claims, |found, step| found.get(&step?))
    }
}

/// A step of a JSON Pointer (RFC 6901 section 3).
fn unescaped(step: &str) -> Option<Cow<'_, str>> {
    if !step.contains('~') {
        return Some(Cow::Borrowed(step));
    }
    let mut out = String::with_capacity(step.len());
    let mut rest = step.split('~');
    out.push_str(rest.next()?);
    for part in rest {
        let (escaped, after) = part.split_at_checked(1)?;
        out.push(match escaped {
            "0" => '~',
            "1" => '/',
            _ => return None,
        });
        out.push_str(after);
    }
    Some(Cow::Owned(out))
}

/// Why a text or an object is no rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleError {
    /// Longer than [`RULE_BYTES_MAX`].
    TooLong,
    /// Not `CLAIM equals|contains VALUE => PERMISSIONS`.
    Form,
    /// Not the name of a claim.
    Claim,
    /// A claim of [`MUTABLE_CLAIMS`].
    Mutable(&'static str),
    /// Not a text to compare with.
    Value,
    /// A permission is none, and why.
    Permission(String),
    /// The permissions do not make an Authority.
    Authority(AuthorityError),
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "a rule has at most {RULE_BYTES_MAX} bytes"),
            Self::Form => f.write_str(
                "a rule is `CLAIM equals|contains VALUE => PERMISSIONS`, with single spaces",
            ),
            Self::Claim => write!(
                f,
                "a claim is 1 to {CLAIM_BYTES_MAX} printable ASCII characters without spaces and \
                 quotes; one that begins with `/` is a JSON Pointer of at most {CLAIM_DEPTH_MAX} \
                 steps"
            ),
            Self::Mutable(claim) => write!(
                f,
                "the claim `{claim}` is often written by users themselves or given to others \
                 later; use a claim that the provider assigns, or grant it to the person"
            ),
            Self::Value => write!(
                f,
                "a value is 1 to {VALUE_BYTES_MAX} bytes without control characters; with spaces \
                 or quotes in it, it is written as a JSON string"
            ),
            Self::Permission(text) => {
                write!(f, "{text}: write `resource:action`, with what limits it in parentheses")
            }
            Self::Authority(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RuleError {}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClaimRule {
    /// Which claim.
    pub claim: ClaimName,
    /// How it is compared.
    pub operator: Operator,
    /// With which text, byte for byte.
    pub value: String,
    /// What it gives.
    pub allow: Authority,
}

impl ClaimRule {
    fn checked(self) -> Result<Self, RuleError> {
        let fits = (1..=VALUE_BYTES_MAX).contains(&self.value.len());
        if !fits || self.value.chars().any(char::is_control) {
            return Err(RuleError::Value);
        }
        if self.allow.is_empty() {
            return Err(RuleError::Form);
        }
        if self.to_string().len() > RULE_BYTES_MAX {
            return Err(RuleError::TooLong);
        }
        Ok(self)
    }

    /// Whether the claims, a JSON object, have what it demands.
    pub fn matches(&self, claims: &Json<'_>) -> bool {
        let is_value = |json: &Json<'_>| json.as_str() == Some(&self.value);
        let Some(found) = self.claim.find(claims) else { return false };
        match self.operator {
            Operator::Equals => is_value(found),
            Operator::Contains => found.as_array().unwrap_or_default().iter().any(is_value),
        }
    }
}

/// Whether a value is written as it is.
fn is_bare(value: &str) -> bool {
    value != "=>" && value.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"')
}

impl fmt::Display for ClaimRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ", self.claim.0, self.operator.as_str())?;
        if is_bare(&self.value) {
            f.write_str(&self.value)?;
        } else {
            f.write_str(&serde_json::to_string(&self.value).map_err(|_| fmt::Error)?)?;
        }
        f.write_str(" =>")?;
        self.allow.texts().try_for_each(|text| write!(f, " {text}"))
    }
}

impl FromStr for ClaimRule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        if text.len() > RULE_BYTES_MAX {
            return Err(RuleError::TooLong);
        }
        let (claim, rest) = text.split_once(' ').ok_or(RuleError::Form)?;
        let (operator, rest) = rest.split_once(' ').ok_or(RuleError::Form)?;
        let operator = [Operator::Equals, Operator::Contains]
            .into_iter()
            .find(|known| known.as_str() == operator)
            .ok_or(RuleError::Form)?;
        let (value, rest) = value_in(rest)?;
        let permissions = rest.strip_prefix(" => ").ok_or(RuleError::Form)?;
        let allow = words(permissions).into_iter().map(permission);
        let allow = allow.collect::<Result<Vec<_>, _>>()?;
        let allow = Authority::new(allow).map_err(RuleError::Authority)?;
        Self { claim: ClaimName::new(claim)?, operator, value, allow }.checked()
    }
}

/// The value at the beginning of a text, and what follows it.
fn value_in(text: &str) -> Result<(String, &str), RuleError> {
    if !text.starts_with('"') {
        let (value, _) = text.split_once(' ').ok_or(RuleError::Form)?;
        if !is_bare(value) {
            return Err(RuleError::Value);
        }
        return Ok((value.to_owned(), &text[value.len()..]));
    }
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<String>();
    let value = values.next().and_then(Result::ok).ok_or(RuleError::Value)?;
    let rest = text.get(values.byte_offset()..).ok_or(RuleError::Value)?;
    Ok((value, rest))
}

/// The permissions of a text: separated by single spaces outside parentheses.
fn words(text: &str) -> Vec<&str> {
    let (mut words, mut from) = (Vec::new(), 0);
    let (mut is_limit, mut is_string, mut is_escaped) = (false, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_string => is_escaped = true,
            b'"' if is_limit => is_string = !is_string,
            b'(' if !is_string => is_limit = true,
            b')' if !is_string => is_limit = false,
            b' ' if !is_limit => {
                words.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    words.push(&text[from..]);
    words
}

/// A permission; several actions of one resource are written `resource:action,action`.
fn permission(text: &str) -> Result<Permission, RuleError> {
    let wrong = |error: &dyn fmt::Display| RuleError::Permission(error.to_string());
    if text.contains('(') {
        return text.parse().map_err(|error| wrong(&error));
    }
    let mut actions = text.split(',');
    let first = actions.next().unwrap_or_default().parse::<Permission>();
    let mut all = first.map_err(|error| wrong(&error))?;
    for action in actions {
        if !all.actions.insert(action.parse().map_err(|error| wrong(&error))?) {
            return Err(wrong(&"an action stands twice"));
        }
    }
    Ok(all)
}

/// The members of a rule's object.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Members {
    claim: String,
    operator: Operator,
    value: String,
    allow: Authority,
}

/// From a rule's text or from its object.
impl<'de> Deserialize<'de> for ClaimRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = ClaimRule;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a claim rule, as text or as an object")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ClaimRule, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ClaimRule, A::Error> {
                let members = Members::deserialize(MapAccessDeserializer::new(map))?;
                let Members { claim, operator, value, allow } = members;
                let claim = ClaimName::new(&claim).map_err(A::Error::custom)?;
                let rule = ClaimRule { claim, operator, value, allow };
                rule.checked().map_err(A::Error::custom)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rule(text: &str) -> ClaimRule {
        text.parse().expect("a rule")
    }

    fn matches(text: &str, claims: &str) -> bool {
        rule(text).matches(&Json::parse(claims.as_bytes(), 4096).expect("JSON"))
    }

    #[test]
    fn anything_but_the_form_is_refused() {
        for wrong in [
            "",
            "groups",
            "groups contains sales",
            "groups contains sales =>",
            "groups contains sales => ",
            "groups  contains sales => crm:read",
            "groups contains  sales => crm:read",
            "groups contains sales => crm:read ",
            "groups contains sales  => crm:read",
            "groups contains sales = crm:read",
            "groups contains sales => crm",
            "groups contains sales => crm:*",
            "groups contains sales => crm:read,read",
            "groups contains sales => crm:read(",
            "groups contains sales => crm:read(/a) )",
            "groups contains sales => crm:read (/a)",
            "groups contains sales => crm:read,update(/a)",
            "groups contains sales => crm:read,",
            "groups contains two words => crm:read",
            "groups contains \"two words => crm:read",
            "groups contains \"\" => crm:read",
            "groups contains \"a\"b => crm:read",
            "groups contains a\u{e9} => crm:read",
            "groups contains \"\\u0000\" => crm:read",
            "groups starts sales => crm:read",
            "groups CONTAINS sales => crm:read",
            "gr\"oups contains sales => crm:read",
            "/a/~2 contains sales => crm:read",
            "/a/b/c/d/e contains sales => crm:read",
            "email equals mia@example.com => crm:read",
            "/email equals mia@example.com => crm:read",
        ] {
            assert!(wrong.parse::<ClaimRule>().is_err(), "{wrong}");
        }
        let long = format!("g contains s => crm:{}", "r".repeat(RULE_BYTES_MAX));
        assert_eq!(long.parse::<ClaimRule>(), Err(RuleError::TooLong));
    }

    #[test]
    fn a_claim_that_is_not_quite_the_text_gives_nothing() {
        let contains = "groups contains sales => crm:read";
        assert!(matches(contains, r#"{"groups":["a","sales"]}"#));
        for wrong in [
            "{}",
            r#"{"groups":"sales"}"#,
            r#"{"groups":"a sales"}"#,
            r#"{"groups":["Sales","sales ","sale","salesmen",null,["sales"],{"sales":1}]}"#,
            r#"{"groups":{"sales":true}}"#,
            r#"{"Groups":["sales"]}"#,
            r#"{"x":{"groups":["sales"]}}"#,
        ] {
            assert!(!matches(contains, wrong), "{wrong}");
        }
        let equals = "dept equals 7 => crm:read";
        assert!(matches(equals, r#"{"dept":"7"}"#));
        assert!(!matches(equals, r#"{"dept":7}"#) && !matches(equals, r#"{"dept":["7"]}"#));
    }

    #[test]
    fn a_claim_may_lie_in_objects() {
        let deep = "/realm_access/roles contains a => crm:read";
        assert!(matches(deep, r#"{"realm_access":{"roles":["a"]}}"#));
        assert!(!matches(deep, r#"{"realm_access":[{"roles":["a"]}]}"#));
        let escaped = "/https:~1~1x.example~1r contains a => crm:read";
        assert!(matches(escaped, r#"{"https://x.example/r":["a"]}"#));
        assert!(matches(
            "https://x.example/r contains a => crm:read",
            r#"{"https://x.example/r":["a"]}"#
        ));
    }

    #[test]
    fn text_and_object_are_the_same_rule() {
        for text in [
            "groups contains sales => crm:read crm:update erp:read",
            "groups contains \"two \\\"words\\\" é\" => crm:read",
            "dept equals \"=>\" => crm:read",
            "dept equals it => crm:update(/eu/*; note=\") (\\\" \") erp:read",
        ] {
            let parsed = rule(text);
            assert_eq!(parsed.to_string(), text);
            let json = serde_json::to_string(&parsed).expect("JSON");
            assert_eq!(serde_json::from_str::<ClaimRule>(&json).expect("a rule"), parsed);
            let quoted = serde_json::to_string(text).expect("JSON");
            assert_eq!(serde_json::from_str::<ClaimRule>(&quoted).expect("a rule"), parsed);
        }
        assert_eq!(
            rule("g contains s => crm:a,b crm:c").to_string(),
            "g contains s => crm:a crm:b crm:c"
        );
        let json = serde_json::to_value(rule("g contains s => crm:a")).expect("JSON");
        let with = |name: &str| {
            let mut json = json.clone();
            json[name] = "x".into();
            serde_json::from_value::<ClaimRule>(json)
        };
        assert!(with("unless").is_err() && with("operator").is_err() && with("allow").is_err());
        assert!(with("value").is_ok());
    }

    proptest! {
        #[test]
        fn every_text_reads_back(value in ".{1,40}", claim in "[a-z/~01]{1,12}", contains: bool) {
            let operator = if contains { "contains" } else { "equals" };
            let quoted = serde_json::to_string(&value).expect("JSON");
            if let Ok(rule) = format!("{claim} {operator} {quoted} => crm:read").parse::<ClaimRule>() {
                prop_assert_eq!(&rule.value, &value);
                prop_assert_eq!(rule.to_string().parse::<ClaimRule>(), Ok(rule));
            }
        }
    }
}
