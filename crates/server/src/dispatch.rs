//! From a request to its row of the table: who asks is checked here, before any handler runs.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use accredit_domain::audit::refusals;
use accredit_domain::limits::{Claim, Standing};
use accredit_domain::ports::BoxFuture;
use accredit_domain::refusal::Kind;
use accredit_domain::registry::credential::AdminPermission;
use accredit_domain::registry::operator::{self, Operator};
use accredit_domain::registry::organization::check_name;
use accredit_domain::tenant::Tenant;
use accredit_domain::terms::Terms;
use accredit_domain::{Caller, Cx, Fault, Refusal, Rule};
use accredit_wire::binding::PeerCertificate;
use accredit_wire::binding::dpop::PROOF_HEADER;
use accredit_wire::ids::{CredentialId, OrganizationId, RequestId};
use accredit_wire::oauth::client_auth::{BearerKeys, ClientAuth};
use accredit_wire::oauth::form::Form;
use accredit_wire::oauth::rejection::Rejection;
use accredit_wire::time::Time;
use axum::Router;
use axum::extract::{FromRequestParts as _, RawPathParams, Request};
use axum::routing::{MethodFilter, MethodRouter, on};
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::{
    AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, WWW_AUTHENTICATE,
};
use http::request::Parts;
use http_body::Body as _;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::Server;
use crate::access_log;
use crate::bodies::Reading;
use crate::caller::{self, Proved, Requirement};
use crate::certificates;
use crate::conditions;
use crate::endpoints::{ENDPOINTS, Endpoint, Verb};
use crate::failure::{self, Failure, Language};
use crate::metrics::{self, Operation, UNMATCHED};
use crate::rates;
use crate::reply::{self, Reply};
use crate::room::{Place, overloaded};

/// The header that names a request, in answers and in our log.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// How long the body of a request may take, from its head to its end.
pub const BODY_TIME_MAX: Duration = Duration::from_secs(10);

/// Bytes of a parameter's name that a refusal repeats.
const PARAMETER_BYTES_SHOWN_MAX: usize = 64;

/// What a handler gives back.
pub type Handled = BoxFuture<'static, Result<Reply, Failure>>;

/// The one signature of all handlers.
pub type Handler = fn(Call) -> Handled;

/// The address of the peer, put into each request by [`crate::serve`].
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// One request on its way through a handler.
pub struct Call {
    /// Everything a request may need.
    pub server: Arc<Server>,
    /// Which row of the table it is.
    pub endpoint: &'static Endpoint,
    /// Its body, whole.
    pub body: Bytes,
    /// Its id.
    pub request: RequestId,
    /// When it came.
    pub now: Time,
    began: Instant,
    terms: Terms,
    parts: Parts,
    path: Vec<(String, String)>,
    source: Option<IpAddr>,
    certificate: Option<PeerCertificate>,
    cx: Option<Box<Cx>>,
    operator: Option<Box<Operator>>,
    proved: Option<Proved>,
    standing: Option<Standing>,
    /// Held until the handler is done.
    place: Option<Place>,
}

impl Call {
    /// When it came, by the monotonic clock.
    pub fn came(&self) -> Duration {
        self.server.world.clock.elapsed().saturating_sub(self.began.elapsed())
    }

