//! What can go wrong with a token: which module, which token, which key, and what to do. Never the PIN.

use std::fmt;

use accredit_domain::Fault;
use cryptoki::error::{Error, RvError};

/// What kind of trouble it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The module cannot be loaded, or is none.
    Module,
    /// There is no such token in it, or more than one.
    Token,
    /// The token does not take the PIN, or it is not safe to try it.
    Pin,
    /// The token cannot do what a purpose needs.
    Mechanism,
    /// The key is not there, or not as it was made.
    Key,
    /// The session is over, or what was found in it: worth one more try in a new one.
    Lost,
    /// It does not answer in time, or too many wait for it.
    Slow,
    /// Anything else that it answered.
    Refused,
}

/// Something that went wrong with a token.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// What kind of thing it is.
    pub what: What,
    /// What happened, in words for an operator.
    pub detail: String,
}

impl Trouble {
    pub(crate) fn new(what: What, detail: impl Into<String>) -> Self {
        Self { what, detail: detail.into() }
    }

    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self.what {
            What::Module => {
                "set `pkcs11.module` to the library that the token's vendor gives, of this machine's \
                 kind; a program that is linked statically can load none"
            }
            What::Token => "set `pkcs11.token` to the label of a token that the module shows",
            What::Pin => {
                "look at `pkcs11.pin_file`, and enter the PIN once with the vendor's own tool; it was \
                 not tried again, because tokens lock themselves"
            }
            What::Mechanism => "take the purpose out of `pkcs11.purposes`, or use another token",
            What::Key => {
                "put the token back that has the key; where it is lost for good, see \
                 `pkcs11.missing_keys`"
            }
            What::Lost | What::Refused => "look at the token with its vendor's own tools",
            What::Slow => "look whether the token answers others, and how much it is asked",
        }
    }

    /// What a module answered.
    pub(crate) fn of(error: &Error) -> Self {
        let what = match error {
            Error::LibraryLoading(_) | Error::MissingSymbol(_) => What::Module,
            Error::Pkcs11(answered, _) => of_answer(*answered),
            _ => What::Refused,
        };
        // Its own texts explain the standard at length; the names are what people look for.
        let detail = match error {
            Error::Pkcs11(answered, function) => format!("C_{function:?} answers {answered:?}"),
            other => other.to_string(),
        };
        Self { what, detail }
    }
}

const fn of_answer(answered: RvError) -> What {
    match answered {
        RvError::PinIncorrect
        | RvError::PinInvalid
        | RvError::PinLenRange
        | RvError::PinExpired
        | RvError::PinLocked
        | RvError::UserPinNotInitialized => What::Pin,
        // A session, a token or an object that was there and is not: also what a module says that has
        // lost its connection.
        RvError::SessionHandleInvalid
        | RvError::SessionClosed
        | RvError::UserNotLoggedIn
        | RvError::TokenNotPresent
        | RvError::TokenNotRecognized
        | RvError::SlotIdInvalid
        | RvError::DeviceRemoved
        | RvError::DeviceError
        | RvError::GeneralError
        | RvError::FunctionFailed
        | RvError::KeyHandleInvalid
        | RvError::ObjectHandleInvalid
        | RvError::OperationActive => What::Lost,
        RvError::MechanismInvalid | RvError::CurveNotSupported => What::Mechanism,
        _ => What::Refused,
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Trouble {}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::of(&error)
    }
}

impl From<Trouble> for Fault {
    fn from(trouble: Trouble) -> Self {
        Self::new("PKCS#11 token", trouble)
    }
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Self::new(What::Key, fault.to_string())
    }
}
