use super::*;

fn parse_line(line: &[&str]) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("accredit").chain(line.iter().copied()))
}

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn the_forms_that_scripts_rely_on_are_read() {
    for line in [
        "resource create crm --audience https://crm.example --action read --action write",
        "resource create crm --audience https://crm.example --action read write",
        "agent create a --owner jo@example.com --purpose p --allow crm:read --activate",
        "agent create a --owner jo@example.com --purpose p --allow crm:read crm:write",
        "credential create --agent a --type client-secret",
        "credential create --resource crm --type client-secret --output json",
        "credential create --agent a --type public-key --jwk key.json",
        "credential create --instance ins_1 --type public-key --jwk - --expires-in 30d",
        "instance create --agent a --output json",
        "instance create --agent a --expires-in 15m --name x",
        "revoke ins_1 --reason done",
        "--output json revoke ins_1 --reason done",
        "audit export -o log.ndjson",
        "audit export -o -",
        "audit verify log.ndjson --key log.key",
        "audit verify log.ndjson --key log.key --checkpoint old.note --output json",
        "audit tail --follow",
        "audit key",
        "agents ls --all",
        "org show acme",
        "permission set --agent a --resource crm --action read",
        "token get --org dev --client-id agt_1 --scope crm:read crm:write --expires-in 60",
        "permission set --agent a --allow crm:read crm:update(amount<=100)",
        "agent create a --owner jo@example.com --allow crm:update(/eu/*;n<=5) crm:read",
        "token get --org dev --client-id agt_1 --allow crm:update(amount<=100)",
        "token inspect",
        "token narrow --allow crm:read --expires-in 5m",
        "token narrow --to agt_01kajvzhe0e02r000000000005 --to-key key.jwk --key own.jwk -",
        "signing-key list",
        "agent decommission a --yes",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        if let Err(error) = parse_line(&words) {
            panic!("{line}: {error}");
        }
    }
}

#[test]
fn mistakes_are_refused_before_anything_is_sent() {
    for line in [
        "",
        "agent",
        "agent create",
        "agent create a --owner jo@example.com --allow crm",
        "agent create a --owner jo@example.com --allow crm:",
        "agent create a --owner jo@example.com --allow crm:a:b",
        "agent create a --owner jo@example.com --allow crm:a(amount<100)",
        "agent create a --owner jo@example.com --allow crm:a(/a/../b)",
        "permission set --agent a --resource crm",
        "permission set --agent a --action read",
        "permission set --agent a --allow crm:read --resource crm --action read",
        "permission set --agent a --allow crm:update(amount<=1.5)",
        "resource create crm --audience https://crm.example",
        "resource create crm --audience https://crm.example --action read --revocations-age-max soon",
        "credential create --type client-secret",
        "credential create --agent a --resource b --type client-secret",
        "credential create --agent a --type public-key",
        "credential create --agent a --type password",
        "instance create --agent a --expires-in 0s",
        "revoke ins_1",
        "revoke --reason x",
        "org suspend acme --yes",
        "agent list --limit 0",
        "agent list --limit 5 --all",
        "agent review a --review-due tomorrow",
        "audit verify log.ndjson",
        "audit export",
        "agent list --output xml",
        "agent list --token-fil x",
        "token get --org a --issuer https://x.example/o/a --client-id b",
    ] {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Err(error) = parse_line(&words) else { panic!("accepted: {line}") };
        assert_eq!(error.exit_code(), i32::from(Exit::Usage.code()), "{line}");
    }
}

/// Every command, with its path.
fn leaves(command: &clap::Command, path: &str, found: &mut Vec<(String, clap::Command)>) {
    let path = format!("{path} {}", command.get_name());
    if command.get_subcommands().next().is_none() {
        found.push((path, command.clone()));
        return;
    }
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
        leaves(inner, &path, found);
    }
}

#[test]
fn every_command_has_an_example_and_a_sentence_for_every_argument() {
    let mut found = Vec::new();
    leaves(&Cli::command(), "", &mut found);
    assert!(found.len() > 40, "{}", found.len());
    for (path, command) in found {
        let example = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(example.contains(path.trim_start()), "{path}: {example}");
        assert!(command.get_about().is_some(), "{path}");
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{path} {}", argument.get_id());
        }
    }
}

#[test]
fn there_is_no_flag_that_takes_a_secret() {
    let mut found = Vec::new();
    leaves(&Cli::command(), "", &mut found);
    for (path, command) in found {
        for argument in command.get_arguments() {
            let name = argument.get_long().unwrap_or_default();
            assert!(!matches!(name, "token" | "secret" | "client-secret" | "password"), "{path}");
        }
    }
}

#[test]
fn a_body_has_only_what_was_given() {
    let body = Body::new().with("a", 1).with_opt("b", None::<String>).with_opt("c", Some("d"));
    assert_eq!(body.json(), serde_json::json!({"a": 1, "c": "d"}));
    let failure = Body::new().changed("--name").expect_err("nothing to update");
    assert_eq!(failure.exit, Exit::Usage);
    assert!(failure.hint.contains("--name"));
}

#[test]
fn a_mistake_as_json_says_what_and_what_next() {
    let mistake = |line: &[&str]| misread(&parse_line(line).expect_err("a mistake"));
    let failure = mistake(&["agent", "creat"]);
    assert_eq!(&*failure.detail, "unrecognized subcommand 'creat'");
    assert_eq!(&*failure.hint, "a similar subcommand exists: 'create'");
    let failure = mistake(&["revoke", "agt_1"]);
    assert!(failure.detail.contains("--reason <TEXT>"), "{failure:?}");
    assert_eq!(failure.exit, Exit::Usage);
    assert!(mistake(&["agent"]).detail.len() < 80, "not the whole help");
}
