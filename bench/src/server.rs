//! The programs under measurement as child processes, and what is registered with the real one.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use accredit_wire::crypto::{Algorithm, PrivateKey};
use accredit_wire::jose::b64url_encode;
use accredit_wire::jose::jwk::{Jwk, JwkSet};
use accredit_wire::x509::request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::client::{Client, text};
use crate::plan::{self, Method, Plan};
use crate::{Answer, ambient};

/// How long a program may take to start or to stop.
const START_TIME_MAX: Duration = Duration::from_secs(20);
/// The store's file in its folder.
const FILE: &str = "accredit.db";
/// Between two looks at whether the server is ready.
const READY_EVERY: Duration = Duration::from_millis(1);
/// The resource that everything is for.
pub(crate) const RESOURCE: &str = "crm";
/// Who is called and calls on, and who calls first.
const WORKER: &str = "worker";
const PLANNER: &str = "planner";
/// Requests for certificates, each of a key of its own.
const CSRS: usize = 64;
/// Connections on which what is needed beforehand is got.
const FETCHERS: usize = 32;
/// Its audience.
pub(crate) const AUDIENCE: &str = "https://crm.bench.example";

/// A child process, killed when dropped.
pub(crate) struct Process {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Process {
    /// Starts a program and reads the first line that it prints.
    pub(crate) fn start(program: &Path, args: &[&str]) -> Answer<(Self, String)> {
        let name = program.display();
        let mut process = Self::spawn(Command::new(program).args(args))?;
        let line = process.line().map_err(|why| format!("{name} {}: {why}", args.join(" ")))?;
        Ok((process, line))
    }

    /// Starts a program.
    fn spawn(command: &mut Command) -> Answer<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command.spawn().map_err(|error| format!("{name}: {error}"))?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        Ok(Self { child, said: BufReader::new(stdout) })
    }

    /// Ends its standard input and reads the next line that it prints.
    pub(crate) fn finish(&mut self) -> Answer<String> {
        drop(self.child.stdin.take());
        self.line()
    }

