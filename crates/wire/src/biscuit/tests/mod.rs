use proptest::prelude::*;

use super::*;
use crate::authority::{ArgumentName, Constraint, Limits, Permission, Value};
use crate::binding::Confirmation;
use crate::crypto::{Algorithm, PrivateKey, PublicKey};
use crate::ids::{
    AgentId, AnyId, BlockId, CredentialId, InstanceId, KeyId, OrganizationId, PersonId, ResourceId,
    TaskId, TokenId,
};
use crate::oauth::authorization_details::AuthorizationDetails;
use crate::token::{AccessToken, Actor, SubjectKind};

#[cfg(feature = "biscuit")]
mod independent;
mod narrowing;
mod reading;

pub(super) const START: i64 = 1_763_717_400;

/// An issuer's key.
pub(super) struct Root {
    private: PrivateKey,
    pub(super) public: PublicKey,
    pub(super) id: KeyId,
}

impl Root {
    pub(super) fn new(number: u8) -> Self {
        let private = PrivateKey::ed25519_from_seed(&[number; 32]).expect("a key");
        let public = private.public().expect("its half");
        Self { private, public, id: KeyId::new(1, [number; 10]) }
    }

    pub(super) fn mint(&self, token: &AccessToken) -> String {
        let unsigned = Unsigned::new(token, &[99; 32]).expect("a token of ours");
        let signature = self.private.sign(unsigned.signing_input()).expect("a signature");
        unsigned.finish(&signature).expect("a token").text
    }

    pub(super) fn verify(&self, text: &str) -> Result<Attenuable, BiscuitError> {
        verify(text, [(self.id, &self.public)].into_iter())
    }

    /// A token with an authority block that says anything, signed as it is.
    fn sign(&self, content: &datalog::Content<'_>) -> String {
        let block = content.to_block(&mut symbols::Adding::default());
        let message = envelope::authority_message(&block, &[99; 32]).expect("a message");
        let signature = self.private.sign(&message).expect("a signature");
        let id = root_key_id(self.id);
        let token = envelope::minted(id, (&block, &signature), &[99; 32]).expect("a token");
        crate::jose::b64url_encode(&token)
    }
}

pub(super) fn claims(key: KeyId) -> AccessToken {
    let agent = AgentId::new(5, [5; 10]);
    AccessToken {
        issuer: "https://id.example/o/dev".to_owned(),
        subject: agent.any(),
        kind: SubjectKind::Agent,
        client_id: agent,
        audience: "https://crm.example/".to_owned(),
        issued_at: START,
        not_before: None,
        expires_at: START + 300,
        id: TokenId::new(7, [7; 10]),
        scope: "crm:read crm:write".parse().expect("a scope"),
        details: AuthorizationDetails::of(&authority(&["crm:update(/eu/*; amount<=100)"])),
        key,
        instance: Some(InstanceId::new(6, [6; 10])),
        organization: OrganizationId::new(1, [1; 10]),
        credential: CredentialId::new(2, [2; 10]),
        owner: PersonId::new(3, [3; 10]),
        resource: ResourceId::new(4, [4; 10]),
        further: vec![TaskId::new(8, [8; 10]).any()],
        rev: 17,
        delegable: authority(&["crm:read", "mail:send(to starts \"a@\")"]),
        chain: Vec::new(),
        impersonated: false,
        cnf: None,
        status: None,
    }
}

pub(super) fn authority(texts: &[&str]) -> Authority {
    let permissions = texts.iter().map(|text| text.parse::<Permission>().expect("a permission"));
    Authority::new(permissions).expect("an authority")
}

/// A holder's key, and what it signs.
pub(super) struct Key(PrivateKey, PublicKey);

impl Key {
    pub(super) fn new(algorithm: Algorithm) -> Self {
        let (private, _) = PrivateKey::generate(algorithm).expect("a key");
        let public = private.public().expect("its half");
        Self(private, public)
    }

    pub(super) fn thumbprint(&self) -> Thumbprint {
        Thumbprint::of(&self.1)
    }

    /// Narrows by this key.
    pub(super) fn narrow(&self, text: &str, narrowing: &Narrowing) -> Result<String, NarrowError> {
        let sign = |message: &[u8]| self.0.sign(message);
        let key = HolderKey { public: &self.1, sign: &sign };
        Held::read(text)?.narrow(narrowing, &fresh(), Some(key))
    }
}

