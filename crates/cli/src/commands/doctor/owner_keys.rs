//! The keys of an organization's owners: the first one is for making the others with.
//!
//! `accredit init` prints the first key onto a terminal, where it may stay for as long as it works,
//! and it names nobody. So it is remarked upon until it has ended. The system makes no other key,
//! so that the one without a maker is the first.

use accredit_wire::time::Time;
use serde_json::Value;

use super::Checks;
use super::online::{EXPIRES_SOON_DAYS, SECONDS_PER_DAY, text, time};
use crate::errors::one_line;
use crate::output::counted;

/// The check's name.
pub(super) const NAME: &str = "owner-keys";

/// Remarks on the first key while it works, and on the end of the last owner's key.
pub(super) fn check(rows: &[Value], now: Time, checks: &mut Checks) {
    let manages = |row: &&Value| {
        let held = row["permissions"].as_array().map(Vec::as_slice).unwrap_or_default();
        text(row, "state") == "active" && held.iter().any(|one| one == "administrators")
    };
    let (first, own): (Vec<&Value>, Vec<&Value>) =
        rows.iter().filter(manages).partition(|row| row["created_by"].is_null());
    let others = counted(own.len() as u64, "other owner's key");
    if let Some(first) = first.first() {
        let (id, end) = (one_line(text(first, "id")), one_line(text(first, "expires_at")));
        if own.is_empty() {
            let found = format!("the first key {id} is the only owner's key, until {end}");
            let hint = "make a key of your own, `accredit admin-key create --role owner --purpose \
                        …`, and revoke the first one with it";
            return checks.warn(NAME, found, hint);
        }
        let found = format!("the first key {id} still works until {end}, beside {others}");
        let hint = format!("with another one: accredit admin-key revoke {id} --reason \"set up\"");
        return checks.warn(NAME, found, hint);
    }
    let Some(end) = own.iter().filter_map(|row| time(row, "expires_at")).max() else {
        let hint = "nothing makes one any more: found a new organization, and move there";
        return checks.fail(NAME, "no owner's key works", hint);
    };
    let found = format!("{}, the first one has ended", counted(own.len() as u64, "owner's key"));
    if end.seconds() <= now.seconds() + EXPIRES_SOON_DAYS * SECONDS_PER_DAY {
        let found = format!("the last owner's key ends at {end}");
        return checks.warn(NAME, found, "accredit admin-key rotate");
    }
    checks.ok(NAME, found);
}