    fn line(&mut self) -> Answer<String> {
        let mut line = String::new();
        self.said.read_line(&mut line).map_err(|error| error.to_string())?;
        if line.is_empty() {
            Err("it ended without a word".into())
        } else {
            Ok(line.trim_end().into())
        }
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The real server on a new data folder.
pub(crate) struct Server {
    process: Process,
    data: PathBuf,
    /// Whether the folder stays.
    kept: bool,
    /// From the start of the process until `/readyz` said yes.
    pub(crate) ready_after: Duration,
    /// `127.0.0.1:PORT`.
    pub(crate) address: String,
    /// The organization's issuer.
    pub(crate) issuer: String,
    /// Where it tells its metrics.
    metrics: String,
    admin: String,
    /// What it serves, where that is a database.
    founded: Option<Founded>,
}

/// An installation on a database.
#[derive(Clone, Serialize, Deserialize)]
struct Founded {
    data: PathBuf,
    address: String,
    config: String,
    issuer: String,
    admin: String,
    store: String,
}

impl Server {
    /// Starts `accredit dev` on a folder below `work` that is new.
    pub(crate) fn start(accredit: &Path, work: &Path) -> Answer<Self> {
        let data = work.join(format!("data-{:016x}", ambient::Numbers::fresh().next()));
        std::fs::create_dir_all(&data).map_err(|e| format!("{}: {e}", data.display()))?;
        Self::start_on(accredit, data, "127.0.0.1:0")
    }

    /// Starts `accredit dev` on a folder that stays, where it was founded before, if it was.
    pub(crate) fn start_kept(accredit: &Path, data: &Path, issuer: Option<&str>) -> Answer<Self> {
        std::fs::create_dir_all(data).map_err(|e| format!("{}: {e}", data.display()))?;
        let founded_at = issuer.and_then(|issuer| issuer.split('/').nth(2));
        let listen = founded_at.unwrap_or("127.0.0.1:0");
        let mut server = Self::start_on(accredit, data.to_owned(), listen)?;
        server.kept = true;
        Ok(server)
    }

    fn start_on(accredit: &Path, data: PathBuf, listen: &str) -> Answer<Self> {
        let begun = ambient::instant();
        let (folder, metrics) = (data.to_string_lossy(), free_address()?);
        let own = ["dev", "--listen", listen, "--metrics-listen", &metrics];
        let args = [&own[..], &["--data", &folder, "--output", "json"]].concat();
        let (process, line) = Process::start(accredit, &args)?;
        let told: Value = serde_json::from_str(&line).map_err(|e| format!("{e}: {line}"))?;
        let url = text(&told, "url")?;
        let address = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let ready_after = ready(&address, begun)?;
        let admin = text(&told, "admin_token")?;
        let issuer = text(&told, "issuer")?;
        let (kept, founded) = (false, None);
        Ok(Self { process, data, kept, ready_after, address, issuer, metrics, admin, founded })
    }

    /// Sets an installation up in a new folder below `work`, on a database or else in a file there, and
    /// serves it.
    pub(crate) fn start_at(accredit: &Path, work: &Path, database: Option<&str>) -> Answer<Self> {
        let data = work.join(format!("data-{:016x}", ambient::Numbers::fresh().next()));
        let (folder, address) = (data.to_string_lossy().into_owned(), free_address()?);
        let url = format!("http://{address}");
        let own = ["init", "--data", &folder, "--org", "dev"];
        let on: Vec<&str> = database.iter().flat_map(|store| ["--store", store]).collect();
        let reached = ["--public-url", &url, "--listen", &address, "--output", "json"];
        let mut init = Command::new(accredit);
        init.args([&own[..], &on, &reached].concat()).stdin(Stdio::null()).stderr(Stdio::inherit());
        let told = init.output().map_err(|error| error.to_string())?.stdout;
        let founded: Value = serde_json::from_slice(&told).map_err(|e| format!("init: {e}"))?;
        let founded = Founded {
            data,
            address,
            config: text(&founded, "config")?,
            issuer: text(&founded, "issuer")?,
            admin: text(&founded, "admin_token")?,
            store: database.map_or_else(|| format!("sqlite:{folder}/{FILE}"), str::to_owned),
        };
        Self::serve(accredit, founded)
    }

    /// Serves an installation that was [kept](Self::keep), whose database is at another address now.
    pub(crate) fn start_founded(accredit: &Path, file: &Path, store: &str) -> Answer<Self> {
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
        let text = std::fs::read(file).map_err(|error| failed(&error))?;
        let mut founded: Founded = serde_json::from_slice(&text).map_err(|error| failed(&error))?;
        store.clone_into(&mut founded.store);
        let mut server = Self::serve(accredit, founded)?;
        server.kept = true;
        Ok(server)
    }

    /// Lets it outlast this run, and writes down what it takes to serve it again.
    pub(crate) fn keep(&mut self, file: &Path) -> Answer<()> {
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
        let founded = self.founded.as_ref().ok_or("no installation on a database")?;
        let text = serde_json::to_vec(founded).map_err(|error| failed(&error))?;
        std::fs::write(file, text).map_err(|error| failed(&error))?;
        self.kept = true;
        Ok(())
    }

    /// One more node of the same installation, at an address of its own.
    pub(crate) fn node(&self, accredit: &Path) -> Answer<Self> {
        let founded = self.founded.clone().ok_or("no store that nodes could share")?;
        let mut node = Self::serve(accredit, Founded { address: free_address()?, ..founded })?;
        // The folder is the first one's.
        node.kept = true;
        Ok(node)
    }

    fn serve(accredit: &Path, founded: Founded) -> Answer<Self> {
        let (data, address) = (founded.data.clone(), founded.address.clone());
        let (begun, metrics) = (ambient::instant(), free_address()?);
        let own = ["serve", "--config", &founded.config, "--store", &founded.store];
        let reached = ["--listen", &address, "--metrics-listen", &metrics];
        let mut command = Command::new(accredit);
        command.args([&own[..], &reached].concat()).env("ACCREDIT_LOG_LEVEL", "warn");
        let process = Process::spawn(&mut command)?;
        let ready_after = ready(&address, begun)?;
        let (issuer, admin) = (founded.issuer.clone(), founded.admin.clone());
        let founded = Some(founded);
        Ok(Self {
            process,
            data,
            kept: false,
            ready_after,
            address,
            issuer,
            metrics,
            admin,
            founded,
        })
    }

    /// Stops it as an operator would, and starts it again on the same folder.
    pub(crate) fn restart(&mut self, accredit: &Path) -> Answer<()> {
        self.stop()?;
        // The folder goes on to the new one; the old one must not remove it.
        let kept = std::mem::replace(&mut self.kept, true);
        let (data, address) = (self.data.clone(), self.address.clone());
        *self = match self.founded.clone() {
            Some(founded) => Self::serve(accredit, founded)?,
            None => Self::start_on(accredit, data, &address)?,
        };
        self.kept = kept;
        Ok(())
    }

    /// Stops it, copies its installation to another store, which is empty, and serves that. How long
    /// the copy took, with its comparison.
    pub(crate) fn move_to(&mut self, accredit: &Path, store: &str) -> Answer<Duration> {
        self.stop()?;
        let founded = self.founded.as_mut().ok_or("no installation that could be moved")?;
        let (begun, root) = (ambient::instant(), self.data.join("root.key"));
        let mut copy = Command::new(accredit);
        copy.args(["store", "copy", "--from", &founded.store, "--to", store, "--root-key"]);
        copy.arg(root).stdin(Stdio::null()).stdout(Stdio::null());
        let status = copy.status().map_err(|error| error.to_string())?;
        if !status.success() {
            return Err(format!("the store was not copied: {status}"));
        }
        let took = begun.elapsed();
        store.clone_into(&mut founded.store);
        for end in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(self.data.join(format!("{FILE}{end}")));
        }
        let kept = std::mem::replace(&mut self.kept, true);
        *self = Self::serve(accredit, founded.clone())?;
        self.kept = kept;
        Ok(took)
    }

    fn stop(&mut self) -> Answer<()> {
        let mut stop = Command::new("kill");
        stop.arg("-TERM").arg(self.process.pid().to_string());
        let status = stop.status().map_err(|error| format!("kill: {error}"))?;
        let ended = self.process.child.wait().map_err(|error| error.to_string())?;
        if !status.success() || !ended.success() {
            return Err(format!("the server did not stop well: {ended}"));
        }
        Ok(())
    }

    /// A command of the binary that talks to this server.
    pub(crate) fn command(&self, accredit: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(accredit);
        command.args(args).stdin(Stdio::null());
        command.env("ACCREDIT_URL", format!("http://{}", self.address));
        command.env("ACCREDIT_TOKEN", &self.admin);
        command
    }

    /// Bytes that its folder takes on the disk.
    pub(crate) fn size(&self) -> Answer<u64> {
        let failed = |error: std::io::Error| format!("{}: {error}", self.data.display());
        let mut sum = 0;
        for entry in std::fs::read_dir(&self.data).map_err(failed)? {
            sum += entry.and_then(|entry| entry.metadata()).map_err(failed)?.len();
        }
        Ok(sum)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The sum of a metric's values: told by what the server keeps in memory, so that looking
    /// makes it do nothing.
    pub(crate) fn metrics(&self, names: [&str; 2]) -> Answer<[u64; 2]> {
        let told = Client::connect(&self.metrics, "")?.body("/metrics")?;
        let sum = |name: &str| {
            let of_name = |line: &&str| {
                line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']))
            };
            let values = told.lines().filter(of_name).filter_map(|line| line.rsplit(' ').next());
            let values: Vec<f64> = values.filter_map(|value| value.parse().ok()).collect();
            let none = || format!("there is no metric `{name}`");
            (!values.is_empty()).then(|| values.iter().sum::<f64>() as u64).ok_or_else(none)
        };
        Ok([sum(names[0])?, sum(names[1])?])
    }

    /// A connection with the administrator's key.
    pub(crate) fn admin(&self) -> Answer<Client> {
        Client::connect(&self.address, &format!("Bearer {}", self.admin))
    }

    /// Path of the token endpoint.
    pub(crate) fn token_path(&self) -> String {
        let path = self.issuer.find(&self.address).map(|at| at + self.address.len());
        let path = path.and_then(|at| self.issuer.get(at..)).unwrap_or("/o/dev");
        format!("{path}/oauth/token")
    }

    /// Registers the resource and gives it a secret of its own.
    pub(crate) fn resource(&self) -> Answer<String> {
        let mut admin = self.admin()?;
        let resource = json!({"name": RESOURCE, "audience": AUDIENCE, "actions": ["read"]});
        admin.post("/v1/resources", &resource)?;
        let credential = json!({"resource": RESOURCE, "type": "client-secret"});
        text(&admin.post("/v1/credentials", &credential)?, "client_secret")
    }

    /// Registers clients and learns how long their tokens are.
    pub(crate) fn plan(&self, method: Method, clients: usize) -> Answer<Plan> {
        self.resource()?;
        let mut admin = self.admin()?;
        let mut registered = Vec::new();
        for number in 0..clients {
            let name = format!("agent-{number:04}");
            let id = agent(&mut admin, &name)?;
            registered.push(match method {
                Method::Basic => with_secret(&mut admin, &name, id)?,
                Method::Assertion => with_key(&mut admin, &name, id)?,
                Method::Exchange | Method::Certificate => break,
            });
        }
        match method {
            Method::Exchange => registered = workers(&mut admin)?,
            Method::Certificate => registered = self.instances(&mut admin, clients)?,
            Method::Basic | Method::Assertion => {}
        }
        let mut plan = Plan {
            method,
            path: self.token_path(),
            issuer: self.issuer.clone(),
            scope: format!("{RESOURCE}:read"),
            clients: registered,
            token_bytes: 0,
            subjects: Vec::new(),
            subject_key: String::new(),
            csrs: Vec::new(),
        };
        if method == Method::Certificate {
            plan.path = plan.path.replace("/oauth/token", "/oauth/certificates");
            plan.csrs = (0..CSRS).map(|_| csr()).collect::<Answer<_>>()?;
        }
        if method == Method::Exchange {
            plan.subjects = self.subjects(1)?;
            plan.subject_key = self.token_key()?;
        }
        plan.token_bytes = first_token(&plan, &self.address)?.len();
        Ok(plan)
    }

    /// Registers so many instances of one agent.
    fn instances(&self, admin: &mut Client, count: usize) -> Answer<Vec<plan::Client>> {
        agent(admin, PLANNER)?;
        at_once(count, |left, own| {
            let mut admin = self.admin()?;
            while left() {
                let made = admin.post("/v1/instances", &json!({"agent": PLANNER}))?;
                let (id, secret) = (text(&made, "client_id")?, text(&made, "client_secret")?);
                let kid = text(&made, "id")?;
                own.push(plan::Client { id, secret, key: String::new(), kid });
            }
            Ok(())
        })
    }

    /// Tokens that the planner sends to the worker, each another.
    pub(crate) fn subjects(&self, count: usize) -> Answer<Vec<String>> {
        let mut admin = self.admin()?;
        let made = admin.post("/v1/instances", &json!({"agent": PLANNER}))?;
        let (id, secret) = (text(&made, "client_id")?, text(&made, "client_secret")?);
        let basic = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
        at_once(count, |left, own| {
            let mut client = Client::connect(&self.address, &basic)?;
            let body = format!("grant_type=client_credentials&scope={WORKER}%3Arun");
            while left() {
                own.push(text(&client.post_form(&self.token_path(), &body)?, "access_token")?);
            }
            Ok(())
        })
    }

    /// The public key that signs tokens.
    fn token_key(&self) -> Answer<String> {
        let path = self.token_path().replace("/oauth/token", "/.well-known/jwks.json");
        let set = Client::connect(&self.address, "")?.body(&path)?;
        let set = JwkSet::parse(set.as_bytes()).map_err(|error| error.to_string())?;
        let key = set.keys().first().ok_or("no key signs tokens")?;
        Ok(b64url_encode(key.key.bytes()))
    }

    /// Registers an instance and gets a token for it: the instance's id and the token.
    pub(crate) fn instance_token(
        &self,
        admin: &mut Client,
        agent: &str,
    ) -> Answer<(String, String)> {
        let instance = admin.post("/v1/instances", &json!({"agent": agent}))?;
        let (id, secret) = (text(&instance, "client_id")?, text(&instance, "client_secret")?);
        let basic = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
        let mut client = Client::connect(&self.address, &basic)?;
        let body = format!("grant_type=client_credentials&scope={RESOURCE}%3Aread");
        let answer = client.post_form(&self.token_path(), &body)?;
        Ok((text(&instance, "id")?, text(&answer, "access_token")?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Killed first: the folder of a running server cannot be cleaned up.
        let _ = self.process.child.kill();
        let _ = self.process.child.wait();
        if !self.kept {
            let _ = std::fs::remove_dir_all(&self.data);
        }
    }
}

/// Makes `count` things over several connections. `make` goes on while what it is given says that
/// there are any left.
fn at_once<T: Send>(
    count: usize,
    make: impl Fn(&dyn Fn() -> bool, &mut Vec<T>) -> Answer<()> + Sync,
) -> Answer<Vec<T>> {
    let (left, made) = (AtomicUsize::new(count), Mutex::new(Vec::with_capacity(count)));
    let one_less = |left: usize| left.checked_sub(1);
    let any = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok();
    let work = || -> Answer<()> {
        let mut own = Vec::new();
        make(&any, &mut own)?;
        made.lock().map_err(|error| error.to_string())?.append(&mut own);
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..FETCHERS.min(count)).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| "a maker panicked".to_owned())?)
    })?;
    made.into_inner().map_err(|error| error.to_string())
}

