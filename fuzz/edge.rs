//! What `accredit-edge` reads of the kernel and of an issuer, apart from the other targets because it is
//! another crate's.

use accredit_edge::attest::{Container, Credentials, membership, unit};
use accredit_edge::process::Stat;
use accredit_edge::upstream::Bundle;

/// Nothing panics; and whatever a program calls itself, it is told by what stands around its name.
pub(crate) fn run(bytes: &[u8]) {
    let _ = Bundle::read(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = (Stat::parse(text), Credentials::parse(text));
    grouped(text);
    let rest = "S 41 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 98765 1 2 3";
    let stat = Stat::parse(&format!("42 ({text}) {rest}\n"));
    assert_eq!(stat, Ok(Stat { pid: 42, parent: 41, started: 98765 }), "{text:?}");
}

/// Whatever a control group is called: what is read of it stands in it, and nothing below a user's own
/// manager or a service is a container.
fn grouped(text: &str) {
    for path in [membership(text), Some(text)].into_iter().flatten() {
        if let Some(unit) = unit(path) {
            assert!(path.contains(unit), "{path:?}");
        }
        if let Some(container) = Container::of(path) {
            assert!(path.contains(&container.id) && container.id.len() == 64, "{path:?}");
        }
        for above in ["/user.slice/user-7.slice/user@7.service/", "/system.slice/crm.service/"] {
            assert_eq!(Container::of(&format!("{above}{path}")), None, "{path:?}");
        }
    }
}
