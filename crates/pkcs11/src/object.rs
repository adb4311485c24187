//! PKCS#11 section 4.9 and 6.3: the two objects of a key: the private half, sensitive and not
//! extractable, and the public one. Both have the name that the key's row gives.
//!
//! What was made is read again: a module that made it otherwise than it was told is found out before
//! anybody hears of the key. What was signed is verified under the public half of the row before it
//! leaves: by another key than the row's nothing can be signed here, whatever the token holds.

use std::collections::{HashMap, HashSet};

use accredit_domain::keys::held::{ObjectName, object_label, object_name};
use accredit_domain::keys::{KeyPurpose, SealedKey};
use accredit_wire::crypto::{Algorithm, PublicKey, sha256};
use accredit_wire::ids::{KeyId, OrganizationId};
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use crate::link::Open;
use crate::trouble::{Trouble, What};

/// Objects that were found in a session, at most; beyond, they are looked for at each use.
const FOUND_MAX: usize = 4096;
/// RFC 5480: the object identifier of P-256, DER.
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// PKCS#11 section 6.3: Ed25519 by its name, DER.
const ED25519: [u8; 14] = *b"\x13\x0cedwards25519";
/// The tag of an OCTET STRING, in which a point is wrapped.
const OCTET_STRING: u8 = 0x04;

/// What a token must be able to do, to make keys of an algorithm and to sign with them.
pub(crate) const fn mechanisms(algorithm: Algorithm) -> [MechanismType; 2] {
    match algorithm {
        Algorithm::Es256 => [MechanismType::ECC_KEY_PAIR_GEN, MechanismType::ECDSA],
        Algorithm::EdDsa => [MechanismType::ECC_EDWARDS_KEY_PAIR_GEN, MechanismType::EDDSA],
    }
}

/// A key that is to be made.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) org: Option<OrganizationId>,
    pub(crate) id: KeyId,
    pub(crate) purpose: KeyPurpose,
    pub(crate) algorithm: Algorithm,
}

fn key_trouble(why: impl Into<String>) -> Trouble {
    Trouble::new(What::Key, why)
}

/// Makes a key pair and returns its name and its public half.
pub(crate) fn generate(
    open: &mut Open,
    wanted: Wanted,
) -> Result<(ObjectName, PublicKey), Trouble> {
    let Wanted { org, id, purpose, algorithm } = wanted;
    let (name, label) = (object_name(org, id, purpose), object_label(org, id, purpose));
    // Before anything is made in it.
    open.check()?;
    if !all_of(&open.session, &name)?.is_empty() {
        return Err(key_trouble(format!("`{label}` is there already")));
    }
    let (mechanism, kind, curve) = match algorithm {
        Algorithm::Es256 => (Mechanism::EccKeyPairGen, KeyType::EC, P256.to_vec()),
        Algorithm::EdDsa => {
            (Mechanism::EccEdwardsKeyPairGen, KeyType::EC_EDWARDS, ED25519.to_vec())
        }
    };
    let both = [
        Attribute::Token(true),
        Attribute::KeyType(kind),
        Attribute::Id(name.to_vec()),
        Attribute::Label(label.into_bytes()),
    ];
    let public = [Attribute::Private(false), Attribute::Verify(true), Attribute::EcParams(curve)];
    let private = [
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
    ];
    let [public, private] = [&public[..], &private].map(|own| [&both[..], own].concat());
    let made = open.session.generate_key_pair(&mechanism, &public, &private)?;
    let looked_at = read_again(&open.session, made, algorithm);
    if looked_at.is_err() {
        // Nobody heard of it.
        for object in [made.0, made.1] {
            let _ = open.session.destroy_object(object);
        }
    }
    Ok((name, looked_at?))
}

