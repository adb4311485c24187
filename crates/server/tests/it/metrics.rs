//! What is counted of this process, and the page that describes it.

use std::path::Path;

use accredit_server::metrics::{CATALOGUE, documentation, render};
use accredit_server::metrics_listener::MetricsListening;
use accredit_testkit::{Ask, TestWorld};
use accredit_wire::api_key::{ApiKey, SecretKind};
use accredit_wire::ids::CredentialId;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// The value of a sample.
#[track_caller]
fn sample(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().expect("a number")
}

#[tokio::test]
async fn tokens_requests_and_revocations_are_counted() {
    let world = TestWorld::new(5).await;
    let scene = world.scene().await;
    for _ in 0..3 {
        world.token(&scene.org, &scene.client, &[("scope", "crm:read")]).await.expect(200);
    }
    world.token(&scene.org, &scene.client, &[("scope", "crm:delete")]).await.expect(400);
    let revoke = json!({ "target": scene.client.id, "reason": "test" });
    world.admin(&scene.org, "POST", "/v1/revocations", Some(revoke)).await;
    world.ask(Ask::get("/nothing/here")).await.expect(404);
    let nobody = CredentialId::new(1_767_225_600_000, [9; 10]);
    let of_nobody = ApiKey::new(SecretKind::Admin, nobody, [1; 32]);
    for _ in 0..2 {
        world.ask(Ask::get("/v1/agents").bearer(of_nobody.expose())).await.expect(401);
    }
    world.ask(Ask::new("PUT", "/livez")).await.expect(405);
    let text = render(&world.server).await.expect("metrics");
    let org = &scene.org.name;
    for (name, value) in [
        (format!("accredit_tokens_issued_total{{org=\"{org}\"}}"), 3.0),
        (format!("accredit_tokens_refused_total{{org=\"{org}\",rule=\"scope-not-held\"}}"), 1.0),
        ("accredit_revocations_total".to_owned(), 1.0),
        ("accredit_unknown_administrators_total".to_owned(), 2.0),
        ("accredit_feed_followers".to_owned(), 0.0),
        ("accredit_degraded{state=\"store-full\"}".to_owned(), 0.0),
        ("accredit_log_integrated_events".to_owned(), 0.0),
        ("accredit_process_start_time_seconds".to_owned(), 1_767_225_600.0),
    ] {
        assert!((sample(&text, &name) - value).abs() < f64::EPSILON, "{name}: {text}");
    }
    let requests = |operation: &str, status: &str| {
        let labels = format!("{{operation=\"{operation}\",status=\"{status}\"}}");
        sample(&text, &format!("accredit_request_duration_seconds_count{labels}"))
    };
    let counted = [
        requests("token", "2xx"),
        requests("token", "4xx"),
        requests("revoke_id", "2xx"),
        requests("unmatched", "4xx"),
    ];
    assert_eq!(counted.map(|count| count as u64), [3, 1, 1, 2]);
    assert!(sample(&text, "accredit_log_sequenced_events") > 5.0);
    assert!(sample(&text, "accredit_store_batches_total") > 5.0);
    assert!(sample(&text, "accredit_store_cache_hits_total") > 0.0);
    assert!(text.contains("accredit_build_info{version="));
    // What was told is told again, and not counted twice.
    let again = render(&world.server).await.expect("metrics");
    assert!((sample(&again, "accredit_unknown_administrators_total") - 2.0).abs() < f64::EPSILON);
    // Nothing that names a single agent, credential or secret.
    for hidden in [&scene.client.id, &scene.client.secret, &scene.org.admin] {
        assert!(!text.contains(hidden.as_str()));
    }
    for prefix in ["agt_", "crd_", "ins_", "tok_", "acr_", "res_", "org_", "req_"] {
        assert!(!text.contains(prefix), "{prefix}");
    }
}

#[tokio::test]
async fn everything_that_is_told_is_described_and_the_other_way_round() {
    let world = TestWorld::new(5).await;
    let scene = world.scene().await;
    world.token(&scene.org, &scene.client, &[("scope", "crm:read")]).await.expect(200);
    world.token(&scene.org, &scene.client, &[("scope", "crm:delete")]).await.expect(400);
    let instance = world.instance(&scene.org, "planner", None).await;
    let issued = crate::certificates::issue(&world, &scene.org, &instance).await;
    crate::certificate_status::status(&world, &scene.org, &issued).await;
    let text = render(&world.server).await.expect("metrics");
    let told: Vec<(&str, &str)> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let described: Vec<(&str, &str)> =
        CATALOGUE.iter().map(|metric| (metric.name, metric.kind)).collect();
    assert_eq!(told, described);
    for metric in CATALOGUE {
        let help = format!("# HELP {} {}.", metric.name, metric.help);
        assert!(text.lines().any(|line| line == help), "{help}");
        assert!(metric.name.starts_with("accredit_"));
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn the_page_is_current() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    if std::fs::read_to_string(&file).is_ok_and(|kept| kept == documentation()) {
        return;
    }
    std::fs::write(&file, documentation()).expect("a writable file");
    panic!("docs/metrics.md was not current and has been rewritten: check it in");
}

#[tokio::test]
async fn the_second_listener_answers_nothing_but_metrics() {
    let world = TestWorld::new(5).await;
    let listening = MetricsListening::bind(([127, 0, 0, 1], 0).into()).await.expect("a port");
    let address = listening.address().expect("an address");
    let (stop, stopped) = watch::channel(false);
    let serving = tokio::spawn(listening.serve(world.server.clone(), stopped));
    let ask = async |line: &str| {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        let head = format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        answer
    };
    let answer = ask("GET /metrics").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("application/openmetrics-text; version=1.0.0"), "{answer}");
    assert!(answer.ends_with("# EOF\n"), "{answer}");
    for (line, status) in [
        ("GET /v1/agents", "404"),
        ("GET /readyz", "404"),
        ("GET /", "404"),
        ("POST /metrics", "405"),
    ] {
        let answer = ask(line).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "an empty body: {answer}");
    }
    // And the first one does not tell them.
    world.ask(Ask::get("/metrics")).await.expect(404);
    stop.send(true).expect("told");
    serving.await.expect("ended");
}
