//! Verification: the chain of signatures from the issuer's key, then what all blocks say together.

use super::datalog::{Content, Raw};
use super::envelope::{Envelope, Signed};
use super::evaluate::{Asked, Datalog};
use super::symbols::Symbols;
use super::{BiscuitError, Holder, Narrowing, checks, claims, root_key_id};
use crate::authority::Authority;
use crate::binding::{Confirmation, Thumbprint};
use crate::crypto::PublicKey;
use crate::ids::{AnyId, BlockId, KeyId};
use crate::jose::{TOKEN_BYTES_MAX, b64url_decode};
use crate::json::quoted;
use crate::token::{AccessToken, Actor, CHAIN_DEPTH_MAX};

/// What a token says whose signatures hold. Times, audience and standing are not looked at.
#[derive(Clone, Debug)]
pub struct Attenuable {
    token: AccessToken,
    minted_for: Actor,
    is_minted_bound: bool,
    held: Authority,
    narrowings: Vec<Option<Narrowing>>,
    foreign: Vec<Foreign>,
    holders: Vec<Holder>,
    unnamed: usize,
    /// Decides what is not of the vocabulary; nothing where there is no such thing, or nobody who
    /// could decide it.
    datalog: Option<Datalog>,
}

/// A block that is not of the vocabulary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// Which, counted from 1.
    pub block: usize,
    /// Some of the words that it brings and that no check of the vocabulary has as such: at most
    /// [`FOREIGN_WORDS_MAX`], cut and printable. None where it says known words in another way.
    pub words: Vec<String>,
}

/// The most words that are told of a foreign block.
pub const FOREIGN_WORDS_MAX: usize = 8;

impl Foreign {
    /// Of what the block says as far as it can be read, and of the names that it brings.
    fn new(block: usize, content: Option<&Content<'_>>, symbols: &[&str]) -> Self {
        let said = content.into_iter().flat_map(Content::names).chain(symbols.iter().copied());
        let mut words: Vec<&str> = Vec::new();
        for word in said.filter(|word| !checks::WORDS.contains(word)) {
            if words.len() < FOREIGN_WORDS_MAX && !words.contains(&word) {
                words.push(word);
            }
        }
        Self { block, words: words.into_iter().map(quoted).collect() }
    }
}

impl Attenuable {
    /// The token that remains: the authority block, narrowed by every block. Who was named last is
    /// its acting party; its lineage has the id of every block.
    ///
    /// Where a block is not of the vocabulary ([`Self::uninterpreted`]) it allows nothing and can
    /// pass on nothing: what it allows then is decided question by question, never read off.
    pub fn token(&self) -> &AccessToken {
        &self.token
    }

    /// What it allows at its audience as far as the vocabulary says; less where a block is
    /// uninterpreted.
    pub fn held(&self) -> &Authority {
        &self.held
    }

    /// Whom it was minted for: the agent, and the copy of it where one authenticated.
    pub fn minted_for(&self) -> Actor {
        self.minted_for
    }

    /// Whether it was bound to a key when it was minted: then nobody but that key's holder could hand
    /// it on. Of any other, whoever found it may have named themselves.
    pub fn is_minted_bound(&self) -> bool {
        self.is_minted_bound
    }

    /// The id of the last block that was added; none where none was.
    pub fn last_added(&self) -> Option<BlockId> {
        let mut blocks = self.token.further.iter().rev();
        let last = blocks.find_map(|id| BlockId::try_from(*id).ok());
        last.filter(|_| !self.narrowings.is_empty())
    }

    /// The blocks that are not of the vocabulary, with words of theirs that are not, as an error
    /// names them.
    pub fn foreign(&self) -> &[Foreign] {
        &self.foreign
    }

    /// What was added, block by block; nothing for one that is not of the vocabulary.
    pub fn narrowings(&self) -> &[Option<Narrowing>] {
        &self.narrowings
    }