    /// The value of a parameter of the path; empty for one that the path does not have.
    pub fn path(&self, name: &str) -> &str {
        self.path.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// The value of a parameter of the query.
    pub fn query(&self, name: &str) -> Option<String> {
        let query = self.parts.uri.query()?.as_bytes();
        form_urlencoded::parse(query)
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
            .filter(|value| !value.is_empty())
    }

    /// The headers.
    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// The path as it was sent.
    pub(crate) fn uri_path(&self) -> &str {
        self.parts.uri.path()
    }

    /// The context of a caller that was checked, while no handler has taken it.
    pub(crate) fn checked_cx(&self) -> Option<&Cx> {
        self.cx.as_deref()
    }

    /// The credential that an administrator or the installation's operator called with, the
    /// organization that it is of, and the generation that its tags are of, for the operator none.
    pub(crate) fn checked_caller(&self) -> Option<((Option<OrganizationId>, CredentialId), u64)> {
        if let Some(operator) = &self.operator {
            return Some(((None, operator.credential), 0));
        }
        let cx = self.cx.as_ref()?;
        let Caller::Admin { credential, .. } = &cx.caller else { return None };
        Some(((Some(cx.tenant.id), *credential), cx.tenant.generation))
    }

    /// On which terms it is asked, as far as its headers say without knowing who asks.
    pub(crate) fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The terms in the context of whoever calls.
    pub(crate) fn checked_terms(&mut self) -> Option<&mut Terms> {
        match (&mut self.operator, &mut self.cx) {
            (Some(operator), _) => Some(&mut operator.terms),
            (None, Some(cx)) => Some(&mut cx.terms),
            (None, None) => None,
        }
    }

    /// The whole query.
    pub fn raw_query(&self) -> Option<&str> {
        self.parts.uri.query()
    }

    /// A header, where it is text.
    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    /// All values of the `Authorization` header.
    pub fn authorization(&self) -> Vec<&[u8]> {
        self.parts.headers.get_all(AUTHORIZATION).iter().map(HeaderValue::as_bytes).collect()
    }

    /// All values of the `DPoP` header.
    pub fn proofs(&self) -> impl Iterator<Item = &[u8]> {
        self.parts.headers.get_all(PROOF_HEADER).iter().map(HeaderValue::as_bytes)
    }

    /// The certificate whose key the client has proved to hold (RFC 8705): by the connection, or to a
    /// proxy that is believed.
    pub fn certificate(&self) -> Option<&PeerCertificate> {
        self.certificate.as_ref()
    }

    /// How its client authenticates, by what it sent or else by its connection.
    pub fn client_auth(&self, form: &Form, keys: BearerKeys) -> Result<ClientAuth, Rejection> {
        let read = ClientAuth::from_request(&self.authorization(), form, keys);
        ClientAuth::or_certificate(read, form, self.certificate())
    }

    /// The same at the token endpoint, where an assertion may be the grant.
    pub fn token_auth(&self, form: &Form) -> Result<ClientAuth, Rejection> {
        let read = ClientAuth::from_token_request(&self.authorization(), form);
        ClientAuth::or_certificate(read, form, self.certificate())
    }

    /// The address that the request came from: that of the peer, or what a trusted proxy says.
    pub fn source(&self) -> Option<IpAddr> {
        self.source
    }

    /// A context in an organization, for a caller that nobody knows yet.
    pub fn cx(&self, tenant: Arc<Tenant>) -> Cx {
        Cx {
            world: Arc::clone(&self.server.world),
            tenant,
            caller: Caller::Anyone,
            request: self.request,
            source: self.source(),
            now: self.now,
            terms: self.terms.clone(),
        }
    }

    /// The organization that the path names.
    pub async fn tenant(&self) -> Result<Arc<Tenant>, Failure> {
        let name = self.path("org");
        let found = self.server.tenants.get(name, self.now).await?;
        Ok(found.ok_or_else(|| {
            Refusal::new(
                Rule::NotFound,
                "there is no such organization",
                "check the issuer: `{public_url}/o/{organization}`",
            )
        })?)
    }

    /// The name of the organization that it is about, for our log; nothing where the path names
    /// one that cannot exist.
    fn organization(&self) -> Option<String> {
        if let Some(cx) = &self.cx {
            return Some(cx.tenant.name.clone());
        }
        let name = self.path("org");
        check_name(name).is_ok().then(|| name.to_owned())
    }

    /// The installation's operator, where it is they who call.
    pub fn operator(&mut self) -> Option<Operator> {
        self.operator.take().map(|operator| *operator)
    }

    /// What a verifier has proved to hold, where it is one that calls.
    pub fn proved(&mut self) -> Option<Proved> {
        self.proved.take()
    }

    /// The context of an operator, in the one organization that the path names.
    pub async fn cx_of_operator(&self, by: &Operator) -> Result<Cx, Failure> {
        let key = self.path("key");
        let org = operator::find(by, key).await?;
        let tenant = self.server.tenants.by_id(org.id, self.now).await?;
        let tenant = tenant.ok_or_else(|| Refusal::not_found("org", key))?;
        let mut cx =
            Cx { caller: Caller::Operator { credential: by.credential }, ..self.cx(tenant) };
        // Only now it is known whose versions they are.
        cx.terms.expected = conditions::expected(self.headers(), cx.tenant.generation)?;
        Ok(cx)
    }

    /// The context of the caller that the table requires and [`dispatch`] has checked.
    pub fn checked(&mut self) -> Result<Cx, Failure> {
        let checked = self.cx.take().map(|cx| *cx);
        checked.ok_or_else(|| Fault::new("dispatch", "the caller was not checked").into())
    }

    /// The body as JSON of one shape; an unknown member is refused.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        let body: &[u8] = if self.body.is_empty() { b"{}" } else { &self.body };
        // Parsed strictly first: a duplicate member is an attack or a bug, and never a choice.
        let strict = accredit_wire::json::Json::parse(body, self.endpoint.body_max)
            .map_err(|error| Refusal::field("body", error, "send one JSON object"))?;
        if strict.as_object().is_none() {
            return Err(Refusal::field("body", "is no JSON object", "send one JSON object").into());
        }
        let typed = self.header(&CONTENT_TYPE).map(|value| {
            value.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case("application/json")
        });
        if !self.body.is_empty() && typed != Some(true) {
            return Err(Failure::Http {
                status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
                rule: "content-type",
                detail: "the body must be JSON".to_owned(),
                hint: "send `Content-Type: application/json`".to_owned(),
            });
        }
        serde_json::from_slice(body).map_err(|error| {
            // serde's message names members and types, never values of strings that we asked for.
            let message = error.to_string();
            let what = message.split(" at line").next().unwrap_or("").to_owned();
            Refusal::field("body", what, "see `/openapi.json` for its members").into()
        })
    }
}

