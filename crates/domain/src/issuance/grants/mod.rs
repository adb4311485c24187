//! One grant, one file: each turns a request into a proposal, and decides nothing else.

pub mod client_credentials;
