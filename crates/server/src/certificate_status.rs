//! RFC 5280 section 5, RFC 6960: lists of revoked certificates and answers about single ones, as they
//! are served to anybody: made when somebody asks, and made anew where the revocation graph has moved
//! on.
//!
//! Nobody who asks can have more signed than is needed: a list holds for a while, and so does an answer
//! about the same certificates; about one that is not known nothing is signed. Questions about several
//! at once can be put together in many ways, and are held to [`SIGNED_PER_SECOND_MAX`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use accredit_domain::ca::ocsp::{self, Answer};
use accredit_domain::ca::revoked::{self, List, ListView};
use accredit_domain::tenant::Tenant;
use accredit_domain::{Fault, World};
use accredit_wire::crypto::sha256;
use accredit_wire::ids::{KeyId, OrganizationId};
use accredit_wire::jose::b64url_encode;
use accredit_wire::x509::certificate::Life;
use accredit_wire::x509::crl::text;
use accredit_wire::x509::ocsp::{CertId, Unanswered};
use bytes::Bytes;

use crate::kept::Kept;

/// Lists that are kept in memory at a time, of all organizations.
pub const LISTS_KEPT_MAX: usize = 1024;
/// Answers that are kept in memory at a time, of all organizations: some 15 MB.
pub const ANSWERS_KEPT_MAX: usize = 16_384;
/// Answers that are signed in a second, at most: a twentieth of a processor. Above it whoever asks
/// comes again later.
pub const SIGNED_PER_SECOND_MAX: u64 = 500;

/// Bytes of a digest that are an entity tag.
const TAG_BYTES: usize = 16;

/// What is served, and what names its bytes.
#[derive(Debug)]
pub struct Served<M> {
    made: M,
    /// From when until when it says anything.
    pub life: Life,
    /// Its DER.
    pub bytes: Bytes,
    /// Its strong entity tag.
    pub tag: String,
}

impl<M> Served<M> {
    fn new(made: M, life: Life, der: Vec<u8>) -> Self {
        let tag = tag_of(&der);
        Self { made, life, bytes: Bytes::from(der), tag }
    }
}

/// The strong entity tag of what is served.
pub fn tag_of(bytes: &[u8]) -> String {
    let digest = sha256(bytes);
    let tag =
        digest.first_chunk::<TAG_BYTES>().map_or_else(String::new, |half| b64url_encode(half));
    format!("\"{tag}\"")
}

/// Lists and answers that somebody asked for.
#[derive(Debug)]
pub struct CertificateStatus {
    lists: Kept<(OrganizationId, KeyId), Served<List>>,
    answers: Kept<(OrganizationId, Vec<CertId>), Served<Answer>>,
    /// A second of the monotonic clock, and how many answers were signed in it.
    signed: Mutex<(Duration, u64)>,
    /// How many lists were made.
    made: AtomicU64,
}

impl Default for CertificateStatus {
    fn default() -> Self {
        Self {
            lists: Kept::new(LISTS_KEPT_MAX),
            answers: Kept::new(ANSWERS_KEPT_MAX),
            signed: Mutex::default(),
            made: AtomicU64::default(),
        }
    }
}

impl CertificateStatus {
    /// The list of an authority as it is to be served now; nothing where it has none.
    pub async fn list(
        &self,
        world: &World,
        tenant: &Tenant,
        by: KeyId,
    ) -> Result<Option<Arc<Served<List>>>, Fault> {
        let up = world.clock.elapsed();
        let holds = |served: &Served<List>| served.made.holds(tenant, up);
        let make = async |before: Option<Arc<Served<List>>>| {
            let before = before.as_ref().map(|before| &before.made);
            let Some(mut made) = revoked::publish(world, tenant, by, before).await? else {
                return Ok(None);
            };
            self.made.fetch_add(1, Ordering::Relaxed);
            let (life, der) = (made.life, std::mem::take(&mut made.der));
            Ok(Some(Served::new(made, life, der)))
        };
        self.lists.get((tenant.id, by), holds, make).await
    }

    /// The lists of all of an organization's authorities, as they are to be served now.
    pub async fn lists(&self, world: &World, tenant: &Tenant) -> Result<Vec<ListView>, Fault> {
        let mut lists = Vec::new();
        for authority in revoked::published(tenant, world.clock.now())? {
            let Some(served) = self.list(world, tenant, authority).await? else { continue };
            lists.push(ListView {
                authority,
                certificates: served.made.len(),
                updated_at: served.life.from,
                expires_at: served.life.until,
                crl: text(&served.bytes),
            });
        }
        Ok(lists)
    }

    /// An answer as it is to be served now, or why there is none.
    pub async fn answer(
        &self,
        world: &World,
        tenant: &Tenant,
        questions: Vec<CertId>,
    ) -> Result<Result<Arc<Served<Answer>>, Unanswered>, Fault> {
        let Some(by) = ocsp::asked(tenant, &questions, world.clock.now())? else {
            return Ok(Err(Unanswered::Unauthorized));
        };
        let up = world.clock.elapsed();
        let holds = |served: &Served<Answer>| served.made.holds(tenant, up);
        let mut is_too_much = false;
        let asked = questions.clone();
        let make = async |_| {
            let Some(said) = ocsp::said(world, tenant, by, &asked).await? else { return Ok(None) };
            if !self.may_sign(up) {
                is_too_much = true;
                return Ok(None);
            }
            let mut made = ocsp::sign(world, said).await?;
            let (life, der) = (made.life, std::mem::take(&mut made.der));
            Ok::<_, Fault>(Some(Served::new(made, life, der)))
        };
        let answer = self.answers.get((tenant.id, questions), holds, make).await?;
        let why = if is_too_much { Unanswered::TryLater } else { Unanswered::Unauthorized };
        Ok(answer.ok_or(why))
    }

    /// How many lists were made since the process began.
    pub fn lists_made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// Certificates on the longest list that is kept.
    pub fn longest(&self) -> usize {
        let mut longest = 0;
        self.lists.each(|served| longest = longest.max(served.made.len()));
        longest
    }

    /// How many answers are kept.
    pub fn answers_kept(&self) -> usize {
        self.answers.kept()
    }

    fn may_sign(&self, up: Duration) -> bool {
        let mut signed = self.signed.lock().unwrap_or_else(PoisonError::into_inner);
        if up.saturating_sub(signed.0) >= Duration::from_secs(1) {
            *signed = (up, 0);
        }
        signed.1 += 1;
        signed.1 <= SIGNED_PER_SECOND_MAX
    }
}
