//! `accredit run`: a process with an instance of its own, and no secret in its files, arguments or
//! environment.
//!
//! The instance is born by the authority of whoever runs the command, lives in this process's memory, and
//! is answered for at a socket that the command alone can use, with whatever it starts. It ends with the
//! command: no later run can take it up.

mod child;

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use accredit::{Agent, AgentSetupError};
use accredit_edge::{Identity, Socket, Tree};
use accredit_wire::authority::Permission;
use accredit_wire::secret::Secret;
use clap::Args;
use http::Method;
use tempfile::TempDir;
use tracing_subscriber::filter::LevelFilter;

use self::child::Started;
use super::as_agent::{self, AsAgent};
use super::{serving, token};
use crate::args::{self, Body};
use crate::context::Context;
use crate::errors::Failure;
use crate::exit::Exit;
use crate::output::Answer;
use crate::request_path::RequestPath;

/// Where a SPIFFE client looks for its socket (SPIFFE Workload Endpoint section 4).
const SPIFFE_ENDPOINT_SOCKET: &str = "SPIFFE_ENDPOINT_SOCKET";
/// The same socket for programs that know no SPIFFE, as a path.
const ACCREDIT_SOCKET: &str = "ACCREDIT_SOCKET";
/// How often it is tried to end the instance when the command is over, and how long between.
const END_TRIES_MAX: u32 = 3;
const END_TRIED_EVERY: Duration = Duration::from_secs(1);

/// Arguments of `accredit run`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  accredit run --agent planner -- python agent.py\n  \
                        accredit run --agent worker --client-id agt_… --secret-file secret --org dev \\\n    \
                        --task tsk_… --allow crm:read -- node worker.mjs\n\n\
                        The command finds the socket at SPIFFE_ENDPOINT_SOCKET (any SPIFFE client), and \
                        at\nACCREDIT_SOCKET: curl --unix-socket $ACCREDIT_SOCKET -H 'workload.spiffe.io: \
                        true' \\\n    'http://localhost/token?scope=crm:read'. Signals are passed on, and \
                        its exit code is this one's.")]
pub(crate) struct Run {
    /// Which agent the process is an instance of, by id or name
    #[arg(long, value_name = "ID|NAME")]
    agent: String,
    /// A name for people
    #[arg(long)]
    name: Option<String>,
    /// When the instance ends at the latest, from now (30 days)
    #[arg(long, value_name = "DURATION", value_parser = args::duration)]
    expires_in: Option<Duration>,
    /// The task that it works in, where an agent asks
    #[arg(long, value_name = "ID", requires = "client_id")]
    task: Option<String>,
    /// What the agent that asks passes on to it: crm:read, 'crm:update(amount<=100)'
    #[arg(long, value_name = "RESOURCE:ACTION", requires = "client_id",
          value_parser = args::permission)]
    allow: Vec<Permission>,
    /// A host that its certificate names too, which the agent's policy lets it; repeat it for others
    #[arg(long, value_name = "HOST")]
    dns_name: Vec<String>,
    #[command(flatten)]
    by: AsAgent,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Runs the command to its end.
pub(crate) async fn run(args: Run, cx: &Context) -> Result<(), Failure> {
    serving::start_log(cx, LevelFilter::WARN);
    let born = born(&args, cx).await?;
    let code = match started(&args, &born, cx).await {
        Ok((running, identity)) => {
            let code = running.ended().await;
            end(&identity, &born, cx).await;
            code
        }
        Err(failure) => {
            if let Ok(agent) = born.agent(cx) {
                let _ = agent.end("its command was not started").await;
            }
            return Err(failure);
        }
    };
    if code == 0 { Ok(()) } else { Err(Failure::of_program(code)) }
}

/// An instance, and its secret, which no other process ever sees.
struct Born {
    id: String,
    client_id: String,
    secret: Secret,
    issuer: String,
}

/// Brings the instance into being, by an administrator's key or by an agent's own secret.
async fn born(args: &Run, cx: &Context) -> Result<Born, Failure> {
    let (answer, issuer) = if let Some(client_id) = &args.by.client_id {
        let mut form = vec![("agent", args.agent.clone())];
        form.extend(args.name.clone().map(|name| ("name", name)));
        form.extend(args.task.clone().map(|task| ("task", task)));
        form.extend(args.expires_in.map(|life| ("expires_in", life.as_secs().to_string())));
        form.extend(as_agent::asked(&args.allow)?);
        let answer = args.by.post(client_id, "instances", form, cx).await?;
        (answer, args.by.issuer(cx).await?.1)
    } else {
        let body = Body::new()
            .with("agent", args.agent.as_str())
            .with_opt("name", args.name.as_deref())
            .with_opt("expires_in", args.expires_in.map(|life| life.as_secs()));
        let (api, issuer) = token::issuer(None, None, cx).await?;
        let all = RequestPath::new("/v1/instances");
        (api.call(Method::POST, all, Some(body.json())).await?, issuer)
    };
    let of = |name: &str| member(&answer, &issuer, name);
    let (id, client_id) = (of("id")?, of("client_id")?);
    let secret = Secret::new(of("client_secret")?);
    Ok(Born { id, client_id, secret, issuer })
}