/// A request for a certificate of a key that is new, escaped for a form.
fn csr() -> Answer<String> {
    let (key, _) = PrivateKey::generate(Algorithm::Es256).map_err(|e| e.to_string())?;
    let csr = request::write(&key).map_err(|e| e.to_string())?;
    Ok(form_urlencoded::byte_serialize(csr.as_bytes()).collect())
}

/// A worker that is called and calls on: a resource, the agent that serves it, with one instance,
/// and a planner that may call it and pass on what it may.
fn workers(admin: &mut Client) -> Answer<Vec<plan::Client>> {
    let resource = json!({"name": WORKER, "audience": "https://worker.bench.example",
        "actions": ["run"]});
    admin.post("/v1/resources", &resource)?;
    let allow = [format!("{RESOURCE}:read"), format!("{WORKER}:run")];
    for name in [WORKER, PLANNER] {
        let agent = json!({
            "name": name, "owner_email": "owner@bench.example", "purpose": "to be measured",
            "allow": allow, "may_delegate": true, "activate": true,
        });
        admin.post("/v1/agents", &agent)?;
    }
    admin.patch(&format!("/v1/resources/{WORKER}"), &json!({"agent": WORKER}))?;
    let made = admin.post("/v1/instances", &json!({"agent": WORKER}))?;
    let (id, secret) = (text(&made, "client_id")?, text(&made, "client_secret")?);
    Ok(vec![plan::Client { id, secret, key: String::new(), kid: String::new() }])
}