/// The router over the table.
pub fn router(server: &Arc<Server>) -> Router {
    let mut paths: Vec<(&'static str, Vec<&'static Endpoint>)> = Vec::new();
    for endpoint in ENDPOINTS {
        match paths.iter_mut().find(|(path, _)| *path == endpoint.path) {
            Some((_, endpoints)) => endpoints.push(endpoint),
            None => paths.push((endpoint.path, vec![endpoint])),
        }
    }
    let mut router = Router::new();
    for (path, endpoints) in paths {
        router = router.route(path, methods(server, &endpoints));
    }
    let missing = Arc::clone(server);
    let unmatched = server.metrics.operation(UNMATCHED);
    router.fallback(move || {
        let request = request_id(&missing);
        missing.metrics.answered(&unmatched, StatusCode::NOT_FOUND, Duration::ZERO);
        async move { failure::no_such_path(request) }
    })
}

fn methods(server: &Arc<Server>, endpoints: &[&'static Endpoint]) -> MethodRouter {
    let mut routed = MethodRouter::new();
    for endpoint in endpoints {
        let endpoint: &'static Endpoint = endpoint;
        let server = Arc::clone(server);
        let filter = match endpoint.method {
            Verb::Get => MethodFilter::GET,
            Verb::Post => MethodFilter::POST,
            Verb::Put => MethodFilter::PUT,
            Verb::Patch => MethodFilter::PATCH,
            Verb::Delete => MethodFilter::DELETE,
        };
        let operation = server.metrics.operation(endpoint.operation);
        // Boxed here, before it is handed from layer to layer: it is large.
        let handler = move |request: Request| -> BoxFuture<'static, Reply> {
            Box::pin(dispatch(Arc::clone(&server), endpoint, Arc::clone(&operation), request))
        };
        routed = routed.merge(on(filter, handler));
    }
    let allowed: Vec<&str> = endpoints.iter().map(|endpoint| endpoint.method.as_str()).collect();
    let allowed = allowed.join(", ");
    let server = Arc::clone(server);
    let unmatched = server.metrics.operation(UNMATCHED);
    routed.fallback(move || {
        server.metrics.answered(&unmatched, StatusCode::METHOD_NOT_ALLOWED, Duration::ZERO);
        let reply = failure::method_not_allowed(&allowed, request_id(&server));
        async move { reply }
    })
}

fn request_id(server: &Server) -> RequestId {
    RequestId::new(server.world.clock.now().millis(), server.world.random())
}

async fn dispatch(
    server: Arc<Server>,
    endpoint: &'static Endpoint,
    operation: Arc<Operation>,
    request: Request,
) -> Reply {
    let (began, counted) = (metrics::begin(), Arc::clone(&server));
    let (mut org, mut standing, mut trace) = (None, None, None);
    let now = server.world.clock.now();
    let id = RequestId::new(now.millis(), server.world.random());
    let answered = match receive(server, endpoint, request, id, (began, now)).await {
        Ok(call) => {
            (org, standing, trace) = (call.organization(), call.standing, call.terms.trace);
            if endpoint.caller.is_checked_first() {
                // Boxed, as whatever only some requests come to: a token's need not carry its room.
                Box::pin(conditions::carry_out(call)).await
            } else {
                (endpoint.handler)(call).await
            }
        }
        Err(failure) => Err(failure),
    };
    let mut reply =
        answered.unwrap_or_else(|failure| failure::render(failure, endpoint.language, id));
    reply = rates::told(reply, standing);
    // RFC 9110 section 15.5.2: a 401 says how to authenticate. At the OAuth endpoints the handlers
    // do, by the way in which the client tried (RFC 6749 section 5.2).
    if reply.status() == StatusCode::UNAUTHORIZED && endpoint.caller == Requirement::Verifier {
        reply::set(&mut reply, WWW_AUTHENTICATE, "Bearer realm=\"accredit\"");
    }
    reply::set(&mut reply, REQUEST_ID, &id.to_string());
    let (status, took) = (reply.status(), began.elapsed());
    counted.metrics.answered(&operation, status, took);
    access_log::line(id, endpoint, (status, took), org.as_deref(), trace);
    reply
}

