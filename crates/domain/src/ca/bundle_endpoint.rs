//! SPIFFE Federation section 5.2.2: what the listener shows where it is asked for an organization's own
//! name, so that whoever has its roots needs no web certificate to fetch them anew.
//!
//! It is an X509-SVID of the trust domain for a key of this process, signed by the intermediate as an
//! instance's is, and an event like one. Absent on purpose: a row, and so a way to end it alone. It names
//! no agent, opens nothing, and ends with the key that signed it.

use accredit_wire::crypto::PublicKey;
use accredit_wire::ids::{KeyId, TokenId};
use accredit_wire::time::Time;
use accredit_wire::tlog::Hash;
use accredit_wire::x509::certificate::{Life, Named, SERIAL_BYTES, Unsigned};
use accredit_wire::x509::spiffe::TrustDomain;
use accredit_wire::x509::upstream::Above;

use super::{SHOWN_LIFE, certificate, name, pointers, trust_domain};
use crate::audit::event::{Body, EventKind};
use crate::context::Cx;
use crate::ports::{Audited, Issuance, NotRecorded, UsedUp};
use crate::refusal::Fault;
use crate::registry::State;
use crate::restoration::Issuing;

/// What it is called.
const SHOWN_NAME: &str = "Accredit bundle endpoint";
/// As an event names the format.
const FORMAT: &str = "x509-svid";

/// What is shown for a key of this process.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The certificate, and those that lead from it to the published root, DER.
    pub chain: Vec<Vec<u8>>,
    /// The intermediate that signed it.
    pub by: KeyId,
    /// When it was made.
    pub from: Time,
}

/// Where a bundle is under the name of its trust domain: at the port of the issuer.
pub(super) fn url(domain: &TrustDomain, issuer: &str) -> String {
    let (_, rest) = issuer.split_once("://").unwrap_or(("", issuer));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let port = authority.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.ends_with(']'));
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("https://{domain}{port}/{path}/spiffe/bundle")
}

/// Which key signs what is shown at `cx.now`; none where nothing is issued.
pub fn signs(cx: &Cx) -> Option<KeyId> {
    let is_open = cx.tenant.state() == State::Active && cx.tenant.issuing() == Issuing::Open;
    let may = is_open && cx.world.latest.may_issue(cx.now).is_ok();
    let by = cx.tenant.ca().filter(|by| may && by.certified.certificate.until() > cx.now);
    by.map(|by| by.sealed.id)
}

/// What is to be shown for a key; nothing where nothing is issued. It is recorded first.
pub async fn show(cx: &Cx, key: &PublicKey) -> Result<Option<Shown>, Fault> {
    // Before what is decided by it.
    let rev = cx.tenant.rev();
    let Some(by) = cx.tenant.ca().filter(|by| signs(cx) == Some(by.sealed.id)) else {
        return Ok(None);
    };
    let domain = trust_domain(cx.tenant.id, &cx.tenant.issuer)?;
    let (called, serial) = (name(by.sealed.id), cx.world.random::<SERIAL_BYTES>());
    let issuer =
        (Named::new(&called, &by.sealed.public), &pointers(&cx.tenant.issuer, by.sealed.id));
    let until = cx.now.plus(SHOWN_LIFE).min(by.certified.certificate.until());
    let life = Life { from: cx.now, until };
    let own = Named::new(SHOWN_NAME, key);
    let unsigned = Unsigned::bundle_endpoint(&domain, issuer, own, &serial, life);
    let certificate = certificate(&cx.world, &by.sealed, unsigned).await?;
    let (millis, random) = cx.seed();
    let id = TokenId::new(millis, random);
    let lineage = vec![cx.tenant.id.any(), by.sealed.id.any(), by.certified.root.any(), id.any()];
    let body = Body {
        certificate: Some(Hash::new(certificate.digest()).to_string()),
        expires_at: Some(certificate.until().micros()),
        format: Some(FORMAT),
        key: Some(by.sealed.id),
        lineage: Some(by.certified.root.to_string()),
        rev: Some(rev),
        subject: Some(domain.bundle_endpoint().to_string()),
        token: Some(id),
        ..Body::default()
    };
    let issuance = Issuance {
        org: cx.tenant.id,
        lineage,
        rev,
        used_up: UsedUp::NOTHING,
        status: None,
        certificate: None,
    };
    let event = cx.event(EventKind::CertificateIssued, body);
    match cx.world.store.record_issuance(Audited::new(issuance, event)).await {
        Ok(()) => {}
        Err(NotRecorded::Fault(fault)) => return Err(fault),
        // What signed it was ended meanwhile.
        Err(
            NotRecorded::Overtaken(_)
            | NotRecorded::Replayed
            | NotRecorded::ProofReplayed
            | NotRecorded::NoRoom,
        ) => return Ok(None),
    }
    let between = by.above.iter().flat_map(Above::between).map(<[u8]>::to_vec);
    let chain = [certificate.der().to_vec(), by.certified.certificate.der().to_vec()];
    Ok(Some(Shown {
        chain: chain.into_iter().chain(between).collect(),
        by: by.sealed.id,
        from: cx.now,
    }))
}
