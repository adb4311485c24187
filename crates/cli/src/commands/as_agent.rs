//! RFC 6749 section 2.3: what an agent does itself from the command line, by its own secret.

use std::path::PathBuf;

use accredit_wire::authority::{Authority, Permission};
use accredit_wire::oauth::authorization_details::AuthorizationDetails;
use accredit_wire::secret::Secret;
use clap::Args;
use form_urlencoded::Serializer;

use super::token::{issuer, read_secret};
use crate::api::Api;
use crate::context::Context;
use crate::errors::Failure;
use crate::output::Answer;

/// Which agent asks, where it is one and no administrator.
#[derive(Debug, Args)]
pub(crate) struct AsAgent {
    /// Ask as this agent, by its id and its own secret
    #[arg(long, value_name = "ID")]
    pub(crate) client_id: Option<String>,
    /// A file with that secret (`-`: standard input), else ACCREDIT_CLIENT_SECRET
    #[arg(long, value_name = "FILE", requires = "client_id")]
    secret_file: Option<PathBuf>,
    /// The organization's name, at the server that --url names
    #[arg(long, value_name = "NAME", requires = "client_id")]
    org: Option<String>,
    /// The issuer, in place of --url and --org
    #[arg(long, value_name = "URL", requires = "client_id", conflicts_with = "org")]
    issuer: Option<String>,
}

impl AsAgent {
    /// Whom it asks.
    pub(crate) async fn issuer(&self, cx: &Context) -> Result<(Api, String), Failure> {
        issuer(self.issuer.as_deref(), self.org.as_deref(), cx).await
    }

    /// Asks one of the endpoints under the issuer.
    pub(crate) async fn post(
        &self,
        client_id: &str,
        endpoint: &str,
        form: Vec<(&str, String)>,
        cx: &Context,
    ) -> Result<Answer, Failure> {
        let (api, issuer) = self.issuer(cx).await?;
        let secret = match (&self.secret_file, &cx.around.client_secret) {
            (None, Some(secret)) => secret.clone(),
            (file, _) => read_secret(file.as_deref()).await?,
        };
        let form = Secret::new(Serializer::new(String::new()).extend_pairs(form).finish());
        api.client(&issuer, endpoint, (client_id, &secret), form.expose()).await
    }
}

/// Permissions as parameters: what has no limit is a scope.
pub(crate) fn asked(allow: &[Permission]) -> Result<Vec<(&'static str, String)>, Failure> {
    let asked = Authority::new(allow.iter().cloned()).map_err(|error| {
        Failure::usage("that is too much at once", &error.to_string(), "ask for less")
    })?;
    let (mut form, scope) = (Vec::new(), asked.tokens().map(|token| token.to_string()));
    let scope = scope.collect::<Vec<_>>().join(" ");
    if !scope.is_empty() {
        form.push(("scope", scope));
    }
    let details = AuthorizationDetails::of(&asked);
    if !details.is_empty()
        && let Ok(details) = serde_json::to_string(&details)
    {
        form.push(("authorization_details", details));
    }
    Ok(form)
}
