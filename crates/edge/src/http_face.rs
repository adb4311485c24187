//! RFC 6749 and RFC 9449 for programs that know nothing but HTTP: tokens and proofs at the same socket and
//! for the same instance.
//!
//! `GET /token?scope=…&resource=…&token_type=…` gives a token, `POST /proof` the proof that goes with a
//! bound one for one request, `GET /jwt-svid?audience=…` a token that says who the instance is (SPIFFE
//! JWT-SVID), `GET /status` whose instance it is and how it stands. A token never stands
//! in a URL, and the key of a proof never leaves.

use std::sync::Arc;

use accredit::{AgentError, Secret};
use accredit_wire::jose::TOKEN_BYTES_MAX;
use accredit_wire::jwt_svid::{AUDIENCES_MAX, is_audience};
use accredit_wire::oauth::{ErrorBody, ErrorCode};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::door::{Denied, Door};
use crate::identity::{Identity, Standing};
use crate::peer::Peer;
use crate::{SECURITY_HEADER, SECURITY_VALUE, ambient, workload_api};

/// The largest body of a question, bytes: a token and a URL, with room.
const BODY_BYTES_MAX: usize = TOKEN_BYTES_MAX + 16 * 1024;
/// Says for how many seconds the server has not answered: what is given is from before.
const SILENT_FOR: HeaderName = HeaderName::from_static("accredit-server-silent-for");

/// One connection: the process at its other end, and who says whether it is answered.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) peer: Arc<Peer>,
    pub(crate) door: Arc<dyn Door>,
}

/// What is answered on one connection.
pub fn router(peer: Arc<Peer>, door: Arc<dyn Door>) -> Router {
    Router::new()
        .route("/token", get(token))
        .route("/proof", post(proof))
        .route("/jwt-svid", get(jwt_svid))
        .route("/status", get(status))
        .fallback(elsewhere)
        .with_state(Caller { peer, door })
}

/// Whether a question has the header that none has by accident, exactly once.
pub(crate) fn is_meant(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(SECURITY_HEADER).iter();
    values.next().is_some_and(|value| value.as_bytes() == SECURITY_VALUE.as_bytes())
        && values.next().is_none()
}

/// Why there is no answer, as the process is told.
struct Refused {
    status: StatusCode,
    body: ErrorBody,
}

impl Refused {
    fn new(status: StatusCode, error: ErrorCode, (rule, why, hint): (&str, &str, &str)) -> Self {
        Self { status, body: ErrorBody::new(error, why).with_rule(rule).with_hint(hint) }
    }

    fn question(why: &str, hint: &str) -> Self {
        let said = ("edge-question", why, hint);
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::InvalidRequest, said)
    }

    fn of(error: AgentError) -> Self {
        match error {
            AgentError::Refused(body) => {
                let status = match body.error() {
                    error if error.is_of_the_client() => StatusCode::FORBIDDEN,
                    ErrorCode::TemporarilyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
                    _ => StatusCode::BAD_REQUEST,
                };
                Self { status, body }
            }
            AgentError::Issuer(error) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                ErrorCode::TemporarilyUnavailable,
                ("edge-server-silent", &error.to_string(), "ask again in a moment"),
            ),
            AgentError::Url(error) => {
                Self::question(&error.to_string(), "`url` is the whole URL of the request")
            }
            AgentError::Signing | AgentError::CallerEnded(_) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                ErrorCode::ServerError,
                ("edge-signing", "no proof could be made", "ask again"),
            ),
        }
    }

    fn answer(&self) -> Response {
        let body = serde_json::to_value(&self.body).unwrap_or_default();
        reply(self.status, &body)
    }
}

