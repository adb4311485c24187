//! The guard before a service: who passes, what the others are told, and how streams end.

use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::time::Duration;

use accredit::guard::GuardedBody;
use accredit::{Ended, Guard, PersonId, Principal, RequestContext, Verifier};
use accredit_net::{Client, Config, Egress, NetError};
use accredit_wire::ids::AgentId;
use accredit_wire::verify::Rejection;
use axum::body::{Body, Bytes};
use axum::extract::Extension;
use axum::http::{Request, Response, StatusCode, header};
use axum::routing::{get, post};
use futures_util::StreamExt as _;
use http_body_util::{BodyExt as _, Full};
use tower::{Layer as _, ServiceExt as _};

use crate::issuer::{Grant, Issuer, now};

fn router(verifier: &Verifier) -> axum::Router {
    async fn who(Extension(principal): Extension<Principal>) -> String {
        principal.client_id().to_string()
    }
    async fn stream() -> Body {
        Body::from_stream(futures_util::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Some((Ok::<_, Infallible>(Bytes::from_static(b"tick")), ()))
        }))
    }
    async fn quiet() -> Body {
        Body::from_stream(futures_util::stream::pending::<Result<Bytes, Infallible>>())
    }
    // Says in a header why it read no further: the body of its answer is broken off, too.
    async fn upload(body: Body) -> Result<String, (StatusCode, [(&'static str, String); 1])> {
        let mut bytes = 0;
        let mut frames = body.into_data_stream();
        while let Some(chunk) = frames.next().await {
            let broken = |error| (StatusCode::FORBIDDEN, [("x-cause", cause(error))]);
            bytes += chunk.map_err(broken)?.len();
        }
        Ok(bytes.to_string())
    }
    axum::Router::new()
        .route("/who", get(who))
        .route("/stream", get(stream))
        .route("/quiet", get(quiet))
        .route("/upload", post(upload))
        .layer(verifier.guard().require("crm:read"))
}

/// Why a body ended that was broken off, in the guard's words.
fn cause(error: axum::Error) -> String {
    error.into_inner().downcast_ref::<Ended>().map_or_else(|| "another".into(), ToString::to_string)
}

fn request(path: &str, token: Option<&str>) -> Request<Body> {
    let mut request = Request::get(path);
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    request.body(Body::empty()).expect("a request")
}

async fn ask(verifier: &Verifier, token: Option<&str>) -> Response<Body> {
    router(verifier).oneshot(request("/who", token)).await.expect("an answer")
}

async fn text(response: Response<Body>) -> String {
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    String::from_utf8(body.into()).expect("text")
}

fn agent(number: u8) -> AgentId {
    AgentId::new(now().millis(), [number; 10])
}

#[tokio::test]
async fn a_good_token_passes_and_the_handler_knows_who_it_is() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier().await;
    let grant = Grant { scope: "crm:read crm:write", ..Grant::default() };
    let response = ask(&verifier, Some(&issuer.token(&grant))).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(text(response).await, grant.agent.to_string());
}

#[tokio::test]
async fn everything_else_is_told_why() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier().await;
    let good = issuer.token(&Grant::default());
    let elsewhere = issuer.token(&Grant { audience: "https://erp.example", ..Grant::default() });
    let narrow = issuer.token(&Grant { scope: "crm:list", ..Grant::default() });
    let over = issuer.token(&Grant { life: 0, ..Grant::default() });
    let (signed, _) = good.rsplit_once('.').expect("a signature");
    let bent = format!("{signed}.{}", "A".repeat(86));
    let stranger = Issuer::start().await.token(&Grant::default());
    for (token, status, rule) in [
        (None, 401, "credential-missing"),
        (Some("not a token"), 400, "authorization-malformed"),
        (Some(&*bent), 401, "token-not-accepted"),
        (Some(&*elsewhere), 401, "token-audience"),
        (Some(&*over), 401, "token-expired"),
        (Some(&*stranger), 401, "token-key-unknown"),
        (Some(&*narrow), 403, "scope-insufficient"),
    ] {
        let response = ask(&verifier, token).await;
        assert_eq!(response.status(), status, "{rule}");
        let challenge = response.headers()[header::WWW_AUTHENTICATE].to_str().expect("text");
        assert!(challenge.contains("scope=\"crm:read\""), "{challenge}");
        assert_eq!(challenge.contains("error="), token.is_some(), "{challenge}");
        let body: serde_json::Value = serde_json::from_str(&text(response).await).expect("JSON");
        assert_eq!(body["rule"], rule);
        assert!(body["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{body}");
    }
}

