//! `accredit edge run`: the daemon on a machine where agents run.
//!
//! It joins as a node, by a join token, a token of its platform or a certificate, and answers at a socket that every
//! process of the machine may use. Which agent a process is, is decided by the server's rules from what the
//! kernel says of it ([`accredit_edge::attest`]).
//!
//! Its key lies in its memory, and what it vouched for ends with it. With `--state-dir` it comes back as
//! the same node after a restart, and there is a key in a file.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use accredit::{Agent, AgentError, Birth, BirthError, IssuerError, NodeProof, PrivateJwk};
use accredit_edge::workloads::Hosts;
use accredit_edge::{Node, Socket, Workloads};
use accredit_wire::crypto::{Algorithm, PrivateKey};
use accredit_wire::x509::dns_name::DnsName;
use clap::Args;
use serde_json::json;
use tokio::sync::watch;
use tracing_subscriber::filter::LevelFilter;

use super::kept::{Folder, KeptNode};
use crate::commands::{serving, token};
use crate::context::Context;
use crate::errors::Failure;
use crate::exit::Exit;
use crate::{descriptors, input, output};

/// Where the socket is, where nothing else is said: its folder is made by the service manager.
const SOCKET_DEFAULT: &str = "/run/accredit/agent@localhost";
/// How long ending everything may take when the daemon is stopped.
const STOP_TIME_MAX: Duration = Duration::from_secs(25);
/// How often a node that was refused tries to join again, where its platform vouches for it.
const JOINED_AGAIN_EVERY: Duration = Duration::from_secs(30);

/// Arguments of `accredit edge run`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  accredit edge run --org dev --join-token-file /etc/accredit/join-token\n  \
                  accredit edge run --issuer https://id.example/o/dev \\\n    \
                  --platform-token-file /var/run/secrets/tokens/accredit --socket ./run/agent@localhost\n  \
                  accredit edge run --issuer https://id.example/o/dev --client-id agt_… \\\n    \
                  --tls-certificate /etc/pki/host.pem --tls-key /etc/pki/host.key\n\n\
                  A process asks at the socket: curl --unix-socket /run/accredit/agent@localhost \\\n    \
                  -H 'workload.spiffe.io: true' 'http://localhost/token?scope=crm:read'\n\
                  SPIFFE clients find it by SPIFFE_ENDPOINT_SOCKET=unix:///run/accredit/agent@localhost.\n\n\
                  What it vouched for ends when it is stopped, unless --state-dir lets it come back."
)]
pub(crate) struct Run {
    /// Join by the token in this file, made with `accredit edge invite`; it is of use once
    #[arg(long, value_name = "FILE", conflicts_with = "platform_token_file")]
    join_token_file: Option<PathBuf>,
    /// Join by a token of the platform, which a rule knows (`accredit attest rule add`); read at each try
    #[arg(long, value_name = "FILE")]
    platform_token_file: Option<PathBuf>,
    /// Join by mutual TLS: a certificate whose key is registered for an instance of --client-id; read at each try
    #[arg(long, value_name = "FILE", requires = "tls_key", requires = "client_id",
          conflicts_with_all = ["join_token_file", "platform_token_file"])]
    tls_certificate: Option<PathBuf>,
    /// Its key, in a file that nobody but its owner can read
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// The agent of which the node is an instance, by id, where it joins by a certificate
    #[arg(long, value_name = "ID", requires = "tls_certificate")]
    client_id: Option<String>,
    /// Where processes ask; nobody but root and this user may be able to change its folder
    #[arg(long, value_name = "PATH", default_value = SOCKET_DEFAULT)]
    socket: PathBuf,
    /// Come back after a restart as the same node: its key is kept in this folder
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// A host that certificates of an agent's processes name here too, which its policy lets them; repeat it
    #[arg(long, value_name = "AGENT=HOST", value_parser = host)]
    dns_name: Vec<(String, String)>,
    /// The organization's name, at the server that --url names
    #[arg(long, value_name = "NAME")]
    org: Option<String>,
    /// The issuer, in place of --url and --org
    #[arg(long, value_name = "URL", conflicts_with = "org")]
    issuer: Option<String>,
}

/// Runs until told to stop.
pub(crate) async fn run(args: Run, cx: &Context) -> Result<(), Failure> {
    serving::start_log(cx, LevelFilter::INFO);
    let stop = serving::stop_signal()?;
    descriptors::raise();
    let (_, issuer) = token::issuer(args.issuer.as_deref(), args.org.as_deref(), cx).await?;
    let folder = args.state_dir.as_deref().map(Folder::open).transpose()?;
    // Before a token is used up that is of use once.
    let socket = Socket::bind_for_all(&args.socket).await.map_err(|error| {
        let hint = "make a folder that only root or this user may change: install -d -m 755 \
                    /run/accredit; or name another with --socket";
        Failure::new(Exit::Failure, "edge", "the socket was not opened", &error.to_string(), hint)
    })?;
    let daemon = Daemon { args, issuer, folder, socket };
    let born = daemon.begin(cx).await?;
    ready(&daemon, &born, cx)?;
    serving::tell_manager(cx, stop.clone());
    daemon.serve(born, stop, cx).await
}

