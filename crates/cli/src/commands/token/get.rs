//! RFC 6749 section 4.4, RFC 8693 section 2.1: a request for a token from the command line.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use accredit_wire::authority::Authority;
use accredit_wire::biscuit;
use accredit_wire::oauth::authorization_details::AuthorizationDetails;
use accredit_wire::oauth::token_exchange::SubjectTokenType;
use accredit_wire::secret::Secret;

use super::{Get, own_key};
use crate::api::Api;
use crate::client_settings::{ClientSettings, checked_url};
use crate::context::Context;
use crate::errors::{Failure, one_line};
use crate::request_path::RequestPath;
use crate::{input, output};

/// What is exchanged.
pub(super) enum Subject {
    /// A token: where it is, its type's short name, and whether the agent is to be kept out of `act`.
    Token { file: PathBuf, kind: String, impersonate: bool },
    /// What a user granted for this task.
    Task(String),
}

/// Gets a token and prints it alone, or the server's whole answer as JSON.
pub(super) async fn run(args: Get, subject: Option<Subject>, cx: &Context) -> Result<(), Failure> {
    let is_piped = |subject: &Subject| matches!(subject, Subject::Token { file, .. } if file == Path::new("-"));
    if subject.as_ref().is_some_and(is_piped)
        && args.secret_file.is_none()
        && cx.around.client_secret.is_none()
    {
        return Err(Failure::usage(
            "two things would be read from standard input",
            "the token to be exchanged and the secret",
            "set ACCREDIT_CLIENT_SECRET, or use --secret-file FILE",
        ));
    }
    let (api, issuer) = issuer(args.issuer.as_deref(), args.org.as_deref(), cx).await?;
    let secret_file = args.secret_file.clone();
    let secret = match (&secret_file, &cx.around.client_secret) {
        (None, Some(secret)) => secret.clone(),
        (file, _) => read_secret(file.as_deref()).await?,
    };
    let subject = match subject {
        Some(Subject::Token { file, kind, impersonate }) => {
            let kind = match kind.as_str() {
                "biscuit" => biscuit::TOKEN_TYPE.to_owned(),
                kind => format!("urn:ietf:params:oauth:token-type:{kind}"),
            };
            Some((read_secret(Some(&file)).await?, kind, impersonate))
        }
        Some(Subject::Task(task)) => {
            Some((Secret::new(task), SubjectTokenType::Task.uri().to_owned(), false))
        }
        None => None,
    };
    let form = form(&args, subject.as_ref())?;
    let who = (args.client_id.as_str(), &secret);
    let answer = match args.key.clone() {
        None => api.token(&issuer, who, form.expose()).await?,
        Some(file) => {
            let key = tokio::task::spawn_blocking(move || own_key::read_or_make(&file)).await;
            let key = key.unwrap_or_else(|_| Err(Failure::interrupted()))?;
            api.bound_token(&issuer, who, form.expose(), (&key, cx.now)).await?
        }
    };
    if cx.out.is_json() {
        return cx.out.object(&answer);
    }
    let token = answer
        .member("access_token")
        .ok_or_else(|| Failure::not_understood(&issuer, "it has no `access_token`"))?;
    output::line(&one_line(token))?;
    let lifetime = answer.value.get("expires_in").and_then(serde_json::Value::as_u64);
    let scope = answer.member("scope").filter(|scope| !scope.is_empty()).map(one_line);
    let details = answer.value.get("authorization_details").map(output::shown);
    let granted: Vec<String> = scope.into_iter().chain(details).collect();
    let granted = match granted.as_slice() {
        [] => "nothing (no scope was asked for)".to_owned(),
        granted => granted.join(" "),
    };
    cx.out.say(&format!(
        "granted: {granted}; valid for {} s",
        lifetime.map_or_else(|| "?".to_owned(), |seconds| seconds.to_string()),
    ));
    Ok(())
}

fn form(args: &Get, subject: Option<&(Secret, String, bool)>) -> Result<Secret, Failure> {
    let asked = Authority::new(args.allow.iter().cloned()).map_err(|error| {
        Failure::usage("that is too much for one token", &error.to_string(), "ask for less")
    })?;
    let mut form = form_urlencoded::Serializer::new(String::new());
    match subject {
        None => {
            form.append_pair("grant_type", "client_credentials");
        }
        Some((token, kind, impersonate)) => {
            form.append_pair("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange");
            form.append_pair("subject_token", token.expose());
            form.append_pair("subject_token_type", kind);
            if *impersonate {
                form.append_pair("impersonation", "true");
            }
        }
    }
    if args.attenuable {
        form.append_pair("requested_token_type", biscuit::TOKEN_TYPE);
    }
    if let Some(task) = &args.task {
        form.append_pair("task", task);
    }
    // What has no limit is a scope.
    let mut scope = args.scope.clone();
    scope.extend(asked.tokens().map(|token| token.to_string()));
    scope.sort_unstable();
    scope.dedup();
    if !scope.is_empty() {
        form.append_pair("scope", &scope.join(" "));
    }
    let details = AuthorizationDetails::of(&asked);
    if !details.is_empty()
        && let Ok(details) = serde_json::to_string(&details)
    {
        form.append_pair("authorization_details", &details);
    }
    if let Some(resource) = &args.resource {
        form.append_pair("resource", resource);
    }
    if let Some(expires) = args.expires_in {
        form.append_pair("expires_in", &expires.as_secs().to_string());
    }
    Ok(Secret::new(form.finish()))
}

/// Whom to ask: the issuer as it was named, or the organization at the server, or the only
/// organization that an administrator's key sees.
pub(crate) async fn issuer(
    issuer: Option<&str>,
    org: Option<&str>,
    cx: &Context,
) -> Result<(Api, String), Failure> {
    if let Some(issuer) = issuer {
        let issuer = checked_url(issuer)?;
        let settings = ClientSettings { url: issuer.clone(), token: None };
        return Ok((Api::new(settings, &cx.flags)?, issuer));
    }
    let api = cx.api()?;
    if let Some(org) = org {
        let issuer = format!("{}{}", api.url(), RequestPath::new("/o").segment(org).text());
        return Ok((api, issuer));
    }
    let which = || {
        Failure::usage(
            "which organization?",
            "neither --org nor --issuer was given, and no administrator's key tells",
            "add --org NAME, or --issuer URL",
        )
    };
    if !api.has_token() {
        return Err(which());
    }
    let page = api.list(RequestPath::new("/v1/orgs"), 2, None).await?;
    let [org] = page.items.as_slice() else { return Err(which()) };
    let org: serde_json::Value = serde_json::from_str(org.get()).map_err(|_| which())?;
    let name = org.get("name").and_then(serde_json::Value::as_str).ok_or_else(which)?;
    let issuer = format!("{}{}", api.url(), RequestPath::new("/o").segment(name).text());
    Ok((api, issuer))
}

pub(crate) async fn read_secret(file: Option<&Path>) -> Result<Secret, Failure> {
    let file = file.unwrap_or(Path::new("-")).to_owned();
    if file == Path::new("-") && std::io::stdin().is_terminal() {
        return Err(Failure::usage(
            "no secret was given",
            "it is not read from a terminal, which would show it",
            "set ACCREDIT_CLIENT_SECRET, use --secret-file FILE, or pipe it in",
        ));
    }
    let read = tokio::task::spawn_blocking(move || input::secret(&file)).await;
    read.unwrap_or_else(|_| Err(Failure::interrupted()))
}
