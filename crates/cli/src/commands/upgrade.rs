//! `accredit upgrade check`: may this version take over a store, and may the one that serves it go on
//! meanwhile? Nothing is changed and nobody is disturbed: it looks at the schema and compares.

use std::path::PathBuf;

use accredit_store::inspect::{Inspection, inspect};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::compose;
use crate::context::Context;
use crate::errors::Failure;
use crate::exit::Exit;
use crate::output::line;
use crate::settings::Settings;

/// The noun.
#[derive(Debug, Args)]
pub(crate) struct Upgrade {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Say what this version would change in the store, and whether what serves it now may go on
    #[command(
        after_help = "Example:\n  accredit upgrade check --config ./accredit/accredit.toml\n\n\
                      Run it with the new version, before any node is started with it. Ends with 0 where nodes \
                      may be changed one by one, with 6 where all have to be stopped first or this \
                      version is too old."
    )]
    Check(Check),
}

#[derive(Debug, Args)]
struct Check {
    /// The configuration of the installation
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Nothing.
    Current,
    /// Nodes are changed one by one.
    Rolling,
    /// All nodes are stopped first.
    Stopped,
    /// This version serves beside a newer one.
    Beside,
    /// This version is too old.
    TooOld,
}

impl Way {
    const fn of(found: &Inspection) -> Self {
        match (found.schema > found.schema_known, found.pending.is_empty(), found.is_online) {
            (true, _, true) => Self::Beside,
            (true, _, false) => Self::TooOld,
            (false, true, _) => Self::Current,
            (false, false, true) => Self::Rolling,
            (false, false, false) => Self::Stopped,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Rolling => "rolling",
            Self::Stopped => "stopped",
            Self::Beside => "beside",
            Self::TooOld => "too-old",
        }
    }

    const fn says(self) -> &'static str {
        match self {
            Self::Current => "the store is as this version wants it",
            Self::Rolling => {
                "start nodes with this version one by one: the first one brings the schema up to \
                 date, and those of the version before serve on meanwhile"
            }
            Self::Stopped => {
                "stop all nodes, make a backup, and start them with this version: those of the version \
                 before do not serve what it writes"
            }
            Self::Beside => {
                "a newer version has brought the schema up to date, and this one may serve beside it \
                 until all nodes are changed"
            }
            Self::TooOld => {
                "the store was written by a newer version, beside which this one may not serve"
            }
        }
    }
}

/// Looks, says what was found, and fails where nodes cannot be changed one by one.
pub(crate) fn run(noun: &Upgrade, cx: &Context) -> Result<(), Failure> {
    let Verb::Check(args) = &noun.verb;
    let settings = Settings::read(&args.config, &cx.around)?;
    let store = &settings.store;
    if !compose::holds_store(store)? {
        let detail = format!("`{store}` holds none");
        let hint = "check `store` in the configuration";
        return Err(Failure::new(Exit::NotFound, "upgrade", "there is no store", &detail, hint));
    }
    let found = inspect(store).map_err(|fault| {
        let hint = "does its server run, and may this user in?";
        Failure::new(
            Exit::Failure,
            "upgrade",
            "the store was not looked at",
            &fault.to_string(),
            hint,
        )
    })?;
    let way = Way::of(&found);
    if cx.out.is_json() {
        let pending: Vec<_> = found
            .pending
            .iter()
            .map(|(number, name)| json!({"number": number, "name": name}))
            .collect();
        line(
            &json!({
                "schema": found.schema,
                "written_by": found.written_by,
                "schema_known": found.schema_known,
                "version": env!("CARGO_PKG_VERSION"),
                "pending": pending,
                "way": way.as_str(),
                "connections": found.connections,
            })
            .to_string(),
        )?;
    } else {
        line(&format!("store         schema {}, written by {}", found.schema, found.written_by))?;
        let version = env!("CARGO_PKG_VERSION");
        line(&format!("this version  schema {}, {version}", found.schema_known))?;
        for (number, name) in &found.pending {
            line(&format!("would run     {number} {name}"))?;
        }
        if let Some(connections) = found.connections {
            line(&format!("connections   {connections} of nodes that run now"))?;
        }
        line(&format!("{}: {}", way.as_str(), way.says()))?;
    }
    match way {
        Way::Current | Way::Rolling | Way::Beside => Ok(()),
        Way::Stopped | Way::TooOld => Err(Failure::new(
            Exit::Conflict,
            "upgrade",
            "nodes cannot be changed one by one",
            way.says(),
            "see the guide, Many nodes",
        )),
    }
}
