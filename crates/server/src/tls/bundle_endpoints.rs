//! SPIFFE Federation section 5.2.2: who asks the listener for the name of an organization's trust domain
//! (RFC 6066 section 3) is shown an X509-SVID of it.
//!
//! It is made when somebody asks, before the handshake goes on, and once for all who ask until half of its
//! time is over or another key signs: there are as many as there are organizations. Whoever asks for another
//! name, or where an organization issues nothing, is shown what everybody is.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use accredit_domain::ca::bundle_endpoint::{self, Shown};
use accredit_domain::ca::trust_domain;
use accredit_domain::tenant::Tenant;
use accredit_domain::terms::Terms;
use accredit_domain::{Caller, Cx, Fault};
use accredit_wire::ids::{KeyId, OrganizationId, RequestId};
use accredit_wire::time::Time;
use accredit_wire::x509::spiffe::TrustDomain;
use rustls::sign::CertifiedKey;
use tokio::sync::Mutex;

use super::fresh_key::FreshKey;
use super::held::Held;
use crate::Server;

/// How long none is made after one could not be: strangers ask.
const RESTS: Duration = Duration::from_secs(10);

/// What is shown, by the name that is asked for.
#[derive(Default)]
pub(super) struct BundleEndpoints {
    held: RwLock<HashMap<String, Held>>,
    /// Held by who makes one: until when none is made, by the monotonic clock.
    making: Mutex<Duration>,
}

impl BundleEndpoints {
    /// What is shown to who asks for this name.
    pub(super) fn certified(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        self.held(name).map(|held| held.certified)
    }

    /// Sees to it that there is what is to be shown, and nothing that is not.
    pub(super) async fn prepare(&self, server: &Server, name: &str) {
        if TrustDomain::label_below(&server.world.public_url, name).is_none() {
            return;
        }
        if let Err(fault) = self.look(server, name).await {
            tracing::warn!(%fault, name, "no certificate for a bundle endpoint");
        }
    }

    async fn look(&self, server: &Server, name: &str) -> Result<(), Fault> {
        let now = server.world.clock.now();
        let Some(tenant) = named(server, name, now).await? else { return Ok(()) };
        let cx = context(server, tenant, now);
        let signs = bundle_endpoint::signs(&cx);
        self.drop_unless(name, signs);
        let Some(by) = signs else { return Ok(()) };
        if self.is_fresh(name, by, now) {
            return Ok(());
        }
        let mut rests_until = self.making.lock().await;
        let elapsed = server.world.clock.elapsed();
        if elapsed < *rests_until || self.is_fresh(name, by, now) {
            return Ok(());
        }
        let made = self.make(&cx, name).await;
        if made.is_err() {
            *rests_until = elapsed.saturating_add(RESTS);
        }
        made
    }

    async fn make(&self, cx: &Cx, name: &str) -> Result<(), Fault> {
        let key = FreshKey::make()?;
        let Some(Shown { chain, by, from }) = bundle_endpoint::show(cx, &key.public).await? else {
            return Ok(());
        };
        let held = Held { certified: key.certified(chain)?, by, from };
        self.held.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), held);
        Ok(())
    }

    /// Shows nothing on that another key signed.
    fn drop_unless(&self, name: &str, by: Option<KeyId>) {
        if self.held(name).is_some_and(|held| Some(held.by) != by) {
            self.held.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        }
    }

    /// Whether what is shown is to be shown on at `now`, where this key signs.
    fn is_fresh(&self, name: &str, by: KeyId, now: Time) -> bool {
        self.held(name).is_some_and(|held| held.is_fresh(by, now))
    }

    fn held(&self, name: &str) -> Option<Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

/// The organization whose trust domain is called so.
async fn named(server: &Server, name: &str, now: Time) -> Result<Option<Arc<Tenant>>, Fault> {
    let Some(label) = TrustDomain::label_below(&server.world.public_url, name) else {
        return Ok(None);
    };
    let found = match label.parse::<OrganizationId>() {
        Ok(id) => server.tenants.by_id(id, now).await?,
        Err(_) => server.tenants.get(label, now).await?,
    };
    let is_its = |tenant: &Arc<Tenant>| {
        trust_domain(tenant.id, &tenant.issuer).is_ok_and(|domain| domain.as_str() == name)
    };
    Ok(found.filter(is_its))
}

/// Nobody asks: who does has not spoken yet.
fn context(server: &Server, tenant: Arc<Tenant>, now: Time) -> Cx {
    Cx {
        world: Arc::clone(&server.world),
        tenant,
        caller: Caller::System,
        request: RequestId::new(now.millis(), server.world.random()),
        source: None,
        now,
        terms: Terms::default(),
    }
}
