//! SPIFFE Workload API: what any SPIFFE client asks, over gRPC at the same socket.
//!
//! A question without the security header is `InvalidArgument`, one of a process without an identity
//! `PermissionDenied`, one that cannot be answered for now `Unavailable`. A stream tells all there is at
//! once and again after each change, and ends where the instance or the process does.

mod messages;

use std::pin::Pin;
use std::sync::Arc;

use accredit::AgentError;
use accredit_wire::jwt_svid::{AUDIENCES_MAX, authorities, is_audience};
use accredit_wire::oauth::ErrorCode;
use accredit_wire::x509::spiffe::TrustDomain;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use futures_util::{Stream, StreamExt as _, stream};
use prost::Message;
use tokio::sync::watch;
use tonic::Status;
use tonic::server::Grpc;
use tonic_prost::ProstCodec;
use tower::service_fn;

use crate::ambient;
use crate::http_face::{Caller, is_meant};
use crate::identity::{Identity, Standing, Svid};
use crate::peer::Peer;
use crate::upstream::Trust;
use messages::{
    JwtBundlesResponse, JwtSvid, JwtSvidRequest, JwtSvidResponse, Nothing, ValidateRequest,
    ValidateResponse, X509BundlesResponse, X509Svid, X509SvidResponse,
};

/// The longest message of a question, bytes: a JWT-SVID, with room.
const MESSAGE_BYTES_MAX: usize = 32 * 1024;

type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Answers one question of gRPC.
pub(crate) async fn answer(caller: Caller, request: Request) -> Response {
    let method = request.uri().path().to_owned();
    // Before the question is read, so that whoever did not mean it learns nothing else.
    let asked = if is_meant(request.headers()) {
        let identity = caller.door.identity(&caller.peer).await;
        identity.map_err(|denied| {
            denied.log(&caller.peer);
            if denied.is_for_now() {
                Status::unavailable("which instance this process is cannot be told now")
            } else {
                Status::permission_denied("no identity issued")
            }
        })
    } else {
        Err(Status::invalid_argument("the header `workload.spiffe.io: true` is missing"))
    };
    match method.as_str() {
        "/SpiffeWorkloadAPI/FetchX509SVID" => told(caller, request, asked, svids).await,
        "/SpiffeWorkloadAPI/FetchX509Bundles" => told(caller, request, asked, bundles).await,
        "/SpiffeWorkloadAPI/FetchJWTBundles" => told(caller, request, asked, jwt_bundles).await,
        "/SpiffeWorkloadAPI/FetchJWTSVID" => once(request, asked, jwt_svids).await,
        "/SpiffeWorkloadAPI/ValidateJWTSVID" => once(request, asked, validated).await,
        // Others there are, which are optional: a client takes this for an answer.
        _ => asked.map_or_else(Status::into_http, |_| {
            Status::unimplemented("this method is not served here").into_http()
        }),
    }
}

/// Answers with a stream of whatever `of` makes of how the instance stands.
async fn told<T: Message + Clone + PartialEq + 'static>(
    caller: Caller,
    request: Request,
    asked: Result<Arc<Identity>, Status>,
    of: fn(&Svid, &Trust) -> T,
) -> Response {
    let mut grpc =
        Grpc::new(ProstCodec::<T, Nothing>::default()).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let service = service_fn(move |_: tonic::Request<Nothing>| {
        let (asked, peer) = (asked.clone(), Arc::clone(&caller.peer));
        async move { Ok::<_, Status>(tonic::Response::new(states(asked?, peer, of))) }
    });
    grpc.server_streaming(service, request).await.map(Body::new)
}

/// Answers one question with what `of` makes of it.
async fn once<Q, T, F>(
    request: Request,
    asked: Result<Arc<Identity>, Status>,
    of: fn(Arc<Identity>, Q) -> F,
) -> Response
where
    Q: Message + Default + 'static,
    T: Message + 'static,
    F: Future<Output = Result<T, Status>> + Send + 'static,
{
    let mut grpc =
        Grpc::new(ProstCodec::<T, Q>::default()).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let service = service_fn(move |question: tonic::Request<Q>| {
        let asked = asked.clone();
        async move { Ok::<_, Status>(tonic::Response::new(of(asked?, question.into_inner()).await?)) }
    });
    grpc.unary(service, request).await.map(Body::new)
}

/// What a stream remembers between two messages.
struct Told<T> {
    changes: watch::Receiver<Standing>,
    identity: Arc<Identity>,
    peer: Arc<Peer>,
    last: Option<T>,
    is_over: bool,
}

/// A message of how the instance stands now, and one after each change of what is told of it.
fn states<T: Message + Clone + PartialEq + 'static>(
    identity: Arc<Identity>,
    peer: Arc<Peer>,
    of: fn(&Svid, &Trust) -> T,
) -> Messages<T> {
    let changes = identity.watch();
    let told = Told { changes, identity, peer, last: None, is_over: false };
    let next = move |mut told: Told<T>| async move {
        if told.is_over {
            return None;
        }
        let said = told.next(of).await;
        told.is_over = said.is_err();
        Some((said, told))
    };
    stream::unfold(told, next).boxed()
}

