//! The lattice: an Authority is what its permissions allow together.
//!
//! At one Resource and Action, it is a set of limits none of which covers another; no limit covers
//! all. One Authority covers another where each limit of the other lies within one of its own: what
//! two permissions allow only together is asked for in two. The meet is the meets of all pairs.
//! Both are exact, and plain permissions, which have no limits, cost what sets of names cost.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::limits::{Denial, Limits, LimitsError};
use super::permission::{ACTIONS_MAX, Permission};
use super::read::bounded;
use super::{ActionName, Arguments, ResourceName, Scope, ScopeError, ScopeToken};
use crate::time::Time;

/// The most Permissions in one Authority.
pub const PERMISSIONS_MAX: usize = 256;

/// The most limited Permissions for one Resource: a meet compares all with all.
pub const LIMITED_MAX: usize = 16;

/// Why permissions do not make an Authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthorityError {
    /// More than [`PERMISSIONS_MAX`] Permissions.
    TooManyPermissions,
    /// More than [`LIMITED_MAX`] different limits at this Resource.
    TooManyLimited(ResourceName),
    /// More than [`ACTIONS_MAX`] Actions of this Resource.
    TooManyActions(ResourceName),
    /// No Action of this Resource: leave the Permission out instead.
    NoActions(ResourceName),
    /// The limits of two Permissions for this Resource are, together, beyond the bounds.
    Limits(ResourceName, LimitsError),
}

impl fmt::Display for AuthorityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyPermissions => {
                write!(f, "an authority has at most {PERMISSIONS_MAX} permissions")
            }
            Self::TooManyLimited(resource) => {
                write!(f, "there are more than {LIMITED_MAX} limited permissions for `{resource}`")
            }
            Self::TooManyActions(resource) => {
                write!(f, "the permission for `{resource}` has more than {ACTIONS_MAX} actions")
            }
            Self::NoActions(resource) => {
                write!(f, "the permission for `{resource}` names no action: leave it out")
            }
            Self::Limits(resource, error) => write!(f, "at `{resource}`, {error}"),
        }
    }
}

impl std::error::Error for AuthorityError {}

/// A set of Permissions in canonical form: sorted by Resource, for each first the one without
/// limits and then one for each different limits, sorted; none empty, and no Action in two of
/// which one covers the other. Two that allow the same are equal, and have the same JSON.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct Authority(Vec<Permission>);

impl Authority {
    /// The Authority to do nothing.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// The Authority of these Permissions, in any order; those with the same limits are merged.
    pub fn new(permissions: impl IntoIterator<Item = Permission>) -> Result<Self, AuthorityError> {
        let mut merged: Vec<Permission> = Vec::new();
        for mut permission in permissions {
            if permission.actions.is_empty() {
                return Err(AuthorityError::NoActions(permission.resource));
            }
            permission.limits = permission.limits.filter(|limits| !limits.is_none());
            match merged.binary_search_by(|known| place(known).cmp(&place(&permission))) {
                Ok(at) => merged[at].actions.extend(permission.actions),
                Err(at) => merged.insert(at, permission),
            }
            if merged.len() > PERMISSIONS_MAX {
                return Err(AuthorityError::TooManyPermissions);
            }
        }
        let merged = reduced(merged);
        for run in runs(&merged) {
            if let Some(one) = run.iter().find(|one| one.actions.len() > ACTIONS_MAX) {
                return Err(AuthorityError::TooManyActions(one.resource.clone()));
            }
            if let Some(beyond) = run.iter().filter(|one| one.limits.is_some()).nth(LIMITED_MAX) {
                return Err(AuthorityError::TooManyLimited(beyond.resource.clone()));
            }
        }
        Ok(Self(merged))
    }

    /// The Permissions, in canonical order.
    pub fn permissions(&self) -> &[Permission] {
        &self.0
    }

    /// The Resources at which anything is allowed, in order.
    pub fn resources(&self) -> impl Iterator<Item = &ResourceName> {
        runs(&self.0).filter_map(|run| run.first()).map(|first| &first.resource)
    }

    /// Whether nothing is allowed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there is no limited Permission: a scope says it all.
    pub fn is_plain(&self) -> bool {
        self.0.iter().all(|permission| permission.limits.is_none())
    }

    /// Whether `action` is allowed at `resource` without any limit: exactly these names.
    pub fn allows(&self, resource: &ResourceName, action: &ActionName) -> bool {
        self.plain_at(resource).is_some_and(|permission| permission.actions.contains(action))
    }

