//! Who opens a connection and then says nothing, or half of something, or takes nothing, is not
//! waited for; and nobody who does takes the places of others unseen.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::stage::binary;
use crate::stage::server::{Folder, Server, address_of, free_port, init};
use crate::stage::{Ask, until};
use crate::story_restart::with_certificate;

/// Longer than the longest bound (10 s for a beginning, 20 s and 10 s for a ping, 30 s for a
/// write), on a machine with other work.
const ENDS_WITHIN: Duration = Duration::from_mins(1);

/// What a client of HTTP/2 says first (RFC 9113 section 3.4), and its empty SETTINGS.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.address).await.expect("connected")
}

/// Sends some bytes and no more; the server ends the connection. What it said before.
async fn check_ends(server: &Server, said: &[u8], what: &str) -> Vec<u8> {
    let mut stream = connect(server).await;
    stream.write_all(said).await.expect("sent");
    let mut told = Vec::new();
    let read = tokio::time::timeout(ENDS_WITHIN, stream.read_to_end(&mut told)).await;
    // An end or a reset.
    let _ = read.unwrap_or_else(|_| panic!("{what}: it is still waited for"));
    told
}

/// A frame of HTTP/2 (RFC 9113 section 4.1): its type and flags, whole.
async fn frame(stream: &mut TcpStream) -> Option<([u8; 9], Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await.ok()?;
    Some((head, payload))
}

/// A quiet connection of HTTP/2 that answers a ping is still there when another would have ended.
async fn check_who_answers_stays(server: &Server) {
    let mut stream = connect(server).await;
    stream.write_all(PREFACE).await.expect("sent");
    loop {
        let next = tokio::time::timeout(ENDS_WITHIN, frame(&mut stream)).await.expect("a ping");
        let (head, payload) = next.expect("it goes on");
        if (head[3], head[4] & 1) == (6, 0) {
            let answer = [&[0, 0, 8, 6, 1, 0, 0, 0, 0][..], &payload].concat();
            stream.write_all(&answer).await.expect("it goes on");
            break;
        }
    }
    let end = tokio::time::timeout(Duration::from_secs(12), frame(&mut stream)).await;
    assert!(end.is_err(), "{end:?}");
}

/// Asks for much, often, and reads nothing; the server breaks it off.
async fn check_who_takes_nothing_is_left(server: &Server) {
    let mut stream = connect(server).await;
    let ask = "GET /openapi.json HTTP/1.1\r\nhost: a\r\n\r\n";
    // What fits nowhere any more shows by itself: the server reads no further requests.
    let mut sent = 0_usize;
    let broken = async {
        loop {
            if stream.write_all(ask.as_bytes()).await.is_err() {
                return;
            }
            sent += 1;
        }
    };
    tokio::time::timeout(ENDS_WITHIN, broken).await.expect("who takes nothing is left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_go_on_is_not_waited_for() {
    let server = Server::dev().await;
    let request = b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n";
    let ends = async |said: &[u8], what| check_ends(&server, said, what).await;
    let (silent, half, head, idle, deaf, ..) = tokio::join!(
        ends(b"", "nothing said"),
        ends(&PREFACE[..12], "half a preface"),
        ends(&request[..20], "half a head"),
        ends(request, "one request and no other"),
        ends(PREFACE, "no answer to a ping"),
        check_who_answers_stays(&server),
        check_who_takes_nothing_is_left(&server),
    );
    assert!(silent.is_empty() && half.is_empty(), "nothing is told to who asked nothing");
    // RFC 9110 section 15.5.9 allows to say so and to say nothing.
    assert!(head.is_empty() || head.starts_with(b"HTTP/1.1 408 "), "{head:?}");
    assert!(idle.starts_with(b"HTTP/1.1 200 "), "{idle:?}");
    assert!(!deaf.is_empty(), "settings and a ping");
    assert_eq!(server.send(Ask::get("/livez")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stops_in_the_handshake_is_not_waited_for() {
    let folder = Folder::new();
    let (founded, _) = with_certificate(&folder);
    let server = Server::serve(folder.clone(), &founded).await;
    until("it listens", Duration::from_secs(20), async || {
        TcpStream::connect(server.address).await.is_ok()
    })
    .await;
    // The head of a record of TLS that would hold a ClientHello (RFC 8446 section 5.1).
    let hello = [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];
    let told = tokio::join!(
        check_ends(&server, b"", "nothing said"),
        check_ends(&server, &hello, "half a ClientHello"),
    );
    assert!(told.0.is_empty() && told.1.is_empty(), "{told:?}");
}

/// The value of a sample among the metrics at `address`.
async fn sample(address: std::net::SocketAddr, name: &str) -> Option<u64> {
    let text = Ask::get("/metrics").send(address).await.text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map(|value| value.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_gets_no_place_is_counted_and_the_log_says_so_once() {
    const DESCRIPTORS: usize = 300;
    let folder = Folder::new();
    let founded: Value = init(&folder, "http");
    let config = founded["config"].as_str().expect("a path").to_owned();
    let metrics = format!("127.0.0.1:{}", free_port());
    let written = std::fs::read_to_string(&config).expect("a configuration");
    std::fs::write(&config, format!("metrics_listen = \"{metrics}\"\n{written}")).expect("a file");
    let mut command = std::process::Command::new("sh");
    let binary = binary::accredit().to_str().expect("a path");
    let script = format!("ulimit -n {DESCRIPTORS} && exec '{binary}' serve --config '{config}'");
    command.args(["-c", &script]);
    let server = Server::serve_by(command, folder.clone(), &founded).await;
    let metrics = address_of(&format!("http://{metrics}"));

    let mut open = Vec::new();
    for _ in 0..DESCRIPTORS - 200 {
        open.push(connect(&server).await);
    }
    let refused = "accredit_connections_refused_total{reason=\"full\"}";
    until("the last ones are refused", Duration::from_secs(10), async || {
        sample(metrics, refused).await > Some(40)
    })
    .await;
    assert!(sample(metrics, "accredit_connections").await <= Some(DESCRIPTORS as u64 - 256));
    let log = std::fs::read_to_string(folder.file("log")).expect("a log");
    assert_eq!(log.matches("connections are refused").count(), 1, "{log}");
    assert!(log.contains("RLIMIT_NOFILE"), "{log}");
    // Whoever leaves makes room.
    drop(open);
    until("there is room again", Duration::from_secs(10), async || {
        Ask::get("/livez").try_send(server.address).await.is_some_and(|told| told.status == 200)
    })
    .await;
}
