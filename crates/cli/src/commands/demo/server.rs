//! The real server: this same program, started once more as `accredit dev`.
//!
//! Whatever happens to the demo, the process ends with the value that holds it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use accredit_wire::secret::Secret;
use serde::Deserialize;

use super::clock;

/// How long the server may take to listen.
const START_TIME_MAX: Duration = Duration::from_secs(15);
/// How long the server may take to stop once it was told to.
const STOP_TIME_MAX: Duration = Duration::from_secs(15);
/// The longest line in which the server says where it is, in bytes.
const READY_BYTES_MAX: u64 = 64 * 1024;
/// How much of the end of the server's log is shown where it did not start, in characters.
const LOG_SHOWN_CHARS_MAX: usize = 300;

/// What the server says once it listens (`accredit dev --output json`).
#[derive(Deserialize)]
pub(super) struct Ready {
    /// Its address.
    pub(super) url: String,
    /// The issuer of its organization.
    pub(super) issuer: String,
    admin_token: String,
}

impl Ready {
    /// The administrator's key.
    pub(super) fn admin_token(&self) -> Secret {
        Secret::new(self.admin_token.clone())
    }
}

/// A running server. Dropping it kills it.
pub(super) struct ServerProcess {
    child: Child,
    /// Kept open, so that nothing the server prints later fails.
    stdout: Option<BufReader<ChildStdout>>,
    log: PathBuf,
}

impl ServerProcess {
    /// Starts a server with its data and its log in `folder`, which may fetch the keys of the identity
    /// provider there, and waits until it listens.
    pub(super) async fn start(folder: &Path, idp: SocketAddr) -> Result<(Self, Ready), String> {
        let cannot = |error: std::io::Error| format!("the server could not be started: {error}");
        let program = std::env::current_exe().map_err(cannot)?;
        let log = folder.join("server.log");
        let stderr = File::create(&log).map_err(cannot)?;
        let mut child = Command::new(program)
            .args(["dev", "--listen", "127.0.0.1:0", "--output", "json", "--data"])
            .arg(folder.join("server"))
            .env("ACCREDIT_OUTBOUND_LOOPBACK", idp.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .map_err(cannot)?;
        let stdout = child.stdout.take();
        let mut server = Self { child, stdout: None, log };
        let stdout = stdout.ok_or("the server has no standard output")?;
        let reading = tokio::task::spawn_blocking(move || first_line(stdout));
        let read = clock::within(START_TIME_MAX, "the server's first line", reading).await?;
        let (line, stdout) = read.map_err(|error| error.to_string())?.map_err(cannot)?;
        server.stdout = Some(stdout);
        match serde_json::from_str(&line) {
            Ok(ready) => Ok((server, ready)),
            Err(_) => Err(format!("the server did not start: {}", server.end_of_log())),
        }
    }

    /// Tells the server to stop and waits for its end: how long it took, and how it ended.
    pub(super) async fn stop(&mut self) -> Result<(Duration, ExitStatus), String> {
        let told_at = clock::now();
        terminate(self.child.id()).await?;
        let ended = clock::until(STOP_TIME_MAX, "the server's end", || self.has_ended());
        ended.await?;
        let status = self.child.try_wait().ok().flatten().ok_or("the server's end is not known")?;
        Ok((since(told_at), status))
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    fn end_of_log(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let skipped = text.chars().count().saturating_sub(LOG_SHOWN_CHARS_MAX);
        text.chars().skip(skipped).collect()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        if !self.has_ended() {
            // Killed in the moment of its own end is as good.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn first_line(stdout: ChildStdout) -> std::io::Result<(String, BufReader<ChildStdout>)> {
    let mut stdout = BufReader::new(stdout);
    let mut line = String::new();
    stdout.by_ref().take(READY_BYTES_MAX).read_line(&mut line)?;
    Ok((line, stdout))
}

/// Sends SIGTERM. The standard library can only kill, and calling the system here would be unsafe
/// code, so the shell's own `kill` does it.
async fn terminate(process: u32) -> Result<(), String> {
    let telling = tokio::task::spawn_blocking(move || {
        let mut shell = Command::new("sh");
        shell.args(["-c", "kill -TERM \"$1\"", "sh", &process.to_string()]).status()
    });
    match telling.await.map_err(|error| error.to_string())? {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("SIGTERM was not sent: `kill` ended with {status}")),
        Err(error) => Err(format!("SIGTERM was not sent: {error}")),
    }
}

fn since(earlier: Instant) -> Duration {
    clock::now().duration_since(earlier)
}
