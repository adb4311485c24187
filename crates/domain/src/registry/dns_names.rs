//! RFC 5280 section 4.2.1.6: the hosts that certificates of an agent's instances may name, by policy alone.
//!
//! Each is held to what the root's constraints permit when it is granted, and again when a certificate is
//! made. Absent on purpose: names of the server, which are the trust domain and what is above it.

use std::collections::BTreeSet;

use accredit_wire::x509::dns_name::{DNS_NAMES_MAX, DnsName, NotADnsName};
use accredit_wire::x509::spiffe::TrustDomain;

use crate::ca;
use crate::context::Cx;
use crate::issuance::admission::AgentFacts;
use crate::refusal::{Error, Refusal, Rule};

/// The names of a request as a policy.
pub(super) fn asked(cx: &Cx, names: &[String]) -> Result<BTreeSet<DnsName>, Error> {
    let domain = ca::trust_domain(cx.tenant.id, &cx.tenant.issuer)?;
    if names.len() > DNS_NAMES_MAX {
        let hint = "an agent with so many is several: register another";
        return Err(Refusal::field("dns_names", NotADnsName::TooMany, hint).into());
    }
    let fit = |text: &String| {
        let name = DnsName::parse(text)?;
        name.is_below(&domain).map(|()| name)
    };
    let all = names.iter().enumerate().map(|(at, text)| {
        fit(text).map_err(|error| {
            let detail = format!("name {}: {error}", at + 1);
            Refusal::field("dns_names", detail, hint(&domain))
        })
    });
    Ok(all.collect::<Result<_, _>>()?)
}

/// What a name is to be.
fn hint(domain: &TrustDomain) -> String {
    match DnsName::parse(domain.as_str()) {
        Ok(_) => format!("give it whole and below `{domain}`, such as `planner.{domain}`"),
        Err(_) => format!(
            "no host's name is below `{domain}`: the installation's public URL has to name a host, and \
             the organization's name to be a label of one"
        ),
    }
}

/// Refuses names that an agent's policy does not grant, or that the authority may not certify.
pub(crate) fn granted(
    agent: &AgentFacts,
    domain: &TrustDomain,
    asked: &BTreeSet<DnsName>,
) -> Result<(), Refusal> {
    let is_granted =
        |name: &&DnsName| agent.dns_names.contains(name) && name.is_below(domain).is_ok();
    let Some(name) = asked.iter().find(|name| !is_granted(name)) else { return Ok(()) };
    Err(Refusal::new(
        Rule::DnsNameNotHeld,
        format!("certificates of this agent's instances may not name `{name}`"),
        "ask for what it may, or let an administrator grant it: `accredit agent update NAME \
         --dns-name HOST`",
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use accredit_wire::ids::AgentId;

    use super::*;
    use crate::registry::agent::AgentState;
    use crate::registry::environment::Environment;

    #[test]
    fn what_the_authority_may_not_certify_is_not_certified_whatever_a_policy_says() {
        let [own, outside] = ["a.acme.id.example", "a.beta.id.example"]
            .map(|name| DnsName::parse(name).expect("a name"));
        let agent = AgentFacts {
            id: AgentId::new(1, [1; 10]),
            name: "planner".into(),
            state: AgentState::Active,
            owner: None,
            environment: Environment::Dev,
            entitlements: Arc::default(),
            may_delegate: false,
            bound_only: false,
            impersonates: Vec::new(),
            token_lifetime: 300,
            certificate_lifetime: 3600,
            dns_names: Box::new([own.clone(), outside.clone()]),
            rotation_asked_at: None,
        };
        let domain = TrustDomain::parse("acme.id.example").expect("a trust domain");
        let judged = |names: &[&DnsName]| {
            let asked = names.iter().map(|name| (*name).clone()).collect();
            granted(&agent, &domain, &asked).map_err(|refusal| refusal.rule)
        };
        assert_eq!(judged(&[&own]), Ok(()));
        for asked in [&[&outside][..], &[&own, &outside]] {
            assert_eq!(judged(asked), Err(Rule::DnsNameNotHeld));
        }
    }
}
