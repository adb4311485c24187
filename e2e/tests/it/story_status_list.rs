//! A resource server that follows no feed: it looks tokens up in a status list, and hears of a kill
//! within the published bound, also after the server was killed itself.

use std::time::Duration;

use accredit_wire::jose::jwk::JwkSet;
use accredit_wire::status_list::{Status, StatusList};
use accredit_wire::time::Time;
use accredit_wire::token::AccessToken;

use crate::stage::http::Ask;
use crate::stage::{Cast, now, until};

/// Made anew within 5 seconds of a revocation (docs/formats.md, "Status lists"), and some for a busy
/// machine: what a resource and a cache on the way keep comes on top, and here is neither.
const SAYS_WITHIN: Duration = Duration::from_secs(10);

/// What the list says of a token, with nothing but the published keys.
async fn status(cast: &Cast, token: &str) -> Status {
    let payload = token.split('.').nth(1).expect("a payload");
    let payload = accredit_wire::jose::b64url_decode(payload).expect("base64url");
    let id = accredit_wire::ids::KeyId::new(1, [1; 10]);
    let claims = AccessToken::parse(&payload, id).expect("claims");
    let place = claims.status.expect("a place in a list");
    let fetch = async |path: &str| {
        let answer = cast.server.send(Ask::get(path)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer
    };
    let keys = fetch(&cast.server.at("/.well-known/jwks.json")).await.text();
    let keys = JwkSet::parse(keys.as_bytes()).expect("a key set");
    let path = place.uri.strip_prefix(&cast.server.url).expect("under the public URL");
    let list = fetch(path).await;
    assert_eq!(list.header("content-type"), Some("application/statuslist+jwt"));
    let now = Time::from_seconds(now());
    let list = StatusList::read(&list.text(), &keys, &place.uri, now).expect("believed");
    list.status(&place, now).expect("an entry")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_is_in_the_list_within_its_bound_also_over_a_crash() {
    let cast = Cast::new().await;
    let made = cast.server.cli_json(&["resource", "update", "crm", "--status-list", "true"]);
    assert_eq!(made["status_list"], true);
    let (agent, sibling) = (cast.agent("planner").await, cast.agent("worker").await);
    let (dying, living) = (cast.token(&agent).await, cast.token(&sibling).await);
    for token in [&dying, &living] {
        assert_eq!(status(&cast, token).await, Status::Valid);
    }
    let kill = ["kill", "agent", "planner", "--reason", "a story", "--wait", "0s"];
    cast.server.cli(&kill).good();
    until("the list says so", SAYS_WITHIN, async || status(&cast, &dying).await == Status::Invalid)
        .await;
    assert_eq!(status(&cast, &living).await, Status::Valid);

    // The lists of before are made again from what is durable.
    let Cast { mut server, resource, resource_secret } = cast;
    server.kill();
    let cast = Cast { server: server.again().await, resource, resource_secret };
    assert_eq!(status(&cast, &dying).await, Status::Invalid);
    assert_eq!(status(&cast, &living).await, Status::Valid);
    let kill = ["kill", "agent", "worker", "--reason", "a story", "--wait", "0s"];
    cast.server.cli(&kill).good();
    until("the list says so", SAYS_WITHIN, async || {
        status(&cast, &living).await == Status::Invalid
    })
    .await;
}
