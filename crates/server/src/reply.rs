//! RFC 9110: answers as they leave, whatever the handler.

use std::pin::Pin;

use accredit_domain::Fault;
use accredit_domain::keys::rotation::KEY_SET_MAX_AGE_SECONDS;
use axum::body::Body;
use bytes::Bytes;
use futures_util::Stream;
use http::header::{
    CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH,
};
use http::{Response, StatusCode};
use serde::Serialize;

/// An answer.
pub type Reply = Response<Body>;

/// Chunks of a long answer.
pub type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, Fault>> + Send>>;

fn with(status: StatusCode, content_type: &'static str, body: Body) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// JSON that must not be stored anywhere on the way.
pub fn json<T: Serialize>(status: StatusCode, value: &T) -> Result<Reply, Fault> {
    let text = serde_json::to_vec(value).map_err(|error| Fault::new("render", error))?;
    Ok(no_store(with(status, "application/json", Body::from(text))))
}

/// JSON that was written already, and must not be stored anywhere on the way.
pub fn json_text(status: StatusCode, text: String) -> Reply {
    no_store(with(status, "application/json", Body::from(text)))
}

/// JSON that may be kept for a while: key sets and metadata.
pub fn public_json<T: Serialize>(value: &T) -> Result<Reply, Fault> {
    let text = serde_json::to_vec(value).map_err(|error| Fault::new("render", error))?;
    let mut reply = with(StatusCode::OK, "application/json", Body::from(text));
    keep(&mut reply, KEY_SET_MAX_AGE_SECONDS);
    Ok(reply)
}

/// An answer with nothing to say.
pub fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(Body::empty());
    *reply.status_mut() = status;
    no_store(reply)
}

/// A short text or some bytes.
pub fn bytes(content_type: &'static str, bytes: impl Into<Bytes>) -> Reply {
    no_store(with(StatusCode::OK, content_type, Body::from(bytes.into())))
}

/// An answer that comes in chunks.
pub fn stream(content_type: &'static str, chunks: Chunks) -> Reply {
    no_store(with(StatusCode::OK, content_type, Body::from_stream(chunks)))
}

/// Lets whoever is on the way keep an answer for so many seconds.
pub fn keep(reply: &mut Reply, seconds: u32) {
    set(reply, CACHE_CONTROL, &format!("public, max-age={seconds}"));
}

fn no_store(mut reply: Reply) -> Reply {
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// Sets a header whose value was built from data; a value that is no header is left out.
pub fn set(reply: &mut Reply, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        reply.headers_mut().insert(name, value);
    }
}

/// RFC 9110 section 13.1.2: whether the caller has these bytes already.
pub fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let values = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = values.flat_map(|value| value.split(',')).map(str::trim);
    tags.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}
