//! OpenAPI 3.1: keeps `api/openapi.json` equal to what the built binary says of itself.
//!
//! The document comes from `accredit openapi`, which derives it from the endpoint table; the copy
//! in the repository makes every change of the interface visible in review.

use crate::run::{self, Mode};
use crate::{Answer, binary};

/// Writes the document or compares the copy with it.
pub(crate) fn run(mode: Mode) -> Answer {
    let accredit = binary::build()?;
    let mut text = run::output(run::command(accredit).arg("openapi"))?;
    if !text.trim_start().starts_with('{') {
        return Err("`accredit openapi` printed no JSON object".to_owned());
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    run::generated("api/openapi.json", &text, "openapi", mode)
}
