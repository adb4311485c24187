//! The crate `biscuit-auth` reads what is written here, and what it writes is read here.

use biscuit_auth::builder::Algorithm as TheirAlgorithm;
use biscuit_auth::{Biscuit, BlockBuilder, KeyPair, PublicKey as TheirKey, UnverifiedBiscuit};

use super::super::evaluate::{Asked, WORK_MAX};
use super::super::run::Evaluator;
use super::*;
use crate::authority::Arguments;
use crate::jose::b64url_decode;
use crate::time::Time;

fn theirs(root: &Root, text: &str) -> Result<Biscuit, biscuit_auth::error::Token> {
    let key = TheirKey::from_bytes(root.public.bytes(), TheirAlgorithm::Ed25519).expect("a key");
    Biscuit::from_base64(text, key)
}

fn ask<'a>(action: &'a str, object: Option<&'a str>, arguments: &'a Arguments) -> Asked<'a> {
    Asked { resource: "crm", action, object, arguments, now: Time::from_seconds(START + 1) }
}

/// A token to which somebody added a block of Datalog.
fn with_code(root: &Root, text: &str, code: &str) -> String {
    let block = BlockBuilder::new().code(code).expect("Datalog");
    theirs(root, text).expect("a token").append(block).expect("appended").to_base64().expect("text")
}

#[test]
fn each_reads_what_the_other_writes() {
    let root = Root::new(1);
    let text = root.mint(&claims(root.id));
    let token = theirs(&root, &text).expect("their token");
    assert_eq!(token.root_key_id(), Some(root_key_id(root.id)));
    let source = token.print_block_source(0).expect("Datalog");
    assert!(source.contains("accredit(1)") && source.contains("operation(\"write\")"), "{source}");
    // They add a block in the vocabulary, as text.
    let code = format!(
        "check if resource(\"crm\"), operation(\"read\") or resource(\"crm\"), \
         operation(\"update\"), number(\"amount\", $a), $a >= 3, object($o), \
         $o.starts_with(\"/eu/\"); check if time($t), $t <= {};",
        Time::from_seconds(START + 60)
    );
    let theirs_text = with_code(&root, &text, &code);
    let read = root.verify(&theirs_text).expect("a token");
    assert_eq!(read.uninterpreted().count(), 0);
    assert_eq!(read.held(), &authority(&["crm:read", "crm:update(/eu/*; amount in 3..100)"]));
    assert_eq!(read.token().expires_at, START + 61);
    // And ours go on from theirs.
    let narrowing = Narrowing { authority: Some(authority(&["crm:read"])), ..Narrowing::default() };
    let text = narrow(&theirs_text, &narrowing).expect("narrowed");
    assert!(theirs(&root, &text).is_ok() && root.verify(&text).is_ok());
    // Sealed, it is taken and takes no more.
    let sealed =
        theirs(&root, &text).expect("theirs").seal().expect("sealed").to_base64().expect("text");
    assert!(root.verify(&sealed).is_ok());
    assert_eq!(narrow(&sealed, &narrowing), Err(NarrowError::Token(BiscuitError::Sealed)));
}

#[test]
fn their_third_party_block_hands_on_and_ours_is_theirs() {
    let root = Root::new(1);
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa] {
        let [own, next] = [(); 2].map(|()| Key::new(algorithm));
        let mut base = claims(root.id);
        base.cnf = Some(Confirmation::Key(own.thumbprint()));
        let holder = Holder { agent: AgentId::new(1, [77; 10]), key: next.thumbprint() };
        let narrowing = Narrowing { holder: Some(holder), ..Narrowing::default() };
        let text = own.narrow(&root.mint(&base), &narrowing).expect("handed on");
        let token = theirs(&root, &text).expect("their token");
        let external = token.block_external_key(1).expect("a block").expect("a key");
        assert_eq!(external.to_bytes(), own.1.compressed());
    }
    // A key that they make and sign with, for a token that is bound to it.
    for algorithm in [TheirAlgorithm::Secp256r1, TheirAlgorithm::Ed25519] {
        let pair = KeyPair::new_with_algorithm(algorithm);
        let bytes = pair.public().to_bytes();
        let key = match algorithm {
            TheirAlgorithm::Ed25519 => PublicKey::ed25519(&bytes.try_into().expect("32 bytes")),
            TheirAlgorithm::Secp256r1 => {
                PublicKey::p256_compressed(&bytes.try_into().expect("33 bytes"))
            }
        };
        let mut base = claims(root.id);
        base.cnf = Some(Confirmation::Key(Thumbprint::of(&key.expect("a key"))));
        let token = UnverifiedBiscuit::from_base64(root.mint(&base)).expect("a token");
        let request = token.third_party_request().expect("a request");
        let next = Key::new(Algorithm::Es256).thumbprint();
        let agent = AgentId::new(1, [77; 10]);
        let code = format!("check if holder(\"{agent}\", \"{next}\")");
        let block = BlockBuilder::new().code(code).expect("Datalog");
        let block = request.create_block(&pair.private(), block).expect("a block");
        let block = block.serialize().expect("bytes");
        let text = token.append_third_party(&block).expect("added").to_base64().expect("text");
        let read = root.verify(&text).expect("handed on");
        assert_eq!(
            (read.token().cnf, read.token().client_id),
            (Some(Confirmation::Key(next)), agent)
        );
    }
}

