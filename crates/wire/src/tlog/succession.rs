//! C2SP signed-note: the key of a log names the key that follows it.
//!
//! Whoever knows a log by its key holds the log to it: another key under the same name is how a
//! rebuilt log would be passed off. So a key takes another's place only where the earlier one said
//! so, in a *statement*: a note of three lines, the name of the organization's log, what kind of text
//! it is, and the verifier key of the successor under that name. It is signed by the predecessor
//! under the same name. Its second line is no number: no statement is a checkpoint, nor the reverse.
//!
//! Absent on purpose: times, and the end of a key. Whom a statement introduced is believed as long as
//! the issuer publishes the key.

use super::note::{self, NoteError, Vkey};
use crate::crypto::PublicKey;

/// The most statements that are followed, and published: whoever was away for more rotations than
/// this has to be told of the key by a person.
pub const STATEMENTS_MAX: usize = 64;

/// What kind of text a statement is.
const KIND: &str = "accredit log key succession v1";

/// The name under which an organization's log keys sign statements: the issuer without its scheme,
/// then `/log`. It is no lane's origin.
pub fn log_name(issuer: &str) -> String {
    let name = issuer.split_once("://").map_or(issuer, |(_, rest)| rest);
    format!("{name}/log")
}

/// The text that the predecessor signs.
pub fn text(name: &str, successor: &PublicKey) -> Result<String, NoteError> {
    Ok(format!("{name}\n{KIND}\n{}\n", Vkey::new(name, successor)?))
}

/// The statement, from the predecessor's signature over [`text`].
pub fn statement(
    name: &str,
    predecessor: &PublicKey,
    successor: &PublicKey,
    signature: &[u8; 64],
) -> Result<String, NoteError> {
    let line = Vkey::new(name, predecessor)?.signature_line(signature);
    Ok(note::assemble(&text(name, successor)?, &line))
}

/// The key that one of `known` names as its successor in a statement of the log `name`.
pub fn open(statement: &[u8], name: &str, known: &[PublicKey]) -> Result<PublicKey, NoteError> {
    let vkeys: Vec<Vkey> =
        known.iter().map(|key| Vkey::new(name, key)).collect::<Result<_, _>>()?;
    let opened = note::open(statement, &vkeys)?;
    let successor: Vkey = opened
        .text
        .strip_prefix(name)
        .and_then(|rest| rest.strip_prefix('\n')?.strip_prefix(KIND)?.strip_prefix('\n'))
        .and_then(|rest| rest.strip_suffix('\n'))
        .ok_or(NoteError::NotStatement)?
        .parse()?;
    if successor.name() == name {
        Ok(successor.key().clone())
    } else {
        Err(NoteError::NotStatement)
    }
}

/// Whom somebody believes who believes `known`: those, and whom statements introduce, each by a key
/// that is believed by then. Statements are in the order in which they were made; one that does not
/// hold introduces nobody. Where there are more than [`STATEMENTS_MAX`], none is followed.
pub fn follow(
    name: &str,
    known: impl IntoIterator<Item = PublicKey>,
    statements: &[String],
) -> Vec<PublicKey> {
    let mut believed: Vec<PublicKey> = Vec::new();
    for key in known {
        add(&mut believed, key);
    }
    if statements.len() > STATEMENTS_MAX {
        return believed;
    }
    for statement in statements {
        if let Ok(successor) = open(statement.as_bytes(), name, &believed) {
            add(&mut believed, successor);
        }
    }
    believed
}

/// Whether a key is among some. Notes know Ed25519 alone, so that its bytes are all of it.
pub fn is_among(key: &PublicKey, keys: &[PublicKey]) -> bool {
    keys.iter().any(|known| known.bytes() == key.bytes())
}

