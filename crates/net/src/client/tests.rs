//! The client against servers on loopback, plain and TLS, honest and not.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::header::LOCATION;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::sse::{Events, Limits};

/// A server on loopback that answers every connection's requests with `answer`, byte for byte,
/// and then keeps the connection open. It counts connections and keeps the last request.
struct Fixture {
    port: u16,
    connections: Arc<AtomicUsize>,
    last_request: Arc<std::sync::Mutex<String>>,
}

async fn serve(answer: &'static str, tls: Option<Arc<rustls::ServerConfig>>) -> Fixture {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let connections = Arc::new(AtomicUsize::new(0));
    let last_request = Arc::new(std::sync::Mutex::new(String::new()));
    let (counter, last) = (Arc::clone(&connections), Arc::clone(&last_request));
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.expect("a connection");
            counter.fetch_add(1, Ordering::SeqCst);
            let (tls, last) = (tls.clone(), Arc::clone(&last));
            tokio::spawn(async move {
                match tls {
                    None => answer_all(tcp, answer, last).await,
                    Some(config) => {
                        if let Ok(stream) =
                            tokio_rustls::TlsAcceptor::from(config).accept(tcp).await
                        {
                            answer_all(stream, answer, last).await;
                        }
                    }
                }
            });
        }
    });
    Fixture { port, connections, last_request }
}

async fn answer_all(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: &str,
    last: Arc<std::sync::Mutex<String>>,
) {
    let mut seen = Vec::new();
    let mut buffer = [0u8; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        seen.extend_from_slice(&buffer[..count]);
        if seen.windows(4).any(|window| window == b"\r\n\r\n") {
            *last.lock().expect("not poisoned") = String::from_utf8_lossy(&seen).into_owned();
            seen.clear();
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
            let _ = stream.flush().await;
        }
    }
}

fn client(egress: Egress) -> Client {
    Client::new(short(Config::new(egress))).expect("a client")
}

fn short(config: Config) -> Config {
    Config {
        connect_timeout: Duration::from_millis(500),
        exchange_timeout: Duration::from_millis(800),
        idle_timeout: Duration::from_millis(300),
        ..config
    }
}

fn get(uri: &str) -> Request<Bytes> {
    Request::get(uri).body(Bytes::new()).expect("a request")
}

async fn check(client: &Client, uri: &str) -> Result<Response<Bytes>, NetError> {
    client.send(get(uri), RESPONSE_BODY_MAX).await
}

#[tokio::test]
async fn an_answer_comes_back_and_the_connection_is_used_again() {
    let server = serve("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", None).await;
    let client = client(Egress::Named);
    for _ in 0..3 {
        let uri = format!("http://localhost:{}/a?b=c", server.port);
        let response = check(&client, &uri).await.expect("an answer");
        assert_eq!(response.body().as_ref(), b"hello");
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    let request = server.last_request.lock().expect("not poisoned").clone();
    assert!(request.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("host: localhost:{}\r\n", server.port)), "{request}");
}

#[tokio::test]
async fn a_host_header_of_the_caller_is_not_sent() {
    let server = serve("HTTP/1.1 204 No Content\r\n\r\n", None).await;
    let mut request = get(&format!("http://127.0.0.1:{}/", server.port));
    request.headers_mut().insert(HOST, HeaderValue::from_static("elsewhere.example"));
    client(Egress::Named).send(request, 0).await.expect("an answer");
    let request = server.last_request.lock().expect("not poisoned").clone();
    assert!(!request.contains("elsewhere"), "{request}");
}

