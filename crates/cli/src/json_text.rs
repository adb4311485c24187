//! RFC 8259 JSON as text: laid out for people without touching the order of its members.
//!
//! What a command prints as JSON is the API's own object, so it is passed on as it came rather
//! than parsed into a map and written again in another order.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

/// The same JSON with one member to a line and two spaces for each depth. The text must be
/// valid JSON; a text that is not comes out as some other text, never as a panic.
pub(crate) fn pretty(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    let mut letters = json.chars().peekable();
    while let Some(letter) = letters.next() {
        if in_string {
            out.push(letter);
            in_string = escaped || letter != '"';
            escaped = !escaped && letter == '\\';
            continue;
        }
        match letter {
            '"' => {
                in_string = true;
                out.push(letter);
            }
            '{' | '[' => {
                out.push(letter);
                while letters.next_if(char::is_ascii_whitespace).is_some() {}
                let end = if letter == '{' { '}' } else { ']' };
                if letters.next_if_eq(&end).is_some() {
                    out.push(end);
                } else {
                    depth += 1;
                    new_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut out, depth);
                out.push(letter);
            }
            ',' => {
                out.push(letter);
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            _ if letter.is_ascii_whitespace() => {}
            _ => out.push(letter),
        }
    }
    out
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

/// The same JSON on one line.
pub(crate) fn compact(json: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    json.chars()
        .filter(|letter| {
            let keep = in_string || !letter.is_ascii_whitespace();
            if in_string {
                in_string = escaped || *letter != '"';
                escaped = !escaped && *letter == '\\';
            } else {
                in_string = *letter == '"';
            }
            keep
        })
        .collect()
}

/// The members of an object in the order in which they stand.
#[derive(Debug)]
pub(crate) struct Members(pub(crate) Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_order_of_members_is_kept() {
        let json = r#"{"id":"agt_1","b":[1,{"x":null}],"a":{},"e":[ ],"s":"a: {\"b\"}, \\"}"#;
        let expected = "{\n  \"id\": \"agt_1\",\n  \"b\": [\n    1,\n    {\n      \"x\": null\n    \
                        }\n  ],\n  \"a\": {},\n  \"e\": [],\n  \"s\": \"a: {\\\"b\\\"}, \\\\\"\n}";
        assert_eq!(pretty(json), expected);
        assert_eq!(compact(&pretty(json)), compact(json));
        let Members(members) = serde_json::from_str(json).expect("an object");
        let names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["id", "b", "a", "e", "s"]);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,8}".prop_map(Value::from),
            "[\\\\\" {}:,\\[\\]]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z\" ]{0,4}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_layout_does_not_change_the_meaning(value in any_json()) {
            let text = value.to_string();
            prop_assert_eq!(&serde_json::from_str::<Value>(&pretty(&text)).expect("JSON"), &value);
            prop_assert_eq!(compact(&pretty(&text)), text);
        }
    }
}
