//! RFC 9126, by analogy: what an agent asks where it brings an instance of another agent into being,
//! inside a task and with no more than it passes on, where an instance ends itself, and where a node
//! gets a key of its own or vouches for a process.

use super::authorization_details::AskedDetail;
use super::form::Form;
use super::rejection::Rejection;
use super::token_request::seconds;
use crate::authority::Scope;
use crate::ids::{InstanceId, TaskId};
use crate::selectors::SELECTORS_BYTES_MAX;

/// The longest key of an agent or name of an instance that is looked at, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// An instance that is to be born.
#[derive(Clone, Debug)]
pub struct InstanceRequest {
    /// Of which agent, by id or name.
    pub agent: String,
    /// What people call it.
    pub name: Option<String>,
    /// The task that it works in; none where the client was born into one itself.
    pub task: Option<TaskId>,
    /// Its life, seconds.
    pub expires_in: Option<u32>,
    /// What it is to do.
    pub scope: Scope,
    /// What it is to do within limits.
    pub details: Vec<AskedDetail>,
}

impl InstanceRequest {
    /// Reads the parameters; unknown ones are ignored.
    pub fn parse(form: &Form) -> Result<Self, Rejection> {
        let agent = form.require("agent")?.to_owned();
        let name = form.get("name").map(str::to_owned);
        if agent.len() > NAME_BYTES_MAX {
            return Err(Rejection::ParameterMalformed("agent"));
        }
        if name.as_ref().is_some_and(|name| name.len() > NAME_BYTES_MAX) {
            return Err(Rejection::ParameterMalformed("name"));
        }
        let task = form.get("task").map(|task| task.parse().map_err(|_| Rejection::Task));
        let scope = form.get("scope").map(str::parse::<Scope>).transpose()?;
        let details = form.get("authorization_details").map(AskedDetail::parse_all).transpose()?;
        Ok(Self {
            agent,
            name,
            task: task.transpose()?,
            expires_in: form.get("expires_in").map(seconds).transpose()?,
            scope: scope.unwrap_or_default(),
            details: details.unwrap_or_default(),
        })
    }
}

/// Why an instance ends itself, or one that it vouched for.
#[derive(Clone, Debug)]
pub struct InstanceEnd {
    /// Which one, where it is not the client itself.
    pub instance: Option<InstanceId>,
    /// Why.
    pub reason: String,
}

/// Why an instance ended where it does not say.
const NO_REASON: &str = "ended by itself";

impl InstanceEnd {
    /// Reads the parameters; unknown ones are ignored.
    pub fn parse(form: &Form) -> Result<Self, Rejection> {
        let instance = form.get("instance").map(|id| {
            id.parse::<InstanceId>().map_err(|_| Rejection::ParameterMalformed("instance"))
        });
        Ok(Self {
            instance: instance.transpose()?,
            reason: form.get("reason").unwrap_or(NO_REASON).to_owned(),
        })
    }
}

/// The longest JWK of a new instance, in bytes.
const JWK_BYTES_MAX: usize = 2048;
/// The longest name of a process, in bytes.
pub const PROCESS_BYTES_MAX: usize = 256;

/// A key that an instance is to be known by. Unread: who decides reads it.
#[derive(Clone, Debug)]
pub struct JoinRequest {
    /// The public key, a JWK.
    pub jwk: String,
}

impl JoinRequest {
    /// Reads the parameters; unknown ones are ignored.
    pub fn parse(form: &Form) -> Result<Self, Rejection> {
        Ok(Self { jwk: bounded(form, "jwk", JWK_BYTES_MAX)? })
    }
}

/// A process for which a node vouches.
#[derive(Clone, Debug)]
pub struct ProcessRequest {
    /// What the node saw of it, JSON of [`Selectors`](crate::selectors::Selectors). Unread.
    pub selectors: String,
    /// What names it on this node, and never another one.
    pub process: String,
    /// The public key that it is to be known by, a JWK. Unread.
    pub jwk: String,
}

