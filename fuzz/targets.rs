//! Every parser of `accredit-wire` that a stranger's bytes reach, one function each.
//!
//! The fuzzer calls them with what it invents; a plain test calls them with the corpus. None may
//! panic, and what is accepted must be the one spelling of what it says.

use std::sync::OnceLock;

use accredit_wire::api_key::ApiKey;
use accredit_wire::authority::{Arguments, Authority, Permission, Scope, attenuate};
use accredit_wire::backup::{Header, Manifest, Opener, frame_head};
use accredit_wire::binding::dpop::{Expected, NonceRule, Proof};
use accredit_wire::binding::nonce::Nonces;
use accredit_wire::binding::uri::{BaseUri, Target as Uri};
use accredit_wire::biscuit::{self, Attenuable, BiscuitError, Held, Unsigned};
use accredit_wire::claim_rule::ClaimRule;
use accredit_wire::client_cert::{self, TrustedCertificates};
use accredit_wire::crypto::{PrivateKey, sha256};
use accredit_wire::forwarded::{ForwardedHeader, TrustedProxies};
use accredit_wire::ids::{AnyId, KeyId};
use accredit_wire::jose::b64url_encode;
use accredit_wire::jose::issuer_keys::IssuerKeySet;
use accredit_wire::jose::jwk::{Jwk, JwkSet, PrivateJwk};
use accredit_wire::jose::jws::Unverified;
use accredit_wire::jose::jwt::Claims;
use accredit_wire::json::Json;
use accredit_wire::oauth::authorization_details::{AskedDetail, AuthorizationDetails};
use accredit_wire::oauth::client_auth::{BearerKeys, ClientAuth};
use accredit_wire::oauth::errors::ErrorBody;
use accredit_wire::oauth::form::Form;
use accredit_wire::oauth::instance_request::InstanceRequest;
use accredit_wire::oauth::introspection::{Introspection, IntrospectionRequest};
use accredit_wire::oauth::metadata::{Metadata, WellKnown};
use accredit_wire::oauth::revocation::RevocationRequest;
use accredit_wire::oauth::task_request::{TaskEnd, TaskList, TaskRequest};
use accredit_wire::oauth::token_request::TokenRequest;
use accredit_wire::oauth::token_response::TokenResponse;
use accredit_wire::revocations::piece::{ENTRY_BYTES, PIECE_TEXT_BYTES_MAX, Piece};
use accredit_wire::revocations::witness::{LogWitness, lane_origin};
use accredit_wire::revocations::{
    Acknowledgement, Applied, Follower, FollowerId, FollowerName, Nonce, Pieces, SignedMessage,
};
use accredit_wire::selectors::{Selector, Selectors, interpreter_of};
use accredit_wire::status_list::{ENTRIES_MAX, StatusList, Statuses};
use accredit_wire::time::Time;
use accredit_wire::tlog::checkpoint::Checkpoint;
use accredit_wire::tlog::claim::{CHECKPOINTED, CLAIMS_MAX, Claim, GENERATION_STARTED};
use accredit_wire::tlog::export::Auditor;
use accredit_wire::tlog::leaf::Entry;
use accredit_wire::tlog::note::{NoteError, Vkey, assemble};
use accredit_wire::tlog::proof::{ConsistencyProof, InclusionProof};
use accredit_wire::tlog::tile::{TilePath, decode_bundle};
use accredit_wire::tlog::{HASH_LEN, Hash};
use accredit_wire::token::AccessToken;
use accredit_wire::trace::TraceId;
use accredit_wire::verify::present::presented;
use accredit_wire::verify::{AudienceRule, Config, KeyRing, RequestHead, Standing, Verifier};

/// A target's name and what it does with some bytes.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// All targets.
pub(crate) const TARGETS: &[Target] = &[
    ("access_token", access_token),
    ("acknowledgement", acknowledgement),
    ("answers", answers),
    ("api_key", api_key),
    ("authority", authority),
    ("authorization_details", authorization_details),
    ("backup", backup),
    ("biscuit", biscuit),
    ("biscuit_block", biscuit_block),
    ("claim", claim),
    ("claim_rule", claim_rule),
    ("client_auth", client_auth),
    ("client_cert", client_cert),
    ("dpop", dpop),
    ("export", export),
    ("feed", feed),
    ("follower", follower),
    ("form", form),
    ("form_request", form_request),
    ("hash", hash),
    ("forwarded", forwarded),
    ("head", head),
    ("id", id),
    ("issuer_keys", issuer_keys),
    ("json", json),
    ("jwk", jwk),
    ("jws", jws),
    ("leaf", leaf),
    ("note", note),
    ("piece", piece),
    ("proof", proof),
    ("scope", scope),
    ("selectors", selectors),
    ("status_list", status_list),
    ("succession", succession),
    ("tile", tile),
    ("time", time),
    ("trace", trace),
];

