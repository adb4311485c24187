//! `accredit credential`: what agents, instances and resources prove themselves with.

use std::path::{Path, PathBuf};
use std::time::Duration;

use accredit_wire::jose::jwk::Jwk;
use accredit_wire::x509::{self, presented::Presented};
use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use serde_json::Value;

use crate::args::lists::{Expires, LastUsed};
use crate::args::{self, Body, StateList};
use crate::commands::{self, revocation};
use crate::context::Context;
use crate::errors::Failure;
use crate::input;
use crate::output::Column;
use crate::request_path::RequestPath;

const COLUMNS: [Column; 8] = [
    Column::new("ID", "id"),
    Column::new("TYPE", "type"),
    Column::made("HOLDER", holder),
    Column::new("USE", "use"),
    Column::new("STATE", "state"),
    Column::new("KID", "kid"),
    Column::new("EXPIRES", "expires_at"),
    Column::new("LAST USED", "last_used_at"),
];

fn holder(credential: &Value) -> String {
    let text = |name: &str| credential.get(name).and_then(Value::as_str);
    text("instance").or(text("resource")).or(text("agent")).unwrap_or("-").to_owned()
}

/// The noun.
#[derive(Debug, Args)]
pub(crate) struct Credential {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a secret, shown once, or register a public key
    #[command(
        after_help = "Examples:\n  accredit credential create --agent planner --type client-secret\n  \
                      accredit credential create --agent planner --use ci\n  \
                      accredit credential create --agent planner --type public-key --jwk key.pub.json\n  \
                      accredit credential create --resource crm --type client-secret --expires-in 30d"
    )]
    Create(Create),
    /// List credentials
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  accredit credential list --agent planner\n  \
                      accredit credential list --state active --sort expires_at"
    )]
    List(List),
    /// Show one credential, without its secret
    #[command(visible_alias = "show", after_help = "Example:\n  accredit credential get crd_…")]
    Get(One),
    /// Make a credential's successor; both work for a while, then the old one ends by itself
    #[command(after_help = "Examples:\n  accredit credential rotate crd_…\n  \
                      accredit credential rotate crd_… --overlap 1h\n  \
                      accredit credential rotate crd_… --jwk key.pub.json")]
    Rotate(Rotate),
    /// End one credential and what was issued to it
    #[command(after_help = "Example:\n  accredit credential revoke crd_… --reason \"leaked\"")]
    Revoke(Revoke),
}

#[derive(Debug, Args)]
struct Create {
    #[command(flatten)]
    holder: Holder,
    /// What kind it is
    #[arg(
        long = "type",
        value_name = "client-secret|public-key",
        default_value = "client-secret",
        hide_possible_values = true
    )]
    kind: Kind,
    /// What it is for, such as `ci`: of one holder's secrets one at most is live for each use
    #[arg(long = "use", value_name = "NAME")]
    used_for: Option<String>,
    /// The public key: a JWK, or a certificate of it (`-`: standard input); for --type public-key
    #[arg(long, value_name = "FILE", required_if_eq("kind", "public-key"))]
    jwk: Option<PathBuf>,
    /// When it ends by itself, from now (30d)
    #[arg(long, value_name = "DURATION", value_parser = args::duration)]
    expires_in: Option<Duration>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Holder {
    /// For an agent, by id or name
    #[arg(long, value_name = "ID|NAME")]
    agent: Option<String>,
    /// For one instance, by id
    #[arg(long, value_name = "ID")]
    instance: Option<String>,
    /// For a resource, by id or name
    #[arg(long, value_name = "ID|NAME")]
    resource: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// 256 random bits, made by the server.
    #[value(alias = "api-key")]
    ClientSecret,
    /// A key whose private part stays with its holder.
    PublicKey,
}

impl Kind {
    const fn text(self) -> &'static str {
        match self {
            Self::ClientSecret => "client-secret",
            Self::PublicKey => "public-key",
        }
    }
}

#[derive(Debug, Args)]
struct List {
    /// Only of this agent and its instances, by id or name
    #[arg(long, value_name = "ID|NAME", conflicts_with = "resource")]
    agent: Option<String>,
    /// Only of this resource, by id or name
    #[arg(long, value_name = "ID|NAME")]
    resource: Option<String>,
    #[command(flatten)]
    expires: Expires,
    #[command(flatten)]
    last_used: LastUsed,
    #[command(flatten)]
    among: StateList,
}

#[derive(Debug, Args)]
struct One {
    /// Its id
    id: String,
}