/// That a pair is as it was asked for; its public half.
fn read_again(
    session: &Session,
    (public, private): (ObjectHandle, ObjectHandle),
    algorithm: Algorithm,
) -> Result<PublicKey, Trouble> {
    let ever = [AttributeType::AlwaysSensitive, AttributeType::NeverExtractable];
    let ever = session.get_attributes(private, &ever)?;
    let is_ever = ever.contains(&Attribute::AlwaysSensitive(true))
        && ever.contains(&Attribute::NeverExtractable(true));
    if !is_ever || !stays_in(session, private)? {
        return Err(key_trouble("the token made a key that could leave it"));
    }
    public_of(session, public, algorithm)
}

/// Whether a private key can neither be read nor taken out.
fn stays_in(session: &Session, private: ObjectHandle) -> Result<bool, Trouble> {
    let asked = [AttributeType::Sensitive, AttributeType::Extractable];
    let found = session.get_attributes(private, &asked)?;
    Ok(found.contains(&Attribute::Sensitive(true))
        && found.contains(&Attribute::Extractable(false)))
}

fn public_of(
    session: &Session,
    public: ObjectHandle,
    algorithm: Algorithm,
) -> Result<PublicKey, Trouble> {
    let found = session.get_attributes(public, &[AttributeType::EcPoint])?;
    let Some(Attribute::EcPoint(point)) = found.first() else {
        return Err(key_trouble("the public half has no point"));
    };
    point_of(point, algorithm).ok_or_else(|| key_trouble("the public half is no key"))
}

/// A point as tokens tell it: in an OCTET STRING, as the standard has it, or bare.
fn point_of(point: &[u8], algorithm: Algorithm) -> Option<PublicKey> {
    fn bare<const N: usize>(point: &[u8]) -> Option<&[u8; N]> {
        match point {
            [OCTET_STRING, length, bare @ ..] if usize::from(*length) == N && bare.len() == N => {
                bare.try_into().ok()
            }
            bare => bare.try_into().ok(),
        }
    }
    match algorithm {
        Algorithm::Es256 => PublicKey::p256(bare(point)?).ok(),
        Algorithm::EdDsa => PublicKey::ed25519(bare(point)?).ok(),
    }
}

/// Both halves of what has this name.
fn all_of(session: &Session, name: &ObjectName) -> Result<Vec<ObjectHandle>, Trouble> {
    Ok(session.find_objects(&[Attribute::Token(true), Attribute::Id(name.to_vec())])?)
}

/// Signs with the key of a row.
pub(crate) fn sign(open: &mut Open, key: &SealedKey, message: &[u8]) -> Result<[u8; 64], Trouble> {
    let private = private_of(open, key)?;
    let session = &open.session;
    let signed = match key.algorithm {
        // The digest is made here: few tokens have the mechanism that makes it.
        Algorithm::Es256 => session.sign(&Mechanism::Ecdsa, private, &sha256(message))?,
        Algorithm::EdDsa => {
            let params = EddsaParams::new(EddsaSignatureScheme::Ed25519);
            session.sign(&Mechanism::Eddsa(params), private, message)?
        }
    };
    let signature: Result<[u8; 64], _> = signed.try_into();
    let signature = signature.map_err(|other: Vec<u8>| {
        let why = format!("{}: the token signed with {} bytes", key.id, other.len());
        Trouble::new(What::Refused, why)
    })?;
    key.public.verify(message, &signature).map_err(|_| {
        key_trouble(format!("{}: what the token signed is not by the key of this row", key.id))
    })?;
    Ok(signature)
}

/// The private half of a row's key, which must be there once and stay in.
fn private_of(open: &mut Open, key: &SealedKey) -> Result<ObjectHandle, Trouble> {
    // Also where it was found before: the row that is shown now may be another.
    let name = key.object_name()?;
    if let Some(found) = open.found.get(&key.id) {
        return Ok(*found);
    }
    open.check()?;
    let wanted = [
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::Token(true),
        Attribute::Id(name.to_vec()),
    ];
    let found = open.session.find_objects(&wanted)?;
    let [private] = found[..] else {
        let label = object_label(key.org, key.id, key.purpose);
        let why = if found.is_empty() { "is not in the token" } else { "is there more than once" };
        return Err(key_trouble(format!("the key `{label}` {why}")));
    };
    if !stays_in(&open.session, private)? {
        return Err(key_trouble(format!("the key {} could leave the token", key.id)));
    }
    if open.found.len() < FOUND_MAX {
        open.found.insert(key.id, private);
    }
    Ok(private)
}