fn ready(daemon: &Daemon, born: &Birth, cx: &Context) -> Result<(), Failure> {
    let socket = daemon.socket.path().display();
    if cx.out.is_json() {
        let ready = json!({
            "socket": socket.to_string(),
            "instance": born.instance,
            "agent": born.client_id,
            "issuer": daemon.issuer,
        });
        output::line(&ready.to_string())
    } else {
        cx.out.say(&format!("node {} answers at {socket}", born.instance));
        Ok(())
    }
}

/// What the daemon was started with.
struct Daemon {
    args: Run,
    issuer: String,
    folder: Option<Folder>,
    socket: Socket,
}

impl Daemon {
    /// Comes back as the node that it was, or joins.
    async fn begin(&self, cx: &Context) -> Result<Birth, Failure> {
        let kept = self.folder.as_ref().map(Folder::node).transpose()?.flatten();
        if let Some(kept) = kept.filter(|kept| kept.issuer == self.issuer) {
            let born = self.again(kept, cx)?;
            match Node::new(born.clone()).check().await {
                Ok(()) => return Ok(born),
                // It is the same node whenever the server is back.
                Err(AgentError::Issuer(error)) => {
                    tracing::warn!(%error, "the server does not answer");
                    return Ok(born);
                }
                Err(error) if !self.has_proof() => return Err(not_joined(&error.to_string())),
                Err(error) => tracing::warn!(%error, "the node that there was is refused"),
            }
        }
        self.join(cx).await
    }

    fn has_proof(&self) -> bool {
        self.args.join_token_file.is_some() || self.may_join_again()
    }

    /// Whether it can join more than once. A join token is used up.
    fn may_join_again(&self) -> bool {
        self.args.platform_token_file.is_some() || self.args.tls_certificate.is_some()
    }

    /// The node that there was.
    fn again(&self, kept: KeptNode, cx: &Context) -> Result<Birth, Failure> {
        let key = PrivateKey::from_pkcs8(Algorithm::Es256, &kept.key).ok();
        let key = key.and_then(|key| PrivateJwk::named_by_thumbprint(key).ok());
        let key = key.ok_or_else(|| not_joined("the key that was kept is none"))?;
        let builder = Agent::builder(&self.issuer, &kept.client_id, key);
        let agent = match cx.flags.ca_file.as_ref().filter(|file| !file.is_empty()) {
            Some(file) => builder.authorities(file),
            None => builder,
        };
        let agent = agent.build().map_err(|error| not_joined(&error.to_string()))?;
        Ok(Birth { instance: kept.instance, client_id: kept.client_id, name: None, agent })
    }

    async fn join(&self, cx: &Context) -> Result<Birth, Failure> {
        let proof = self.proof(cx)?;
        let made = PrivateKey::generate(Algorithm::Es256).ok();
        let (key, der) = made.ok_or_else(|| not_joined("no key could be made"))?;
        let key = PrivateJwk::named_by_thumbprint(key);
        let key = key.map_err(|error| not_joined(&error.to_string()))?;
        let authorities = cx.flags.ca_file.as_ref().filter(|file| !file.is_empty());
        let authorities = authorities.map(PathBuf::from);
        let born = accredit::join(&self.issuer, authorities, &proof, key).await;
        let born = born.map_err(|error| self.refused(&error))?;
        tracing::info!(instance = born.instance, agent = born.client_id, "joined as a node");
        if let Some(folder) = &self.folder {
            folder.keep_node(&KeptNode {
                issuer: self.issuer.clone(),
                client_id: born.client_id.clone(),
                instance: born.instance.clone(),
                key: der,
            })?;
        }
        Ok(born)
    }

