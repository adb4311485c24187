//! What is refused before the command line is parsed: a secret in it.
//!
//! Arguments are visible to every process of the machine and end up in shell histories. So a
//! secret is taken from the environment, a file or standard input only, and one that is given
//! as an argument is refused without being repeated.

use std::ffi::OsString;

use crate::errors::Failure;

/// Refuses a command line that holds a machine secret, or a flag that would take one.
pub(crate) fn refuse_secrets(argv: &[OsString]) -> Result<(), Failure> {
    let mut is_ours = true;
    for argument in argv.iter().skip(1) {
        let argument = argument.to_string_lossy();
        if holds_secret(&argument) {
            return Err(Failure::usage(
                "a secret stands on the command line",
                "arguments can be read by every process of this machine and stay in the shell's \
                 history; treat this secret as known and replace it",
                "set ACCREDIT_TOKEN or ACCREDIT_CLIENT_SECRET, or use --token-file FILE or \
                 --secret-file FILE",
            ));
        }
        // What is behind it is another program's.
        is_ours &= argument != "--";
        let flag = argument.split('=').next().unwrap_or_default();
        if !is_ours {
            continue;
        }
        let instead = match flag {
            "--token" | "--admin-token" => "set ACCREDIT_TOKEN, or use --token-file FILE",
            "--secret" | "--client-secret" | "--password" => {
                "set ACCREDIT_CLIENT_SECRET, use --secret-file FILE, or pipe the secret in"
            }
            _ => continue,
        };
        return Err(Failure::usage(
            &format!("there is no `{flag}`"),
            "a secret is never taken from the command line, where other processes can read it",
            instead,
        ));
    }
    Ok(())
}

/// Whether a machine secret stands somewhere in the text: `acr_<kind>_` and at least as many
/// characters as a credential's id has.
fn holds_secret(text: &str) -> bool {
    text.match_indices("acr_").any(|(at, prefix)| {
        let rest = &text[at + prefix.len()..];
        rest.split_once('_').is_some_and(|(kind, rest)| {
            let run = rest.bytes().take_while(u8::is_ascii_alphanumeric).count();
            !kind.is_empty()
                && kind.bytes().all(|byte| byte.is_ascii_lowercase())
                && run >= accredit_wire::ids::ID_TEXT_LEN
        })
    })
}

/// Whether the answer, and so also an error, is wanted as JSON. Asked before parsing, because
/// a command line that does not parse is answered too.
pub(crate) fn wants_json(argv: &[OsString], from_environment: Option<&str>) -> bool {
    let mut wanted = from_environment == Some("json");
    let mut arguments = argv.iter().skip(1).map(|argument| argument.to_string_lossy());
    while let Some(argument) = arguments.next() {
        match argument.split_once('=') {
            Some(("--output", value)) => wanted = value == "json",
            None if argument == "--output" => {
                wanted = arguments.next().is_some_and(|value| value == "json");
            }
            None if argument == "--" => break,
            _ => {}
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    const SECRET: &str = "acr_admin_0123456789abcdefghjkmnpqrs_\
                          0123456789abcdefghjkmnpqrs0123456789abcdefghjkmnpqrs_AbCdEf";

    fn argv(line: &[&str]) -> Vec<OsString> {
        std::iter::once("accredit").chain(line.iter().copied()).map(OsString::from).collect()
    }

    #[test]
    fn a_secret_is_refused_wherever_it_stands_and_not_repeated() {
        for line in [
            vec!["org", "list", "--url", SECRET],
            vec!["revoke", "crd_x", "--reason", &format!("leaked {SECRET} on a page")],
            vec![SECRET],
            vec!["--anything", &format!("--x={SECRET}")],
        ] {
            let failure = refuse_secrets(&argv(&line)).expect_err("refused");
            assert_eq!(failure.exit, Exit::Usage);
            assert!(!format!("{failure:?}").contains("0123456789"), "the secret is repeated");
        }
    }

    #[test]
    fn a_flag_for_a_secret_is_answered_with_the_way_to_give_it() {
        for flag in ["--token", "--token=x", "--client-secret", "--secret=y"] {
            let failure = refuse_secrets(&argv(&["org", "list", flag])).expect_err("refused");
            assert!(failure.hint.contains("ACCREDIT_"), "{flag}");
            assert!(!failure.title.contains('='), "the value is repeated");
        }
    }

    #[test]
    fn behind_two_dashes_another_programs_flags_stand_and_our_secrets_do_not() {
        let run = |word: &str| refuse_secrets(&argv(&["run", "--agent", "a", "--", "curl", word]));
        for theirs in ["--token", "--password=x", "--secret"] {
            assert!(run(theirs).is_ok(), "{theirs}");
        }
        assert!(run(SECRET).is_err());
        assert!(refuse_secrets(&argv(&["run", "--token", "--", "x"])).is_err());
    }

    #[test]
    fn ids_and_names_are_no_secrets() {
        let line = [
            "revoke",
            "crd_0123456789abcdefghjkmnpqrs",
            "--reason",
            "acr_agent_ was seen",
            "--token-file",
            "f",
            "--secret-file=g",
        ];
        assert!(refuse_secrets(&argv(&line)).is_ok());
    }

    #[test]
    fn the_wish_for_json_is_known_before_parsing() {
        assert!(wants_json(&argv(&["org", "--output", "json"]), None));
        assert!(wants_json(&argv(&["--output=json", "nonsense"]), None));
        assert!(wants_json(&argv(&[]), Some("json")));
        assert!(!wants_json(&argv(&["--output", "table"]), Some("json")), "the flag wins");
        assert!(!wants_json(&argv(&["--", "--output", "json"]), None));
    }
}
