//! RFC 7519: JSON Web Token, the registered claims and their times.
//!
//! [`Claims`] is read from a payload whose signature was checked. Each registered claim that is
//! there must have its type, whether anybody asks for it or not. Absent on purpose: which claims
//! a profile requires, audiences and issuers to compare with, replay. Those belong to the
//! profile, which finds here the getters and [`Claims::check_times`].

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use super::TOKEN_BYTES_MAX;
use crate::json::{Json, JsonError};
use crate::time::Time;

/// The most by which clocks may differ; whoever asks for more gets this.
pub const SKEW_MAX: Duration = Duration::from_mins(1);

/// The most audiences in one token.
pub const AUDIENCES_MAX: usize = 16;

/// The longest `iss`, `sub` or audience, in bytes.
pub const NAME_BYTES_MAX: usize = 1024;

/// The longest `jti`, in bytes.
pub const JTI_BYTES_MAX: usize = 256;

/// A NumericDate is below 2^53 seconds, where every JSON reader is still exact.
const NUMERIC_DATE_END: i64 = 1 << 53;

/// Why claims are not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimsError {
    /// Not acceptable JSON.
    Json(JsonError),
    /// JSON, but no object.
    NotAnObject,
    /// `iss`, `sub` or `jti` is not a string of acceptable length.
    Text {
        /// Which claim.
        name: &'static str,
        /// The bound in bytes.
        bytes_max: usize,
    },
    /// `aud` is neither a string nor an array of 1 to [`AUDIENCES_MAX`] strings.
    Audience,
    /// `exp`, `nbf` or `iat` is not a number above 0 and below 2^53.
    NumericDate(&'static str),
    /// This claim is required and missing.
    Missing(&'static str),
    /// `exp` has passed.
    Expired {
        /// The claim.
        exp: Time,
        /// The time it was compared with.
        now: Time,
    },
    /// `nbf` has not come.
    NotYetValid {
        /// The claim.
        nbf: Time,
        /// The time it was compared with.
        now: Time,
    },
    /// `iat` has not come.
    IssuedInTheFuture {
        /// The claim.
        iat: Time,
        /// The time it was compared with.
        now: Time,
    },
    /// `exp` is further away than the profile accepts.
    LivesTooLong {
        /// The claim.
        exp: Time,
        /// The longest life accepted from now.
        life_max: Duration,
    },
}

impl fmt::Display for ClaimsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(error) => write!(f, "in the claims: {error}"),
            Self::NotAnObject => f.write_str("the claims are not a JSON object"),
            Self::Text { name, bytes_max } => {
                write!(f, "`{name}` must be a string of 1 to {bytes_max} bytes")
            }
            Self::Audience => write!(
                f,
                "`aud` must be a string, or an array of 1 to {AUDIENCES_MAX} strings, of 1 to \
                 {NAME_BYTES_MAX} bytes each"
            ),
            Self::NumericDate(name) => {
                write!(f, "`{name}` must be a number of seconds above 0 and below 2^53")
            }
            Self::Missing(name) => write!(f, "the claim `{name}` is required"),
            Self::Expired { exp, now } => write!(f, "expired: `exp` is {exp}, now is {now}"),
            Self::NotYetValid { nbf, now } => {
                write!(f, "not valid yet: `nbf` is {nbf}, now is {now}")
            }
            Self::IssuedInTheFuture { iat, now } => {
                write!(f, "issued in the future: `iat` is {iat}, now is {now}")
            }
            Self::LivesTooLong { exp, life_max } => {
                write!(f, "`exp` is {exp}; it may be at most {} s from now", life_max.as_secs())
            }
        }
    }
}

impl std::error::Error for ClaimsError {}

/// The claims of a token: a strict JSON object whose registered members have their types.
#[derive(Clone, Debug)]
pub struct Claims<'a> {
    json: Json<'a>,
    exp: Option<Time>,
    nbf: Option<Time>,
    iat: Option<Time>,
}

impl<'a> Claims<'a> {
    /// Reads a payload of at most [`TOKEN_BYTES_MAX`] bytes.
    pub fn parse(payload: &'a [u8]) -> Result<Self, ClaimsError> {
        let json = Json::parse(payload, TOKEN_BYTES_MAX).map_err(ClaimsError::Json)?;
        let (mut exp, mut nbf, mut iat) = (None, None, None);
        for (name, value) in json.as_object().ok_or(ClaimsError::NotAnObject)? {
            match name.as_ref() {
                "iss" => check_text("iss", value, NAME_BYTES_MAX)?,
                "sub" => check_text("sub", value, NAME_BYTES_MAX)?,
                "jti" => check_text("jti", value, JTI_BYTES_MAX)?,
                "aud" => check_audience(value)?,
                "exp" => exp = Some(numeric_date("exp", value)?),
                "nbf" => nbf = Some(numeric_date("nbf", value)?),
                "iat" => iat = Some(numeric_date("iat", value)?),
                _ => {}
            }
        }
        Ok(Self { json, exp, nbf, iat })
    }

