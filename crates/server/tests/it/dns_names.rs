//! RFC 5280 section 4.2.1.6: certificates name hosts that the agent's policy grants, below the trust domain,
//! and no others; a name that was taken away ends them.

use accredit_testkit::{Answer, Client, Org, Scene, TestWorld};
use accredit_wire::x509::dns_name::DNS_NAMES_MAX;
use serde_json::{Value, json};
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::certificates::{ask, chain, csr, issue, standing};

const OWN: &str = "planner.acme.id.example";
const OTHER: &str = "api.planner.acme.id.example";

/// Lets an agent's instances name these and no others.
async fn grant(world: &TestWorld, org: &Org, names: &[&str]) -> Answer {
    let policy = json!({"dns_names": names});
    world.admin(org, "PATCH", "/v1/agents/planner", Some(policy)).await
}

async fn named(world: &TestWorld, org: &Org, client: &Client, names: &str) -> Answer {
    ask(world, org, client, &[("csr", &csr()), ("dns_names", names)]).await
}

/// The hosts that a certificate names, as they stand in it; besides one URI there is nothing else.
fn hosts(issued: &Value) -> Vec<String> {
    let [leaf, _] = chain(issued);
    let leaf = x509_cert::Certificate::from_der(&leaf).expect("a certificate");
    let names = leaf.tbs_certificate().get_extension::<SubjectAltName>();
    let names = names.expect("read").expect("names").1.0;
    let own = issued["spiffe_id"].as_str().expect("an id");
    let [GeneralName::UniformResourceIdentifier(uri), hosts @ ..] = &names[..] else {
        panic!("{names:?}")
    };
    assert_eq!(uri.as_str(), own);
    let host = |name: &GeneralName| match name {
        GeneralName::DnsName(host) => host.as_str().to_owned(),
        other => panic!("{other:?}"),
    };
    hosts.iter().map(host).collect()
}

#[tokio::test]
async fn a_certificate_names_hosts_that_the_policy_grants_and_that_were_asked_for() {
    let world = TestWorld::new(671).await;
    let Scene { org, .. } = world.scene().await;
    let one = world.instance(&org, "planner", None).await;
    named(&world, &org, &one, OWN).await.refused(403, "unauthorized_client", "dns-name-not-held");
    let shown = grant(&world, &org, &[OWN, OTHER]).await.expect(200).json();
    assert_eq!(shown["dns_names"], json!([OTHER, OWN]));

    let plain = issue(&world, &org, &one).await;
    assert_eq!((hosts(&plain), &plain["dns_names"]), (vec![], &json!([])), "none is a default");
    let both = format!("{OWN} {OTHER}");
    for (asked, has) in [(OWN, json!([OWN])), (&both, json!([OTHER, OWN]))] {
        let issued = named(&world, &org, &one, asked).await.expect(200).json();
        assert_eq!((json!(hosts(&issued)), &issued["dns_names"]), (has.clone(), &has));
        let path = format!("/v1/certificates/{}", issued["id"].as_str().expect("an id"));
        assert_eq!(
            world.admin(&org, "GET", &path, None).await.expect(200).json()["dns_names"],
            has
        );
        let events = crate::events(&world, &org, "certificate.issued").await;
        let event = events.iter().find(|event| event["payload"]["token"] == issued["id"]);
        let words: Vec<&str> =
            has.as_array().expect("names").iter().filter_map(Value::as_str).collect();
        assert_eq!(event.expect("recorded")["payload"]["dns_names"], words.join(" "));
    }
    // Another agent has none of it, nor has another organization an agent of the same name.
    world.agent(&org, "other", &["crm:read"]).await;
    let other = world.instance(&org, "other", None).await;
    named(&world, &org, &other, OWN).await.refused(403, "unauthorized_client", "dns-name-not-held");
    for more in
        ["x.planner.acme.id.example", "acme.id.example", "id.example", "planner.beta.id.example"]
    {
        let asked = format!("{OWN} {more}");
        let refused = named(&world, &org, &one, &asked).await;
        refused.refused(403, "unauthorized_client", "dns-name-not-held");
        assert!(refused.text().contains(more), "{}", refused.text());
    }
}

