//! Biscuit's envelope: blocks, each signed by the key that the block before it names.
//!
//! Signature payload version 1 alone, which binds a block to the signature before it, and Ed25519
//! alone for the keys of the chain: a revocation id is a hash of a signature, which must have one
//! spelling. Where a key outside of the chain signed a block as well, it is P-256 or Ed25519, as
//! keys of DPoP are.

use zeroize::Zeroizing;

use super::proto::{Fields, Message, Value, once};
use super::signature::{der_to_fixed, fixed_to_der};
use super::{BLOCKS_MAX, BiscuitError};
use crate::crypto::{Algorithm, PrivateKey, PublicKey};

/// The version of the signature payload.
const PAYLOAD_VERSION: u32 = 1;

/// The algorithms of keys, as they are numbered.
const ED25519: u32 = 0;
const SECP256R1: u32 = 1;

/// A token as it travels.
#[derive(Debug)]
pub(super) struct Envelope<'a> {
    pub(super) root_key_id: u32,
    /// The authority block, and those that were added.
    pub(super) authority: Signed<'a>,
    pub(super) added: Vec<Signed<'a>>,
    pub(super) proof: Proof,
}

/// A block and its signatures.
#[derive(Clone, Debug)]
pub(super) struct Signed<'a> {
    pub(super) block: &'a [u8],
    next_key: [u8; 32],
    pub(super) signature: [u8; 64],
    pub(super) external: Option<External<'a>>,
}

/// What a key outside of the chain signed of a block.
#[derive(Clone, Debug)]
pub(super) struct External<'a> {
    pub(super) key: PublicKey,
    signature: &'a [u8],
}

/// What ends a token.
pub(super) enum Proof {
    /// The seed of the last key: whoever has the token may add a block.
    Secret(Zeroizing<[u8; 32]>),
    /// The last key's signature: nobody may.
    Seal([u8; 64]),
}

/// Without the seed.
impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Secret(_) => "Secret",
            Self::Seal(_) => "Seal",
        })
    }
}

impl<'a> Envelope<'a> {
    pub(super) fn read(token: &'a [u8]) -> Result<Self, BiscuitError> {
        let (mut root_key_id, mut authority, mut proof) = (None, None, None);
        let mut added = Vec::new();
        for field in Fields(token) {
            match field? {
                (1, value) => once(&mut root_key_id, value.number32()?)?,
                (2, value) => once(&mut authority, Signed::read(value.bytes()?)?)?,
                (3, _) if added.len() == BLOCKS_MAX => return Err(BiscuitError::TooManyBlocks),
                (3, value) => added.push(Signed::read(value.bytes()?)?),
                (4, value) => once(&mut proof, Proof::read(value.bytes()?)?)?,
                _ => return Err(BiscuitError::Malformed),
            }
        }
        let authority: Signed<'_> = authority.ok_or(BiscuitError::Malformed)?;
        if authority.external.is_some() {
            return Err(BiscuitError::ThirdParty);
        }
        Ok(Self {
            root_key_id: root_key_id.ok_or(BiscuitError::UnknownKey)?,
            authority,
            added,
            proof: proof.ok_or(BiscuitError::Malformed)?,
        })
    }

