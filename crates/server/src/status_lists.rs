//! Status lists as they are served: made when somebody asks, and made anew where the revocation graph
//! has moved on.

use std::sync::Arc;

use accredit_domain::status_list::{self, ListId, Published};
use accredit_domain::tenant::Tenant;
use accredit_domain::{Fault, World};
use accredit_wire::crypto::sha256;
use accredit_wire::ids::OrganizationId;
use accredit_wire::jose::b64url_encode;
use bytes::Bytes;

use crate::kept::Kept;

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

/// The lists that somebody asked for.
#[derive(Debug)]
pub struct StatusLists(Kept<(OrganizationId, ListId), Served>);

impl Default for StatusLists {
    fn default() -> Self {
        Self(Kept::new(LISTS_KEPT_MAX))
    }
}

impl StatusLists {
    /// A list as it is to be served now; nothing where there is no such list.
    pub async fn get(
        &self,
        world: &World,
        tenant: &Tenant,
        list: ListId,
    ) -> Result<Option<Arc<Served>>, Fault> {
        let up = world.clock.elapsed();
        let holds = |served: &Served| served.published.holds(tenant, up);
        let make = async |_| {
            let made = status_list::publish(world, tenant, list).await?;
            Ok(made.map(Served::new))
        };
        self.0.get((tenant.id, list), holds, make).await
    }

    /// How many are kept.
    pub fn kept(&self) -> usize {
        self.0.kept()
    }
}
