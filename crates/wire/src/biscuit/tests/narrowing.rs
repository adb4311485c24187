//! Blocks that holders add: they narrow, they hand on, and they never widen.

use super::*;
use crate::authority::Arguments;
use crate::time::Time;
use crate::token::CHAIN_DEPTH_MAX;

fn agent(number: u8) -> AgentId {
    AgentId::new(40, [number; 10])
}

fn to(number: u8, key: &Key) -> Narrowing {
    let holder = Holder { agent: agent(number), key: key.thumbprint() };
    Narrowing { holder: Some(holder), ..Narrowing::default() }
}

fn allowing(texts: &[&str]) -> Narrowing {
    Narrowing { authority: Some(authority(texts)), ..Narrowing::default() }
}

proptest! {
    #[test]
    fn a_narrowing_is_read_back_as_what_it_means(
        asked in authorities(&["crm", "mail"]),
        times in (prop::option::of(0i64..1 << 33), prop::option::of(0i64..1 << 33)),
        named in any::<Option<[u8; 10]>>(),
    ) {
        let key = Key::new(Algorithm::EdDsa).thumbprint();
        let narrowing = Narrowing {
            authority: Some(asked),
            not_before: times.0,
            expires_at: times.1,
            holder: named.map(|random| Holder { agent: AgentId::new(1, random), key }),
        };
        let checks = narrowing.to_checks();
        prop_assert_eq!(Narrowing::of_checks(&checks), Ok(narrowing.clone()));
        let content = datalog::Content { facts: Vec::new(), checks: checks.clone() };
        let block = content.to_block(&mut symbols::Adding::default());
        let raw = datalog::Raw::read(&block).expect("a block");
        let mut known = symbols::Symbols::default();
        known.extend(&raw.symbols).expect("its texts");
        prop_assert_eq!(raw.content(&known).expect("its content").checks, checks);
    }

    /// Invariant 1: what remains is what all allow, and never more than anybody had.
    #[test]
    fn what_remains_is_the_meet(
        token in tokens(Root::new(1).id),
        asked in prop::collection::vec(authorities(&["crm", "mail"]), 0..4),
    ) {
        let root = Root::new(1);
        let mut expected = claims::held(&token);
        let mut passed_on = token.delegable.clone();
        let mut text = root.mint(&token);
        for asked in &asked {
            let held = Held::read(&text).expect("a token").authority();
            let narrowed = narrow(&text, &Narrowing { authority: Some(held.meet(asked)), ..Narrowing::default() });
            text = narrowed.expect("narrowed");
            expected = expected.meet(&held.meet(asked));
            passed_on = passed_on.meet(&held.meet(asked));
        }
        let read = root.verify(&text).expect("a token");
        prop_assert_eq!(read.held(), &expected);
        prop_assert_eq!(&read.token().delegable, &passed_on);
        prop_assert!(claims::held(&token).covers(read.held()));
        prop_assert_eq!(&claims::held(read.token()), &expected);
        prop_assert_eq!(read.unnamed_narrowings(), asked.len());
    }
}

#[test]
fn the_end_comes_sooner_and_never_later() {
    let root = Root::new(1);
    let text = root.mint(&claims(root.id));
    let until = |end| Narrowing { expires_at: Some(end), ..Narrowing::default() };
    let sooner = narrow(&text, &until(START + 60)).expect("narrowed");
    assert_eq!(root.verify(&sooner).expect("a token").token().expires_at, START + 60);
    let ends = Time::from_seconds(START + 60);
    assert_eq!(narrow(&sooner, &until(START + 61)), Err(NarrowError::Later { ends }));
    assert_eq!(narrow(&sooner, &Narrowing::default()), Err(NarrowError::Nothing));
    // Who writes the block by other means changes nothing by it.
    let forged = forge(&sooner, &until(START + 3000), None);
    assert_eq!(root.verify(&forged).expect("a token").token().expires_at, START + 60);
}