/// Runs one target by name: how the fuzzer calls it.
pub(crate) fn run(name: &str, bytes: &[u8]) {
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    let (_, target) = found.expect("a target of this name");
    target(bytes);
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// The organization whose signatures hold here.
const ISSUER: &str = "https://id.example/o/dev";

/// The seed of its key: what is signed with it is beyond the signature's protection.
const SEED: [u8; 32] = [7; 32];

/// Its key's id.
fn key() -> KeyId {
    KeyId::new(1, [1; 10])
}

/// Its keys, as the world knows them.
fn keys() -> &'static JwkSet {
    static KEYS: OnceLock<JwkSet> = OnceLock::new();
    KEYS.get_or_init(|| {
        let public = PrivateKey::ed25519_from_seed(&SEED).and_then(|key| key.public());
        let jwk = Jwk::new(public.expect("a key"), Some(key().to_string())).expect("a JWK");
        JwkSet::new(vec![jwk.into_verifying_key()]).expect("a set")
    })
}

/// Any payload, truly signed.
fn signed(typ: &str, payload: &[u8]) -> String {
    let header = format!(r#"{{"alg":"EdDSA","kid":"{}","typ":"{typ}"}}"#, key());
    let input = format!("{}.{}", b64url_encode(header.as_bytes()), b64url_encode(payload));
    let private = PrivateKey::ed25519_from_seed(&SEED).expect("a key");
    let signature = private.sign(input.as_bytes()).expect("a signature");
    format!("{input}.{}", b64url_encode(&signature))
}

/// The key that signs the log of a lane: that of `crates/wire/vectors/tlog`.
fn log_key(lane: u8) -> (PrivateKey, Vkey) {
    let mut seed = [1; 32];
    seed[0] = lane;
    let private = PrivateKey::ed25519_from_seed(&seed).expect("a key");
    let origin = lane_origin(ISSUER, 1, u16::from(lane));
    let vkey = Vkey::new(&origin, &private.public().expect("its public half"));
    (private, vkey.expect("a verifier key"))
}

/// The keys of the log's two lanes.
pub(crate) fn log_keys() -> Vec<Vkey> {
    [0, 1].map(|lane| log_key(lane).1).to_vec()
}

/// Any text as a note, truly signed: by the key of the lane that its first line names, else of the
/// first.
pub(crate) fn noted(text: &str) -> String {
    let lane = u8::from(text.lines().next() == Some(log_key(1).1.name()));
    let (private, vkey) = log_key(lane);
    let signature = private.sign(text.as_bytes()).expect("a signature");
    assemble(text, &vkey.signature_line(&signature))
}

/// A JSON object with a member that is a note, truly signed.
fn resigned_member(json: &str, name: &str) -> Option<String> {
    let mut object: serde_json::Value = serde_json::from_str(json).ok()?;
    let note = object.get_mut(name)?;
    let signed = noted(note.as_str()?.split_inclusive("\n\n").next()?.strip_suffix('\n')?);
    *note = signed.into();
    Some(object.to_string())
}

/// A message of the feed whose checkpoints are truly signed.
pub(crate) fn resigned_message(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut message: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    for lane in message.get_mut("log")?.as_array_mut()? {
        *lane = serde_json::from_str(&resigned_member(&lane.to_string(), "note")?).ok()?;
    }
    Some(message.to_string().into_bytes())
}

/// A verifier that knows all there is to know at the time 0.
fn verifier() -> &'static Verifier {
    static VERIFIER: OnceLock<Verifier> = OnceLock::new();
    VERIFIER.get_or_init(|| {
        let config = Config::new(ISSUER, AudienceRule::Exact("https://crm.example/".to_owned()));
        let verifier = Verifier::new(config, KeyRing::new(keys()));
        let (state, now) = (accredit_wire::revocations::State::unknown(), Time::default());
        verifier.set_standing(Standing::current(state, now));
        verifier
    })
}

/// The claims of an access token: read, written and read again they are the same; and a verifier
/// that is given them truly signed holds to what was read.
fn access_token(bytes: &[u8]) {
    let read = AccessToken::parse(bytes, key());
    if let Ok(token) = &read {
        let again = AccessToken::parse(&token.to_payload(), key());
        assert_eq!(again.as_ref(), Ok(token), "what was written is what was read");
        assert!(token.lineage().count() < 256);
    }
    if let Ok(principal) = verifier().verify_token(&signed("at+jwt", bytes), Time::default()) {
        assert_eq!(Ok(principal.token()), read.as_ref());
        assert_eq!(principal.token().issuer, ISSUER);
    }
}

