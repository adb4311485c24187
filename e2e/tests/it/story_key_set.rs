//! An agent that publishes its keys: it rotates them by itself, and its set leads nobody inside.

use std::sync::{Arc, Mutex};

use accredit_wire::crypto::Algorithm;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::stage::cast::Cast;
use crate::stage::keys::ClientKey;
use crate::stage::server::{Folder, Server};

/// Serves whatever is in the cell as a JWK set, on loopback.
async fn publish(set: Arc<Mutex<Value>>) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0u8; 4096];
            let _ = stream.read(&mut head).await;
            let body = set.lock().expect("not poisoned").to_string();
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/jwk-set+json\r\n\
                 content-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_rotates_the_keys_that_it_publishes() {
    let set = Arc::new(Mutex::new(json!({"keys": []})));
    let address = publish(Arc::clone(&set)).await;
    let folder = Folder::new();
    let mut command = Server::dev_command(&folder, 0);
    command.env("ACCREDIT_OUTBOUND_LOOPBACK", address.to_string());
    let cast = Cast::at(Server::started(command, folder).await, 60).await;
    let agent = cast.bare_agent("planner").await;
    let first = ClientKey::new(Algorithm::EdDsa, Some("k1"));
    *set.lock().expect("not poisoned") = json!({"keys": [first.jwk()]});
    let url = format!("http://{address}/keys");
    let shown = cast.server.cli_json(&["agent", "update", "planner", "--jwks-url", &url]);
    assert_eq!(shown["jwks_url"], url);
    let token = async |key: &ClientKey| {
        let endpoint = cast.server.at("/oauth/token");
        cast.server.send(key.asks(&endpoint, &agent, &cast.server.issuer)).await
    };
    // Nobody registered it, and nobody has to wait for the hour.
    token(&first).await.good();
    let keys = cast.server.cli_json(&["credential", "list", "--agent", "planner"]);
    assert_eq!(
        (&keys["items"][0]["kid"], &keys["items"][0]["followed"]),
        (&json!("k1"), &json!(true))
    );
    // What an assertion points to is not asked.
    let stranger = ClientKey::new(Algorithm::EdDsa, Some("k1"));
    token(&stranger).await.refused(401, "invalid_client", "client-authentication");

    // Where it was not allowed by whoever runs the server, the same address is out of reach.
    let other = Cast::new().await;
    other.bare_agent("planner").await;
    for (url, why) in [(&*url, "loopback"), ("https://169.254.169.254/latest", "link-local")] {
        let ran = other.server.cli(&["agent", "update", "planner", "--jwks-url", url]);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.err.contains(why) || ran.err.contains("https"), "{ran:?}");
    }
}