fn reply(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Which instance asks, where it is one and the question is meant.
async fn caller(caller: &Caller, headers: &HeaderMap) -> Result<Arc<Identity>, Refused> {
    if !is_meant(headers) {
        return Err(Refused::new(
            StatusCode::BAD_REQUEST,
            ErrorCode::InvalidRequest,
            (
                "edge-header",
                "the header `workload.spiffe.io: true` is missing",
                "send it with each question; it shows that the question is meant",
            ),
        ));
    }
    let identity = caller.door.identity(&caller.peer).await;
    identity.map_err(|denied| {
        denied.log(&caller.peer);
        no_identity(denied)
    })
}

fn no_identity(denied: Denied) -> Refused {
    if denied.is_for_now() {
        return Refused::new(
            StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::TemporarilyUnavailable,
            (
                "edge-not-now",
                "which instance this process is cannot be told now",
                "ask again in a moment",
            ),
        );
    }
    Refused::new(
        StatusCode::FORBIDDEN,
        ErrorCode::AccessDenied,
        (
            "edge-no-identity",
            "this process has no identity here",
            "start it with `accredit run` and ask in the process that was, or let an administrator make \
             a rule for it: `accredit attest rule add`; the daemon's log says why",
        ),
    )
}

async fn token(State(connection): State<Caller>, request: Request) -> Response {
    let (head, _) = request.into_parts();
    let answer = async {
        let identity = caller(&connection, &head.headers).await?;
        let asked = Asked::read(head.uri.query().unwrap_or_default())?;
        let wanted = (asked.scope.as_str(), asked.resource.as_deref());
        let token = identity.token(wanted, asked.is_bound).await.map_err(Refused::of)?;
        let left = token.ends().saturating_duration_since(ambient::instant());
        let mut body = json!({
            "access_token": token.text().expose(),
            "token_type": if token.is_bound() { "DPoP" } else { "Bearer" },
            "expires_in": left.as_secs(),
        });
        if !token.scope().is_empty() {
            body["scope"] = token.scope().to_string().into();
        }
        if !token.details().is_empty() {
            body["authorization_details"] =
                serde_json::to_value(token.details()).unwrap_or_default();
        }
        let mut response = reply(StatusCode::OK, &body);
        if let Some(silent) = identity.silent_for() {
            response.headers_mut().insert(SILENT_FOR, silent.as_secs().into());
        }
        Ok::<_, Refused>(response)
    };
    answer.await.unwrap_or_else(|refused| refused.answer())
}

/// What `GET /token` asks.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    scope: String,
    resource: Option<String>,
    is_bound: bool,
}

impl Asked {
    fn read(query: &str) -> Result<Self, Refused> {
        let (mut scope, mut resource, mut kind) = (None, None, None);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let slot = match &*name {
                "scope" => &mut scope,
                "resource" => &mut resource,
                "token_type" => &mut kind,
                _ => {
                    let why = "it takes `scope`, `resource` and `token_type`, and no other";
                    return Err(Refused::question(why, "leave it out"));
                }
            };
            if slot.replace(value.into_owned()).is_some() {
                return Err(Refused::question("a parameter stands twice", "give each once"));
            }
        }
        let is_bound = match kind.as_deref().map(str::to_ascii_lowercase).as_deref() {
            None | Some("dpop") => true,
            Some("bearer") => false,
            Some(_) => {
                return Err(Refused::question("`token_type` is none", "write dpop or bearer"));
            }
        };
        Ok(Self { scope: scope.unwrap_or_default(), resource, is_bound })
    }
}

async fn jwt_svid(State(connection): State<Caller>, request: Request) -> Response {
    let (head, _) = request.into_parts();
    let answer = async {
        let identity = caller(&connection, &head.headers).await?;
        let audiences = audiences(head.uri.query().unwrap_or_default())?;
        if !matches!(identity.standing(), Standing::Live(..)) {
            return Err(no_standing());
        }
        let svid = identity.jwt_svid(&audiences).await.map_err(Refused::of)?;
        let left = svid.ends.saturating_duration_since(ambient::instant());
        let body = json!({
            "spiffe_id": svid.spiffe_id,
            "svid": svid.token.expose(),
            "expires_in": left.as_secs(),
        });
        let mut response = reply(StatusCode::OK, &body);
        if let Some(silent) = identity.silent_for() {
            response.headers_mut().insert(SILENT_FOR, silent.as_secs().into());
        }
        Ok(response)
    };
    answer.await.unwrap_or_else(|refused: Refused| refused.answer())
}

/// For whom a JWT-SVID is asked.
fn audiences(query: &str) -> Result<Vec<String>, Refused> {
    let mut audiences = Vec::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if name != "audience" || !is_audience(&value) || audiences.len() == AUDIENCES_MAX {
            let why = "it takes `audience`, once or a few times, without blanks";
            return Err(Refused::question(why, "name whoever is to be told"));
        }
        audiences.push(value.into_owned());
    }
    if audiences.is_empty() {
        return Err(Refused::question("`audience` is missing", "name whoever is to be told"));
    }
    Ok(audiences)
}

/// What `POST /proof` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToProve {
    method: String,
    url: String,
    access_token: String,
    #[serde(default)]
    nonce: Option<String>,
}