/// What a follower says that it has applied, and who it says that it is.
fn acknowledgement(bytes: &[u8]) {
    if let Ok(said) = serde_json::from_slice::<Acknowledgement>(bytes) {
        let again = serde_json::to_vec(&said).expect("plain data");
        assert_eq!(serde_json::from_slice::<Acknowledgement>(&again).ok(), Some(said));
    }
    let Some(text) = text(bytes) else { return };
    if let Ok(id) = text.parse::<FollowerId>() {
        assert_eq!(id.to_string(), text, "one id, one spelling");
    }
    if let Ok(name) = text.parse::<FollowerName>() {
        assert_eq!(name.as_str(), text);
        assert!((1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()));
    }
}

/// What servers answer to clients, as our own client reads it.
fn answers(bytes: &[u8]) {
    if let Ok(metadata) = serde_json::from_slice::<Metadata>(bytes) {
        let again = serde_json::to_vec(&metadata).expect("plain data");
        assert_eq!(serde_json::from_slice::<Metadata>(&again).expect("what was written"), metadata);
        let _ = metadata.check(ISSUER);
    }
    if let Ok(introspection) = serde_json::from_slice::<Introspection>(bytes) {
        let again = serde_json::to_vec(&introspection).expect("plain data");
        let again = serde_json::from_slice::<Introspection>(&again).expect("what was written");
        assert_eq!(again, introspection);
    }
    if let Ok(error) = serde_json::from_slice::<ErrorBody>(bytes) {
        let texts = [Some(error.description()), error.hint(), error.rule()];
        let plain = |text: &str| text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        assert!(texts.into_iter().flatten().all(plain), "nothing that drives a terminal");
    }
    let _ = serde_json::from_slice::<TokenResponse>(bytes);
    if let Some(text) = text(bytes) {
        let _ = WellKnown::of(text);
    }
}

fn api_key(bytes: &[u8]) {
    if let Some(text) = text(bytes) {
        let _ = ApiKey::parse(text);
    }
}

/// Permissions in both forms: JSON, and texts, one a line.
fn authority(bytes: &[u8]) {
    let json = serde_json::from_slice::<Authority>(bytes).ok();
    let texts = text(bytes).and_then(|text| {
        let read: Result<Vec<Permission>, _> = text.lines().map(str::parse).collect();
        Authority::new(read.ok()?).ok()
    });
    for authority in json.into_iter().chain(texts) {
        let again = serde_json::to_vec(&authority).expect("plain data");
        assert_eq!(
            serde_json::from_slice::<Authority>(&again).expect("what was written"),
            authority
        );
        let again = authority.texts().map(|text| text.parse().expect("what was written"));
        assert_eq!(Authority::new(again.collect::<Vec<Permission>>()), Ok(authority.clone()));
        assert!(authority.covers(&authority));
        assert_eq!(authority.meet(&authority), authority);
        assert_eq!(attenuate(&authority, &authority), Ok(authority.clone()));
        // Nothing that is limited can be had without its limits.
        for limited in authority.limited().permissions() {
            let plain = Permission::plain(limited.resource.clone(), limited.actions.clone());
            let plain = Authority::new([plain]).expect("bounded");
            let excess = attenuate(&authority, &plain).expect_err("it would have grown");
            assert!(excess.to_string().ends_with("derived from"));
            for action in &limited.actions {
                let asked = (limited.resource.as_str(), action.as_str());
                let now = Time::from_seconds(1);
                let _ = authority.allow(asked, Some("/a/b"), &Arguments::none(), now);
            }
        }
    }
}

fn authorization_details(bytes: &[u8]) {
    if let Some(asked) = text(bytes).map(AskedDetail::parse_all).and_then(Result::ok) {
        let resource = || "r".parse().expect("a name");
        let permissions = asked.into_iter().map(|one| {
            assert!(!one.limits.is_none() && (one.resource.is_some() || one.location.is_some()));
            Permission::limited(one.resource.unwrap_or_else(resource), one.actions, one.limits)
        });
        if let Ok(authority) = Authority::new(permissions) {
            assert!(authority.scope().expect("nothing").is_empty());
        }
    }
    if let Ok(granted) = serde_json::from_slice::<AuthorizationDetails>(bytes) {
        let again = serde_json::to_vec(&granted).expect("plain data");
        let read: AuthorizationDetails = serde_json::from_slice(&again).expect("what was written");
        assert_eq!(read, granted);
    }
}

fn client_auth(bytes: &[u8]) {
    let (header, body) = bytes.split_at(bytes.len() / 2);
    if let Ok(form) = Form::parse(body) {
        let _ = ClientAuth::from_request(&[header], &form, BearerKeys::Taken);
        let _ = ClientAuth::from_request(&[], &form, BearerKeys::Refused);
        let _ = ClientAuth::from_token_request(&[header], &form);
        let _ = ClientAuth::from_token_request(&[], &form);
    }
}