    /// The issuer.
    pub fn iss(&self) -> Option<&str> {
        self.text("iss")
    }

    /// The subject.
    pub fn sub(&self) -> Option<&str> {
        self.text("sub")
    }

    /// The token's own id.
    pub fn jti(&self) -> Option<&str> {
        self.text("jti")
    }

    /// The audiences, whether `aud` is a string or an array; none where it is missing.
    pub fn aud(&self) -> impl Iterator<Item = &str> {
        let aud = self.json.get("aud");
        let array = aud.and_then(Json::as_array).unwrap_or_default();
        aud.and_then(Json::as_str).into_iter().chain(array.iter().filter_map(Json::as_str))
    }

    /// Whether `audience` is among the audiences, compared exactly.
    pub fn is_for(&self, audience: &str) -> bool {
        self.aud().any(|found| found == audience)
    }

    /// The audience, where there is exactly one (RFC 7523bis demands that of assertions).
    pub fn sole_audience(&self) -> Option<&str> {
        let mut audiences = self.aud();
        audiences.next().filter(|_| audiences.next().is_none())
    }

    /// When it expires. A date beyond what [`Time`] holds is the last one it holds.
    pub fn exp(&self) -> Option<Time> {
        self.exp
    }

    /// From when on it is valid.
    pub fn nbf(&self) -> Option<Time> {
        self.nbf
    }

    /// When it was issued.
    pub fn iat(&self) -> Option<Time> {
        self.iat
    }

    /// The claim `name`, registered or not.
    pub fn get(&self, name: &str) -> Option<&Json<'a>> {
        self.json.get(name)
    }

    /// All claims in the order of the text.
    pub fn members(&self) -> &[(Cow<'a, str>, Json<'a>)] {
        self.json.as_object().unwrap_or_default()
    }

    /// `exp` is there and has not come; `nbf` and `iat`, where they are there, have. Clocks may
    /// differ by `skew`, at most [`SKEW_MAX`].
    pub fn check_times(&self, now: Time, skew: Duration) -> Result<(), ClaimsError> {
        let skew = skew.min(SKEW_MAX);
        let exp = self.exp.ok_or(ClaimsError::Missing("exp"))?;
        // RFC 7519 section 4.1.4: now must be *before* the expiration time.
        if now >= exp.plus(skew) {
            return Err(ClaimsError::Expired { exp, now });
        }
        if let Some(nbf) = self.nbf.filter(|nbf| *nbf > now.plus(skew)) {
            return Err(ClaimsError::NotYetValid { nbf, now });
        }
        if let Some(iat) = self.iat.filter(|iat| *iat > now.plus(skew)) {
            return Err(ClaimsError::IssuedInTheFuture { iat, now });
        }
        Ok(())
    }

    /// `exp` is there and at most `life_max` from now, give or take `skew` (at most
    /// [`SKEW_MAX`]): for proofs whose `jti` has to be remembered until then.
    pub fn check_life(
        &self,
        now: Time,
        life_max: Duration,
        skew: Duration,
    ) -> Result<(), ClaimsError> {
        let exp = self.exp.ok_or(ClaimsError::Missing("exp"))?;
        if exp > now.plus(life_max).plus(skew.min(SKEW_MAX)) {
            return Err(ClaimsError::LivesTooLong { exp, life_max });
        }
        Ok(())
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.json.get(name).and_then(Json::as_str)
    }
}

fn is_text(value: &Json<'_>, bytes_max: usize) -> bool {
    value.as_str().is_some_and(|text| (1..=bytes_max).contains(&text.len()))
}

fn check_text(name: &'static str, value: &Json<'_>, bytes_max: usize) -> Result<(), ClaimsError> {
    if is_text(value, bytes_max) { Ok(()) } else { Err(ClaimsError::Text { name, bytes_max }) }
}

fn check_audience(value: &Json<'_>) -> Result<(), ClaimsError> {
    let audiences = value.as_array().unwrap_or(std::slice::from_ref(value));
    let count_fits = (1..=AUDIENCES_MAX).contains(&audiences.len());
    if count_fits && audiences.iter().all(|audience| is_text(audience, NAME_BYTES_MAX)) {
        return Ok(());
    }
    Err(ClaimsError::Audience)
}

/// RFC 7519 section 2: seconds since 1970, perhaps with a fraction, and never text.
fn numeric_date(name: &'static str, value: &Json<'_>) -> Result<Time, ClaimsError> {
    match *value {
        Json::Integer(seconds) if (1..NUMERIC_DATE_END).contains(&seconds) => {
            Ok(Time::from_seconds(seconds))
        }
        Json::Float(seconds) if seconds > 0.0 && seconds < NUMERIC_DATE_END as f64 => {
            // The conversion saturates, as `Time::from_seconds` does.
            Ok(Time::from_micros((seconds * 1e6) as i64))
        }
        _ => Err(ClaimsError::NumericDate(name)),
    }
}
