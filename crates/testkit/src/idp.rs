//! OpenID Connect Discovery 1.0, RFC 7517: an identity provider on loopback that serves whatever a
//! test wants served.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use accredit_domain::federation::Federation;
use accredit_domain::federation::registry::{self, CreateFederation};
use accredit_wire::crypto::Algorithm;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{Org, Signer, TestWorld};

/// An identity provider on loopback: each path answers what it is told to.
pub struct Idp {
    /// Where it listens.
    pub address: SocketAddr,
    answers: Arc<Mutex<HashMap<String, String>>>,
    asked: Arc<AtomicUsize>,
}

impl Idp {
    /// One that answers nothing yet.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a port");
        let address = listener.local_addr().expect("an address");
        let answers: Arc<Mutex<HashMap<String, String>>> = Arc::default();
        let asked = Arc::new(AtomicUsize::new(0));
        let (told, counted) = (Arc::clone(&answers), Arc::clone(&asked));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (told, counted) = (Arc::clone(&told), Arc::clone(&counted));
                tokio::spawn(async move {
                    let mut head = [0u8; 4096];
                    let Ok(read @ 1..) = stream.read(&mut head).await else { return };
                    counted.fetch_add(1, Ordering::SeqCst);
                    let head = String::from_utf8_lossy(&head[..read]);
                    let path = head.split(' ').nth(1).unwrap_or_default();
                    let gone = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned();
                    let answer = told.lock().expect("answers").get(path).cloned();
                    let _ = stream.write_all(answer.unwrap_or(gone).as_bytes()).await;
                });
            }
        });
        Self { address, answers, asked }
    }

    /// What it calls itself.
    pub fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where its keys are.
    pub fn jwks_url(&self) -> String {
        format!("{}/jwks", self.issuer())
    }

    /// Answers so from now on.
    pub fn says(&self, path: &str, status: &str, kind: &str, body: &str) {
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n{body}",
            body.len()
        );
        self.says_bytes(path, &answer);
    }

    /// Answers with these bytes from now on, whatever they are.
    pub fn says_bytes(&self, path: &str, answer: &str) {
        let mut answers = self.answers.lock().expect("answers");
        answers.insert(path.to_owned(), answer.to_owned());
    }

    /// Serves these keys.
    pub fn has(&self, keys: &[&Signer]) {
        let jwk = |key: &&Signer| serde_json::from_str::<Value>(&key.public_jwk()).expect("JSON");
        let keys: Vec<Value> = keys.iter().map(jwk).collect();
        let set = json!({ "keys": keys }).to_string();
        self.says("/jwks", "200 OK", "application/json", &set);
    }

    /// Serves metadata in which it calls itself so.
    pub fn has_metadata(&self, issuer: &str) {
        let metadata = json!({"issuer": issuer, "jwks_uri": self.jwks_url()}).to_string();
        let path = "/.well-known/openid-configuration";
        self.says(path, "200 OK", "application/json", &metadata);
    }

    /// How often it was asked.
    pub fn count(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl TestWorld {
    /// An identity provider with one key, whose documents may be fetched.
    pub async fn idp(&self) -> (Idp, Signer) {
        let (idp, key) = (Idp::start().await, Signer::new(Algorithm::Es256, "k1", [0; 32]));
        idp.has(&[&key]);
        self.outside.0.allow(&[idp.address]).expect("allowed");
        (idp, key)
    }

    /// A federation with an issuer of that name below the provider, for the audience `accredit`.
    pub async fn federation(&self, org: &Org, idp: &Idp, name: &str) -> Federation {
        let asked = CreateFederation {
            name: name.to_owned(),
            issuer: format!("{}/{name}", idp.issuer()),
            jwks_url: Some(idp.jwks_url()),
            audiences: vec!["accredit".to_owned()],
            rules: Vec::new(),
            provision: None,
        };
        registry::create(&self.cx(org).await, &asked).await.expect("a new federation")
    }
}
