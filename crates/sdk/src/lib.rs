//! SDK.
pub mod agent;
mod ambient;
pub mod guard;
mod issuer;
mod principal;
mod refusal;
pub mod verifier;

pub use agent::{AccessToken, Agent, AgentError, AgentSetupError, Proof};
pub use guard::Guard;
pub use issuer::{IssuerError, IssuerInvalid};
pub use principal::{Ended, Principal};
pub use refusal::Refusal;
pub use verifier::{Alarm, ConnectError, Verifier};