/// An export, as it is and with its checkpoints truly signed: what lies behind a signature is
/// reached whatever was changed.
fn export(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let resigned = |line: &str| resigned_member(line, "checkpoint").unwrap_or(line.to_owned());
    for lines in [text.to_owned(), text.lines().map(resigned).collect::<Vec<_>>().join("\n")] {
        let mut auditor = Auditor::new(log_keys());
        lines.lines().for_each(|line| auditor.line(line));
        let report = auditor.finish();
        assert!(!report.ok || report.findings.is_empty());
    }
}

/// A message of the feed, truly signed: what a follower then holds it can write and read again,
/// and a second hearing changes nothing.
fn feed(bytes: &[u8]) {
    heard(bytes);
    // And with its checkpoints signed, so that the witness looks at them.
    if let Some(resigned) = resigned_message(bytes) {
        heard(&resigned);
    }
}

fn heard(bytes: &[u8]) {
    let text = signed("accredit-revocations+jwt", bytes);
    let Ok(message) = SignedMessage::verify(&text, keys(), ISSUER) else { return };
    let now = Time::from_seconds(1_763_717_400);
    for witness in [None, Some(LogWitness::new(log_keys()))] {
        let mut follower = Follower::new(ISSUER.to_owned(), witness);
        if let Some(nonce) = message.message().nonce {
            follower.ask(nonce, now);
        }
        let applied = follower.apply(&message, &[], now);
        let before: Vec<_> = follower.state().entries().collect();
        let _ = follower.apply(&message, &[], now);
        assert!(follower.state().entries().eq(before.iter().copied()), "{applied:?}");
        if let Some(written) = follower.to_bytes(now) {
            let again = Follower::from_bytes(&written, ISSUER, None).expect("what was written");
            assert_eq!(again.to_bytes(now).map(|bytes| bytes.len() > 64), Some(true));
            assert!(again.state().entries().eq(before.iter().copied()));
        }
    }
}

/// A piece of a snapshot: as the line that it is, and as bytes that a signed head truly names. What
/// is taken of it is cut into the same bytes again.
fn piece(bytes: &[u8]) {
    if let Some(piece) = text(bytes).and_then(|text| Piece::parse(text).ok()) {
        assert_eq!(text(bytes), Some(&*piece.text()), "one piece, one spelling");
    }
    let line = b64url_encode(bytes);
    let Ok(named) = Piece::parse(&line) else { return };
    assert!(line.len() <= PIECE_TEXT_BYTES_MAX);
    let (hash, to) = (named.hash(), u64::MAX);
    let (nonce, zeros) = (Nonce::new([7; 16]), Hash::ZERO);
    let head = format!(
        r#"{{"iss":"{ISSUER}","v":2,"gen":1,"from":0,"to":{to},"at":0,"clock":"0000000000000001","up":1,"nonce":"{nonce}","keys":"{zeros}","entries":[],"pieces":["{hash}"]}}"#
    );
    let head = signed("accredit-revocations+jwt", head.as_bytes());
    let head = SignedMessage::verify(&head, keys(), ISSUER).expect("a head");
    let now = Time::from_seconds(1_763_717_400);
    let mut follower = Follower::new(ISSUER.to_owned(), None);
    follower.ask(nonce, now);
    let taken = follower.take_piece(&head, &line);
    let applied = follower.apply(&head, &[], now);
    assert_eq!(taken.is_ok(), applied == Ok(Applied::Snapshot), "{taken:?} {applied:?}");
    if taken.is_err() {
        assert!(follower.state().is_empty() && follower.anchor().is_none());
        return;
    }
    // What was over before 1970 is forgotten at once.
    let kept = bytes.chunks_exact(ENTRY_BYTES).all(|entry| entry[24] < 0x80);
    if kept {
        let again: Vec<String> =
            Pieces::of(follower.state().clone()).map(|piece| piece.text()).collect();
        assert_eq!(again, [line]);
    }
    let written = follower.to_bytes(now).expect("one that heard a snapshot");
    let again = Follower::from_bytes(&written, ISSUER, None).expect("what was written");
    assert!(again.state().entries().eq(follower.state().entries()));
}

/// A follower's file, as it is and with the checksum that it should have.
fn follower(bytes: &[u8]) {
    let _ = Follower::from_bytes(bytes, ISSUER, None);
    let mut whole = bytes.to_vec();
    whole.extend_from_slice(b"\n{\"sha256\":\"");
    for byte in sha256(&[bytes, b"\n"].concat()) {
        whole.extend_from_slice(format!("{byte:02x}").as_bytes());
    }
    whole.extend_from_slice(b"\"}\n");
    if let Ok(follower) = Follower::from_bytes(&whole, ISSUER, Some(Vec::new())) {
        let now = follower.seen();
        let written = follower.to_bytes(now).expect("one that heard a snapshot");
        let again = Follower::from_bytes(&written, ISSUER, Some(Vec::new()));
        let again = again.expect("what was written");
        assert_eq!(again.to_bytes(now), Some(written), "one state, one spelling");
    }
}

