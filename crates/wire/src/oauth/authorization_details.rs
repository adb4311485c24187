//! RFC 9396: rich authorization requests, `authorization_details` of the type `accredit`.
//!
//! One object says what may be done at one Resource within limits, in the members of a
//! [`Permission`]: `{"type":"accredit","resource":"crm","actions":["update"],
//! "object":"/customers/eu/*","constraints":{"amount":{"max":100}}}`. A request may name the Resource
//! by its audience instead, in the standard's `locations`. Objects are read into permissions and
//! compared as those, never as text.
//!
//! What has no limit is a scope and has no other form: `authorization_details` and `scope` never
//! say the same, so that whoever reads the scope alone never sees more than is allowed. Every
//! other type, and every other member, is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::Error as _;
use serde::ser::{SerializeMap as _, SerializeSeq as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::resource_indicator;
use crate::authority::read::{actions, bounded, constraints, present};
use crate::authority::{
    ActionName, ArgumentName, Authority, Constraint, LIMITED_MAX, Limits, ObjectPattern,
    Permission, ResourceName,
};
use crate::json::{Json, quoted};

/// The one `type`.
pub const DETAIL_TYPE: &str = "accredit";

/// The most objects in one `authorization_details`: what one Resource can have.
pub const DETAILS_MAX: usize = LIMITED_MAX;

/// The longest `authorization_details`, in bytes: they travel in the header of every request.
pub const DETAILS_BYTES_MAX: usize = 4096;

/// Why a parameter is not `authorization_details` that are known here. In OAuth,
/// `invalid_authorization_details` (RFC 9396 section 5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DetailsError {
    /// Not strict JSON within [`DETAILS_BYTES_MAX`].
    NotJson,
    /// Not an array of 1 to [`DETAILS_MAX`] objects.
    NotAList,
    /// An object has no `type`, or one that is not [`DETAIL_TYPE`]. Holds what an error may repeat.
    Type(Option<String>),
    /// An object is not a permission; says why.
    Malformed(String),
    /// An object has no limits.
    Unlimited,
    /// An object names no Resource.
    NoResource,
}

impl fmt::Display for DetailsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson => write!(
                f,
                "`authorization_details` is not strict JSON of at most {DETAILS_BYTES_MAX} bytes"
            ),
            Self::NotAList => {
                write!(f, "`authorization_details` is not a list of 1 to {DETAILS_MAX} objects")
            }
            Self::Type(None) => f.write_str("an authorization detail has no `type`"),
            Self::Type(Some(shown)) => {
                write!(f, "the authorization details type `{shown}` is not known here")
            }
            Self::Malformed(why) => write!(f, "an authorization detail is malformed: {why}"),
            Self::Unlimited => f.write_str(
                "an authorization detail has neither `object` nor `constraints` nor a time window",
            ),
            Self::NoResource => f.write_str(
                "an authorization detail names no resource, in `resource` or in `locations`",
            ),
        }
    }
}

impl std::error::Error for DetailsError {}

/// One object of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedDetail {
    /// The Resource's name, where that is given.
    pub resource: Option<ResourceName>,
    /// The Resource's audience, where that is given (RFC 9396 section 2.2, `locations`).
    pub location: Option<String>,
    /// What is to be done there.
    pub actions: BTreeSet<ActionName>,
    /// Within which limits; never none.
    pub limits: Limits,
}