/// Adds a block without asking whether it widens.
fn forge(text: &str, narrowing: &Narrowing, by: Option<&Key>) -> String {
    let bytes = attenuable::decode(text).expect("base64url");
    let envelope = envelope::Envelope::read(&bytes).expect("an envelope");
    let content = datalog::Content { facts: Vec::new(), checks: narrowing.to_checks() };
    let (_, known) = attenuable::read(&envelope, None).expect("a token");
    let known = if by.is_some() { symbols::Symbols::default() } else { known };
    let block = content.to_block(&mut symbols::Adding::behind(known));
    let external = by
        .map(|key| (&key.1, key.0.sign(&envelope.external_message(&block)).expect("a signature")));
    let bytes = envelope.with_block(&block, &fresh(), external).expect("one more block");
    crate::jose::b64url_encode(&bytes)
}

#[test]
fn what_would_widen_is_named() {
    let root = Root::new(1);
    let text = root.mint(&claims(root.id));
    let excess =
        narrow(&text, &allowing(&["crm:read", "crm:delete", "crm:update(/eu/*; amount<=101)"]));
    let said = excess.expect_err("it widens").to_string();
    assert!(said.contains("crm:delete") && said.contains("only up to 100"), "{said}");
    // What may be passed on can be kept, too.
    let narrowed =
        narrow(&text, &allowing(&["crm:read", "mail:send(to=\"a@b\")"])).expect("narrowed");
    let read = root.verify(&narrowed).expect("a token");
    assert_eq!(read.token().scope.to_string(), "crm:read");
    assert_eq!(read.token().delegable, authority(&["crm:read", "mail:send(to=\"a@b\")"]));
    // Who writes it by other means has no more.
    let forged = forge(&narrowed, &allowing(&["crm:read", "crm:delete"]), None);
    assert_eq!(root.verify(&forged).expect("a token").held(), &authority(&["crm:read"]));
    // Nothing at all is a narrowing as well.
    let nothing = narrow(&text, &allowing(&[])).expect("narrowed");
    assert!(root.verify(&nothing).expect("a token").held().is_empty());
}

#[test]
fn whoever_is_named_acts_from_there_on() {
    let root = Root::new(1);
    let base = claims(root.id);
    let [one, two] = [Key::new(Algorithm::Es256), Key::new(Algorithm::EdDsa)];
    let text = narrow(&root.mint(&base), &to(1, &one)).expect("bound");
    let read = root.verify(&text).expect("a token");
    let token = read.token();
    assert_eq!((token.client_id, token.cnf), (agent(1), Some(Confirmation::Key(one.thumbprint()))));
    assert_eq!(token.chain, vec![Actor { agent: agent(1), instance: None }]);
    assert_eq!((token.subject, token.instance), (base.subject, None));
    assert_eq!(token.check_consistency(1), Ok(()));
    for id in base.lineage() {
        assert!(token.lineage().any(|known| known == id), "{id}");
    }
    // Handed on by its key, narrowed without a name, and handed on again.
    let text = one.narrow(&text, &to(2, &two)).expect("handed on");
    let text = narrow(&text, &allowing(&["crm:read"])).expect("narrowed");
    let read = root.verify(&text).expect("a token");
    assert_eq!(read.unnamed_narrowings(), 1);
    assert_eq!(read.named().collect::<Vec<_>>(), [agent(1).any(), agent(2).any()]);
    assert_eq!(read.minted_for().agent, base.client_id);
    let agents: Vec<_> = read.token().chain.iter().map(|actor| actor.agent).collect();
    assert_eq!(agents, [agent(2), agent(1)]);
    assert_eq!(read.token().cnf, Some(Confirmation::Key(two.thumbprint())));
    // Four blocks, each of which can be ended.
    let blocks = read.token().lineage().filter(|id| BlockId::try_from(*id).is_ok());
    assert_eq!(blocks.collect::<std::collections::BTreeSet<AnyId>>().len(), 4);
}