#[derive(Debug, Args)]
struct Rotate {
    /// Its id
    id: String,
    /// How long the old one still works (24h; at most 7d)
    #[arg(long, value_name = "DURATION", value_parser = args::duration)]
    overlap: Option<Duration>,
    /// The new public key, a JWK or a certificate of it (`-`: standard input); where the old one is
    /// a public key
    #[arg(long, value_name = "FILE")]
    jwk: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Revoke {
    /// Its id
    id: String,
    /// Why; stands in the audit log
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

fn all() -> RequestPath {
    RequestPath::new("/v1/credentials")
}

/// Runs one of its verbs.
pub(crate) async fn run(credential: Credential, cx: &Context) -> Result<(), Failure> {
    match credential.verb {
        Verb::Create(args) => {
            let body = create_body(args)?;
            cx.out.created(&cx.api()?.call(Method::POST, all(), Some(body)).await?)
        }
        Verb::List(args) => {
            let path = all()
                .query_opt("agent", args.agent.as_deref())
                .query_opt("resource", args.resource.as_deref());
            let path = args.last_used.of(args.expires.of(path));
            commands::list(args.among.of(path), args.among.paging, &COLUMNS, cx).await
        }
        Verb::Get(one) => commands::show(all().segment(&one.id), cx).await,
        Verb::Rotate(args) => {
            let body = Body::new()
                .with_opt("overlap", args.overlap.map(|overlap| overlap.as_secs()))
                .with_opt("jwk", args.jwk.as_deref().map(public_jwk).transpose()?);
            let path = all().segment(&args.id).segment("rotate");
            let answer = cx.api()?.call(Method::POST, path, Some(body.json())).await?;
            cx.out.created(&answer)?;
            if let Some(until) = answer.member("replaced_until") {
                cx.out.say(&format!("both work until {until}; then `{}` ends by itself", args.id));
            }
            Ok(())
        }
        Verb::Revoke(args) => {
            revocation::check_kind::<accredit_wire::ids::CredentialId>(&args.id)?;
            revocation::revoke(&args.id, &args.reason, cx).await
        }
    }
}

fn create_body(args: Create) -> Result<Value, Failure> {
    let jwk = match (args.kind, &args.jwk) {
        (Kind::PublicKey, Some(path)) => Some(public_jwk(path)?),
        (Kind::ClientSecret, Some(_)) => {
            return Err(Failure::usage(
                "a secret has no key",
                "--jwk was given for --type client-secret",
                "add --type public-key, or leave --jwk out",
            ));
        }
        (_, None) => None,
    };
    Ok(Body::new()
        .with_opt("agent", args.holder.agent)
        .with_opt("instance", args.holder.instance)
        .with_opt("resource", args.holder.resource)
        .with("type", args.kind.text())
        .with_opt("use", args.used_for)
        .with_opt("jwk", jwk)
        .with_opt("expires_in", args.expires_in.map(|expires| expires.as_secs()))
        .json())
}

/// The public key in a file. A private one is refused before it leaves this machine.
fn public_jwk(path: &Path) -> Result<Value, Failure> {
    let text = input::text(path)?;
    let wrong = |detail: &str, hint: &str| {
        Failure::usage(&format!("`{}` holds no public key", path.display()), detail, hint)
    };
    let like = "give a JWK with the members kty, crv, x (and y), or a certificate of it in PEM";
    if let Some(der) = x509::decoded("CERTIFICATE", &text) {
        let key = Presented::read(&der).ok().and_then(|read| read.key);
        let jwk = key.and_then(|key| Jwk::new(key, None).ok());
        let jwk = jwk.and_then(|jwk| serde_json::from_str(&jwk.bare_json()).ok());
        return jwk.ok_or_else(|| wrong("the certificate's key is not of P-256 or Ed25519", like));
    }
    let jwk: Value = serde_json::from_str(&text).map_err(|_| wrong("it is not JSON", like))?;
    if !jwk.is_object() || jwk.get("keys").is_some() {
        return Err(wrong("it is not one JWK", like));
    }
    // RFC 7518 sections 6.2.2, 6.3.2, 6.4.1 and RFC 8037 section 2: the private members.
    if ["d", "p", "q", "dp", "dq", "qi", "oth", "k"].iter().any(|name| jwk.get(name).is_some()) {
        return Err(wrong(
            "it holds the private part, which must never leave its holder",
            "give a copy of it without the member `d`",
        ));
    }
    Ok(jwk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_key_never_leaves_this_machine() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key.json");
        let good = r#"{"kty":"OKP","crv":"Ed25519","x":"AAAA"}"#;
        std::fs::write(&path, good).expect("written");
        assert_eq!(public_jwk(&path).expect("a key")["kty"], "OKP");
        for bad in [
            r#"{"kty":"OKP","crv":"Ed25519","x":"AAAA","d":"BBBB"}"#,
            r#"{"kty":"oct","k":"AAAA"}"#,
            r#"{"keys":[]}"#,
            "[]",
            "-----BEGIN PRIVATE KEY-----",
        ] {
            std::fs::write(&path, bad).expect("written");
            let failure = public_jwk(&path).expect_err(bad);
            assert!(!format!("{failure:?}").contains("BBBB"), "the key is repeated");
        }
    }

    #[test]
    fn a_certificate_is_a_key_in_another_form() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("own.pem");
        let made = |algorithm| {
            let pair = rcgen::KeyPair::generate_for(algorithm).expect("a key");
            let made = rcgen::CertificateParams::default().self_signed(&pair);
            (made.expect("a certificate").pem(), pair)
        };
        let (pem, pair) = made(&rcgen::PKCS_ED25519);
        std::fs::write(&path, &pem).expect("written");
        let jwk = public_jwk(&path).expect("a key");
        let x = accredit_wire::jose::b64url_encode(pair.public_key_raw());
        assert_eq!(jwk, serde_json::json!({"kty": "OKP", "crv": "Ed25519", "x": x}));
        let (other, _) = made(&rcgen::PKCS_ECDSA_P384_SHA384);
        for bad in [other, pem.replacen('M', "!", 1), pair.serialize_pem()] {
            std::fs::write(&path, &bad).expect("written");
            let failure = public_jwk(&path).expect_err(&bad);
            assert!(!format!("{failure:?}").contains(&pair.serialize_pem()[40..80]));
        }
    }
}
