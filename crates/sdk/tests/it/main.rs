//! The library against an issuer on loopback that signs with the same builders as the server.
#![expect(clippy::disallowed_methods, reason = "drives real sockets in real time")]
#![expect(clippy::expect_used, reason = "the fixtures are tests too, and fail loudly")]

mod acknowledge;
mod agent;
mod bound;
#[cfg(feature = "mtls")]
mod ca;
mod certified;
mod feed;
mod grpc;
mod guard;
mod issuer;
mod keys;
mod memory;
#[cfg(feature = "mtls")]
mod mtls;
mod on_behalf;
mod outage;
mod pieces;
mod readme;
