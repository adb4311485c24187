//! The messages, mostly by what must not be accepted.

mod answers;
mod client_auth;
mod form;
mod metadata;
mod token_request;

use super::Form;

fn form(body: &str) -> Form {
    Form::parse(body.as_bytes()).expect("a form")
}