fn member(answer: &Answer, issuer: &str, name: &str) -> Result<String, Failure> {
    let missing = || Failure::not_understood(issuer, &format!("it has no `{name}`"));
    answer.member(name).map(str::to_owned).ok_or_else(missing)
}

impl Born {
    /// The instance as an OAuth client, with plain tokens.
    fn agent(&self, cx: &Context) -> Result<Agent, Failure> {
        self.builder(cx).bearer_tokens().build().map_err(|error| unset(&error))
    }

    fn builder(&self, cx: &Context) -> accredit::AgentBuilder {
        let builder = Agent::builder(&self.issuer, &self.client_id, self.secret.clone());
        match cx.flags.ca_file.as_ref().filter(|file| !file.is_empty()) {
            Some(file) => builder.authorities(file),
            None => builder,
        }
    }
}

fn unset(error: &AgentSetupError) -> Failure {
    Failure::usage("the instance cannot be set up", &error.to_string(), "check --url and --ca-file")
}

/// What there is while the command runs.
struct Running {
    started: Started,
    _socket: tokio::task::JoinSet<()>,
    _folder: TempDir,
}

impl Running {
    /// How the command ended. The socket goes with it.
    async fn ended(self) -> u8 {
        self.started.ended().await
    }
}

/// Gets the first certificate, opens the socket and starts the command.
async fn started(
    args: &Run,
    born: &Born,
    cx: &Context,
) -> Result<(Running, Arc<Identity>), Failure> {
    let bound = born.builder(cx).build().map_err(|error| unset(&error))?;
    let bound = bound.naming(args.dns_name.iter().map(String::as_str));
    let identity = Identity::begin(bound, born.agent(cx)?).await.map_err(|error| {
        let hint = "see `accredit doctor`, and that the agent is active";
        Failure::new(Exit::Failure, "run", "the instance got no identity", &error.to_string(), hint)
    })?;
    let folder = tempfile::Builder::new().prefix("accredit-").tempdir().map_err(|error| {
        Failure::file("no folder for the socket could be made", &error, "set TMPDIR to one")
    })?;
    let path = folder.path().join(accredit_edge::FILE_NAME);
    let socket = Socket::bind(&path).map_err(|error| {
        let hint = "set TMPDIR to a short path on this machine";
        Failure::new(Exit::Failure, "run", "the socket was not opened", &error.to_string(), hint)
    })?;
    child::take_in_orphans()?;
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let door = Arc::new(Tree::new(Arc::clone(&identity), own, child::user()));
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { socket.serve(door).await });
    let (kept, followed) = (Arc::clone(&identity), Arc::clone(&identity));
    tasks.spawn(async move { kept.keep().await });
    tasks.spawn(async move { followed.follow().await });
    let started = Started::new(&args.command, &environment(&path))?;
    Ok((Running { started, _socket: tasks, _folder: folder }, identity))
}

/// What the command finds in its environment.
fn environment(socket: &Path) -> [(&'static str, OsString); 2] {
    let mut uri = OsString::from("unix://");
    uri.push(socket);
    [(SPIFFE_ENDPOINT_SOCKET, uri), (ACCREDIT_SOCKET, socket.as_os_str().to_owned())]
}

/// Ends the instance. That it was not ended is said: it lives until its time is over.
async fn end(identity: &Identity, born: &Born, cx: &Context) {
    let mut last = None;
    for tried in 1..=END_TRIES_MAX {
        match identity.end("its command is over").await {
            // Or it was ended before.
            Ok(()) | Err(accredit::AgentError::Refused(_)) => return,
            Err(error) => last = Some(error),
        }
        if tried < END_TRIES_MAX {
            child::pause(END_TRIED_EVERY).await;
        }
    }
    if let Some(error) = last {
        cx.out.warn(&format!(
            "{} was not ended: {error}; `accredit revoke {}` does it",
            born.id, born.id
        ));
    }
}
