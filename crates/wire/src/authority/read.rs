//! RFC 8259 JSON of permissions, read so that nothing is skipped: bounded lists, members that are
//! there or not but never `null`, objects in which no name stands twice.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{ACTIONS_MAX, ActionName, ArgumentName, CONSTRAINTS_MAX, Constraint};

/// Reads a member that may be left out and is not `null`: who writes `null` for a limit may mean
/// that there is none.
pub(crate) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Reads a sequence and stops at the first element beyond `max`.
pub(crate) fn bounded<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
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

/// Reads 1 to [`ACTIONS_MAX`] names.
pub(crate) fn actions<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeSet<ActionName>, D::Error> {
    let actions = bounded(deserializer, ACTIONS_MAX)?;
    if actions.is_empty() {
        return Err(D::Error::custom("a permission names at least one action"));
    }
    Ok(actions.into_iter().collect())
}

/// Reads at least one constraint, no two of one argument.
pub(crate) fn constraints<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<BTreeMap<ArgumentName, Constraint>>, D::Error> {
    distinct(deserializer, CONSTRAINTS_MAX).map(Some)
}

/// Reads an object of 1 to `max` members, no two of one name.
fn distinct<'de, K, V, D>(deserializer: D, max: usize) -> Result<BTreeMap<K, V>, D::Error>
where
    K: Deserialize<'de> + Ord + fmt::Display,
    V: Deserialize<'de>,
    D: Deserializer<'de>,
{
    struct Distinct<K, V>(usize, PhantomData<(K, V)>);

    impl<'de, K: Deserialize<'de> + Ord + fmt::Display, V: Deserialize<'de>> Visitor<'de>
        for Distinct<K, V>
    {
        type Value = BTreeMap<K, V>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "an object of 1 to {} members", self.0)
        }

        fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
            let mut read = BTreeMap::new();
            while let Some(name) = members.next_key::<K>()? {
                if read.contains_key(&name) {
                    return Err(A::Error::custom(format_args!("`{name}` stands twice")));
                }
                if read.len() == self.0 {
                    return Err(A::Error::invalid_length(self.0 + 1, &self));
                }
                read.insert(name, members.next_value()?);
            }
            if read.is_empty() { Err(A::Error::invalid_length(0, &self)) } else { Ok(read) }
        }
    }

    deserializer.deserialize_map(Distinct(max, PhantomData))
}
