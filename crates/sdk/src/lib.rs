//! SDK.
pub mod agent;
mod ambient;
mod issuer;
mod refusal;
