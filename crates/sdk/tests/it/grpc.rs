//! The guard before gRPC (tonic) and before a plain hyper server, over real sockets. The messages
//! are bytes: what they mean is nothing that the guard looks at.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use accredit::guard::{BodyError, GuardedBody};
use accredit::{Ended, Principal, Verifier};
use axum::body::Bytes;
use bytes::{Buf as _, BufMut as _};
use futures_util::StreamExt as _;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Code, Status, Streaming};
use tower::Layer as _;

use crate::issuer::{Grant, Issuer};

/// Messages as they are.
#[derive(Clone, Copy, Default)]
struct Plain;

impl Codec for Plain {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(message);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

type Answer<T> = Pin<Box<dyn Future<Output = Result<tonic::Response<T>, Status>> + Send>>;
type Messages = Pin<Box<dyn futures_util::Stream<Item = Result<Bytes, Status>> + Send>>;

/// `crm.Files`: counts what is uploaded; sends without end. As a code generator would write it.
#[derive(Clone)]
struct Files;

impl tonic::server::ClientStreamingService<Bytes> for Files {
    type Response = Bytes;
    type Future = Answer<Bytes>;

    fn call(&mut self, request: tonic::Request<Streaming<Bytes>>) -> Self::Future {
        Box::pin(async move {
            let caller = request.extensions().get::<Principal>().expect("a principal");
            let caller = caller.client_id();
            let (mut count, mut messages) = (0, request.into_inner());
            while let Some(message) = messages.message().await? {
                count += message.len();
            }
            Ok(tonic::Response::new(Bytes::from(format!("{count} of {caller}"))))
        })
    }
}

impl tonic::server::ServerStreamingService<Bytes> for Files {
    type Response = Bytes;
    type ResponseStream = Messages;
    type Future = Answer<Messages>;

    fn call(&mut self, _: tonic::Request<Bytes>) -> Self::Future {
        let ticks = futures_util::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Some((Ok(Bytes::from_static(b"tick")), ()))
        });
        Box::pin(async move { Ok(tonic::Response::new(Box::pin(ticks) as Messages)) })
    }
}

impl<B> tower::Service<Request<B>> for Files
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BodyError> + Send,
{
    type Response = Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(Plain);
            Ok(match request.uri().path() {
                "/crm.Files/Upload" => grpc.client_streaming(Files, request).await,
                _ => grpc.server_streaming(Files, request).await,
            })
        })
    }
}

impl tonic::server::NamedService for Files {
    const NAME: &'static str = "crm.Files";
}

/// Serves it behind the guard, as tonic does, and connects to it.
async fn served(verifier: &Verifier) -> tonic::client::Grpc<tonic::transport::Channel> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let incoming = futures_util::stream::unfold(listener, |listener| async {
        let accepted = listener.accept().await.map(|(stream, _)| stream);
        Some((accepted, listener))
    });
    let guard = verifier.guard().require("crm:read");
    let server = tonic::transport::Server::builder().layer(guard).add_service(Files);
    tokio::spawn(server.serve_with_incoming(incoming));
    let channel = tonic::transport::Channel::from_shared(format!("http://{address}"));
    let channel = channel.expect("a URL").connect().await.expect("a connection");
    tonic::client::Grpc::new(channel)
}

fn with<T>(message: T, token: &str) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    let value = format!("Bearer {token}").parse().expect("metadata");
    request.metadata_mut().insert("authorization", value);
    request
}

/// An upload that goes on until its sender is dropped.
fn upload(
    mut client: tonic::client::Grpc<tonic::transport::Channel>,
    token: &str,
) -> (tokio::sync::mpsc::Sender<Bytes>, tokio::task::JoinHandle<Result<Bytes, Status>>) {
    let (send, sent) = tokio::sync::mpsc::channel::<Bytes>(1);
    let messages =
        futures_util::stream::unfold(sent, |mut sent| async { Some((sent.recv().await?, sent)) });
    let request = with(messages, token);
    let path = http::uri::PathAndQuery::from_static("/crm.Files/Upload");
    let answer = tokio::spawn(async move {
        client.ready().await.expect("ready");
        let answer = client.client_streaming(request, path, Plain).await;
        answer.map(tonic::Response::into_inner)
    });
    (send, answer)
}

