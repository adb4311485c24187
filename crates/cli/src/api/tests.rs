//! The client against a server that answers whatever the test says.

use serde_json::json;

use super::*;
use crate::fake_server::{Asked, FakeServer};

const SECRET: &str = "acr_admin_test";

async fn serve(answer: fn(&str) -> (u16, String)) -> (Api, FakeServer) {
    let server = FakeServer::start(answer).await;
    (api(server.url.clone(), Some(SECRET)), server)
}

fn api(url: String, token: Option<&str>) -> Api {
    let token = token.map(|token| Secret::new(token.to_owned()));
    Api::new(ClientSettings { url, token }, &GlobalFlags::default()).expect("a client")
}

async fn check_failure(answer: fn(&str) -> (u16, String), exit: Exit) -> Failure {
    let (api, _) = serve(answer).await;
    let failure = api.get(RequestPath::new("/v1/agents")).await.expect_err("a failure");
    assert_eq!(failure.exit, exit, "{failure:?}");
    assert_eq!(failure.lines(false).lines().count(), 3);
    failure
}

#[tokio::test]
async fn a_problem_becomes_a_failure_with_the_exit_code_of_its_status() {
    let failure = check_failure(
        |_| {
            let body = json!({"type": "urn:accredit:problem:agent.unknown", "title": "no such agent",
                "status": 404, "detail": "d", "hint": "accredit agent list",
                "request_id": "req_body"});
            (404, body.to_string())
        },
        Exit::NotFound,
    )
    .await;
    assert_eq!(&*failure.kind, "urn:accredit:problem:agent.unknown");
    assert_eq!(failure.request_id.as_deref(), Some("req_body"));
    assert_eq!(&*failure.hint, "accredit agent list");
    check_failure(|_| (401, String::new()), Exit::NotAuthenticated).await;
    check_failure(|_| (403, "{}".into()), Exit::Denied).await;
    check_failure(|_| (409, "{}".into()), Exit::Conflict).await;
    check_failure(|_| (412, "{}".into()), Exit::Conflict).await;
    check_failure(|_| (503, "busy".into()), Exit::Unreachable).await;
    let failure = check_failure(|_| (500, "oops".into()), Exit::Failure).await;
    assert_eq!(failure.request_id.as_deref(), Some("req_head"), "the header tells it too");
}

#[tokio::test]
async fn an_answer_that_is_not_the_apis_is_a_failure() {
    check_failure(|_| (200, "<html>".into()), Exit::Failure).await;
    check_failure(|_| (302, String::new()), Exit::Failure).await;
    let (api, _) = serve(|_| (200, json!({"things": []}).to_string())).await;
    assert!(api.list(RequestPath::new("/v1/agents"), 5, None).await.is_err());
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let failure = api(url.clone(), Some(SECRET)).get(RequestPath::new("/v1/orgs")).await;
    let failure = failure.expect_err("unreachable");
    assert_eq!(failure.exit.code(), 8);
    assert!(failure.title.contains(&url));
    assert!(!format!("{failure:?}").contains(SECRET));
}

#[tokio::test]
async fn without_a_key_nothing_is_sent() {
    let (with_key, seen) = serve(|_| (200, "{}".into())).await;
    let failure = api(with_key.url.clone(), None).get(RequestPath::new("/v1/orgs")).await;
    assert_eq!(failure.expect_err("no key").exit, Exit::NotAuthenticated);
    assert!(seen.lines().is_empty());
}

