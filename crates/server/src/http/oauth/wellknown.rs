//! RFC 8414, RFC 7517: who we are and with which keys we sign. From configuration alone: no
//! header of the request has a say.

use accredit_wire::oauth::metadata::Metadata;

use crate::certificates::ClientCertificates;
use crate::dispatch::{Call, Handled};
use crate::reply;

/// The authorization server's metadata; the same at all three well-known places.
pub fn metadata(call: Call) -> Handled {
    Box::pin(async move {
        let tenant = call.tenant().await?;
        let mut metadata = Metadata::new(&tenant.issuer);
        if call.server.client_certificates.get() == Some(&ClientCertificates::Asked) {
            metadata = metadata.with_certificates();
        }
        for lane in call.server.world.store.lanes(tenant.id).await? {
            let vkeys = tenant.log_vkeys(&lane)?;
            metadata.accredit_log_keys.extend(vkeys.iter().map(ToString::to_string));
        }
        metadata.accredit_log_key_statements = tenant.keys().log_statements();
        Ok(reply::public_json(&metadata)?)
    })
}

/// The keys that verify access tokens.
pub fn jwks(call: Call) -> Handled {
    Box::pin(async move { Ok(reply::public_json(call.tenant().await?.keys().token_jwks())?) })
}

/// The keys that verify the revocation feed: apart, so that no token is ever checked with one.
pub fn feed_jwks(call: Call) -> Handled {
    Box::pin(async move { Ok(reply::public_json(call.tenant().await?.keys().feed_jwks())?) })
}

/// The keys that verify attenuable tokens: apart, so that a key of one format never verifies the
/// other.
pub fn biscuit_jwks(call: Call) -> Handled {
    Box::pin(async move { Ok(reply::public_json(call.tenant().await?.keys().biscuit_jwks())?) })
}
