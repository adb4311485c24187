//! `accredit audit prune`: deleting what old events say, request by request until nothing is left.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::context::Context;
use crate::errors::Failure;
use crate::output::{counted, line};
use crate::request_path::RequestPath;

/// Deletes payloads, and prints how many.
pub(crate) async fn run(older_than: Duration, cx: &Context) -> Result<(), Failure> {
    let api = cx.api()?;
    let asked = json!({ "older_than": older_than.as_secs() });
    let mut pruned = 0;
    loop {
        let path = RequestPath::new("/v1/log/prune");
        let answer = api.call(Method::POST, path, Some(asked.clone())).await?.value;
        pruned += answer.get("pruned").and_then(Value::as_u64).unwrap_or(0);
        if answer.get("more") == Some(&Value::Bool(true)) {
            cx.out.say(&format!("{pruned} payloads deleted, and going on"));
            continue;
        }
        let before = answer.get("before").and_then(Value::as_str).unwrap_or_default();
        if cx.out.is_json() {
            return cx.out.json(&json!({ "pruned": pruned, "before": before }).to_string());
        }
        return line(&format!(
            "deleted the payloads of {} before {before}",
            counted(pruned, "event")
        ));
    }
}