#[tokio::test]
async fn two_credentials_or_one_in_the_query_are_none() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier().await;
    let good = issuer.token(&Grant::default());
    let mut twice = request("/who", Some(&good));
    let value = twice.headers()[header::AUTHORIZATION].clone();
    twice.headers_mut().append(header::AUTHORIZATION, value);
    let query = request(&format!("/who?access_token={good}"), Some(&good));
    for wrong in [twice, query] {
        let response = router(&verifier).oneshot(wrong).await.expect("an answer");
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    }
}

#[tokio::test]
#[should_panic(expected = "`everything` cannot be required")]
async fn a_guard_with_a_scope_that_is_none_does_not_start() {
    let issuer = Issuer::start().await;
    let _ = issuer.verifier().await.guard().require("everything");
}

#[tokio::test]
async fn the_guard_fits_any_service_of_http_types() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier().await;
    let inner = tower::service_fn(|request: Request<GuardedBody<Full<Bytes>>>| async move {
        let known = request.extensions().get::<Principal>().is_some();
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(known.to_string()))))
    });
    let service = verifier.guard().require("crm:read").layer(inner);
    let token = issuer.token(&Grant::default());
    let request = Request::get("/")
        .header(header::AUTHORIZATION, format!("bearer {token}"))
        .body(Full::new(Bytes::new()))
        .expect("a request");
    let response = service.oneshot(request).await.expect("an answer");
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    assert_eq!(&body[..], b"true");
}

#[tokio::test]
async fn a_revoked_stream_breaks_off_while_its_sibling_goes_on() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier().await;
    let (doomed, spared) = (agent(1), agent(2));
    let open = async |agent, path: &str| {
        let token = issuer.token(&Grant { agent, ..Grant::default() });
        let response = router(&verifier).oneshot(request(path, Some(&token))).await;
        response.expect("an answer").into_body()
    };
    let mut ending = open(doomed, "/stream").await;
    let mut quiet = open(doomed, "/quiet").await;
    let mut living = open(spared, "/stream").await;
    for body in [&mut ending, &mut living] {
        body.frame().await.expect("a frame").expect("no error");
    }
    issuer.revoke(doomed);
    let end = async |body: &mut Body| loop {
        match body.frame().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => return error,
            None => panic!("ended as if it were whole"),
        }
    };
    for body in [&mut ending, &mut quiet] {
        let error = tokio::time::timeout(Duration::from_millis(500), end(body)).await;
        let error = error.expect("ended in time").into_inner();
        let ended = error.downcast_ref::<Ended>().expect("our reason");
        assert!(matches!(ended.0, Rejection::Revoked { id } if id == doomed.any()), "{ended}");
    }
    assert!(ending.frame().await.is_none(), "over is over");
    for _ in 0..5 {
        living.frame().await.expect("a frame").expect("no error");
    }
    let token = issuer.token(&Grant { agent: doomed, ..Grant::default() });
    let revived = ask(&verifier, Some(&token)).await;
    assert_eq!(revived.status(), StatusCode::OK, "a decision after the revocation");
}

#[tokio::test]
async fn the_other_side_of_a_socket_sees_that_a_part_is_missing() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let routes = router(&verifier);
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let grant = Grant::default();
    let request = Request::get(format!("http://{address}/stream"))
        .header(header::AUTHORIZATION, format!("Bearer {}", issuer.token(&grant)))
        .body(Bytes::new())
        .expect("a request");
    let client = Client::new(Config::new(Egress::Named)).expect("a client");
    let mut chunks = client.stream(request).await.expect("a stream").into_body();
    chunks.next().await.expect("no error").expect("not the end");
    issuer.revoke(grant.agent);
    let outcome = loop {
        match chunks.next().await {
            Ok(Some(_)) => {}
            other => break other,
        }
    };
    assert!(matches!(outcome, Err(NetError::Broken { .. })), "{outcome:?}");
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier().await;
    let token = issuer.token(&Grant { life: 2, ..Grant::default() });
    let principal = verifier.verify_token(&token).await.expect("a principal");
    let ended = tokio::time::timeout(Duration::from_secs(4), principal.revoked()).await;
    assert!(matches!(ended.expect("in time").0, Rejection::Expired { .. }));
}

