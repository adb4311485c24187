//! The authority block and the envelope: what is written is read back, and nothing else is.

use super::datalog::{Content, Predicate, Query, Term};
use super::*;
use crate::jose::{TOKEN_BYTES_MAX, b64url_decode, b64url_encode};
use crate::token::ClaimsError;

/// The token as its verification gives it: the id of its block is in the lineage.
fn with_block(mut token: AccessToken, text: &str) -> AccessToken {
    let bytes = b64url_decode(text).expect("base64url");
    let envelope = envelope::Envelope::read(&bytes).expect("an envelope");
    token.further.push(BlockId::of_signature(&envelope.authority.signature).any());
    token
}

proptest! {
    #[test]
    fn what_is_minted_is_read_back(token in tokens(Root::new(1).id)) {
        let root = Root::new(1);
        let text = root.mint(&token);
        let read = root.verify(&text).expect("a token");
        prop_assert_eq!(read.token(), &with_block(token.clone(), &text));
        prop_assert_eq!((read.minted_for().agent, read.unnamed_narrowings()), (token.client_id, 0));
        prop_assert_eq!(read.uninterpreted().count(), 0);
    }

    /// STANDARDS 15, 46: bytes that somebody changed are never another token.
    #[test]
    fn a_changed_byte_is_refused(place in any::<prop::sample::Index>(), bit in 0u8..8) {
        let root = Root::new(1);
        let text = narrow(&root.mint(&claims(root.id)), &until(START + 9)).expect("narrowed");
        let mut bytes = b64url_decode(&text).expect("base64url");
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        prop_assert!(root.verify(&b64url_encode(&bytes)).is_err());
    }

    #[test]
    fn whatever_is_read_is_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Root::new(1).verify(&b64url_encode(&bytes)).is_err());
    }
}

fn until(second: i64) -> Narrowing {
    Narrowing { expires_at: Some(second), ..Narrowing::default() }
}

#[test]
fn the_key_is_the_one_that_is_named() {
    let (one, two) = (Root::new(1), Root::new(2));
    let text = one.mint(&claims(one.id));
    assert!(one.verify(&text).is_ok());
    assert_eq!(two.verify(&text).map(drop), Err(BiscuitError::UnknownKey));
    // Two ids with the same 32 bits: each is tried, and the whole id counts.
    let alike = KeyId::from_bits(one.id.bits() ^ (1 << 70)).expect("an id");
    assert_eq!(root_key_id(alike), root_key_id(one.id));
    let keys = [(alike, &two.public), (one.id, &one.public)];
    assert!(verify(&text, keys.into_iter()).is_ok());
    let other_name = verify(&text, [(alike, &one.public)].into_iter());
    let expected = BiscuitError::Claims(ClaimsError::Malformed("key_id"));
    assert_eq!(other_name.map(drop), Err(expected));
    // The same number with another key, and a key of another algorithm.
    let wrong = verify(&text, [(alike, &two.public)].into_iter());
    assert_eq!(wrong.map(drop), Err(BiscuitError::Signature));
    let p256 = Key::new(Algorithm::Es256);
    let wrong = verify(&text, [(one.id, &p256.1)].into_iter());
    assert_eq!(wrong.map(drop), Err(BiscuitError::Signature));
}

#[test]
fn what_cannot_be_a_token_is_refused_by_its_form() {
    let root = Root::new(1);
    let good = root.mint(&claims(root.id));
    let long = "A".repeat(TOKEN_BYTES_MAX + 1);
    for (text, expected) in [
        ("", BiscuitError::Malformed),
        ("A A", BiscuitError::NotBase64),
        ("AA+/", BiscuitError::NotBase64),
        (&*long, BiscuitError::TooLong),
        (&good[..(good.len() / 2) & !3], BiscuitError::Malformed),
        (&format!("{good}===="), BiscuitError::NotBase64),
    ] {
        assert_eq!(root.verify(text).map(drop), Err(expected), "{text:.20}");
    }
    // Bytes behind it, and bytes in a longer spelling of the same number.
    let bytes = b64url_decode(&good).expect("base64url");
    for extra in [&[0u8][..], &[0x28, 1], &[0x08, 1]] {
        let text = b64url_encode(&[&bytes, extra].concat());
        assert_eq!(root.verify(&text).map(drop), Err(BiscuitError::Malformed), "{extra:?}");
    }
    // Padding is how others write it.
    let padded = format!("{good}{}", "=".repeat((4 - good.len() % 4) % 4));
    assert!(root.verify(&padded).is_ok());
}

#[test]
fn an_authority_block_says_exactly_what_a_token_says() {
    let root = Root::new(1);
    let token = claims(root.id);
    let bounds = Narrowing::of_token(&token);
    let whole = || Content { facts: claims::facts(&token), checks: bounds.to_checks() };
    assert!(root.verify(&root.sign(&whole())).is_ok());
    let refused = |content: &Content<'_>, what: &str| {
        let error = root.verify(&root.sign(content)).map(drop).expect_err(what);
        let of_the_block = matches!(
            error,
            BiscuitError::Claims(_) | BiscuitError::Vocabulary | BiscuitError::Malformed
        );
        assert!(of_the_block, "{what}: {error}");
    };
    let optional = ["instance_id", "delegable", "lineage"];
    for place in 0..whole().facts.len() {
        let mut without = whole();
        let fact = without.facts.remove(place);
        if !optional.contains(&fact.name) {
            refused(&without, &format!("without {}", fact.name));
        }
        let mut other = whole();
        other.facts[place].terms.push(Term::Integer(0));
        refused(&other, &format!("{} with one more term", fact.name));
        other.facts[place].terms = vec![Term::Date(1 << 60)];
        refused(&other, &format!("{} of another type", fact.name));
        if fact.name != "delegable" {
            let mut twice = whole();
            twice.facts.push(fact.clone());
            refused(&twice, &format!("{} twice", fact.name));
        }
    }
    for name in ["right", "resource", "operation", "time", "holder", "depth"] {
        let mut more = whole();
        more.facts.push(Predicate::new(name, [Term::text("crm")]));
        refused(&more, name);
    }
    for place in 0..whole().checks.len() {
        let mut without = whole();
        let check = without.checks.remove(place);
        refused(&without, "a check less");
        let mut twice = whole();
        twice.checks.push(check);
        refused(&twice, "a check twice");
    }
    let mut foreign = whole();
    let body = vec![Predicate::new("operation", [Term::text("read")])];
    foreign.checks.push(vec![Query { body, expressions: Vec::new() }]);
    refused(&foreign, "a check of others");
}

#[test]
fn a_bound_token_names_its_client_as_its_holder() {
    let root = Root::new(1);
    let mut token = claims(root.id);
    let key = Key::new(Algorithm::Es256).thumbprint();
    token.cnf = Some(Confirmation::Key(key));
    let mut bounds = Narrowing::of_token(&token);
    bounds.holder = Some(Holder { agent: AgentId::new(1, [77; 10]), key });
    let content = Content { facts: claims::facts(&token), checks: bounds.to_checks() };
    let error = root.verify(&root.sign(&content)).map(drop);
    assert_eq!(error, Err(BiscuitError::Claims(ClaimsError::Malformed("check"))));
}

#[test]
fn what_cannot_be_read_back_is_not_minted() {
    let root = Root::new(1);
    let mut token = claims(root.id);
    token.issued_at = -1;
    assert!(Unsigned::new(&token, &[1; 32]).is_err());
    token = claims(root.id);
    token.rev = 1 << 53;
    assert!(Unsigned::new(&token, &[1; 32]).is_err());
}
