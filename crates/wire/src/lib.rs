//! What travels: ids, secrets, tokens, messages, proofs and the Verifier. No I/O, no async.
//!
//! Everything that can be checked without asking the server lives here, so that the server, the
//! command line and a user's program check it with the same code. In reading order:
//! [`ids`] and [`time`] name things, [`jose`] signs and verifies, [`authority`] says what may be
//! done, [`token`] what an access token says, [`biscuit`] how its holder narrows it, [`binding`] proves that who sends it holds its key,
//! [`revocations`] says what has ended and [`status_list`] says it to others, [`verify`] puts them together, [`tlog`] proves the audit log, [`backup`] keeps all of it elsewhere.
//!
//! Absent on purpose: tokio, an HTTP framework, a database, and any clock or randomness: `now`
//! and random bytes are arguments.

pub mod api_key;
pub mod authority;
pub mod backup;
pub mod binding;
pub mod biscuit;
pub mod claim_rule;
pub mod client_cert;
pub mod crypto;
pub mod forwarded;
pub mod ids;
pub mod jose;
pub mod json;
#[cfg(feature = "x509")]
pub mod jwt_svid;
pub mod oauth;
pub mod revocations;
pub mod secret;
pub mod selectors;
pub mod status_list;
pub mod time;
pub mod tlog;
pub mod token;
pub mod trace;
pub mod verify;
#[cfg(feature = "x509")]
pub mod x509;
