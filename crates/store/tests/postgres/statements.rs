//! What every statement keeps to, so that engines that speak PostgreSQL's protocol and are spread over
//! machines may carry it out: read from the sources themselves, so that none is forgotten.

use std::path::{Path, PathBuf};

/// What one of those engines lacks, or what would make an order or a lock of what is none: CockroachDB,
/// YugabyteDB, Citus and Aurora DSQL. `FOR UPDATE` locks rows, which they have.
const LACKED: [&str; 18] = [
    "pg_advisory",
    "pg_try_advisory",
    "LOCK TABLE",
    "nextval",
    "currval",
    "lastval",
    "SERIAL",
    "GENERATED ALWAYS",
    "TEMPORARY",
    "TEMP TABLE",
    "CREATE UNLOGGED",
    "DECLARE ",
    "ctid",
    "TRUNCATE",
    "INHERITS",
    "SKIP LOCKED",
    "SET SESSION",
    "random()",
];
/// How a statement begins.
const VERBS: [&str; 6] = ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "WITH ", "CREATE "];
/// The seam itself, in which each engine has named methods of its own.
const SEAM: &str = "driver";

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            if !path.ends_with(SEAM) {
                sources(&path, found);
            }
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// The texts in quotes of a source, with the ends of lines that a backslash takes away.
fn quoted(source: &str) -> Vec<String> {
    let (mut found, mut open, mut letters) =
        (Vec::new(), None::<String>, source.chars().peekable());
    while let Some(letter) = letters.next() {
        match (&mut open, letter) {
            (None, '/') if letters.peek() == Some(&'/') => {
                letters.by_ref().find(|letter| *letter == '\n');
            }
            (None, '\'') if letters.peek() == Some(&'"') => {
                letters.next();
            }
            (None, '"') => open = Some(String::new()),
            (None, _) => {}
            (Some(text), '\\') => match letters.next() {
                Some('\n') => while letters.next_if(|letter| letter.is_whitespace()).is_some() {},
                escaped => text.extend(escaped),
            },
            (Some(_), '"') => found.extend(open.take()),
            (Some(text), letter) => text.push(letter),
        }
    }
    found
}

fn lacked(text: &str) -> Option<&'static str> {
    let text = text.to_lowercase();
    LACKED.into_iter().find(|word| text.contains(&word.to_lowercase()))
}

#[test]
fn no_statement_needs_what_engines_of_many_machines_lack() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    let mut statements = 0;
    for file in files {
        let source = std::fs::read_to_string(&file).expect("a source");
        for text in quoted(&source) {
            if !VERBS.iter().any(|verb| text.trim_start().starts_with(verb)) {
                continue;
            }
            statements += 1;
            assert_eq!(lacked(&text), None, "{}: {text}", file.display());
        }
    }
    assert!(statements > 150, "{statements} were found");
}

#[test]
fn what_is_looked_for_is_found() {
    let source = "// \"SELECT nextval\"\nlet a = '\"'; x(\"SELECT \\\n   pg_advisory_lock(1)\", \"b\\\"c\");";
    let texts = quoted(source);
    assert_eq!(texts, ["SELECT pg_advisory_lock(1)", "b\"c"]);
    assert_eq!(lacked(&texts[0]), Some("pg_advisory"));
    assert_eq!(lacked("SELECT name FROM agent"), None);
}

/// The first migration that runs while the version before serves.
const ADDITIVE_FROM: &str = "0033";

/// The statements of a migration, without its comments.
fn statements_of(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| line.split("--").next().unwrap_or_default());
    let whole = lines.collect::<Vec<_>>().join(" ");
    let words = whole.split(';').map(|it| it.split_whitespace().collect::<Vec<_>>().join(" "));
    words.filter(|statement| !statement.is_empty()).collect()
}

/// Whether the version before serves on while a statement of this kind runs, and after it.
fn only_adds(statement: &str) -> bool {
    let adds_column = statement.starts_with("ALTER TABLE ")
        && statement.contains(" ADD COLUMN ")
        && !statement.contains(", ADD ")
        && (!statement.contains(" NOT NULL") || statement.contains(" DEFAULT "))
        && !statement.contains(" UNIQUE")
        && !statement.contains(" CHECK")
        && !statement.contains(" REFERENCES ");
    adds_column || statement.starts_with("CREATE TABLE ") || statement.starts_with("CREATE INDEX ")
}

/// One statement about the schema in each, or none where it is what the rows say that is new: engines of
/// many machines take no more in a transaction, and a migration that is cut off goes on where it was.
#[test]
fn migrations_only_add_one_thing_each_while_the_version_before_serves() {
    let mut seen = 0;
    for engine in ["postgres", "sqlite"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("migrations/{engine}"));
        for entry in std::fs::read_dir(folder).expect("migrations") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
            if name < ADDITIVE_FROM {
                continue;
            }
            seen += 1;
            let text = std::fs::read_to_string(&path).expect("a migration");
            let statements = statements_of(&text);
            assert!(statements.len() <= 1, "{name} does more than one thing");
            for statement in statements {
                assert!(only_adds(&statement), "{name}: {statement}");
            }
        }
    }
    assert!(seen >= 6, "{seen}");
    for statement in [
        "DROP TABLE agent",
        "ALTER TABLE agent DROP COLUMN name",
        "ALTER TABLE agent RENAME COLUMN name TO title",
        "ALTER TABLE agent ADD COLUMN must TEXT NOT NULL",
        "ALTER TABLE agent ADD COLUMN one INTEGER, ADD COLUMN two INTEGER",
        "CREATE UNIQUE INDEX agent_by_title ON agent (org, title)",
        "UPDATE agent SET name = ''",
    ] {
        assert!(!only_adds(statement), "{statement}");
    }
}

/// The organization leads every key of what belongs to one, so that a shard can be cut by it.
#[test]
fn the_organization_leads_every_key_on_postgresql() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/postgres");
    let of_nobody = ["installation", "pepper", "heartbeat", "change", "change_head"];
    let mut tables = 0;
    for entry in std::fs::read_dir(folder).expect("migrations") {
        let text = std::fs::read_to_string(entry.expect("an entry").path()).expect("a migration");
        assert_eq!(lacked(&text), None);
        for table in text.split("CREATE TABLE ").skip(1) {
            let (name, rest) = table.split_once(" (").expect("a table");
            let (body, _) = rest.split_once("\n);").expect("its end");
            if of_nobody.contains(&name) || !body.contains("PRIMARY KEY (") {
                continue;
            }
            tables += 1;
            assert!(body.contains("PRIMARY KEY (org"), "{name}: {body}");
        }
    }
    assert!(tables > 20, "{tables}");
}
