//! OAuth 2.0 messages: what a client sends to the token, introspection and revocation endpoints,
//! and what it gets back.
//!
//! A request goes [`form`] → [`client_auth`] → [`token_request`] (and [`token_exchange`]),
//! [`introspection`], [`revocation`], [`task_request`], [`instance_request`] or
//! [`certificate_request`]; whatever is not accepted is a [`Rejection`], which [`errors`] renders as
//! RFC 6749 wants it. [`metadata`] says where the endpoints are.
//!
//! Absent on purpose: whether a client exists, what it may have, and any HTTP type. The caller
//! hands over header values and bodies as bytes; assertions and tokens pass through here unread.

pub mod authorization_details;
pub mod certificate_request;
pub mod client_auth;
pub mod errors;
pub mod form;
pub mod instance_request;
pub mod introspection;
#[cfg(feature = "x509")]
pub mod jwt_svid_request;
pub mod metadata;
pub mod rejection;
pub mod resource_indicator;
pub mod revocation;
pub mod task_request;
pub mod token_exchange;
pub mod token_request;
pub mod token_response;

#[cfg(test)]
mod tests;

pub use client_auth::ClientAuth;
pub use errors::{ErrorBody, ErrorCode};
pub use form::Form;
pub use introspection::{Introspection, IntrospectionRequest};
pub use metadata::Metadata;
pub use rejection::Rejection;
pub use revocation::RevocationRequest;
pub use task_request::TaskRequest;
pub use token_exchange::TokenExchange;
pub use token_request::TokenRequest;
pub use token_response::TokenResponse;
