//! Token Status List section 5.1: the signed list, as it is written and as it is read.
//!
//! A list is believed where its signature holds under a key of the token's issuer, its type is
//! `statuslist+jwt`, its `sub` is the `uri` that the token names and its `exp` has not passed
//! (section 8.3). `exp` is demanded here: a list without one could be played back for ever.

use std::time::Duration;

use super::{
    Reference, STATUS_LIST_TOKEN_BYTES_MAX, STATUS_LIST_TYPE, Status, StatusListError, Statuses,
    URI_BYTES_MAX,
};
use crate::jose::jwk::JwkSet;
use crate::jose::jws::{ProtectedHeader, SigningInput, TypRule, Unverified};
use crate::jose::jwt::SKEW_MAX;
use crate::json::Json;
use crate::time::Time;
use crate::token::{INTEGER_MAX, push, push_string};

/// A list that is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusList {
    /// `sub`: the `uri` by which tokens name it.
    pub uri: String,
    /// `iat`, seconds.
    pub issued_at: i64,
    /// `exp`, seconds: from then on it says nothing.
    pub expires_at: i64,
    /// `ttl`, seconds: after so long a newer one is to be fetched. Nothing where it does not say.
    pub ttl: Option<u32>,
    /// What it says.
    pub statuses: Statuses,
}

impl StatusList {
    /// The payload to be signed: compact JSON.
    pub fn to_payload(&self) -> Vec<u8> {
        let mut out = String::with_capacity(256);
        out.push_str("{\"sub\":");
        push_string(&mut out, &self.uri);
        push(&mut out, format_args!(",\"iat\":{},\"exp\":{}", self.issued_at, self.expires_at));
        if let Some(ttl) = self.ttl {
            push(&mut out, format_args!(",\"ttl\":{ttl}"));
        }
        let (bits, lst) = (self.statuses.bits(), self.statuses.compressed());
        push(&mut out, format_args!(",\"status_list\":{{\"bits\":{bits},\"lst\":\"{lst}\"}}}}"));
        out.into_bytes()
    }

    /// The list as it is to be signed, by a key whose header says [`STATUS_LIST_TYPE`].
    pub fn signing_input(&self, header: &ProtectedHeader) -> SigningInput {
        SigningInput::new_unbounded(header, &self.to_payload())
    }

    /// Reads the list that `uri` names, signed by one of the issuer's `keys`. Clocks may differ by
    /// [`SKEW_MAX`] about when it was signed, and not about when it ends: nothing is forgiven there.
    pub fn read(text: &str, keys: &JwkSet, uri: &str, now: Time) -> Result<Self, StatusListError> {
        if text.len() > STATUS_LIST_TOKEN_BYTES_MAX {
            return Err(StatusListError::TooLong);
        }
        let unverified = Unverified::parse_unbounded(text).map_err(StatusListError::Jws)?;
        let kid = unverified.peek_unverified_kid();
        let key = keys.find(kid).ok_or(StatusListError::KeyUnknown)?;
        let verified = unverified.verify(key, TypRule::Required(STATUS_LIST_TYPE));
        let list = Self::parse(verified.map_err(StatusListError::Jws)?.payload())?;
        if list.uri != uri {
            return Err(StatusListError::AnotherList);
        }
        let issued_at = Time::from_seconds(list.issued_at);
        if issued_at > now.plus(SKEW_MAX) {
            return Err(StatusListError::FromTheFuture { issued_at });
        }
        list.fresh(now)?;
        Ok(list)
    }

    /// Reads the claims of a list whose signature holds.
    pub fn parse(payload: &[u8]) -> Result<Self, StatusListError> {
        let json = Json::parse(payload, STATUS_LIST_TOKEN_BYTES_MAX);
        let json = json.map_err(StatusListError::Json)?;
        let wrong = StatusListError::Malformed;
        let uri = json.get("sub").and_then(Json::as_str);
        let uri = uri.filter(|uri| (1..=URI_BYTES_MAX).contains(&uri.len())).ok_or(wrong("sub"))?;
        let ttl = match json.get("ttl") {
            None => None,
            Some(_) => Some(integer(&json, "ttl", 1..=i64::from(u32::MAX))? as u32),
        };
        let list = json.get("status_list").ok_or(wrong("status_list"))?;
        let lst = list.get("lst").and_then(Json::as_str).ok_or(wrong("lst"))?;
        let bits = integer(list, "bits", 1..=8)? as u8;
        Ok(Self {
            uri: uri.to_owned(),
            issued_at: integer(&json, "iat", 0..=INTEGER_MAX)?,
            expires_at: integer(&json, "exp", 0..=INTEGER_MAX)?,
            ttl,
            statuses: Statuses::inflate(bits, lst)?,
        })
    }

    /// What it says of a token at `now`. Everything else about the token was checked before.
    pub fn status(&self, reference: &Reference, now: Time) -> Result<Status, StatusListError> {
        if reference.uri != self.uri {
            return Err(StatusListError::AnotherList);
        }
        self.fresh(now)?;
        let index = reference.index;
        self.statuses.get(index).ok_or(StatusListError::OutOfRange { index })
    }

    /// Whether a newer one is to be fetched, for who fetched this one at `fetched_at`.
    pub fn is_due(&self, fetched_at: Time, now: Time) -> bool {
        let ttl = self.ttl.map(|ttl| Duration::from_secs(u64::from(ttl)));
        now < fetched_at || ttl.is_some_and(|ttl| now >= fetched_at.plus(ttl))
    }

    fn fresh(&self, now: Time) -> Result<(), StatusListError> {
        let expires_at = Time::from_seconds(self.expires_at);
        if now < expires_at { Ok(()) } else { Err(StatusListError::Expired { expires_at }) }
    }
}

fn integer(
    json: &Json<'_>,
    name: &'static str,
    within: std::ops::RangeInclusive<i64>,
) -> Result<i64, StatusListError> {
    let number = json.get(name).and_then(Json::as_i64);
    number.filter(|number| within.contains(number)).ok_or(StatusListError::Malformed(name))
}