impl<T: Clone + PartialEq> Told<T> {
    async fn next(&mut self, of: fn(&Svid, &Trust) -> T) -> Result<T, Status> {
        loop {
            if self.last.is_some() {
                tokio::select! {
                    changed = self.changes.changed() => {
                        changed.map_err(|_| Status::unavailable("this end is stopping"))?;
                    }
                    () = self.peer.ended() => {
                        return Err(Status::permission_denied("no identity issued"));
                    }
                }
            }
            self.changes.mark_unchanged();
            let (svid, trust) = live(&self.identity)?;
            let message = of(&svid, &trust);
            if self.last.as_ref() != Some(&message) {
                self.last = Some(message.clone());
                return Ok(message);
            }
        }
    }
}

/// What can be given out, or why not.
fn live(identity: &Identity) -> Result<(Arc<Svid>, Arc<Trust>), Status> {
    match identity.standing() {
        Standing::Live(svid, trust) => Ok((svid, trust)),
        Standing::Refused => Err(Status::permission_denied("no identity issued")),
        Standing::Lapsed => Err(Status::unavailable("the server has not answered for too long")),
    }
}

fn svids(svid: &Svid, trust: &Trust) -> X509SvidResponse {
    let one = X509Svid {
        spiffe_id: svid.spiffe_id.clone(),
        x509_svid: svid.chain.concat(),
        x509_svid_key: svid.key.to_vec(),
        bundle: trust.own.roots.clone(),
        hint: String::new(),
    };
    let federated_bundles = trust.federated.roots().collect();
    X509SvidResponse { svids: vec![one], federated_bundles, ..X509SvidResponse::default() }
}

fn jwt_bundles(svid: &Svid, trust: &Trust) -> JwtBundlesResponse {
    let own = (svid.trust_domain.clone(), &trust.own.authorities);
    // Its own comes last, so that none of another name stands in its place.
    let all = trust.federated.authorities().chain([own]);
    let documents = all.map(|(domain, keys)| (domain, keys.document().into_bytes()));
    JwtBundlesResponse { bundles: documents.collect() }
}

/// A JWT-SVID for the audiences that a process names (section 6.1 of the API).
async fn jwt_svids(
    identity: Arc<Identity>,
    asked: JwtSvidRequest,
) -> Result<JwtSvidResponse, Status> {
    let is_one = (1..=AUDIENCES_MAX).contains(&asked.audience.len())
        && asked.audience.iter().all(|audience| is_audience(audience));
    if !is_one {
        return Err(Status::invalid_argument("`audience` is one or a few, without blanks"));
    }
    let (svid, _) = live(&identity)?;
    if !asked.spiffe_id.is_empty() && asked.spiffe_id != svid.spiffe_id {
        return Err(Status::permission_denied("the identity asked for is another's"));
    }
    let got = identity.jwt_svid(&asked.audience).await.map_err(|error| match &error {
        AgentError::Refused(refusal) => match refusal.error() {
            ErrorCode::InvalidRequest => Status::invalid_argument(refusal.to_string()),
            ErrorCode::TemporarilyUnavailable => Status::unavailable(refusal.to_string()),
            _ => Status::permission_denied("no identity issued"),
        },
        _ => Status::unavailable("the server does not answer"),
    })?;
    let svid = JwtSvid {
        spiffe_id: got.spiffe_id.clone(),
        svid: got.token.expose().to_owned(),
        hint: String::new(),
    };
    Ok(JwtSvidResponse { svids: vec![svid] })
}

/// Who somebody is that sent a JWT-SVID, by the bundle of their trust domain (section 6.3 of the API). Whether they were ended
/// since, the bundle does not tell.
async fn validated(
    identity: Arc<Identity>,
    asked: ValidateRequest,
) -> Result<ValidateResponse, Status> {
    let (svid, trust) = live(&identity)?;
    let own = svid.trust_domain.strip_prefix("spiffe://").map(TrustDomain::parse);
    let Some(Ok(own)) = own else {
        return Err(Status::unavailable("there is no trust domain"));
    };
    if asked.audience.is_empty() || asked.svid.is_empty() {
        return Err(Status::invalid_argument("`audience` and `svid` are needed"));
    }
    let domain = authorities::named_by(&asked.svid);
    let domain = domain.ok_or_else(|| Status::invalid_argument("`svid` names no trust domain"))?;
    // Whose it says it is, by the keys of that trust domain and no others.
    let keys = if domain == own {
        Some(&trust.own.authorities)
    } else {
        trust.federated.authorities_of(&domain)
    };
    let keys = keys.ok_or_else(|| {
        Status::invalid_argument("`svid` is of a trust domain that is not known here")
    })?;
    let checked = keys.check(&asked.svid, (&domain, &asked.audience), ambient::now());
    let checked = checked.map_err(|error| Status::invalid_argument(error.to_string()))?;
    let claims: serde_json::Map<_, _> = serde_json::from_slice(&checked.claims)
        .map_err(|_| Status::invalid_argument("the claims are no JSON object"))?;
    let spiffe_id = checked.spiffe_id.to_string();
    Ok(ValidateResponse { spiffe_id, claims: Some(claims.into()) })
}

fn bundles(svid: &Svid, trust: &Trust) -> X509BundlesResponse {
    let own = (svid.trust_domain.clone(), trust.own.roots.clone());
    let bundles = trust.federated.roots().chain([own]).collect();
    X509BundlesResponse { bundles, ..X509BundlesResponse::default() }
}
