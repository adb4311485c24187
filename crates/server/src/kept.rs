//! What is made when somebody asks for it, shared by all who ask, and made anew where it holds no more:
//! status lists, lists of revoked certificates and answers about single ones. What nobody fetches
//! costs nothing.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// Whoever makes a thing holds its place; others wait and find what was made.
type Place<V> = Arc<tokio::sync::Mutex<Option<Arc<V>>>>;

/// The things that somebody asked for, a bounded number of them.
#[derive(Debug)]
pub struct Kept<K, V> {
    places: Mutex<HashMap<K, Place<V>>>,
    kept_max: usize,
}

impl<K: Clone + Eq + Hash, V> Kept<K, V> {
    /// Keeps so many at most.
    pub fn new(kept_max: usize) -> Self {
        Self { places: Mutex::default(), kept_max }
    }

    /// A thing as it is to be served now: the one that is kept while it `holds`, and otherwise a new
    /// one, which `make` makes of it; nothing where there is no such thing.
    pub async fn get<E>(
        &self,
        key: K,
        holds: impl FnOnce(&V) -> bool,
        make: impl AsyncFnOnce(Option<Arc<V>>) -> Result<Option<V>, E>,
    ) -> Result<Option<Arc<V>>, E> {
        let place = self.place(key.clone());
        let mut held = place.lock().await;
        if let Some(kept) = held.as_ref().filter(|kept| holds(kept)) {
            return Ok(Some(Arc::clone(kept)));
        }
        match make(held.take()).await {
            Ok(Some(made)) => {
                let made = Arc::new(made);
                *held = Some(Arc::clone(&made));
                Ok(Some(made))
            }
            other => {
                self.places().remove(&key);
                other.map(|_| None)
            }
        }
    }

    /// How many are kept.
    pub fn kept(&self) -> usize {
        self.places().len()
    }

    /// Looks at each that is kept and that nobody makes anew just now.
    pub fn each(&self, mut look: impl FnMut(&V)) {
        for place in self.places().values() {
            if let Ok(held) = place.try_lock()
                && let Some(held) = held.as_ref()
            {
                look(held);
            }
        }
    }

    fn places(&self) -> std::sync::MutexGuard<'_, HashMap<K, Place<V>>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self, key: K) -> Place<V> {
        let mut places = self.places();
        if places.len() >= self.kept_max && !places.contains_key(&key) {
            // Those that nobody waits for; they are made again for who asks.
            places.retain(|_, place| Arc::strong_count(place) > 1);
        }
        Arc::clone(places.entry(key).or_default())
    }
}