    /// The blocks that are not of the vocabulary, counted from 1: such a token is not exchanged.
    pub fn uninterpreted(&self) -> impl Iterator<Item = usize> + '_ {
        let numbered = (1..).zip(&self.narrowings);
        numbered.filter_map(|(number, narrowing)| narrowing.is_none().then_some(number))
    }

    /// How many blocks at the end name no holder: narrowed by somebody who did not say so.
    pub fn unnamed_narrowings(&self) -> usize {
        self.unnamed
    }

    /// The first block that nobody here can decide: it is beyond the limits, or Datalog is not
    /// compiled in.
    pub(crate) fn undecidable(&self) -> Option<usize> {
        if self.datalog.is_some() { None } else { self.uninterpreted().next() }
    }

    /// Whether the blocks that are not of the vocabulary allow this. They never decide alone: ask
    /// [`Self::held`] first.
    pub(crate) fn allows(&self, asked: &Asked<'_>) -> bool {
        self.datalog.as_ref().is_some_and(|datalog| datalog.allows(asked))
    }

    /// How many names and values it holds, by which caches count.
    pub(crate) fn words(&self) -> usize {
        let narrowings = self.narrowings.iter().flatten();
        let authorities = narrowings.filter_map(|one| one.authority.as_ref());
        let met: usize = authorities.map(Authority::words).sum();
        let datalog = self.datalog.as_ref().map_or(0, Datalog::words);
        self.held.words() + 4 * self.narrowings.len() + met + datalog
    }

    /// Who holds it by a key, and who did before, the first one first.
    pub fn holders(&self) -> &[Holder] {
        &self.holders
    }

    /// The agents that were named by those who handed the token on, the first one first. The
    /// issuer decided nothing of them, so that whatever is known against them counts, however old.
    pub fn named(&self) -> impl Iterator<Item = AnyId> + '_ {
        let holders = self.narrowings.iter().flatten().filter_map(|one| one.holder);
        holders.map(|holder| holder.agent.any())
    }
}

/// Checks the signatures of a token from one of these keys on, and reads it.
///
/// Its size and the number of its blocks are looked at first. The key is the one that the token
/// names, and the authority block names it again by its whole id.
pub fn verify<'k>(
    text: &str,
    keys: impl Iterator<Item = (KeyId, &'k PublicKey)>,
) -> Result<Attenuable, BiscuitError> {
    let bytes = decode(text)?;
    let envelope = Envelope::read(&bytes)?;
    let mut known = keys.filter(|(id, _)| root_key_id(*id) == envelope.root_key_id).peekable();
    if known.peek().is_none() {
        return Err(BiscuitError::UnknownKey);
    }
    let signer = known.find(|(_, key)| envelope.is_signed_by(key));
    let key = signer.ok_or(BiscuitError::Signature)?;
    let (id, public) = (key.0, key.1);
    envelope.check_added()?;
    let (mut attenuable, symbols) = read(&envelope, Some(id))?;
    if attenuable.uninterpreted().next().is_some() {
        attenuable.datalog = Datalog::new(&bytes, (&envelope, public), (&attenuable, &symbols));
    }
    Ok(attenuable)
}

/// The bytes of a token. The padding that some implementations write is taken.
pub(super) fn decode(text: &str) -> Result<Vec<u8>, BiscuitError> {
    if text.len() > TOKEN_BYTES_MAX {
        return Err(BiscuitError::TooLong);
    }
    let bare = if text.len().is_multiple_of(4) {
        let bare = text.strip_suffix('=').unwrap_or(text);
        bare.strip_suffix('=').unwrap_or(bare)
    } else {
        text
    };
    b64url_decode(bare).map_err(|_| BiscuitError::NotBase64)
}

