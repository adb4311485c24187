//! SPIFFE X509-SVID, RFC 8446: two agents prove to each other who they are before any data flows, and
//! their connection ends with the standing of either.
//!
//! Each side shows a certificate of its instance ([`X509Source`]) and checks the other's against an
//! [`Authority`]: the roots of one trust domain, its lists of revoked certificates (RFC 5280 section 5) and
//! the feed that a [`Verifier`](crate::Verifier) follows. Whom it talks to is said by [`Peers`]; there is no
//! default, and no way to talk to somebody unknown. [`Mtls`] makes connections of that, or configurations
//! of rustls.
//!
//! An instance that was ended is known at once, by the feed. Whatever else ends a certificate (its agent,
//! task, owner, credential, authority) is on a list, which is fetched anew where the feed says that
//! something was revoked. Where either is not known well enough, the answer is no.
//!
//! ```no_run
//! use accredit::mtls::{Authority, Mtls, Peers, X509Source};
//! # use accredit::{Agent, Verifier};
//! # use tokio::net::TcpStream;
//!
//! # async fn talk(agent: Agent, verifier: Verifier, tcp: TcpStream) -> Result<(), Box<dyn std::error::Error>> {
//! let own = X509Source::begin(agent).await?; // its key is in memory, its certificate renewed by itself
//! let authority = Authority::connect(&verifier, &own.trust_domain()).await?;
//! let mtls = Mtls::new(own, authority, Peers::agent("worker"));
//!
//! let stream = mtls.connect(TcpStream::connect("10.0.0.7:8443").await?).await?; // a client
//! println!("this is {}", stream.peer().spiffe_id());
//! let stream = mtls.accept(tcp).await?; // or a server
//! # Ok(())
//! # }
//! ```
//!
//! Absent on purpose: names of hosts, which say where something runs and not what it is; paths of our
//! own making, which are rustls-webpki's; and resumed sessions (RFC 8446 section 2.2), which would carry
//! what was decided once past what was revoked since.

mod authority;
mod config;
mod incoming;
mod peers;
mod roots;
mod source;
mod stream;
mod svid;

pub use authority::{Authority, AuthorityError, Peer, Unfit};
pub use config::{Mtls, MtlsError};
pub use incoming::{HANDSHAKES_MAX, Incoming};
pub use peers::{NotAnId, Peers};
pub use roots::Roots;
pub use source::{Standing, X509Source};
pub use stream::{Ended, Stream};
pub use svid::{Svid, SvidError};
