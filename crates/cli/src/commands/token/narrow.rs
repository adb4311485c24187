//! Biscuit v3: a holder narrows its own token, and hands it on, without asking anybody.
//!
//! Nothing leaves this process but the token, narrowed. Its signatures are not checked: whoever
//! takes it checks them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use accredit_domain::ports::Entropy as _;
use accredit_wire::authority::{Authority, Permission};
use accredit_wire::binding::Thumbprint;
use accredit_wire::biscuit::{Held, Holder, NarrowError, Narrowing};
use accredit_wire::ids::AgentId;
use accredit_wire::jose::jwk::Jwk;
use clap::Args;
use serde_json::json;
use zeroize::Zeroizing;

use super::own_key;
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
    if !read.says().is_minted_bound() {
        cx.out.say(
            "it was bound to no key: resources refuse it unless they say otherwise (`accredit token \
             get --attenuable --key FILE`)",
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
        Some(file) => own_key::read(file)?.narrow(&held, &narrowing, &random),
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

#[cfg(test)]
mod tests {
    use accredit_wire::binding::Confirmation;
    use accredit_wire::biscuit::{Unsigned, verify};
    use accredit_wire::crypto::{Algorithm, PrivateKey};
    use accredit_wire::ids::{CredentialId, KeyId, OrganizationId, PersonId, ResourceId, TokenId};
    use accredit_wire::jose::b64url_encode;
    use accredit_wire::oauth::authorization_details::AuthorizationDetails;
    use accredit_wire::time::Time;
    use accredit_wire::token::{AccessToken, SubjectKind};
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        narrow: Narrow,
    }

    const NOW: i64 = 1_763_717_400;

    fn minted(cnf: Option<Thumbprint>) -> (String, PrivateKey, KeyId) {
        let key = PrivateKey::ed25519_from_seed(&[7; 32]).expect("a key");
        let (agent, id) = (AgentId::new(1, [1; 10]), KeyId::new(1, [2; 10]));
        let token = AccessToken {
            issuer: "https://id.example/o/dev".to_owned(),
            subject: agent.any(),
            kind: SubjectKind::Agent,
            client_id: agent,
            audience: "https://crm.example/".to_owned(),
            issued_at: NOW,
            not_before: None,
            expires_at: NOW + 300,
            id: TokenId::new(1, [3; 10]),
            scope: "crm:read crm:write".parse().expect("a scope"),
            details: AuthorizationDetails::default(),
            key: id,
            instance: None,
            organization: OrganizationId::new(1, [4; 10]),
            credential: CredentialId::new(1, [5; 10]),
            owner: PersonId::new(1, [6; 10]),
            resource: ResourceId::new(1, [7; 10]),
            further: Vec::new(),
            rev: 1,
            delegable: Authority::none(),
            chain: Vec::new(),
            impersonated: false,
            cnf: cnf.map(Confirmation::Key),
            status: None,
        };
        let unsigned = Unsigned::new(&token, &[9; 32]).expect("a token");
        let signature = key.sign(unsigned.signing_input()).expect("a signature");
        (unsigned.finish(&signature).expect("a token").text, key, id)
    }

    fn run(words: &[&str]) -> Result<(String, Narrowing), Failure> {
        let line = Line::try_parse_from(std::iter::once("narrow").chain(words.iter().copied()));
        narrow(&line.unwrap_or_else(|error| panic!("{error}")).narrow, Time::from_seconds(NOW))
    }

    /// An Ed25519 key as its holder keeps it, and its thumbprint.
    fn jwk(seed: u8) -> (String, Thumbprint) {
        let key = PrivateKey::ed25519_from_seed(&[seed; 32]).expect("a key");
        let public = key.public().expect("its half");
        let (d, x) = (b64url_encode(&[seed; 32]), b64url_encode(public.bytes()));
        let text = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}","d":"{d}"}}"#);
        assert_eq!(public.algorithm(), Algorithm::EdDsa);
        (text, Thumbprint::of(&public))
    }

    #[test]
    fn a_token_is_narrowed_and_handed_on_without_asking_anybody() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).expect("written");
            path(name)
        };
        let (own, bound_to) = jwk(1);
        let (_, next) = jwk(2);
        let (token, root, id) = minted(Some(bound_to));
        let public = root.public().expect("its half");
        let file = write("token", &token);
        let own = write("own.jwk", &own);
        let worker = AgentId::new(1, [77; 10]).to_string();
        let next = next.to_string();
        let handed = ["--to", &worker, "--to-key", &next];
        let (text, _) = run(&[
            &["--allow", "crm:read", "--expires-in", "1m"][..],
            &handed,
            &["--key", &own, &file],
        ]
        .concat())
        .expect("narrowed");
        let read = verify(&text, [(id, &public)].into_iter()).expect("a token");
        let says = read.token();
        assert_eq!((says.scope.to_string(), says.expires_at), ("crm:read".to_owned(), NOW + 60));
        assert_eq!(
            (says.client_id.to_string(), says.cnf),
            (worker.clone(), next.parse().ok().map(Confirmation::Key))
        );

        // As it is looked into.
        let said = super::super::inspect::decode(&text).expect("a token");
        assert_eq!(
            (&said["header"]["typ"], &said["blocks"]["added"]),
            (&json!("biscuit"), &json!(1))
        );
        assert_eq!(said["claims"]["act"]["sub"], json!(worker));
        assert!(super::super::inspect::decode("CAES").is_err());

        let failed = |words: &[&str]| run(words).expect_err("refused").lines(false);
        let keyless = failed(&[&handed[..], &[&file]].concat());
        assert!(keyless.contains("--key FILE"), "{keyless}");
        let wider = failed(&["--allow", "crm:delete", "--expires-in", "1m", "--", &file]);
        assert!(wider.contains("crm:delete"), "{wider}");
        let later = failed(&["--expires-in", "6m", &file]);
        assert!(later.contains("ends at"), "{later}");
        let no_token = write("jwt", "eyJhbGciOiJFUzI1NiJ9.e30.AA");
        let other = failed(&["--expires-in", "1m", &no_token]);
        assert!(other.contains("not an attenuable token") && !other.contains("eyJ"), "{other}");
        let no_key = failed(&["--to", &worker, "--to-key", &no_token, &file]);
        assert!(no_key.contains("--to-key"), "{no_key}");
    }

    #[test]
    fn something_is_narrowed_and_a_holder_comes_with_its_key() {
        let worker = AgentId::new(1, [77; 10]).to_string();
        for words in [&[][..], &["--to", &worker], &["--to-key", "x"], &["--to", "planner"]] {
            let line = std::iter::once("narrow").chain(words.iter().copied());
            assert!(Line::try_parse_from(line).is_err(), "{words:?}");
        }
    }
}