#[tokio::test]
async fn a_call_carries_the_key_and_only_the_members_given() {
    let (api, seen) = serve(|_| (201, r#"{"id":"agt_1","client_secret":"s"}"#.into())).await;
    let body = json!({"name": "a"});
    let path = RequestPath::new("/v1/agents");
    let answer = api.call(Method::POST, path, Some(body)).await.expect("an answer");
    assert_eq!(answer.text, r#"{"id":"agt_1","client_secret":"s"}"#, "the API's own object");
    let idempotency_key = seen.seen()[0].idempotency_key.clone();
    assert_eq!(idempotency_key.len(), 32, "128 random bits");
    let expected = Asked {
        idempotency_key,
        line: "POST /v1/agents".into(),
        authorization: format!("Bearer {SECRET}"),
        body: r#"{"name":"a"}"#.into(),
    };
    assert_eq!(seen.seen(), [expected]);
}

#[tokio::test]
async fn an_empty_answer_is_an_answer() {
    let (api, _) = serve(|_| (204, String::new())).await;
    let answer =
        api.call(Method::DELETE, RequestPath::new("/v1/x"), None).await.expect("an answer");
    assert!(answer.text.is_empty());
}

/// Pages of two out of five items.
fn paged(path: &str) -> (u16, String) {
    let start: usize = path.split("cursor=c").nth(1).map_or(0, |n| n.parse().expect("a cursor"));
    let items: Vec<Value> = (start..5).take(2).map(|n| json!({"id": n})).collect();
    let next = (start + 2 < 5).then(|| format!("c{}", start + 2));
    (200, json!({"items": items, "next": next}).to_string())
}

#[tokio::test]
async fn cursors_are_followed_up_to_what_was_asked_for() {
    let (api, seen) = serve(paged).await;
    let path = RequestPath::new("/v1/agents").query("state", "active");
    let page = api.list(path.clone(), 100, None).await.expect("a list");
    assert_eq!((page.items.len(), page.next), (5, None));
    assert_eq!(seen.lines()[1], "GET /v1/agents?state=active&limit=98&cursor=c2");
    let page = api.list(path, 2, Some("c2".into())).await.expect("a list");
    assert_eq!((page.items.len(), page.next.as_deref()), (2, Some("c4")));
}

#[tokio::test]
async fn a_cursor_that_leads_nowhere_ends_the_list() {
    let stuck = |_: &str| (200, json!({"items": [{"id": 1}], "next": "c"}).to_string());
    let (api, seen) = serve(stuck).await;
    let page = api.list(RequestPath::new("/v1/x"), 100, None).await.expect("a list");
    assert_eq!(page.items.len(), 2);
    assert_eq!(seen.lines().len(), 2);
}

#[tokio::test]
async fn a_token_is_asked_for_with_basic_authentication_in_form_encoding() {
    let (api, seen) = serve(|_| (200, r#"{"access_token":"t"}"#.into())).await;
    let issuer = format!("{}/o/dev", api.url());
    let secret = Secret::new("a:b%".to_owned());
    api.token(&issuer, ("agt 1", &secret), "grant_type=client_credentials").await.expect("a token");
    let expected = Asked {
        idempotency_key: String::new(),
        line: "POST /o/dev/oauth/token".into(),
        authorization: format!("Basic {}", STANDARD.encode("agt+1:a%3Ab%25")),
        body: "grant_type=client_credentials".into(),
    };
    assert_eq!(seen.seen(), [expected]);
}

#[tokio::test]
async fn a_refused_token_tells_the_rule() {
    let refused = |_: &str| {
        let body = json!({"error": "invalid_scope", "error_description": "not granted",
            "rule": "scope.not_granted", "hint": "ask for crm:read"});
        (400, body.to_string())
    };
    let (api, _) = serve(refused).await;
    let issuer = format!("{}/o/dev", api.url());
    let secret = Secret::new("s".to_owned());
    let failure = api.token(&issuer, ("agt_1", &secret), "").await.expect_err("refused");
    assert_eq!(failure.exit.code(), 5);
    assert_eq!(&*failure.hint, "ask for crm:read");
}

#[tokio::test]
async fn a_stream_is_checked_before_it_is_read() {
    let (api, _) = serve(|_| (403, r#"{"title":"not an auditor"}"#.into())).await;
    let failure = api.stream(RequestPath::new("/v1/events/export")).await.expect_err("refused");
    assert_eq!((failure.exit, &*failure.title), (Exit::Denied, "not an auditor"));
    let (api, _) = serve(|_| (200, "a\nb\n".into())).await;
    let mut pieces = api.stream(RequestPath::new("/v1/events/export")).await.expect("a stream");
    let mut whole = Vec::new();
    while let Some(piece) = pieces.next().await.expect("a piece") {
        whole.extend_from_slice(&piece);
    }
    assert_eq!(whole, b"a\nb\n");
}

#[tokio::test]
async fn a_page_without_items_is_not_the_end() {
    fn sparse(line: &str) -> (u16, String) {
        let answer = match line.split("cursor=").nth(1) {
            None => json!({"items": [], "next": "20000"}),
            Some("20000") => json!({"items": [], "next": "40000"}),
            Some(_) => json!({"items": [{"id": 1}], "next": null}),
        };
        (200, answer.to_string())
    }
    let (api, seen) = serve(sparse).await;
    let page = api.list(RequestPath::new("/v1/events"), 5, None).await.expect("a list");
    assert_eq!((page.items.len(), seen.lines().len()), (1, 3));
}

#[tokio::test]
async fn each_creation_has_a_key_of_its_own_and_nothing_else_has_one() {
    let (api, seen) = serve(|_| (200, "{}".into())).await;
    for path in [
        "/v1/agents",
        "/v1/agents",
        "/v1/credentials/crd_1/rotate",
        "/v1/agents/a/suspend",
        "/v1/signing-keys/rotate",
        "/v1/log/fsck",
    ] {
        api.call(Method::POST, RequestPath::new(path), None).await.expect("an answer");
    }
    api.call(Method::PATCH, RequestPath::new("/v1/agents"), None).await.expect("an answer");
    let keys: Vec<String> = seen.seen().into_iter().map(|asked| asked.idempotency_key).collect();
    assert!(keys[..3].iter().all(|key| key.len() == 32), "{keys:?}");
    assert!(keys[0] != keys[1] && keys[1] != keys[2], "{keys:?}");
    assert!(keys[3..].iter().all(String::is_empty), "{keys:?}");
}

/// A server whose first connection breaks after the request was read.
async fn breaking() -> (String, tokio::task::JoinHandle<Vec<String>>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let asked = tokio::spawn(async move {
        let mut keys = Vec::new();
        for attempt in 0..2 {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut text = String::new();
            while !text.contains("\r\n\r\n") {
                let mut part = [0; 4096];
                let length = stream.read(&mut part).await.expect("a request");
                text.push_str(std::str::from_utf8(&part[..length]).expect("text"));
            }
            let key = text.lines().find_map(|line| line.strip_prefix("idempotency-key: "));
            keys.push(key.unwrap_or_default().to_owned());
            if attempt == 1 {
                let answer = "HTTP/1.1 201 Created\r\ncontent-length: 14\r\n\
                              idempotent-replayed: true\r\n\r\n{\"id\":\"agt_1\"}";
                stream.write_all(answer.as_bytes()).await.expect("written");
            }
        }
        keys
    });
    (url, asked)
}

#[tokio::test]
async fn a_creation_whose_answer_is_lost_is_sent_again_under_its_key() {
    let (url, asked) = breaking().await;
    let body = json!({"name": "a"});
    let call = api(url, Some(SECRET));
    let answer = call.call(Method::POST, RequestPath::new("/v1/agents"), Some(body)).await;
    let answer = answer.expect("the second answer");
    assert!(answer.replayed);
    let keys = asked.await.expect("the server");
    assert_eq!(keys[0], keys[1]);
    assert_eq!(keys[0].len(), 32);
}

#[tokio::test]
async fn a_change_whose_answer_is_lost_is_not_sent_again() {
    let (url, asked) = breaking().await;
    let path = RequestPath::new("/v1/agents/a/suspend");
    let failure = api(url, Some(SECRET)).call(Method::POST, path, None).await;
    assert_eq!(failure.expect_err("broken").exit.code(), 8);
    asked.abort();
}

#[tokio::test]
async fn who_is_over_a_limit_is_told_how_long_to_wait() {
    let (api, _) = serve(|_| (429, r#"{"title":"Too Many Requests","hint":"wait"}"#.into())).await;
    let failure = api.get(RequestPath::new("/v1/agents")).await.expect_err("refused");
    assert_eq!((failure.exit.code(), &*failure.hint), (1, "wait 17 s, then run it again"));
}