    /// Whether this is allowed: the action, on this object, with these arguments, at this time.
    /// Else why not, by the permission that came closest.
    pub fn allow(
        &self,
        (resource, action): (&str, &str),
        object: Option<&str>,
        arguments: &Arguments,
        now: Time,
    ) -> Result<(), Denial> {
        let mut denial = Denial::Action;
        for held in self.0.iter().filter(|held| held.resource.as_str() == resource) {
            if !held.actions.contains(action) {
                continue;
            }
            let Some(limits) = &held.limits else { return Ok(()) };
            match limits.allow(object, arguments, now) {
                Ok(()) => return Ok(()),
                Err(why) if closeness(&why) > closeness(&denial) => denial = why,
                Err(_) => {}
            }
        }
        Err(denial)
    }

    /// Whether all that `other` allows is allowed here.
    pub fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|asked| {
            let own = self.run(&asked.resource);
            // Nearly always one permission has all.
            own.iter().any(|own| {
                asked.actions.is_subset(&own.actions)
                    && within(own.limits.as_deref(), asked.limits.as_deref())
            }) || asked.actions.iter().all(|action| covered(own, action, asked.limits.as_deref()))
        })
    }

    /// What both allow: the greatest Authority that neither side exceeds.
    ///
    /// Where it would be beyond the bounds ([`LIMITED_MAX`], [`PERMISSIONS_MAX`] and those of
    /// [`Limits`]), permissions are left out, the last ones first: it is less than what both
    /// allow, and never more. [`Self::try_meet`] says so instead.
    #[must_use]
    pub fn meet(&self, other: &Self) -> Self {
        self.meet_noting(other).0
    }

    /// What both allow; an error where it is beyond the bounds.
    pub fn try_meet(&self, other: &Self) -> Result<Self, AuthorityError> {
        let (both, beyond) = self.meet_noting(other);
        beyond.map_or(Ok(both), Err)
    }

    fn meet_noting(&self, other: &Self) -> (Self, Option<AuthorityError>) {
        let (mut all, mut beyond) = (Vec::new(), None);
        for own in runs(&self.0) {
            let Some(resource) = own.first().map(|first| &first.resource) else { continue };
            let theirs = other.run(resource);
            match (own, theirs) {
                (_, []) => {}
                ([Permission { actions, limits: None, .. }], [theirs])
                    if theirs.limits.is_none() =>
                {
                    let actions: BTreeSet<_> =
                        actions.intersection(&theirs.actions).cloned().collect();
                    if !actions.is_empty() {
                        all.push(Permission::plain(resource.clone(), actions));
                    }
                }
                _ => all.extend(meet_runs(own, theirs, &mut beyond)),
            }
        }
        if all.len() > PERMISSIONS_MAX {
            all.truncate(PERMISSIONS_MAX);
            beyond = Some(AuthorityError::TooManyPermissions);
        }
        (Self(all), beyond)
    }

    /// What it allows at one Resource.
    #[must_use]
    pub fn at(&self, resource: &ResourceName) -> Self {
        Self(self.run(resource).to_vec())
    }

    /// What it allows at some Resources.
    #[must_use]
    pub fn at_any<'r>(&self, resources: impl Iterator<Item = &'r ResourceName>) -> Self {
        let resources: BTreeSet<&ResourceName> = resources.collect();
        Self(self.0.iter().filter(|held| resources.contains(&held.resource)).cloned().collect())
    }

    /// The part that has no limits.
    #[must_use]
    pub fn plain(&self) -> Self {
        Self(self.0.iter().filter(|held| held.limits.is_none()).cloned().collect())
    }

    /// The part that has limits, of which no scope tells.
    #[must_use]
    pub fn limited(&self) -> Self {
        Self(self.0.iter().filter(|held| held.limits.is_some()).cloned().collect())
    }

    /// Each Resource and Action that is allowed without any limit, in order.
    pub fn tokens(&self) -> impl Iterator<Item = ScopeToken> {
        self.0.iter().filter(|held| held.limits.is_none()).flat_map(|permission| {
            permission.actions.iter().map(|action| ScopeToken {
                resource: permission.resource.clone(),
                action: action.clone(),
            })
        })
    }

    /// What is allowed without any limit, as a scope; fails where it is larger than one can be.
    /// Who reads the scope alone never sees more than is allowed.
    pub fn scope(&self) -> Result<Scope, ScopeError> {
        Scope::new(self.tokens())
    }

    /// How many names and values it holds, by which caches count.
    pub fn words(&self) -> usize {
        let of_limits = |limits: &Arc<Limits>| 2 + limits.bytes().div_ceil(16);
        let words = self
            .0
            .iter()
            .map(|held| 1 + held.actions.len() + held.limits.as_ref().map_or(0, of_limits));
        words.sum()
    }

    /// The Permissions for one Resource.
    pub(super) fn run(&self, resource: &ResourceName) -> &[Permission] {
        let from = self.0.partition_point(|held| held.resource < *resource);
        let rest = &self.0[from..];
        let len = rest.iter().take_while(|held| held.resource == *resource).count();
        &rest[..len]
    }

    fn plain_at(&self, resource: &ResourceName) -> Option<&Permission> {
        let at = self.0.partition_point(|held| held.resource < *resource);
        let first = self.0.get(at)?;
        (first.resource == *resource && first.limits.is_none()).then_some(first)
    }
}

