//! RFC 9126, by analogy: what an instance asks where it wants an X509-SVID for a key of its own.
//!
//! The certification request passes through here unread: who asks is authenticated before anybody
//! works at its signature.

use std::collections::BTreeSet;

use super::form::Form;
use super::rejection::Rejection;
use super::token_request::seconds;
use crate::ids::TaskId;
use crate::x509::dns_name::DnsName;

/// A certificate that is to be issued.
#[derive(Clone, Debug)]
pub struct CertificateRequest {
    /// The certification request (RFC 2986): PEM, or its DER in base64.
    pub csr: String,
    /// The task that it is for, where it is for one.
    pub task: Option<TaskId>,
    /// Its life, seconds.
    pub expires_in: Option<u32>,
    /// The hosts that it is to name beside the instance.
    pub dns_names: BTreeSet<DnsName>,
}

impl CertificateRequest {
    /// Reads the parameters; unknown ones are ignored.
    pub fn parse(form: &Form) -> Result<Self, Rejection> {
        let task = form.get("task").map(|task| task.parse().map_err(|_| Rejection::Task));
        Ok(Self {
            csr: form.require("csr")?.to_owned(),
            task: task.transpose()?,
            expires_in: form.get("expires_in").map(seconds).transpose()?,
            dns_names: DnsName::parse_all(form.get("dns_names").unwrap_or_default())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::x509::dns_name::NotADnsName;

    fn parse(body: &str) -> Result<CertificateRequest, Rejection> {
        CertificateRequest::parse(&Form::parse(body.as_bytes()).expect("a form"))
    }

    #[test]
    fn a_request_has_a_key_and_perhaps_a_task_and_a_life() {
        let task = TaskId::new(1, [1; 10]);
        let read = parse(&format!("csr=a%2Bb&task={task}&expires_in=60")).expect("a request");
        assert_eq!((read.csr.as_str(), read.task, read.expires_in), ("a+b", Some(task), Some(60)));
        let plain = parse("csr=x").expect("a request");
        assert_eq!((plain.task, plain.expires_in, plain.dns_names.len()), (None, None, 0));
        let named = parse("csr=x&dns_names=b.acme.test+a.acme.test").expect("a request").dns_names;
        assert_eq!(DnsName::join(&named), "a.acme.test b.acme.test");
        assert_eq!(parse("expires_in=60").err(), Some(Rejection::ParameterMissing("csr")));
        assert_eq!(parse("csr=x&task=plan").err(), Some(Rejection::Task));
        assert_eq!(parse("csr=x&expires_in=0").err(), Some(Rejection::ExpiresIn));
        for wrong in ["A.x", "*.x", "a.x%00", "a.x,b.x", "a.x++b.x"] {
            let wrong = parse(&format!("csr=x&dns_names={wrong}")).err();
            assert_eq!(wrong, Some(Rejection::DnsNames(NotADnsName::Spelling)));
        }
        let twice = Form::parse(b"csr=x&csr=y").err();
        assert_eq!(twice, Some(Rejection::ParameterTwice(Some("csr"))));
    }
}
