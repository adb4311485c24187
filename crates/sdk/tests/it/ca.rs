//! The certificate authority of the issuer under test: real certificates and lists, and whatever is
//! wrong with them when it is told so.

use std::collections::BTreeSet;
use std::time::Duration;

use accredit_wire::crypto::{Algorithm, PrivateKey, PublicKey};
use accredit_wire::ids::InstanceId;
use accredit_wire::x509::certificate::{Certificate, Life, Named, Pointers, Unsigned};
use accredit_wire::x509::crl::{self, Reason, Revoked, UnsignedList};
use accredit_wire::x509::request::{self, SubjectKey};
use accredit_wire::x509::spiffe::{SpiffeId, TrustDomain};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::issuer::{Issuer, now};

/// A key with its public half, as PKCS #8 and as itself.
pub(crate) struct Key {
    pub(crate) private: PrivateKey,
    pub(crate) public: PublicKey,
    pub(crate) der: Vec<u8>,
}

impl Key {
    pub(crate) fn new() -> Self {
        let (private, der) = PrivateKey::generate(Algorithm::Es256).expect("a key");
        let public = private.public().expect("its public half");
        Self { private, public, der: der.to_vec() }
    }

    pub(crate) fn subject(&self) -> SubjectKey {
        request::parse(&request::write(&self.private).expect("a request")).expect("a key")
    }

    /// As rcgen signs with it.
    pub(crate) fn pair(&self) -> rcgen::KeyPair {
        rcgen::KeyPair::try_from(self.der.as_slice()).expect("a key")
    }
}

/// A certificate chain, its own first, and the key of that.
#[derive(Clone)]
pub(crate) struct Shown {
    pub(crate) chain: Vec<Vec<u8>>,
    pub(crate) key: Vec<u8>,
}

/// An authority: a root and the intermediate that signs.
pub(crate) struct Ca {
    pub(crate) domain: TrustDomain,
    root_key: Key,
    root: Certificate,
    key: Key,
    name: String,
    intermediate: Certificate,
    serial: u8,
    /// The root's certificate as somebody else's root signed it, and that one, where there is one.
    above: Option<[Vec<u8>; 2]>,
    /// Serial numbers on the intermediate's list.
    listed: Vec<[u8; 16]>,
    /// How long certificates hold.
    pub(crate) life: Duration,
    /// Whether its bundle names its root.
    pub(crate) is_believed: bool,
    /// Whether lists are served.
    pub(crate) are_lists_down: bool,
}

fn pointers() -> Pointers {
    let at = |what: &str| format!("https://id.example/o/dev/ca/{what}");
    Pointers { crl: at("crl"), ocsp: at("ocsp"), issuer: at("certificate") }
}

fn lasting(life: Duration) -> Life {
    Life { from: now(), until: now().plus(life) }
}

fn signed(by: &Key, unsigned: Unsigned) -> Certificate {
    let signature = by.private.sign(unsigned.signing_input()).expect("a signature");
    unsigned.finish(&signature).expect("a certificate")
}

/// 16 bytes that begin with two numbers.
fn numbered(kind: u8, number: u8) -> [u8; 16] {
    let mut serial = [7; 16];
    (serial[0], serial[1]) = (kind, number);
    serial
}

impl Ca {
    pub(crate) fn new(domain: &str) -> Self {
        let domain = TrustDomain::parse(domain).expect("a domain");
        let (root_key, key) = (Key::new(), Key::new());
        let root = Named::new("root", &root_key.public);
        let life = lasting(Duration::from_hours(1000));
        let unsigned = Unsigned::root(&domain, root, &numbered(1, 1), life).expect("a root");
        let root = signed(&root_key, unsigned);
        let mut ca = Self {
            intermediate: root.clone(),
            domain,
            root_key,
            root,
            key,
            name: String::new(),
            serial: 0,
            above: None,
            listed: Vec::new(),
            life: Duration::from_hours(1),
            is_believed: true,
            are_lists_down: false,
        };
        ca.rotate();
        ca
    }

