//! RFC 8785: audit events as canonical JSON, the payload of a leaf.
//!
//! One fixed vocabulary (`docs/formats.md`), versioned, without secrets. The members of [`Body`]
//! are declared in the order of their names and hold only integers, strings and `true`, so that plain
//! serialization *is* the canonical form; a test holds this to an independent sort.

use std::net::IpAddr;

use accredit_wire::binding::Thumbprint;
use accredit_wire::crypto::sha256_of;
use accredit_wire::ids::{
    AgentId, AnyId, BlockId, CredentialId, InstanceId, KeyId, RequestId, TaskId, TokenId,
};
use accredit_wire::time::Time;
use accredit_wire::trace::TraceId;
use serde::Serialize;

use super::changes::Changes;

macro_rules! kinds {
    ($($name:ident $text:literal;)*) => {
        /// What happened. The text is part of the leaf and never changes meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum EventKind { $(#[doc = $text] $name,)* }

        impl EventKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The text in the leaf.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

kinds! {
    OrganizationCreated "organization.created";
    OrganizationUpdated "organization.updated";
    OrganizationSuspended "organization.suspended";
    OrganizationActivated "organization.activated";
    PersonCreated "person.created";
    PersonUpdated "person.updated";
    PersonSuspended "person.suspended";
    PersonActivated "person.activated";
    PersonGranted "person.granted";
    PersonUngranted "person.ungranted";
    PersonLinked "person.linked";
    PersonUnlinked "person.unlinked";
    FederationCreated "federation.created";
    FederationUpdated "federation.updated";
    FederationSuspended "federation.suspended";
    FederationActivated "federation.activated";
    FederationKeysChanged "federation.keys_changed";
    FederationKeysFailing "federation.keys_failing";
    TrustDomainAdded "trust_domain.added";
    TrustDomainRemoved "trust_domain.removed";
    TrustDomainBundleChanged "trust_domain.bundle_changed";
    TrustDomainBundleFailing "trust_domain.bundle_failing";
    ResourceCreated "resource.created";
    ResourceUpdated "resource.updated";
    ResourceSuspended "resource.suspended";
    ResourceActivated "resource.activated";
    AgentCreated "agent.created";
    AgentUpdated "agent.updated";
    AgentActivated "agent.activated";
    AgentSuspended "agent.suspended";
    AgentStripped "agent.stripped";
    AgentDecommissioned "agent.decommissioned";
    AgentImpersonationAllowed "agent.impersonation_allowed";
    AgentImpersonationEnded "agent.impersonation_ended";
    AgentJwksFollowed "agent.jwks_followed";
    AgentJwksFailing "agent.jwks_failing";
    PermissionSet "permission.set";
    PermissionDeleted "permission.deleted";
    InstanceCreated "instance.created";
    InstanceRevoked "instance.revoked";
    CredentialCreated "credential.created";
    CredentialRevoked "credential.revoked";
    CredentialRotated "credential.rotated";
    CredentialRotationDue "credential.rotation_due";
    CredentialIdentified "credential.identified";
    KeyCreated "key.created";
    KeyRotated "key.rotated";
    KeyRetired "key.retired";
    KeyCertified "key.certified";
    KeyRevoked "key.revoked";
    RootKeyRotated "root_key.rotated";
    TaskCreated "task.created";
    TaskEnded "task.ended";
    CertificateIssued "certificate.issued";
    TokenIssued "token.issued";
    TokenRevoked "token.revoked";
    TokenRefused "token.refused";
    AccessRefused "access.refused";
    AuthenticationFailed "authentication.failed";
    LogCheckpointed "log.checkpointed";
    LogExported "log.exported";
    LogGenerationStarted "log.generation_started";
    LogPruned "log.pruned";
    LogRead "log.read";
    DrillFinished "drill.finished";
    RestoreReconciled "restore.reconciled";
    RestoreWaived "restore.waived";
}

/// Who did it.
#[derive(Clone, Debug, Serialize)]
pub struct Actor {
    /// The credential of an administrator, the agent, the resource; absent for the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<AnyId>,
    /// `admin`, `agent`, `resource`, `operator` or `system`.
    pub kind: &'static str,
}

/// Where the request came from. Personal data in some places, therefore erasable.
#[derive(Clone, Debug, Serialize)]
pub struct Source {
    /// The address of the peer.
    pub ip: IpAddr,
}

/// What is said about an event. Members in the order of their names; see the module.
#[derive(Clone, Debug, Default, Serialize)]
#[expect(missing_docs, reason = "each member is described in docs/formats.md, in one table")]
pub struct Body {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<Actor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<BlockId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound_to: Option<Thumbprint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound_to_certificate: Option<Thumbprint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain: Option<String>,
    #[serde(skip_serializing_if = "Changes::is_empty")]
    pub changes: Changes,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_names: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub federation: Option<AnyId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub impersonation: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lineage: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<AnyId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<TokenId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<AnyId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rev: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<AnyId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<AnyId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceId>,
    /// The version of this vocabulary.
    pub v: u8,
}

/// An event on its way into the log. Its sequence number is given when it is written, and its
/// `rev` too where the change it records makes one.
#[derive(Clone, Debug)]
pub struct Event {
    kind: EventKind,
    at: Time,
    salt: [u8; 16],
    body: Body,
}

/// An event as written: canonical JSON and the digest that the leaf holds.
#[derive(Clone, Debug)]
pub struct SealedEvent {
    /// What happened.
    pub kind: EventKind,
    /// When it was decided.
    pub at: Time,
    /// 16 random bytes that keep a pruned payload from being guessed.
    pub salt: [u8; 16],
    /// Canonical JSON.
    pub payload: String,
    /// SHA-256(salt ‖ payload).
    pub digest: [u8; 32],
}

impl Event {
    /// An event that happened at `at`; `salt` is random.
    pub fn new(kind: EventKind, at: Time, salt: [u8; 16], mut body: Body) -> Self {
        body.v = 1;
        Self { kind, at, salt, body }
    }

    /// Seals the event: `rev` is set where the change that carries it made a new one.
    pub fn seal(mut self, rev: Option<u64>) -> Result<SealedEvent, serde_json::Error> {
        if rev.is_some() {
            self.body.rev = rev;
        }
        let payload = serde_json::to_string(&self.body)?;
        let digest = sha256_of(&[&self.salt, payload.as_bytes()]);
        Ok(SealedEvent { kind: self.kind, at: self.at, salt: self.salt, payload, digest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serialization_is_canonical() {
        let body = Body {
            actor: Some(Actor { id: Some(AgentId::new(1, [1; 10]).any()), kind: "agent" }),
            agent: Some(AgentId::new(1, [1; 10])),
            audience: Some("https://crm.example/\u{e9}".into()),
            block: Some(BlockId::of_signature(&[1; 64])),
            bound_to: "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I".parse().ok(),
            bound_to_certificate: "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0".parse().ok(),
            certificate: Some("00ff".into()),
            chain: Some("agt_a/ins_b agt_c".into()),
            changes: Changes::from([
                ("purpose".into(), "a \"b\"".into()),
                ("name".into(), "x".into()),
            ]),
            client: Some("c".into()),
            count: Some(3),
            credential: Some(CredentialId::new(1, [2; 10])),
            decision: Some("deny"),
            dns_names: Some("a.acme.test b.acme.test".into()),
            error: Some("invalid_scope"),
            expires_at: Some(1),
            federation: Some(AgentId::new(1, [7; 10]).any()),
            format: Some("biscuit"),
            impersonation: Some(true),
            instance: Some(InstanceId::new(1, [3; 10])),
            issuer: Some("https://idp.example".into()),
            key: Some(KeyId::new(1, [4; 10])),
            lineage: Some("crd_a key_b".into()),
            method: Some("client_secret_basic"),
            name: Some("n".into()),
            owner: None,
            parent: Some(TokenId::new(1, [7; 10])),
            permissions: Some(vec!["crm:update(note=\"a b\")".into()]),
            reason: Some("line\nbreak".into()),
            request: Some(RequestId::new(1, [5; 10])),
            resource: None,
            rev: None,
            root: Some(AgentId::new(1, [8; 10]).any()),
            rule: Some("scope-not-held"),
            scope: Some("crm:read".into()),
            source: Some(Source { ip: IpAddr::from([127, 0, 0, 1]) }),
            subject: Some("248289761001".into()),
            target: None,
            task: Some(TaskId::new(1, [9; 10])),
            token: Some(TokenId::new(1, [6; 10])),
            trace: TraceId::from_traceparent(
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            ),
            v: 0,
        };
        let event = Event::new(EventKind::TokenRefused, Time::from_seconds(1), [0; 16], body);
        let sealed = event.seal(Some(7)).expect("plain data");
        // serde_json's map is sorted by key: what it writes is RFC 8785 for strings and integers.
        let sorted: serde_json::Value = serde_json::from_str(&sealed.payload).expect("JSON");
        assert_eq!(serde_json::to_string(&sorted).expect("JSON"), sealed.payload);
        assert!(sealed.payload.contains("\"rev\":7"));
        assert_eq!(sealed.digest, sha256_of(&[&[0; 16], sealed.payload.as_bytes()]));
    }
}
