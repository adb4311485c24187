//! Texts that are something else where they are taken for a piece of a statement, a pattern, a
//! document or the end of a string.

use std::fmt::Write as _;

/// Longer than anything that has a name here.
const LONG: usize = 5_000;

/// None of them is a number, a time, an id, a name or a word that anything here knows.
const TEXTS: [&str; 38] = [
    // The end of a string, and what follows it.
    "'",
    "\"",
    "`",
    "''",
    "' OR '1'='1",
    "' OR 1=1 --",
    "') OR ('1'='1' /*",
    "x' UNION SELECT id, secret FROM credential --",
    "'; DROP TABLE agent; --",
    "1; DELETE FROM agent",
    "'||(SELECT mac FROM credential LIMIT 1)||'",
    "' AND (SELECT count(*) FROM pg_sleep(9)) > 0 --",
    "1 AND randomblob(1000000000)",
    "E'\\x27'",
    "$$ OR 1=1 --",
    // Parameters of statements.
    "$1",
    "?1",
    ":1",
    "@x",
    // Other ends of a string.
    "a\0b",
    "\0",
    "\\",
    "\\' OR 1=1 --",
    "\u{2019} OR 1=1 --",
    "\u{2bc}",
    "\u{ff07} OR 1=1",
    "a\r\nb",
    "\u{1}",
    "\u{10ffff}",
    "\u{202e}a",
    // Patterns.
    "%",
    "_",
    "a%",
    "[a-z]*",
    "*",
    // Documents.
    "{\"$ne\": null}",
    "a'->>'b",
    "[\"a\"]",
];

/// Numbers at which something may turn over, or which are none everywhere.
const NUMBERS: [&str; 10] = [
    "-1",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775808",
    "1e309",
    "0x7fffffff",
    "NaN",
    "\u{663}",
];

/// Bytes that are no text, as a path or a query holds them: a lone byte, and a quote in too many
/// bytes.
const NO_TEXTS: [&str; 3] = ["%ff%fe", "%c0%a7", "a%ed%a0%80"];

/// All texts, as they are.
pub(super) fn texts() -> Vec<String> {
    let long = ["a", "'", "%"].map(|letter| letter.repeat(LONG));
    TEXTS.iter().map(|text| (*text).to_owned()).chain(long).collect()
}

/// Numbers, as they are.
pub(super) fn numbers() -> Vec<String> {
    NUMBERS.iter().map(|text| (*text).to_owned()).collect()
}

/// All texts as a path or a query holds them, and what is none.
pub(super) fn sent() -> Vec<String> {
    let texts = texts().into_iter().map(|text| encoded(&text));
    texts.chain(NO_TEXTS.map(str::to_owned)).collect()
}

/// RFC 3986 section 2.1, of every byte that could mean something.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a string");
        }
    }
    out
}
