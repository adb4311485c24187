//! The local end on an agent's host: identities that live in memory and are handed to local processes
//! over a unix socket, so that no secret lies in a file, an argument or an environment.
//!
//! Under `accredit run` there is one instance, of one command ([`door::Tree`]); under `accredit edge` each
//! process of the machine has its own ([`workloads`]), by what is [attested](attest) of it and by the word
//! of the machine itself ([`node`]).
//!
//! [`identity`] is one instance: its key, its certificate, its tokens, renewed in time and kept through
//! an outage. [`socket`] is where processes ask; [`peer`] says which process asks, by the kernel's word
//! and nobody else's, and [`door`] whether it is one to be answered. What is asked comes in two forms:
//! [`workload_api`], which every SPIFFE client speaks, and [`http_face`], for programs that know none.
//!
//! Absent on purpose: a file of its own, and an answer to a process that is not known. A question that
//! any web page or confused program could be made to ask is refused, too: both forms want a header that
//! none sends by itself ([`SECURITY_HEADER`]).

mod ambient;
pub mod attest;
pub mod door;
mod ending;
pub mod footprint;
pub mod http_face;
pub mod identity;
mod jwt_svids;
pub mod node;
pub mod peer;
pub mod process;
mod refusals;
pub mod socket;
mod turns;
pub mod upstream;
pub mod workload_api;
pub mod workloads;

pub use door::{Denied, Door, Tree};
pub use identity::{Identity, Standing};
pub use node::Node;
pub use peer::{Peer, PeerError};
pub use socket::{FILE_NAME, Socket, SocketError};
pub use workloads::Workloads;

/// SPIFFE Workload Endpoint section 6.1: what every question has in its head, so that nobody can be made
/// to ask one by accident.
pub const SECURITY_HEADER: &str = "workload.spiffe.io";
/// The one value of [`SECURITY_HEADER`].
pub const SECURITY_VALUE: &str = "true";
