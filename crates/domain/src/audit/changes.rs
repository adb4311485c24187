//! What an event says of a thing that was made or changed: the members of the object that is
//! written and shown, taken from it, so that a new member cannot be forgotten.
//!
//! Absent on purpose: a list of members to tell. There is one of members not to tell, each with
//! its reason.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::event::Body;
use crate::refusal::Fault;

/// New values of members, by name.
pub type Changes = BTreeMap<Cow<'static, str>, String>;

/// Members that are no part of a change: the event names the thing and bears the time; use is not
/// a change; and what is due follows from other members and the time.
const NOT_TOLD: [&str; 20] = [
    "id",
    "client_id",
    "client_secret",
    "admin_token",
    "organization",
    "created_at",
    "last_seen_at",
    "last_rotated_at",
    "last_used_at",
    "last_used_from",
    "rotation_due",
    "rotation_due_at",
    "jwks_fetched_at",
    "jwks_failing_since",
    "jwks_failure",
    "keys",
    "keys_fetched_at",
    "keys_failing_since",
    "keys_failure",
    "rev",
];

/// What is told of a new object, apart from what the event's other members say.
pub fn made<T: Serialize>(object: &T, body: &Body) -> Result<Changes, Fault> {
    let (members, told) = (members(object)?, members(body)?);
    let is_told = |name: &str, value: &Value| match name {
        "expires_at" => told.contains_key(name),
        _ => told.get(name) == Some(value),
    };
    let new = members.into_iter().filter(|(name, value)| !value.is_null() && !is_told(name, value));
    Ok(new.map(|(name, value)| (Cow::Owned(name), text(&value))).collect())
}

/// What is told of a change: the members that differ, as they are from now on; empty for one that
/// has no value any more.
pub fn made_different<T: Serialize>(before: &T, after: &T) -> Result<Changes, Fault> {
    let before = members(before)?;
    let differs = |name: &str, value: &Value| before.get(name) != Some(value);
    let after = members(after)?.into_iter().filter(|(name, value)| differs(name, value));
    Ok(after.map(|(name, value)| (Cow::Owned(name), text(&value))).collect())
}

fn members<T: Serialize>(object: &T) -> Result<Map<String, Value>, Fault> {
    let failed = |error: &dyn std::fmt::Display| Fault::new("describe a change", error);
    let Value::Object(mut members) =
        serde_json::to_value(object).map_err(|error| failed(&error))?
    else {
        return Err(failed(&"it is no object"));
    };
    members.retain(|name, _| !NOT_TOLD.contains(&name.as_str()));
    Ok(members)
}

/// A value as text: words joined by spaces, permissions as a scope, anything else as JSON.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(item).collect::<Vec<_>>().join(" "),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

/// One of a list. A permission of more than a resource and its actions is not shortened.
fn item(value: &Value) -> String {
    let Value::Object(members) = value else { return text(value) };
    match (members.len(), members.get("resource"), members.get("actions")) {
        (2, Some(Value::String(resource)), Some(Value::Array(actions))) => {
            let scope = actions.iter().map(|action| format!("{resource}:{}", text(action)));
            scope.collect::<Vec<_>>().join(" ")
        }
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(changes: &Changes) -> Value {
        serde_json::to_value(changes).expect("JSON")
    }

    #[test]
    fn whatever_a_new_object_has_is_told_once() {
        let object = json!({
            "id": "x", "name": "planner", "state": "draft", "may_delegate": false, "purpose": null,
            "token_lifetime": 300, "a_new_member": {"deep": [1]}, "words": ["a", "b"],
            "permissions": [{"resource": "crm", "actions": ["read", "update"]},
                {"resource": "erp", "actions": ["read"], "window": "nights"}],
        });
        let body = Body { name: Some("planner".to_owned()), ..Body::default() };
        assert_eq!(
            told(&made(&object, &body).expect("an object")),
            json!({
                "state": "draft", "may_delegate": "false", "token_lifetime": "300",
                "a_new_member": "{\"deep\":[1]}", "words": "a b",
                "permissions": "crm:read crm:update \
                    {\"actions\":[\"read\"],\"resource\":\"erp\",\"window\":\"nights\"}",
            })
        );
    }

    #[test]
    fn of_a_change_what_differs_is_told() {
        let before = json!({"name": "a", "purpose": "x", "scope": "crm:read", "last_seen_at": 1});
        let after = json!({"name": "a", "purpose": "y", "scope": null, "last_seen_at": 2});
        let changes = made_different(&before, &after).expect("objects");
        assert_eq!(told(&changes), json!({"purpose": "y", "scope": ""}));
        assert!(made_different(&before, &before).expect("objects").is_empty());
        assert!(made_different(&1, &2).is_err());
    }
}
