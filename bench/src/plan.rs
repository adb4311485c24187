//! What is sent: the same requests to the real server and to the limit, made before the clock
//! starts.

use std::path::Path;

use accredit_wire::crypto::{Algorithm, PrivateKey};
use accredit_wire::jose::b64url_encode;
use accredit_wire::jose::jws::{ProtectedHeader, SigningInput};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::Answer;
use crate::ambient::{self, Numbers};

/// How long an assertion lives, seconds: longer than a round, shorter than the server's bound.
const ASSERTION_SECONDS: i64 = 240;

/// How clients authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Method {
    /// `client_secret_basic`.
    Basic,
    /// `private_key_jwt` with ES256; each request has an assertion of its own.
    Assertion,
    /// `client_secret_basic`, and a token to be exchanged (RFC 8693), another for each request.
    Exchange,
    /// `client_secret_basic`, and a request for a certificate (RFC 2986).
    Certificate,
}

impl Method {
    /// The member of an answer that holds what was asked for.
    pub(crate) const fn answered(self) -> &'static str {
        match self {
            Self::Basic | Self::Assertion | Self::Exchange => "access_token",
            Self::Certificate => "certificate",
        }
    }

    /// What an answer begins with.
    pub(crate) const fn beginning(self) -> &'static str {
        match self {
            Self::Basic | Self::Assertion | Self::Exchange => "{\"access_token\":\"",
            Self::Certificate => "{\"id\":\"",
        }
    }
}

/// Everything that both sides of a comparison and the load generator must know.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// How clients authenticate.
    pub(crate) method: Method,
    /// The token endpoint's path.
    pub(crate) path: String,
    /// Who issues: an assertion's audience.
    pub(crate) issuer: String,
    /// What is asked for.
    pub(crate) scope: String,
    /// Who asks. Connections take turns among them.
    pub(crate) clients: Vec<Client>,
    /// Length of a token of the real server: the limit's are as long.
    pub(crate) token_bytes: usize,
    /// Tokens to be exchanged, each once.
    #[serde(default)]
    pub(crate) subjects: Vec<String>,
    /// The key that signed them, uncompressed in base64url: the limit verifies them with it.
    #[serde(default)]
    pub(crate) subject_key: String,
    /// Requests for a certificate, PEM, escaped.
    #[serde(default)]
    pub(crate) csrs: Vec<String>,
}

/// A client and what it proves itself with.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Client {
    /// Its `client_id`.
    pub(crate) id: String,
    /// Its secret; empty for a client with a key.
    pub(crate) secret: String,
    /// Its private key, PKCS#8 in base64url; empty for a client with a secret.
    pub(crate) key: String,
    /// The name of that key, or of the instance that has the secret.
    pub(crate) kid: String,
}

impl Client {
    /// Its private key.
    pub(crate) fn private_key(&self) -> Answer<PrivateKey> {
        let der = accredit_wire::jose::b64url_decode(&self.key).map_err(|e| e.to_string())?;
        PrivateKey::from_pkcs8(Algorithm::Es256, &der).map_err(|e| e.to_string())
    }
}

impl Plan {
    /// Reads a plan that [`Plan::write`] wrote.
    pub(crate) fn read(path: &Path) -> Answer<Self> {
        let text = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
        serde_json::from_slice(&text).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// Writes it where the load generator and the limit find it.
    pub(crate) fn write(&self, path: &Path) -> Answer<()> {
        let text = serde_json::to_vec(self).map_err(|e| e.to_string())?;
        std::fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// One request with the client's secret.
    pub(crate) fn basic(&self, client: &Client, host: &str) -> Vec<u8> {
        let body = format!("grant_type=client_credentials&scope={}", escaped(&self.scope));
        self.request(host, &authorization(client), &body)
    }

    /// One request for a certificate, with the client's secret.
    pub(crate) fn certified(&self, client: &Client, csr: &str, host: &str) -> Vec<u8> {
        self.request(host, &authorization(client), &format!("csr={csr}"))
    }

    /// A request for each token that is to be exchanged, by the clients in turn.
    pub(crate) fn exchanges(&self, host: &str) -> Vec<Vec<u8>> {
        let grant = "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange";
        let kind = "urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token";
        let scope = escaped(&self.scope);
        let pairs = self.subjects.iter().zip(self.clients.iter().cycle());
        let requests = pairs.map(|(subject, client)| {
            let body = format!(
                "grant_type={grant}&scope={scope}&subject_token_type={kind}&subject_token={subject}"
            );
            self.request(host, &authorization(client), &body)
        });
        requests.collect()
    }

    /// `count` requests with an assertion each, for the clients in turn.
    pub(crate) fn assertions(&self, count: usize, host: &str) -> Answer<Vec<Vec<u8>>> {
        let mut numbers = Numbers::fresh();
        let mut signers = Vec::new();
        for client in &self.clients {
            let typ = "client-authentication+jwt";
            let header = ProtectedHeader::new(typ, Algorithm::Es256, Some(&client.kid));
            signers.push((client, client.private_key()?, header.map_err(|e| e.to_string())?));
        }
        let signed = signers.iter().cycle().take(count).map(|(client, key, header)| {
            let now = ambient::now().seconds();
            let (id, issuer, until) = (&client.id, &self.issuer, now + ASSERTION_SECONDS);
            let jti = b64url_encode(&numbers.ten());
            let claims = format!(
                r#"{{"iss":"{id}","sub":"{id}","aud":"{issuer}","iat":{now},"exp":{until},"jti":"{jti}"}}"#
            );
            let input =
                SigningInput::new(header, claims.as_bytes()).map_err(|e| e.to_string())?;
            let signature = key.sign(input.bytes()).map_err(|e| e.to_string())?;
            let assertion = input.finish(&signature);
            let kind = "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
            let scope = escaped(&self.scope);
            let body = format!(
                "client_id={id}&grant_type=client_credentials&scope={scope}\
                 &client_assertion_type={kind}&client_assertion={assertion}"
            );
            Ok(self.request(host, "", &body))
        });
        signed.collect()
    }

    fn request(&self, host: &str, headers: &str, body: &str) -> Vec<u8> {
        let (path, length) = (&self.path, body.len());
        format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n\
             {body}"
        )
        .into_bytes()
    }
}

/// The header of `client_secret_basic`.
fn authorization(client: &Client) -> String {
    // Ids and secrets have no character that RFC 6749 section 2.3.1 would escape.
    let pair = STANDARD.encode(format!("{}:{}", client.id, client.secret));
    format!("Authorization: Basic {pair}\r\n")
}

fn escaped(scope: &str) -> String {
    scope.replace(':', "%3A").replace(' ', "+")
}
