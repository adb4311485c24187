//! The handlers: each extracts, calls one domain function, and renders.

pub mod admin;
pub mod feed;
pub mod health;
pub mod log;
pub mod oauth;
