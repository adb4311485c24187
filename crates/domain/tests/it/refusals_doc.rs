//! `docs/refusals.md` is generated from the rules of the domain.

use std::fmt::Write as _;
use std::path::Path;

use accredit_domain::Rule;
use accredit_domain::refusal::Kind;

const HEAD: &str = "# Refusals

Every no of the domain, with the rule that says it. The rule is stable: programs branch on it. Over
OAuth it stands in the member `rule` beside `error` (RFC 6749 section 5.2), in the admin API at the
end of the problem's `type`, `urn:accredit:problem:<rule>` (RFC 9457). Each comes with a detail and
with a hint on what to do about it. Malformed OAuth messages and HTTP requests are refused before
the domain sees them, by rules of their own that say what is wrong with the message.

This file is generated from the rules by a test, which rewrites it where it differs.

| rule | kind | OAuth | admin API | meaning |
|---|---|---|---|---|
";

/// How a kind is told over OAuth and in the admin API: `server/failure.rs`, in words.
fn told(kind: Kind) -> (&'static str, &'static str, u16) {
    match kind {
        Kind::Invalid => ("invalid", "`invalid_request` 400", 400),
        Kind::Unauthenticated => ("unauthenticated", "`invalid_client` 401", 401),
        Kind::Grant => ("grant", "`invalid_grant` 400", 400),
        Kind::Denied => ("denied", "`unauthorized_client` 403", 403),
        Kind::NotFound => ("not found", "`invalid_request` 404", 404),
        Kind::Conflict => ("conflict", "`invalid_request` 400", 409),
        Kind::UnauthorizedClient => ("unauthorized client", "`unauthorized_client` 400", 403),
        Kind::Scope => ("scope", "`invalid_scope` 400", 400),
        Kind::Details => ("authorization details", "`invalid_authorization_details` 400", 400),
        Kind::Target => ("target", "`invalid_target` 400", 400),
        Kind::Proof => ("proof", "`invalid_dpop_proof` 400", 400),
        Kind::ProofNonce => ("proof", "`use_dpop_nonce` 400", 400),
        Kind::Precondition => ("precondition", "`invalid_request` 412", 412),
        Kind::Unprocessable => ("unprocessable", "`invalid_request` 422", 422),
        Kind::TooMany => ("too many", "`temporarily_unavailable` 429", 429),
        Kind::Unavailable => ("unavailable", "`temporarily_unavailable` 503", 503),
    }
}

fn generated() -> String {
    let mut text = HEAD.to_owned();
    for rule in Rule::ALL {
        let (kind, oauth, admin) = told(rule.kind());
        let (code, meaning) = (rule.code(), rule.meaning());
        writeln!(text, "| `{code}` | {kind} | {oauth} | {admin} | {meaning} |").expect("a string");
    }
    text
}

#[test]
fn the_list_of_refusals_is_current() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/refusals.md");
    let generated = generated();
    if std::fs::read_to_string(&file).is_ok_and(|kept| kept == generated) {
        return;
    }
    std::fs::write(&file, generated).expect("a writable file");
    panic!("docs/refusals.md was not current and has been rewritten: check it in");
}

#[test]
fn what_the_list_says_of_each_kind_is_what_the_server_does() {
    use accredit_domain::Refusal;
    use accredit_server::failure::{Failure, Language, render};
    use accredit_wire::ids::RequestId;
    for rule in Rule::ALL {
        let (_, _, admin) = told(rule.kind());
        let refusal = || Failure::Refused(Refusal::new(*rule, "x", "y"));
        let id = RequestId::new(1, [1; 10]);
        let problem = render(refusal(), Language::Problem, id);
        assert_eq!(problem.status().as_u16(), admin, "{}", rule.code());
        let (_, oauth, _) = told(rule.kind());
        let reply = render(refusal(), Language::OAuth, id);
        assert!(oauth.ends_with(reply.status().as_str()), "{}: {oauth}", rule.code());
    }
}
