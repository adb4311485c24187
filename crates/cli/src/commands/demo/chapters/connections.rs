//! Connections between agents (mutual TLS, X.509-SVIDs) that are open while one side is revoked.

use std::time::{Duration, Instant};

use accredit::mtls::{Authority, Ended, Mtls, Peers, Stream, Unfit, X509Source};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::Stage;
use crate::commands::demo::clock;
use crate::commands::demo::registration::Actor;
use crate::commands::demo::report::{Proven, shown};

/// How long any of this may take before it counts as not held.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// What goes to and fro.
const LINE: &[u8] = b"next page";

/// A connection, from the side that waits for its peer.
type Waiting = JoinHandle<Result<(Instant, Ended), String>>;

/// Two connections of `reporter`, to either instance of `planner`.
pub(super) struct Connections {
    /// The client's end of the one that is revoked, kept open, and the other side's wait.
    _dying: Stream<TcpStream>,
    dead: Waiting,
    /// Both ends of its sibling's.
    sibling: (Stream<TcpStream>, Stream<TcpStream>),
}

impl Connections {
    /// Opens both. Each side has proved to the other which instance it is.
    pub(super) async fn open(stage: &Stage) -> Result<Self, String> {
        let server = mtls(stage, &stage.cast.reporter, "planner").await?;
        let dying = mtls(stage, &stage.cast.planner, "reporter").await?;
        let sibling = mtls(stage, &stage.cast.sibling, "reporter").await?;
        let (here, mut there) = connected(&dying, &server).await?;
        let dead = tokio::spawn(async move {
            match there.read(&mut [0; 16]).await {
                Ok(_) => Err("the connection ended as if it were complete".to_owned()),
                Err(error) => match Ended::of(&error) {
                    Some(ended) => Ok((clock::now(), ended.clone())),
                    None => Err(error.to_string()),
                },
            }
        });
        let mut sibling = connected(&sibling, &server).await?;
        talk(&mut sibling).await?;
        Ok(Self { _dying: here, dead, sibling })
    }

    /// That the one was closed since `sent`, and the other works.
    pub(super) async fn closed(mut self, sent: Instant) -> Result<Proven<()>, String> {
        let dead = clock::within(WAIT_MAX, "the end of the connection", self.dead).await?;
        let (at, ended) = dead.map_err(|error| error.to_string())??;
        if ended != Ended::Peer(Unfit::Revoked) {
            return Err(format!("it ended otherwise: {ended}"));
        }
        talk(&mut self.sibling).await?;
        let took = at.duration_since(sent);
        let proof = format!(
            "closed {} after the revoke request was sent; both ends of its sibling's say on",
            shown(took)
        );
        let story = format!(
            "Both instances had a connection with `reporter`, on which each side showed its \
             certificate. That of the revoked one was closed after {}; the sibling's works on.",
            shown(took)
        );
        Ok(Proven::new((), proof).story(story).took(took))
    }
}

/// An instance that talks to those of one agent.
async fn mtls(stage: &Stage, own: &Actor, peers: &str) -> Result<Mtls, String> {
    let source = X509Source::begin(own.agent.clone()).await.map_err(|error| error.to_string())?;
    let domain = source.trust_domain();
    let authority = Authority::connect(stage.resource.verifier(), &domain).await;
    let authority = authority.map_err(|error| error.to_string())?;
    Ok(Mtls::new(source, authority, Peers::agent(peers)))
}

/// Both ends of a connection, the client's first.
async fn connected(
    client: &Mtls,
    server: &Mtls,
) -> Result<(Stream<TcpStream>, Stream<TcpStream>), String> {
    let text = |error: std::io::Error| error.to_string();
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(text)?;
    let at = listener.local_addr().map_err(text)?;
    let (io, taken) = tokio::join!(TcpStream::connect(at), listener.accept());
    let (io, (taken, _)) = (io.map_err(text)?, taken.map_err(text)?);
    let (here, there) = tokio::join!(client.connect(io), server.accept(taken));
    Ok((here.map_err(|error| error.to_string())?, there.map_err(|error| error.to_string())?))
}

/// A line there and back.
async fn talk((here, there): &mut (Stream<TcpStream>, Stream<TcpStream>)) -> Result<(), String> {
    let both = async {
        let mut read = [0; LINE.len()];
        here.write_all(LINE).await?;
        here.flush().await?;
        there.read_exact(&mut read).await?;
        there.write_all(&read).await?;
        there.flush().await?;
        here.read_exact(&mut read).await.map(|_| read)
    };
    match clock::within(WAIT_MAX, "a line on the connection", both).await? {
        Ok(read) if read == LINE => Ok(()),
        Ok(_) => Err("another line came back".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