/// STANDARDS 15, 22: whoever has stolen a bound token has no use of it, and makes none.
#[test]
fn a_thief_names_no_key_of_their_own() {
    let root = Root::new(1);
    let [own, thief, next] = [(); 3].map(|()| Key::new(Algorithm::Es256));
    let mut base = claims(root.id);
    base.cnf = Some(Confirmation::Key(own.thumbprint()));
    let text = root.mint(&base);
    assert_eq!(narrow(&text, &to(9, &thief)), Err(NarrowError::KeyMissing));
    assert_eq!(thief.narrow(&text, &to(9, &thief)), Err(NarrowError::OtherKey));
    let unsigned = forge(&text, &to(9, &thief), None);
    assert_eq!(root.verify(&unsigned).map(drop), Err(BiscuitError::NotHandedOn(1)));
    let signed = forge(&text, &to(9, &thief), Some(&thief));
    assert_eq!(root.verify(&signed).map(drop), Err(BiscuitError::NotHandedOn(1)));
    // Not even by the key that it is bound to already, unsigned.
    let again = forge(&text, &to(9, &own), None);
    assert_eq!(root.verify(&again).map(drop), Err(BiscuitError::NotHandedOn(1)));
    // Nor once it was handed on, by the key of who held it before.
    let text = own.narrow(&text, &to(1, &next)).expect("handed on");
    assert!(root.verify(&text).is_ok());
    let back = forge(&text, &to(9, &thief), Some(&own));
    assert_eq!(root.verify(&back).map(drop), Err(BiscuitError::NotHandedOn(2)));
    // A third party's signature is for handing on alone.
    let third = forge(&text, &allowing(&["crm:read"]), Some(&next));
    assert_eq!(root.verify(&third).map(drop), Err(BiscuitError::ThirdParty));
    let unbound = forge(&root.mint(&claims(root.id)), &to(1, &own), Some(&own));
    assert_eq!(root.verify(&unbound).map(drop), Err(BiscuitError::ThirdParty));
}

/// STANDARDS 15, 46: blocks and hops have a bound, for who adds and who reads.
#[test]
fn there_is_an_end_to_blocks_and_hops() {
    let root = Root::new(1);
    let mut text = root.mint(&claims(root.id));
    for _ in 0..BLOCKS_MAX {
        text = narrow(&text, &allowing(&["crm:read"])).expect("narrowed");
    }
    assert!(root.verify(&text).is_ok());
    let one_more = narrow(&text, &allowing(&["crm:read"]));
    assert_eq!(one_more, Err(NarrowError::Token(BiscuitError::TooManyBlocks)));
    let mut deep = claims(root.id);
    deep.chain = vec![Actor { agent: deep.client_id, instance: None }; CHAIN_DEPTH_MAX];
    let forged = forge(&root.mint(&deep), &to(1, &Key::new(Algorithm::EdDsa)), None);
    assert_eq!(root.verify(&forged).map(drop), Err(BiscuitError::TooDeep));
}

#[test]
fn a_block_can_be_told_from_every_other() {
    let root = Root::new(1);
    let text = root.mint(&claims(root.id));
    let [one, two] = [(); 2].map(|()| narrow(&text, &allowing(&["crm:read"])).expect("narrowed"));
    let ids = |text: &str| {
        let read = root.verify(text).expect("a token");
        read.token().lineage().filter(|id| BlockId::try_from(*id).is_ok()).collect::<Vec<_>>()
    };
    let (one, two) = (ids(&one), ids(&two));
    assert_eq!((one.len(), two.len(), one[0]), (2, 2, two[0]));
    assert_ne!(one[1], two[1], "each was made by itself");
}

#[test]
fn limits_are_decided_as_they_were_said() {
    let root = Root::new(1);
    let text = root.mint(&claims(root.id));
    let text = narrow(&text, &allowing(&["crm:update(/eu/de/*; amount in 1..50)"])).expect("ok");
    let read = root.verify(&text).expect("a token");
    let may = |object: &str, amount: i64| {
        let arguments = Arguments::none().integer("amount", amount);
        let asked = ("crm", "update");
        read.held().allow(asked, Some(object), &arguments, Time::from_seconds(START)).is_ok()
    };
    assert!(may("/eu/de/7", 50) && !may("/eu/fr/7", 50) && !may("/eu/de/7", 51));
}
