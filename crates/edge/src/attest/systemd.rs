//! systemd.unit(5): the unit of a process, by its control group.
//!
//! A unit is the first part of the path behind its slices, as systemd itself reads it. Slices and their
//! direct children are root's to make; what lies below a unit may be the unit's own to make
//! (`Delegate=`), and is not looked at. So a unit of a user's own manager, which that user may call as it
//! likes, is told as what it is to the system: `user@1000.service`.
//!
//! Absent on purpose: D-Bus, which would be another daemon to believe.

use super::{Attestor, ProcFolder, Selector, Told, Unattested, membership};

/// The longest name of a unit, bytes (systemd.unit(5)).
const NAME_BYTES_MAX: usize = 255;

/// Units of systemd.
#[derive(Debug)]
pub struct Systemd;

impl Attestor for Systemd {
    fn selectors(&self) -> &'static [Selector] {
        &[Selector::SystemdUnit]
    }

    fn attest(&self, process: &ProcFolder, told: &mut Told) -> Result<(), Unattested> {
        let text = process.text("cgroup");
        if let Some(unit) = text.as_deref().and_then(membership).and_then(unit) {
            told.tell(Selector::SystemdUnit, unit);
        }
        Ok(())
    }
}

/// The unit of a control group.
pub fn unit(path: &str) -> Option<&str> {
    let first =
        path.strip_prefix('/')?.split('/').map(unescaped).find(|part| !is_named(part, ".slice"))?;
    (is_named(first, ".service") || is_named(first, ".scope")).then_some(first)
}

/// A name that could be taken for a file of the kernel's has an underscore before it.
fn unescaped(part: &str) -> &str {
    part.strip_prefix('_').unwrap_or(part)
}

fn is_named(part: &str, suffix: &str) -> bool {
    let is_plain = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'-' | b'_' | b'.' | b'\\' | b'@')
    };
    part.strip_suffix(suffix).is_some_and(|name| !name.is_empty())
        && part.len() <= NAME_BYTES_MAX
        && part.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_unit_is_what_comes_behind_the_slices() {
        for (path, expected) in [
            ("/system.slice/crm.service", "crm.service"),
            ("/crm.slice/crm-eu.slice/crm@7.service", "crm@7.service"),
            ("/system.slice/crm.service/made/by/itself", "crm.service"),
            ("/system.slice/crm.service/other.service", "crm.service"),
            ("/system.slice/system-dev\\x2dx.slice/dev\\x2dx@1.service", "dev\\x2dx@1.service"),
            ("/system.slice/_cpu.service", "cpu.service"),
            ("/system.slice/__x.service", "_x.service"),
            ("/init.scope", "init.scope"),
            ("/user.slice/user-7.slice/session-3.scope", "session-3.scope"),
            ("/user.slice/user-7.slice/user@7.service/app.slice/crm.service", "user@7.service"),
            ("/user.slice/user-7.slice/user@7.service/init.scope", "user@7.service"),
            ("/user.slice/user-7.slice/user@7.service/made/crm.service", "user@7.service"),
            ("/user.slice/user-7.slice/user@7.service", "user@7.service"),
        ] {
            assert_eq!(unit(path), Some(expected), "{path}");
        }
        for none in [
            "",
            "/",
            "/system.slice",
            "/made/crm.service",
            "/system.slice/crm",
            "/system.slice/.service",
            "/system.slice/crm.socket",
            "/system.slice/c m.service",
            "/system.slice/crm.service ",
        ] {
            assert_eq!(unit(none), None, "{none}");
        }
        assert_eq!(unit(&format!("/{}.service", "x".repeat(300))), None);
    }

    #[test]
    fn no_user_makes_a_unit_of_the_system() {
        // Whatever a user's own manager is made to call its units, or makes below its own.
        for own in
            ["crm.service", "a.slice/crm.service", "a/crm.service", "user@0.service/crm.service"]
        {
            let path = format!("/user.slice/user-7.slice/user@7.service/{own}");
            assert!(unit(&path) == Some("user@7.service"), "{path}");
        }
    }

    proptest! {
        #[test]
        fn what_is_told_is_a_part_of_the_path(path in "(/[a-c@._]{0,4}(\\.slice|\\.service|\\.scope)?){0,5}") {
            if let Some(unit) = unit(&path) {
                prop_assert!(path.split('/').any(|part| unescaped(part) == unit));
            }
        }
    }
}
