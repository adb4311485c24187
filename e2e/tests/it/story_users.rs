//! Users of an identity provider, over the real binary and the library: the example that serves two at
//! once, a service that goes on in its caller's name, and one kill for a whole provider.

use std::collections::HashMap;

use accredit::{Agent, Secret};
use accredit_wire::crypto::Algorithm;
use axum::http::StatusCode;
use serde_json::json;

use crate::stage::cast::{CRM, Cast, text};
use crate::stage::keys::ClientKey;
use crate::stage::now;
use crate::stage::server::{Folder, Server};

#[path = "../../../crates/sdk/examples/two_users.rs"]
#[expect(dead_code, reason = "what only the example itself does")]
mod two_users;

use two_users::{User, both, service};

/// An identity provider whose keys are on loopback.
struct Provider {
    issuer: String,
    key: ClientKey,
}

impl Provider {
    async fn start() -> (Self, std::net::SocketAddr) {
        let key = ClientKey::new(Algorithm::Es256, Some("k1"));
        let set = json!({"keys": [key.jwk()]}).to_string();
        let answer = move || async move { ([("content-type", "application/jwk-set+json")], set) };
        let routes = axum::Router::new().route("/jwks", axum::routing::get(answer));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, routes).await });
        (Self { issuer: format!("http://{address}"), key }, address)
    }

    fn token(&self, sub: &str) -> Secret {
        let claims = json!({"iss": self.issuer, "sub": sub, "aud": "accredit", "iat": now(),
            "exp": now() + 300, "groups": ["sales"]});
        Secret::new(self.key.sign_as("JWT", claims.to_string().as_bytes()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_instance_serves_two_users_at_once_and_fails_to_mix_them() {
    let (provider, address) = Provider::start().await;
    let folder = Folder::new();
    let mut command = Server::dev_command(&folder, 0);
    command.env("ACCREDIT_OUTBOUND_LOOPBACK", address.to_string());
    let cast = Cast::at(Server::started(command, folder).await, 60).await;
    let jwks = format!("{}/jwks", provider.issuer);
    let rule = "groups contains sales => crm:read";
    let add = ["federation", "add", "corp", "--issuer", &provider.issuer, "--jwks-url", &jwks];
    let add = [&add[..], &["--audience", "accredit", "--rule", rule]].concat();
    cast.server.cli_json(&add);
    let mut persons = HashMap::new();
    let mut users = Vec::new();
    for name in ["mia", "tom"] {
        let email = format!("{name}@example.com");
        let person = cast.server.cli_json(&["person", "create", &email]);
        let link = ["person", "link", &email, "--federation", "corp", "--subject", name];
        cast.server.cli_json(&link);
        persons.insert(name.to_owned(), text(&person, "id").parse().expect("an id"));
        users.push(User { session: name.to_owned(), token: provider.token(name) });
    }
    let planner = cast.bare_agent("planner").await;
    let instance = cast.instance_of(&planner).await;
    let secret = Secret::new(instance.secret.clone());
    let agent = Agent::new(&cast.server.issuer, &planner, secret).expect("an agent");
    let verifier = cast.connected().await;
    let service = service(&verifier, persons);
    let (one, other) = (&users[0], &users[1]);
    for _ in 0..5 {
        let [own, others, mixed, mixed_too] =
            both((&agent, &service), CRM, [one, other]).await.expect("four answers");
        assert_eq!([own, others], [StatusCode::OK; 2]);
        assert_eq!([mixed, mixed_too], [StatusCode::FORBIDDEN; 2]);
    }
    // Nobody impersonates whom no owner has named.
    let acting = agent.on_behalf_of_user(provider.token("mia"));
    let refused = acting.clone().unnamed().token("crm:read").await.expect_err("no pair");
    assert!(refused.to_string().contains("`impersonation`"), "{refused}");
    let allow = ["agent", "allow-impersonation", "planner", "--subject", "mia@example.com"];
    cast.server.cli_json(&[&allow[..], &["--reason", "a story"]].concat());
    acting.clone().unnamed().token("crm:read").await.expect("an owner has named the pair");
    // The provider is not to be believed any more: one kill ends what began with its users.
    let held = acting.token("crm:read").await.expect("a token");
    cast.server.cli_json(&["kill", "federation", "corp", "--reason", "its key leaked"]);
    assert!(!cast.server.is_active(held.text().expose()).await);
    let again = agent.on_behalf_of_user(provider.token("mia")).token("crm:read").await;
    assert!(again.expect_err("suspended").to_string().contains("federation-not-active"));
}