#[tokio::test]
async fn grpc_is_refused_with_a_status_and_let_in_with_a_principal() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier().await;
    let client = served(&verifier).await;
    let grant = Grant::default();
    let narrow = issuer.token(&Grant { scope: "crm:list", ..Grant::default() });
    for (token, code) in [("none", Code::Unauthenticated), (&narrow, Code::PermissionDenied)] {
        let (send, answer) = upload(client.clone(), token);
        drop(send);
        let refused = answer.await.expect("no panic").expect_err("refused");
        assert_eq!(refused.code(), code, "{refused:?}");
    }
    let (send, answer) = upload(client, &issuer.token(&grant));
    for _ in 0..3 {
        send.send(Bytes::from_static(b"part")).await.expect("read");
    }
    drop(send);
    let told = answer.await.expect("no panic").expect("an answer");
    assert_eq!(told, format!("12 of {}", grant.agent));
}

#[tokio::test]
async fn a_revoked_grpc_upload_and_download_break_off() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier().await;
    let mut client = served(&verifier).await;
    let grant = Grant::default();
    let token = issuer.token(&grant);
    let (send, answer) = upload(client.clone(), &token);
    send.send(Bytes::from_static(b"part")).await.expect("read");
    let path = http::uri::PathAndQuery::from_static("/crm.Files/Download");
    client.ready().await.expect("ready");
    let messages = client.server_streaming(with(Bytes::new(), &token), path, Plain).await;
    let mut messages = messages.expect("a stream").into_inner();
    messages.next().await.expect("a message").expect("no error");
    issuer.revoke(grant.agent);
    let within = Duration::from_secs(3);
    let outcome = tokio::time::timeout(within, answer).await.expect("ended in time");
    outcome.expect("no panic").expect_err("a part is not taken for the whole");
    let end = async {
        loop {
            match messages.next().await {
                Some(Ok(_)) => {}
                end => return end,
            }
        }
    };
    let end = tokio::time::timeout(within, end).await.expect("ended in time");
    assert!(matches!(end, Some(Err(_))), "not as if it were whole: {end:?}");
    drop(send);
}

/// Says how much was sent, or why it read no further.
async fn count(request: Request<GuardedBody<Incoming>>) -> Result<Response<String>, Infallible> {
    let mut answer = Response::new(String::new());
    match request.into_body().collect().await {
        Ok(body) => *answer.body_mut() = body.to_bytes().len().to_string(),
        Err(error) => {
            let is_ours = error.downcast_ref::<Ended>().is_some();
            *answer.status_mut() =
                if is_ours { StatusCode::FORBIDDEN } else { StatusCode::BAD_REQUEST };
        }
    }
    Ok(answer)
}

/// Serves hyper alone behind the guard.
async fn plain(verifier: &Verifier) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let service = verifier.guard().require("crm:read").layer(tower::service_fn(count));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(service.clone());
            let http = hyper::server::conn::http1::Builder::new();
            tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

async fn connected(
    address: SocketAddr,
) -> hyper::client::conn::http1::SendRequest<http_body_util::combinators::BoxBody<Bytes, Infallible>>
{
    let stream = TcpStream::connect(address).await.expect("connected");
    let (client, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
    tokio::spawn(connection);
    client
}

#[tokio::test]
async fn the_guard_stands_before_plain_hyper_too() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier().await;
    let address = plain(&verifier).await;
    let grant = Grant::default();
    let token = issuer.token(&grant);
    let ask = |token: &str, body| {
        let request = Request::post("/").header(header::HOST, "crm.example");
        let request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        request.body(body).expect("a request")
    };
    let whole = || Full::new(Bytes::from_static(b"whole")).boxed();
    let refused = connected(address).await.send_request(ask("none", whole())).await;
    assert_eq!(refused.expect("an answer").status(), StatusCode::UNAUTHORIZED);
    let taken = connected(address).await.send_request(ask(&token, whole())).await;
    let taken = taken.expect("an answer");
    assert_eq!(taken.status(), StatusCode::OK);
    assert_eq!(taken.into_body().collect().await.expect("a body").to_bytes(), "5");
    // An upload that never ends by itself.
    let endless = futures_util::stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Some((Ok(http_body::Frame::data(Bytes::from_static(b"part"))), ()))
    });
    let endless = BodyExt::boxed(http_body_util::StreamBody::new(endless));
    let mut client = connected(address).await;
    let answer = tokio::spawn(client.send_request(ask(&token, endless)));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!answer.is_finished(), "it goes on");
    issuer.revoke(grant.agent);
    let answer = tokio::time::timeout(Duration::from_secs(3), answer).await.expect("in time");
    let answer = answer.expect("no panic").expect("an answer");
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
}