/// Registers an active agent that may read the resource: its `client_id`.
pub(crate) fn agent(admin: &mut Client, name: &str) -> Answer<String> {
    let agent = json!({
        "name": name, "owner_email": "owner@bench.example", "purpose": "to be measured",
        "allow": [format!("{RESOURCE}:read")], "activate": true,
    });
    text(&admin.post("/v1/agents", &agent)?, "client_id")
}

/// An address that nobody listened at just now.
fn free_address() -> Answer<String> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0");
    let address = listener.and_then(|listener| listener.local_addr());
    address.map(|address| address.to_string()).map_err(|error| error.to_string())
}

/// Waits for `/readyz` to say yes; the time since `begun`.
fn ready(address: &str, begun: Instant) -> Answer<Duration> {
    loop {
        let status = Client::connect(address, "").and_then(|mut client| client.get("/readyz"));
        let took = begun.elapsed();
        match status {
            Ok(200) => return Ok(took),
            other if took > START_TIME_MAX => return Err(format!("not ready: {other:?}")),
            _ => ambient::sleep(READY_EVERY),
        }
    }
}

/// Gives an agent a secret.
pub(crate) fn with_secret(admin: &mut Client, name: &str, id: String) -> Answer<plan::Client> {
    let body = json!({"agent": name, "type": "client-secret"});
    let secret = text(&admin.post("/v1/credentials", &body)?, "client_secret")?;
    Ok(plan::Client { id, secret, key: String::new(), kid: String::new() })
}

