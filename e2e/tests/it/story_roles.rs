//! Administration by more than one: roles, the installation's operator, and a key that is lost.

use crate::stage::binary::{self, Ran};
use crate::stage::cast::text;
use crate::stage::server::{Folder, init};
use crate::stage::{Ask, Cast, Server};

/// A command as somebody with this key.
fn ran(server: &Server, key: &str, args: &[&str]) -> Ran {
    let mut command = binary::command(&[args, &["--output", "json"]].concat());
    command.env("ACCREDIT_URL", &server.url).env("ACCREDIT_TOKEN", key);
    binary::run(command)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_ends_an_organization_is_not_the_last_to_say() {
    let folder = Folder::new();
    let founded = init(&folder, "http");
    let operator = text(&founded, "operator_token");
    assert!(operator.starts_with("acr_operator_"), "{operator}");
    let mut cast = Cast::at(Server::serve(folder.clone(), &founded).await, 60).await;
    let agent = cast.agent("planner").await;
    let token = cast.token(&agent).await;

    // The security team stops everything, with a key of their own.
    let server = &cast.server;
    let make = ["admin-key", "create", "--role", "security", "--purpose", "pager"];
    let made = ran(server, &server.admin, &make).json();
    let (security, security_id) = (text(&made, "admin_token"), text(&made, "id"));
    let org = text(&ran(server, &security, &["org", "get", "acme"]).json(), "id");
    ran(server, &security, &["revoke", &org, "--reason", "a leak, somewhere"]).json();
    assert!(!server.is_active(&token).await);
    server.token(&agent.agent, &agent.secret, "crm:read").await.refused(
        400,
        "unauthorized_client",
        "organization-not-active",
    );
    // They make nothing, and no keys.
    let create = ["person", "create", "new@example.com"];
    assert_eq!(ran(server, &security, &create).code, 5, "not entitled");
    assert_eq!(ran(server, &security, &make).code, 5, "not entitled");

    // The installation's operator undoes it, and sees nothing inside.
    let undo = ["org", "activate", "acme", "--reason", "it was elsewhere"];
    let active = ran(server, &operator, &undo).json();
    assert_eq!(active["state"], "active");
    assert!(!server.is_active(&token).await, "what has ended stays ended");
    cast.token(&agent).await;
    for seen in ["agents", "events", "admin-keys", "credentials"] {
        let ask = Ask::get(&format!("/v1/{seen}")).bearer(&operator);
        server.send(ask).await.problem(401, "admin-key");
    }
    let events = server.get("/v1/events?type=organization.activated").await;
    assert_eq!(events["items"][0]["payload"]["actor"]["kind"], "operator");
    let more = ran(server, &operator, &["org", "create", "second"]).json();
    assert!(text(&more, "admin_token").starts_with("acr_admin_"));

    // A rotated key works beside its successor; a revoked one ends at once.
    let rotated = ran(server, &server.admin, &["admin-key", "rotate", &security_id]).json();
    for key in [&security, &text(&rotated, "admin_token")] {
        assert_eq!(ran(server, key, &["org", "list"]).code, 0);
    }
    let revoke = ["admin-key", "revoke", &security_id, "--reason", "has left"];
    ran(server, &server.admin, &revoke).json();
    assert_eq!(ran(server, &security, &["org", "list"]).code, 4, "not known any more");
    let own = format!("crd_{}", server.admin.split('_').nth(2).expect("a credential"));
    let second = ["admin-key", "create", "--role", "owner", "--purpose", "b", "--expires-in", "1h"];
    let brief = text(&ran(server, &server.admin, &second).json(), "admin_token");
    let last = ["admin-key", "revoke", &own, "--reason", "a coup"];
    assert_eq!(ran(server, &brief, &last).code, 6, "the last owner stays");

    // The operator's key is lost: whoever runs the server makes another.
    assert_eq!(cast.server.stop(), Some(0));
    let config = text(&founded, "config");
    let renew = ["operator-key", "renew", "--config", &config, "--output", "json"];
    let renewed = text(&binary::run(binary::command(&renew)).json(), "operator_token");
    let server = Server::serve(folder, &founded).await;
    let list = |key: &str| server.send(Ask::get("/v1/orgs").bearer(key));
    list(&operator).await.problem(401, "credential-revoked");
    assert_eq!(list(&renewed).await.good()["items"].as_array().expect("items").len(), 2);
}
