//! What happens: one thing at a time, drawn from the seed.

use std::collections::BTreeSet;
use std::time::Duration;

use accredit_domain::keys::rotation::{self, RotateKey};
use accredit_domain::registry::credential::AdminPermission;
use accredit_domain::registry::permission::{self, SetPermission};
use accredit_domain::registry::rotation::{self as credential, RotateCredential};
use accredit_domain::registry::{State, agent, organization, person, resource};
use accredit_domain::revocation::{self, Revoke};
use accredit_domain::{Caller, Error};
use accredit_wire::ids::{AnyId, CredentialId, InstanceId, Kind};

use super::model::{ACTIONS, AGENTS, RESOURCES};
use super::{Broke, Flaw, Invariant, Simulation, must};
use crate::fault::FailAt;
use crate::{Client, TestWorld};

/// Clients of one organization.
const CLIENTS_MAX: usize = 12;

/// A change that can take something away.
enum Change {
    Revoke(AnyId),
    Suspend(usize),
    Set(usize, &'static str, BTreeSet<&'static str>),
}

impl Simulation {
    /// Something happens; afterwards everything is as it should be.
    pub(super) async fn step(&mut self, step: usize) -> Result<(), Broke> {
        let world = self.world();
        // Time passes, a little: what is signed later says so.
        world.clock.advance(Duration::from_millis(1 + self.chance.below(900) as u64));
        self.look(&world);
        let place = self.chance.below(2);
        match self.chance.below(41) {
            0..=9 => self.issue(place).await?,
            10..=12 => self.time_passes(&world),
            13 | 14 => {
                if let Some(target) = self.target(place) {
                    drop(world);
                    self.change(place, Change::Revoke(target)).await?;
                }
            }
            15 => {
                drop(world);
                let agent = self.chance.below(AGENTS.len());
                self.change(place, Change::Suspend(agent)).await?;
            }
            16 | 17 => {
                drop(world);
                self.set_permission(place).await?;
            }
            18 | 19 => self.reactivate(&world, place).await?,
            20..=25 => self.a_point_asks(&world, place, step).await?,
            26 => accredit_server::jobs::integrate_all(&world.server).await,
            27 => self.a_point_restarts(&world, place)?,
            28 => self.foreign(&world, place).await?,
            29 if self.chance.once_in(3) => {
                drop(world);
                self.restart().await;
            }
            29 => self.a_key_rotates(&world, place).await?,
            30 | 31 => {
                drop(world);
                self.together().await?;
            }
            32 => self.a_stranger_asks(&world, place).await?,
            33 => self.a_stranger_shows(&world, place).await?,
            34 if self.chance.once_in(4) => self.a_flood(&world, place).await?,
            35 | 36 => self.a_secret_rotates(&world, place).await?,
            37 | 38 => self.a_clock_is_set(&world),
            39 => self.a_log_key_rotates(&world, place).await?,
            40 => self.jobs_run(&world).await,
            _ => {}
        }
        self.messages_arrive(step).await?;
        self.check_side(place).await
    }

    fn time_passes(&mut self, world: &TestWorld) {
        let seconds = if self.chance.once_in(6) { 100 } else { self.chance.below(25) as u64 };
        world.advance(seconds);
        self.look(world);
        self.tell(format!("{seconds} s pass"));
    }

    /// The next key signs from now on, also where it was not published long enough; what the last
    /// one signed is believed as before. Of tokens or of the feed.
    async fn a_key_rotates(&mut self, world: &TestWorld, place: usize) -> Result<(), Broke> {
        let purpose = ["token", "feed"][self.chance.below(2)];
        let rotated = self.rotate_key(world, place, purpose).await?;
        self.report.rotated += usize::from(rotated);
        Ok(())
    }

    /// The next key of the log signs from now on; the one before it named it, and signs along.
    async fn a_log_key_rotates(&mut self, world: &TestWorld, place: usize) -> Result<(), Broke> {
        let rotated = self.rotate_key(world, place, "log").await?;
        self.report.log_keys += usize::from(rotated);
        Ok(())
    }

    async fn rotate_key(
        &mut self,
        world: &TestWorld,
        place: usize,
        purpose: &str,
    ) -> Result<bool, Broke> {
        let asked = RotateKey { purpose: Some(purpose.to_owned()), now: true };
        let cx = world.cx(&self.sides[place].org).await;
        let result = rotation::rotate(&cx, &asked).await;
        let said = match &result {
            Ok(_) => "rotates",
            Err(Error::Refused(refusal)) => refusal.rule.code(),
            Err(Error::Fault(fault)) => return Err((Invariant::StepEndsWell, fault.to_string())),
        };
        self.tell(format!("{place} the key of {purpose}: {said}"));
        Ok(result.is_ok())
    }

