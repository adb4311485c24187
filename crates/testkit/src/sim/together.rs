//! Several requests at once: each is decided, then waits with the others for the writer, which
//! commits them in one batch. Those that another of the batch overtook decide again, and share the
//! next one.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use accredit_domain::issuance::{self, Outcome};
use accredit_domain::ports::Store as _;
use accredit_domain::revocation::RevocationView;
use accredit_domain::{Error, Fault};
use accredit_wire::ids::AnyId;
use accredit_wire::oauth::client_auth::ClientAuth;
use accredit_wire::secret::Secret;

use super::{Broke, Invariant, Simulation, must};
use crate::fault::FailAt;
use crate::{Client, TestWorld};

/// Requests at a time.
const REQUESTS_MAX: usize = 6;
/// Batches until everything is answered: a decision is tried a few times.
const BATCHES_MAX: usize = 12;

/// What somebody wants.
enum Wish {
    Token(Client),
    End(AnyId),
}

/// What came of it.
enum Came {
    Token(Result<Outcome, Fault>),
    End(Result<RevocationView, Error>),
}

/// A request on its way.
struct Request {
    place: usize,
    wish: Wish,
    going: Pin<Box<dyn Future<Output = Came>>>,
}

impl Simulation {
    /// Some requests, of both organizations, share batches; perhaps the database fails meanwhile.
    pub(super) async fn together(&mut self) -> Result<(), Broke> {
        let world = self.world();
        let fault = self.chance.once_in(3).then(|| self.fault(true));
        let mut requests = Vec::new();
        let mut ending: Vec<AnyId> = Vec::new();
        for _ in 0..2 + self.chance.below(REQUESTS_MAX - 1) {
            let place = self.chance.below(2);
            let target = if self.chance.once_in(3) { self.target(place) } else { None };
            match target {
                // Whether the second of two who end the same is told so depends on the batch.
                Some(target) if ending.contains(&target) => {}
                Some(target) => {
                    ending.push(target);
                    requests.push(self.end(&world, place, target));
                }
                None => requests.push(self.ask(&world, place).await),
            }
        }
        world.store.hold_writer();
        if let Some(fault) = fault {
            world.faults.arm(fault);
        }
        let (mut result, mut failed) = (Ok(()), false);
        let mut unanswered: Vec<(usize, AnyId)> = Vec::new();
        for _ in 0..BATCHES_MAX {
            // In their order, each alone, until all have ended or wait.
            let mut waiting = Vec::new();
            for mut request in requests {
                let came = advance(&world, &mut request).await;
                // What a batch did is known before the next is let go.
                failed |= fault.is_some() && world.faults.has_failed();
                match came {
                    None => waiting.push(request),
                    Some(came) => {
                        if let (Wish::End(target), Came::End(Err(Error::Fault(_)))) =
                            (&request.wish, &came)
                        {
                            unanswered.push((request.place, *target));
                        }
                        if result.is_ok() {
                            result = self.came(&world, &request, came, failed).await;
                        }
                    }
                }
            }
            requests = waiting;
            if requests.is_empty() {
                break;
            }
            self.report.shared += usize::from(requests.len() > 1);
            world.store.step_writer();
        }
        world.store.release_writer();
        world.faults.disarm();
        let left = requests.len();
        drop(requests);
        drop(world);
        self.report.faults += usize::from(failed);
        result?;
        must(left == 0, Invariant::StepEndsWell, || {
            format!("{left} requests are not answered after {BATCHES_MAX} batches")
        })?;
        if failed && matches!(fault, Some(FailAt::AfterCommit(_))) {
            // The process ends before it can answer: what is durable is in force.
            self.restart().await;
            let world = self.world();
            for (place, target) in unanswered {
                let side = &mut self.sides[place];
                if world.tenant(&side.org).await.rev() > side.rev() {
                    side.revoked(target);
                }
            }
        }
        Ok(())
    }

    fn end(&self, world: &Arc<TestWorld>, place: usize, target: AnyId) -> Request {
        let (world, org) = (Arc::clone(world), self.sides[place].org.clone());
        let going = Box::pin(async move { Came::End(world.revoke(&org, target).await) });
        Request { place, wish: Wish::End(target), going }
    }

    async fn ask(&mut self, world: &Arc<TestWorld>, place: usize) -> Request {
        let n = self.chance.below(self.sides[place].clients.len());
        let client = self.sides[place].clients[n].clone();
        let request = self.request();
        let cx = world.cx(&self.sides[place].org).await;
        let secret = Secret::new(client.secret.clone());
        let auth = ClientAuth::SecretBasic { client_id: client.id.clone(), secret };
        let going =
            Box::pin(async move { Came::Token(issuance::issue(&cx, &auth, &request).await) });
        Request { place, wish: Wish::Token(client), going }
    }

    /// Compares what came of a request with what may come of it, and notes it.
    async fn came(
        &mut self,
        world: &TestWorld,
        request: &Request,
        came: Came,
        failed: bool,
    ) -> Result<(), Broke> {
        let place = request.place;
        if let Came::Token(outcome) = &came {
            self.check_answer(world.now(), outcome.as_ref().ok())?;
        }
        let faulty = |fault: Fault| {
            must(failed, Invariant::StepEndsWell, || format!("at once with others: {fault}"))
        };
        match (&request.wish, came) {
            (Wish::Token(client), Came::Token(Ok(Outcome::Issued(issued)))) => {
                self.tell(format!("{place} at once, issued `{}`", issued.scope));
                let tenant = world.tenant(&self.sides[place].org).await;
                let text = self.broken(world, &tenant, issued.token.expose()).await;
                self.note_token(place, client, text)
            }
            (Wish::Token(_), Came::Token(Ok(Outcome::Refused(refusal)))) => {
                self.tell(format!("{place} at once, refused: {}", refusal.rule.code()));
                Ok(())
            }
            (Wish::End(target), Came::End(Ok(view))) => {
                self.tell(format!("{place} at once, {target} is revoked: {}", view.rev));
                let side = &mut self.sides[place];
                side.revoked(*target);
                must(view.rev == side.rev(), Invariant::LogIsWhole, || {
                    format!("the counter is {} after {} revocations", view.rev, side.rev())
                })
            }
            (Wish::End(target), Came::End(Err(Error::Refused(refusal)))) => {
                self.tell(format!("{place} at once, {target}: {}", refusal.rule.code()));
                Ok(())
            }
            (_, Came::Token(Err(fault)) | Came::End(Err(Error::Fault(fault)))) => {
                self.tell(format!("{place} at once, a fault"));
                faulty(fault)
            }
            (Wish::Token(_), Came::End(_)) | (Wish::End(_), Came::Token(_)) => {
                Err((Invariant::StepEndsWell, "an answer to something else".to_owned()))
            }
        }
    }
}

/// Runs one request and nothing else, until it has ended or its write waits for the writer.
async fn advance(world: &TestWorld, request: &mut Request) -> Option<Came> {
    let before = world.store.health().waiting;
    poll_fn(|cx| match request.going.as_mut().poll(cx) {
        Poll::Ready(came) => Poll::Ready(Some(came)),
        Poll::Pending if world.store.health().waiting > before => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}
