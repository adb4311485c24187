//! TLS to the server: who does not prove to be it is not written to.

use std::path::Path;
use std::sync::LazyLock;

use accredit_store::place::Place;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::cluster;

/// A server that is only reached with TLS, as `localhost`, and the authorities' files.
struct Reached {
    port: u16,
    folder: std::path::PathBuf,
}

static REACHED: LazyLock<Reached> = LazyLock::new(|| {
    // Free again as soon as it is known.
    let address = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    let port = address.expect("a port").port();
    let options = ["-c", "listen_addresses=localhost", "-c", "ssl=on", "-p", &port.to_string()];
    let folder = cluster::start_with(&options, &|folder| {
        let ours = authority();
        let key = KeyPair::generate().expect("a key");
        let names = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let certificate = names.signed_by(&key, &ours).expect("signed");
        let write = |name: &str, text: String| cluster::give(&folder.join(name), &text);
        write("data/server.crt", certificate.pem());
        write("data/server.key", key.serialize_pem());
        write("ca.pem", ours.pem());
        write("other.pem", authority().pem());
        let hba = "local all all trust\nhostssl all all 127.0.0.1/32 trust\n\
                   hostssl all all ::1/128 trust\n";
        write("data/pg_hba.conf", hba.to_owned());
    });
    Reached { port, folder }
});

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed")
}

/// What comes of asking for a store: nothing, or why not.
fn asked(host: &str, mode: &str, authority: Option<&str>) -> Result<bool, String> {
    let Reached { port, folder } = &*REACHED;
    let url = format!("postgres://accredit@{host}:{port}/postgres?sslmode={mode}");
    let target: accredit_store::driver::target::Target = url.parse().expect("a URL");
    let file = authority.map(|name| folder.join(name));
    let place = Place::Database(Box::new(target.with_authorities(file)));
    place.holds_store().map_err(|fault| fault.to_string())
}

#[test]
fn a_server_is_believed_by_its_certificate_for_its_name_alone() {
    assert_eq!(asked("localhost", "verify-full", Some("ca.pem")), Ok(false));
    assert_eq!(asked("localhost", "require", None), Ok(false), "whoever answers, but encrypted");
    for (host, mode, authority, word) in [
        ("localhost", "verify-full", Some("other.pem"), "invalid peer certificate"),
        ("localhost", "verify-full", None, "UnknownIssuer"),
        ("127.0.0.1", "verify-full", Some("ca.pem"), "not valid for name"),
        ("localhost", "verify-full", Some("data/server.key"), "no certificate"),
        ("localhost", "verify-full", Some("none.pem"), "cannot be read"),
        ("localhost", "disable", None, "no pg_hba.conf entry"),
    ] {
        let why = asked(host, mode, authority).expect_err(word);
        assert!(why.contains(word), "{host} {mode} {authority:?}: {why}");
    }
    assert!(Path::new(&REACHED.folder).exists());
}
