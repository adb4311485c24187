//! What a command prints: data to standard output, talk to standard error.
//!
//! As JSON, data is the API's own object as it came. As a table it is for people: lists fit the
//! terminal without ever breaking an id, and are not fitted to anything where they are piped.
//! Texts of others are shown with their control characters escaped.

use std::io::{IsTerminal, Write};

use accredit_wire::authority::Permission;
use accredit_wire::oauth::authorization_details::DETAIL_TYPE;
use comfy_table::{Attribute, Cell, ColumnConstraint, ContentArrangement, Table};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::args::{Format, GlobalFlags};
use crate::client_settings::Surroundings;
use crate::errors::{Failure, one_line};
use crate::exit::Exit;
use crate::input;
use crate::json_text::{self, Members};

/// How and where this command prints.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    /// The form of data.
    pub(crate) format: Format,
    /// A person can be asked.
    pub(crate) interactive: bool,
    /// Standard output is a terminal.
    pub(crate) on_terminal: bool,
    /// Standard error is a terminal: progress may be shown.
    pub(crate) talk_on_terminal: bool,
    quiet: bool,
    data_colour: bool,
    talk_colour: bool,
}

/// One object of the API: as it came, and as it is read.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The object's text; empty where the server answered without one.
    pub(crate) text: String,
    /// The same, parsed.
    pub(crate) value: Value,
    /// Whether the server had given it before, to an attempt whose answer was lost.
    pub(crate) replayed: bool,
}

impl Answer {
    /// The text of one of its members.
    pub(crate) fn member(&self, name: &str) -> Option<&str> {
        self.value.get(name).and_then(Value::as_str)
    }
}

/// Part of a list: its items as they came, and where to go on.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// The items.
    pub(crate) items: Vec<Box<RawValue>>,
    /// The cursor of what follows.
    pub(crate) next: Option<String>,
}

impl Page {
    /// A whole list that was made here.
    pub(crate) fn of(items: impl Iterator<Item = Value>) -> Self {
        let items = items.filter_map(|item| serde_json::value::to_raw_value(&item).ok()).collect();
        Self { items, next: None }
    }

    fn json(&self) -> String {
        let items: Vec<&str> = self.items.iter().map(|item| item.get()).collect();
        let next = serde_json::to_string(&self.next).unwrap_or_else(|_| "null".to_owned());
        format!("{{\"items\":[{}],\"next\":{next}}}", items.join(","))
    }
}

/// A column of a list.
#[derive(Clone, Copy)]
pub(crate) struct Column {
    header: &'static str,
    cell: Source,
}

#[derive(Clone, Copy)]
enum Source {
    Member(&'static str),
    Made(fn(&Value) -> String),
}

impl Column {
    /// A column that shows a member of each item.
    pub(crate) const fn new(header: &'static str, member: &'static str) -> Self {
        Self { header, cell: Source::Member(member) }
    }

    /// A column that is made from each item.
    pub(crate) const fn made(header: &'static str, from: fn(&Value) -> String) -> Self {
        Self { header, cell: Source::Made(from) }
    }

    fn text(self, item: &Value) -> String {
        match self.cell {
            Source::Member(name) => shown(item.get(name).unwrap_or(&Value::Null)),
            Source::Made(from) => one_line(&from(item)),
        }
    }
}

impl Output {
    /// The output that flags, environment and terminal ask for.
    pub(crate) fn new(flags: &GlobalFlags, around: &Surroundings) -> Self {
        let colour = |terminal: bool| {
            !flags.no_color && !around.colour_refused && (terminal || around.colour_forced)
        };
        let on_terminal = std::io::stdout().is_terminal();
        let talk_on_terminal = std::io::stderr().is_terminal();
        Self {
            format: flags.output,
            interactive: input::is_interactive() && !flags.no_input && !around.unattended,
            on_terminal,
            talk_on_terminal,
            quiet: flags.quiet,
            data_colour: colour(on_terminal),
            talk_colour: colour(talk_on_terminal),
        }
    }

    /// Whether data is printed as JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Whether data is coloured.
    pub(crate) fn colours_data(&self) -> bool {
        self.data_colour
    }

    /// Says something to people; nothing with `--quiet` or where JSON is wanted.
    pub(crate) fn say(&self, text: &str) {
        if !self.quiet && !self.is_json() {
            talk(&format!("{text}\n"));
        }
    }

