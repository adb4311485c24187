//! Errors as the command line tells them: what, why, and what to do next.
//!
//! A server's answer (RFC 9457 for the administration, RFC 6749 section 5.2 for tokens) is
//! mapped here, once. A text that came from elsewhere is shown with its control characters
//! escaped, so that no answer can drive a terminal.

use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::exit::Exit;

/// The longest text of a server that is shown in an error, in characters.
const SHOWN_CHARS_MAX: usize = 600;

/// A command that did not do what it was asked to do.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Failure {
    /// How the process ends.
    #[serde(skip)]
    pub(crate) exit: Exit,
    /// A stable name for the kind of failure, a URI; the server's own where it answered.
    #[serde(rename = "type")]
    pub(crate) kind: Box<str>,
    /// What happened.
    pub(crate) title: Box<str>,
    /// Why.
    pub(crate) detail: Box<str>,
    /// What to do next, where possible a command.
    pub(crate) hint: Box<str>,
    /// The request as the server's log knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) request_id: Option<Box<str>>,
}

impl Failure {
    /// A failure of this end; `kind` is the last part of its type.
    pub(crate) fn new(exit: Exit, kind: &str, title: &str, detail: &str, hint: &str) -> Self {
        Self {
            exit,
            kind: format!("urn:accredit:cli:{kind}").into(),
            title: plain(title).into(),
            detail: plain(detail).into(),
            hint: plain(hint).into(),
            request_id: None,
        }
    }

    /// The command line, or a value in it, is wrong.
    pub(crate) fn usage(title: &str, detail: &str, hint: &str) -> Self {
        Self::new(Exit::Usage, "usage", title, detail, hint)
    }

    /// A file or a stream of this machine could not be read or written.
    pub(crate) fn file(what: &str, error: &std::io::Error, hint: &str) -> Self {
        let exit = if error.kind() == std::io::ErrorKind::NotFound {
            Exit::NotFound
        } else {
            Exit::Failure
        };
        Self::new(exit, "file", what, &error.to_string(), hint)
    }

    /// The server could not be reached at this address.
    pub(crate) fn unreachable(url: &str, detail: &str) -> Self {
        Self::new(
            Exit::Unreachable,
            "unreachable",
            &format!("the server at {url} could not be reached"),
            detail,
            "check --url or ACCREDIT_URL, and that `accredit serve` or `accredit dev` is running",
        )
    }

    /// The server answered with something that is not what its API says.
    pub(crate) fn not_understood(url: &str, detail: &str) -> Self {
        Self::new(
            Exit::Failure,
            "answer",
            "the server's answer was not understood",
            &format!("{url}: {detail}"),
            "check that --url names an Accredit server of this version or newer",
        )
    }

    /// A command that was run ended so; it has said itself what there was to say.
    pub(crate) fn of_program(code: u8) -> Self {
        let detail = format!("it ended with {code}");
        Self::new(
            Exit::OfProgram(code),
            "program",
            "the command failed",
            &detail,
            "see what it said",
        )
    }

    /// Stopped by the keyboard.
    pub(crate) fn interrupted() -> Self {
        Self::new(
            Exit::Interrupted,
            "interrupted",
            "interrupted",
            "the command was stopped before its end",
            "run it again; whatever the server had already answered has happened",
        )
    }

    /// What a server's answer with this status and body means (RFC 9457, RFC 6749).
    pub(crate) fn of_answer(status: StatusCode, body: &[u8]) -> Self {
        let said: Said = serde_json::from_slice(body).unwrap_or_default();
        let kind = match (&said.kind, &said.error, &said.rule) {
            (Some(kind), ..) if kind != "about:blank" => kind.clone(),
            (_, _, Some(rule)) => format!("urn:accredit:problem:{rule}"),
            (_, Some(error), _) => format!("urn:accredit:oauth:{error}"),
            _ => format!("urn:accredit:http:{}", status.as_u16()),
        };
        let exit = match &said.error {
            Some(error) => Exit::of_oauth_error(error, status),
            None => Exit::of_status(status),
        };
        let title = said
            .title
            .or(said.error)
            .unwrap_or_else(|| status.canonical_reason().unwrap_or("refused").to_lowercase());
        let detail = said
            .detail
            .or(said.error_description)
            .unwrap_or_else(|| format!("the server answered {}", status.as_u16()));
        let hint = said.hint.unwrap_or_else(|| default_hint(exit).to_owned());
        Self {
            // A status that is no error must not pass for success here.
            exit: if exit == Exit::Ok { Exit::Failure } else { exit },
            kind: plain(&kind).into(),
            title: plain(&title).into(),
            detail: plain(&detail).into(),
            hint: plain(&hint).into(),
            request_id: said.request_id.as_deref().map(|id| plain(id).into()),
        }
    }