/// Finds out who calls, and whether they may. Who has failed too often
/// is not heard; who is known and may not is recorded.
async fn check_caller(call: &mut Call) -> Result<(), Failure> {
    let endpoint = call.endpoint;
    let claimed = caller::claimed(call).map(|credential| credential.to_string());
    let claim = Claim::at_any_door(claimed.as_deref(), call.source());
    let limits = &call.server.world.limits;
    limits.may_try(&claim, call.now)?;
    let found = find_caller(call).await;
    if let Err(Failure::Refused(refusal)) = &found
        && refusal.rule.kind() == Kind::Unauthenticated
    {
        limits.failed(&claim, call.now);
    }
    match found? {
        Found::Operator(operator) => call.operator = Some(operator),
        Found::Caller(cx, proved) => {
            if let Err(refusal) = caller::may(&cx, endpoint.caller) {
                record_refusal(&cx, endpoint, &refusal).await?;
                return Err(refusal.into());
            }
            call.cx = Some(cx);
            call.proved = proved;
        }
    }
    Ok(())
}

/// Refuses a query with a parameter that the endpoint does not take, or with one twice: a filter
/// that is misspelled would otherwise show more than was asked for. Values are not repeated.
fn check_query(call: &Call) -> Result<(), Refusal> {
    let known = call.endpoint.query;
    let query = call.parts.uri.query().unwrap_or_default();
    let mut seen: Vec<&str> = Vec::new();
    for (name, _) in form_urlencoded::parse(query.as_bytes()) {
        let Some(known) = known.iter().find(|known| **known == name) else {
            let is_a_name = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
            let is_shown = (1..=PARAMETER_BYTES_SHOWN_MAX).contains(&name.len())
                && name.chars().all(is_a_name);
            let name = if is_shown { &*name } else { "query" };
            let hint = if known.is_empty() {
                "this endpoint takes none".to_owned()
            } else {
                format!("this endpoint takes: {}", known.join(", "))
            };
            return Err(Refusal::field(name, "is no parameter of this endpoint", hint));
        };
        if seen.contains(known) {
            return Err(Refusal::field(known, "is given twice", "give it once"));
        }
        seen.push(known);
    }
    Ok(())
}

/// Who calls.
enum Found {
    Operator(Box<Operator>),
    Caller(Box<Cx>, Option<Proved>),
}

async fn find_caller(call: &Call) -> Result<Found, Failure> {
    if call.endpoint.caller == Requirement::Verifier {
        let tenant = call.tenant().await?;
        let (cx, proved) = caller::verifier(call, tenant).await?;
        return Ok(Found::Caller(Box::new(cx), Some(proved)));
    }
    if call.endpoint.operator && caller::is_operator(call) {
        return Ok(Found::Operator(Box::new(caller::operator(call).await?)));
    }
    Ok(Found::Caller(Box::new(caller::admin(call).await?), None))
}

/// Records a refusal to somebody who is known and may not.
pub(crate) async fn record_refusal(
    cx: &Cx,
    endpoint: &Endpoint,
    refusal: &Refusal,
) -> Result<(), Fault> {
    match caller::credential(cx) {
        Some(credential) if refusal.rule.kind() == Kind::Denied => {
            refusals::record(cx, credential, endpoint.operation, refusal).await
        }
        _ => Ok(()),
    }
}