    /// Says something that matters also to whoever wants JSON; nothing with `--quiet`.
    pub(crate) fn warn(&self, text: &str) {
        if !self.quiet {
            let (bold, end) = if self.talk_colour { ("\x1b[1;33m", "\x1b[0m") } else { ("", "") };
            talk(&format!("{bold}note:{end} {text}\n"));
        }
    }

    /// Asks something.
    pub(crate) fn prompt(&self, text: &str) {
        let (bold, end) = if self.talk_colour { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        talk(&format!("{bold}{text}{end}"));
    }

    /// Tells a failure: three lines, or one JSON object.
    pub(crate) fn fail(&self, failure: &Failure) {
        talk(&if self.is_json() { failure.json() } else { failure.lines(self.talk_colour) });
    }

    /// Whether progress is shown.
    pub(crate) fn shows_progress(&self) -> bool {
        self.talk_on_terminal && !self.quiet
    }

    /// Prints JSON: laid out on a terminal, on one line elsewhere.
    pub(crate) fn json(&self, text: &str) -> Result<(), Failure> {
        line(&if self.on_terminal { json_text::pretty(text) } else { json_text::compact(text) })
    }

    /// Prints an object.
    pub(crate) fn object(&self, answer: &Answer) -> Result<(), Failure> {
        if self.is_json() {
            return self.json(if answer.text.is_empty() { "{}" } else { &answer.text });
        }
        let Ok(Members(members)) = serde_json::from_str(&answer.text) else { return Ok(()) };
        write_data(&details(&members, self.data_colour))
    }

    /// Prints an object that was just made, and says once that its secret is not kept.
    pub(crate) fn created(&self, answer: &Answer) -> Result<(), Failure> {
        self.object(answer)?;
        if answer.replayed {
            self.warn(
                "the first answer was lost on its way; a secret that stood in it is not told again: \
                 revoke what was made and create another",
            );
        }
        let secret = ["client_secret", "admin_token", "join_token"]
            .into_iter()
            .find(|name| answer.member(name).is_some());
        // A program that reads the object knows what it reads; people are told.
        if let Some(name) = secret
            && (!self.is_json() || self.on_terminal)
        {
            self.warn(&format!(
                "`{name}` is shown this once and kept nowhere; store it now, and not in a \
                 command line"
            ));
        }
        Ok(())
    }

    /// Prints a list.
    pub(crate) fn list(&self, page: &Page, columns: &[Column]) -> Result<(), Failure> {
        if self.is_json() {
            return self.json(&page.json());
        }
        if page.items.is_empty() {
            self.say("nothing found");
            return Ok(());
        }
        let items: Vec<Value> = page
            .items
            .iter()
            .map(|item| serde_json::from_str(item.get()).unwrap_or_default())
            .collect();
        write_data(&text_of(&table(&items, columns, self.on_terminal, self.data_colour)))?;
        if let Some(next) = &page.next {
            self.say(&format!("there is more: add --cursor {} or --all", one_line(next)));
        }
        Ok(())
    }
}

/// Prints a line of data as it is.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    write_data(&format!("{text}\n"))
}

fn talk(text: &str) {
    // Nobody is left to be told that standard error is gone.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Writes data. A reader that has gone away (`| head`) ends the command without an error.
fn write_data(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| data_failure(&error))
}

/// The failure for an error of standard output.
pub(crate) fn data_failure(error: &std::io::Error) -> Failure {
    let mut failure =
        Failure::file("the output could not be written", error, "check where it goes");
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        failure.exit = Exit::Ok;
    }
    failure
}

/// An object for people: a line for each member, members of members with their path.
fn details(members: &[(String, Value)], colour: bool) -> String {
    let mut rows = Vec::new();
    for (name, value) in members {
        flatten(name.clone(), value, &mut rows);
    }
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let (dim, end) = if colour { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
    rows.iter().fold(String::new(), |text, (name, value)| {
        text + format!("{dim}{name:width$}{end}  {value}").trim_end() + "\n"
    })
}

fn flatten(name: String, value: &Value, rows: &mut Vec<(String, String)>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (member, value) in members {
                flatten(format!("{name}.{member}"), value, rows);
            }
        }
        _ => rows.push((one_line(&name), shown(value))),
    }
}

/// A value on one line. Nothing is a dash, so that a column stays a column.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => one_line(text),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        // A permission is shown whole or as it came: never without its limits.
        Value::Object(_) => match permission(value) {
            Some(permission) => one_line(&permission.texts().collect::<Vec<_>>().join(" ")),
            None => one_line(&value.to_string()),
        },
    }
}

