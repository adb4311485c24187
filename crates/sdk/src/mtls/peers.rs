//! SPIFFE-ID: with whom there are connections. Nobody says so but the program, and nothing stands for
//! everybody.

use std::fmt;

use accredit_wire::x509::spiffe::TrustDomain;

/// Whom a program talks to, of the trust domain that it trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peers(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    TrustDomain,
    Agent(String),
    Exactly(String),
    AnyOf(Vec<Peers>),
}

/// A text is not the SPIFFE ID of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnId;

impl fmt::Display for NotAnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not the SPIFFE ID of an instance: `spiffe://…/agent/<name>/instance/ins_…`")
    }
}

impl std::error::Error for NotAnId {}

impl Peers {
    /// The one instance with this SPIFFE ID.
    pub fn exactly(id: &str) -> Result<Self, NotAnId> {
        let named = TrustDomain::of_id(id).and_then(|domain| domain.named_by(id).map(drop));
        named.map(|()| Self(Kind::Exactly(id.to_owned()))).ok_or(NotAnId)
    }

    /// Every instance of the agent with this name. A name never changes and is never given again.
    pub fn agent(name: &str) -> Self {
        Self(Kind::Agent(name.to_owned()))
    }

    /// Whom any of these names; of none, nobody.
    pub fn any_of(peers: impl IntoIterator<Item = Self>) -> Self {
        Self(Kind::AnyOf(peers.into_iter().collect()))
    }

    /// Every instance of every agent in the trust domain.
    pub fn trust_domain() -> Self {
        Self(Kind::TrustDomain)
    }

    /// Whether one is among them that is called so, and whose agent is.
    pub(super) fn are(&self, id: &str, agent: &str) -> bool {
        match &self.0 {
            Kind::TrustDomain => true,
            Kind::Agent(name) => name == agent,
            Kind::Exactly(own) => own == id,
            Kind::AnyOf(all) => all.iter().any(|peers| peers.are(id, agent)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_who_are_named_are_talked_to() {
        let domain = TrustDomain::parse("acme.id.example").expect("a domain");
        let instance = accredit_wire::ids::InstanceId::new(1, [1; 10]);
        let id = domain.instance("worker", instance).expect("an id").to_string();
        let other = domain.instance("worker", accredit_wire::ids::InstanceId::new(2, [1; 10]));
        let other = other.expect("an id").to_string();
        let exactly = Peers::exactly(&id).expect("an id");
        let sees = |peers: &Peers| [peers.are(&id, "worker"), peers.are(&other, "worker")];
        assert_eq!(sees(&exactly), [true, false]);
        assert_eq!(sees(&Peers::agent("worker")), [true, true]);
        assert_eq!(sees(&Peers::agent("Worker")), [false, false]);
        assert_eq!(sees(&Peers::agent("")), [false, false]);
        assert_eq!(sees(&Peers::any_of([])), [false, false]);
        assert_eq!(sees(&Peers::any_of([Peers::agent("x"), exactly])), [true, false]);
        assert_eq!(sees(&Peers::trust_domain()), [true, true]);
    }

    #[test]
    fn an_id_is_spelt_in_one_way() {
        let domain = TrustDomain::parse("acme.id.example").expect("a domain");
        let instance = accredit_wire::ids::InstanceId::new(1, [1; 10]);
        let id = domain.instance("worker", instance).expect("an id").to_string();
        assert!(Peers::exactly(&id).is_ok());
        for wrong in [
            "",
            "spiffe://acme.id.example",
            "spiffe://acme.id.example/agent/worker",
            &id.to_uppercase(),
            &format!("{id}/"),
            &format!("{id}?x"),
            &id.replace("spiffe", "https"),
            &id.replace("worker", "wor%6ber"),
        ] {
            assert_eq!(Peers::exactly(wrong), Err(NotAnId), "{wrong}");
        }
    }
}
