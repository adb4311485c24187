//! SPIFFE Workload API over gRPC: what a client is told, again and again, and with which code it is refused.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use accredit_edge::{Denied, Door, FILE_NAME, Identity, Peer, Socket, Tree};
use accredit_wire::crypto::{Algorithm, PrivateKey};
use accredit_wire::jose::b64url_encode;
use accredit_wire::jose::jws::{ProtectedHeader, SigningInput};
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, PublicKeyData as _, SanType};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::issuer::{BROKEN, GOOD, ID, Issuer, REFUSES, SUSPENDED};

/// How long something may take on a loaded machine.
const SOON: Duration = Duration::from_secs(30);

#[derive(Clone, PartialEq, prost::Message)]
struct Nothing {}

#[derive(Clone, PartialEq, prost::Message)]
struct Svid {
    #[prost(string, tag = "1")]
    spiffe_id: String,
    #[prost(bytes = "vec", tag = "2")]
    chain: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    bundle: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Svids {
    #[prost(message, repeated, tag = "1")]
    svids: Vec<Svid>,
    #[prost(map = "string, bytes", tag = "3")]
    federated: HashMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Bundles {
    #[prost(map = "string, bytes", tag = "2")]
    bundles: HashMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct JwtQuestion {
    #[prost(string, repeated, tag = "1")]
    audience: Vec<String>,
    #[prost(string, tag = "2")]
    spiffe_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct JwtSvid {
    #[prost(string, tag = "1")]
    spiffe_id: String,
    #[prost(string, tag = "2")]
    svid: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct JwtSvids {
    #[prost(message, repeated, tag = "1")]
    svids: Vec<JwtSvid>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct JwtBundles {
    #[prost(map = "string, bytes", tag = "1")]
    bundles: HashMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Validation {
    #[prost(string, tag = "1")]
    audience: String,
    #[prost(string, tag = "2")]
    svid: String,
}

/// Of the answer the name: how claims are written is tried beside the code, and by other libraries.
#[derive(Clone, PartialEq, prost::Message)]
struct Validated {
    #[prost(string, tag = "1")]
    spiffe_id: String,
}

/// A socket with a door, and its folder.
struct Local {
    folder: tempfile::TempDir,
    serving: tokio::task::JoinHandle<()>,
}

impl Local {
    fn new(door: impl Door) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = Socket::bind(&folder.path().join(FILE_NAME)).expect("a socket");
        let door: Arc<dyn Door> = Arc::new(door);
        let serving = tokio::spawn(async move { socket.serve(door).await });
        Self { folder, serving }
    }

    /// For this process and its children.
    fn of(identity: &Arc<Identity>) -> Self {
        let own = i32::try_from(std::process::id()).expect("a pid");
        Self::new(Tree::new(Arc::clone(identity), own, user()))
    }

    async fn channel(&self) -> Channel {
        let path = self.folder.path().join(FILE_NAME);
        let connect = tower::service_fn(move |_| {
            let path = path.clone();
            async move { tokio::net::UnixStream::connect(path).await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://localhost");
        endpoint.connect_with_connector(connect).await.expect("a connection")
    }

    /// A stream, with the header or what stands for it.
    async fn stream<T: prost::Message + Default + 'static>(
        &self,
        method: &str,
        header: Option<&'static str>,
    ) -> Result<Streaming<T>, Status> {
        let mut grpc = tonic::client::Grpc::new(self.channel().await);
        grpc.ready().await.expect("ready");
        let mut request = Request::new(Nothing {});
        if let Some(value) = header {
            request.metadata_mut().insert("workload.spiffe.io", value.parse().expect("a value"));
        }
        let path: PathAndQuery = format!("/SpiffeWorkloadAPI/{method}").parse().expect("a path");
        let codec = ProstCodec::<Nothing, T>::default();
        Ok(grpc.server_streaming(request, path, codec).await?.into_inner())
    }

    /// One answer to one question.
    async fn once<Q, T>(&self, method: &str, question: Q) -> Result<T, Status>
    where
        Q: prost::Message + 'static,
        T: prost::Message + Default + 'static,
    {
        let mut grpc = tonic::client::Grpc::new(self.channel().await);
        grpc.ready().await.expect("ready");
        let mut request = Request::new(question);
        request.metadata_mut().insert("workload.spiffe.io", "true".parse().expect("a value"));
        let path: PathAndQuery = format!("/SpiffeWorkloadAPI/{method}").parse().expect("a path");
        Ok(grpc.unary(request, path, ProstCodec::<Q, T>::default()).await?.into_inner())
    }

    /// A JWT-SVID for these audiences.
    async fn jwt(&self, audience: &[&str], spiffe_id: &str) -> Result<JwtSvid, Status> {
        let audience = audience.iter().map(|it| (*it).to_owned()).collect();
        let asked = JwtQuestion { audience, spiffe_id: spiffe_id.to_owned() };
        let mut told: JwtSvids = self.once("FetchJWTSVID", asked).await?;
        Ok(told.svids.remove(0))
    }

    async fn validated(&self, audience: &str, svid: &str) -> Result<String, Code> {
        let asked = Validation { audience: audience.to_owned(), svid: svid.to_owned() };
        let told = self.once::<_, Validated>("ValidateJWTSVID", asked).await;
        told.map(|told| told.spiffe_id).map_err(|status| status.code())
    }

    async fn svids(&self) -> Streaming<Svids> {
        self.stream("FetchX509SVID", Some("true")).await.expect("a stream")
    }

    async fn code(&self, method: &str, header: Option<&'static str>) -> Code {
        match self.stream::<Svids>(method, header).await {
            Ok(mut stream) => stream.message().await.expect_err("refused").code(),
            Err(status) => status.code(),
        }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Answers nobody.
struct Gone;

impl Door for Gone {
    fn identity<'a>(
        &'a self,
        _: &'a Arc<Peer>,
    ) -> futures_util::future::BoxFuture<'a, Result<Arc<Identity>, Denied>> {
        Box::pin(std::future::ready(Err(Denied::Gone)))
    }
}

fn user() -> u32 {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").expect("this process").uid()
}

async fn next<T>(stream: &mut Streaming<T>) -> Result<T, Status> {
    let message = tokio::time::timeout(SOON, stream.message()).await.expect("in time");
    message.map(|message| message.expect("no end without a word"))
}

#[tokio::test]
async fn a_client_is_told_all_at_once_and_again_after_each_renewal() {
    let issuer = Issuer::start(Duration::from_secs(3)).await;
    let local = Local::of(&issuer.identity().await);
    let mut stream = local.svids().await;
    let first = next(&mut stream).await.expect("an SVID").svids.remove(0);
    assert_eq!((&*first.spiffe_id, &*first.chain), (ID, &b"leaf 0|intermediate"[..]));
    assert_eq!(first.bundle, b"root");
    issuer.life(Duration::from_hours(1));
    let second = next(&mut stream).await.expect("a renewed one").svids.remove(0);
    assert_eq!(second.chain, b"leaf 1|intermediate");
    assert!(!second.key.is_empty() && second.key != first.key, "each has a key of its own");
    // Who comes later is told the same, at once.
    let again = next(&mut local.svids().await).await.expect("an SVID").svids.remove(0);
    assert_eq!(again, second);
    let mut bundles =
        local.stream::<Bundles>("FetchX509Bundles", Some("true")).await.expect("them");
    let told = next(&mut bundles).await.expect("bundles").bundles;
    assert_eq!(told, HashMap::from([("spiffe://dev.id.example".into(), b"root".to_vec())]));
    // A renewal changes no bundle, and so nothing is said of it.
    let more = tokio::time::timeout(Duration::from_millis(300), bundles.message()).await;
    assert!(more.is_err());
}

#[tokio::test]
async fn who_does_not_mean_it_and_who_is_nobody_are_refused_by_their_codes() {
    let issuer = Issuer::start(Duration::from_hours(1)).await;
    let identity = issuer.identity().await;
    let local = Local::of(&identity);
    for method in [
        "FetchX509SVID",
        "FetchX509Bundles",
        "FetchJWTSVID",
        "FetchJWTBundles",
        "ValidateJWTSVID",
        "None",
    ] {
        for header in [None, Some("false"), Some("True"), Some("")] {
            assert_eq!(
                local.code(method, header).await,
                Code::InvalidArgument,
                "{method} {header:?}"
            );
        }
    }
    assert_eq!(local.code("FetchJWTSVID", Some("true")).await, Code::InvalidArgument);
    assert_eq!(local.code("ValidateJWTSVID", Some("true")).await, Code::InvalidArgument);
    assert_eq!(local.code("FetchWITSVID", Some("true")).await, Code::Unimplemented);

    // A process that is no descendant; one of another user; one that is over.
    let own = i32::try_from(std::process::id()).expect("a pid");
    let null = std::process::Stdio::null;
    let mut other = std::process::Command::new("sleep");
    let other = other.arg("600").stdout(null()).stderr(null());
    let mut other = other.spawn().expect("sleep runs");
    let child = i32::try_from(other.id()).expect("a pid");
    let strangers = Local::new(Tree::new(Arc::clone(&identity), child, user()));
    assert_eq!(strangers.code("FetchX509SVID", Some("true")).await, Code::PermissionDenied);
    let of_others = Local::new(Tree::new(Arc::clone(&identity), own, user() + 1));
    assert_eq!(of_others.code("FetchX509SVID", Some("true")).await, Code::PermissionDenied);
    assert_eq!(of_others.code("FetchX509SVID", None).await, Code::InvalidArgument);
    assert_eq!(strangers.code("None", Some("true")).await, Code::PermissionDenied);
    for method in ["FetchJWTSVID", "FetchJWTBundles", "ValidateJWTSVID"] {
        assert_eq!(strangers.code(method, Some("true")).await, Code::PermissionDenied, "{method}");
    }
    other.kill().expect("killed");
    other.wait().expect("over");

    let gone = Local::new(Gone);
    assert_eq!(gone.code("FetchX509Bundles", Some("true")).await, Code::PermissionDenied);
    // Nothing was lost by all of that.
    next(&mut local.svids().await).await.expect("an SVID");
}

#[tokio::test]
async fn what_the_server_refuses_is_taken_back_and_given_again_where_it_is_lifted() {
    for mood in [REFUSES, SUSPENDED] {
        let issuer = Issuer::start(Duration::from_secs(3)).await;
        let local = Local::of(&issuer.identity().await);
        let mut stream = local.svids().await;
        next(&mut stream).await.expect("an SVID");
        issuer.is(mood);
        let ended = next(&mut stream).await.expect_err("taken back");
        assert_eq!(ended.code(), Code::PermissionDenied);
        assert_eq!(local.code("FetchX509SVID", Some("true")).await, Code::PermissionDenied);
        issuer.life(Duration::from_hours(1));
        issuer.is(GOOD);
        let lifted = tokio::time::timeout(SOON, async {
            while local.svids().await.message().await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        lifted.await.expect("given again");
    }
}

#[tokio::test]
async fn an_outage_is_outlived_until_the_certificate_is_over() {
    let issuer = Issuer::start(Duration::from_secs(6)).await;
    let identity = issuer.identity().await;
    let local = Local::of(&identity);
    let mut stream = local.svids().await;
    next(&mut stream).await.expect("an SVID");
    issuer.is(BROKEN);
    let told = tokio::time::timeout(SOON, async {
        while identity.silent_for().is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    told.await.expect("it is known that the server does not answer");
    next(&mut local.svids().await).await.expect("what there was is given on");
    let over = next(&mut stream).await.expect_err("until it is over");
    assert_eq!(over.code(), Code::Unavailable);
    assert_eq!(local.code("FetchX509SVID", Some("true")).await, Code::Unavailable);
    assert_eq!(issuer.given.load(Ordering::SeqCst), 1);
    issuer.is(GOOD);
    let back = tokio::time::timeout(SOON, async {
        while local.svids().await.message().await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    back.await.expect("the server is back");
    assert!(identity.silent_for().is_none());
}

#[tokio::test]
async fn a_jwt_svid_is_kept_for_its_audiences_and_checked_by_the_bundle() {
    let issuer = Issuer::start(Duration::from_hours(1)).await;
    let local = Local::of(&issuer.identity().await);
    let one = local.jwt(&["a", "b"], "").await.expect("one");
    assert_eq!(one.spiffe_id, ID);
    for (audience, id) in [(["a", "b"], ""), (["b", "a"], ID)] {
        assert_eq!(local.jwt(&audience, id).await.expect("the same"), one);
    }
    assert_eq!(issuer.told.load(Ordering::SeqCst), 1);
    assert_ne!(local.jwt(&["a"], "").await.expect("another").svid, one.svid);
    for wrong in [&[][..], &[""], &["a b"], &["a", "b", "c", "d", "e"]] {
        let refused = local.jwt(wrong, "").await.expect_err("refused");
        assert_eq!(refused.code(), Code::InvalidArgument, "{wrong:?}");
    }
    let anothers = local.jwt(&["a"], "spiffe://dev.id.example/agent/other/instance/ins_2").await;
    assert_eq!(anothers.expect_err("refused").code(), Code::PermissionDenied);
    assert_eq!(issuer.told.load(Ordering::SeqCst), 2);

    let mut stream =
        local.stream::<JwtBundles>("FetchJWTBundles", Some("true")).await.expect("a stream");
    let told = stream.message().await.expect("told").expect("a message").bundles;
    let keys = String::from_utf8(told["spiffe://dev.id.example"].clone()).expect("text");
    assert!(keys.contains(r#""kid":"k""#) && !keys.contains("x5c"), "{keys}");
    assert_eq!(told.len(), 1);

    assert_eq!(local.validated("a", &one.svid).await, Ok(ID.to_owned()));
    let exp = crate::issuer::now() + 60;
    let claims = serde_json::json!({"sub": ID, "aud": "a", "exp": exp});
    assert_eq!(local.validated("a", &issuer.signed(&claims)).await, Ok(ID.to_owned()));
    let (head, rest) = one.svid.split_once('.').expect("a token");
    let bent = format!("{head}.x{rest}");
    let wrong = |name: &str, value: serde_json::Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        issuer.signed(&claims)
    };
    for (audience, svid) in [
        ("c", one.svid.as_str()),
        ("", &one.svid),
        ("a", ""),
        ("a", &bent),
        ("a", "x.y.z"),
        ("a", &wrong("exp", (exp - 300).into())),
        ("a", &wrong("exp", serde_json::Value::Null)),
        ("a", &wrong("sub", "spiffe://other.example/a".into())),
        ("a", &wrong("aud", serde_json::Value::Null)),
    ] {
        assert_eq!(local.validated(audience, svid).await, Err(Code::InvalidArgument), "{svid}");
    }
}

/// A bundle with one root and one key for JWT-SVIDs, and the root, as another trust domain has them.
fn bundle_of(domain: &str, key: &PrivateKey) -> (serde_json::Value, Vec<u8>) {
    let own = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let id = format!("spiffe://{domain}");
    params.subject_alt_names = vec![SanType::URI(id.as_str().try_into().expect("a name"))];
    let root = params.self_signed(&own).expect("signed").der().to_vec();
    let jwk = |point: &[u8]| {
        let (x, y) = point[1..].split_at(32);
        serde_json::json!({"kty": "EC", "crv": "P-256", "x": b64url_encode(x), "y": b64url_encode(y)})
    };
    let mut of_x509 = jwk(own.der_bytes());
    of_x509["use"] = "x509-svid".into();
    of_x509["x5c"] = serde_json::json!([accredit_wire::x509::base64(&root)]);
    let mut of_jwt = jwk(key.public().expect("its public half").bytes());
    of_jwt["use"] = "jwt-svid".into();
    of_jwt["kid"] = "k".into();
    (serde_json::json!({"keys": [of_x509, of_jwt]}), root)
}

/// Claims, signed by a key that is called `k`, as each trust domain here calls its own.
fn signed_by(key: &PrivateKey, claims: &serde_json::Value) -> String {
    let header = ProtectedHeader::new("JWT", Algorithm::Es256, Some("k")).expect("a header");
    let input = SigningInput::new(&header, claims.to_string().as_bytes()).expect("an input");
    let signature = key.sign(input.bytes()).expect("signed");
    input.finish(&signature)
}

#[tokio::test]
async fn other_trust_domains_are_told_as_the_server_has_them_and_never_mixed() {
    let issuer = Issuer::start(Duration::from_hours(1)).await;
    let (other, _) = PrivateKey::generate(Algorithm::Es256).expect("a key");
    let (bundle, root) = bundle_of("other.example", &other);
    let unread = serde_json::json!({"keys": [{"kty": "EC", "use": "jwt-svid"}]});
    issuer.knows(serde_json::json!({
        "other.example": bundle,
        "empty.example": {"keys": []},
        "unread.example": unread,
        "third.example": bundle,
        "Not A Name": {"keys": []},
    }));
    let local = Local::of(&issuer.identity().await);
    let mut stream = local.svids().await;
    let told = next(&mut stream).await.expect("an SVID");
    let id = "spiffe://other.example".to_owned();
    assert_eq!(told.federated, HashMap::from([(id.clone(), root.clone())]));
    assert_eq!(told.svids[0].bundle, b"root");
    let mut bundles =
        local.stream::<Bundles>("FetchX509Bundles", Some("true")).await.expect("them");
    let own = ("spiffe://dev.id.example".to_owned(), b"root".to_vec());
    let both = HashMap::from([own.clone(), (id.clone(), root)]);
    assert_eq!(next(&mut bundles).await.expect("bundles").bundles, both);
    let mut keys = local.stream::<JwtBundles>("FetchJWTBundles", Some("true")).await.expect("them");
    let told = next(&mut keys).await.expect("keys").bundles;
    let mut names: Vec<_> = told.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["spiffe://dev.id.example", "spiffe://other.example"]);

    // Whoever a token names is judged by the keys of that trust domain alone.
    let exp = crate::issuer::now() + 300;
    let claims = |sub: &str| serde_json::json!({"sub": sub, "aud": ["a"], "exp": exp});
    let theirs = "spiffe://other.example/ns/x";
    assert_eq!(local.validated("a", &signed_by(&other, &claims(theirs))).await, Ok(theirs.into()));
    assert_eq!(local.validated("a", &issuer.signed(&claims(ID))).await, Ok(ID.to_owned()));
    for wrong in [
        signed_by(&other, &claims(ID)),
        issuer.signed(&claims(theirs)),
        signed_by(&other, &claims("spiffe://third.example/ns/x")),
        signed_by(&other, &claims("spiffe://unread.example/ns/x")),
        signed_by(&other, &claims("spiffe://empty.example/ns/x")),
        signed_by(&other, &claims("spiffe://stranger.example/ns/x")),
        signed_by(&other, &claims("spiffe://other.example")),
        signed_by(&other, &claims("https://other.example/ns/x")),
    ] {
        assert_eq!(local.validated("a", &wrong).await, Err(Code::InvalidArgument), "{wrong}");
    }
    let late = local.validated("b", &signed_by(&other, &claims(theirs))).await;
    assert_eq!(late, Err(Code::InvalidArgument), "it is for somebody else");

    // What the server does not know, or does not tell, changes nothing.
    issuer.knows(serde_json::Value::Null);
    let asked = || issuer.others.lock().expect("whole").1;
    let before = asked();
    let again = tokio::time::timeout(SOON, async {
        while asked() == before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    again.await.expect("it asks again");
    let more = tokio::time::timeout(Duration::from_millis(300), bundles.message()).await;
    assert!(more.is_err(), "what was told is kept");

    // One that it tells no longer is known no longer.
    let local = {
        issuer.knows(serde_json::json!({"other.example": bundle}));
        Local::of(&issuer.identity().await)
    };
    let mut bundles =
        local.stream::<Bundles>("FetchX509Bundles", Some("true")).await.expect("them");
    assert_eq!(next(&mut bundles).await.expect("bundles").bundles, both);
    issuer.knows(serde_json::json!({}));
    assert_eq!(next(&mut bundles).await.expect("fewer").bundles, HashMap::from([own]));
    let gone = local.validated("a", &signed_by(&other, &claims(theirs))).await;
    assert_eq!(gone, Err(Code::InvalidArgument));
}

#[tokio::test]
async fn a_jwt_svid_outlives_an_outage_and_no_refusal() {
    let issuer = Issuer::start(Duration::from_secs(6)).await;
    let identity = issuer.identity().await;
    let local = Local::of(&identity);
    let first = local.jwt(&["a"], "").await.expect("one");
    // The certificate is to outlive what is looked at here.
    issuer.life(Duration::from_hours(1));
    let renewed = tokio::time::timeout(SOON, async {
        while local.jwt(&["b"], "").await.is_err() || issuer.given.load(Ordering::SeqCst) < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    renewed.await.expect("the certificate is renewed");
    issuer.is(BROKEN);
    assert_eq!(local.jwt(&["a"], "").await.expect("what there is"), first);
    let over = tokio::time::timeout(SOON, async {
        loop {
            match local.jwt(&["a"], "").await {
                Ok(same) => assert_eq!(same, first),
                Err(status) => break status,
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    assert_eq!(over.await.expect("it is over").code(), Code::Unavailable);
    assert!(identity.silent_for().is_some(), "it is known that the server does not answer");
    issuer.is(GOOD);
    let next = local.jwt(&["a"], "").await.expect("another");
    assert_ne!(next.svid, first.svid);
    issuer.is(REFUSES);
    // Whoever asks for what is not there yet learns it, and from then on nobody is given what was there.
    let refused = local.jwt(&["c"], "").await.expect_err("refused");
    assert_eq!(refused.code(), Code::PermissionDenied);
    let refused = local.jwt(&["a"], "").await.expect_err("refused");
    assert_eq!(refused.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn silence_that_a_question_met_is_forgotten_when_the_server_answers() {
    let issuer = Issuer::start(Duration::from_hours(1)).await;
    let identity = issuer.identity().await;
    issuer.is(BROKEN);
    assert!(identity.token(("crm:read", None), false).await.is_err());
    assert!(identity.silent_for().is_some());
    issuer.is(GOOD);
    let heard = tokio::time::timeout(SOON, async {
        while identity.silent_for().is_some() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    heard.await.expect("long before the next renewal");
    assert_eq!(issuer.given.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_connection_ends_with_the_process_that_made_it() {
    let issuer = Issuer::start(Duration::from_hours(1)).await;
    let local = Local::of(&issuer.identity().await);
    // It asks, hands its connection on to a child, and is over once it is told; the child asks on.
    let program = "import os, socket, sys, time\n\
                   s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n\
                   ask = b'GET /status HTTP/1.1\\r\\nHost: x\\r\\nworkload.spiffe.io: true\\r\\n\\r\\n'\n\
                   s.sendall(ask); print(s.recv(9999)[9:12].decode(), flush=True)\n\
                   parent = os.getpid()\n\
                   if os.fork(): sys.stdin.readline(); os._exit(0)\n\
                   while os.getppid() == parent: pass\n\
                   began, seen = time.monotonic(), set()\n\
                   while time.monotonic() < began + 5:\n\
                   \x20try: s.sendall(ask); got = s.recv(9999)[9:12].decode()\n\
                   \x20except OSError: got = ''\n\
                   \x20if not got: print('answered' if '200' in seen else 'over'); break\n\
                   \x20seen.add(got)\n\
                   else: print('still open')";
    let mut python = std::process::Command::new("python3");
    python.args(["-c", program]).arg(local.folder.path().join(FILE_NAME));
    let piped = std::process::Stdio::piped;
    let mut child = python.stdin(piped()).stdout(piped()).spawn().expect("python3 runs");
    let told = tokio::task::spawn_blocking(move || {
        use std::io::{BufRead as _, BufReader};
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let first = lines.next().expect("a line").expect("text");
        drop(child.stdin.take());
        child.wait().expect("over");
        (first, lines.next().expect("a line").expect("text"))
    });
    let told = told.await.expect("no panic");
    assert_eq!(told, ("200".to_owned(), "over".to_owned()));
}

#[tokio::test]
async fn an_instance_that_ended_itself_gives_nothing_out() {
    let issuer = Issuer::start(Duration::from_hours(1)).await;
    let identity = issuer.identity().await;
    let local = Local::of(&identity);
    let mut stream = local.svids().await;
    next(&mut stream).await.expect("an SVID");
    identity.end("a test").await.expect("ended");
    assert_eq!(issuer.ended.load(Ordering::SeqCst), 1);
    assert_eq!(next(&mut stream).await.expect_err("over").code(), Code::PermissionDenied);
}

#[tokio::test]
async fn a_socket_is_its_owners_and_lies_where_nobody_else_can_put_one() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(FILE_NAME);
    let socket = Socket::bind(&path).expect("a socket");
    let mode = std::fs::metadata(&path).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(Socket::bind(&path).is_err(), "what is there is never taken over");
    drop(socket);
    assert!(!path.exists());
    for open in [0o777, 0o770, 0o1777] {
        let mode = std::fs::Permissions::from_mode(open);
        std::fs::set_permissions(folder.path(), mode).expect("set");
        assert!(Socket::bind(&path).is_err(), "{open:o}");
    }
    assert!(Socket::bind(&folder.path().join("no/such")).is_err());
}
