//! RFC 8705: tokens that are bound to a certificate, at a guard that is told of the connection's.

use accredit::{Confirmation, PeerCertificate, Verifier};
use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use axum::routing::get;
use tower::ServiceExt as _;

use crate::issuer::{Grant, Issuer};

const PUBLIC: &str = "https://crm.example";

fn certificate(byte: u8) -> PeerCertificate {
    PeerCertificate::new(&[byte; 300])
}

struct Stage {
    verifier: Verifier,
    token: String,
}

impl Stage {
    /// A token that is bound to certificate 1, at a service that checks proofs of keys or does not.
    async fn new(proofs: bool) -> Self {
        let issuer = Issuer::start().await;
        let cnf = Some(Confirmation::Certificate(certificate(1).thumbprint()));
        let token = issuer.token(&Grant { cnf, ..Grant::default() });
        let builder = issuer.builder();
        let builder = if proofs { builder.public_url(PUBLIC) } else { builder };
        Self { verifier: builder.connect().await.expect("a verifier"), token }
    }

    async fn ask(
        &self,
        shown: Option<PeerCertificate>,
        headers: &[(&str, &str)],
    ) -> Response<Body> {
        let routes = axum::Router::new().route("/who", get(async || "it was you"));
        let routes = routes.layer(self.verifier.guard().require("crm:read"));
        let mut request =
            Request::get("/who").header(header::AUTHORIZATION, format!("Bearer {}", self.token));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::empty()).expect("a request");
        request.extensions_mut().extend(
            shown
                .map(|shown| {
                    let mut extensions = axum::http::Extensions::new();
                    extensions.insert(shown);
                    extensions
                })
                .unwrap_or_default(),
        );
        routes.oneshot(request).await.expect("an answer")
    }
}

#[tokio::test]
async fn a_guard_takes_it_over_a_connection_with_its_certificate_and_over_no_other() {
    for proofs in [false, true] {
        let stage = Stage::new(proofs).await;
        let answer = stage.ask(Some(certificate(1)), &[]).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(!answer.headers().contains_key("dpop-nonce"));
        for (shown, says) in [(Some(certificate(2)), "another certificate"), (None, "none came")] {
            let answer = stage.ask(shown, &[]).await;
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
            let challenge = answer.headers()[header::WWW_AUTHENTICATE].to_str().expect("text");
            assert!(challenge.starts_with("Bearer realm=\"accredit\""), "{challenge}");
            assert!(challenge.contains("invalid_token") && challenge.contains(says), "{challenge}");
        }
    }
}

#[tokio::test]
async fn no_header_stands_for_a_connection() {
    let stage = Stage::new(true).await;
    let der = "MIIB";
    for name in ["client-cert", "x-forwarded-client-cert", "x-ssl-client-cert", "x-client-cert"] {
        let answer = stage.ask(None, &[(name, der)]).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{name}");
    }
}

#[tokio::test]
async fn where_there_is_no_request_it_is_refused() {
    for proofs in [false, true] {
        let stage = Stage::new(proofs).await;
        let refused = stage.verifier.verify_token(&stage.token).await.expect_err("refused");
        assert_eq!(refused.rejection().rule(), "token-certificate");
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    }
}
