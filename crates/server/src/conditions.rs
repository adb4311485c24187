//! RFC 9110 section 13.1.1, W3C Trace Context and the `Idempotency-Key` header
//! (draft-ietf-httpapi-idempotency-key-header): on which terms a request is to be carried out.
//!
//! A version is told as a strong `ETag` and expected as `If-Match`; absent, whichever version
//! there is will do. A creating request that comes again under its key is answered with what the
//! first one made. Absent on purpose: `If-None-Match`, since nothing here is to be cached, and
//! `tracestate`.

use std::sync::Arc;

use accredit_domain::Refusal;
use accredit_domain::terms::{Expected, Once};
use accredit_wire::ids::{CredentialId, OrganizationId};
use accredit_wire::time::Time;
use accredit_wire::trace::TraceId;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, IF_MATCH};
use http::{HeaderValue, StatusCode};

use crate::Server;
use crate::dispatch::{Call, record_refusal};
use crate::endpoints::Semantics;
use crate::failure::Failure;
use crate::reply::{self, Reply};

/// The header under whose value a creation is done once.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that an answer was given before.
pub const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// The header that names the caller's trace.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Entity tags that one `If-Match` may name.
pub const ENTITY_TAGS_MAX: usize = 32;

/// The trace that a request belongs to. Two headers, or one that is malformed, are none.
pub(crate) fn trace(headers: &HeaderMap) -> Option<TraceId> {
    TraceId::from_traceparent(only(headers, &TRACEPARENT)?)
}

/// The value of a header that came once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() { None } else { value.to_str().ok() }
}

/// The entity tag of a version. The generation is in it, because a restored backup counts versions
/// again that somebody may still remember.
pub(crate) fn entity_tag(generation: u64, version: i64) -> String {
    format!("\"g{generation}v{version}\"")
}

/// Reads `If-Match`. A tag that none of ours can be matches nothing; so does a weak one, since the
/// comparison is the strong one.
pub(crate) fn expected(headers: &HeaderMap, generation: u64) -> Result<Expected, Refusal> {
    let wrong = |why: &str| {
        Refusal::field("If-Match", why, "send an `ETag` as it was given, or leave it out")
    };
    if !headers.contains_key(IF_MATCH) {
        return Ok(Expected::Any);
    }
    let (mut versions, mut tags) = (Vec::new(), 0);
    for value in headers.get_all(IF_MATCH) {
        let mut rest = value.to_str().map_err(|_| wrong("must be visible ASCII"))?.trim();
        if rest == "*" && headers.get_all(IF_MATCH).iter().count() == 1 {
            return Ok(Expected::Any);
        }
        while !rest.is_empty() {
            // "recipients MUST parse and ignore a reasonable number of empty list elements"
            if let Some(after) = rest.strip_prefix(',') {
                rest = after.trim_start();
                continue;
            }
            let (weak, opaque) = match rest.strip_prefix("W/") {
                Some(after) => (true, after),
                None => (false, rest),
            };
            let inside = opaque.strip_prefix('"').ok_or_else(|| wrong("is no entity tag"))?;
            let end = inside.find('"').ok_or_else(|| wrong("has a tag without an end"))?;
            let (tag, after) = (&inside[..end], inside[end + 1..].trim_start());
            if !(after.is_empty() || after.starts_with(',')) {
                return Err(wrong("has no comma between two tags"));
            }
            tags += 1;
            if tags > ENTITY_TAGS_MAX {
                return Err(wrong("names more than 32 tags"));
            }
            versions.extend(version(tag, generation).filter(|_| !weak));
            rest = after;
        }
    }
    if tags == 0 {
        return Err(wrong("names no entity tag"));
    }
    Ok(Expected::OneOf(versions))
}

/// The version that a tag stands for, where it is one of this generation and spelled as we do.
fn version(tag: &str, generation: u64) -> Option<i64> {
    let (_, version) = tag.strip_prefix('g')?.split_once('v')?;
    let version = version.parse().ok()?;
    (entity_tag(generation, version) == format!("\"{tag}\"")).then_some(version)
}

/// Carries out a request of the admin API on its terms.
pub(crate) async fn carry_out(call: Call) -> Result<Reply, Failure> {
    // Kept for an event, where something is to be changed and the handler says that it may not.
    let changes = call.endpoint.semantics != Semantics::Reads;
    let (endpoint, cx) = (call.endpoint, call.checked_cx().filter(|_| changes).cloned());
    let answered = on_its_terms(call).await;
    if let (Err(Failure::Refused(refusal)), Some(cx)) = (&answered, &cx) {
        record_refusal(cx, endpoint, refusal).await?;
    }
    answered
}

async fn on_its_terms(mut call: Call) -> Result<Reply, Failure> {
    let Some(once) = apply(&mut call)? else { return (call.endpoint.handler)(call).await };
    let (server, now) = (Arc::clone(&call.server), call.now);
    if let Some(reply) = repeated(&server, &once, now).await? {
        return Ok(reply);
    }
    match (call.endpoint.handler)(call).await {
        // Refused, perhaps, because the same request was carried out at the same time.
        Err(Failure::Refused(refusal)) => match repeated(&server, &once, now).await? {
            Some(reply) => Ok(reply),
            None => Err(Failure::Refused(refusal)),
        },
        answered => answered,
    }
}

