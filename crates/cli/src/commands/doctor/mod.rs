//! `accredit doctor`: checks an installation and says what to mend.
//!
//! With a configuration it looks at files, store and certificate, also while the server runs, and
//! asks the server at its public URL how it is. With an administrator's key it asks the server
//! about its organization. Nothing is changed, and no check stops another.

mod certificate;
mod hardware;
mod offline;
mod online;
mod owner_keys;
mod probe;

use std::path::PathBuf;

use accredit_net::Client;
use clap::Args;
use serde::Serialize;

use crate::api::Api;
use crate::client_settings::ClientSettings;
use crate::context::Context;
use crate::errors::Failure;
use crate::exit::Exit;
use crate::output::{Column, Page};

/// Names that a finding lists.
const NAMES_SHOWN_MAX: usize = 5;

const COLUMNS: [Column; 4] = [
    Column::new("CHECK", "check"),
    Column::new("IS", "level"),
    Column::new("FOUND", "found"),
    Column::new("WHAT TO DO", "hint"),
];

/// Arguments of `accredit doctor`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  accredit doctor --config /etc/accredit/accredit.toml\n  \
    accredit doctor\n  accredit doctor --output json\n\n\
    Without --config it asks the server that --url or ACCREDIT_URL names. It fails where a check \
    fails; a warning is no failure.")]
pub(crate) struct Doctor {
    /// The configuration of an installation on this machine
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Warn,
    Fail,
}

/// One check.
#[derive(Clone, Debug, Serialize)]
struct Check {
    /// Its stable name.
    #[serde(rename = "check")]
    name: &'static str,
    level: Level,
    /// What was found.
    found: String,
    /// What to do; empty where nothing is.
    hint: String,
}

/// The checks as they come.
#[derive(Debug, Default)]
struct Checks(Vec<Check>);

impl Checks {
    fn ok(&mut self, name: &'static str, found: impl Into<String>) {
        self.add(name, Level::Ok, found.into(), String::new());
    }

    fn warn(&mut self, name: &'static str, found: impl Into<String>, hint: impl Into<String>) {
        self.add(name, Level::Warn, found.into(), hint.into());
    }

    fn fail(&mut self, name: &'static str, found: impl Into<String>, hint: impl Into<String>) {
        self.add(name, Level::Fail, found.into(), hint.into());
    }

    /// A failure of this program, as a check that failed.
    fn failed(&mut self, name: &'static str, failure: &Failure) {
        self.fail(name, format!("{}: {}", failure.title, failure.detail), &*failure.hint);
    }

    fn add(&mut self, name: &'static str, level: Level, found: String, hint: String) {
        self.0.push(Check { name, level, found, hint });
    }
}

/// Runs every check, prints them, and fails where one did.
pub(crate) async fn run(args: &Doctor, cx: &Context) -> Result<(), Failure> {
    let mut checks = Checks::default();
    let mut probed = None;
    let client = Api::plain_client(&cx.flags)?;
    if let Some(config) = &args.config {
        let found = offline::check(config, cx, &mut checks);
        if let Some(found) = found {
            hardware::check(found.pkcs11.as_ref(), &found.in_token, &mut checks).await;
            let names = &found.organizations;
            probe::check(&client, (&found.public_url, names), cx.now, &mut checks).await;
            probed = Some(found.public_url);
        }
    }
    match ClientSettings::resolve(&cx.flags, &cx.around) {
        Ok(settings) => about_server(settings, (&client, probed), cx, &mut checks).await?,
        // With a configuration, a server is not what was asked about.
        Err(failure) if args.config.is_none() => return Err(failure),
        Err(_) => {}
    }
    let failed = checks.0.iter().filter(|check| check.level == Level::Fail).count();
    let rows = checks.0.iter().map(|check| serde_json::to_value(check).unwrap_or_default());
    cx.out.list(&Page::of(rows), &COLUMNS)?;
    if failed == 0 {
        return Ok(());
    }
    let detail = format!("{failed} of {} checks failed", checks.0.len());
    let hint = "each failed check says what to do";
    Err(Failure::new(Exit::Failure, "doctor", "something is to be mended", &detail, hint))
}

/// What the server says, of itself and of the key's organization.
async fn about_server(
    settings: ClientSettings,
    (client, probed): (&Client, Option<String>),
    cx: &Context,
    checks: &mut Checks,
) -> Result<(), Failure> {
    if probed.as_ref() != Some(&settings.url) {
        probe::check(client, (&settings.url, &[]), cx.now, checks).await;
    }
    let api = Api::new(settings, &cx.flags)?;
    if !api.has_token() {
        checks.warn(
            "organization",
            "not looked at: no administrator's key was given",
            "set ACCREDIT_TOKEN or --token-file to have agents, credentials and log checked",
        );
        return Ok(());
    }
    online::check(&api, cx.now, checks).await;
    Ok(())
}

#[cfg(test)]
mod tests;
