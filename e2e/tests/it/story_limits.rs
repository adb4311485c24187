//! RFC 9396: an agent that may do something within limits asks for more, and does more.

use accredit::{Arguments, Principal, Verifier};
use axum::Extension;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::post;
use serde_json::{Value, json};

use crate::stage::cast::text;
use crate::stage::{Ask, Cast};

const HELD: &str = "crm:update(/customers/eu/*; amount<=100; currency in CHF,EUR)";

/// Updates a customer, where the caller may do exactly that.
async fn update(
    Extension(principal): Extension<Principal>,
    Path(object): Path<String>,
    body: axum::body::Bytes,
) -> Result<String, (StatusCode, String)> {
    let json = accredit::Json::parse(&body, 4096);
    let json = json.map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
    let arguments = Arguments::from_json(&json);
    let arguments = arguments.ok_or((StatusCode::BAD_REQUEST, "no object".to_owned()))?;
    let object = format!("/{object}");
    match principal.may("crm:update", Some(&object), &arguments) {
        Ok(()) => Ok(format!("updated {object}")),
        Err(rejection) => Err((
            StatusCode::from_u16(rejection.status()).expect("a status"),
            format!("{} {rejection}", rejection.code().expect("a code")),
        )),
    }
}

async fn service(verifier: &Verifier) -> std::net::SocketAddr {
    let guarded = axum::Router::new().route("/{*object}", post(update)).layer(verifier.guard());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, guarded).await });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_asks_for_more_than_its_limit_and_then_does_more_than_its_token_says() {
    let cast = Cast::new().await;
    let server = &cast.server;
    let made = server.cli_json(&[
        "agent",
        "create",
        "clerk",
        "--owner",
        "jo@example.com",
        "--purpose",
        "updates customers",
        "--allow",
        HELD,
        "--activate",
    ]);
    let clerk = cast.secret_of(&text(&made, "id")).await;
    let ask = async |details: &str| {
        let ask = Ask::form(
            &server.at("/oauth/token"),
            &[("grant_type", "client_credentials"), ("authorization_details", details)],
        );
        server.send(ask.basic(&clerk.agent, &clerk.secret)).await
    };
    let detail = |amount: Value| {
        json!([{"type": "accredit", "locations": ["https://crm.example/"], "actions": ["update"],
            "object": "/customers/eu/*",
            "constraints": {"amount": {"max": amount}, "currency": {"equals": "EUR"}}}])
        .to_string()
    };

    // 500 where it holds 100: refused, and told by how much.
    let refused = ask(&detail(json!(500))).await;
    refused.refused(400, "invalid_authorization_details", "authorization-details-not-held");
    let said = text(&refused.json(), "error_description");
    assert!(said.contains("`amount` up to 500, but only up to 100 is allowed"), "{said}");
    let refused = ask(&detail(json!("50"))).await;
    refused.refused(400, "invalid_authorization_details", "authorization-details-malformed");
    server.token(&clerk.agent, &clerk.secret, "crm:update").await.refused(
        400,
        "invalid_scope",
        "scope-not-held",
    );

    // 50: granted, and the resource server holds the agent to it.
    let answer = ask(&detail(json!(50))).await.good();
    assert_eq!(answer["authorization_details"][0]["constraints"]["amount"]["max"], 50);
    assert!(answer.get("scope").is_none(), "{answer}");
    let token = text(&answer, "access_token");
    let verifier = cast.connected().await;
    let service = service(&verifier).await;
    let call = async |object: &str, body: Value| {
        let answer = Ask::json("POST", object, &body).bearer(&token).send(service).await;
        (answer.status, answer.text())
    };
    let eur = |amount: Value| json!({"amount": amount, "currency": "EUR"});
    let good = call("/customers/eu/7", eur(json!(50))).await;
    assert_eq!(good, (200, "updated /customers/eu/7".to_owned()));
    for (object, body, why) in [
        ("/customers/eu/7", eur(json!(51)), "`amount`"),
        ("/customers/eu/7", eur(json!(49.5)), "`amount`"),
        ("/customers/eu/7", eur(json!("50")), "`amount`"),
        ("/customers/eu/7", json!({"currency": "EUR"}), "`amount`"),
        ("/customers/eu/7", json!({"amount": 1, "currency": "CHF"}), "`currency`"),
        ("/customers/us/7", eur(json!(1)), "this object"),
        ("/customers/eu", eur(json!(1)), "this object"),
        ("/customers/eu/%2e%2e/us", eur(json!(1)), "this object"),
    ] {
        let (status, text) = call(object, body).await;
        assert_eq!(status, 403, "{object}: {text}");
        assert!(text.starts_with("insufficient_scope") && text.contains(why), "{text}");
    }

    // Narrowed to 20: the wider token ends.
    let narrowed = HELD.replace("100", "20");
    server.cli_json(&["permission", "set", "--agent", "clerk", "--allow", &narrowed]);
    assert!(!server.is_active(&token).await);
    let refused = ask(&detail(json!(50))).await;
    refused.refused(400, "invalid_authorization_details", "authorization-details-not-held");
    let list = server.cli(&["permission", "list", "--agent", "clerk"]);
    assert!(list.out.contains("/customers/eu/*; amount<=20; currency in CHF,EUR"), "{}", list.out);
}