#[tokio::test]
async fn a_redirect_is_an_answer() {
    let elsewhere = serve("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", None).await;
    let answer = format!(
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:{}/\r\ncontent-length: 0\r\n\r\n",
        elsewhere.port
    );
    let server = serve(answer.leak(), None).await;
    let uri = format!("http://127.0.0.1:{}/", server.port);
    let response = check(&client(Egress::Named), &uri).await.expect("an answer");
    assert_eq!(response.status(), 302);
    assert!(response.headers().contains_key(LOCATION));
    assert_eq!(elsewhere.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_body_beyond_the_bound_is_refused_announced_or_not() {
    let client = client(Egress::Named);
    let announced = serve("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", None).await;
    let chunked = serve(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
        None,
    )
    .await;
    for server in [announced, chunked] {
        let uri = format!("http://127.0.0.1:{}/", server.port);
        assert_eq!(client.send(get(&uri), 5).await.expect("fits").body().as_ref(), b"hello");
        let host = format!("127.0.0.1:{}", server.port);
        assert_eq!(
            client.send(get(&uri), 4).await.err(),
            Some(NetError::TooLarge { host, max: 4 })
        );
    }
}

#[tokio::test]
async fn an_answer_with_too_many_headers_is_no_answer() {
    let headers = "x-a: b\r\n".repeat(RESPONSE_HEADERS_MAX + 1);
    let answer = format!("HTTP/1.1 200 OK\r\n{headers}content-length: 0\r\n\r\n").leak();
    let server = serve(answer, None).await;
    let uri = format!("http://127.0.0.1:{}/", server.port);
    let outcome = check(&client(Egress::Named), &uri).await;
    assert!(matches!(outcome, Err(NetError::Broken { .. })), "{outcome:?}");
}

#[tokio::test]
async fn silence_runs_out_of_time_in_head_and_body() {
    let client = client(Egress::Named);
    for answer in ["", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello"] {
        let server = serve(answer, None).await;
        let uri = format!("http://127.0.0.1:{}/", server.port);
        let outcome = check(&client, &uri).await;
        assert!(
            matches!(outcome, Err(NetError::TimedOut { phase: Phase::Exchange, .. })),
            "{outcome:?}"
        );
    }
}

#[tokio::test]
async fn a_stream_lives_beyond_the_exchange_and_ends_when_silent() {
    let server = serve(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n11\r\nid: 1\ndata: abc\n\n\r\n",
        None,
    )
    .await;
    let uri = format!("http://127.0.0.1:{}/", server.port);
    let mut response = client(Egress::Named).stream(get(&uri)).await.expect("a stream");
    response.body_mut().set_idle_timeout(Duration::from_millis(200));
    let mut events = Events::new(response.into_body(), Limits::default());
    let event = events.next().await.expect("an event").expect("not the end");
    assert_eq!((event.id.as_str(), event.data.as_str()), ("1", "abc"));
    let outcome = events.next().await;
    assert!(
        matches!(
            outcome,
            Err(crate::sse::StreamError::Net(NetError::TimedOut { phase: Phase::Idle, .. }))
        ),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn nobody_listening_is_unreachable() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let outcome = check(&client(Egress::Named), &format!("http://127.0.0.1:{port}/")).await;
    let reason = std::io::ErrorKind::ConnectionRefused;
    let host = format!("127.0.0.1:{port}");
    assert_eq!(outcome.err(), Some(NetError::Unreachable { host, reason }));
}

#[tokio::test]
async fn a_stranger_cannot_name_our_own_network() {
    let server = serve("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", None).await;
    let client = client(Egress::Public);
    for host in ["localhost", "127.0.0.1", "127.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"] {
        for scheme in ["http", "https"] {
            let outcome = check(&client, &format!("{scheme}://{host}:{}/", server.port)).await;
            assert!(
                matches!(outcome, Err(NetError::Refused { .. } | NetError::Unresolved { .. })),
                "{scheme} {host}: {outcome:?}"
            );
        }
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_name_is_resolved_once_and_all_its_addresses_judged() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let resolve: Resolve = Arc::new(move |_, _| {
        counter.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Ok(vec![IpAddr::from([1, 1, 1, 1]), IpAddr::from([169, 254, 169, 254])]) })
    });
    let client =
        Client::with_resolver(short(Config::new(Egress::Public)), resolve).expect("a client");
    let outcome = check(&client, "https://rebind.example/").await;
    assert!(matches!(outcome, Err(NetError::Refused { .. })), "{outcome:?}");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn plain_http_leaves_loopback_for_nobody() {
    let outcome = check(&client(Egress::Named), "http://1.1.1.1/").await;
    assert!(matches!(outcome, Err(NetError::Refused { .. })), "{outcome:?}");
}

#[tokio::test]
async fn odd_uris_are_not_sent_to_and_passwords_are_not_repeated() {
    let client = client(Egress::Named);
    for uri in ["/relative", "ftp://localhost/", "http://user:pass@localhost/", "localhost:80"] {
        let error = check(&client, uri).await.expect_err(uri);
        assert!(matches!(error, NetError::Unsendable { .. }), "{uri}: {error:?}");
        assert!(!error.to_string().contains("pass@") && !error.to_string().contains("user:"));
    }
}

struct Authority {
    file: tempfile::NamedTempFile,
    server: Arc<rustls::ServerConfig>,
}

/// A certificate authority in a PEM file and a server certificate for `name` under it.
fn authority(name: &str) -> Authority {
    let ca_key = rcgen::KeyPair::generate().expect("a key");
    let mut ca = rcgen::CertificateParams::new(Vec::<String>::new()).expect("parameters");
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).expect("a certificate");
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate().expect("a key");
    let leaf = rcgen::CertificateParams::new(vec![name.to_owned()])
        .expect("parameters")
        .signed_by(&key, &issuer)
        .expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .expect("a certificate and its key");
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    std::io::Write::write_all(&mut file, ca_certificate.pem().as_bytes()).expect("written");
    Authority { file, server: Arc::new(server) }
}

fn trusting(authority: &Authority) -> Client {
    let authorities = Some(authority.file.path().to_owned());
    Client::new(Config { authorities, ..short(Config::new(Egress::Named)) }).expect("a client")
}

#[tokio::test]
async fn tls_is_accepted_from_a_configured_authority_only() {
    let ours = authority("localhost");
    let server =
        serve("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", Some(Arc::clone(&ours.server)))
            .await;
    let uri = format!("https://localhost:{}/", server.port);
    assert_eq!(check(&trusting(&ours), &uri).await.expect("an answer").body().as_ref(), b"ok");
    for stranger in [client(Egress::Named), trusting(&authority("localhost"))] {
        let outcome = check(&stranger, &uri).await;
        assert!(matches!(outcome, Err(NetError::Untrusted { .. })), "{outcome:?}");
    }
}

#[tokio::test]
async fn tls_for_another_name_is_refused() {
    let ours = authority("elsewhere.example");
    let server =
        serve("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", Some(Arc::clone(&ours.server)))
            .await;
    let outcome = check(&trusting(&ours), &format!("https://localhost:{}/", server.port)).await;
    assert!(matches!(outcome, Err(NetError::Untrusted { .. })), "{outcome:?}");
}

#[tokio::test]
async fn a_tls_server_that_speaks_plain_text_is_no_server() {
    let server = serve("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", None).await;
    let outcome =
        check(&client(Egress::Named), &format!("https://localhost:{}/", server.port)).await;
    assert!(outcome.is_err(), "{outcome:?}");
}

#[test]
fn a_file_of_authorities_must_hold_some() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    let config = |path: &std::path::Path| Config {
        authorities: Some(path.to_owned()),
        ..Config::new(Egress::Named)
    };
    assert!(matches!(
        Client::new(config(file.path())).err(),
        Some(ConfigError::AuthoritiesInvalid { .. })
    ));
    let text = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    std::io::Write::write_all(&mut file, text).expect("written");
    assert!(matches!(
        Client::new(config(file.path())).err(),
        Some(ConfigError::AuthoritiesInvalid { .. })
    ));
    assert!(matches!(
        Client::new(config(std::path::Path::new("no such file"))).err(),
        Some(ConfigError::AuthoritiesUnreadable { .. })
    ));
}

mod documents {
    use super::*;
    use crate::document::{DocumentError, Documents};

    const TYPES: [&str; 2] = ["application/json", "application/jwk-set+json"];

    fn allowing(ports: &[u16]) -> Documents {
        let at = |port: &u16| std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
        Documents::new(ports.iter().map(at).collect()).expect("documents")
    }

    async fn fetched(documents: &Documents, url: &str) -> Result<Bytes, DocumentError> {
        documents.get(url, &TYPES, 100).await
    }

    #[tokio::test]
    async fn only_what_was_allowed_on_loopback_is_fetched_from() {
        let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
                      content-length: 2\r\n\r\n{}";
        let (server, other) = (serve(answer, None).await, serve(answer, None).await);
        let documents = allowing(&[server.port]);
        let url = format!("http://127.0.0.1:{}/jwks?x=1", server.port);
        assert_eq!(fetched(&documents, &url).await.expect("a document"), "{}");
        let sent = server.last_request.lock().expect("not poisoned").to_lowercase();
        assert!(sent.contains("accept-encoding: identity") && !sent.contains("authorization"));
        for url in [
            format!("http://127.0.0.1:{}/", other.port),
            format!("http://localhost:{}/", server.port),
            format!("http://127.0.0.2:{}/", server.port),
            format!("http://[::1]:{}/", server.port),
            format!("https://127.0.0.1:{}/", other.port),
        ] {
            assert!(fetched(&documents, &url).await.is_err(), "{url}");
        }
        assert!(fetched(&allowing(&[]), &url).await.is_err());
        assert_eq!(other.connections.load(Ordering::SeqCst), 0);
    }

    /// STANDARDS-style list of what a stranger names to reach our own network. Those that are
    /// addresses are refused before anything is resolved, the others when they are.
    #[tokio::test]
    async fn our_own_network_is_not_fetched_from_however_it_is_written() {
        let documents = allowing(&[]);
        for host in [
            "127.0.0.1",
            "127.1",
            "0.0.0.0",
            "169.254.169.254",
            "100.64.0.1",
            "10.0.0.1",
            "192.168.0.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "017700000001",
            "0177.0.0.1",
            "localhost",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[fd00::1]",
            "[fd00:ec2::254]",
            "[fe80::1]",
            "[64:ff9b::7f00:1]",
            "[64:ff9b::a9fe:a9fe]",
            "[2002:7f00:1::]",
        ] {
            let error = fetched(&documents, &format!("https://{host}/jwks")).await.expect_err(host);
            let refused = matches!(
                error,
                DocumentError::Net(NetError::Refused { .. } | NetError::Unresolved { .. })
            );
            assert!(refused, "{host}: {error:?}");
        }
        for literal in ["127.0.0.1", "169.254.169.254", "[::1]", "[64:ff9b::7f00:1]"] {
            assert!(documents.check(&format!("https://{literal}/")).is_err(), "{literal}");
        }
        for url in [
            "http://jwks.example/",
            "ftp://jwks.example/",
            "file:///etc/passwd",
            "jwks.example",
            "//jwks.example/",
            "https://user:pass@jwks.example/",
            "https://",
            "https:///x",
            "https://jwks.example/#f",
            "https://jwks.example/ x",
            "javascript:alert(1)",
            &format!("https://jwks.example/{}", "x".repeat(512)),
        ] {
            let error = documents.check(url).expect_err(url);
            assert!(!error.to_string().contains("user:pass"), "{error}");
        }
        documents.check("https://jwks.example/.well-known/jwks.json").expect("a good one");
    }

    #[tokio::test]
    async fn an_answer_is_whole_small_plain_and_of_the_right_type() {
        let typed = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
        let refused: [(String, &str); 8] = [
            (
                "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"
                    .to_owned(),
                "a redirect",
            ),
            ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned(), "not there"),
            (
                "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 2\r\n\r\n{}"
                    .to_owned(),
                "another type",
            ),
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".to_owned(), "no type"),
            (format!("{typed}content-encoding: gzip\r\ncontent-length: 2\r\n\r\n{{}}"), "encoded"),
            (format!("{typed}content-length: 101\r\n\r\n{}", "x".repeat(101)), "announced"),
            (
                format!(
                    "{typed}transfer-encoding: chunked\r\n\r\n65\r\n{}\r\n0\r\n\r\n",
                    "x".repeat(101)
                ),
                "not announced",
            ),
            (format!("{typed}content-length: 50\r\n\r\n{{}}"), "shorter than it says"),
        ];
        for (answer, what) in refused {
            let server = serve(answer.leak(), None).await;
            let documents = allowing(&[server.port]);
            let url = format!("http://127.0.0.1:{}/", server.port);
            let begun = tokio::time::timeout(Duration::from_secs(8), fetched(&documents, &url));
            let outcome = begun.await.expect("it has a bound");
            assert!(outcome.is_err(), "{what}: {outcome:?}");
            assert_eq!(server.connections.load(Ordering::SeqCst), 1, "{what}");
        }
        let good = "HTTP/1.1 200 OK\r\ncontent-type: Application/JWK-Set+JSON; charset=utf-8\r\n\
                    content-length: 2\r\n\r\n{}";
        let server = serve(good, None).await;
        let url = format!("http://127.0.0.1:{}/", server.port);
        fetched(&allowing(&[server.port]), &url).await.expect("a document");
    }
}
