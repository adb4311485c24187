//! Instances that end themselves, and nobody else.

use accredit_testkit::{Answer, Ask, Client, Org, Scene, TestWorld};
use serde_json::json;

async fn end(world: &TestWorld, org: &Org, client: &Client, form: &[(&str, &str)]) -> Answer {
    world.ask(Ask::post(org.path("/oauth/instances/end")).basic(client).form(form)).await
}

#[tokio::test]
async fn an_instance_ends_itself_and_nobody_else() {
    let world = TestWorld::new(731).await;
    let Scene { org, client, .. } = world.scene().await;
    let (one, two) =
        (world.instance(&org, "planner", None).await, world.instance(&org, "planner", None).await);
    let scope = [("scope", "crm:read")];
    let token = world.token(&org, &one, &scope).await.expect(200).member("access_token");
    let alive = |token: String| {
        let (world, org) = (&world, &org);
        async move {
            let crm = world.resource_secret(org, "crm").await;
            let ask = Ask::post(org.path("/oauth/introspect")).basic(&crm);
            world.ask(ask.form(&[("token", &token)])).await.json()["active"] == json!(true)
        }
    };
    assert!(alive(token.clone()).await);

    // Neither the agent by its own secret, nor anybody who does not prove who it is; and what is named in
    // the form is looked at by nobody.
    end(&world, &org, &client, &[]).await.refused(
        400,
        "unauthorized_client",
        "grant-not-for-client",
    );
    let liar = Client { secret: two.secret.clone(), ..one.clone() };
    let other = two.instance.expect("an instance").to_string();
    let named = end(&world, &org, &liar, &[("instance", &other)]).await.expect(200);
    assert_eq!(named.member("id"), other, "the secret says who it is");
    assert!(alive(token.clone()).await, "its sibling goes on");
    let wrong = Client { secret: format!("{}x", one.secret), ..one.clone() };
    end(&world, &org, &wrong, &[]).await.refused(401, "invalid_client", "client-authentication");
    let control = end(&world, &org, &one, &[("reason", "a\nb")]).await;
    assert_eq!(control.status, 400, "{}", control.text());
    assert!(alive(token.clone()).await);

    let ended = end(&world, &org, &one, &[("reason", "its process is over")]).await.expect(200);
    assert_eq!(ended.member("state"), "revoked");
    assert!(!alive(token).await);
    end(&world, &org, &one, &[]).await.refused(401, "invalid_client", "credential-revoked");
    let again = world.token(&org, &one, &scope).await;
    assert_eq!(again.status, 401, "{}", again.text());
    world.token(&org, &client, &scope).await.expect(200);
    accredit_server::jobs::integrate_all(&world.server).await;
    let events = world.admin(&org, "GET", "/v1/events?type=instance.revoked", None).await;
    let events = events.text();
    assert!(
        events.contains("its process is over") && events.contains("ended by itself"),
        "{events}"
    );
}