#[tokio::test]
async fn a_new_key_is_learned_once_and_made_up_keys_do_not_make_us_ask_again() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier().await;
    let old = issuer.token(&Grant::default());
    assert_eq!(ask(&verifier, Some(&old)).await.status(), StatusCode::OK);
    let fetches = || issuer.inner().key_fetches.load(Ordering::SeqCst);
    assert_eq!(fetches(), 1);
    let stranger = Issuer::start().await.token(&Grant::default());
    for _ in 0..5 {
        assert_eq!(ask(&verifier, Some(&stranger)).await.status(), StatusCode::UNAUTHORIZED);
    }
    assert_eq!(fetches(), 1, "the keys were fetched just now");
    let principal = verifier.verify_token(&old).await.expect("a principal");
    issuer.rotate_token_key();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let new = issuer.token(&Grant::default());
    assert_eq!(ask(&verifier, Some(&new)).await.status(), StatusCode::OK);
    assert_eq!(ask(&verifier, Some(&old)).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(fetches(), 2);
    let ended = tokio::time::timeout(Duration::from_millis(100), principal.revoked()).await;
    assert_eq!(ended.expect("ended with its key").0, Rejection::UnknownKey);
}

#[tokio::test]
async fn a_caller_who_hangs_up_does_not_stop_the_keys_from_being_learned() {
    let issuer = Issuer::start().await;
    // Nobody tells of the new key but the token.
    issuer.fall_silent(true);
    let verifier = issuer.builder().age_max(Duration::from_secs(20)).connect().await;
    let verifier = verifier.expect("a verifier");
    tokio::time::sleep(Duration::from_millis(100)).await;
    issuer.rotate_token_key();
    let token = issuer.token(&Grant::default());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let hasty = tokio::time::timeout(Duration::ZERO, verifier.verify_token(&token)).await;
    assert!(hasty.is_err(), "gave up at once");
    verifier.verify_token(&token).await.expect("the key is known by now or soon");
}

/// An upload under way: what is sent next, and the answer.
struct Upload {
    send: tokio::sync::mpsc::Sender<Result<Bytes, Infallible>>,
    answer: tokio::task::JoinHandle<Response<Body>>,
}

impl Upload {
    fn begin(verifier: &Verifier, token: &str) -> Self {
        let (send, sent) = tokio::sync::mpsc::channel(1);
        let body = Body::from_stream(futures_util::stream::unfold(sent, |mut sent| async {
            Some((sent.recv().await?, sent))
        }));
        let request = Request::post("/upload")
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .body(body)
            .expect("a request");
        let service = router(verifier);
        let answer = tokio::spawn(async move { service.oneshot(request).await.expect("answer") });
        Self { send, answer }
    }

    async fn chunk(&self) -> bool {
        self.send.send(Ok(Bytes::from_static(b"part"))).await.is_ok()
    }
}

#[tokio::test]
async fn an_upload_breaks_off_when_its_principal_is_revoked_while_its_sibling_goes_on() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier().await;
    let (doomed, spared) = (agent(1), agent(2));
    let token = |agent| issuer.token(&Grant { agent, ..Grant::default() });
    // One whose client goes on sending, and one whose client is silent.
    let sends = Upload::begin(&verifier, &token(doomed));
    let silent = Upload::begin(&verifier, &token(doomed));
    let living = Upload::begin(&verifier, &token(spared));
    for upload in [&sends, &silent, &living] {
        assert!(upload.chunk().await);
    }
    issuer.revoke(doomed);
    let goes_on = async { while sends.chunk().await {} };
    tokio::time::timeout(Duration::from_secs(2), goes_on).await.expect("nobody reads it any more");
    for upload in [sends.answer, silent.answer] {
        let answer = tokio::time::timeout(Duration::from_secs(2), upload).await;
        let answer = answer.expect("ended in time").expect("no panic");
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "the handler sees that it is no whole");
        let why = answer.headers()["x-cause"].to_str().expect("text");
        assert!(why.contains("revoked"), "{why}");
    }
    assert!(living.chunk().await);
    drop(living.send);
    let answer = living.answer.await.expect("no panic");
    assert_eq!((answer.status(), &*text(answer).await), (StatusCode::OK, "8"));
}