/// Lines of the header in which a proxy says who came to it.
fn forwarded(bytes: &[u8]) {
    let own = "127.0.0.0/8".parse().expect("a network");
    let address = |last| std::net::IpAddr::from([192, 0, 2, last]);
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    for header in ForwardedHeader::ALL {
        let proxies = TrustedProxies { networks: vec![own], header };
        let source = |peer, lines: &[&[u8]]| proxies.source(peer, lines.iter().copied());
        let told = source([127, 0, 0, 1].into(), &lines);
        assert_eq!(source(address(9), &lines), address(9), "a stranger is not believed");
        // What a trusted proxy adds decides, whatever was there.
        let added: &[u8] = match header {
            ForwardedHeader::XForwardedFor => b"192.0.2.7",
            ForwardedHeader::Forwarded => b"for=192.0.2.7",
        };
        let lines = [lines.as_slice(), &[added]].concat();
        assert_eq!(source([127, 0, 0, 1].into(), &lines), address(7), "{told}");
    }
}

/// Lines of the header in which a proxy says which certificate its client has shown, and the
/// fingerprints by which proxies are believed.
fn client_cert(bytes: &[u8]) {
    let lines = bytes.split(|byte| *byte == b'\n');
    if let Ok(Some(said)) = client_cert::read(lines) {
        assert!((1..=client_cert::CERTIFICATE_BYTES_MAX).contains(&said.der().len()));
        assert!(client_cert::read([bytes, bytes]).is_err(), "one of them");
    }
    let text = String::from_utf8_lossy(bytes);
    if let Ok(trusted) = TrustedCertificates::parse(&text) {
        let again = TrustedCertificates::parse(&trusted.to_string());
        assert_eq!(again.as_ref(), Ok(&trusted), "one list, one spelling");
    }
}

fn form(bytes: &[u8]) {
    if let Ok(form) = Form::parse(bytes) {
        let _ = TokenRequest::parse(&form);
        let _ = IntrospectionRequest::parse(&form);
        let _ = RevocationRequest::parse(&form);
        let _ = TaskRequest::parse(&form);
        let _ = (TaskEnd::parse(&form), TaskList::parse(&form));
        let _ = InstanceRequest::parse(&form);
    }
}

/// A request: a line with its content type and one with its query, each absent where it is empty,
/// and the body.
fn form_request(bytes: &[u8]) {
    let mut parts = bytes.splitn(3, |byte| *byte == b'\n');
    let [Some(content_type), Some(query), Some(body)] = [(); 3].map(|()| parts.next()) else {
        return;
    };
    let (Some(content_type), Some(query)) = (text(content_type), text(query)) else { return };
    let given = |text| Some(text).filter(|text: &&str| !text.is_empty());
    if Form::from_request(given(content_type), given(query), body).is_ok() {
        assert!(query.is_empty(), "what is secret does not stand in a URL");
        assert!(content_type.len() >= "application/x-www-form-urlencoded".len());
        assert!(Form::parse(body).is_ok());
    }
}

/// A proof of possession: as it was sent; as a header and claims that its own key truly signed; and
/// its parts as URIs.
fn dpop(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let base = BaseUri::parse("https://crm.example/api").expect("a base");
    let (target, nonces) = (base.at("/contacts").expect("a path"), Nonces::new(&[1; 32]));
    let rule = NonceRule::Accepted(&nonces);
    let expected = Expected { method: "GET", target: &target, token: Some("t"), nonces: rule };
    let now = Time::from_seconds(1_763_717_400);
    assert!(Proof::check([bytes, bytes], &expected, now).is_err(), "two are none");
    if let Ok(proof) = Proof::check([bytes], &expected, now) {
        assert!(proof.remembered_until() >= now, "what is over is refused");
    }
    if let Some((header, claims)) = text.split_once('\n') {
        let input = [header, claims].map(|part| b64url_encode(part.as_bytes())).join(".");
        let private = PrivateKey::ed25519_from_seed(&SEED).expect("a key");
        let signature = private.sign(input.as_bytes()).expect("a signature");
        let signed = format!("{input}.{}", b64url_encode(&signature));
        if Proof::check_text(&signed, &expected, now).is_ok() {
            let claims: serde_json::Value = serde_json::from_str(claims).expect("JSON");
            assert_eq!(claims["htm"], "GET");
            let htu = claims["htu"].as_str().and_then(|uri| Uri::parse(uri).ok());
            assert_eq!(htu, Some(target.clone()));
        }
    }
    if let Ok(uri) = Uri::parse(text) {
        assert_eq!(Uri::parse(uri.as_str()).as_ref(), Ok(&uri), "one URI, one spelling");
    }
    if let Ok(uri) = base.at(text) {
        assert!(uri.as_str().starts_with("https://crm.example/api/"), "{text}");
        assert_eq!(Uri::parse(uri.as_str()).as_ref(), Ok(&uri), "one URI, one spelling");
    }
}

