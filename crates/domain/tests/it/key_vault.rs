//! Every key vault does what is demanded of one; and the one with a token says what is wrong with it.
//!
//! SoftHSM2 finds its tokens by the environment and its module is the process's: each of these tests
//! that needs it runs once more, in a process of its own.

#[path = "../../../pkcs11/tests/softhsm/mod.rs"]
mod softhsm;

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use accredit_domain::keys::held::Held;
use accredit_domain::keys::{KeyPurpose, SealedKey};
use accredit_domain::ports::{Entropy, Installation, KeyVault};
use accredit_domain::vault::{RootKey, SoftVault};
use accredit_pkcs11::{Options, Pkcs11Vault, Token, What};
use accredit_testkit::SeededEntropy;
use accredit_testkit::key_vault::{Kind, suite};
use accredit_wire::ids::{KeyId, OrganizationId};
use accredit_wire::secret::Secret;
use cryptoki::context::Pkcs11;
use cryptoki::object::{Attribute, AttributeType, ObjectClass};
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;

use self::softhsm::{CONFIGURATION, PIN, SoftHsm};

const LABEL: &str = "accredit test";
const AUTHORITIES: [KeyPurpose; 2] = [KeyPurpose::CaRoot, KeyPurpose::Ca];

/// The software vault of one installation, opened once more at each call.
fn soft() -> impl Fn() -> SoftVault + Clone {
    let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(7));
    let root = [3; 32];
    let pepper = SoftVault::new_pepper(&RootKey::new(root), &*entropy, 1).expect("a pepper");
    let installation = Installation { peppers: vec![pepper], root: 1, public_url: String::new() };
    move || {
        SoftVault::open(RootKey::new(root), Arc::clone(&entropy), &installation).expect("opened")
    }
}

#[tokio::test]
async fn the_software_vault_does_what_is_demanded() {
    let soft = soft();
    let open = Box::new(move || Arc::new(soft()) as Arc<dyn KeyVault>);
    suite(&Kind { open, held: |_| Held::Software }).await;
}

/// Runs the test of this name in a process that has a token of its own; nothing in the process that was
/// asked for it.
#[expect(
    clippy::disallowed_methods,
    reason = "a module is told by the environment where its tokens are"
)]
fn in_own_process(test: &str) -> Option<SoftHsm> {
    if let Some(configuration) = std::env::var_os(CONFIGURATION) {
        let folder = PathBuf::from(configuration).parent().expect("a folder").to_owned();
        return SoftHsm::in_folder(&folder);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let hsm = SoftHsm::in_folder(folder.path())?;
    hsm.make(LABEL);
    let mut again = Command::new(std::env::current_exe().expect("this program"));
    again.args(["--exact", &format!("key_vault::{test}"), "--nocapture"]);
    let ended = again.env(CONFIGURATION, &hsm.configuration).output().expect("it runs");
    let said = String::from_utf8_lossy(&ended.stdout);
    let why = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success() && said.contains("1 passed"), "{said}{why}");
    None
}

fn options(hsm: &SoftHsm, purposes: &[KeyPurpose]) -> Options {
    Options {
        module: hsm.module.clone(),
        token: LABEL.to_owned(),
        pin: Secret::new(PIN.to_owned()),
        purposes: purposes.to_vec(),
    }
}

fn vault(hsm: &SoftHsm, purposes: &[KeyPurpose]) -> Pkcs11Vault {
    Pkcs11Vault::new(soft()(), Token::new(options(hsm, purposes)))
}