/// Reads a body whole, within a bound on its bytes and on its time. One that does not come in one
/// piece is counted while it is waited for.
async fn whole(
    body: axum::body::Body,
    bytes_max: usize,
    reading: impl FnOnce() -> Reading,
) -> Result<Bytes, Failure> {
    let wrong = |status, rule, detail: String, hint: &str| {
        Err(Failure::Http { status, rule, detail, hint: hint.to_owned() })
    };
    match tokio::time::timeout(BODY_TIME_MAX, pieces(body, bytes_max, reading)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(NotWhole::TooMany)) => {
            Err(overloaded("too many bytes of requests are being read".to_owned()))
        }
        Ok(Err(NotWhole::Broken(error))) if error.is::<LengthLimitError>() => wrong(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body-too-large",
            format!("the body is larger than {bytes_max} bytes"),
            "send less",
        ),
        Ok(Err(NotWhole::Broken(_))) => wrong(
            StatusCode::BAD_REQUEST,
            "body-broken",
            "the body ended early".to_owned(),
            "send it again",
        ),
        Err(_) => wrong(
            StatusCode::REQUEST_TIMEOUT,
            "body-too-slow",
            format!("the body took longer than {} s", BODY_TIME_MAX.as_secs()),
            "send it whole, at once",
        ),
    }
}

/// Why a body was not read whole.
enum NotWhole {
    /// Too many bytes of all bodies are held.
    TooMany,
    /// It is too large, or was broken off.
    Broken(Box<dyn std::error::Error + Send + Sync>),
}

async fn pieces(
    body: axum::body::Body,
    bytes_max: usize,
    reading: impl FnOnce() -> Reading,
) -> Result<Bytes, NotWhole> {
    let mut body = Limited::new(body, bytes_max);
    let Some(first) = piece(&mut body).await? else { return Ok(Bytes::new()) };
    if body.is_end_stream() {
        return Ok(first);
    }
    let (mut reading, mut whole, mut next) = (reading(), BytesMut::new(), Some(first));
    while let Some(bytes) = next {
        if !reading.more(bytes.len()) {
            return Err(NotWhole::TooMany);
        }
        whole.extend_from_slice(&bytes);
        next = piece(&mut body).await?;
    }
    Ok(whole.freeze())
}

/// The next bytes of a body; a trailer, which nothing here asks for, is passed over.
async fn piece(body: &mut Limited<axum::body::Body>) -> Result<Option<Bytes>, NotWhole> {
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(NotWhole::Broken)?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// Where a request came from.
fn source(server: &Server, parts: &Parts) -> Option<IpAddr> {
    let peer = parts.extensions.get::<Peer>()?.0;
    let Some(proxies) = server.proxies.get() else { return Some(peer) };
    let lines = parts.headers.get_all(proxies.header.name()).iter();
    Some(proxies.source(peer, lines.map(HeaderValue::as_bytes)))
}

/// Reads the request whole, within the row's bound, and checks its caller.
async fn receive(
    server: Arc<Server>,
    endpoint: &'static Endpoint,
    request: Request,
    id: RequestId,
    (began, now): (Instant, Time),
) -> Result<Call, Failure> {
    let (mut parts, body) = request.into_parts();
    let path = RawPathParams::from_request_parts(&mut parts, &())
        .await
        .map(|params| params.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect())
        .unwrap_or_default();
    let source = source(&server, &parts);
    let certificate = certificates::of_request(&server, &parts)?;
    let body = whole(body, endpoint.body_max, || server.bodies.begin(source)).await?;
    let is_health = ["/livez", "/readyz"].contains(&endpoint.path);
    if !is_health {
        server.world.view.check(&*server.world.clock)?;
    }
    let place = if is_health { Ok(None) } else { server.room.enter(began).map(Some) };
    let terms = Terms { trace: conditions::trace(&parts.headers), ..Terms::default() };
    let mut call = Call {
        server,
        endpoint,
        body,
        request: id,
        now,
        began,
        terms,
        parts,
        path,
        source,
        certificate,
        cx: None,
        operator: None,
        proved: None,
        standing: None,
        place: None,
    };
    match place {
        Ok(place) => {
            call.place = place;
            if endpoint.caller.is_checked_first() {
                Box::pin(check_caller(&mut call)).await?;
            }
        }
        Err(_) if endpoint.caller == Requirement::Admin(AdminPermission::Revoke) => {
            let key = caller::claimed(&call);
            let is_acquainted = key.is_some_and(|key| call.server.acquainted.has(key));
            let at_door = call.server.room.knock(is_acquainted)?;
            Box::pin(check_caller(&mut call)).await?;
            call.place = Some(call.server.room.enter_to_stop()?);
            drop(at_door);
        }
        Err(full) => return Err(full),
    }
    if let (Requirement::Admin(_), Some(cx)) = (endpoint.caller, &call.cx) {
        call.standing = cx.world.limits.organization(cx.tenant.id, now);
        call.standing.map_or(Ok(()), |standing| standing.refusal())?;
    }
    if endpoint.caller.is_checked_first() && endpoint.language == Language::Problem {
        check_query(&call)?;
    }
    Ok(call)
}
