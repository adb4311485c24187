//! Permissions, and the set of them that is an Authority.

use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::{ActionName, ResourceName, Scope, ScopeError, ScopeToken};

/// The most Resources in one Authority.
pub const PERMISSIONS_MAX: usize = 256;

/// The most Actions in one Permission.
pub const ACTIONS_MAX: usize = 256;

/// What may be done at one Resource.
///
/// As JSON, `{"resource":"crm","actions":["read"]}`. A member that this version does not know is
/// refused, not skipped: it can only be a constraint (an object pattern, a time window, a limit
/// on arguments), and who skips a constraint grants more than was given. Unknown means no.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Permission {
    /// The Resource.
    pub resource: ResourceName,
    /// What may be done there: 1 to [`ACTIONS_MAX`].
    #[serde(deserialize_with = "bounded_actions")]
    pub actions: BTreeSet<ActionName>,
}

/// Why permissions do not make an Authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthorityError {
    /// More than [`PERMISSIONS_MAX`] Resources.
    TooManyPermissions,
    /// More than [`ACTIONS_MAX`] Actions of this Resource.
    TooManyActions(ResourceName),
    /// No Action of this Resource: leave the Permission out instead.
    NoActions(ResourceName),
}

impl fmt::Display for AuthorityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyPermissions => {
                write!(f, "an authority has at most {PERMISSIONS_MAX} permissions")
            }
            Self::TooManyActions(resource) => {
                write!(f, "the permission for `{resource}` has more than {ACTIONS_MAX} actions")
            }
            Self::NoActions(resource) => {
                write!(f, "the permission for `{resource}` names no action: leave it out")
            }
        }
    }
}

impl std::error::Error for AuthorityError {}

/// A set of Permissions in canonical form: sorted by Resource, one Permission for each, none
/// empty. Two that allow the same are equal, and have the same JSON.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct Authority(Vec<Permission>);

impl Authority {
    /// The Authority to do nothing.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// The Authority of these Permissions, in any order; those for one Resource are merged.
    pub fn new(permissions: impl IntoIterator<Item = Permission>) -> Result<Self, AuthorityError> {
        let mut merged: Vec<Permission> = Vec::new();
        for permission in permissions {
            if permission.actions.is_empty() {
                return Err(AuthorityError::NoActions(permission.resource));
            }
            match merged.binary_search_by(|known| known.resource.cmp(&permission.resource)) {
                Ok(at) => merged[at].actions.extend(permission.actions),
                Err(at) => merged.insert(at, permission),
            }
            if merged.len() > PERMISSIONS_MAX {
                return Err(AuthorityError::TooManyPermissions);
            }
        }
        match merged.iter().find(|permission| permission.actions.len() > ACTIONS_MAX) {
            Some(permission) => Err(AuthorityError::TooManyActions(permission.resource.clone())),
            None => Ok(Self(merged)),
        }
    }

    /// The Permissions, sorted by Resource.
    pub fn permissions(&self) -> &[Permission] {
        &self.0
    }

    /// Whether nothing is allowed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `action` is allowed at `resource`: exactly these names, no pattern.
    pub fn allows(&self, resource: &ResourceName, action: &ActionName) -> bool {
        self.find(resource).is_some_and(|permission| permission.actions.contains(action))
    }

    /// Whether all that `other` allows is allowed here.
    pub fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|permission| {
            self.find(&permission.resource)
                .is_some_and(|own| permission.actions.is_subset(&own.actions))
        })
    }

    /// What both allow: the greatest Authority that neither side exceeds.
    #[must_use]
    pub fn meet(&self, other: &Self) -> Self {
        let shared = self.0.iter().filter_map(|own| {
            let theirs = other.find(&own.resource)?;
            let actions: BTreeSet<_> = own.actions.intersection(&theirs.actions).cloned().collect();
            let resource = own.resource.clone();
            (!actions.is_empty()).then_some(Permission { resource, actions })
        });
        Self(shared.collect())
    }

    /// What it allows at one Resource.
    #[must_use]
    pub fn at(&self, resource: &ResourceName) -> Self {
        Self(self.find(resource).cloned().into_iter().collect())
    }

    /// Each Resource and Action, in order.
    pub fn tokens(&self) -> impl Iterator<Item = ScopeToken> {
        self.0.iter().flat_map(|permission| {
            permission.actions.iter().map(|action| ScopeToken {
                resource: permission.resource.clone(),
                action: action.clone(),
            })
        })
    }

    /// The same as a scope; fails where it is larger than a scope can be.
    pub fn scope(&self) -> Result<Scope, ScopeError> {
        Scope::new(self.tokens())
    }

    fn find(&self, resource: &ResourceName) -> Option<&Permission> {
        let at = self.0.binary_search_by(|permission| permission.resource.cmp(resource)).ok()?;
        self.0.get(at)
    }
}

/// A scope has at most 64 tokens, so its Authority is always within the bounds.
impl From<&Scope> for Authority {
    fn from(scope: &Scope) -> Self {
        let mut permissions: Vec<Permission> = Vec::new();
        for token in scope.tokens() {
            match permissions.last_mut() {
                Some(last) if last.resource == token.resource => {
                    last.actions.insert(token.action.clone());
                }
                _ => permissions.push(Permission {
                    resource: token.resource.clone(),
                    actions: BTreeSet::from([token.action.clone()]),
                }),
            }
        }
        Self(permissions)
    }
}

impl<'de> Deserialize<'de> for Authority {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let permissions = bounded(deserializer, PERMISSIONS_MAX)?;
        Self::new(permissions).map_err(D::Error::custom)
    }
}

fn bounded_actions<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeSet<ActionName>, D::Error> {
    let actions = bounded(deserializer, ACTIONS_MAX)?;
    if actions.is_empty() {
        return Err(D::Error::custom("a permission names at least one action"));
    }
    Ok(actions.into_iter().collect())
}

/// Reads a sequence and stops at the first element beyond `max`.
fn bounded<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
    max: usize,
) -> Result<Vec<T>, D::Error> {
    struct Bounded<T>(usize, PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Bounded<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {}", self.0)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
            let mut read = Vec::new();
            while let Some(item) = items.next_element()? {
                if read.len() == self.0 {
                    return Err(A::Error::invalid_length(self.0 + 1, &self));
                }
                read.push(item);
            }
            Ok(read)
        }
    }

    deserializer.deserialize_seq(Bounded(max, PhantomData))
}