#[test]
fn keys_of_secp256r1_have_no_place_in_the_chain() {
    let root = Root::new(1);
    let token = theirs(&root, &root.mint(&claims(root.id))).expect("a token");
    let pair = KeyPair::new_with_algorithm(TheirAlgorithm::Secp256r1);
    let block = BlockBuilder::new().code("check if true").expect("Datalog");
    let text = token.append_with_keypair(&pair, block).expect("added").to_base64().expect("text");
    assert_eq!(root.verify(&text).map(drop), Err(BiscuitError::NotEd25519));
}

#[test]
fn words_of_others_are_honoured_and_only_narrow() {
    let root = Root::new(1);
    let text = root.mint(&claims(root.id));
    let none = Arguments::none();
    let amount = |amount: i64| Arguments::none().integer("amount", amount);
    for (code, reads, writes, updates) in [
        ("check if operation(\"read\");", true, false, false),
        ("check if resource($r), {\"crm\", \"mail\"}.contains($r);", true, true, true),
        ("check if number(\"amount\", $a), $a < 10;", false, false, true),
        ("check if number(\"amount\", $a), $a < 5;", false, false, false),
        ("check all operation($o), $o.starts_with(\"re\") || $o == \"update\";", true, false, true),
        ("reject if operation(\"read\");", false, true, true),
        ("check if object($o), $o.ends_with(\"7\");", false, false, true),
        ("check if issuer($i), $i.contains(\"example\");", true, true, true),
        ("check if nothing($n);", false, false, false),
        ("check if 1 + \"a\" == 2;", false, false, false),
        // What it adds itself is seen by itself.
        ("operation(\"write\"); check if operation(\"write\");", true, true, true),
        ("ok($o) <- operation($o), $o == \"read\"; check if ok($o);", true, false, false),
        ("operation(\"delete\"); resource(\"mail\"); number(\"amount\", 1);", true, true, true),
    ] {
        let narrowed = with_code(&root, &text, code);
        let read = root.verify(&narrowed).expect(code);
        assert_eq!(read.uninterpreted().collect::<Vec<_>>(), [1], "{code}");
        assert_eq!(read.undecidable(), None, "{code}");
        assert!(read.token().scope.is_empty() && read.token().delegable.is_empty(), "{code}");
        assert_eq!(read.allows(&ask("read", None, &none)), reads, "{code}");
        assert_eq!(read.allows(&ask("write", None, &none)), writes, "{code}");
        assert_eq!(read.allows(&ask("update", Some("/eu/7"), &amount(7))), updates, "{code}");
        assert!(
            !read.allows(&ask("delete", None, &none)),
            "{code}: the authority block forbids it"
        );
    }
}

fn lines(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).map(line).collect::<Vec<_>>().concat()
}

/// STANDARDS 15, 46: loops, joins and patterns that cost more than they say.
#[test]
fn what_could_cost_too_much_is_refused_with_the_token() {
    let root = Root::new(1);
    let text = root.mint(&claims(root.id));
    let facts: String = lines(20, |number| format!("f({number});"));
    let many: String = lines(40, |number| format!("f({number});"));
    let joins =
        |count: usize| (0..count).map(|n| format!("f($x{n})")).collect::<Vec<_>>().join(", ");
    let long = format!("check if {};", vec!["1 == 1"; 200].join(", "));
    for code in [
        format!("{facts} check if {};", joins(3)),
        format!("{facts} check if {};", joins(9)),
        format!("{many} check if f(1);"),
        "n(0); n($y) <- n($x), n($y), n($z); check if n(1);".to_owned(),
        "check if operation($o), $o.matches(\"(a+)+$\");".to_owned(),
        "check if [1, 2].any($x -> [1, 2].all($y -> $x == $y));".to_owned(),
        "check if true.extern::f();".to_owned(),
        long,
        lines(9, |n| format!("a{n}(1) <- operation($o);")),
        lines(70, |n| format!("check if operation($o), $o != \"{n}\";")),
    ] {
        let narrowed = with_code(&root, &text, &code);
        let read = root.verify(&narrowed).expect("its signatures hold");
        assert_eq!(read.undecidable(), Some(1), "{code}");
        assert!(!read.allows(&ask("read", None, &Arguments::none())), "{code}");
    }
    // Two of them joined are within.
    const { assert!(20 * 20 < WORK_MAX) };
    let narrowed = with_code(&root, &text, &format!("{facts} check if {};", joins(2)));
    assert_eq!(root.verify(&narrowed).expect("a token").undecidable(), None);
    // A question with more arguments than are asked about is a no.
    let narrowed = with_code(&root, &text, "check if operation(\"read\");");
    let crowd = (0..99).fold(Arguments::none(), |all, n| all.integer(&format!("a{n}"), n));
    assert!(!root.verify(&narrowed).expect("a token").allows(&ask("read", None, &crowd)));
}

