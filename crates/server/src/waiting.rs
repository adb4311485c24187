//! The place of a server that cannot begin yet: it listens, says why not, and does nothing else.
//!
//! For what a person mends while the process runs, as a root key that is not the store's: a process
//! that ended would be started again and again by whatever watches it, and say nothing to who asks.
//! `/livez` says yes, `/readyz` names the state, and everything else is refused with 503. Absent on
//! purpose: the store, and so anything that could be decided or recorded.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use accredit_domain::ports::{Clock, Entropy};
use accredit_wire::ids::RequestId;
use accredit_wire::time::Time;
use axum::Router;
use axum::extract::Request;
use axum::routing::get;
use http::StatusCode;
use http::header::CONNECTION;

use crate::failure::{self, Failure, Language};
use crate::http::health;
use crate::reply::{self, Reply};
use crate::watch::State;

/// How often it is looked whether the server can begin.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why a server does not begin yet.
pub struct Waiting {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    state: Mutex<(State, Time)>,
}

impl Waiting {
    /// A server that waits for the end of this state.
    pub fn new(state: State, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Arc<Self> {
        let since = clock.now();
        tracing::warn!(state = state.name(), hint = state.hint(), "waiting");
        Arc::new(Self { clock, entropy, state: Mutex::new((state, since)) })
    }

    /// It waits for the end of this state now; whether that is another one than before.
    pub fn turn(&self, state: State) -> bool {
        let mut held = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if held.0 == state {
            return false;
        }
        *held = (state, self.clock.now());
        tracing::warn!(state = state.name(), hint = state.hint(), "waiting");
        true
    }

    /// What it waits for the end of, and since when.
    pub fn state(&self) -> (State, Time) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn request(&self) -> RequestId {
        let mut random = [0u8; 10];
        self.entropy.fill(&mut random);
        RequestId::new(self.clock.now().millis(), random)
    }

    fn refuse(&self, path: &str) -> Reply {
        let (state, _) = self.state();
        let failure = Failure::Http {
            status: StatusCode::SERVICE_UNAVAILABLE,
            rule: state.name(),
            detail: "the server has not begun to serve: nothing was done".to_owned(),
            hint: "try again in a moment; `/readyz?verbose` says what its operator is to do"
                .to_owned(),
        };
        let language = if path.starts_with("/o/") { Language::OAuth } else { Language::Problem };
        closing(failure::render(failure, language, self.request()))
    }
}

/// The connection is this place's, and ends with its answer.
fn closing(mut reply: Reply) -> Reply {
    reply::set(&mut reply, CONNECTION, "close");
    reply
}

/// What is answered meanwhile.
pub fn router(waiting: &Arc<Waiting>) -> Router {
    let (ready, refusing) = (Arc::clone(waiting), Arc::clone(waiting));
    let live = || async { closing(reply::bytes("text/plain; charset=utf-8", "ok\n")) };
    let ready = move |request: Request| async move {
        let told = health::readiness(&[ready.state()], request.uri().query());
        closing(told.unwrap_or_else(|_| reply::empty(StatusCode::INTERNAL_SERVER_ERROR)))
    };
    let refuse = move |request: Request| async move { refusing.refuse(request.uri().path()) };
    Router::new().route("/livez", get(live)).route("/readyz", get(ready)).fallback(refuse)
}