    /// The failure for people: three lines.
    pub(crate) fn lines(&self, colour: bool) -> String {
        let (red, dim, end) =
            if colour { ("\x1b[1;31m", "\x1b[2m", "\x1b[0m") } else { ("", "", "") };
        let request = self
            .request_id
            .as_ref()
            .map(|id| format!(" {dim}(request {id}){end}"))
            .unwrap_or_default();
        format!(
            "{red}error:{end} {}\n  {dim}why:{end} {}{request}\n  {dim}try:{end} {}\n",
            self.title, self.detail, self.hint
        )
    }

    /// The failure for programs: one JSON object on one line.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| "{}".to_owned()) + "\n"
    }
}

/// What may stand in the body of an error, of either kind. Other members are ignored.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Said {
    #[serde(rename = "type")]
    kind: Option<String>,
    title: Option<String>,
    detail: Option<String>,
    hint: Option<String>,
    request_id: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
    rule: Option<String>,
}

fn default_hint(exit: Exit) -> &'static str {
    match exit {
        Exit::NotAuthenticated => {
            "set ACCREDIT_TOKEN or --token-file to a live key of this organization"
        }
        Exit::Denied => "ask an administrator whose key may do this",
        Exit::NotFound => "look for it with the noun's `list`, for example `accredit agent list`",
        Exit::Conflict => "look at its present state with the noun's `get`",
        Exit::Usage => "see the command's --help for what it takes",
        Exit::Unreachable => "try again in a moment; `GET /readyz` says what is missing",
        _ => "try again; if it stays, look for the request in the server's log",
    }
}

/// A text on one line, its control characters escaped, cut where it is longer than is read.
pub(crate) fn plain(text: &str) -> String {
    let line = one_line(text);
    match line.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// A text on one line, its control characters escaped.
pub(crate) fn one_line(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' | '\r' | '\t' => shown.push(' '),
            _ if letter.is_control() || is_invisible(letter) => {
                shown.extend(letter.escape_default());
            }
            _ => shown.push(letter),
        }
    }
    shown
}

/// Letters that reorder or hide what stands beside them, or end a line for some readers.
fn is_invisible(letter: char) -> bool {
    matches!(
        letter,
        '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}'
            | '\u{feff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_in_three_lines_with_its_hint() {
        let body = br#"{"type":"urn:accredit:problem:agent.unknown","title":"no such agent",
            "status":404,"detail":"`crm-bot` is not an agent of `dev`","hint":"accredit agent list",
            "request_id":"req_1"}"#;
        let failure = Failure::of_answer(StatusCode::NOT_FOUND, body);
        assert_eq!(failure.exit, Exit::NotFound);
        assert_eq!(
            failure.lines(false),
            "error: no such agent\n  why: `crm-bot` is not an agent of `dev` (request req_1)\n  \
             try: accredit agent list\n"
        );
        let json: serde_json::Value = serde_json::from_str(&failure.json()).expect("JSON");
        assert_eq!(json["type"], "urn:accredit:problem:agent.unknown");
        assert_eq!(json["request_id"], "req_1");
        assert_eq!(json.as_object().expect("an object").len(), 5);
    }

    #[test]
    fn an_oauth_refusal_keeps_its_rule_and_hint() {
        let body = br#"{"error":"invalid_scope","error_description":"`crm:write` is not granted",
            "rule":"scope.not_granted","hint":"ask for crm:read"}"#;
        let failure = Failure::of_answer(StatusCode::BAD_REQUEST, body);
        assert_eq!(failure.exit, Exit::Denied);
        assert_eq!(&*failure.kind, "urn:accredit:problem:scope.not_granted");
        assert_eq!(&*failure.hint, "ask for crm:read");
    }

    #[test]
    fn an_answer_that_is_no_json_still_has_three_lines_and_never_ends_with_zero() {
        for status in [200, 302, 404, 502] {
            let status = StatusCode::from_u16(status).expect("a status");
            let failure = Failure::of_answer(status, b"<html>Bad gateway</html>");
            assert_ne!(failure.exit, Exit::Ok);
            assert_eq!(failure.lines(false).lines().count(), 3);
            assert!(!failure.hint.is_empty());
        }
    }

    #[test]
    fn an_answer_cannot_drive_the_terminal() {
        let body = br#"{"title":"\u001b[2J\u202egone","detail":"a\nb","hint":"\u0007"}"#;
        let lines = Failure::of_answer(StatusCode::FORBIDDEN, body).lines(false);
        assert!(!lines.contains('\u{1b}') && !lines.contains('\u{202e}'), "{lines:?}");
        assert_eq!(lines.lines().count(), 3);
    }
}
