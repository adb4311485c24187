//! The resource: a small service of customers, guarded by the library that users compile in.
//!
//! This is the code that a user would write. It knows nothing of the demo.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use accredit::verifier::Status;
use accredit::{Principal, Verifier};
use accredit_wire::ids::Kind;
use axum::body::{Body, Bytes};
use axum::extract::Extension;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use axum::{Router, serve};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::clock;

/// The audience of the resource. Nothing is fetched from there: it is a name.
pub(super) const AUDIENCE: &str = "https://crm.example";

/// How often the stream has a line.
pub(super) const LINE_EVERY: Duration = Duration::from_millis(20);

/// The running service. Dropping it ends it.
pub(super) struct ResourceServer {
    /// Its address.
    pub(super) url: String,
    verifier: Verifier,
    serving: JoinHandle<()>,
}

impl ResourceServer {
    /// Starts the service, which trusts `issuer` and follows it with its own credential.
    pub(super) async fn start(
        issuer: &str,
        credential: &str,
        state: PathBuf,
    ) -> Result<Self, String> {
        let bound = TcpListener::bind("127.0.0.1:0").await;
        let listener = bound.map_err(|error| format!("the resource cannot listen: {error}"))?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;

        // Its audience is a name; it is reached elsewhere, and proofs are made for there.
        let verifier = Verifier::builder(issuer, AUDIENCE).credential(credential).state_dir(state);
        let verifier = verifier.public_url(format!("http://{address}")).name("customers-1");
        let verifier = verifier.connect().await;
        let verifier = verifier.map_err(|error| error.to_string())?;
        let app = routes(&verifier);
        // Without this a short line waits until the one before it was acknowledged.
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        let serving = tokio::spawn(async move {
            // It ends only by being dropped.
            let _ = serve(listener, app).await;
        });
        Ok(Self { url: format!("http://{address}"), verifier, serving })
    }

    /// What follows the issuer.
    pub(super) fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// What the service knows of revocations now.
    pub(super) fn status(&self) -> Option<Status> {
        self.verifier.status()
    }

    /// Where the issuer contradicted itself.
    pub(super) fn alarms(&self) -> usize {
        self.verifier.alarms().len()
    }
}

impl Drop for ResourceServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn routes(verifier: &Verifier) -> Router {
    // It has no sessions of its own: whoever acts for a user is let in with what the token says.
    let may_read = verifier.guard().require("crm:read").waive_user_context();
    let may_update = verifier.guard().require("crm:update");
    Router::new()
        .route("/customers", get(list).route_layer(may_read.clone()))
        .route("/customers", post(update).route_layer(may_update))
        .route("/stream", get(follow).route_layer(may_read))
}

/// A JSON answer.
type Json = ([(HeaderName, &'static str); 1], String);

fn answer(value: &Value) -> Json {
    ([(CONTENT_TYPE, "application/json")], value.to_string())
}

async fn list(Extension(caller): Extension<Principal>) -> Json {
    answer(&json!({"customers": ["Ada", "Grace"], "caller": who(&caller)}))
}

async fn update(Extension(caller): Extension<Principal>) -> Json {
    answer(&json!({"updated": "Ada", "caller": who(&caller)}))
}

async fn follow() -> Body {
    Body::from_stream(stream::unfold(1u64, |number| async move {
        clock::pause(LINE_EVERY).await;
        Some((Ok::<_, Infallible>(Bytes::from(format!("change {number}\n"))), number + 1))
    }))
}

/// Who calls: what a service would write into its own log.
fn who(caller: &Principal) -> Value {
    let owner = caller.lineage().find(|id| id.kind() == Kind::Person);
    json!({
        "agent": caller.client_id().to_string(),
        "instance": caller.instance().map(|id| id.to_string()),
        "acts_for": caller.subject().to_string(),
        "owner": owner.map(|id| id.to_string()),
        "token": caller.token_id().to_string(),
        "bound_to": caller.bound_to().map(|held| held.thumbprint().to_string()),
    })
}
