//! An agent on behalf of others: what is asked for, what is held for whom, and what never leaves.

use accredit::{Agent, AgentError, Principal, Secret};
use accredit_wire::ids::{AgentId, TaskId};
use axum::Extension;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use axum::routing::get;
use tower::ServiceExt as _;

use crate::issuer::{Grant, Issuer};

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

fn agent(issuer: &Issuer) -> Agent {
    Agent::new(issuer.url(), "agt_client", Secret::new("secret".to_owned())).expect("an agent")
}

fn forms(issuer: &Issuer) -> Vec<Vec<(String, String)>> {
    let requests = issuer.inner().token_requests.lock().expect("not poisoned");
    let parsed =
        |(_, body): &(_, String)| form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    requests.iter().map(parsed).collect()
}

fn value<'f>(form: &'f [(String, String)], name: &str) -> &'f str {
    let found = form.iter().find(|(key, _)| key == name);
    found.map_or("", |(_, value)| value)
}

/// The principal that a guard lets through.
async fn received(issuer: &Issuer, token: &str) -> Principal {
    let verifier = issuer.verifier().await;
    let (send, take) = std::sync::mpsc::channel();
    let handler = move |Extension(caller): Extension<Principal>| {
        let sent = send.send(caller);
        async move { sent.map_or("nobody waits", |()| "called") }
    };
    let routes = axum::Router::new().route("/run", get(handler));
    let routes = routes.layer(verifier.guard().require("crm:read"));
    let request = Request::get("/run").header(header::AUTHORIZATION, format!("Bearer {token}"));
    let answer = routes.oneshot(request.body(Body::empty()).expect("a request")).await;
    assert_eq!(answer.expect("an answer").status(), StatusCode::OK);
    take.recv().expect("a principal")
}

#[tokio::test]
async fn a_called_service_goes_on_with_a_token_of_its_own() {
    let issuer = Issuer::start().await;
    let token = issuer.token(&Grant::default());
    let caller = received(&issuer, &token).await;
    let agent = agent(&issuer);
    let acting = agent.on_behalf_of(&caller);
    let url = "https://mail.example/send";
    let headers = acting.authorize("mail:send", &http::Method::POST, url).await.expect("headers");
    let sent = headers[header::AUTHORIZATION].to_str().expect("text");
    assert_eq!(sent, "DPoP t1", "bound to the agent's own key, and not what was received");
    assert!(headers.contains_key("dpop"));
    let form = &forms(&issuer)[0];
    assert_eq!((value(form, "grant_type"), value(form, "subject_token")), (EXCHANGE, &*token));
    assert!(value(form, "subject_token_type").ends_with(":access_token"));
    assert_eq!((value(form, "scope"), value(form, "impersonation")), ("mail:send", ""));
    // What was received shows itself nowhere.
    let shown = format!("{caller:?} {acting:?}");
    assert!(!shown.contains(&token), "{shown}");
    let third = token.rsplit('.').next().expect("a signature");
    assert!(!shown.contains(third), "{shown}");
    // By its text alone, without a request, it is the same.
    let verified = issuer.verifier().await.verify_token(&token).await.expect("verified");
    agent.on_behalf_of(&verified).token("mail:send").await.expect("the one that is held");
    assert_eq!(forms(&issuer).len(), 1);
}

#[tokio::test]
async fn what_was_got_for_one_subject_is_never_handed_out_for_another() {
    let issuer = Issuer::start().await;
    let agent = agent(&issuer);
    let user = |name: &str| agent.on_behalf_of_user(Secret::new(format!("jwt-of-{name}")));
    let text = async |acting: &accredit::Acting, scope: &str| {
        acting.token(scope).await.expect("a token").text().expose().to_owned()
    };
    let (mia, tom) = (user("mia"), user("tom"));
    // Both at once, many times over.
    let calls = (0..20).map(|at| {
        let acting = if at % 2 == 0 { mia.clone() } else { tom.clone() };
        async move { (at % 2, acting.token("crm:read").await.expect("a token")) }
    });
    let tokens = futures_util::future::join_all(calls).await;
    let of = |whose: usize| -> Vec<&str> {
        let mine = tokens.iter().filter(|(at, _)| *at == whose);
        let mut texts: Vec<_> = mine.map(|(_, token)| token.text().expose()).collect();
        texts.dedup();
        texts
    };
    assert_eq!((of(0).len(), of(1).len()), (1, 1), "one request each");
    assert_ne!(of(0), of(1));
    let asked = forms(&issuer);
    let mut subjects: Vec<_> = asked.iter().map(|form| value(form, "subject_token")).collect();
    subjects.sort_unstable();
    assert_eq!(subjects, ["jwt-of-mia", "jwt-of-tom"]);
    // Nor for the agent itself, another scope, another task, or unnamed.
    let mias = text(&mia, "crm:read").await;
    let others = [
        agent.token("crm:read").await.expect("a token").text().expose().to_owned(),
        text(&mia, "crm:update").await,
        text(&user("mia").unnamed(), "crm:read").await,
        text(&user("mia").in_task(TaskId::new(1, [1; 10])), "crm:read").await,
    ];
    assert!(others.iter().all(|other| *other != mias), "{others:?}");
    assert_eq!(text(&user("mia"), "crm:read").await, mias, "made anew, it finds what is held");
    let unnamed = forms(&issuer).into_iter().filter(|form| value(form, "impersonation") == "true");
    assert_eq!(unnamed.count(), 1);
}

#[tokio::test]
async fn a_caller_that_is_over_is_served_with_nothing_also_where_a_token_is_held() {
    let issuer = Issuer::start().await;
    let grant = Grant { agent: AgentId::new(7, [7; 10]), ..Grant::default() };
    let token = issuer.token(&grant);
    let caller = received(&issuer, &token).await;
    let agent = agent(&issuer);
    agent.on_behalf_of(&caller).token("mail:send").await.expect("a token");
    issuer.revoke(grant.agent);
    caller.revoked().await;
    let refused = agent.on_behalf_of(&caller).token("mail:send").await;
    assert!(matches!(refused, Err(AgentError::CallerEnded(_))), "{refused:?}");
    assert_eq!(forms(&issuer).len(), 1, "and nobody was asked");
}

#[tokio::test]
async fn a_holder_narrows_its_own_token_and_a_refusal_says_the_rule() {
    let issuer = Issuer::start().await;
    let agent = agent(&issuer);
    let own = agent.token("crm:read crm:update").await.expect("a token");
    agent.narrowing(&own).token("crm:read").await.expect("a narrower one");
    let form = forms(&issuer).pop().expect("a form");
    assert_eq!((value(&form, "grant_type"), value(&form, "subject_token")), (EXCHANGE, "t1"));
    {
        let mut answers = issuer.token_answers();
        answers.status = 400;
        answers.body = Some(r#"{"error":"invalid_scope","rule":"delegation-exceeded"}"#.to_owned());
    }
    let refused = agent.narrowing(&own).token("crm:delete").await;
    let Err(AgentError::Refused(body)) = refused else { panic!("{refused:?}") };
    assert_eq!(body.rule(), Some("delegation-exceeded"));
}