fn add(believed: &mut Vec<PublicKey>, key: PublicKey) {
    if !is_among(&key, believed) {
        believed.push(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::PrivateKey;
    use crate::tlog::checkpoint::Checkpoint;
    use proptest::prelude::*;

    const NAME: &str = "id.example/o/dev/log";

    fn key(seed: u8) -> PrivateKey {
        PrivateKey::ed25519_from_seed(&[seed; 32]).expect("a key")
    }

    fn public(seed: u8) -> PublicKey {
        key(seed).public().expect("its public half")
    }

    fn under(name: &str, by: u8, successor: u8) -> String {
        let text = text(name, &public(successor)).expect("a text");
        let signature = key(by).sign(text.as_bytes()).expect("a signature");
        statement(name, &public(by), &public(successor), &signature).expect("a statement")
    }

    fn says(by: u8, successor: u8) -> String {
        under(NAME, by, successor)
    }

    /// The seeds of those who are believed.
    fn believed(known: u8, statements: &[String]) -> Vec<u8> {
        let seed = |key: &PublicKey| (0..=9).find(|&seed| is_among(key, &[public(seed)]));
        let keys = follow(NAME, [public(known)], statements);
        keys.iter().map(|key| seed(key).expect("a key of these")).collect()
    }

    #[test]
    fn the_name_is_no_lane() {
        assert_eq!(log_name("https://id.example/o/dev"), NAME);
        let said = says(1, 2);
        assert!(
            said.starts_with("id.example/o/dev/log\naccredit log key succession v1\n"),
            "{said}"
        );
        let text = &said[..=said.find("\n\n").expect("an end")];
        assert!(Checkpoint::parse(text).is_err());
    }

    #[test]
    fn a_chain_is_followed_from_any_key_of_it() {
        let chain = [says(1, 2), says(2, 3), says(3, 4)];
        for known in 1..=4 {
            let expected: Vec<u8> = (known..=4).collect();
            assert_eq!(believed(known, &chain), expected);
        }
    }

    #[test]
    fn nobody_is_introduced_by_a_stranger_for_another_log_or_out_of_order() {
        let swapped = [says(2, 3), says(1, 2)];
        assert_eq!(believed(1, &swapped), [1, 2], "the third had not been named");
        let other = "id.example/o/other/log";
        // The name of the log in the text, in the key that is named, and in the signature.
        let named = text(NAME, &public(2)).expect("a text").replacen(NAME, other, 1);
        let signature = key(1).sign(named.as_bytes()).expect("a signature");
        let vkey = Vkey::new(NAME, &public(1)).expect("a verifier key");
        let crossed = note::assemble(&named, &vkey.signature_line(&signature));
        // A forged second signature, of a key that is known.
        let forged = says(1, 2) + &vkey.signature_line(&[7; 64]);
        let unsigned =
            says(1, 2).replace(&says(1, 2)[says(1, 2).find("\n\n").expect("an end")..], "\n\n");
        for wrong in [says(9, 2), under(other, 1, 2), crossed, forged, unsigned, String::new()] {
            assert_eq!(believed(1, std::slice::from_ref(&wrong)), [1], "{wrong}");
        }
        let many = vec![says(1, 2); STATEMENTS_MAX + 1];
        assert_eq!(believed(1, &many), [1], "too many");
        assert_eq!(believed(1, &many[1..]).len(), 2);
    }

    #[test]
    fn a_checkpoint_of_the_log_introduces_nobody() {
        let checkpoint =
            Checkpoint { origin: NAME.to_owned(), size: 7, root: crate::tlog::Hash::ZERO };
        let signature = key(1).sign(&checkpoint.bytes_to_sign()).expect("a signature");
        let note = checkpoint.note(&Vkey::new(NAME, &public(1)).expect("a key"), &signature);
        let opened = open(note.as_bytes(), NAME, &[public(1)]);
        assert_eq!(opened.err(), Some(NoteError::NotStatement));
    }

    proptest! {
        /// Whom one believes is whom a model believes that knows nothing of notes.
        #[test]
        fn statements_lead_where_their_edges_lead(
            edges in prop::collection::vec((0u8..6, 0u8..6), 0..12), known in 0u8..6,
        ) {
            let statements: Vec<String> = edges.iter().map(|&(by, to)| says(by, to)).collect();
            let mut model = vec![known];
            for (by, to) in edges {
                if model.contains(&by) && !model.contains(&to) {
                    model.push(to);
                }
            }
            prop_assert_eq!(believed(known, &statements), model);
        }

        #[test]
        fn an_altered_statement_introduces_nobody_else(place in any::<prop::sample::Index>(), to: u8) {
            let said = says(1, 2);
            let mut bytes = said.clone().into_bytes();
            let place = place.index(bytes.len());
            bytes[place] = to;
            if let Ok(altered) = String::from_utf8(bytes) {
                let keys = believed(1, &[altered]);
                prop_assert!(keys == [1] || keys == [1, 2], "{:?}", keys);
            }
        }
    }
}
