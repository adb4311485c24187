//! `accredit drill`: a kill is tried on something made for it, and measured.

use std::time::Duration;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::Value;

use crate::args::{Body, Paging};
use crate::commands::{self, kill};
use crate::context::Context;
use crate::errors::Failure;
use crate::exit::Exit;
use crate::output::Column;
use crate::request_path::RequestPath;

/// Shown below `accredit drill --help`.
pub(crate) const EXAMPLE: &str = "Examples:
  accredit drill                 make an agent, use it, kill it, and see who refuses it when
  accredit drill list            what came of earlier ones";

/// Tries a kill.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Drill {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// How long to wait until all enforcement points have acknowledged, 30s at most
    #[arg(long, value_name = "DURATION", default_value = kill::WAIT_DEFAULT, value_parser = kill::wait)]
    wait: Duration,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List drills, from the log, the newest first
    #[command(visible_alias = "ls", after_help = "Example:\n  accredit drill list --limit 10")]
    List(Paging),
}

const COLUMNS: [Column; 5] = [
    Column::new("TIME", "time"),
    Column::made("CAME OUT", |event| text(event, "decision")),
    Column::made("ACKNOWLEDGED", |event| change(event, "acknowledged")),
    Column::made("NOT", |event| {
        let count = |name| change(event, name).parse::<u64>().unwrap_or_default();
        (count("waiting") + count("silent") + count("gone")).to_string()
    }),
    Column::made("ALL WITHIN", |event| match change(event, "microseconds_max").parse() {
        Ok(micros) => kill::millis(micros),
        Err(_) => "-".to_owned(),
    }),
];

fn payload<'e>(event: &'e Value, name: &str) -> Option<&'e Value> {
    event.get("payload")?.get(name)
}

fn text(event: &Value, name: &str) -> String {
    payload(event, name).and_then(Value::as_str).unwrap_or("-").to_owned()
}

fn change(event: &Value, name: &str) -> String {
    let found = payload(event, "changes").and_then(|changes| changes.get(name));
    found.and_then(Value::as_str).unwrap_or("-").to_owned()
}

/// Runs one, or lists those that were.
pub(crate) async fn run(drill: Drill, cx: &Context) -> Result<(), Failure> {
    if let Some(Verb::List(paging)) = drill.verb {
        let path = RequestPath::new("/v1/events").query("type", "drill.finished");
        return commands::list(path.query("sort", "-created_at"), paging, &COLUMNS, cx).await;
    }
    let body = Body::new().with("wait", drill.wait.as_secs()).json();
    let api = cx.api()?;
    let answer = api.call(Method::POST, RequestPath::new("/v1/drills"), Some(body)).await?;
    if cx.out.is_json() {
        cx.out.object(&answer)?;
    } else {
        kill::points(answer.value.get("acknowledgements").unwrap_or(&Value::Null), cx)?;
    }
    if answer.value.get("passed").and_then(Value::as_bool) == Some(true) {
        cx.out.say("the drill passed: everybody who follows refuses what was killed");
        return Ok(());
    }
    Err(Failure::new(
        Exit::Failure,
        "drill",
        "the drill failed",
        "not every enforcement point acknowledged, or nobody follows",
        "look at those that did not: `accredit drill` names them with the bound that holds",
    ))
}