    /// What is shown to join.
    fn proof(&self, cx: &Context) -> Result<NodeProof, Failure> {
        let (args, credentials) = (&self.args, cx.around.credentials.as_deref());
        if let Some(file) = &args.join_token_file {
            return Ok(NodeProof::JoinToken(input::private_secret(file, credentials)?));
        }
        if let Some(file) = &args.platform_token_file {
            // Who may read it is the platform's to decide, and it is of use for minutes.
            return Ok(NodeProof::PlatformToken(input::secret(file)?));
        }
        let by = args.tls_certificate.clone().zip(args.tls_key.clone());
        let Some(((certificate, key), client_id)) = by.zip(args.client_id.clone()) else {
            return Err(Failure::usage(
                "nothing says which node this is",
                "none of --join-token-file, --platform-token-file and --tls-certificate was given, \
                 and no node is kept in a --state-dir",
                "make a join token with `accredit edge invite`, and name its file",
            ));
        };
        if !self.issuer.starts_with("https:") {
            let (title, hint) = ("a certificate is shown over TLS alone", "use an https address");
            return Err(Failure::usage(title, &format!("{} is none", self.issuer), hint));
        }
        input::private(&key, credentials)?;
        Ok(NodeProof::Certificate { client_id, certificate, key })
    }

    fn refused(&self, error: &BirthError) -> Failure {
        match error {
            BirthError::Agent(AgentError::Issuer(error)) => {
                let detail = error.to_string();
                if matches!(error, IssuerError::Net(_)) {
                    Failure::unreachable(&self.issuer, &detail)
                } else {
                    Failure::not_understood(&self.issuer, &detail)
                }
            }
            error => not_joined(&error.to_string()),
        }
    }

    /// Serves until told to stop; as another node, where the platform vouches for one when the first is
    /// refused.
    async fn serve(
        &self,
        mut born: Birth,
        mut stop: watch::Receiver<bool>,
        cx: &Context,
    ) -> Result<(), Failure> {
        loop {
            let node = Arc::new(Node::new(born));
            let workloads =
                Workloads::new(Arc::clone(&node), hosts(&self.args.dns_name)).map_err(|error| {
                    let hint = "it runs on Linux, with /proc";
                    let title = "the start of this machine has no name";
                    Failure::new(Exit::Failure, "edge", title, &error.to_string(), hint)
                })?;
            let workloads = Arc::new(workloads);
            if let Some(folder) = &self.folder {
                let (boot, left) = folder.take_left()?;
                workloads.take_over(&boot, left);
            }
            let door: Arc<dyn accredit_edge::Door> = Arc::clone(&workloads) as _;
            let serving = async { tokio::join!(self.socket.serve(door), workloads.keep()) };
            let joined = tokio::select! {
                _ = stop.wait_for(|told| *told) => None,
                _ = serving => None,
                joined = self.joined_again(&node, cx) => Some(joined),
            };
            match joined {
                Some(joined) => born = joined,
                None => return self.stop(&workloads).await,
            }
        }
    }

    /// Waits until the node is refused, and then until it joined again.
    async fn joined_again(&self, node: &Node, cx: &Context) -> Birth {
        if !self.may_join_again() {
            return std::future::pending().await;
        }
        loop {
            node.until_refused().await;
            pause(JOINED_AGAIN_EVERY).await;
            if !node.is_refused() {
                continue;
            }
            match self.join(cx).await {
                Ok(born) => return born,
                Err(failure) => tracing::warn!(why = failure.detail, "not joined again yet"),
            }
        }
    }

    /// Ends what there is, or leaves it to the daemon that comes back.
    async fn stop(&self, workloads: &Workloads) -> Result<(), Failure> {
        tracing::info!("stopping");
        let Some(folder) = &self.folder else {
            let ended = workloads.end("its node's daemon was stopped");
            if tokio::time::timeout(STOP_TIME_MAX, ended).await.is_err() {
                tracing::error!("not everything was ended in time; it ends when its time is over");
            }
            return Ok(());
        };
        match tokio::time::timeout(STOP_TIME_MAX, workloads.leave()).await {
            Ok(left) => folder.keep_left(workloads.boot(), &left),
            Err(_) => Ok(()),
        }
    }
}

/// `AGENT=HOST`.
fn host(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(agent, host)| !agent.is_empty() && !host.is_empty());
    let (agent, host) = parts.ok_or("write it as AGENT=HOST")?;
    let host = DnsName::parse(host).map_err(|error| error.to_string())?;
    Ok((agent.to_owned(), host.to_string()))
}

/// All of each agent.
fn hosts(named: &[(String, String)]) -> Hosts {
    let mut hosts = Hosts::new();
    for (agent, host) in named {
        hosts.entry(agent.clone()).or_default().push(host.clone());
    }
    hosts
}

fn not_joined(why: &str) -> Failure {
    let hint = "a join token is of use once: make another with `accredit edge invite`; what a platform's \
                token must say stands in `accredit attest rule list`; a certificate's key is registered for an \
                instance, and the server asks for certificates (`tls.client_certificates`)";
    Failure::new(Exit::Denied, "edge", "the node did not join", why, hint)
}

#[expect(clippy::disallowed_methods, reason = "between two tries to join")]
async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}