pub(super) fn narrow(text: &str, narrowing: &Narrowing) -> Result<String, NarrowError> {
    Held::read(text)?.narrow(narrowing, &fresh(), None)
}

/// A seed that was not used yet.
pub(super) fn fresh() -> [u8; 32] {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    crate::crypto::sha256(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes())
}

pub(super) fn value() -> impl Strategy<Value = Value> {
    let words = ["EUR", "USD", "read", "operation", "a \"quoted\" word", "ünï", ""];
    let text = prop::sample::select(words.to_vec()).prop_map(Value::from);
    prop_oneof![
        (-5i64..9).prop_map(Value::from),
        text,
        "[a-z ]{0,9}".prop_map(|t| Value::from(&*t))
    ]
}

fn constraint() -> impl Strategy<Value = Constraint> {
    let end = || prop::option::of(-9i64..=9);
    let range =
        (end(), end()).prop_filter_map("a range", |(min, max)| Constraint::range(min, max).ok());
    prop_oneof![
        prop::collection::vec(value(), 1..4).prop_map(|v| Constraint::one_of(v).expect("values")),
        "[a-z]{0,3}".prop_map(|text| Constraint::prefix(&text).expect("a prefix")),
        range,
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    let patterns = vec!["/*", "/a", "/a/*", "/a/b", "/read/*", "/operation"];
    let object = prop::option::of(prop::sample::select(patterns));
    let names = prop::sample::select(vec!["x", "amount", "read", "a-b"]);
    let constraints = prop::collection::btree_map(names, constraint(), 0..3);
    let end = || prop::option::of(START - 9..START + 9);
    (object, constraints, end(), end()).prop_filter_map("a window", |(object, by, from, to)| {
        let named = |(name, one)| (ArgumentName::new(name).expect("a name"), one);
        let by = by.into_iter().map(named).collect();
        Limits::new(object.map(|text| text.parse().expect("a pattern")), by, (from, to)).ok()
    })
}

/// What may be done at some resources.
pub(super) fn authorities(resources: &'static [&'static str]) -> impl Strategy<Value = Authority> {
    let names = prop::sample::select(vec!["read", "write", "resource", "a.b", "Get"]);
    let resource = prop::sample::select(resources);
    let limits = prop_oneof![Just(Limits::default()), limits()];
    let one = (resource, prop::collection::btree_set(names, 1..3), limits);
    prop::collection::vec(one, 0..6).prop_filter_map("within the bounds", |all| {
        Authority::new(all.into_iter().map(|(resource, actions, limits)| {
            let actions = actions.into_iter().map(|name| name.parse().expect("a name")).collect();
            Permission::limited(resource.parse().expect("a name"), actions, limits)
        }))
        .ok()
    })
}

/// Tokens of every shape.
pub(super) fn tokens(key: KeyId) -> impl Strategy<Value = AccessToken> {
    let actor =
        (any::<[u8; 10]>(), any::<Option<[u8; 10]>>()).prop_map(|(agent, instance)| Actor {
            agent: AgentId::new(1, agent),
            instance: instance.map(|random| InstanceId::new(2, random)),
        });
    let further = any::<[u8; 10]>().prop_map(|random| TaskId::new(3, random).any());
    (
        (authorities(&["crm"]), authorities(&["crm", "mail", "resource"])),
        (prop::collection::vec(actor, 0..4), prop::collection::vec(further, 0..4)),
        (0i64..1 << 32, 1i64..3600, prop::option::of(0i64..1 << 32), 0u64..1 << 53),
        (any::<bool>(), any::<Option<[u8; 10]>>(), "[a-z/:\"]{1,30}"),
    )
        .prop_map(
            move |((held, delegable), (chain, further), times, (bound, instance, text))| {
                let mut token = claims(key);
                (token.issued_at, token.expires_at) = (times.0, times.0 + times.1);
                (token.not_before, token.rev) = (times.2, times.3);
                (token.chain, token.further, token.delegable) = (chain, further, delegable);
                token.instance = instance.map(|random| InstanceId::new(2, random));
                (token.issuer, token.audience) = (text.clone(), format!("{text}/a"));
                if let Some(actor) = token.chain.first() {
                    token.client_id = actor.agent;
                    token.subject = PersonId::new(9, [9; 10]).any();
                    token.kind = SubjectKind::User;
                }
                token.cnf =
                    bound.then(|| Confirmation::Key(Key::new(Algorithm::EdDsa).thumbprint()));
                claims::hold(&mut token, &held);
                token
            },
        )
}
