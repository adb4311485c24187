//! Whoever knows X.509 alone hears of a kill: OpenSSL by lists and by questions, nginx and HAProxy by the
//! file that the command line writes. The sibling of what was killed works on with all of them.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::stage::binary::{self, Ran, is_there};
use crate::stage::cast::{Client, text};
use crate::stage::server::free_port;
use crate::stage::{Cast, Server, until};

/// Made anew within 5 seconds of a revocation (docs/formats.md, "Certificates"), and some for a busy
/// machine: what somebody keeps until it is over comes on top, and here nobody does.
pub(crate) const SAYS_WITHIN: Duration = Duration::from_secs(10);
const STARTS_WITHIN: Duration = Duration::from_secs(20);

fn run(program: &str, args: &[&str]) -> Ran {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null());
    binary::run(command)
}

fn openssl(args: &[&str]) -> Ran {
    run("openssl", args)
}

/// An instance with its certificate, in files.
pub(crate) struct Holder {
    pub(crate) client: Client,
    pub(crate) key: String,
    pub(crate) chain: String,
    /// The certificate and its intermediate, alone.
    pub(crate) leaf: String,
    pub(crate) issuer: String,
}

pub(crate) fn holder(server: &Server, client: Client, name: &str) -> Holder {
    let file = |ending: &str| server.folder().file(&format!("{name}.{ending}"));
    let (secret, key, chain) = (file("secret"), file("key"), file("pem"));
    std::fs::write(&secret, &client.secret).expect("written");
    let who = ["--org", &*server.org, "--client-id", &*client.agent, "--secret-file", &*secret];
    let to = ["--key", &*key, "--certificate", &*chain];
    server.cli(&[&["certificate", "issue"][..], &who, &to].concat()).good();
    let both = std::fs::read_to_string(&chain).expect("a chain");
    let mut blocks = both.split_inclusive("-----END CERTIFICATE-----\n");
    let (leaf, issuer) = (file("leaf.pem"), file("issuer.pem"));
    for path in [&leaf, &issuer] {
        std::fs::write(path, blocks.next().expect("a certificate")).expect("written");
    }
    Holder { client, key, chain, leaf, issuer }
}

/// What OpenSSL says of a certificate, by lists: those in a file, or the one that it fetches itself.
fn verified(bundle: &str, by: &[&str], holder: &Holder) -> Ran {
    let words = ["verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", bundle];
    let of = ["-untrusted", &*holder.issuer, &*holder.leaf];
    openssl(&[&words[..], by, &of].concat())
}

/// What is answered to OpenSSL, asking where the certificate says.
fn asked(bundle: &str, holder: &Holder) -> String {
    let uri = openssl(&["x509", "-in", &holder.leaf, "-noout", "-ocsp_uri"]).good();
    let words = ["ocsp", "-issuer", &*holder.issuer, "-cert", &*holder.leaf, "-CAfile", bundle];
    // `-sha1` is what it says where nothing is said; its nonce is read and not answered.
    let ran = openssl(&[&words[..], &["-url", uri.trim()]].concat());
    assert!(ran.err.contains("Response verify OK"), "{ran:?}");
    ran.good()
}

/// A server with TLS in front of nothing; ended when nobody needs it.
struct Proxy {
    child: Child,
    port: u16,
}

impl Proxy {
    async fn new(program: &str, args: &[&str], port: u16) -> Self {
        let child = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn();
        let proxy = Self { child: child.expect("it runs"), port };
        let listens = async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok();
        until(&format!("{program} listens"), STARTS_WITHIN, listens).await;
        proxy
    }

