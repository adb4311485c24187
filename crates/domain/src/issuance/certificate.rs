//! RFC 5280, SPIFFE X509-SVID: an instance gets a certificate for a key that it holds.
//!
//! It says who the instance is and nothing that it may do, so that no permission stands behind it; and
//! the hosts that its agent's policy lets it name ([`dns_names`]). Of what is sent with the key nothing is
//! looked at. Its id is a token's: whatever ends a token ends it, and who looks it up is told so
//! ([`crate::ca::issued`]).
//!
//! Absent on purpose: certificates of agents. Two copies that are called the same cannot be ended one by one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use accredit_wire::ids::{AgentId, AnyId, InstanceId, PersonId, TaskId, TokenId};
use accredit_wire::oauth::certificate_request::CertificateRequest;
use accredit_wire::oauth::client_auth::ClientAuth;
use accredit_wire::time::Time;
use accredit_wire::tlog::Hash;
use accredit_wire::token::LINEAGE_MAX;
use accredit_wire::x509::certificate::{Certificate, Life, Named, SERIAL_BYTES, Unsigned};
use accredit_wire::x509::dns_name::DnsName;
use accredit_wire::x509::request::{SubjectKey, parse};
use accredit_wire::x509::spiffe::SpiffeId;
use serde::Serialize;

use super::admission::AgentFacts;
use super::authenticate::AuthenticatedClient;
use super::svid::{self, SvidFacts};
use super::{Outcome, Stopped, TOKEN_LIFETIME_MAX_SECONDS, decided, known, record, vouched};
use crate::audit::event::{Actor, Body, EventKind};
use crate::ca::issued::IssuedCertificate;
use crate::ca::{self, Intermediate};
use crate::context::Cx;
use crate::ports::{Audited, Issuance};
use crate::refusal::{Error, Fault, Refusal, Rule};
use crate::registry::born::PARENTS_MAX;
use crate::registry::dns_names;

/// The longest life of a certificate, and its life where neither agent nor request says, seconds. No
/// longer than that of a token: what ended it is remembered for so long.
pub const CERTIFICATE_LIFETIME_MAX_SECONDS: u32 = 3600;
/// Certificates of one instance that are not over, at most. One that renews halfway has three.
pub const CERTIFICATES_OF_INSTANCE_MAX: u64 = 64;

const _: () = assert!(CERTIFICATE_LIFETIME_MAX_SECONDS <= TOKEN_LIFETIME_MAX_SECONDS);
const _: () = assert!(
    ca::INTERMEDIATE_SIGNS.as_secs() + CERTIFICATE_LIFETIME_MAX_SECONDS as u64
        <= ca::INTERMEDIATE_LIFE.as_secs()
);
/// Its own ids with its task, its root and the platform that vouched for its instance; and of each that stands before its instance the agent, the
/// instance, the credential and the owner; and by whose word it, or the one that began, is who it is.
const _: () = assert!(10 + 4 * PARENTS_MAX + vouched::IDS_MAX <= LINEAGE_MAX);

/// As an event names the format.
const FORMAT: &str = "x509-svid";

/// A certificate on its way to its instance.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Svid {
    /// Its id, `tok_`, by which it is revoked.
    #[schema(value_type = String)]
    pub id: TokenId,
    /// Whom it names.
    pub spiffe_id: String,
    /// The hosts that it names.
    #[schema(value_type = Vec<String>)]
    pub dns_names: BTreeSet<DnsName>,
    /// The certificate and, behind it, the intermediate that signed it (RFC 7468).
    pub certificate: String,
    /// When it is over.
    #[schema(value_type = String)]
    pub expires_at: Time,
    /// Seconds until then.
    pub expires_in: u64,
    /// Whose it is.
    #[serde(skip)]
    pub client: AnyId,
}

/// What a certificate will say, and which key will say it.
struct Template {
    id: TokenId,
    serial: [u8; SERIAL_BYTES],
    agent: AgentId,
    instance: InstanceId,
    spiffe: SpiffeId,
    hosts: BTreeSet<DnsName>,
    key: SubjectKey,
    by: Arc<Intermediate>,
    until: Time,
    owner: PersonId,
    task: Option<TaskId>,
    /// What it hangs on besides what its event names.
    further: Vec<AnyId>,
}

/// Issues a certificate, or says why not.
pub async fn issue(
    cx: &Cx,
    auth: &ClientAuth,
    asked: &CertificateRequest,
) -> Result<Outcome<Svid>, Fault> {
    decided(cx, auth, Some(FORMAT), || attempt(cx, auth, asked)).await
}

async fn attempt(cx: &Cx, auth: &ClientAuth, asked: &CertificateRequest) -> Result<Svid, Stopped> {
    let client = known(cx, auth).await?;
    // Nobody renews what they have without an end.
    if let Err(refusal) = svid::not_by_own(&client) {
        return Err(Stopped::Refused(Box::new(client), refusal));
    }
    let template = match fill(cx, &client, asked).await {
        Ok(template) => template,
        Err(error) => return Err(Stopped::of(client, error)),
    };
    let certificate = mint(cx, &template).await?;
    let row = row(cx, &client, &template, &certificate);
    let event = cx.event(EventKind::CertificateIssued, described(&client, &template, &row));
    let svid = Svid {
        id: row.id,
        spiffe_id: row.spiffe_id.clone(),
        dns_names: row.dns_names.clone(),
        certificate: format!("{}{}", certificate.pem(), template.by.chain()),
        expires_at: row.expires_at,
        expires_in: row.expires_at.since(cx.now).as_secs(),
        client: client.id(),
    };
    let issuance = Issuance {
        org: cx.tenant.id,
        lineage: row.lineage.clone(),
        rev: row.rev,
        used_up: client.used_up.clone(),
        status: None,
        certificate: Some(Box::new(row)),
    };
    record(cx, auth, client, Audited::new(issuance, event)).await?;
    Ok(svid)
}

