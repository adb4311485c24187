//! Exit codes: one table, documented in `accredit --help`, on which scripts branch.
//!
//! A number never changes its meaning. 7 is kept for "approval pending", which no command can
//! answer yet.

use std::process::ExitCode;

use http::StatusCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what it was asked to do.
    Ok,
    /// It failed for a reason that has no code of its own.
    Failure,
    /// The command line, or a value in it, is wrong.
    Usage,
    /// What was named does not exist.
    NotFound,
    /// No credential, or one that is not accepted.
    NotAuthenticated,
    /// The credential is good, but may not do this.
    Denied,
    /// The thing exists already, or is in a state that does not allow this.
    Conflict,
    /// The server could not be reached, or is not ready.
    Unreachable,
    /// What was to be verified is not what it claims to be.
    VerificationFailed,
    /// Stopped by the keyboard.
    Interrupted,
    /// As the command ended that `accredit run` ran. It says nothing of ours.
    OfProgram(u8),
}

/// Every way to end: code and meaning, in the order of the codes.
pub(crate) const TABLE: [(Exit, u8, &str); 10] = [
    (Exit::Ok, 0, "ok"),
    (Exit::Failure, 1, "failure"),
    (Exit::Usage, 2, "usage: the command line or a value in it is wrong"),
    (Exit::NotFound, 3, "not found"),
    (Exit::NotAuthenticated, 4, "not authenticated"),
    (Exit::Denied, 5, "denied"),
    (Exit::Conflict, 6, "conflict, or a precondition that does not hold"),
    (Exit::Unreachable, 8, "server unreachable or not ready"),
    (Exit::VerificationFailed, 9, "verification failed"),
    (Exit::Interrupted, 130, "interrupted"),
];

impl Exit {
    /// The number that the process ends with.
    pub(crate) fn code(self) -> u8 {
        if let Self::OfProgram(code) = self {
            return code;
        }
        TABLE.iter().find(|(exit, ..)| *exit == self).map_or(1, |(_, code, _)| *code)
    }

    /// How a command ends that was answered with this status.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        match status.as_u16() {
            200..=299 => Self::Ok,
            400 | 405 | 413 | 415 | 422 => Self::Usage,
            401 => Self::NotAuthenticated,
            403 => Self::Denied,
            404 | 410 => Self::NotFound,
            409 | 412 | 428 => Self::Conflict,
            502..=504 => Self::Unreachable,
            _ => Self::Failure,
        }
    }

    /// How a command ends that a token endpoint refused with this error (RFC 6749 section 5.2,
    /// RFC 8707 section 2); the status decides for errors that are not known here.
    pub(crate) fn of_oauth_error(error: &str, status: StatusCode) -> Self {
        match error {
            "invalid_client" => Self::NotAuthenticated,
            "invalid_grant"
            | "invalid_scope"
            | "invalid_target"
            | "unauthorized_client"
            | "access_denied" => Self::Denied,
            "temporarily_unavailable" => Self::Unreachable,
            "server_error" => Self::Failure,
            _ => Self::of_status(status),
        }
    }

    /// The table as it stands below `accredit --help`.
    pub(crate) fn help() -> String {
        let lines = TABLE.iter().map(|(_, code, meaning)| format!("\n  {code:>3}  {meaning}"));
        lines.fold("Exit codes:".to_owned(), |text, line| text + &line)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16) -> u8 {
        Exit::of_status(StatusCode::from_u16(status).expect("a status")).code()
    }

    #[test]
    fn the_codes_are_those_that_scripts_branch_on() {
        let codes: Vec<u8> = TABLE.iter().map(|(exit, ..)| exit.code()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 8, 9, 130]);
        assert_eq!(Exit::Unreachable.code(), 8);
        assert_eq!(Exit::VerificationFailed.code(), 9);
        assert_eq!(Exit::Interrupted.code(), 130);
        assert_eq!([0, 7, 255].map(|code| Exit::OfProgram(code).code()), [0, 7, 255]);
    }

    #[test]
    fn every_status_has_a_code_and_only_success_is_zero() {
        for status in 100..600 {
            assert_eq!(of(status) == 0, (200..300).contains(&status), "{status}");
        }
        for (status, code) in [
            (400, 2),
            (401, 4),
            (403, 5),
            (404, 3),
            (409, 6),
            (412, 6),
            (429, 1),
            (500, 1),
            (503, 8),
        ] {
            assert_eq!(of(status), code, "{status}");
        }
    }

    #[test]
    fn a_refused_token_is_denied_and_a_bad_secret_is_not_authenticated() {
        let code = |error, status| {
            Exit::of_oauth_error(error, StatusCode::from_u16(status).expect("a status")).code()
        };
        assert_eq!(code("invalid_scope", 400), 5);
        assert_eq!(code("invalid_client", 401), 4);
        assert_eq!(code("invalid_request", 400), 2);
        assert_eq!(code("something_new", 500), 1);
    }
}