/// Reads all blocks; `key` is the one that signed, where that was checked.
pub(super) fn read<'a>(
    envelope: &Envelope<'a>,
    key: Option<KeyId>,
) -> Result<(Attenuable, Symbols<'a>), BiscuitError> {
    let mut symbols = Symbols::default();
    let authority = Raw::read(envelope.authority.block)?;
    symbols.extend(&authority.symbols)?;
    let token = claims::read(&authority.content(&symbols)?, key)?;
    let mut reading = Reading {
        holder: token.cnf.and_then(Confirmation::key),
        all: Attenuable {
            minted_for: Actor { agent: token.client_id, instance: token.instance },
            is_minted_bound: token.cnf.is_some(),
            foreign: Vec::new(),
            held: claims::held(&token),
            narrowings: Vec::with_capacity(envelope.added.len()),
            holders: token
                .cnf
                .and_then(Confirmation::key)
                .map(|key| Holder { agent: token.client_id, key })
                .into_iter()
                .collect(),
            unnamed: 0,
            datalog: None,
            token,
        },
    };
    reading.note(&envelope.authority);
    for signed in &envelope.added {
        let raw = Raw::read(signed.block)?;
        // It may have a table of its own.
        let mut own = Symbols::default();
        let content = if signed.external.is_some() {
            own.extend(&raw.symbols)?;
            raw.content(&own)
        } else {
            symbols.extend(&raw.symbols)?;
            raw.content(&symbols)
        };
        let narrowing = match &content {
            Ok(Content { facts, checks }) if facts.is_empty() => Narrowing::of_checks(checks),
            Ok(_) | Err(_) => Err(BiscuitError::Malformed),
        };
        if narrowing.is_err() {
            let block = reading.all.narrowings.len() + 1;
            reading.all.foreign.push(Foreign::new(block, content.as_ref().ok(), &raw.symbols));
        }
        reading.add(signed, narrowing.ok())?;
    }
    Ok((reading.finish(), symbols))
}

/// A token while its blocks are read.
struct Reading {
    /// The key by which whoever holds it proves so.
    holder: Option<Thumbprint>,
    all: Attenuable,
}

impl Reading {
    /// Takes the id of a block into the lineage.
    fn note(&mut self, signed: &Signed<'_>) {
        self.all.token.further.push(BlockId::of_signature(&signed.signature).any());
    }

    fn add(
        &mut self,
        signed: &Signed<'_>,
        narrowing: Option<Narrowing>,
    ) -> Result<(), BiscuitError> {
        let number = self.all.narrowings.len() + 1;
        self.note(signed);
        let signer = signed.external.as_ref().map(|external| Thumbprint::of(&external.key));
        let named = narrowing.as_ref().and_then(|narrowing| narrowing.holder);
        match (named, self.holder, signer) {
            (None, _, None) => self.all.unnamed += 1,
            (None, _, Some(_)) | (Some(_), None, Some(_)) => return Err(BiscuitError::ThirdParty),
            // Nobody was named yet: whoever had it names the first.
            (Some(holder), None, None) => self.hand_on(holder)?,
            (Some(holder), Some(before), Some(signer)) if signer == before => {
                self.hand_on(holder)?;
            }
            (Some(_), Some(_), _) => return Err(BiscuitError::NotHandedOn(number)),
        }
        if let Some(narrowing) = &narrowing {
            self.narrow(narrowing);
        }
        self.all.narrowings.push(narrowing);
        Ok(())
    }

    fn narrow(&mut self, narrowing: &Narrowing) {
        let token = &mut self.all.token;
        token.not_before = token.not_before.max(narrowing.not_before);
        let ends = narrowing.expires_at.unwrap_or(token.expires_at);
        token.expires_at = token.expires_at.min(ends);
        if let Some(authority) = &narrowing.authority {
            self.all.held = self.all.held.meet(authority);
            token.delegable = token.delegable.meet(authority);
        }
    }

    /// RFC 8693 section 4.1: who is named acts from here on, for who acted before.
    fn hand_on(&mut self, holder: Holder) -> Result<(), BiscuitError> {
        let token = &mut self.all.token;
        if token.chain.len() == CHAIN_DEPTH_MAX {
            return Err(BiscuitError::TooDeep);
        }
        // The instance stays in the lineage, where the chain does not have it.
        if let Some(instance) = token.instance.take()
            && !token.chain.iter().any(|actor| actor.instance == Some(instance))
        {
            token.further.push(instance.any());
        }
        token.chain.insert(0, Actor { agent: holder.agent, instance: None });
        token.client_id = holder.agent;
        token.cnf = Some(Confirmation::Key(holder.key));
        self.holder = Some(holder.key);
        self.all.holders.push(holder);
        self.all.unnamed = 0;
        Ok(())
    }

    fn finish(mut self) -> Attenuable {
        let is_interpreted = self.all.narrowings.iter().all(Option::is_some);
        let held = if is_interpreted { self.all.held.clone() } else { Authority::none() };
        claims::hold(&mut self.all.token, &held);
        if !is_interpreted {
            self.all.token.delegable = Authority::none();
        }
        self.all
    }
}