fn code() -> impl Strategy<Value = String> {
    let line = prop::sample::select(vec![
        "operation(\"delete\");",
        "resource(\"crm\");",
        "delegable(\"crm:delete\");",
        "right(\"crm\", \"delete\");",
        "time(1970-01-01T00:00:00Z);",
        "holder(\"agt_x\", \"y\");",
        "operation(\"delete\") <- operation($o);",
        "operation(\"delete\") <- operation($o) trusting previous;",
        "expires(true) <- time($t) trusting authority;",
        "check if operation(\"delete\") trusting previous;",
        "check if operation($o) trusting authority;",
        "check if true;",
        "check if operation(\"read\") or operation(\"delete\");",
        "trusting previous; check if operation($o);",
        "check all operation($o), $o != \"write\";",
    ]);
    prop::collection::vec(line, 1..5).prop_map(|lines| {
        let (scopes, rest): (Vec<_>, Vec<_>) =
            lines.into_iter().partition(|line| line.starts_with("trusting"));
        scopes.into_iter().take(1).chain(rest).collect()
    })
}

proptest! {
    /// Invariant 1: whatever blocks somebody appends, nothing is allowed that was not.
    #[test]
    fn no_block_ever_widens(
        codes in prop::collection::vec(code(), 1..4),
        action in prop::sample::select(vec!["read", "write", "update", "delete"]),
        object in prop::sample::select(vec![None, Some("/eu/7"), Some("/us/7")]),
        amount in prop::option::of(0i64..200),
    ) {
        let root = Root::new(1);
        let text = root.mint(&claims(root.id));
        let arguments =
            amount.map_or(Arguments::none(), |amount| Arguments::none().integer("amount", amount));
        let asked = ask(action, object, &arguments);
        let before = root.verify(&text).expect("a token").held().allow(
            ("crm", action), object, &arguments, asked.now,
        ).is_ok();
        let narrowed = codes.iter().fold(text, |text, code| with_code(&root, &text, code));
        let read = root.verify(&narrowed).expect("a token");
        if read.uninterpreted().next().is_some() {
            let held = read.held().allow(("crm", action), object, &arguments, asked.now).is_ok();
            prop_assert!(before || !(held && read.allows(&asked)));
            prop_assert!(before || !read.allows(&asked), "the checks alone say so, too");
        }
    }

    /// Two ways to the same answer: the lattice, and their Datalog over the same block.
    #[test]
    fn the_vocabulary_means_what_its_datalog_means(
        asked in authorities(&["crm"]),
        object in prop::sample::select(vec![None, Some("/a"), Some("/a/b"), Some("/read/x")]),
        action in prop::sample::select(vec!["read", "write", "resource"]),
        (x, amount) in (prop::option::of(value()), prop::option::of(value())),
        second in START - 9..START + 9,
    ) {
        let root = Root::new(1);
        let mut base = claims(root.id);
        super::super::claims::hold(&mut base, &asked);
        let text = root.mint(&base);
        let arguments = [("x", x), ("amount", amount)].into_iter().fold(
            Arguments::none(),
            |all, (name, value)| match value {
                None => all,
                Some(Value::Integer(number)) => all.integer(name, number),
                Some(Value::Text(text)) => all.text(name, &text),
            },
        );
        let now = Time::from_seconds(second);
        let question = Asked { resource: "crm", action, object, arguments: &arguments, now };
        let read = root.verify(&text).expect("a token");
        let bytes = b64url_decode(&text).expect("base64url");
        let evaluator = Evaluator::new(&bytes, &root.public, &read).expect("their token");
        let held = read.held().allow(("crm", action), object, &arguments, now).is_ok();
        prop_assert_eq!(evaluator.allows(&question), held);
    }
}
