//! The one hardened outbound HTTP client.
//!
//! Every request that leaves a program of ours leaves here, so that what a stranger may make us
//! do is decided in one place: which addresses may be reached ([`egress`]), how long it may take
//! and how much may come back ([`client`]), and what an error may say ([`NetError`]). [`document`]
//! fetches what a stranger named, with the feature `spiffe` also from a server that is known by its SPIFFE ID. [`sse`]
//! reads server-sent events from a stream, and [`lines`] lines.
//!
//! Absent on purpose: redirects (a redirect is an answer), proxies from the environment, cookies,
//! decompression (a small answer that becomes a big one), HTTP/2, and a way to switch off the
//! check of certificates.

pub mod client;
mod connect;
pub mod document;
pub mod egress;
mod error;
mod jwk_sets;
pub mod lines;
#[cfg(feature = "spiffe")]
mod spiffe;
pub mod sse;
mod tls;

pub use client::{Chunks, Client, Config, RESPONSE_BODY_MAX, Shown};
pub use document::{DocumentError, Documents};
pub use egress::Egress;
pub use error::{ConfigError, NetError};
pub use jwk_sets::JwkSets;
#[cfg(feature = "spiffe")]
pub use spiffe::SpiffeServer;
