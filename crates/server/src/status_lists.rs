//! Status lists as they are served: made when somebody asks, shared by all who ask, and made anew
//! where the revocation graph has moved on. A list that nobody fetches costs nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use accredit_domain::status_list::{self, ListId, Published};
use accredit_domain::tenant::Tenant;
use accredit_domain::{Fault, World};
use accredit_wire::crypto::sha256;
use accredit_wire::ids::OrganizationId;
use accredit_wire::jose::b64url_encode;
use bytes::Bytes;

/// Lists that are kept in memory at a time, of all organizations: some 30 MB at most.
pub const LISTS_KEPT_MAX: usize = 1024;

/// Bytes of a digest that are an entity tag.
const TAG_BYTES: usize = 16;

/// A list, and what names its bytes.
#[derive(Debug)]
pub struct Served {
    published: Published,
    /// The Status List Token.
    pub bytes: Bytes,
    /// Its strong entity tag.
    pub tag: String,
}

impl Served {
    fn new(mut published: Published) -> Self {
        let text = std::mem::take(&mut published.text);
        let digest = sha256(text.as_bytes());
        let digest =
            digest.first_chunk::<TAG_BYTES>().map_or_else(String::new, |half| b64url_encode(half));
        Self { published, bytes: Bytes::from(text), tag: format!("\"{digest}\"") }
    }
}

/// Whoever makes a list holds its place; others wait and find what was made.
type Place = Arc<tokio::sync::Mutex<Option<Arc<Served>>>>;

/// The lists that somebody asked for.
#[derive(Debug, Default)]
pub struct StatusLists {
    places: Mutex<HashMap<(OrganizationId, ListId), Place>>,
}

impl StatusLists {
    /// A list as it is to be served now; nothing where there is no such list.
    pub async fn get(
        &self,
        world: &World,
        tenant: &Tenant,
        list: ListId,
    ) -> Result<Option<Arc<Served>>, Fault> {
        let place = self.place(tenant.id, list);
        let mut held = place.lock().await;
        let up = world.clock.elapsed();
        if let Some(served) = held.as_ref().filter(|served| served.published.holds(tenant, up)) {
            return Ok(Some(Arc::clone(served)));
        }
        let made = status_list::publish(world, tenant, list).await;
        *held = made.as_ref().ok().cloned().flatten().map(|made| Arc::new(Served::new(made)));
        if held.is_none() {
            self.forget(tenant.id, list);
        }
        made.map(|_| held.clone())
    }

    /// How many are kept.
    pub fn kept(&self) -> usize {
        self.places().len()
    }

    fn places(&self) -> std::sync::MutexGuard<'_, HashMap<(OrganizationId, ListId), Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self, org: OrganizationId, list: ListId) -> Place {
        let mut places = self.places();
        if places.len() >= LISTS_KEPT_MAX && !places.contains_key(&(org, list)) {
            // Those that nobody waits for; they are made again for who asks.
            places.retain(|_, place| Arc::strong_count(place) > 1);
        }
        Arc::clone(places.entry((org, list)).or_default())
    }

    fn forget(&self, org: OrganizationId, list: ListId) {
        self.places().remove(&(org, list));
    }
}