fn hash(bytes: &[u8]) {
    if let Some(text) = text(bytes)
        && let Some(hash) = Hash::from_hex(text)
    {
        assert_eq!(hash.to_string(), text, "one hash, one spelling");
        assert_eq!(Hash::from_slice(hash.bytes()), Some(hash));
    }
}

/// The head of a request: a line with the URI, then one for each `Authorization` header.
fn head(bytes: &[u8]) {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let Some(uri) = lines.next().and_then(text) else { return };
    let values: Vec<&[u8]> = lines.collect();
    let head = RequestHead::new("GET", uri, values.iter().copied());
    if let Ok((_, token)) = presented(&head) {
        assert_eq!(values.len(), 1, "exactly one credential");
        assert!(token.bytes().all(|byte| byte.is_ascii_graphic()));
    }
    assert!(verifier().verify(&head, Time::default()).is_err(), "nobody signed that");
}

fn id(bytes: &[u8]) {
    if let Some(text) = text(bytes)
        && let Ok(id) = text.parse::<AnyId>()
    {
        assert_eq!(id.to_string(), text, "one id, one spelling");
    }
    if let Some(text) = text(bytes)
        && let Ok(nonce) = text.parse::<Nonce>()
    {
        assert_eq!(nonce.to_string(), text, "one nonce, one spelling");
    }
}

fn json(bytes: &[u8]) {
    if let Ok(json) = Json::parse(bytes, 64 * 1024) {
        let written = serde_json::to_vec(&json).expect("plain data");
        assert!(Json::parse(&written, 1024 * 1024).is_ok());
    }
}

fn jwk(bytes: &[u8]) {
    if let Ok(jwk) = Jwk::parse(bytes) {
        assert_eq!(jwk.thumbprint().len(), 43);
    }
    let _ = JwkSet::parse(bytes);
    let _ = PrivateJwk::parse(bytes);
}

/// A key set of somebody else's issuer: what is kept of it is read again as the same.
fn issuer_keys(bytes: &[u8]) {
    if let Ok(set) = IssuerKeySet::parse(bytes) {
        let kept = serde_json::to_vec(&set).expect("plain data");
        let again = IssuerKeySet::parse(&kept).expect("what was kept");
        assert_eq!(serde_json::to_vec(&again).expect("plain data"), kept);
    }
}

/// The text of a claim rule and its object say the same, and read back.
fn claim_rule(bytes: &[u8]) {
    let written = text(bytes).and_then(|text| text.parse::<ClaimRule>().ok());
    for rule in written.into_iter().chain(serde_json::from_slice::<ClaimRule>(bytes)) {
        assert_eq!(rule.to_string().parse::<ClaimRule>().as_ref(), Ok(&rule));
        let object = serde_json::to_vec(&rule).expect("plain data");
        assert_eq!(serde_json::from_slice::<ClaimRule>(&object).ok(), Some(rule.clone()));
        if let Ok(claims) = Json::parse(br#"{"groups":["sales"],"a":{"b":"c"}}"#, 64) {
            let _ = rule.matches(&claims);
        }
    }
}

/// What a node says reads back as the same, and a rule of all that is said is about whoever is no
/// interpreter, or is where it was put.
fn selectors(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let _ = interpreter_of(text);
    let Ok(said) = Selectors::parse(text) else { return };
    assert_eq!(Selectors::parse(&said.to_json()).as_ref(), Ok(&said));
    let may = said.get(Selector::Interpreter).is_none() || said.has_place();
    assert_eq!(said.match_process(&said), may);
}

fn jws(bytes: &[u8]) {
    if let Some(text) = text(bytes)
        && let Ok(unverified) = Unverified::parse(text)
    {
        assert!(unverified.peek_unverified_kid().is_none_or(|kid| kid.len() <= 256));
        let _ = unverified.peek_unverified_issuer();
    }
    let _ = Claims::parse(bytes);
}

fn backup(bytes: &[u8]) {
    let _ = Manifest::parse(bytes);
    let end = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| end + 1);
    let (line, mut rest) = bytes.split_at(end);
    let Ok(header) = Header::parse(line) else { return };
    assert_eq!(header.to_line().as_bytes(), line, "one header, one spelling");
    // The key with which the corpus was made.
    let mut opener = Opener::new(&[3; 32], &header);
    while let Some((head, body)) = rest.split_first_chunk() {
        let Ok((place, length)) = frame_head(*head) else { return };
        let Some(sealed) = body.get(..length) else { return };
        if opener.open(place, sealed).is_err() {
            return;
        }
        rest = &body[length..];
    }
    let _ = opener.finish();
}

