//! Token Status List (draft-ietf-oauth-status-list-20) sections 8 and 9: the lists for whoever asks,
//! and their names.

use accredit_domain::status_list::{self, CACHED_SECONDS, ListId};
use accredit_domain::{Refusal, Rule};
use accredit_wire::status_list::STATUS_LIST_MEDIA_TYPE;
use http::StatusCode;
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, ETAG, HeaderValue};
use serde_json::json;

use crate::dispatch::{Call, Handled};
use crate::failure::Failure;
use crate::reply;

/// One list, signed. Section 8.4: a server that keeps no history answers a question about another
/// `time` with 501.
pub fn list(call: Call) -> Handled {
    Box::pin(async move {
        if call.query("time").is_some() {
            return Err(Failure::Http {
                status: StatusCode::NOT_IMPLEMENTED,
                rule: "status-history",
                detail: "a list says what holds now; no history is kept".to_owned(),
                hint: "ask without `time`; the audit log says when what was revoked".to_owned(),
            });
        }
        let tenant = call.tenant().await?;
        let lists = &call.server.status_lists;
        let served = match call.path("list").parse::<ListId>() {
            Ok(id) => lists.get(&call.server.world, &tenant, id).await?,
            Err(_) => None,
        };
        let served = served.ok_or_else(missing)?;
        let mut reply = if reply::is_known(call.headers(), &served.tag) {
            reply::empty(StatusCode::NOT_MODIFIED)
        } else {
            reply::bytes(STATUS_LIST_MEDIA_TYPE, served.bytes.clone())
        };
        reply::keep(&mut reply, CACHED_SECONDS);
        reply::set(&mut reply, ETAG, &served.tag);
        reply.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        Ok(reply)
    })
}

/// The lists that there are.
pub fn named(call: Call) -> Handled {
    Box::pin(async move {
        let tenant = call.tenant().await?;
        let uris = status_list::uris(&call.server.world, &tenant).await?;
        let mut reply = reply::json(StatusCode::OK, &json!({ "status_lists": uris }))?;
        reply::keep(&mut reply, CACHED_SECONDS);
        reply.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        Ok(reply)
    })
}

fn missing() -> Refusal {
    Refusal::new(
        Rule::NotFound,
        "there is no such status list",
        "use the `uri` of a token that is not over: a list is gone with its tokens",
    )
}