    /// All blocks, the authority block first.
    pub(super) fn blocks(&self) -> impl Iterator<Item = &Signed<'a>> {
        std::iter::once(&self.authority).chain(&self.added)
    }

    fn last(&self) -> &Signed<'a> {
        self.added.last().unwrap_or(&self.authority)
    }

    /// Whether the authority block is signed by `root`.
    pub(super) fn is_signed_by(&self, root: &PublicKey) -> bool {
        let message = self.authority.message(None);
        root.algorithm() == Algorithm::EdDsa
            && root.verify(&message, &self.authority.signature).is_ok()
    }

    /// Checks the signatures of all that was added, and of the end.
    pub(super) fn check_added(&self) -> Result<(), BiscuitError> {
        let mut previous = &self.authority;
        for block in &self.added {
            let key = previous.next_key()?;
            let message = block.message(Some(&previous.signature));
            key.verify(&message, &block.signature).map_err(|_| BiscuitError::Signature)?;
            if let Some(external) = &block.external {
                external.check(block.block, &previous.signature)?;
            }
            previous = block;
        }
        let last = previous.next_key()?;
        match &self.proof {
            Proof::Secret(seed) => {
                let public = PrivateKey::ed25519_from_seed(seed).and_then(|key| key.public());
                match public {
                    Ok(public) if public.bytes() == last.bytes() => Ok(()),
                    Ok(_) | Err(_) => Err(BiscuitError::Signature),
                }
            }
            Proof::Seal(seal) => {
                let message = [
                    previous.block,
                    &ED25519.to_le_bytes(),
                    &previous.next_key,
                    &previous.signature,
                ];
                last.verify(&message.concat(), seal).map_err(|_| BiscuitError::Signature)
            }
        }
    }

    /// The token with one more block, which the next key after it signs on from.
    pub(super) fn with_block(
        &self,
        block: &[u8],
        next_seed: &[u8; 32],
        external: Option<(&PublicKey, [u8; 64])>,
    ) -> Result<Vec<u8>, BiscuitError> {
        let Proof::Secret(seed) = &self.proof else { return Err(BiscuitError::Sealed) };
        if self.added.len() == BLOCKS_MAX {
            return Err(BiscuitError::TooManyBlocks);
        }
        let external = external.map(|(key, signature)| {
            let signature = match key.algorithm() {
                Algorithm::Es256 => fixed_to_der(&signature),
                Algorithm::EdDsa => signature.to_vec(),
            };
            (key, signature)
        });
        let next_key = public_of(next_seed)?;
        let of = external.as_ref().map(|(_, signature)| signature.as_slice());
        let message = payload(block, &next_key, Some(&self.last().signature), of);
        let signature = PrivateKey::ed25519_from_seed(seed).and_then(|key| key.sign(&message));
        let signature = signature.map_err(|_| BiscuitError::Signature)?;
        let mut out = Message::with_capacity(2048);
        out.number(1, u64::from(self.root_key_id));
        for (number, known) in self.blocks().enumerate() {
            out.message(if number == 0 { 2 } else { 3 }, |out| known.write(out));
        }
        out.message(3, |out| {
            write_signed(out, block, &next_key, &signature);
            if let Some((key, signature)) = &external {
                out.message(4, |out| {
                    out.bytes(1, signature);
                    out.message(2, |out| write_key(out, key));
                });
            }
            out.number(5, u64::from(PAYLOAD_VERSION));
        });
        out.message(4, |out| out.bytes(1, next_seed));
        Ok(out.0)
    }

    /// What a key outside of the chain signs of a block that is to be added.
    pub(super) fn external_message(&self, block: &[u8]) -> Vec<u8> {
        external_payload(block, &self.last().signature)
    }
}

/// The token of an authority block alone, signed by the root key.
pub(super) fn minted(
    root_key_id: u32,
    (block, signature): (&[u8], &[u8; 64]),
    next_seed: &[u8; 32],
) -> Result<Vec<u8>, BiscuitError> {
    let next_key = public_of(next_seed)?;
    let mut out = Message::with_capacity(block.len() + 256);
    out.number(1, u64::from(root_key_id));
    out.message(2, |out| {
        write_signed(out, block, &next_key, signature);
        out.number(5, u64::from(PAYLOAD_VERSION));
    });
    out.message(4, |out| out.bytes(1, next_seed));
    Ok(out.0)
}

/// What the root key signs of an authority block.
pub(super) fn authority_message(
    block: &[u8],
    next_seed: &[u8; 32],
) -> Result<Vec<u8>, BiscuitError> {
    Ok(payload(block, &public_of(next_seed)?, None, None))
}

fn public_of(seed: &[u8; 32]) -> Result<[u8; 32], BiscuitError> {
    let public = PrivateKey::ed25519_from_seed(seed).and_then(|key| key.public());
    let public = public.map_err(|_| BiscuitError::Signature)?;
    public.bytes().try_into().map_err(|_| BiscuitError::Signature)
}

impl<'a> Signed<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, BiscuitError> {
        let (mut block, mut next_key, mut signature) = (None, None, None);
        let (mut external, mut version) = (None, None);
        for field in Fields(bytes) {
            match field? {
                (1, value) => once(&mut block, value.bytes()?)?,
                (2, value) => once(&mut next_key, read_key(value)?)?,
                (3, value) => once(&mut signature, value.array()?)?,
                (4, value) => once(&mut external, External::read(value.bytes()?)?)?,
                (5, value) => once(&mut version, value.number32()?)?,
                _ => return Err(BiscuitError::Malformed),
            }
        }
        if version != Some(PAYLOAD_VERSION) {
            return Err(BiscuitError::Version);
        }
        let (algorithm, key) = next_key.ok_or(BiscuitError::Malformed)?;
        if algorithm != ED25519 {
            return Err(BiscuitError::NotEd25519);
        }
        Ok(Self {
            block: block.ok_or(BiscuitError::Malformed)?,
            next_key: key.try_into().map_err(|_| BiscuitError::Malformed)?,
            signature: signature.ok_or(BiscuitError::Malformed)?,
            external,
        })
    }

    fn next_key(&self) -> Result<PublicKey, BiscuitError> {
        PublicKey::ed25519(&self.next_key).map_err(|_| BiscuitError::Signature)
    }

    /// What the key before it signed.
    fn message(&self, previous: Option<&[u8; 64]>) -> Vec<u8> {
        let external = self.external.as_ref().map(|external| external.signature);
        payload(self.block, &self.next_key, previous, external)
    }

    fn write(&self, out: &mut Message) {
        write_signed(out, self.block, &self.next_key, &self.signature);
        if let Some(External { key, signature }) = &self.external {
            out.message(4, |out| {
                out.bytes(1, signature);
                out.message(2, |out| write_key(out, key));
            });
        }
        out.number(5, u64::from(PAYLOAD_VERSION));
    }
}