#[tokio::test]
async fn an_upload_ends_with_its_token() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier().await;
    let upload = Upload::begin(&verifier, &issuer.token(&Grant { life: 2, ..Grant::default() }));
    assert!(upload.chunk().await);
    let answer = tokio::time::timeout(Duration::from_secs(5), upload.answer).await;
    let answer = answer.expect("ended in time").expect("no panic");
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    let why = answer.headers()["x-cause"].to_str().expect("text");
    assert!(why.contains("expired"), "{why}");
}

/// One service for two users: whose session a request is stands in a cookie of the service's own.
fn for_users(guard: Guard) -> axum::Router {
    async fn data(Extension(principal): Extension<Principal>) -> String {
        principal.subject().to_string()
    }
    axum::Router::new().route("/who", get(data)).layer(guard.require("crm:read"))
}

fn of_session(head: &axum::http::request::Parts) -> RequestContext {
    let session = head.headers.get("cookie").and_then(|value| value.to_str().ok());
    let user = session.and_then(|session| session.strip_prefix("user=")?.parse().ok());
    RequestContext { user, ..RequestContext::default() }
}

async fn ask_as(routes: &axum::Router, token: &str, session: Option<PersonId>) -> (u16, String) {
    let mut request = request("/who", Some(token));
    if let Some(user) = session {
        let cookie = format!("user={user}").parse().expect("a header");
        request.headers_mut().insert(header::COOKIE, cookie);
    }
    let response = routes.clone().oneshot(request).await.expect("an answer");
    (response.status().as_u16(), text(response).await)
}

#[tokio::test]
async fn one_instance_serves_two_users_at_once_and_fails_to_mix_them() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier().await;
    let [mia, tom] = [7, 8].map(|number| PersonId::new(now().millis(), [number; 10]));
    let token = |user| issuer.token(&Grant { user, ..Grant::default() });
    let (of_mia, of_tom, own) = (token(Some(mia)), token(Some(tom)), token(None));
    let routes = for_users(verifier.guard().context(of_session));
    let both =
        tokio::join!(ask_as(&routes, &of_mia, Some(mia)), ask_as(&routes, &of_tom, Some(tom)),);
    assert_eq!(both, ((200, mia.to_string()), (200, tom.to_string())));
    for (token, session, rule) in [
        (&of_mia, Some(tom), "user-context-other"),
        (&of_tom, Some(mia), "user-context-other"),
        (&of_mia, None, "user-context-missing"),
    ] {
        let (status, body) = ask_as(&routes, token, session).await;
        assert_eq!(status, 403, "{body}");
        assert!(body.contains(rule), "{body}");
    }
    // An agent for itself is nobody's user: the scope says what it may.
    assert_eq!(ask_as(&routes, &own, Some(tom)).await.0, 200);
    // Nobody said how contexts are told: then a user's token is of no use.
    let silent = for_users(verifier.guard());
    assert_eq!(ask_as(&silent, &of_mia, Some(mia)).await.0, 403);
    assert_eq!(ask_as(&silent, &own, None).await.0, 200);
    // Waived by configuration; a context that is told is held to all the same.
    let waived = for_users(verifier.guard().context(of_session).waive_user_context());
    assert_eq!(ask_as(&waived, &of_mia, None).await.0, 200);
    assert_eq!(ask_as(&waived, &of_mia, Some(tom)).await.0, 403);
    // Only users, and only so far from them.
    let users = for_users(verifier.guard().waive_user_context().require_user());
    assert_eq!(ask_as(&users, &of_mia, None).await.0, 200);
    let (status, body) = ask_as(&users, &own, None).await;
    assert!(status == 403 && body.contains("user-missing"), "{body}");
    let near = for_users(verifier.guard().waive_user_context().require_depth_at_most(0));
    let (status, body) = ask_as(&near, &of_mia, None).await;
    assert!(status == 403 && body.contains("chain-too-deep-here"), "{body}");
    assert_eq!(ask_as(&near, &own, None).await.0, 200);
}