    /// The root is below one that somebody else keeps, and that one is published in its place.
    pub(crate) fn go_below_another(&mut self) {
        let authority = |name: &str| {
            let mut params = rcgen::CertificateParams::default();
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            params.key_usages =
                vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
            params
        };
        let key = Key::new();
        let outside = authority("outside").self_signed(&key.pair()).expect("a root");
        let issuer = rcgen::Issuer::new(authority("outside"), key.pair());
        let below = authority("root").signed_by(&self.root_key.pair(), &issuer);
        let below = below.expect("a certificate").der().to_vec();
        self.above = Some([below, outside.der().to_vec()]);
    }

    /// Another intermediate signs from here on.
    pub(crate) fn rotate(&mut self) {
        self.serial += 1;
        self.key = Key::new();
        self.name = format!("intermediate {}", self.serial);
        let root = Named::new("root", &self.root_key.public);
        let names = (root, Named::new(&self.name, &self.key.public));
        let (serial, life) = (numbered(2, self.serial), lasting(Duration::from_hours(100)));
        let unsigned = Unsigned::intermediate(&self.domain, names, &pointers(), &serial, life);
        self.intermediate = signed(&self.root_key, unsigned.expect("an intermediate"));
    }

    pub(crate) fn id(&self, agent: &str, instance: InstanceId) -> SpiffeId {
        self.domain.instance(agent, instance).expect("an id")
    }

    /// A certificate for an id and a key, for so long from `from` on; its serial number.
    pub(crate) fn leaf(&mut self, id: &SpiffeId, key: &SubjectKey, life: Life) -> Certificate {
        self.serial += 1;
        let issuer = Named::new(&self.name, &self.key.public);
        let unsigned = Unsigned::instance(
            (id, &BTreeSet::new()),
            (issuer, &pointers()),
            ("ins", key),
            &numbered(3, self.serial),
            life,
        );
        signed(&self.key, unsigned.expect("a leaf"))
    }

    /// What an instance shows.
    pub(crate) fn shown(&mut self, agent: &str, instance: InstanceId) -> Shown {
        let id = self.id(agent, instance);
        self.shown_as(&id, lasting(self.life))
    }

    /// What whoever is called `id` shows.
    pub(crate) fn shown_as(&mut self, id: &SpiffeId, life: Life) -> Shown {
        let key = Key::new();
        let leaf = self.leaf(id, &key.subject(), life);
        Shown { chain: self.chain(leaf.der()), key: key.der }
    }

    /// What was over an hour ago.
    pub(crate) fn shown_over(&mut self, agent: &str, instance: InstanceId) -> Shown {
        let (id, hour) = (self.id(agent, instance), Duration::from_hours(1));
        let life = Life { from: now().minus(hour * 2), until: now().minus(hour) };
        self.shown_as(&id, life)
    }

    /// What somebody else wrote and this intermediate signed.
    pub(crate) fn signed(&self, params: &rcgen::CertificateParams) -> Shown {
        let mut own = rcgen::CertificateParams::default();
        own.distinguished_name = rcgen::DistinguishedName::new();
        own.distinguished_name.push(rcgen::DnType::CommonName, self.name.clone());
        own.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
        let issuer = rcgen::Issuer::new(own, self.key.pair());
        let key = Key::new();
        let leaf = params.signed_by(&key.pair(), &issuer).expect("a certificate");
        Shown { chain: self.chain(leaf.der()), key: key.der }
    }

    /// What the intermediate itself would show.
    pub(crate) fn itself(&self) -> Shown {
        Shown { chain: vec![self.intermediate.der().to_vec()], key: self.key.der.clone() }
    }