    /// What the server does by itself: keys retire, counters become events, what is over is
    /// forgotten.
    async fn jobs_run(&mut self, world: &TestWorld) {
        if self.plan.flaw != Some(Flaw::NobodyLooksAtTheClock) {
            accredit_server::jobs::rotate_all(&world.server).await;
            accredit_server::jobs::flush_all(&world.server).await;
        }
        self.tell("jobs run".to_owned());
    }

    /// A client's secret gets a successor; both work for a while, then the old one ends by itself.
    async fn a_secret_rotates(&mut self, world: &TestWorld, place: usize) -> Result<(), Broke> {
        let overlap = 1 + self.chance.below(60) as u64;
        let side = &mut self.sides[place];
        if side.clients.len() >= CLIENTS_MAX {
            return Ok(());
        }
        let old = side.clients[self.chance.below(side.clients.len())].clone();
        let cx = world.cx(&side.org).await;
        let asked = RotateCredential { overlap: Some(overlap), jwk: None };
        let said = match credential::rotate(&cx, &old.credential, &asked).await {
            Ok(rotated) => {
                // As it was asked for, not as it was answered.
                let end = world.now().plus(Duration::from_secs(overlap));
                side.overlaps.insert(old.credential, end);
                let (new, secret) = (rotated.credential.id, rotated.credential.client_secret);
                let secret = secret.map(|secret| secret.expose().to_owned()).unwrap_or_default();
                side.clients.push(Client { credential: new, secret, ..old });
                "rotates"
            }
            Err(Error::Refused(refusal)) => refusal.rule.code(),
            Err(Error::Fault(fault)) => return Err((Invariant::StepEndsWell, fault.to_string())),
        };
        self.report.rotated += usize::from(said == "rotates");
        self.tell(format!("{place} a secret, with {overlap} s of overlap: {said}"));
        Ok(())
    }

    /// An id that tokens hang on, of any kind.
    pub(super) fn target(&mut self, place: usize) -> Option<AnyId> {
        let n = self.chance.below(self.sides[place].tokens.len().max(1));
        let choice = self.chance.below(14);
        let side = &self.sides[place];
        let token = &side.tokens.get(n)?.token;
        Some(match choice {
            0..=5 => token.id.any(),
            // An instance or a credential is gone for good: seldom, or nobody is left.
            6 => token.instance.map_or(token.id.any(), InstanceId::any),
            7 if side.clients.len() > 3 => token.credential.any(),
            8 => token.owner.any(),
            9 => token.resource.any(),
            10 => token.key.any(),
            11 => side.id,
            _ => token.client_id.any(),
        })
    }

    /// A change is made, perhaps while the database fails.
    async fn change(&mut self, place: usize, change: Change) -> Result<(), Broke> {
        let fault = if self.chance.once_in(5) {
            // What was taken away shows in the counter, so that it is known what holds afterwards.
            Some(self.fault(!matches!(change, Change::Set(..))))
        } else {
            None
        };
        let world = self.world();
        if let Some(fault) = fault {
            world.faults.arm(fault);
        }
        let result = self.perform(&world, place, &change).await;
        let failed = world.faults.disarm();
        drop(world);
        let mut done = match result {
            Ok(()) => true,
            Err(Error::Refused(refusal)) => {
                self.tell(format!("{place} {}: {}", change.name(), refusal.rule.code()));
                return Ok(());
            }
            Err(Error::Fault(fault)) => {
                must(failed, Invariant::StepEndsWell, || fault.to_string())?;
                false
            }
        };
        self.report.faults += usize::from(failed);
        if failed && matches!(fault, Some(FailAt::AfterCommit(_))) {
            // The process ends before it can answer: what is durable is in force.
            self.restart().await;
            let tenant = self.world().tenant(&self.sides[place].org).await;
            done = tenant.rev() == self.sides[place].rev() + 1;
        }
        self.tell(format!("{place} {}: {done}", change.name()));
        if done {
            self.done(place, change);
        }
        Ok(())
    }

    async fn perform(&self, world: &TestWorld, place: usize, change: &Change) -> Result<(), Error> {
        let org = &self.sides[place].org;
        let cx = world.cx(org).await;
        match change {
            Change::Revoke(target) if self.plan.flaw == Some(Flaw::SecretIsWritten) => {
                let reason = self.sides[place].clients[0].secret.clone();
                let asked = Revoke { target: target.to_string(), reason, expires_in: None };
                revocation::revoke(&cx, &asked).await.map(drop)
            }
            Change::Revoke(target) => world.revoke(org, target).await.map(drop),
            Change::Suspend(n) => agent::suspend(&cx, AGENTS[*n], "a test").await.map(drop),
            Change::Set(n, of, actions) => {
                let actions = actions.iter().map(ToString::to_string).collect();
                let asked =
                    SetPermission { actions, limited: Vec::new(), across_environments: false };
                permission::set(&cx, AGENTS[*n], of, &asked).await.map(drop)
            }
        }
    }