fn leaf(bytes: &[u8]) {
    if let Ok(entry) = Entry::decode(bytes) {
        assert_eq!(entry.encode().expect("what was read"), bytes, "one entry, one spelling");
    }
}

fn note(bytes: &[u8]) {
    if let Some(text) = text(bytes) {
        let _ = text.parse::<Vkey>();
        if let Ok(checkpoint) = Checkpoint::parse(text) {
            assert_eq!(Checkpoint::parse(&checkpoint.to_string()), Ok(checkpoint));
        }
    }
    let keys = log_keys();
    if let Ok(opened) = accredit_wire::tlog::note::open(bytes, &keys) {
        assert!(!opened.signers.is_empty(), "nobody signed that");
    }
    // Any text, truly signed: only the signature is beyond what can be invented. A text ends in a
    // line end.
    let Some(text) = text(bytes).filter(|text| text.ends_with('\n')) else { return };
    let note = noted(text);
    match accredit_wire::tlog::note::open(note.as_bytes(), &keys) {
        Ok(opened) => assert_eq!(opened.text, text, "what was signed is what is read"),
        Err(NoteError::BadSignature(name)) => panic!("the signature of `{name}` is good"),
        Err(_) => {}
    }
    if let Ok(read) = accredit_wire::tlog::checkpoint::open(note.as_bytes(), &keys) {
        assert_eq!(Checkpoint::parse(text), Ok(read));
    }
}

fn status_list(bytes: &[u8]) {
    if let Ok(list) = StatusList::parse(bytes) {
        assert!(list.statuses.len() <= ENTRIES_MAX, "no more than a list may have");
        let again = StatusList::parse(&list.to_payload());
        assert_eq!(again, Ok(list), "what was written is what was read");
    }
    for bits in [1, 2, 4, 8] {
        if let Ok(statuses) = Statuses::inflate(bits, &b64url_encode(bytes)) {
            let end = statuses.len() as u32;
            assert!(statuses.get(end).is_none() && end as usize <= ENTRIES_MAX);
            assert!(end == 0 || statuses.get(end - 1).is_some());
        }
    }
}

/// What an event says of other lanes: what is read is written the same again.
fn claim(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    for kind in [CHECKPOINTED, GENERATION_STARTED] {
        let Some(claims) = Claim::read(kind, text).filter(|claims| !claims.is_empty()) else {
            continue;
        };
        assert!(claims.len() <= CLAIMS_MAX);
        let lines = Claim::lines(&claims);
        let payload = serde_json::json!({ "changes": { "checkpoints": lines } }).to_string();
        assert_eq!(Claim::read(kind, &payload), Some(claims));
    }
}

fn succession(bytes: &[u8]) {
    // The keys of the corpus: Ed25519 of the seeds of 32 bytes 1 and 2.
    let key = |seed: u8| {
        let key = PrivateKey::ed25519_from_seed(&[seed; 32]).expect("a key");
        key.public().expect("its public half")
    };
    let name = "id.example/o/dev/log";
    if let Ok(successor) = accredit_wire::tlog::succession::open(bytes, name, &[key(1)]) {
        assert_eq!(successor.bytes(), key(2).bytes(), "only what was signed");
    }
}

fn scope(bytes: &[u8]) {
    if let Some(text) = text(bytes)
        && let Ok(scope) = text.parse::<Scope>()
    {
        assert_eq!(scope.to_string().parse::<Scope>(), Ok(scope));
    }
}

/// A proof as it travels: what is read is written the same again, and checking it against roots that
/// it was not made for ends, however long it says that the trees are.
fn proof(bytes: &[u8]) {
    let roots = [Hash::new([1; HASH_LEN]), Hash::new([2; HASH_LEN])];
    if let Ok(proof) = serde_json::from_slice::<InclusionProof>(bytes) {
        let written = serde_json::to_vec(&proof).expect("plain data");
        assert_eq!(serde_json::from_slice::<InclusionProof>(&written).ok(), Some(proof.clone()));
        let held = proof.verify(&roots[0], &roots[1]);
        assert!(held.is_err(), "hashes that lead from one to the other are not to be found");
    }
    if let Ok(proof) = serde_json::from_slice::<ConsistencyProof>(bytes) {
        let written = serde_json::to_vec(&proof).expect("plain data");
        assert_eq!(serde_json::from_slice::<ConsistencyProof>(&written).ok(), Some(proof.clone()));
        let _ = proof.verify(&roots[0], &roots[1]);
    }
}

fn tile(bytes: &[u8]) {
    let _ = decode_bundle(bytes);
    if let Some(text) = text(bytes)
        && let Ok(path) = text.parse::<TilePath>()
    {
        assert_eq!(path.to_string(), text, "one tile, one path");
    }
}

fn time(bytes: &[u8]) {
    if let Some(text) = text(bytes)
        && let Ok(time) = text.parse::<Time>()
    {
        assert_eq!(time.to_string().parse::<Time>(), Ok(time));
    }
}

