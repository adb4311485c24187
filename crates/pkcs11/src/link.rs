//! PKCS#11 section 5.6: one session with the token, opened when it is needed and again when it is lost.
//!
//! A PIN that the token refused is never tried again, by no session of this process: a token locks
//! itself after a few. Nor is one tried that would be the last.
//!
//! Only a session that was lost is closed: the others end with the process. A thread that closed one
//! while the process ends would be in a module that is taking itself down.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use accredit_wire::ids::KeyId;
use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::object::ObjectHandle;
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::AuthPin;

use crate::module;
use crate::trouble::{Trouble, What};

/// How often something is tried: once, and again in a new session where the old one was lost.
const TRIES_MAX: usize = 2;

/// Which token, and what opens it.
pub(crate) struct Site {
    pub(crate) module: PathBuf,
    pub(crate) label: String,
    pub(crate) pin: AuthPin,
    /// How the token refused the PIN; held by whoever is about to show it.
    refused: Mutex<Option<Trouble>>,
}

impl Site {
    pub(crate) fn new(module: PathBuf, label: String, pin: AuthPin) -> Self {
        Self { module, label, pin, refused: Mutex::new(None) }
    }

    /// The trouble with the names of module and token.
    fn named(&self, trouble: Trouble) -> Trouble {
        let (label, module) = (&self.label, self.module.display());
        Trouble { detail: format!("token `{label}` of `{module}`: {trouble}"), ..trouble }
    }

    /// The token's place.
    pub(crate) fn slot(&self, module: &Pkcs11) -> Result<(Slot, TokenInfo), Trouble> {
        let all = module.get_slots_with_token()?;
        let told =
            all.into_iter().filter_map(|slot| Some((slot, module.get_token_info(slot).ok()?)));
        let told: Vec<_> = told.filter(|(_, info)| info.token_initialized()).collect();
        let mut ours = told.iter().filter(|(_, info)| info.label() == self.label);
        match (ours.next(), ours.next()) {
            (Some(found), None) => Ok(found.clone()),
            (Some(_), Some(_)) => {
                Err(Trouble::new(What::Token, "two tokens are called so: give one another label"))
            }
            (None, _) => {
                let labels = told.iter().map(|(_, info)| format!("`{}`", info.label()));
                let labels = labels.collect::<Vec<_>>().join(", ");
                let others = if labels.is_empty() { "no token".to_owned() } else { labels };
                Err(Trouble::new(What::Token, format!("there is none; the module shows {others}")))
            }
        }
    }

    fn open(&self) -> Result<Open, Trouble> {
        let module = module::load(&self.module)?;
        let (slot, info) = self.slot(&module)?;
        let session = module.open_rw_session_no_drop(slot)?;
        match self.log_in(&session, &info) {
            Ok(()) => {
                Ok(Open { session, needs_login: info.login_required(), found: HashMap::new() })
            }
            Err(trouble) => {
                let _ = session.close();
                Err(trouble)
            }
        }
    }

    /// Who is logged in is the process, and with it every session.
    fn log_in(&self, session: &Session, info: &TokenInfo) -> Result<(), Trouble> {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(trouble) = &*refused {
            return Err(trouble.clone());
        }
        if !info.login_required() {
            return Ok(());
        }
        let not_tried =
            |why: &str| Err(Trouble::new(What::Pin, format!("the PIN was not tried: {why}")));
        if info.user_pin_locked() {
            return not_tried("it is locked");
        }
        if info.user_pin_final_try() {
            return not_tried("one more wrong one locks the token");
        }
        match session.login(UserType::User, Some(&self.pin)) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(error) => {
                let trouble = Trouble::of(&error);
                if trouble.what == What::Pin {
                    *refused = Some(trouble.clone());
                }
                Err(trouble)
            }
        }
    }
}

/// An open session, and which objects were found in it.
pub(crate) struct Open {
    pub(crate) session: Session,
    pub(crate) found: HashMap<KeyId, ObjectHandle>,
    needs_login: bool,
}

impl Open {
    /// That it is still logged in. Where it is not, a key that is there is not found, and no error says
    /// why.
    pub(crate) fn check(&self) -> Result<(), Trouble> {
        let state = self.session.get_session_info()?.session_state();
        if self.needs_login && state != SessionState::RwUser {
            return Err(Trouble::new(What::Lost, "the session is not logged in"));
        }
        Ok(())
    }
}

/// A session that is opened when it is needed.
#[derive(Default)]
pub(crate) struct Link(Option<Open>);

impl Link {
    /// Does something with the token, and once more in a new session where the old one was lost.
    pub(crate) fn with<T>(
        &mut self,
        site: &Site,
        act: impl Fn(&mut Open) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.once(site, &act) {
                Err(trouble) if trouble.what == What::Lost && tries < TRIES_MAX => {
                    tracing::debug!(%trouble, "a session with the token was lost");
                }
                done => return done.map_err(|trouble| site.named(trouble)),
            }
        }
    }

    fn once<T>(
        &mut self,
        site: &Site,
        act: impl Fn(&mut Open) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let mut open = match self.0.take() {
            Some(open) => open,
            None => site.open()?,
        };
        let done = act(&mut open);
        if matches!(&done, Err(trouble) if trouble.what == What::Lost) {
            let _ = open.session.close();
        } else {
            self.0 = Some(open);
        }
        done
    }
}
