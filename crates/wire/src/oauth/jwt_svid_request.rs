//! RFC 9126, by analogy: what an instance asks where it wants a JWT-SVID.

use super::form::Form;
use super::rejection::Rejection;
use super::token_request::seconds;
use crate::ids::TaskId;
use crate::jwt_svid::{AUDIENCES_MAX, is_audience};

/// A JWT-SVID that is to be issued.
#[derive(Clone, Debug)]
pub struct JwtSvidRequest {
    /// For whom it is, 1 to [`AUDIENCES_MAX`], each once.
    pub audiences: Vec<String>,
    /// The task that it is for, where it is for one.
    pub task: Option<TaskId>,
    /// Its life, seconds.
    pub expires_in: Option<u32>,
}

impl JwtSvidRequest {
    /// Reads the parameters; unknown ones are ignored.
    pub fn parse(form: &Form) -> Result<Self, Rejection> {
        form.require("audience")?;
        let mut audiences: Vec<String> = Vec::with_capacity(1);
        for audience in form.all("audience") {
            let is_new = audiences.iter().all(|known| known != audience);
            if !is_audience(audience) || !is_new || audiences.len() == AUDIENCES_MAX {
                return Err(Rejection::ParameterMalformed("audience"));
            }
            audiences.push(audience.to_owned());
        }
        let task = form.get("task").map(|task| task.parse().map_err(|_| Rejection::Task));
        Ok(Self {
            audiences,
            task: task.transpose()?,
            expires_in: form.get("expires_in").map(seconds).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<JwtSvidRequest, Rejection> {
        JwtSvidRequest::parse(&Form::parse(body.as_bytes()).expect("a form"))
    }

    #[test]
    fn a_request_names_whom_it_is_for() {
        let task = TaskId::new(1, [1; 10]);
        let read = parse(&format!("audience=https%3A%2F%2Fa&audience=b&task={task}&expires_in=60"));
        let read = read.expect("a request");
        assert_eq!(read.audiences, ["https://a", "b"]);
        assert_eq!((read.task, read.expires_in), (Some(task), Some(60)));
        for wrong in ["", "audience=", "expires_in=60"] {
            assert_eq!(
                parse(wrong).err(),
                Some(Rejection::ParameterMissing("audience")),
                "{wrong}"
            );
        }
        let many: Vec<_> = (0..=AUDIENCES_MAX).map(|n| format!("audience=a{n}")).collect();
        let many = many.join("&");
        let long = format!("audience={}", "x".repeat(crate::jwt_svid::AUDIENCE_BYTES_MAX + 1));
        for wrong in ["audience=a&audience=a", "audience=a+b", "audience=%C3%A9", &many, &long] {
            let error = parse(wrong).err();
            assert_eq!(error, Some(Rejection::ParameterMalformed("audience")), "{wrong}");
        }
        assert_eq!(parse("audience=a&task=plan").err(), Some(Rejection::Task));
        assert_eq!(parse("audience=a&expires_in=0").err(), Some(Rejection::ExpiresIn));
    }
}
