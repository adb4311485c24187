//! World and fixtures for tests: the real store, vault and router, with a settable clock and
//! seeded randomness.
//!
//! Reading order: [`world`] puts a world together in a temporary folder; [`fixture`] fills it
//! with organizations, resources, agents and credentials; [`http`] asks its router without a
//! socket; [`assertion`] signs whatever a test wants signed; [`clock`] and [`entropy`] are what
//! is set instead of given; [`root`] keeps the root key; [`engine`] says what it stands on; [`fault`] breaks the database and [`pause`]
//! the signing on purpose; [`idp`] is somebody else's identity provider; [`noting`] writes down what the database is asked; [`key_vault`] is what is demanded of every key vault; [`sim`] lets all of it happen at random, from a seed, and checks what must hold.
//!
//! Absent on purpose: a mock of anything. Only time, chance and failure are made up.
#![expect(clippy::expect_used, reason = "a fixture that cannot be built is a failed test")]

pub mod assertion;
pub mod clock;
#[path = "../../store/tests/postgres/cluster.rs"]
#[expect(dead_code, reason = "tests of the store give a server files and look for its programs")]
mod cluster;
pub mod engine;
pub mod entropy;
pub mod fault;
pub mod fixture;
pub mod http;
pub mod idp;
pub mod key_vault;
pub mod noting;
mod outbound;
pub mod pause;
pub mod root;
pub mod sim;
pub mod world;

pub use accredit_store::driver::DiskTrouble;
pub use assertion::Signer;
pub use clock::SettableClock;
pub use engine::Engine;
pub use entropy::{Chance, SeededEntropy};
pub use fixture::{Client, Org, Scene};
pub use http::{Answer, Ask, Events};
pub use outbound::Outside;
pub use root::RootPlace;
pub use world::TestWorld;