    /// Whether it serves whoever shows a certificate: the status, 0 where there is no answer.
    fn serves(&self, holder: &Holder) -> u16 {
        let url = format!("https://127.0.0.1:{}/", self.port);
        let shows = ["--cert", &*holder.chain, "--key", &*holder.key];
        // Whom it is with is not what is looked at here.
        let words = ["-sk", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "10", &*url];
        let ran = run("curl", &[&words[..], &shows].concat());
        ran.out.trim().parse().unwrap_or_default()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a server is given: what it is, whom it trusts, and the lists.
struct Files {
    own: Holder,
    bundle: String,
    lists: String,
}

async fn nginx(server: &Server, files: &Files) -> Proxy {
    let (port, folder) = (free_port(), server.folder().path().display().to_string());
    let Files { own, bundle, lists } = files;
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("{what}_temp_path {folder}/nginx_{what};\n"))
        .concat();
    let config = format!(
        "daemon off;\nmaster_process off;\npid {folder}/nginx.pid;\nerror_log {folder}/nginx.log;\n\
         events {{}}\nhttp {{\naccess_log off;\n{temporary}server {{\n\
         listen 127.0.0.1:{port} ssl;\nssl_certificate {};\nssl_certificate_key {};\n\
         ssl_client_certificate {bundle};\nssl_crl {lists};\nssl_verify_client on;\n\
         ssl_verify_depth 2;\nlocation / {{ return 200; }}\n}}\n}}\n",
        own.chain, own.key
    );
    let file = server.folder().file("nginx.conf");
    std::fs::write(&file, config).expect("written");
    let log = format!("{folder}/nginx.log");
    Proxy::new("nginx", &["-p", &folder, "-c", &file, "-e", &log], port).await
}

async fn haproxy(server: &Server, files: &Files) -> Proxy {
    let (port, Files { own, bundle, lists }) = (free_port(), files);
    let both = [&own.chain, &own.key].map(|file| std::fs::read_to_string(file).expect("a file"));
    let (chain, config) =
        (server.folder().file("haproxy.pem"), server.folder().file("haproxy.cfg"));
    std::fs::write(&chain, both.concat()).expect("written");
    let text = format!(
        "defaults\n  mode http\n  timeout client 10s\n  timeout connect 10s\n  timeout server 10s\n\
         frontend tls\n  bind 127.0.0.1:{port} ssl crt {chain} ca-file {bundle} crl-file {lists} \
         verify required\n  http-request return status 200\n"
    );
    std::fs::write(&config, text).expect("written");
    Proxy::new("haproxy", &["-db", "-f", &config], port).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stock_programs_refuse_a_killed_certificate_and_take_its_sibling() {
    if !is_there("openssl") {
        return;
    }
    let cast = Cast::new().await;
    let server = &cast.server;
    let agent = cast.bare_agent("planner").await;
    let mut holders = Vec::new();
    for name in ["dying", "living", "own"] {
        holders.push(holder(server, cast.instance_of(&agent).await, name));
    }
    let [dying, living, own] = <[Holder; 3]>::try_from(holders).ok().expect("three");
    let (bundle, lists) = (server.folder().file("bundle.pem"), server.folder().file("crl.pem"));
    std::fs::write(&bundle, server.cli(&["ca", "bundle"]).good()).expect("written");
    let fetch = || {
        let told = server.cli_json(&["ca", "crl", "-o", &lists]);
        assert_eq!(told["known_within"], 300);
        assert_eq!(text(&told, "url"), format!("{}/ca/crls", server.issuer));
        std::fs::read_to_string(&lists).expect("lists")
    };
    // Of the root, of the one that follows it, and of the intermediate.
    assert_eq!(fetch().matches("BEGIN X509 CRL").count(), 3);
    let in_file = ["-crl_check_all", "-CRLfile", &*lists];
    let fetched = ["-crl_check", "-crl_download"];
    for holder in [&dying, &living] {
        verified(&bundle, &in_file, holder).good();
        verified(&bundle, &fetched, holder).good();
        assert!(asked(&bundle, holder).contains(": good"));
    }
    let shown = openssl(&["x509", "-in", &dying.leaf, "-noout", "-text"]).good();
    for has in [format!("{}/ca/key_", server.issuer), format!("{}/ocsp", server.issuer)] {
        assert!(shown.contains(&has), "{has}: {shown}");
    }

    server.revoke(&dying.client.id).await;
    let began = Instant::now();
    until("OpenSSL hears of it", SAYS_WITHIN, async || {
        verified(&bundle, &fetched, &dying).code != 0
            && asked(&bundle, &dying).contains(": revoked")
    })
    .await;
    println!("a list and an answer told of a kill after {:?}", began.elapsed());
    let refused = verified(&bundle, &fetched, &dying);
    assert!(refused.err.contains("certificate revoked"), "{refused:?}");
    verified(&bundle, &fetched, &living).good();
    assert!(asked(&bundle, &living).contains(": good"));
    let before = std::fs::read_to_string(&lists).expect("lists");
    assert_ne!(fetch(), before);
    assert!(verified(&bundle, &in_file, &dying).err.contains("certificate revoked"));
    verified(&bundle, &in_file, &living).good();
    openssl(&["crl", "-in", &lists, "-noout", "-text"]).good();
    // Nor is another's good: no certificate has this number.
    let unknown = ["ocsp", "-issuer", &*dying.issuer, "-serial", "0x1234", "-CAfile", &*bundle];
    let url = format!("{}/ocsp", server.issuer);
    let unknown = openssl(&[&unknown[..], &["-url", &url]].concat());
    assert!(unknown.out.contains("unauthorized") || unknown.err.contains("unauthorized"));

    // Servers that are given the file.
    if !is_there("curl") {
        return;
    }
    let files = Files { own, bundle, lists };
    if is_there("nginx") {
        let nginx = nginx(server, &files).await;
        assert_eq!([nginx.serves(&living), nginx.serves(&dying)], [200, 400]);
    }
    if is_there("haproxy") {
        let haproxy = haproxy(server, &files).await;
        assert_eq!([haproxy.serves(&living), haproxy.serves(&dying)], [200, 0]);
    }
    // The list of before takes it: it is the list that refuses.
    std::fs::write(&files.lists, before).expect("written");
    if is_there("nginx") {
        assert_eq!(nginx(server, &files).await.serves(&dying), 200);
    }
    if is_there("haproxy") {
        assert_eq!(haproxy(server, &files).await.serves(&dying), 200);
    }
}
