//! The roots by which the listener speaks TLS, as two rows of the installation: one that signs, and one
//! that follows it.
//!
//! Both are written together, where those are there that were seen: of two nodes that make the first ones, or
//! change them, one comes too late.

use accredit_domain::Fault;
use accredit_domain::ca::listener::{ListenerRoot, Roots};
use accredit_domain::keys::held::Held;
use accredit_domain::keys::{KeyPurpose, SealedKey};
use accredit_domain::ports::{BoxFuture, CommitError, ListenerRoots, Replaced};
use accredit_domain::root::Rewrapping;
use accredit_wire::crypto::{Algorithm, PublicKey};
use accredit_wire::ids::KeyId;
use accredit_wire::x509::certificate::Certificate;

use crate::SqlStore;
use crate::driver::{Conn, DriverError, Row};
use crate::failure::Failure;
use crate::member::Work;

const OPERATION: &str = "change the listener's roots";
/// The places of the rows: the one that signs, and the one that follows it.
const SLOTS: [&str; 2] = ["active", "next"];

fn read(row: &dyn Row) -> Result<ListenerRoot, DriverError> {
    let public = PublicKey::p256(&row.bytes(1)?);
    let certificate = Certificate::parse(row.blob(3)?);
    let key = SealedKey {
        org: None,
        id: row.parsed::<KeyId>(0)?,
        purpose: KeyPurpose::CaRoot,
        algorithm: Algorithm::Es256,
        public: public.map_err(|error| DriverError::unreadable(1, error))?,
        wrapped: row.blob(2)?.to_vec(),
        root: row.small(4)?,
    };
    let certificate = certificate.map_err(|error| DriverError::unreadable(3, error))?;
    Ok(ListenerRoot { key, certificate })
}

/// The roots, where there are any.
pub(crate) fn find(conn: &mut dyn Conn) -> Result<Option<Roots>, DriverError> {
    let mut in_slot = |slot: &str| {
        conn.first(
            "SELECT id, public, wrapped, certificate, \
             COALESCE((SELECT root FROM installation WHERE id = 1), 1) \
             FROM listener_root WHERE slot = $1",
            &[slot.into()],
            read,
        )
    };
    let [active, next] = SLOTS;
    Ok(in_slot(active)?.zip(in_slot(next)?).map(|(active, next)| Roots { active, next }))
}

/// Writes both, in the place of those that were seen.
pub(crate) fn write(conn: &mut dyn Conn, Replaced { seen, by }: &Replaced) -> Result<(), Failure> {
    let failed = |error| Failure::of(OPERATION, error);
    let roots = [&by.active, &by.next];
    for root in roots {
        // Held until the commit: what is wrapped now is not missed by whoever wraps everything anew.
        let held = conn.execute(
            "UPDATE installation SET root = root WHERE id = 1 AND root = $1",
            &[root.key.root.into()],
        );
        held.map_err(failed).and_then(Failure::unless_one)?;
    }
    for (slot, id) in SLOTS.into_iter().zip(seen.iter().flatten()) {
        let id = id.to_string();
        let gone = conn.execute(
            "DELETE FROM listener_root WHERE slot = $1 AND id = $2",
            &[slot.into(), id.as_str().into()],
        );
        gone.map_err(failed).and_then(Failure::unless_one)?;
    }
    for (slot, root) in SLOTS.into_iter().zip(roots) {
        let id = root.key.id.to_string();
        let written = conn.execute(
            "INSERT INTO listener_root (slot, id, public, wrapped, certificate) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (slot) DO NOTHING",
            &[
                slot.into(),
                id.as_str().into(),
                root.key.public.bytes().into(),
                root.key.wrapped.as_slice().into(),
                root.certificate.der().into(),
            ],
        );
        written.map_err(failed).and_then(Failure::unless_one)?;
    }
    Ok(())
}

/// Wraps both under another root key, where there are any; how many are wrapped.
pub(crate) fn rewrap(conn: &mut dyn Conn, rewrapping: &Rewrapping) -> Result<u64, Failure> {
    let failed = |error| Failure::of(OPERATION, error);
    let Some(Roots { active, next }) = find(conn).map_err(failed)? else { return Ok(0) };
    let mut wrapped = 0;
    for root in [&active, &next] {
        wrapped += u64::from(root.key.held() == Held::Software);
        let key = rewrapping.key(&root.key).map_err(Failure::Fault)?;
        let id = key.id.to_string();
        let changed = conn.execute(
            "UPDATE listener_root SET wrapped = $1 WHERE id = $2",
            &[key.wrapped.as_slice().into(), id.as_str().into()],
        );
        changed.map_err(failed).and_then(Failure::unless_one)?;
    }
    Ok(wrapped)
}

impl ListenerRoots for SqlStore {
    fn listener_roots(&self) -> BoxFuture<'_, Result<Option<Roots>, Fault>> {
        Box::pin(self.read_short("read the listener's roots", find))
    }

    fn replace_listener_roots(&self, replaced: Replaced) -> BoxFuture<'_, Result<(), CommitError>> {
        Box::pin(async move {
            let work = Work::ListenerRoots(Box::new(replaced));
            self.write(OPERATION, work).await.map(drop).map_err(CommitError::from)
        })
    }
}
