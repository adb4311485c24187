//! OpenAPI 3.1, derived from the table of endpoints.

use std::borrow::Cow;
use std::collections::BTreeMap;

use accredit_domain::registry::{PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

use crate::caller::Requirement;
use crate::endpoints::{ENDPOINTS, Endpoint};
use crate::failure::{Language, Problem};

/// The shape of a body.
#[derive(Clone, Copy)]
pub enum Shape {
    /// There is none.
    None,
    /// A form (RFC 6749 appendix B).
    Form,
    /// JSON of a standard.
    Json,
    /// Plain text.
    Text,
    /// Bytes.
    Bytes,
    /// Server-sent events.
    Events,
    /// NDJSON.
    Lines,
    /// JSON of a type of ours.
    One(Typed),
    /// A page of a list of a type of ours.
    List(Typed),
}

/// A type of ours, as far as the document needs it.
#[derive(Clone, Copy)]
pub struct Typed {
    name: fn() -> Cow<'static, str>,
    schema: fn() -> RefOr<Schema>,
    parts: fn(&mut Vec<(String, RefOr<Schema>)>),
}

impl Shape {
    /// JSON of a type of ours.
    pub const fn of<T: ToSchema>() -> Self {
        Self::One(Typed { name: T::name, schema: T::schema, parts: T::schemas })
    }

    /// A page of a list of a type of ours.
    pub const fn list_of<T: ToSchema>() -> Self {
        Self::List(Typed { name: T::name, schema: T::schema, parts: T::schemas })
    }

    fn typed(self) -> Option<Typed> {
        match self {
            Self::One(typed) | Self::List(typed) => Some(typed),
            _ => None,
        }
    }

    /// Media type and schema.
    fn content(self) -> Option<(&'static str, Value)> {
        let text = || json!({ "type": "string" });
        Some(match self {
            Self::None => return None,
            Self::Form => ("application/x-www-form-urlencoded", json!({ "type": "object" })),
            Self::Json => ("application/json", json!({ "type": "object" })),
            Self::Text => ("text/plain", text()),
            Self::Bytes => ("application/octet-stream", text()),
            Self::Events => ("text/event-stream", text()),
            Self::Lines => ("application/x-ndjson", text()),
            Self::One(typed) => ("application/json", reference(typed)),
            Self::List(typed) => (
                "application/json",
                json!({
                    "type": "object",
                    "required": ["items", "next"],
                    "properties": {
                        "items": { "type": "array", "items": reference(typed) },
                        "next": { "type": ["string", "null"] },
                    },
                }),
            ),
        })
    }
}

fn reference(typed: Typed) -> Value {
    json!({ "$ref": format!("#/components/schemas/{}", (typed.name)()) })
}

/// The whole document.
pub fn document() -> Value {
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    let mut schemas: BTreeMap<String, Value> = BTreeMap::new();
    let problem = Shape::of::<Problem>();
    for typed in ENDPOINTS
        .iter()
        .flat_map(|endpoint| [endpoint.takes.typed(), endpoint.gives.typed()])
        .chain([problem.typed()])
        .flatten()
    {
        let mut parts = vec![((typed.name)().into_owned(), (typed.schema)())];
        (typed.parts)(&mut parts);
        for (name, schema) in parts {
            schemas.insert(name, serde_json::to_value(schema).unwrap_or(Value::Null));
        }
    }
    for endpoint in ENDPOINTS {
        let path = endpoint.path.replace("{*", "{");
        paths
            .entry(path)
            .or_default()
            .insert(endpoint.method.as_str().to_lowercase(), operation(endpoint));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Accredit",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Identity, authority and accountability for AI agents.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "admin": {
                    "type": "http", "scheme": "bearer",
                    "description": "An administrator's key, `acr_admin_…`.",
                },
                "operator": {
                    "type": "http", "scheme": "bearer",
                    "description": "The installation's operator's key, `acr_operator_…`.",
                },
                "client": {
                    "type": "http", "scheme": "basic",
                    "description": "An OAuth client: `client_secret_basic`, `client_secret_post` or \
                                    `private_key_jwt`.",
                },
                "resource": {
                    "type": "http", "scheme": "bearer",
                    "description": "A resource server's secret, `acr_resource_…`.",
                },
            },
        },
    })
}