impl ProcessRequest {
    /// Reads the parameters; unknown ones are ignored.
    pub fn parse(form: &Form) -> Result<Self, Rejection> {
        let process = bounded(form, "process", PROCESS_BYTES_MAX)?;
        if !process.bytes().all(|byte| (0x20..=0x7e).contains(&byte)) {
            return Err(Rejection::ParameterMalformed("process"));
        }
        let selectors = bounded(form, "selectors", SELECTORS_BYTES_MAX)?;
        Ok(Self { selectors, process, jwk: bounded(form, "jwk", JWK_BYTES_MAX)? })
    }
}

fn bounded(form: &Form, name: &'static str, max: usize) -> Result<String, Rejection> {
    let value = form.require(name)?;
    if value.len() > max {
        return Err(Rejection::ParameterMalformed(name));
    }
    Ok(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<InstanceRequest, Rejection> {
        InstanceRequest::parse(&Form::parse(body.as_bytes()).expect("a form"))
    }

    #[test]
    fn a_birth_names_an_agent_and_what_it_is_to_do() {
        let task = TaskId::new(1, [1; 10]);
        let read = parse(&format!("agent=worker&task={task}&scope=crm:read&expires_in=60"));
        let read = read.expect("a birth");
        assert_eq!(
            (read.agent.as_str(), read.task, read.expires_in),
            ("worker", Some(task), Some(60))
        );
        assert_eq!(read.scope.to_string(), "crm:read");
        assert_eq!(parse("scope=crm:read").err(), Some(Rejection::ParameterMissing("agent")));
        let long = format!("agent={}", "x".repeat(NAME_BYTES_MAX + 1));
        assert_eq!(parse(&long).err(), Some(Rejection::ParameterMalformed("agent")));
        assert_eq!(parse("agent=worker&task=plan").err(), Some(Rejection::Task));
    }

    #[test]
    fn a_process_is_named_in_a_bounded_and_printable_way() {
        let parse =
            |body: &str| ProcessRequest::parse(&Form::parse(body.as_bytes()).expect("a form"));
        let read = parse("selectors=%7B%7D&process=boot.1.2&jwk=%7B%7D").expect("a process");
        assert_eq!((read.process.as_str(), read.selectors.as_str()), ("boot.1.2", "{}"));
        let long = "x".repeat(PROCESS_BYTES_MAX + 1);
        for (wrong, name) in [
            (format!("selectors=%7B%7D&jwk=%7B%7D&process={long}"), "process"),
            ("selectors=%7B%7D&jwk=%7B%7D&process=a%0Ab".to_owned(), "process"),
            ("selectors=%7B%7D&jwk=%7B%7D&process=%C3%A4".to_owned(), "process"),
            (format!("selectors=%7B%7D&process=1&jwk={}", "x".repeat(JWK_BYTES_MAX + 1)), "jwk"),
            (
                format!("selectors={}&process=1&jwk=x", "x".repeat(SELECTORS_BYTES_MAX + 1)),
                "selectors",
            ),
        ] {
            assert_eq!(parse(&wrong).err(), Some(Rejection::ParameterMalformed(name)));
        }
        for (wrong, name) in [
            ("selectors=x&jwk=x", "process"),
            ("process=1&jwk=x", "selectors"),
            ("process=1&selectors=x", "jwk"),
        ] {
            assert_eq!(parse(wrong).err(), Some(Rejection::ParameterMissing(name)), "{wrong}");
        }
    }

    #[test]
    fn who_is_ended_is_an_instance() {
        let parse = |body: &str| InstanceEnd::parse(&Form::parse(body.as_bytes()).expect("a form"));
        let id = InstanceId::new(1, [1; 10]);
        let read = parse(&format!("instance={id}")).expect("an end");
        assert_eq!(read.instance, Some(id));
        assert_eq!(parse("reason=done").expect("an end").instance, None);
        for wrong in ["instance=x", "instance=agt_00000000000000000000000000"] {
            let refused = Some(Rejection::ParameterMalformed("instance"));
            assert_eq!(parse(wrong).err(), refused, "{wrong}");
        }
    }
}