async fn proof(State(connection): State<Caller>, request: Request) -> Response {
    let answer = async {
        let (head, body) = request.into_parts();
        let identity = caller(&connection, &head.headers).await?;
        let wrong = |why: &str| Refused::question(why, "send `method`, `url`, `access_token`");
        let body = to_bytes(body, BODY_BYTES_MAX).await;
        let body = body.map_err(|_| wrong("the body is too large, or broke off"))?;
        let asked: ToProve =
            serde_json::from_slice(&body).map_err(|_| wrong("the body is not as expected"))?;
        let method: Method = asked.method.parse().map_err(|_| wrong("`method` is none"))?;
        let nonce = asked.nonce.map(HeaderValue::try_from).transpose();
        let nonce = nonce.map_err(|_| wrong("`nonce` is none"))?;
        if !matches!(identity.standing(), Standing::Live(..)) {
            return Err(no_standing());
        }
        let token = Secret::new(asked.access_token);
        let proof = identity.prove(&token, (&method, &asked.url), nonce).map_err(Refused::of)?;
        let proof = proof.to_str().map_err(|_| Refused::of(AgentError::Signing))?;
        Ok(reply(StatusCode::OK, &json!({"proof": proof})))
    };
    answer.await.unwrap_or_else(|refused: Refused| refused.answer())
}

fn no_standing() -> Refused {
    Refused::new(
        StatusCode::FORBIDDEN,
        ErrorCode::AccessDenied,
        ("edge-no-standing", "the instance has no standing", "look at `GET /status`"),
    )
}

async fn status(State(connection): State<Caller>, request: Request) -> Response {
    let identity = match caller(&connection, request.headers()).await {
        Ok(identity) => identity,
        Err(refused) => return refused.answer(),
    };
    let mut body = match identity.standing() {
        Standing::Live(svid, trust) => json!({
            "standing": "live",
            "spiffe_id": svid.spiffe_id,
            "expires_at": svid.expires_at,
            "federated": trust.federated.names().collect::<Vec<_>>(),
        }),
        Standing::Refused => json!({"standing": "refused"}),
        Standing::Lapsed => json!({"standing": "lapsed"}),
    };
    if let Some(silent) = identity.silent_for() {
        body["server_silent_for"] = silent.as_secs().into();
    }
    reply(StatusCode::OK, &body)
}

/// Whatever is no path of this face: the Workload API, or nothing.
async fn elsewhere(State(connection): State<Caller>, request: Request) -> Response {
    let kind = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    if kind.is_some_and(|kind| kind.starts_with(b"application/grpc")) {
        return workload_api::answer(connection, request).await;
    }
    Refused::new(
        StatusCode::NOT_FOUND,
        ErrorCode::InvalidRequest,
        ("edge-question", "there is nothing here", "ask /token, /proof, /jwt-svid or /status"),
    )
    .answer()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_meant_by_one_header_of_one_value() {
        let with = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(SECURITY_HEADER, HeaderValue::from_static(value));
            }
            is_meant(&headers)
        };
        assert!(with(&["true"]));
        for wrong in [&[][..], &["false"], &["True"], &["1"], &[""], &["true", "true"]] {
            assert!(!with(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn a_jwt_svid_is_asked_for_by_whom_it_is_for() {
        let read = |query: &str| audiences(query).ok();
        assert_eq!(
            read("audience=https%3A%2F%2Fa&audience=b"),
            Some(vec!["https://a".into(), "b".into()])
        );
        let many = "audience=a&".repeat(AUDIENCES_MAX + 1);
        for wrong in ["", "audience=", "audience=a+b", "audience=a&x=1", "scope=a", &many] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_token_is_asked_for_by_what_is_known_once() {
        let read = |query: &str| Asked::read(query).ok();
        let some = |scope: &str, resource: Option<&str>, is_bound| {
            Some(Asked { scope: scope.into(), resource: resource.map(str::to_owned), is_bound })
        };
        assert_eq!(read(""), some("", None, true));
        assert_eq!(read("scope=crm:read+crm:update"), some("crm:read crm:update", None, true));
        let both = "resource=https%3A%2F%2Fcrm.example%2F&token_type=Bearer";
        assert_eq!(read(both), some("", Some("https://crm.example/"), false));
        for wrong in ["scope=a&scope=b", "token_type=mac", "token_type=", "access_token=x", "x"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