async fn key(vault: &Pkcs11Vault, purpose: KeyPurpose) -> SealedKey {
    let (org, id) = (Some(OrganizationId::new(1, [1; 10])), KeyId::new(1, [2; 10]));
    vault.generate(org, id, purpose, purpose.algorithm()).await.expect("a key")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_does_what_is_demanded() {
    let Some(hsm) = in_own_process("a_token_does_what_is_demanded") else { return };
    let soft = soft();
    let open = move |purposes: &'static [KeyPurpose]| {
        let (soft, options) = (soft.clone(), options(&hsm, purposes));
        Box::new(move || {
            Arc::new(Pkcs11Vault::new(soft(), Token::new(options.clone()))) as Arc<dyn KeyVault>
        })
    };
    let held = |purpose: KeyPurpose| {
        if AUTHORITIES.contains(&purpose) { Held::Pkcs11 } else { Held::Software }
    };
    suite(&Kind { open: open(&AUTHORITIES), held }).await;
    // It destroyed what it made.
    suite(&Kind { open: open(&KeyPurpose::ALL), held: |_| Held::Pkcs11 }).await;
}

#[tokio::test]
async fn a_wrong_pin_is_tried_once() {
    let Some(hsm) = in_own_process("a_wrong_pin_is_tried_once") else { return };
    let wrong = Options { pin: Secret::new("648218".to_owned()), ..options(&hsm, &[]) };
    let token = Token::new(wrong.clone());
    let module = Pkcs11::new(&hsm.module).expect("the module");
    let refused = async |token: &Token| {
        let trouble = token.open().await.expect_err("refused");
        assert_eq!(trouble.what, What::Pin, "{trouble}");
        let named = [LABEL, "libsofthsm2.so", "PinIncorrect"];
        assert!(named.iter().all(|part| trouble.detail.contains(part)), "{trouble}");
        assert!(!trouble.detail.contains("648218"), "{trouble}");
    };
    refused(&token).await;
    let slot = module.get_slots_with_initialized_token().expect("slots")[0];
    let was_tried = || module.get_token_info(slot).expect("told").user_pin_count_low();
    assert!(was_tried());
    let session = module.open_rw_session(slot).expect("a session");
    session.login(UserType::User, Some(&AuthPin::from(PIN))).expect("the right one");
    session.logout().expect("logged out");
    assert!(!was_tried());
    for _ in 0..3 {
        refused(&token).await;
        assert!(!was_tried());
    }
    refused(&Token::new(wrong)).await;
    assert!(was_tried());
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let Some(hsm) = in_own_process("what_is_missing_is_named") else { return };
    let good = options(&hsm, &[KeyPurpose::CaRoot]);
    for (options, what, said) in [
        (
            Options { module: "/nowhere/module.so".into(), ..good.clone() },
            What::Module,
            "/nowhere/module.so",
        ),
        // A library, and none of PKCS#11.
        (Options { module: "libm.so.6".into(), ..good.clone() }, What::Module, "C_GetFunctionList"),
        (Options { token: "other".into(), ..good.clone() }, What::Token, "`accredit test`"),
    ] {
        let trouble = Token::new(options).open().await.expect_err(said);
        assert_eq!(trouble.what, what, "{trouble}");
        assert!(trouble.detail.contains(said), "{trouble}");
    }
    let vault = vault(&hsm, &[KeyPurpose::CaRoot]);
    let key = key(&vault, KeyPurpose::CaRoot).await;
    // The same key again is no key.
    let (org, id) = (key.org, key.id);
    assert!(vault.generate(org, id, key.purpose, key.algorithm).await.is_err());
    // Without a token nobody signs with it, and it is said why.
    let fault = soft()().sign(&key, b"m").await.expect_err("no token").to_string();
    assert!(fault.contains(&key.id.to_string()) && fault.contains("PKCS#11"), "{fault}");
    // Taken away by somebody else while it is in use.
    vault.sign(&key, b"m").await.expect("signed");
    assert!(self::vault(&hsm, &[]).destroy(&key).await.expect("destroyed"));
    let fault = vault.sign(&key, b"m").await.expect_err("gone").to_string();
    let label = format!("accredit/{}/{id}/ca-root", org.expect("an organization"));
    assert!(
        [&*label, LABEL, "is not in the token"].iter().all(|part| fault.contains(part)),
        "{fault}"
    );
}