fn with_key(admin: &mut Client, name: &str, id: String) -> Answer<plan::Client> {
    let (key, der) = PrivateKey::generate(Algorithm::Es256).map_err(|e| e.to_string())?;
    let public = key.public().map_err(|e| e.to_string())?;
    let kid = format!("key-of-{name}");
    let jwk = Jwk::new(public, Some(kid.clone())).map_err(|e| e.to_string())?;
    let body = json!({"agent": name, "type": "public-key", "jwk": jwk});
    admin.post("/v1/credentials", &body)?;
    Ok(plan::Client { id, secret: String::new(), key: b64url_encode(&der), kid })
}

/// The first client's token, as a server at `address` gives it.
pub(crate) fn first_token(plan: &Plan, address: &str) -> Answer<String> {
    let client = plan.clients.first().ok_or("a plan without clients")?;
    let request = match plan.method {
        Method::Basic => plan.basic(client, address),
        Method::Assertion => plan.assertions(1, address)?.pop().unwrap_or_default(),
        Method::Exchange => plan.exchanges(address).pop().unwrap_or_default(),
        Method::Certificate => plan.certified(
            client,
            plan.csrs.first().ok_or("no request for a certificate")?,
            address,
        ),
    };
    let request = String::from_utf8(request).map_err(|error| error.to_string())?;
    let (head, body) = request.split_once("\r\n\r\n").ok_or("a request without a body")?;
    let basic = head.lines().find_map(|line| line.strip_prefix("Authorization: "));
    let mut client = Client::connect(address, basic.unwrap_or_default())?;
    text(&client.post_form(&plan.path, body)?, plan.method.answered())
}