/// Decides what it says. It never outlives what it was got with, nor what signs it.
async fn fill(
    cx: &Cx,
    client: &AuthenticatedClient,
    asked: &CertificateRequest,
) -> Result<Template, Error> {
    let life = |agent: &AgentFacts| {
        let most = agent.certificate_lifetime.min(CERTIFICATE_LIFETIME_MAX_SECONDS);
        Duration::from_secs(u64::from(asked.expires_in.unwrap_or(most).min(most)))
    };
    let SvidFacts { agent, owner, instance, spiffe, task, mut further, until } =
        svid::named(cx, client, life, asked.task).await?;
    let domain = ca::trust_domain(cx.tenant.id, &cx.tenant.issuer)?;
    dns_names::granted(&agent, &domain, &asked.dns_names)?;
    let signs = |ca: &Arc<Intermediate>| ca.certified.certificate.until() > cx.now;
    let by = cx.tenant.ca().filter(signs).ok_or_else(no_intermediate)?;
    let until = until.min(by.certified.certificate.until());
    further.push(by.certified.root.any());
    // Last: it is the most work.
    let key = parse(&asked.csr).map_err(|error| {
        Refusal::new(
            Rule::CertificateRequest,
            format!("`csr` {error}"),
            "make it with `openssl req -new`, P-256 and no password, and send it encoded as a form \
             is: `curl --data-urlencode csr@FILE`",
        )
    })?;
    let (millis, random) = cx.seed();
    Ok(Template {
        id: TokenId::new(millis, random),
        serial: serial(millis, cx.world.random()),
        agent: agent.id,
        instance,
        spiffe,
        hosts: asked.dns_names.clone(),
        key,
        by,
        until,
        owner,
        task,
        further,
    })
}

/// The time of its making, 48 bits, and 80 that are random: what is issued together is stored together, which at
/// random would be a page for each.
fn serial(millis: u64, random: [u8; 10]) -> [u8; SERIAL_BYTES] {
    let mut serial = [0; SERIAL_BYTES];
    serial[..8].copy_from_slice(&(millis << 16).to_be_bytes());
    serial[6..].copy_from_slice(&random);
    serial
}

/// In a store of an earlier version the job of rotation makes the first keys, within a minute.
fn no_intermediate() -> Refusal {
    let mut refusal = Refusal::new(
        Rule::CaNotReady,
        "the organization's certificate authority has no intermediate that signs now",
        "ask again in a minute",
    );
    refusal.retry_after = Some(60);
    refusal
}

/// The instance has as many as it may.
pub(super) fn no_room() -> Refusal {
    Refusal::new(
        Rule::QuotaReached,
        format!("the instance has {CERTIFICATES_OF_INSTANCE_MAX} certificates that are not over"),
        "use one until half of its life is over before asking for the next, or ask for a shorter life",
    )
}

/// Signs it.
async fn mint(cx: &Cx, template: &Template) -> Result<Certificate, Fault> {
    let by = &template.by.sealed;
    let called = ca::name(by.id);
    let issuer = Named::new(&called, &by.public);
    let issuer = (issuer, &ca::pointers(&cx.tenant.issuer, by.id));
    let life = Life { from: cx.now, until: template.until };
    let name = template.instance.to_string();
    let subject = (name.as_str(), &template.key);
    let named = (&template.spiffe, &template.hosts);
    let unsigned = Unsigned::instance(named, issuer, subject, &template.serial, life);
    ca::certificate(&cx.world, by, unsigned).await
}

/// The row by which it is found until it is over.
fn row(
    cx: &Cx,
    client: &AuthenticatedClient,
    template: &Template,
    certificate: &Certificate,
) -> IssuedCertificate {
    let key = template.by.sealed.id;
    let mut lineage = vec![
        cx.tenant.id.any(),
        key.any(),
        template.agent.any(),
        template.instance.any(),
        client.credential.id.any(),
        template.owner.any(),
        template.id.any(),
    ];
    for id in template.task.map(AnyId::from).iter().chain(&template.further) {
        if !lineage.contains(id) {
            lineage.push(*id);
        }
    }
    IssuedCertificate {
        id: template.id,
        agent: template.agent,
        instance: template.instance,
        key,
        spiffe_id: template.spiffe.as_str().to_owned(),
        dns_names: template.hosts.clone(),
        serial: template.serial,
        digest: certificate.digest(),
        rev: client.rev,
        lineage,
        created_at: cx.now,
        expires_at: certificate.until(),
    }
}

/// What its event says.
fn described(client: &AuthenticatedClient, template: &Template, row: &IssuedCertificate) -> Body {
    let further: Vec<String> = template.further.iter().map(ToString::to_string).collect();
    Body {
        actor: Some(Actor { id: Some(row.agent.any()), kind: "agent" }),
        certificate: Some(Hash::new(row.digest).to_string()),
        credential: Some(client.credential.id),
        decision: Some("allow"),
        dns_names: (!row.dns_names.is_empty()).then(|| DnsName::join(&row.dns_names)),
        expires_at: Some(row.expires_at.micros()),
        federation: client.attested.as_ref().map(|attested| attested.federation.any()),
        format: Some(FORMAT),
        instance: Some(row.instance),
        key: Some(row.key),
        lineage: Some(further.join(" ")),
        method: Some(client.method),
        owner: Some(template.owner.any()),
        rev: Some(row.rev),
        subject: Some(row.spiffe_id.clone()),
        task: template.task,
        token: Some(row.id),
        ..Body::default()
    }
}