fn operation(endpoint: &Endpoint) -> Value {
    let mut operation = Map::new();
    operation.insert("operationId".into(), json!(endpoint.operation));
    operation.insert("summary".into(), json!(endpoint.standard));
    operation.insert("parameters".into(), parameters(endpoint));
    if let Some((media, schema)) = endpoint.takes.content() {
        let content = content(media, schema);
        operation.insert("requestBody".into(), json!({ "required": true, "content": content }));
    }
    let mut success = json!({ "description": "It was done." });
    if let (Some((media, schema)), Some(success)) =
        (endpoint.gives.content(), success.as_object_mut())
    {
        success.insert("content".into(), content(media, schema));
    }
    let status = if endpoint.semantics.creates() { "201" } else { "200" };
    let refused = match endpoint.language {
        Language::OAuth => json!({
            "description": "Refused (RFC 6749 section 5.2).",
            "content": content("application/json", json!({ "type": "object" })),
        }),
        Language::Problem => json!({
            "description": "Refused (RFC 9457).",
            "content": content(
                "application/problem+json",
                json!({ "$ref": "#/components/schemas/Problem" }),
            ),
        }),
    };
    operation.insert("responses".into(), json!({ status: success, "default": refused }));
    let (security, permission) = match endpoint.caller {
        Requirement::Anyone => (json!([]), None),
        Requirement::Client => (json!([{ "client": [] }]), None),
        Requirement::Verifier => (json!([{ "resource": [] }, { "admin": [] }]), None),
        Requirement::Admin(permission) if endpoint.operator => {
            (json!([{ "admin": [] }, { "operator": [] }]), Some(permission))
        }
        Requirement::Admin(permission) => (json!([{ "admin": [] }]), Some(permission)),
        Requirement::OperatorAlone => (json!([{ "operator": [] }]), None),
    };
    operation.insert("security".into(), security);
    if let Some(permission) = permission {
        operation.insert("x-accredit-permission".into(), json!(permission.as_str()));
    }
    Value::Object(operation)
}

fn content(media: &str, schema: Value) -> Value {
    Value::Object(Map::from_iter([(media.to_owned(), json!({ "schema": schema }))]))
}

fn parameters(endpoint: &Endpoint) -> Value {
    let in_path = endpoint.path.split('/').filter_map(|segment| {
        let name = segment.strip_prefix('{')?.strip_suffix('}')?.trim_start_matches('*');
        Some(json!({
            "name": name, "in": "path", "required": true, "schema": { "type": "string" },
        }))
    });
    let in_query = endpoint.query.iter().map(|name| {
        let schema = in_query(endpoint, name);
        json!({ "name": name, "in": "query", "required": false, "schema": schema })
    });
    let mut headers = Vec::new();
    if endpoint.semantics.creates() {
        headers.push("Idempotency-Key");
    }
    if endpoint.semantics.builds_on_a_version() {
        headers.push("If-Match");
    }
    let in_header = headers.into_iter().map(|name| {
        json!({ "name": name, "in": "header", "required": false, "schema": { "type": "string" } })
    });
    Value::Array(in_path.chain(in_query).chain(in_header).collect())
}

/// The schema of a parameter of the query.
fn in_query(endpoint: &Endpoint, name: &str) -> Value {
    if name == "sort" {
        let first = endpoint.sorts.first();
        return json!({ "type": "string", "enum": endpoint.sorts, "default": first });
    }
    if name == "limit" {
        let (rows, most) = (PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX);
        return json!({ "type": "integer", "minimum": 1, "maximum": most, "default": rows });
    }
    let is_time = name.ends_with("_after") || name.ends_with("_before");
    if is_time {
        return json!({ "type": "string", "format": "date-time" });
    }
    if name == "after" {
        let what = "where the list goes on: an event's `id` or `seq`, or the `next` of a page, which has a \
                    place for each lane of the log and so misses nothing where nodes write beside each other";
        return json!({ "type": "string", "description": what });
    }
    json!({ "type": "string" })
}