/// Puts the terms into the caller's context.
fn apply(call: &mut Call) -> Result<Option<Once>, Failure> {
    let endpoint = call.endpoint;
    if endpoint.semantics == Semantics::Reads {
        return Ok(None);
    }
    let Some((caller, generation)) = call.checked_caller() else { return Ok(None) };
    let once = if endpoint.semantics.creates() { once(call, caller)? } else { None };
    let expected = expected(call.headers(), generation)?;
    if !endpoint.semantics.builds_on_a_version() {
        expected.check_none()?;
    }
    if let Some(terms) = call.checked_terms() {
        terms.expected = expected;
        terms.once.clone_from(&once);
    }
    Ok(once)
}

/// The request's idempotency key, bound to its caller and to the request.
fn once(
    call: &Call,
    caller: (Option<OrganizationId>, CredentialId),
) -> Result<Option<Once>, Refusal> {
    if !call.headers().contains_key(IDEMPOTENCY_KEY) {
        return Ok(None);
    }
    // Sent twice, or not text: no key is acceptable then, and the empty one never is.
    let key = only(call.headers(), &IDEMPOTENCY_KEY).unwrap_or("").trim();
    // A string of RFC 9651, as the draft writes it, or the bare text, as most send it.
    let bare = key.strip_prefix('"').and_then(|key| key.strip_suffix('"')).unwrap_or(key);
    let method = call.endpoint.method.as_str().as_bytes();
    let asked = [method, call.uri_path().as_bytes(), call.body.as_ref()];
    Once::new(caller, bare, asked, call.now).map(Some)
}

/// The answer to a repetition: what the first request made, without its secrets.
async fn repeated(server: &Server, once: &Once, now: Time) -> Result<Option<Reply>, Failure> {
    let Some(kept) = server.world.store.kept_answer(once.clone(), now).await? else {
        return Ok(None);
    };
    let mut reply = reply::bytes("application/json", kept.repeated(once)?);
    *reply.status_mut() = StatusCode::CREATED;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply.headers_mut().insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    Ok(Some(reply))
}

#[cfg(test)]
mod tests {
    use super::*;
    use accredit_domain::Rule;

    fn headers(values: &[&str]) -> HeaderMap {
        let value = |text: &&str| (IF_MATCH, HeaderValue::from_str(text).expect("a value"));
        values.iter().map(value).collect()
    }

    fn read(values: &[&str]) -> Result<Expected, Rule> {
        expected(&headers(values), 1).map_err(|refusal| refusal.rule)
    }

    #[test]
    fn absent_and_star_take_whichever_version_there_is() {
        assert_eq!(read(&[]), Ok(Expected::Any));
        assert_eq!(read(&["*"]), Ok(Expected::Any));
        assert_eq!(read(&[" * "]), Ok(Expected::Any));
    }

    #[test]
    fn tags_are_read_from_lists_and_from_several_headers() {
        let both = Ok(Expected::OneOf(vec![3, 4]));
        assert_eq!(read(&["\"g1v3\""]), Ok(Expected::OneOf(vec![3])));
        assert_eq!(read(&["\"g1v3\", \"g1v4\""]), both);
        assert_eq!(read(&[", ,\"g1v3\" ,,\"g1v4\","]), both);
        assert_eq!(read(&["\"g1v3\"", "\"g1v4\""]), both);
        assert_eq!(read(&["\"a, b\",\"g1v4\""]), Ok(Expected::OneOf(vec![4])));
    }

    #[test]
    fn what_is_not_our_tag_matches_nothing() {
        for tag in [
            "\"\"",
            "\"3\"",
            "W/\"g1v3\"",
            "\"g2v3\"",
            "\"g1v03\"",
            "\"g1v+3\"",
            "\"G1v3\"",
            "\"g1v3 \"",
            "\"g1v99999999999999999999\"",
        ] {
            assert_eq!(read(&[tag]), Ok(Expected::OneOf(Vec::new())), "{tag}");
        }
    }

    #[test]
    fn what_is_no_list_of_tags_is_refused() {
        let many = vec!["\"g1v1\""; ENTITY_TAGS_MAX + 1].join(",");
        for text in ["", ",", "g1v3", "\"g1v3", "\"g1v3\"\"g1v4\"", "*,\"g1v3\"", "w/\"a\"", &many]
        {
            assert_eq!(read(&[text]), Err(Rule::FieldInvalid), "{text}");
        }
        assert_eq!(read(&["*", "\"g1v3\""]), Err(Rule::FieldInvalid));
    }

    #[test]
    fn two_traces_are_none() {
        let trace_of = |values: &[&str]| {
            let value = |text: &&str| (TRACEPARENT, HeaderValue::from_str(text).expect("a value"));
            trace(&values.iter().map(value).collect())
        };
        let one = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert!(trace_of(&[one]).is_some());
        assert!(trace_of(&[one, one]).is_none());
        assert!(trace_of(&[]).is_none());
    }
}
