//! RFC 9126, by analogy: what an agent asks of the endpoints at which it makes, lists and ends tasks
//! of its own. As at the token endpoint the client authenticates in the form or its header, and the
//! parameters are a form.
//!
//! A task that is made with a `subject_token` holds what its user grants: what is asked for by
//! `scope` and `authorization_details` can be had for the user when that token is gone (see
//! [`super::token_exchange::SubjectTokenType::Task`]).

use super::authorization_details::AskedDetail;
use super::form::Form;
use super::rejection::Rejection;
use super::token_exchange::SubjectTokenType;
use super::token_request::seconds;
use crate::authority::Scope;
use crate::ids::TaskId;
use crate::secret::Secret;

/// A task that an agent makes.
#[derive(Clone, Debug)]
pub struct TaskRequest {
    /// What it is for.
    pub purpose: String,
    /// Its deadline, seconds from now.
    pub expires_in: Option<u32>,
    /// What a user grants for it.
    pub user: Option<UserGrant>,
}

/// What a user grants for a task.
#[derive(Clone, Debug)]
pub struct UserGrant {
    /// The user's token of an issuer that is trusted here, unread.
    pub subject_token: Secret,
    /// What is asked for; never neither of the two.
    pub scope: Scope,
    /// What is asked for within limits.
    pub details: Vec<AskedDetail>,
}

impl TaskRequest {
    /// Reads the parameters; unknown ones are ignored.
    pub fn parse(form: &Form) -> Result<Self, Rejection> {
        let purpose = form.require("purpose")?.to_owned();
        let expires_in = form.get("expires_in").map(seconds).transpose()?;
        let user = match form.get("subject_token") {
            Some(token) => Some(UserGrant::parse(form, token)?),
            None => None,
        };
        Ok(Self { purpose, expires_in, user })
    }
}

impl UserGrant {
    fn parse(form: &Form, token: &str) -> Result<Self, Rejection> {
        // A user's own word, and nothing that was derived from it.
        let taken = [SubjectTokenType::Jwt, SubjectTokenType::IdToken].map(SubjectTokenType::uri);
        if !taken.contains(&form.require("subject_token_type")?) {
            return Err(Rejection::TokenType("subject_token_type"));
        }
        let scope = form.get("scope").map(str::parse::<Scope>).transpose()?;
        let details = form.get("authorization_details").map(AskedDetail::parse_all).transpose()?;
        if scope.is_none() && details.is_none() {
            return Err(Rejection::ParameterMissing("scope"));
        }
        let (scope, details) = (scope.unwrap_or_default(), details.unwrap_or_default());
        Ok(Self { subject_token: Secret::new(token.to_owned()), scope, details })
    }
}

/// Which task, and why it is ended.
#[derive(Clone, Debug)]
pub struct TaskEnd {
    /// The task.
    pub task: TaskId,
    /// Why.
    pub reason: String,
}

/// Why a task ended where its agent does not say.
const NO_REASON: &str = "ended by its agent";

impl TaskEnd {
    /// Reads the parameters; unknown ones are ignored.
    pub fn parse(form: &Form) -> Result<Self, Rejection> {
        let task = form.require("task")?.parse().map_err(|_| Rejection::Task)?;
        Ok(Self { task, reason: form.get("reason").unwrap_or(NO_REASON).to_owned() })
    }
}

/// Which of an agent's tasks are listed.
#[derive(Clone, Debug)]
pub struct TaskList {
    /// Behind which one: the `next` of the page before.
    pub after: Option<TaskId>,
}

impl TaskList {
    /// Reads the parameters; unknown ones are ignored.
    pub fn parse(form: &Form) -> Result<Self, Rejection> {
        let after = form.get("cursor").map(|task| task.parse().map_err(|_| Rejection::Task));
        Ok(Self { after: after.transpose()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JWT: &str = "subject_token_type=urn:ietf:params:oauth:token-type:jwt";

    fn parse(body: &str) -> Result<TaskRequest, Rejection> {
        TaskRequest::parse(&Form::parse(body.as_bytes()).expect("a form"))
    }

    #[test]
    fn a_task_has_a_purpose_and_perhaps_a_users_grant() {
        let plain = parse("purpose=plan+the+week&expires_in=60").expect("a task");
        assert_eq!((plain.purpose.as_str(), plain.expires_in), ("plan the week", Some(60)));
        assert!(plain.user.is_none());
        let held = parse(&format!("purpose=x&subject_token=a.b.c&{JWT}&scope=crm:read"));
        let held = held.expect("a task").user.expect("a grant");
        assert_eq!(
            (held.subject_token.expose(), held.scope.to_string()),
            ("a.b.c", "crm:read".into())
        );
    }

    #[test]
    fn a_grant_says_what_it_is_for_and_is_a_users_own_word() {
        let refused = |body: &str| parse(body).expect_err(body);
        assert_eq!(refused("expires_in=60"), Rejection::ParameterMissing("purpose"));
        assert_eq!(refused("purpose=x&expires_in=-1"), Rejection::ExpiresIn);
        let with = |more: &str| refused(&format!("purpose=x&subject_token=a.b.c{more}"));
        assert_eq!(with("&scope=crm:read"), Rejection::ParameterMissing("subject_token_type"));
        assert_eq!(with(&format!("&{JWT}")), Rejection::ParameterMissing("scope"));
        for other in [SubjectTokenType::AccessToken, SubjectTokenType::Task] {
            let kind = format!("&scope=crm:read&subject_token_type={}", other.uri());
            assert_eq!(with(&kind), Rejection::TokenType("subject_token_type"));
        }
    }

    #[test]
    fn a_task_is_named_by_its_id() {
        let end = |body: &str| TaskEnd::parse(&Form::parse(body.as_bytes()).expect("a form"));
        assert_eq!(end("reason=x").err(), Some(Rejection::ParameterMissing("task")));
        assert_eq!(end("task=plan").err(), Some(Rejection::Task));
        let task = TaskId::new(1, [1; 10]);
        let read = end(&format!("task={task}")).expect("an end");
        assert_eq!((read.task, read.reason.as_str()), (task, NO_REASON));
        let list = |body: &str| TaskList::parse(&Form::parse(body.as_bytes()).expect("a form"));
        assert!(list("").expect("all").after.is_none() && list("cursor=x").is_err());
    }
}
