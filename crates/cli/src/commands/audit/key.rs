//! `accredit audit key`: the verifier keys of the log's lanes.

use std::path::Path;

use serde_json::Value;

use crate::context::Context;
use crate::errors::{Failure, one_line};
use crate::output;
use crate::request_path::RequestPath;

/// Prints the keys, or writes them to a file that `accredit audit verify --key` takes.
pub(super) async fn run(file: Option<&Path>, cx: &Context) -> Result<(), Failure> {
    let api = cx.api()?;
    let log = api.get(RequestPath::new("/v1/log")).await?;
    let keys: Option<Vec<&str>> = log
        .value
        .get("lanes")
        .and_then(Value::as_array)
        .map(|lanes| lanes.iter().filter_map(|lane| lane.get("keys")?.as_array()).flatten())
        .map(|keys| keys.filter_map(Value::as_str).collect());
    let keys = keys
        .filter(|keys| !keys.is_empty())
        .ok_or_else(|| Failure::not_understood(api.url(), "the log names no key"))?;
    match file {
        None if cx.out.is_json() => cx.out.json(&log.text),
        None => keys.iter().try_for_each(|key| output::line(&one_line(key))),
        Some(file) => {
            std::fs::write(file, keys.join("\n") + "\n").map_err(|error| {
                let what = format!("`{}` could not be written", file.display());
                Failure::file(&what, &error, "check that the folder exists and may be written to")
            })?;
            cx.out.say(&format!(
                "{} in {}",
                output::counted(keys.len() as u64, "key"),
                file.display()
            ));
            if cx.out.is_json() { cx.out.json(&log.text) } else { Ok(()) }
        }
    }
}