fn write_signed(out: &mut Message, block: &[u8], next_key: &[u8; 32], signature: &[u8; 64]) {
    out.bytes(1, block);
    out.message(2, |out| {
        out.number(1, u64::from(ED25519));
        out.bytes(2, next_key);
    });
    out.bytes(3, signature);
}

fn write_key(out: &mut Message, key: &PublicKey) {
    match key.algorithm() {
        Algorithm::Es256 => {
            out.number(1, u64::from(SECP256R1));
            out.bytes(2, &key.compressed());
        }
        Algorithm::EdDsa => {
            out.number(1, u64::from(ED25519));
            out.bytes(2, key.bytes());
        }
    }
}

fn read_key(value: Value<'_>) -> Result<(u32, &[u8]), BiscuitError> {
    let (mut algorithm, mut key) = (None, None);
    for field in Fields(value.bytes()?) {
        match field? {
            (1, value) => once(&mut algorithm, value.number32()?)?,
            (2, value) => once(&mut key, value.bytes()?)?,
            _ => return Err(BiscuitError::Malformed),
        }
    }
    algorithm.zip(key).ok_or(BiscuitError::Malformed)
}

impl<'a> External<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, BiscuitError> {
        let (mut signature, mut key) = (None, None);
        for field in Fields(bytes) {
            match field? {
                (1, value) => once(&mut signature, value.bytes()?)?,
                (2, value) => once(&mut key, read_key(value)?)?,
                _ => return Err(BiscuitError::Malformed),
            }
        }
        let (algorithm, key) = key.ok_or(BiscuitError::Malformed)?;
        let key = match algorithm {
            ED25519 => key.try_into().ok().and_then(|key| PublicKey::ed25519(key).ok()),
            SECP256R1 => key.try_into().ok().and_then(|key| PublicKey::p256_compressed(key).ok()),
            _ => None,
        };
        let key = key.ok_or(BiscuitError::Malformed)?;
        Ok(Self { key, signature: signature.ok_or(BiscuitError::Malformed)? })
    }

    fn check(&self, block: &[u8], previous: &[u8; 64]) -> Result<(), BiscuitError> {
        let message = external_payload(block, previous);
        let result = match self.key.algorithm() {
            Algorithm::Es256 => {
                let fixed = der_to_fixed(self.signature).ok_or(BiscuitError::Signature)?;
                self.key.verify(&message, &fixed)
            }
            Algorithm::EdDsa => self.key.verify(&message, self.signature),
        };
        result.map_err(|_| BiscuitError::Signature)
    }
}

impl Proof {
    fn read(bytes: &[u8]) -> Result<Self, BiscuitError> {
        let mut fields = Fields(bytes);
        match (fields.next(), fields.next()) {
            (Some(Ok((1, seed))), None) => Ok(Self::Secret(Zeroizing::new(seed.array()?))),
            (Some(Ok((2, seal))), None) => Ok(Self::Seal(seal.array()?)),
            _ => Err(BiscuitError::Malformed),
        }
    }
}

/// Specification, "Signature (one block)", payload version 1.
fn payload(
    block: &[u8],
    next_key: &[u8; 32],
    previous: Option<&[u8; 64]>,
    external: Option<&[u8]>,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(block.len() + 256);
    out.extend_from_slice(b"\0BLOCK\0\0VERSION\0");
    out.extend_from_slice(&PAYLOAD_VERSION.to_le_bytes());
    out.extend_from_slice(b"\0PAYLOAD\0");
    out.extend_from_slice(block);
    out.extend_from_slice(b"\0ALGORITHM\0");
    out.extend_from_slice(&ED25519.to_le_bytes());
    out.extend_from_slice(b"\0NEXTKEY\0");
    out.extend_from_slice(next_key);
    if let Some(previous) = previous {
        out.extend_from_slice(b"\0PREVSIG\0");
        out.extend_from_slice(previous);
    }
    if let Some(external) = external {
        out.extend_from_slice(b"\0EXTERNALSIG\0");
        out.extend_from_slice(external);
    }
    out
}

/// The same, what a third party signs.
fn external_payload(block: &[u8], previous: &[u8; 64]) -> Vec<u8> {
    let mut out = Vec::with_capacity(block.len() + 128);
    out.extend_from_slice(b"\0EXTERNAL\0\0VERSION\0");
    out.extend_from_slice(&PAYLOAD_VERSION.to_le_bytes());
    out.extend_from_slice(b"\0PAYLOAD\0");
    out.extend_from_slice(block);
    out.extend_from_slice(b"\0PREVSIG\0");
    out.extend_from_slice(previous);
    out
}