#[tokio::test]
async fn what_is_no_host_of_the_organization_is_neither_granted_nor_asked_for() {
    let world = TestWorld::new(672).await;
    let Scene { org, .. } = world.scene().await;
    let one = world.instance(&org, "planner", None).await;
    let long = format!("{}.acme.id.example", "a".repeat(64));
    let deep = format!("{}acme.id.example", "a.".repeat(130));
    for wrong in [
        "",
        "Planner.acme.id.example",
        "*.acme.id.example",
        "a.acme.id.example.",
        "a b.acme.id.example",
        "evil.example\0.acme.id.example",
        "xn--80ak6aa92e.acme.id.example",
        "pl\u{430}nner.acme.id.example",
        "acme.id.example",
        "id.example",
        "evilacme.id.example",
        "a.evilacme.id.example",
        "a.beta.id.example",
        "a.acme.id.example.evil.example",
        "127.0.0.1",
        "a_b.acme.id.example",
        &long,
        &deep,
    ] {
        grant(&world, &org, &[OWN, wrong]).await.problem(400, "field-invalid");
        let policy = json!({"name": "wrong", "dns_names": [wrong]});
        world.admin(&org, "POST", "/v1/agents", Some(policy)).await.problem(400, "field-invalid");
    }
    let many =
        |count: usize| (0..count).map(|n| format!("h{n}.acme.id.example")).collect::<Vec<_>>();
    for too_many in [DNS_NAMES_MAX + 1, 1000] {
        let names = many(too_many);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        grant(&world, &org, &names).await.problem(400, "field-invalid");
        let asked = named(&world, &org, &one, &names.join(" ")).await;
        asked.refused(400, "invalid_request", "dns-names-malformed");
    }
    let all = many(DNS_NAMES_MAX);
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    grant(&world, &org, &all).await.expect(200);
    let issued = named(&world, &org, &one, &all.join(" ")).await.expect(200).json();
    assert_eq!(hosts(&issued).len(), DNS_NAMES_MAX);
    for wrong in
        ["H1.acme.id.example", "*.acme.id.example", "h1.acme.id.example\0", "h1.acme.id.example,h2"]
    {
        let asked = named(&world, &org, &one, wrong).await;
        asked.refused(400, "invalid_request", "dns-names-malformed");
    }
    let form = [("csr", &*csr()), ("dns_names", all[0]), ("dns_names", all[1])];
    ask(&world, &org, &one, &form).await.refused(400, "invalid_request", "parameter-twice");
}

#[tokio::test]
async fn a_name_that_is_taken_away_ends_what_was_issued_and_one_more_ends_nothing() {
    let world = TestWorld::new(673).await;
    let Scene { org, .. } = world.scene().await;
    let one = world.instance(&org, "planner", None).await;
    grant(&world, &org, &[OWN, OTHER]).await.expect(200);
    let id = |issued: &Value| issued["id"].as_str().expect("an id").to_owned();
    let own = id(&named(&world, &org, &one, OWN).await.expect(200).json());
    let other = id(&named(&world, &org, &one, OTHER).await.expect(200).json());
    grant(&world, &org, &[OWN, OTHER, "third.acme.id.example"]).await.expect(200);
    let policy = json!({"purpose": "another"});
    world.admin(&org, "PATCH", "/v1/agents/planner", Some(policy)).await.expect(200);
    for standing_of in [&own, &other] {
        assert_eq!(standing(&world, &org, standing_of).await, "valid");
    }

    grant(&world, &org, &[OWN]).await.expect(200);
    for ended in [&own, &other] {
        assert_eq!(standing(&world, &org, ended).await, "revoked", "it asks again");
    }
    named(&world, &org, &one, OTHER).await.refused(403, "unauthorized_client", "dns-name-not-held");
    let again = id(&named(&world, &org, &one, OWN).await.expect(200).json());
    grant(&world, &org, &[]).await.expect(200);
    assert_eq!(standing(&world, &org, &again).await, "revoked");
    named(&world, &org, &one, OWN).await.refused(403, "unauthorized_client", "dns-name-not-held");
}

/// All sets of at most two of these.
fn up_to_two(of: &[&'static str]) -> Vec<Vec<&'static str>> {
    let ones = of.iter().map(|one| vec![*one]);
    let twos = of.iter().enumerate();
    let twos = twos.flat_map(|(at, one)| of[at + 1..].iter().map(|other| vec![*one, *other]));
    std::iter::once(Vec::new()).chain(ones).chain(twos).collect()
}

#[tokio::test]
async fn whatever_policy_and_request_are_a_certificate_names_what_is_in_both() {
    let world = TestWorld::new(674).await;
    let Scene { org, .. } = world.scene().await;
    let within = [OWN, OTHER, "b.acme.id.example"];
    let outside = ["acme.id.example", "a.beta.id.example", "aacme.id.example"];
    for policy in up_to_two(&within) {
        grant(&world, &org, &policy).await.expect(200);
        let one = world.instance(&org, "planner", None).await;
        for asked in up_to_two(&[&within[..], &outside].concat()) {
            let answer = named(&world, &org, &one, &asked.join(" ")).await;
            let is_within = asked.iter().all(|name| policy.contains(name));
            assert_eq!(answer.status, if is_within { 200 } else { 403 }, "{policy:?} {asked:?}");
            if is_within {
                let mut wanted = asked;
                wanted.sort_unstable();
                assert_eq!(hosts(&answer.json()), wanted);
            }
        }
    }
}