/// Which of these keys could not be used, and why. All objects are read once, however many keys are
/// asked for: a search for each reads all of them in many tokens.
pub(crate) fn absent(open: &mut Open, keys: &[SealedKey]) -> Result<Vec<(KeyId, String)>, Trouble> {
    open.check()?;
    let session = &open.session;
    let of_class = |class| session.find_objects(&[Attribute::Class(class), Attribute::Token(true)]);
    let name_of = |object| -> Result<Option<ObjectName>, Trouble> {
        let found = session.get_attributes(object, &[AttributeType::Id])?;
        let Some(Attribute::Id(id)) = found.into_iter().next() else { return Ok(None) };
        Ok(id.try_into().ok())
    };
    let mut private = HashSet::new();
    for object in of_class(ObjectClass::PRIVATE_KEY)? {
        if stays_in(session, object)? {
            private.extend(name_of(object)?);
        }
    }
    let mut public = HashMap::new();
    for object in of_class(ObjectClass::PUBLIC_KEY)? {
        if let Some(name) = name_of(object)? {
            public.insert(name, object);
        }
    }
    let mut absent = Vec::new();
    for key in keys {
        if let Some(why) = why_absent(session, key, (&private, &public))? {
            let label = object_label(key.org, key.id, key.purpose);
            absent.push((key.id, format!("the key `{label}` {why}")));
        }
    }
    Ok(absent)
}

fn why_absent(
    session: &Session,
    key: &SealedKey,
    (private, public): (&HashSet<ObjectName>, &HashMap<ObjectName, ObjectHandle>),
) -> Result<Option<&'static str>, Trouble> {
    let Ok(name) = key.object_name() else { return Ok(Some("is another object's row")) };
    if !private.contains(&name) {
        return Ok(Some("is not in the token"));
    }
    let Some(public) = public.get(&name) else { return Ok(Some("has no public half")) };
    let is_its_own = match public_of(session, *public, key.algorithm) {
        Ok(found) => found.bytes() == key.public.bytes(),
        Err(trouble) if trouble.what == What::Key => false,
        Err(trouble) => return Err(trouble),
    };
    Ok((!is_its_own).then_some("is another key than the store's"))
}

/// Destroys both halves of a row's key; whether there was one.
pub(crate) fn destroy(open: &mut Open, key: &SealedKey) -> Result<bool, Trouble> {
    open.check()?;
    open.found.remove(&key.id);
    let found = all_of(&open.session, &key.object_name()?)?;
    for object in &found {
        open.session.destroy_object(*object)?;
    }
    Ok(!found.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use accredit_wire::crypto::PrivateKey;

    #[test]
    fn a_point_is_read_as_the_standard_has_it_and_bare() {
        for algorithm in [Algorithm::Es256, Algorithm::EdDsa] {
            let (private, _) = PrivateKey::generate(algorithm).expect("a key");
            let public = private.public().expect("a public half");
            let bare = public.bytes();
            let wrapped = [&[OCTET_STRING, bare.len() as u8], bare].concat();
            for point in [bare, &wrapped] {
                let read = point_of(point, algorithm).expect("a key");
                assert_eq!(read.bytes(), bare);
            }
            let longer = [&wrapped[..], &[0]].concat();
            let other_tag = [&[OCTET_STRING + 1], &wrapped[1..]].concat();
            for broken in [&wrapped[1..], &bare[1..], &longer, &other_tag, &[]] {
                assert!(point_of(broken, algorithm).is_none(), "{broken:?}");
            }
        }
    }
}
