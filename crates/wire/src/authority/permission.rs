//! One permission: a Resource, some of its Actions, and what they are limited to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::de::Error as _;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::limits::Limits;
use super::object::ObjectPattern;
use super::read::{actions, constraints, present};
use super::{ActionName, ArgumentName, Constraint, ResourceName};

/// The most Actions in one Permission.
pub const ACTIONS_MAX: usize = 256;

/// The members of a permission's JSON.
pub(crate) const PERMISSION_MEMBERS: [&str; 6] =
    ["resource", "actions", "object", "constraints", "not_before", "not_after"];

/// What may be done at one Resource.
///
/// As JSON, `{"resource":"crm","actions":["read"]}`, and where it is limited also `object`,
/// `constraints`, `not_before` and `not_after`. A member that this version does not know is
/// refused, not skipped: it can only be a limit, and who skips a limit grants more than was
/// given. Unknown means no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// The Resource.
    pub resource: ResourceName,
    /// What may be done there: 1 to [`ACTIONS_MAX`].
    pub actions: BTreeSet<ActionName>,
    /// What it is limited to; none where it is not.
    pub limits: Option<Arc<Limits>>,
}

impl Permission {
    /// These Actions without any limit.
    pub const fn plain(resource: ResourceName, actions: BTreeSet<ActionName>) -> Self {
        Self { resource, actions, limits: None }
    }

    /// These Actions within these limits.
    pub fn limited(resource: ResourceName, actions: BTreeSet<ActionName>, limits: Limits) -> Self {
        let limits = (!limits.is_none()).then(|| Arc::new(limits));
        Self { resource, actions, limits }
    }
}

impl Permission {
    /// Writes its members into a JSON object.
    pub(crate) fn serialize_members<M: SerializeMap>(
        &self,
        members: &mut M,
    ) -> Result<(), M::Error> {
        members.serialize_entry("resource", &self.resource)?;
        members.serialize_entry("actions", &self.actions)?;
        let Some(limits) = &self.limits else { return Ok(()) };
        if let Some(object) = &limits.object {
            members.serialize_entry("object", object)?;
        }
        if !limits.constraints.is_empty() {
            members.serialize_entry("constraints", &limits.constraints)?;
        }
        if let Some(not_before) = limits.window.not_before {
            members.serialize_entry("not_before", &not_before)?;
        }
        if let Some(not_after) = limits.window.not_after {
            members.serialize_entry("not_after", &not_after)?;
        }
        Ok(())
    }
}

impl Serialize for Permission {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_map(None)?;
        self.serialize_members(&mut members)?;
        members.end()
    }
}

impl<'de> Deserialize<'de> for Permission {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Members {
            resource: ResourceName,
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

        let Members { resource, actions, object, constraints, not_before, not_after } =
            Members::deserialize(deserializer)?;
        let constraints = constraints.unwrap_or_default();
        let limits = Limits::new(object, constraints, (not_before, not_after));
        Ok(Self::limited(resource, actions, limits.map_err(D::Error::custom)?))
    }
}
