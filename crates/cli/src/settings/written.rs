//! The file as it is written: TOML whose keys are exactly those of the table.

use toml::de::{DeTable, DeValue};

use super::{SETTINGS, YES_OR_NO};

/// What the file says, by key.
#[derive(Debug)]
pub(super) struct Written(pub(super) Vec<(&'static str, String)>);

/// The farthest that a mistyped key is from the one that was meant, in letters.
const TYPO_LETTERS_MAX: usize = 3;

impl Written {
    /// Reads the text, or says what is wrong with it, where, and what to do.
    pub(super) fn parse(text: &str) -> Result<Self, (String, String)> {
        let table = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let detail = format!("line {}: {}", line_of(text, at), error.message());
            (detail, "write `key = \"value\"`, a line each".to_owned())
        })?;
        let mut found = Vec::new();
        read(text, "", table.get_ref(), &mut found)?;
        Ok(Self(found))
    }
}

fn read(
    text: &str,
    lead: &str,
    table: &DeTable<'_>,
    found: &mut Vec<(&'static str, String)>,
) -> Result<(), (String, String)> {
    for (key, value) in table {
        let name = format!("{lead}{}", key.get_ref());
        let line = line_of(text, key.span().start);
        let setting = SETTINGS.iter().find(|setting| setting.key == name);
        let is_table = SETTINGS.iter().any(|setting| setting.key.starts_with(&format!("{name}.")));
        match (value.get_ref(), setting) {
            (DeValue::Table(inner), None) if is_table => {
                read(text, &format!("{name}."), inner, found)?;
            }
            (DeValue::String(value), Some(setting)) => found.push((setting.key, value.to_string())),
            (DeValue::Integer(value), Some(setting)) if setting.key.starts_with("limits.") => {
                found.push((setting.key, value.to_string()));
            }
            (DeValue::Boolean(value), Some(setting)) if setting.unit == YES_OR_NO => {
                found.push((setting.key, value.to_string()));
            }
            (_, Some(setting)) => {
                let detail = format!("line {line}: `{name}` is no text");
                return Err((detail, format!("write {} in quotes: {}", setting.key, setting.unit)));
            }
            (_, None) => {
                return Err((format!("line {line}: there is no setting `{name}`"), meant(&name)));
            }
        }
    }
    Ok(())
}

/// The line, from 1, of a place in a text.
fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1
}

/// What was probably meant.
fn meant(name: &str) -> String {
    let near = SETTINGS.iter().map(|setting| (distance(name, setting.key), setting.key)).min();
    match near {
        Some((letters, key)) if letters <= TYPO_LETTERS_MAX => format!("did you mean `{key}`?"),
        _ => {
            let keys: Vec<&str> = SETTINGS.iter().map(|setting| setting.key).collect();
            format!("the settings are {}", keys.join(", "))
        }
    }
}

/// How many letters to insert, leave out or change to come from one word to another.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (done, letter) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = done + 1;
        for at in 1..row.len() {
            let changed = diagonal + usize::from(to[at - 1] != letter);
            diagonal = row[at];
            row[at] = changed.min(row[at] + 1).min(row[at - 1] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_between_words_counts_letters() {
        for (from, to, letters) in
            [("", "", 0), ("a", "", 1), ("lissten", "listen", 1), ("kitten", "sitting", 3)]
        {
            assert_eq!(distance(from, to), letters, "{from} {to}");
            assert_eq!(distance(to, from), letters, "{to} {from}");
        }
    }

    #[test]
    fn a_mistake_is_told_with_its_line_and_what_was_meant() {
        for (text, detail, hint) in [
            (
                "public_url = \"x\"\n\nlissten = \"y\"",
                "line 3: there is no setting `lissten`",
                "`listen`",
            ),
            (
                "[tls]\nkey_fle = \"y\"",
                "line 2: there is no setting `tls.key_fle`",
                "`tls.key_file`",
            ),
            ("database = \"y\"", "line 1: there is no setting `database`", "public_url, listen"),
            ("listen = 8420", "line 1: `listen` is no text", "address:port"),
            ("tls = \"x\"", "line 1: there is no setting `tls`", "the settings are"),
            ("[listen]\na = \"x\"", "line 1: `listen` is no text", "in quotes"),
            ("listen = \"a\"\nlisten = \"b\"", "line 2: ", "a line each"),
            ("listen", "line 1: ", "a line each"),
        ] {
            let (said, what) = Written::parse(text).expect_err(text);
            assert!(said.starts_with(detail), "{text}: {said}");
            assert!(what.contains(hint), "{text}: {what}");
        }
    }
}