    /// Notes a change that was made.
    fn done(&mut self, place: usize, change: Change) {
        let side = &mut self.sides[place];
        match change {
            Change::Revoke(target) => side.revoked(target),
            Change::Suspend(n) => side.revoked(side.agents[n].id.any()),
            Change::Set(n, of, actions) => {
                let id = side.agents[n].id.any();
                let before = side.agents[n].may.insert(of, actions.clone()).unwrap_or_default();
                if !before.is_subset(&actions) {
                    side.revoked(id);
                }
            }
        }
    }

    async fn set_permission(&mut self, place: usize) -> Result<(), Broke> {
        let (n, of) = (self.chance.below(AGENTS.len()), RESOURCES[self.chance.below(2)]);
        let actions = ACTIONS.into_iter().filter(|_| !self.chance.once_in(3)).collect();
        self.change(place, Change::Set(n, of, actions)).await
    }

    /// Everything that can go on goes on, and whoever lost their secret gets another.
    async fn reactivate(&mut self, world: &TestWorld, place: usize) -> Result<(), Broke> {
        let org = self.sides[place].org.clone();
        let cx = world.cx(&org).await;
        let (active, why) = (State::Active, "a test");
        let mut results = Vec::new();
        results.push(organization::set_state(&cx, &org.name, active, why).await.map(drop));
        for name in RESOURCES {
            results.push(resource::set_state(&cx, name, active, why).await.map(drop));
        }
        for name in AGENTS {
            let owner = self.sides[place].owner(world, name).await;
            results.push(person::set_state(&cx, &owner, active, why).await.map(drop));
            results.push(agent::activate(&cx, name, "a test").await.map(drop));
            if self.chance.once_in(2) && self.sides[place].clients.len() < CLIENTS_MAX {
                let client = world.instance(&org, name, None).await;
                self.sides[place].clients.push(client);
            }
        }
        for result in results {
            if let Err(Error::Fault(fault)) = result {
                return Err((Invariant::StepEndsWell, fault.to_string()));
            }
        }
        self.tell(format!("{place} all is active again"));
        Ok(())
    }

    async fn a_point_asks(
        &mut self,
        world: &TestWorld,
        place: usize,
        step: usize,
    ) -> Result<(), Broke> {
        let side = &mut self.sides[place];
        let n = self.chance.below(side.points.len());
        side.points[n].ask(world, &side.org, (step, &mut self.chance)).await
    }

    fn a_point_restarts(&mut self, world: &TestWorld, place: usize) -> Result<(), Broke> {
        let side = &mut self.sides[place];
        let n = self.chance.below(side.points.len());
        side.points[n].restart(&side.org, world.clock.right())?;
        self.tell(format!("{place} point {n} restarts"));
        Ok(())
    }

    async fn messages_arrive(&mut self, step: usize) -> Result<(), Broke> {
        let world = self.world();
        for (place, side) in self.sides.iter_mut().enumerate() {
            for (n, point) in side.points.iter_mut().enumerate() {
                let taken = point.hear(&world, &side.org, step).await?;
                if taken > 0 {
                    self.report.heard += taken;
                    self.report.told.push(format!("{place} point {n} knows {}", point.rev));
                }
            }
        }
        Ok(())
    }

    /// Somebody names what belongs to the other organization: it is not found. There are no rows of
    /// tokens, so that any token's id can be revoked in advance; it is nothing to the other's.
    async fn foreign(&mut self, world: &TestWorld, place: usize) -> Result<(), Broke> {
        let Some(target) = self.target(1 - place) else { return Ok(()) };
        let mut cx = world.cx(&self.sides[place].org).await;
        let nobody = CredentialId::new(0, [0; 10]);
        let permissions = AdminPermission::ALL.to_vec();
        cx.caller = Caller::Admin { credential: nobody, permissions };
        let (id, reason) = (target.to_string(), "a test".to_owned());
        let asked = Revoke { target: id, reason, expires_in: None };
        let result = revocation::revoke(&cx, &asked).await;
        self.tell(format!("{place} names {target}"));
        let token = target.kind() == Kind::Token;
        if token && result.is_ok() {
            self.sides[place].named.push(target.to_string());
            self.sides[place].revoked(target);
        }
        let refused = matches!(result, Err(Error::Refused(_)));
        must(refused || token, Invariant::OrganizationsNeverMeet, || {
            format!("{target} of the other organization: {result:?}")
        })?;
        self.check_side(1 - place).await
    }
}

impl Change {
    fn name(&self) -> String {
        match self {
            Self::Revoke(target) => format!("revokes {target}"),
            Self::Suspend(n) => format!("suspends {}", AGENTS[*n]),
            Self::Set(n, of, actions) => format!("lets {} do {actions:?} at {of}", AGENTS[*n]),
        }
    }
}
