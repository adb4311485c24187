//! Two agents prove to each other who they are before any task flows between them.
//!
//! The worker serves HTTP to instances of the planner and to nobody else; the planner hands tasks to
//! instances of the worker and to nobody else. Neither has a certificate in a file, and an instance that
//! is revoked loses its open connections. Run it against a server; the environment says which (see `main`).

use std::error::Error;
use std::net::SocketAddr;

use accredit::mtls::{Authority, Incoming, Mtls, Peer, Peers, Stream, X509Source};
use accredit::{Agent, Secret, Verifier};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::extract::connect_info::Connected;
use axum::http::{Request, StatusCode};
use axum::routing::post;
use axum::serve::{IncomingStream, Listener};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

/// The longest answer that the planner reads, bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What axum takes connections from: those of peers, and no others.
struct Door(Incoming);

impl Listener for Door {
    type Io = Stream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        self.0.accept().await
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

/// With whom a request's connection is.
#[derive(Clone, Debug)]
struct Caller(Peer);

impl Connected<IncomingStream<'_, Door>> for Caller {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        Self(stream.io().peer().clone())
    }
}

async fn work(ConnectInfo(Caller(peer)): ConnectInfo<Caller>, task: String) -> String {
    format!("{task}: done for {}", peer.agent())
}

/// Serves tasks to peers, for as long as it is polled.
pub(crate) async fn serve(listener: TcpListener, mtls: Mtls) -> std::io::Result<()> {
    let routes = Router::new().route("/tasks", post(work));
    let door = Door(Incoming::new(listener, mtls));
    axum::serve(door, routes.into_make_service_with_connect_info::<Caller>()).await
}

/// A connection to a worker, over which tasks are handed to it.
pub(crate) struct Handing {
    sender: SendRequest<Body>,
    /// Whose it is.
    pub(crate) peer: Peer,
}

impl Handing {
    /// Connects to a worker, which has proved to be one.
    pub(crate) async fn begin(mtls: &Mtls, at: SocketAddr) -> Result<Self, Box<dyn Error>> {
        let stream = mtls.connect(TcpStream::connect(at).await?).await?;
        let peer = stream.peer().clone();
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender, peer })
    }

    /// Hands over a task; the answer.
    pub(crate) async fn hand(&mut self, task: &str) -> Result<String, Box<dyn Error>> {
        self.sender.ready().await?;
        let request = Request::post("/tasks").header("host", "worker");
        let request = request.body(Body::from(task.to_owned()))?;
        let answer = self.sender.send_request(request).await?;
        if answer.status() != StatusCode::OK {
            return Err(format!("the worker answers {}", answer.status()).into());
        }
        let body = to_bytes(Body::new(answer.into_body()), ANSWER_BYTES_MAX).await?;
        Ok(String::from_utf8(body.to_vec())?)
    }
}

/// An instance of an agent that talks to instances of another.
pub(crate) async fn instance(
    (issuer, verifier): (&str, &Verifier),
    (client_id, secret): (&str, Secret),
    peers: Peers,
) -> Result<Mtls, Box<dyn Error>> {
    let own = X509Source::begin(Agent::new(issuer, client_id, secret)?).await?;
    let authority = Authority::connect(verifier, &own.trust_domain()).await?;
    Ok(Mtls::new(own, authority, peers))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let issuer = setting("ISSUER")?;
    let verifier = Verifier::builder(&issuer, &setting("AUDIENCE")?);
    let verifier = verifier.credential(setting("RESOURCE_SECRET")?).connect().await?;
    let at = (&*issuer, &verifier);
    let held = |name: &str| {
        let secret = Secret::new(setting(&format!("{name}_SECRET"))?);
        Ok::<_, Box<dyn Error>>((setting(name)?, secret))
    };
    let (id, secret) = held("WORKER")?;
    let worker = instance(at, (&id, secret), Peers::agent("planner")).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    say(&format!("the worker listens at {address}"));
    let serving = serve(listener, worker);
    let Ok((id, secret)) = held("PLANNER") else {
        // The planner is somebody else's program.
        return Ok(serving.await?);
    };
    tokio::spawn(serving);
    let planner = instance(at, (&id, secret), Peers::agent("worker")).await?;
    let mut handing = Handing::begin(&planner, address).await?;
    say(&format!("connected to {}", handing.peer.spiffe_id()));
    say(&handing.hand("count the customers").await?);
    Ok(())
}

/// A setting of the environment.
#[expect(clippy::disallowed_methods, reason = "an example has no other configuration")]
fn setting(name: &str) -> Result<String, Box<dyn Error>> {
    std::env::var(format!("EXAMPLE_{name}")).map_err(|_| format!("set EXAMPLE_{name}").into())
}

#[expect(clippy::print_stdout, reason = "it is what the example is for")]
fn say(text: &str) {
    println!("{text}");
}
