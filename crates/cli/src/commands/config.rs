//! `accredit config`: a server's configuration, read as the server would, without starting it.

use std::path::PathBuf;

use accredit_server::tls::Tls;
use clap::{Args, Subcommand};
use serde_json::json;

use super::serving;
use crate::context::Context;
use crate::errors::Failure;
use crate::exit::Exit;
use crate::output::{self, Column, Page};
use crate::root_key;
use crate::settings::{self, Settings};

const COLUMNS: [Column; 2] = [Column::new("SETTING", "setting"), Column::new("VALUE", "value")];
const SOURCES: [Column; 5] = [
    Column::new("SETTING", "setting"),
    Column::new("VALUE", "value"),
    Column::new("FROM", "from"),
    Column::new("DEFAULT", "default"),
    Column::new("UNIT", "unit"),
];

/// The noun.
#[derive(Debug, Args)]
pub(crate) struct Config {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Check a configuration and the files it names; starts nothing
    #[command(after_help = settings::help(
        "Example:\n  accredit config check --config /etc/accredit/accredit.toml"
    ))]
    Check(File),
    /// Show the settings as they would be used
    #[command(after_help = "Example:\n  accredit config show --config accredit.toml --sources")]
    Show(Show),
}

#[derive(Debug, Args)]
struct File {
    /// The configuration that `accredit init` wrote
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct Show {
    #[command(flatten)]
    file: File,
    /// Also where each value comes from, its default and its unit
    #[arg(long)]
    sources: bool,
}

/// Runs one of its verbs.
pub(crate) fn run(config: &Config, cx: &Context) -> Result<(), Failure> {
    match &config.verb {
        Verb::Check(file) => check(file, cx),
        Verb::Show(show) => print(show, cx),
    }
}

fn check(file: &File, cx: &Context) -> Result<(), Failure> {
    let settings = Settings::read(&file.config, &cx.around)?;
    root_key::read(&settings.root_key_file)?;
    if let Some(tls) = settings.listener_tls() {
        Tls::read(&tls).map_err(|error| serving::not_bound(&error))?;
    }
    if let Some(token) = &settings.pkcs11
        && !token.module.exists()
    {
        let (title, file) = ("the PKCS#11 token cannot be used", token.module.display());
        let detail = format!("`pkcs11.module`: there is no `{file}`");
        return Err(Failure::new(
            Exit::NotFound,
            "pkcs11",
            title,
            &detail,
            "name the vendor's library",
        ));
    }
    // A token is asked by `accredit doctor`, too: each login is a try.
    // A database is asked by `accredit doctor`: this check needs nobody else.
    if settings.store.file().is_some_and(|file| !file.exists()) {
        let place = &settings.store;
        cx.out.warn(&format!("there is no store at `{place}` yet; `accredit init` creates one"));
    }
    if cx.out.is_json() {
        return output::line(&json!({ "ok": true, "config": file.config }).to_string());
    }
    output::line(&format!("{}: ok", file.config.display()))
}

fn print(show: &Show, cx: &Context) -> Result<(), Failure> {
    let settings = Settings::read(&show.file.config, &cx.around)?;
    let rows = settings.shown.iter().map(|(setting, value, source)| {
        if show.sources {
            json!({ "setting": setting.key, "value": value, "from": source.as_str(),
                "default": setting.default, "unit": setting.unit, "help": setting.help,
                "environment": setting.env, "flag": setting.flag })
        } else {
            json!({ "setting": setting.key, "value": value })
        }
    });
    let columns = if show.sources { &SOURCES[..] } else { &COLUMNS[..] };
    cx.out.list(&Page::of(rows), columns)
}