/// Whoever owns the token puts another key in the place of one; whoever owns the store another public half.
#[tokio::test]
async fn another_key_of_the_same_name_signs_nothing() {
    let Some(hsm) = in_own_process("another_key_of_the_same_name_signs_nothing") else { return };
    let vault = vault(&hsm, &AUTHORITIES);
    let before = key(&vault, KeyPurpose::CaRoot).await;
    vault.sign(&before, b"m").await.expect("signed");
    assert!(vault.destroy(&before).await.expect("destroyed"));
    let after = key(&vault, KeyPurpose::CaRoot).await;
    assert_eq!((before.id, &before.wrapped), (after.id, &after.wrapped));
    vault.sign(&after, b"m").await.expect("signed");
    for vault in [&vault, &self::vault(&hsm, &[])] {
        let fault = vault.sign(&before, b"m").await.expect_err("another key").to_string();
        assert!(fault.contains("not by the key of this row"), "{fault}");
        let absent = vault.absent(&[before.clone(), after.clone()]).await.expect("looked");
        let [absent] = &absent[..] else { panic!("{absent:?}") };
        assert!(absent.why.contains("another key than the store's"), "{absent:?}");
    }
}

/// What the token says of a private key, asked by whoever has the PIN.
#[tokio::test]
async fn a_key_can_neither_be_read_nor_taken_out() {
    let Some(hsm) = in_own_process("a_key_can_neither_be_read_nor_taken_out") else { return };
    let vault = vault(&hsm, &[KeyPurpose::CaRoot, KeyPurpose::Feed]);
    key(&vault, KeyPurpose::CaRoot).await;
    key(&vault, KeyPurpose::Feed).await;
    let module = Pkcs11::new(&hsm.module).expect("the module");
    let slot = module.get_slots_with_initialized_token().expect("slots")[0];
    let session = module.open_rw_session(slot).expect("a session");
    let private = session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)]);
    let private = private.expect("found");
    assert_eq!(private.len(), 2);
    for key in private {
        let asked = [
            AttributeType::Token,
            AttributeType::Private,
            AttributeType::Sensitive,
            AttributeType::AlwaysSensitive,
            AttributeType::Extractable,
            AttributeType::NeverExtractable,
            AttributeType::Local,
            AttributeType::Value,
        ];
        let found = session.get_attributes(key, &asked).expect("told");
        // Its value is not among them.
        assert_eq!(
            found,
            [
                Attribute::Token(true),
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::AlwaysSensitive(true),
                Attribute::Extractable(false),
                Attribute::NeverExtractable(true),
                Attribute::Local(true),
            ]
        );
        // Nor is it made so that it could be.
        for loosened in [Attribute::Sensitive(false), Attribute::Extractable(true)] {
            assert!(session.update_attributes(key, &[loosened]).is_err());
        }
    }
}

/// Whoever else is in the process logs it out: all sessions are the worse for it.
#[tokio::test]
async fn a_session_that_was_lost_is_opened_again() {
    let Some(hsm) = in_own_process("a_session_that_was_lost_is_opened_again") else { return };
    let vault = Arc::new(vault(&hsm, &[KeyPurpose::Ca]));
    let key = key(&vault, KeyPurpose::Ca).await;
    let module = Pkcs11::new(&hsm.module).expect("the module");
    let slot = module.get_slots_with_initialized_token().expect("slots")[0];
    for turn in 0..4 {
        // Every thread has a session, and most have found the key in it.
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..64 {
            let (vault, key) = (Arc::clone(&vault), key.clone());
            tasks.spawn(async move { vault.sign(&key, b"m").await.expect("signed") });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.expect("signed");
        }
        module.open_ro_session(slot).expect("a session").logout().expect("logged out");
        // One that is not logged in finds nothing, and no error says why.
        if turn % 2 == 0 {
            assert!(vault.absent(std::slice::from_ref(&key)).await.expect("looked").is_empty());
        }
        let signature = vault.sign(&key, b"m").await.expect("signed");
        assert!(key.public.verify(b"m", &signature).is_ok());
    }
}
