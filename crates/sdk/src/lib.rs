//! Accredit as a library: what a service or an agent compiles in.
//!
//! A service puts a [`Guard`] before its routes. Tokens are checked in the process, without a
//! request to the issuer; revocations arrive by a signed feed, so that a revoked agent is refused
//! within the age bound, and a response it is still reading breaks off.
//!
//! ```no_run
//! use accredit::{Principal, Verifier};
//! use axum::{Extension, Router, routing::get};
//!
//! # async fn start(key: String) -> Result<Router, accredit::ConnectError> {
//! let verifier = Verifier::builder("https://id.example/o/dev", "https://crm.example")
//!     .credential(key)
//!     .state_dir("/var/lib/crm/accredit");
//! let guard = verifier.connect().await?.guard().require("crm:read");
//! let routes = Router::new().route("/customers", get(customers)).layer(guard);
//! # Ok(routes)
//! # }
//!
//! async fn customers(Extension(caller): Extension<Principal>) -> String {
//!     format!("for {}", caller.client_id())
//! }
//! ```
//!
//! A service that acts for several users says whose request each one is, from its own session; a
//! token of another user is then of no use there:
//!
//! ```no_run
//! # fn guarded(verifier: &accredit::Verifier) -> accredit::Guard {
//! let guard = verifier.guard().require("crm:read").context(|head| accredit::RequestContext {
//!     user: head.headers.get("x-session-user").and_then(|user| user.to_str().ok()?.parse().ok()),
//!     ..accredit::RequestContext::default()
//! });
//! # guard
//! # }
//! ```
//!
//! A principal answers for one action on one object, where its token's permissions have limits:
//!
//! ```no_run
//! # fn check(principal: &accredit::Principal) -> Result<(), accredit::Rejection> {
//! let arguments = accredit::Arguments::none().integer("amount", 50).text("currency", "EUR");
//! principal.may("crm:update", Some("/customers/eu/7"), &arguments)?;
//! # Ok(())
//! # }
//! ```
//!
//! Tokens that are bound to a key come with a proof for one URL. Where the audience is not the URL
//! under which the service is reached, it says which one that is, with whatever a proxy or axum's
//! `nest` takes off before the guard sees the request:
//!
//! ```no_run
//! # async fn connect(key: String) -> Result<accredit::Verifier, accredit::ConnectError> {
//! let verifier = accredit::Verifier::builder("https://id.example/o/dev", "urn:crm")
//!     .public_url("https://crm.example/api").credential(key).connect().await?;
//! # Ok(verifier)
//! # }
//! ```
//!
//! An agent asks its [`Agent`] for a token whenever it needs one:
//!
//! ```no_run
//! # async fn call(secret: accredit::Secret) -> Result<(), Box<dyn std::error::Error>> {
//! let agent = accredit::Agent::new("https://id.example/o/dev", "agt_…", secret)?;
//! let url = "https://crm.example/customers";
//! let headers = agent.authorize("crm:read", &http::Method::GET, url).await?; // of this request alone
//! # Ok(())
//! # }
//! ```
//!
//! An agent that holds an attenuable token narrows it for another one and hands it on, without asking
//! anybody:
//!
//! ```no_run
//! # fn hand_on(agent: &accredit::Agent, token: &accredit::Secret, worker: accredit::TokenHolder)
//! # -> Result<accredit::Secret, accredit::NarrowError> {
//! let narrowing = accredit::Narrowing { holder: Some(worker), ..accredit::Narrowing::default() };
//! let narrowed = agent.narrow(token, &narrowing)?; // signed by this agent's key, of use to the worker's
//! # Ok(narrowed)
//! # }
//! ```
//!
//! A service that was called and must call on does so on behalf of its caller, with a token of its own.
//! The one that it received is for itself alone, and there is no way to pass it on:
//!
//! ```no_run
//! # async fn call(agent: &accredit::Agent, caller: &accredit::Principal) -> Result<(), accredit::AgentError> {
//! let acting = agent.on_behalf_of(caller); // of this request alone
//! let url = "https://crm.example/customers";
//! let headers = acting.authorize("crm:read", &http::Method::GET, url).await?;
//! # Ok(())
//! # }
//! ```
//!
//! `on_behalf_of_user` begins a chain with a user, by the token of an identity provider that is a
//! federation of the organization.
//!
//! Two agents prove to each other who they are by certificates of their instances, and a connection ends
//! when either was revoked: the module `mtls`, behind the feature of that name.
//!
//! In reading order: [`verifier`] follows the issuer, [`guard`] stands at the door, [`agent`] gets
//! tokens. Absent on purpose: any decision of its own about tokens, which is
//! [`accredit_wire::verify`]'s, and a way to switch a check off.

pub mod agent;
mod ambient;
pub mod guard;
mod issuer;
#[cfg(feature = "mtls")]
pub mod mtls;
mod principal;
mod refusal;
pub mod verifier;

pub use accredit_wire::authority::{Arguments, Authority, Denial, Permission, Value};
pub use accredit_wire::binding::{Confirmation, PeerCertificate, Thumbprint};
pub use accredit_wire::biscuit::{Holder as TokenHolder, NarrowError, Narrowing};
pub use accredit_wire::ids::{AgentId, PersonId, TaskId};
pub use accredit_wire::jose::jwk::PrivateJwk;
pub use accredit_wire::json::{Json, JsonError};
pub use accredit_wire::oauth::authorization_details::AuthorizationDetails;
pub use accredit_wire::secret::Secret;
pub use accredit_wire::verify::{Context as RequestContext, Demands, Rejection};
pub use agent::{
    AccessToken, Acting, Agent, AgentBuilder, AgentError, AgentSetupError, Birth, BirthError,
    FederatedBundles, JwtSvid, NodeProof, Proof, X509Svid, join,
};
pub use guard::Guard;
pub use issuer::{IssuerError, IssuerInvalid};
pub use principal::{Ended, Principal};
pub use refusal::Refusal;
pub use verifier::{Alarm, ConnectError, Verifier};
