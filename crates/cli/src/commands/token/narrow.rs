//! Biscuit v3: a holder narrows its own token, and hands it on, without asking anybody.
//!
//! Nothing leaves this process but the token, narrowed. Its signatures are not checked: whoever
//! takes it checks them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use accredit_domain::ports::Entropy as _;
use accredit_wire::authority::{Authority, Permission};
use accredit_wire::binding::Thumbprint;
use accredit_wire::binding::dpop::ProofKey;
use accredit_wire::biscuit::{Held, Holder, NarrowError, Narrowing};
use accredit_wire::ids::AgentId;
use accredit_wire::jose::jwk::{Jwk, PrivateJwk};
use clap::Args;
use serde_json::json;
use zeroize::Zeroizing;

use crate::args;
use crate::compose::SystemEntropy;
use crate::context::Context;
use crate::errors::Failure;
use crate::{input, output};

#[derive(Debug, Args)]
pub(super) struct Narrow {
    /// What remains allowed, of what the token allows: 'crm:update(amount<=100)'
    #[arg(long, value_name = "RESOURCE:ACTION", num_args = 1.., value_parser = args::permission,
          required_unless_present_any = ["expires_in", "to"])]
    allow: Vec<Permission>,
    /// When it ends, counted from now; no later than it ends already
    #[arg(long, value_name = "DURATION", value_parser = args::duration)]
    expires_in: Option<Duration>,
    /// The agent that it is handed to, which acts from then on
    #[arg(long, value_name = "ID", requires = "to_key")]
    to: Option<AgentId>,
    /// That agent's key: its RFC 7638 thumbprint, or a file with its public JWK
    #[arg(long, value_name = "JKT|FILE", requires = "to")]
    to_key: Option<String>,
    /// A file with your own private JWK, where the token is bound to it and is handed on
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// A file with the token (`-`: standard input)
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
}

/// Reads a token, narrows it and prints it alone.
pub(super) async fn run(args: Narrow, cx: &Context) -> Result<(), Failure> {
    let now = cx.now;
    let narrowed = tokio::task::spawn_blocking(move || narrow(&args, now)).await;
    let (text, narrowing) = narrowed.unwrap_or_else(|_| Err(Failure::interrupted()))?;
    let read = Held::read(&text).map_err(|error| refused(&NarrowError::Token(error)))?;
    let token = read.says().token();
    let ends = accredit_wire::time::Time::from_seconds(token.expires_at);
    if cx.out.is_json() {
        let holder = narrowing.holder.map(|holder| holder.agent.to_string());
        let object = json!({
            "token": text,
            "expires_at": ends.to_string(),
            "allows": read.says().held().texts().collect::<Vec<_>>(),
            "delegable": token.delegable.texts().collect::<Vec<_>>(),
            "handed_to": holder,
        });
        return cx.out.json(&object.to_string());
    }
    output::line(&text)?;
    let allowed: Vec<String> = read.says().held().texts().collect();
    let allowed = if allowed.is_empty() { "nothing".to_owned() } else { allowed.join(" ") };
    cx.out.say(&format!("allows: {allowed}; ends at {ends}"));
    if token.cnf.is_none() {
        cx.out.say(
            "it names no holder: resources refuse it unless they say otherwise (--to, --to-key)",
        );
    }
    Ok(())
}

fn narrow(args: &Narrow, now: accredit_wire::time::Time) -> Result<(String, Narrowing), Failure> {
    let text = Zeroizing::new(input::text(&args.file)?);
    let text = text.trim();
    let held = Held::read(text).map_err(|error| {
        Failure::usage(
            "this is not an attenuable token",
            &error.to_string(),
            "ask for one, and pipe it in; a JWT is narrowed by `accredit token exchange`",
        )
    })?;
    let allow = match args.allow.as_slice() {
        [] => None,
        allow => Some(Authority::new(allow.iter().cloned()).map_err(|error| {
            Failure::usage("that is too much for one token", &error.to_string(), "allow less")
        })?),
    };
    let holder = match (args.to, &args.to_key) {
        (Some(agent), Some(key)) => Some(Holder { agent, key: thumbprint(key)? }),
        (None, _) | (_, None) => None,
    };
    let expires_at = args.expires_in.map(|life| now.plus(life).seconds());
    let narrowing = Narrowing { authority: allow, not_before: None, expires_at, holder };
    let mut random = [0u8; 32];
    SystemEntropy.fill(&mut random);
    let narrowed = match &args.key {
        None => held.narrow(&narrowing, &random, None),
        Some(file) => private_key(file)?.narrow(&held, &narrowing, &random),
    };
    let narrowed = narrowed.map_err(|error| refused(&error))?;
    Ok((narrowed, narrowing))
}

/// A thumbprint, or that of the key in a file.
fn thumbprint(text: &str) -> Result<Thumbprint, Failure> {
    if let Ok(thumbprint) = text.parse() {
        return Ok(thumbprint);
    }
    let jwk = Jwk::parse(input::text(Path::new(text))?.as_bytes()).map_err(|error| {
        Failure::usage(
            "`--to-key` is neither a thumbprint nor a file with a public JWK",
            &error.to_string(),
            "give the key's RFC 7638 thumbprint (43 characters), or its public JWK",
        )
    })?;
    Ok(Thumbprint::of(jwk.key()))
}

fn private_key(file: &Path) -> Result<ProofKey, Failure> {
    let text = Zeroizing::new(input::text(file)?);
    let key = PrivateJwk::parse(text.as_bytes()).map_err(|error| error.to_string());
    let key = key.and_then(|jwk| ProofKey::new(jwk.into_key()).map_err(|error| error.to_string()));
    key.map_err(|error| {
        Failure::usage(
            &format!("`{}` does not hold your private key", file.display()),
            &error,
            "give the private JWK of the key that the token is bound to",
        )
    })
}

fn refused(error: &NarrowError) -> Failure {
    let hint = match error {
        NarrowError::Token(_) => "ask the issuer for another token",
        NarrowError::Nothing => "add --allow, --expires-in or --to",
        NarrowError::Excess(_) => "allow only what the token allows or may pass on",
        NarrowError::Later { .. } => "give a shorter --expires-in",
        NarrowError::KeyMissing | NarrowError::OtherKey | NarrowError::Key => {
            "give the private JWK of the key that the token is bound to: --key FILE"
        }
    };
    Failure::usage("the token is not narrowed so", &error.to_string(), hint)
}
