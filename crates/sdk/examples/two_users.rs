//! One instance of an agent works for two users at once, and a service keeps them apart.
//!
//! The service says from its own sessions whose request each one is (`Guard::context`). The agent holds
//! tokens of both users, and may mix them up as it likes: a token of one is of no use in the session of
//! the other. Run it against a server with a federation; the environment says which (see `main`).

use std::collections::HashMap;
use std::error::Error;

use accredit::{Agent, PersonId, Principal, RequestContext, Secret, Verifier};
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use axum::routing::get;
use axum::{Extension, Router};
use tower::ServiceExt as _;

/// The header of the service's own session. No agent says who a session's user is.
const SESSION: &str = "x-session";

/// A service of customers, with the users of its sessions.
pub(crate) fn service(verifier: &Verifier, sessions: HashMap<String, PersonId>) -> Router {
    let guard = verifier.guard().require("crm:read").context(move |head| {
        let session = head.headers.get(SESSION).and_then(|session| session.to_str().ok());
        let user = session.and_then(|session| sessions.get(session)).copied();
        RequestContext { user, ..RequestContext::default() }
    });
    Router::new().route("/customers", get(customers)).layer(guard)
}

async fn customers(Extension(caller): Extension<Principal>) -> String {
    format!("customers of {}", caller.subject())
}

/// One user, as the agent knows them: their session at the service, and their token.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) session: String,
    pub(crate) token: Secret,
}

/// Calls the service in one user's session with what the agent has for another, or for the same.
pub(crate) async fn call(
    (agent, service): (&Agent, &Router),
    audience: &str,
    (session, token): (&User, &User),
) -> Result<StatusCode, Box<dyn Error>> {
    let acting = agent.on_behalf_of_user(token.token.clone());
    let url = format!("{}/customers", audience.trim_end_matches('/'));
    let headers = acting.authorize("crm:read", &Method::GET, &url).await?;
    let mut request = Request::get("/customers").header(SESSION, &session.session);
    if let Some(all) = request.headers_mut() {
        all.extend(headers);
    }
    Ok(service.clone().oneshot(request.body(Body::empty())?).await?.status())
}

/// Both users at once, each in their own session and each in the other's.
pub(crate) async fn both(
    caller: (&Agent, &Router),
    audience: &str,
    [one, other]: [&User; 2],
) -> Result<[StatusCode; 4], Box<dyn Error>> {
    let (a, b, c, d) = tokio::join!(
        Box::pin(call(caller, audience, (one, one))),
        Box::pin(call(caller, audience, (other, other))),
        Box::pin(call(caller, audience, (one, other))),
        Box::pin(call(caller, audience, (other, one))),
    );
    Ok([a?, b?, c?, d?])
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let issuer = setting("ISSUER")?;
    let audience = setting("AUDIENCE")?;
    let verifier = Verifier::builder(&issuer, &audience).credential(setting("RESOURCE_SECRET")?);
    let agent = Agent::new(&issuer, &setting("AGENT")?, Secret::new(setting("AGENT_SECRET")?))?;
    let mut sessions = HashMap::new();
    let mut users = Vec::new();
    for name in ["ONE", "OTHER"] {
        sessions.insert(name.to_owned(), setting(&format!("{name}_PERSON"))?.parse()?);
        let token = Secret::new(setting(&format!("{name}_TOKEN"))?);
        users.push(User { session: name.to_owned(), token });
    }
    let service = service(&verifier.connect().await?, sessions);
    let [one, other] = users.as_slice() else { return Err("two users".into()) };
    let [own, others, mixed, mixed_too] = both((&agent, &service), &audience, [one, other]).await?;
    say(&format!("each in their own session: {own}, {others}"));
    say(&format!("each in the session of the other: {mixed}, {mixed_too}"));
    Ok(())
}

/// A setting of the environment.
#[expect(clippy::disallowed_methods, reason = "an example has no other configuration")]
fn setting(name: &str) -> Result<String, Box<dyn Error>> {
    std::env::var(format!("EXAMPLE_{name}")).map_err(|_| format!("set EXAMPLE_{name}").into())
}

#[expect(clippy::print_stdout, reason = "it is what the example is for")]
fn say(text: &str) {
    println!("{text}");
}