/// Whether `action` within `limits` is within one of these Permissions.
pub(super) fn covered(own: &[Permission], action: &ActionName, limits: Option<&Limits>) -> bool {
    own.iter().any(|own| own.actions.contains(action) && within(own.limits.as_deref(), limits))
}

/// Whether `inner` allows nothing that `outer` does not.
fn within(outer: Option<&Limits>, inner: Option<&Limits>) -> bool {
    match (outer, inner) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(outer), Some(inner)) => outer.covers(inner),
    }
}

/// Its place in the canonical order.
fn place(permission: &Permission) -> (&ResourceName, Option<&Limits>) {
    (&permission.resource, permission.limits.as_deref())
}

fn runs(permissions: &[Permission]) -> impl Iterator<Item = &[Permission]> {
    permissions.chunk_by(|a, b| a.resource == b.resource)
}

/// Sorted permissions without the actions that another one of the same Resource covers.
fn reduced(mut permissions: Vec<Permission>) -> Vec<Permission> {
    if permissions.iter().all(|one| one.limits.is_none()) {
        return permissions;
    }
    let covers_more: Vec<BTreeSet<ActionName>> = permissions
        .iter()
        .map(|one| {
            let from = permissions.partition_point(|other| other.resource < one.resource);
            let same =
                permissions[from..].iter().take_while(|other| other.resource == one.resource);
            let wider = same.filter(|other| {
                other.limits != one.limits && within(other.limits.as_deref(), one.limits.as_deref())
            });
            let wider: Vec<_> = wider.collect();
            let is_covered =
                |action: &&ActionName| wider.iter().any(|other| other.actions.contains(*action));
            one.actions.iter().filter(is_covered).cloned().collect()
        })
        .collect();
    for (one, covered) in permissions.iter_mut().zip(covers_more) {
        one.actions.retain(|action| !covered.contains(action));
    }
    permissions.retain(|one| !one.actions.is_empty());
    permissions
}

/// The meets of all pairs of Permissions for one Resource, reduced.
fn meet_runs(
    own: &[Permission],
    theirs: &[Permission],
    beyond: &mut Option<AuthorityError>,
) -> Vec<Permission> {
    let mut met: BTreeMap<Option<Arc<Limits>>, BTreeSet<ActionName>> = BTreeMap::new();
    let Some(resource) = own.first().map(|first| first.resource.clone()) else {
        return Vec::new();
    };
    for (a, b) in own.iter().flat_map(|a| theirs.iter().map(move |b| (a, b))) {
        let actions: BTreeSet<_> = a.actions.intersection(&b.actions).cloned().collect();
        if actions.is_empty() {
            continue;
        }
        let limits = match (&a.limits, &b.limits) {
            (None, limits) | (limits, None) => limits.clone(),
            (Some(a), Some(b)) if a == b => Some(Arc::clone(a)),
            (Some(a), Some(b)) => match a.meet(b) {
                Ok(Some(both)) => Some(Arc::new(both)),
                Ok(None) => continue,
                Err(error) => {
                    *beyond = Some(AuthorityError::Limits(resource.clone(), error));
                    continue;
                }
            },
        };
        met.entry(limits).or_default().extend(actions);
    }
    let met = met.into_iter().map(|(limits, actions)| Permission {
        resource: resource.clone(),
        actions,
        limits,
    });
    let mut met = reduced(met.collect());
    let plain = usize::from(met.first().is_some_and(|first| first.limits.is_none()));
    if met.len() > plain + LIMITED_MAX {
        met.truncate(plain + LIMITED_MAX);
        *beyond = Some(AuthorityError::TooManyLimited(resource));
    }
    met
}

/// How far a question came: the denial of the permission that came furthest is told.
const fn closeness(denial: &Denial) -> u8 {
    match denial {
        Denial::Action => 0,
        Denial::Object => 1,
        Denial::Argument(_) => 2,
        Denial::Time => 3,
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
                _ => permissions.push(Permission::plain(
                    token.resource.clone(),
                    BTreeSet::from([token.action.clone()]),
                )),
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
