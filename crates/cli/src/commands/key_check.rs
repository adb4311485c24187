//! `accredit key-check`: is a found text one of Accredit's secrets, and whose?
//!
//! The first question needs no server: a secret says what it is and carries a checksum, which tells
//! it from a lookalike and not from a forgery. The second
//! is asked of the server that the settings name, with an administrator's key, and answered for
//! that key's organization only. The text comes on standard input, so that it stands in no
//! process list and no shell history, and it is never repeated.

use std::path::Path;

use accredit_wire::api_key::{ApiKey, ApiKeyError};
use clap::Args;
use http::Method;
use serde_json::json;

use crate::args::Body;
use crate::context::Context;
use crate::errors::Failure;
use crate::exit::Exit;
use crate::input;
use crate::output::line;
use crate::request_path::RequestPath;

/// Arguments of `accredit key-check`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  accredit key-check < found.txt\n  \
                        accredit key-check --offline < found.txt\n\n\
                        Exit codes: 0 it has the form of one (asked of a server: it is this organization's), \
                        3 not of this organization, 9 no secret of Accredit.")]
pub(crate) struct KeyCheck {
    /// Ask no server, also where one is named
    #[arg(long)]
    offline: bool,
}

/// Checks the text on standard input.
pub(crate) async fn run(args: &KeyCheck, cx: &Context) -> Result<(), Failure> {
    let standard_input = Path::new("-");
    if cx.flags.token_file.as_deref() == Some(standard_input) {
        return Err(Failure::usage(
            "standard input cannot hold two secrets",
            "the text to check comes from there, and --token-file names it too",
            "put the administrator's key into a file or into ACCREDIT_TOKEN",
        ));
    }
    let secret = input::secret(standard_input)?;
    let key = ApiKey::parse(secret.expose()).map_err(not_ours)?;
    // Without an address nobody can be asked; with one, what is wrong with it is said.
    let named = cx.flags.url.is_some() || cx.around.token.is_some();
    let api = if args.offline || !named { None } else { Some(cx.api()?) };
    let Some(api) = api.filter(crate::api::Api::has_token) else {
        if cx.out.is_json() {
            let told = json!({"kind": key.kind.name(), "id": key.credential.to_string()});
            return line(&told.to_string());
        }
        line(&format!("in the form of a secret of an {}: {}", key.kind.name(), key.credential))?;
        cx.out
            .say("whose it is, and whether it still works, a server tells: --url, ACCREDIT_TOKEN");
        return Ok(());
    };
    let path = RequestPath::new("/v1/credentials").segment("identify");
    let body = Body::new().with("secret", secret.expose()).json();
    let answer = api.call(Method::POST, path, Some(body)).await?;
    cx.out.object(&answer)
}

fn not_ours(error: ApiKeyError) -> Failure {
    Failure::new(
        Exit::VerificationFailed,
        "not-a-secret",
        "this is no secret of Accredit",
        &error.to_string(),
        "check that the text is whole and stands alone on its line",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_secret_ends_with_its_own_code_and_is_not_repeated() {
        for text in ["acr_agent_x", "ghp_abcdef", "acr_agent_1_2_3"] {
            let error = ApiKey::parse(text).expect_err("no secret");
            let failure = not_ours(error);
            assert_eq!(failure.exit, Exit::VerificationFailed);
            assert!(!format!("{failure:?}").contains(text), "{failure:?}");
        }
    }
}
