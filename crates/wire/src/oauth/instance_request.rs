//! RFC 9126, by analogy: what an agent asks where it brings an instance of another agent into being,
//! inside a task and with no more than it passes on, and where an instance ends itself.

use super::authorization_details::AskedDetail;
use super::form::Form;
use super::rejection::Rejection;
use super::token_request::seconds;
use crate::authority::Scope;
use crate::ids::TaskId;

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

/// Why an instance ends itself.
#[derive(Clone, Debug)]
pub struct InstanceEnd {
    /// Why.
    pub reason: String,
}

/// Why an instance ended where it does not say.
const NO_REASON: &str = "ended by itself";

impl InstanceEnd {
    /// Reads the parameters; unknown ones are ignored.
    pub fn parse(form: &Form) -> Result<Self, Rejection> {
        Ok(Self { reason: form.get("reason").unwrap_or(NO_REASON).to_owned() })
    }
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
}