impl AskedDetail {
    /// Reads the parameter.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, DetailsError> {
        let json = Json::parse(text.as_bytes(), DETAILS_BYTES_MAX);
        let json = json.map_err(|_| DetailsError::NotJson)?;
        let objects = json.as_array().ok_or(DetailsError::NotAList)?;
        if objects.is_empty() || objects.len() > DETAILS_MAX {
            return Err(DetailsError::NotAList);
        }
        objects.iter().map(Self::parse).collect()
    }

    fn parse(json: &Json<'_>) -> Result<Self, DetailsError> {
        if json.as_object().is_none() {
            return Err(DetailsError::NotAList);
        }
        let kind = json.get("type").ok_or(DetailsError::Type(None))?;
        if kind.as_str() != Some(DETAIL_TYPE) {
            let shown = kind.as_str().map_or_else(|| kind.what().to_owned(), quoted);
            return Err(DetailsError::Type(Some(shown)));
        }
        let detail = Detail::deserialize(json);
        let detail = detail.map_err(|error| DetailsError::Malformed(error.to_string()))?;
        let limits = detail.limits().map_err(DetailsError::Malformed)?;
        let Detail { resource, locations, actions, .. } = detail;
        let location = locations.map(|Location(uri)| uri);
        if limits.is_none() {
            Err(DetailsError::Unlimited)
        } else if resource.is_none() && location.is_none() {
            Err(DetailsError::NoResource)
        } else {
            Ok(Self { resource, location, actions, limits })
        }
    }
}

/// What was granted within limits, at one Resource: part of a token, of the answer to who asked
/// for it, and of an introspection.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct AuthorizationDetails(Authority);

impl AuthorizationDetails {
    /// That part of an Authority that has limits.
    pub fn of(authority: &Authority) -> Self {
        Self(authority.limited())
    }

    /// The permissions, each within limits.
    pub const fn authority(&self) -> &Authority {
        &self.0
    }

    /// Whether there is none: then nothing is written.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for AuthorizationDetails {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Written<'a>(&'a Permission);

        impl Serialize for Written<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut members = serializer.serialize_map(None)?;
                members.serialize_entry("type", DETAIL_TYPE)?;
                self.0.serialize_members(&mut members)?;
                members.end()
            }
        }

        let permissions = self.0.permissions();
        let mut list = serializer.serialize_seq(Some(permissions.len()))?;
        for permission in permissions {
            list.serialize_element(&Written(permission))?;
        }
        list.end()
    }
}

impl<'de> Deserialize<'de> for AuthorizationDetails {
    /// Reads what was granted: as strictly as what is asked for, and each with its Resource's name.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let details: Vec<Detail> = bounded(deserializer, DETAILS_MAX)?;
        let permissions = details.into_iter().map(|detail| {
            let limits = detail.limits()?;
            match detail {
                Detail { resource: Some(resource), locations: None, kind, actions, .. }
                    if kind == DETAIL_TYPE && !limits.is_none() =>
                {
                    Ok(Permission::limited(resource, actions, limits))
                }
                _ => Err("not an authorization detail of this type with limits".to_owned()),
            }
        });
        let permissions: Result<Vec<_>, String> = permissions.collect();
        let authority = Authority::new(permissions.map_err(D::Error::custom)?);
        authority.map(Self).map_err(D::Error::custom)
    }
}

/// An object as it is read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Detail {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, deserialize_with = "present")]
    resource: Option<ResourceName>,
    #[serde(default, deserialize_with = "present")]
    locations: Option<Location>,
    #[serde(deserialize_with = "actions")]
    actions: BTreeSet<ActionName>,
    #[serde(default, deserialize_with = "present")]
    object: Option<ObjectPattern>,
    #[serde(default, deserialize_with = "constraints")]
    constraints: Option<BTreeMap<ArgumentName, Constraint>>,
    #[serde(default, deserialize_with = "present")]
    not_before: Option<i64>,
    #[serde(default, deserialize_with = "present")]
    not_after: Option<i64>,
}

impl Detail {
    fn limits(&self) -> Result<Limits, String> {
        let constraints = self.constraints.clone().unwrap_or_default();
        let window = (self.not_before, self.not_after);
        Limits::new(self.object.clone(), constraints, window).map_err(|error| error.to_string())
    }
}

/// The one element of `locations`: a token is for one audience.
struct Location(String);

impl<'de> Deserialize<'de> for Location {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut uris: Vec<String> = bounded(deserializer, 1)?;
        match uris.pop() {
            Some(uri) if resource_indicator::is_one(&uri) => Ok(Self(uri)),
            _ => Err(D::Error::custom("`locations` is the audience of one resource")),
        }
    }
}