/// A permission, or an authorization detail that is one.
fn permission(value: &Value) -> Option<Permission> {
    let mut members = value.as_object()?.clone();
    members.remove("type").is_none_or(|kind| kind == DETAIL_TYPE).then_some(())?;
    serde_json::from_value(Value::Object(members)).ok()
}

/// What a permission is limited to, as text.
pub(crate) fn limits(value: &Value) -> String {
    let Some(permission) = permission(value) else { return value.to_string() };
    permission.limits.map_or_else(|| "-".to_owned(), |limits| limits.to_string())
}

/// A list as a table, which with `fit` does not exceed the width of the terminal.
fn table(items: &[Value], columns: &[Column], fit: bool, colour: bool) -> Table {
    let mut table = Table::new();
    let header = columns.iter().map(|column| {
        let cell = Cell::new(column.header);
        if colour { cell.add_attribute(Attribute::Bold) } else { cell }
    });
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(header);
    table.add_rows(items.iter().map(|item| columns.iter().map(|column| column.text(item))));
    if fit {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    } else {
        table.set_content_arrangement(ContentArrangement::Disabled);
        table.force_no_tty();
    }
    if colour {
        table.enforce_styling();
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        // An id that is broken over two lines cannot be copied, one that is cut is no id.
        let unbroken = columns.get(index).is_some_and(|column| {
            items.iter().any(|item| column.text(item).parse::<accredit_wire::ids::AnyId>().is_ok())
        });
        if unbroken {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table
}

fn text_of(table: &Table) -> String {
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// How many of what: `1 key`, `2 keys`.
pub(crate) fn counted(count: impl Into<u64>, what: &str) -> String {
    match count.into() {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use accredit_wire::ids::AgentId;
    use serde_json::json;

    const COLUMNS: [Column; 3] =
        [Column::new("ID", "id"), Column::new("NAME", "name"), Column::new("PURPOSE", "purpose")];

    fn items() -> Vec<Value> {
        (0..3u8)
            .map(|n| {
                let id = AgentId::new(1_763_717_400_000, [n; 10]).to_string();
                let purpose = "plans the week ".repeat(9);
                json!({"id": id, "name": format!("agent-{n}"), "purpose": purpose})
            })
            .collect()
    }

    #[test]
    fn a_piped_table_has_a_line_for_each_item_and_every_letter() {
        let text = text_of(&table(&items(), &COLUMNS, false, false));
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.lines().nth(1).expect("a row").ends_with("plans the week"));
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn a_table_fits_the_terminal_and_never_breaks_an_id() {
        let items = items();
        let mut table = table(&items, &COLUMNS, true, false);
        let text = text_of(table.set_width(72));
        assert!(text.lines().all(|line| line.chars().count() <= 72), "{text}");
        for item in &items {
            assert!(text.contains(item["id"].as_str().expect("an id")), "{text}");
        }
    }

    #[test]
    fn a_table_cannot_drive_the_terminal() {
        let items = [json!({"id": "x", "name": "a\u{1b}[2Jb\nc", "purpose": null})];
        let text = text_of(&table(&items, &COLUMNS, false, false));
        assert_eq!(text, "ID  NAME           PURPOSE\nx   a\\u{1b}[2Jb c  -\n");
    }

    #[test]
    fn an_object_is_shown_in_the_order_of_the_api() {
        let json = r#"{"id":"agt_1","state":"active","permissions":[{"resource":"crm","actions":
            ["read","write"]}],"may_delegate":false,"blast":{"agents":1,"tokens":7},"x":null}"#;
        let Members(members) = serde_json::from_str(json).expect("an object");
        assert_eq!(
            details(&members, false),
            "id            agt_1\nstate         active\npermissions   crm:read crm:write\n\
             may_delegate  no\nblast.agents  1\nblast.tokens  7\nx             -\n"
        );
    }

    #[test]
    fn a_page_is_the_apis_object() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).expect("JSON");
        let page = Page {
            items: vec![raw(r#"{"id":"b","a":1}"#), raw(r#"{"id":"c"}"#)],
            next: Some("n\"".into()),
        };
        assert_eq!(page.json(), r#"{"items":[{"id":"b","a":1},{"id":"c"}],"next":"n\""}"#);
        assert_eq!(Page::default().json(), r#"{"items":[],"next":null}"#);
    }
}
