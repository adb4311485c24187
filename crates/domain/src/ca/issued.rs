//! SPIFFE X509-SVID: the certificates that instances have, while they hold, and whether each still
//! stands.
//!
//! A row is written with its certificate's event ([`crate::issuance::certificate`]) and is gone once
//! no verifier takes the certificate. Whether it was revoked stands in no row: that is asked of the
//! one revocation graph, with what the certificate hangs on.

use std::collections::BTreeSet;

use accredit_wire::ids::{AgentId, AnyId, InstanceId, KeyId, Kind, OrganizationId, TokenId};
use accredit_wire::time::Time;
use accredit_wire::tlog::Hash;
use accredit_wire::x509::certificate::SERIAL_BYTES;
use accredit_wire::x509::dns_name::DnsName;
use serde::Serialize;

use crate::context::Cx;
use crate::ports::{BoxFuture, Page};
use crate::refusal::{Error, Fault, Refusal};
use crate::registry::credential::AdminPermission;
use crate::registry::{Listed, find_agent, id};

/// A certificate of an instance, without its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedCertificate {
    /// Its id, by which it is revoked.
    pub id: TokenId,
    /// The instance's agent.
    pub agent: AgentId,
    /// Whose it is.
    pub instance: InstanceId,
    /// The intermediate that signed it.
    pub key: KeyId,
    /// Whom it names.
    pub spiffe_id: String,
    /// The hosts that it names.
    pub dns_names: BTreeSet<DnsName>,
    /// Its serial number.
    pub serial: [u8; SERIAL_BYTES],
    /// SHA-256 of its DER.
    pub digest: [u8; 32],
    /// The revocation counter that its decision saw.
    pub rev: u64,
    /// What it hangs on.
    pub lineage: Vec<AnyId>,
    /// When it was issued.
    pub created_at: Time,
    /// When it is over.
    pub expires_at: Time,
}

/// A certificate as its issuer's lists are made from it.
#[derive(Clone, Debug)]
pub struct SignedCertificate {
    /// Its serial number.
    pub serial: [u8; SERIAL_BYTES],
    /// The revocation counter that its decision saw.
    pub rev: u64,
    /// What it hangs on.
    pub lineage: Vec<AnyId>,
}

/// Certificates, for reading. They are written by [`Ledger::record_issuance`] and forgotten by
/// [`Ledger::forget_before`].
///
/// [`Ledger::record_issuance`]: crate::ports::Ledger::record_issuance
/// [`Ledger::forget_before`]: crate::ports::Ledger::forget_before
pub trait Certificates: Send + Sync {
    /// One certificate that is not over, or only just.
    fn certificate(
        &self,
        org: OrganizationId,
        id: TokenId,
    ) -> BoxFuture<'_, Result<Option<IssuedCertificate>, Fault>>;

    /// The certificate of an instance whose DER has this SHA-256.
    fn certificate_of(
        &self,
        org: OrganizationId,
        instance: InstanceId,
        digest: [u8; 32],
    ) -> BoxFuture<'_, Result<Option<IssuedCertificate>, Fault>>;

    /// Such certificates.
    fn certificates(
        &self,
        org: OrganizationId,
        page: Page,
    ) -> BoxFuture<'_, Result<Listed<IssuedCertificate>, Fault>>;

    /// Those that an intermediate signed, in the order of their serial numbers, from behind `after` on,
    /// at most `limit`.
    fn certificates_signed(
        &self,
        org: OrganizationId,
        by: KeyId,
        after: Option<[u8; SERIAL_BYTES]>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<SignedCertificate>, Fault>>;

    /// The one of them with this serial number.
    fn certificate_numbered(
        &self,
        org: OrganizationId,
        by: KeyId,
        serial: [u8; SERIAL_BYTES],
    ) -> BoxFuture<'_, Result<Option<SignedCertificate>, Fault>>;
}

/// A certificate as it is shown.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct CertificateView {
    /// Its id, `tok_`, by which it is revoked.
    #[schema(value_type = String)]
    pub id: TokenId,
    /// The instance's agent.
    #[schema(value_type = String)]
    pub agent: AgentId,
    /// Whose it is.
    #[schema(value_type = String)]
    pub instance: InstanceId,
    /// Whom it names.
    pub spiffe_id: String,
    /// The hosts that it names.
    #[schema(value_type = Vec<String>)]
    pub dns_names: BTreeSet<DnsName>,
    /// `valid`, `revoked` or `expired`.
    pub standing: &'static str,
    /// The intermediate that signed it.
    #[schema(value_type = String)]
    pub key: KeyId,
    /// Its serial number, in hexadecimal.
    pub serial: String,
    /// SHA-256 of its DER, in hexadecimal.
    pub sha256: String,
    /// When it was issued.
    #[schema(value_type = String)]
    pub created_at: Time,
    /// When it is over.
    #[schema(value_type = String)]
    pub expires_at: Time,
}

impl IssuedCertificate {
    /// As it is shown at `cx.now`.
    fn view(&self, cx: &Cx) -> CertificateView {
        let dead = cx.tenant.revoked().is_dead(self.lineage.iter().copied(), self.rev);
        let standing = match dead {
            Some(_) => "revoked",
            None if self.expires_at <= cx.now => "expired",
            None => "valid",
        };
        CertificateView {
            id: self.id,
            agent: self.agent,
            instance: self.instance,
            spiffe_id: self.spiffe_id.clone(),
            dns_names: self.dns_names.clone(),
            standing,
            key: self.key,
            serial: format!("{:032x}", u128::from_be_bytes(self.serial)),
            sha256: Hash::new(self.digest).to_string(),
            created_at: self.created_at,
            expires_at: self.expires_at,
        }
    }
}

/// Certificates of the organization, of one agent or of one instance.
pub async fn list(
    cx: &Cx,
    mut page: Page,
    (agent, instance): (Option<&str>, Option<&str>),
) -> Result<Listed<CertificateView>, Error> {
    cx.require(AdminPermission::Read)?;
    if let Some(agent) = agent {
        page.agent = Some(find_agent(cx, agent).await?.id);
    }
    if let Some(instance) = instance {
        page.instance = Some(id(Kind::Instance, "instance", instance)?);
    }
    page.at = cx.now;
    let found = cx.world.store.certificates(cx.tenant.id, page).await?;
    Ok(found.shown(|row| row.view(cx)))
}

/// One certificate.
pub async fn find(cx: &Cx, key: &str) -> Result<CertificateView, Error> {
    cx.require(AdminPermission::Read)?;
    let token = id::<TokenId>(Kind::Token, "certificate", key)?;
    let found = cx.world.store.certificate(cx.tenant.id, token).await?;
    Ok(found.ok_or_else(|| Refusal::not_found("certificate", key))?.view(cx))
}