    fn chain(&self, leaf: &[u8]) -> Vec<Vec<u8>> {
        let above = self.above.iter().map(|[below, _]| below.clone());
        [leaf.to_vec(), self.intermediate.der().to_vec()].into_iter().chain(above).collect()
    }

    /// Puts a certificate on the list.
    pub(crate) fn list(&mut self, shown: &Shown) {
        let leaf = Certificate::parse(&shown.chain[0]).expect("one of ours");
        self.listed.push(*leaf.serial());
        self.listed.sort_unstable();
    }

    fn bundle(&self) -> String {
        let root = format!(
            r#"{{"kty":"EC","use":"x509-svid","x5c":["{}"]}}"#,
            accredit_wire::x509::base64(
                self.above.as_ref().map_or(self.root.der(), |above| &above[1])
            )
        );
        let keys = if self.is_believed { root } else { String::new() };
        format!(r#"{{"spiffe_sequence":1,"spiffe_refresh_hint":5,"keys":[{keys}]}}"#)
    }

    /// The lists of the root and of the intermediate that signs.
    fn lists(&self, rev: u64) -> String {
        let number = crl::number(rev, now());
        let life = lasting(Duration::from_mins(5));
        let said = Revoked { at: now(), reason: Some(Reason::PrivilegeWithdrawn) };
        let listed: Vec<_> = self.listed.iter().map(|serial| (*serial, said)).collect();
        let list = |name: &str, key: &Key, entries: &[([u8; 16], Revoked)]| {
            let named = Named::new(name, &key.public);
            let unsigned = UnsignedList::new(named, number, life, entries).expect("a list");
            let signature = key.private.sign(unsigned.signing_input()).expect("a signature");
            crl::text(&unsigned.finish(&signature).expect("a list"))
        };
        [list("root", &self.root_key, &[]), list(&self.name, &self.key, &listed)].concat()
    }
}

pub(crate) fn routes() -> Router<Issuer> {
    Router::new()
        .route("/o/dev/spiffe/bundle", get(bundle))
        .route("/o/dev/ca/crls", get(lists))
        .route("/o/dev/oauth/certificates", post(certificate))
}

async fn bundle(State(issuer): State<Issuer>) -> String {
    issuer.ca().bundle()
}

async fn lists(State(issuer): State<Issuer>) -> Result<String, StatusCode> {
    let rev = issuer.rev();
    let ca = issuer.ca();
    if ca.are_lists_down { Err(StatusCode::SERVICE_UNAVAILABLE) } else { Ok(ca.lists(rev)) }
}

/// To a client `worker.7`: a certificate of the instance number 7 of the agent `worker`.
async fn certificate(
    State(issuer): State<Issuer>,
    headers: HeaderMap,
    body: String,
) -> Result<String, StatusCode> {
    let basic = headers[header::AUTHORIZATION].to_str().expect("text").strip_prefix("Basic ");
    let pair = STANDARD.decode(basic.expect("Basic")).expect("base64");
    let pair = String::from_utf8(pair).expect("text");
    let (client, _) = pair.split_once(':').expect("two parts");
    let (agent, number) = client.split_once('.').expect("agent.number");
    let instance = crate::issuer::numbered(number.parse().expect("a number"));
    let csr = form_urlencoded::parse(body.as_bytes()).find(|(name, _)| name == "csr");
    let key = request::parse(&csr.expect("a request").1).expect("a request");
    let mut ca = issuer.ca();
    let (id, life) = (ca.id(agent, instance), lasting(ca.life));
    let leaf = ca.leaf(&id, &key, life);
    let chain: String = ca
        .chain(leaf.der())
        .iter()
        .map(|der| accredit_wire::x509::pem("CERTIFICATE", der))
        .collect();
    let chain = chain.replace('\n', "\\n");
    Ok(format!(
        r#"{{"id":"tok_x","spiffe_id":"{id}","certificate":"{chain}","expires_in":{}}}"#,
        ca.life.as_secs()
    ))
}