/// A trace is taken from one spelling only, and shows as it was sent.
fn trace(bytes: &[u8]) {
    if let Some(text) = text(bytes)
        && let Some(trace) = TraceId::from_traceparent(text)
    {
        let shown = trace.to_string();
        assert_eq!(text.get(3..35), Some(&*shown));
        let again = format!("00-{shown}-00f067aa0ba902b7-01");
        assert_eq!(TraceId::from_traceparent(&again), Some(trace));
    }
}

/// A field of a message: bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut len = bytes.len();
    while len >= 0x80 {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    out.extend_from_slice(bytes);
    out
}

/// A block of a Biscuit, truly signed by the key of `seed`, behind the block with this signature.
fn signed_block(block: &[u8], seed: &[u8; 32], previous: Option<&[u8]>) -> (Vec<u8>, [u8; 64]) {
    let public = PrivateKey::ed25519_from_seed(&SEED).and_then(|key| key.public()).expect("a key");
    let mut message = b"\0BLOCK\0\0VERSION\0\x01\0\0\0\0PAYLOAD\0".to_vec();
    message.extend_from_slice(block);
    message.extend_from_slice(b"\0ALGORITHM\0\0\0\0\0\0NEXTKEY\0");
    message.extend_from_slice(public.bytes());
    if let Some(previous) = previous {
        message.extend_from_slice(b"\0PREVSIG\0");
        message.extend_from_slice(previous);
    }
    let key = PrivateKey::ed25519_from_seed(seed).expect("a key");
    let signature = key.sign(&message).expect("a signature");
    let next = [&[0x08, 0x00][..], &field(2, public.bytes())].concat();
    let parts = [field(1, block), field(2, &next), field(3, &signature), vec![0x28, 1]];
    (parts.concat(), signature)
}

/// A Biscuit of these blocks, truly signed.
fn signed_biscuit(authority: &[u8], added: Option<&[u8]>) -> String {
    let (first, signature) = signed_block(authority, &SEED, None);
    let id = biscuit::root_key_id(key());
    let mut out = vec![0x08];
    let mut rest = id;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
    out.extend(field(2, &first));
    if let Some(added) = added {
        out.extend(field(3, &signed_block(added, &SEED, Some(&signature)).0));
    }
    out.extend(field(4, &field(1, &SEED)));
    b64url_encode(&out)
}

fn verified(text: &str) -> Result<Attenuable, BiscuitError> {
    let keys = keys().keys().iter().map(|known| (key(), &known.key));
    let outcome = biscuit::verify(text, keys);
    // Whoever holds a token reads no more in it than whoever checks it.
    assert!(outcome.is_err() || Held::read(text).is_ok());
    outcome
}

/// Any text, and any authority block with a good signature.
fn biscuit(bytes: &[u8]) {
    if let Some(text) = text(bytes) {
        let _ = Held::read(text);
        let _ = verified(text);
    }
    if let Ok(token) = AccessToken::parse(bytes, key())
        && let Ok(unsigned) = Unsigned::new(&token, &SEED)
    {
        let mut read =
            verified(&signed_biscuit(unsigned.block(), None)).expect("a token").token().clone();
        read.further.pop();
        // A place in a status list is said in a JWT alone.
        read.status.clone_from(&token.status);
        assert_eq!(read, token, "what was minted is what is read");
    }
    if let Ok(read) = verified(&signed_biscuit(bytes, None)) {
        // It says what a token says, which is minted again.
        let mut token = read.token().clone();
        token.further.pop();
        assert!(Unsigned::new(&token, &SEED).is_ok());
    }
}

/// Whether a block that is added to a good token is read, and is of the vocabulary.
pub(crate) fn narrows(block: &[u8]) -> Option<bool> {
    let read = verified(&signed_biscuit(good_block(), Some(block))).ok()?;
    Some(read.uninterpreted().next().is_none())
}

/// The authority block of a good token.
fn good_block() -> &'static [u8] {
    static BASE: OnceLock<Vec<u8>> = OnceLock::new();
    BASE.get_or_init(|| {
        let payload = include_bytes!("corpus/access_token/machine");
        let token = AccessToken::parse(payload, key()).expect("a token");
        Unsigned::new(&token, &SEED).expect("a token").block().to_vec()
    })
}

/// Any block that somebody added to a good token.
fn biscuit_block(bytes: &[u8]) {
    let base = good_block();
    let before = verified(&signed_biscuit(base, None)).expect("a token");
    let Ok(read) = verified(&signed_biscuit(base, Some(bytes))) else { return };
    assert!(before.held().covers(read.held()));
    assert!(before.token().delegable.covers(&read.token().delegable));
    assert!(read.token().expires_at <= before.token().expires_at);
    assert!(before.token().lineage().all(|id| read.token().lineage().any(|own| own == id)));
}
