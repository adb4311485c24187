//! Registry, issuance, revocation and audit as decisions over ports; no HTTP, no SQL.
//!
//! Reading order: [`ports`] is the whole outside world; [`context`] says who asks, in which
//! organization and when; [`registry`] holds the nouns; [`issuance`] is the path on which every
//! token is made, [`federation`] and [`attestation`] say what others' tokens are worth on it; [`trust_domains`] holds whom instances may know beside their own; [`revocation`] the graph that ends them; [`introspection`] answers whether one
//! is alive and [`status_list`] tells it to those who do not ask; [`audit`] the log; [`keys`] and [`vault`] what signs, under a [`root`] key.
//! [`lease`] says which node does what is done once for all and [`nodes`] what they tell each other, [`page`] is what a list is asked for, and [`refusal`] is every no.
//!
//! Absent on purpose: sockets, SQL, an ambient clock, ambient randomness. A request comes in as
//! facts; a decision is made from them and a time; one write records it with its event.

pub mod attestation;
pub mod audit;
pub mod ca;
pub mod context;
pub mod federation;
pub mod introspection;
pub mod issuance;
pub mod keys;
pub mod lease;
pub mod limits;
pub mod nodes;
pub mod page;
pub mod ports;
pub mod refusal;
pub mod registry;
pub mod restoration;
pub mod revocation;
pub mod root;
pub mod single_use;
pub mod status_list;
pub mod store_health;
pub mod tenant;
pub mod terms;
pub mod trust_domains;
pub mod vault;
pub mod view;

pub use context::{Caller, Cx, World};
pub use refusal::{Error, Fault, Refusal, Rule};
