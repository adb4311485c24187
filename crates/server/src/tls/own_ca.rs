//! What the listener shows by the installation's own authority: a certificate that is over within a day,
//! for a key that was made here and is nowhere else.
//!
//! Each node makes its own. It makes another one when half of its time is over, when another root signs,
//! and when the time of day was set back to before it. Where none can be made, the last one is shown on.

use std::sync::{Arc, PoisonError, RwLock};

use accredit_domain::Fault;
use accredit_domain::ca::listener::{self, Shown};
use rustls::sign::CertifiedKey;

use super::fresh_key::FreshKey;
use super::held::Held;
use crate::Server;

/// The certificate that is shown, once there is one.
#[derive(Default)]
pub(super) struct OwnCa {
    held: RwLock<Option<Held>>,
}

impl OwnCa {
    /// Shows another certificate where the one that is shown is not fresh; whether it was not.
    pub(super) async fn look(&self, server: &Server) -> Result<bool, Fault> {
        let (world, now) = (&server.world, server.world.clock.now());
        let root = listener::tick(world, now).await?.active;
        if self.held().is_some_and(|held| held.is_fresh(root.key.id, now)) {
            return Ok(false);
        }
        let key = FreshKey::make()?;
        let Shown { certificate, root, from } =
            listener::show(world, &root, &key.public, now).await?;
        let certified = key.certified(vec![certificate.der().to_vec()])?;
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        *held = Some(Held { certified, by: root, from });
        server.metrics.listener_certified(certificate.until());
        tracing::info!(%root, until = %certificate.until(), "a certificate for the listener was made");
        Ok(true)
    }

    /// What is shown.
    pub(super) fn certified(&self) -> Option<Arc<CertifiedKey>> {
        self.held().map(|held| held.certified)
    }

    fn held(&self) -> Option<Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
