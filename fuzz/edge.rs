//! What `accredit-edge` reads of the kernel and of an issuer, apart from the other targets because it is
//! another crate's.

use accredit_edge::identity::Bundle;
use accredit_edge::process::Stat;

/// Nothing panics; and whatever a program calls itself, it is told by what stands around its name.
pub(crate) fn run(bytes: &[u8]) {
    let _ = Bundle::read(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = Stat::parse(text);
    let rest = "S 41 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 98765 1 2 3";
    let stat = Stat::parse(&format!("42 ({text}) {rest}\n"));
    assert_eq!(stat, Ok(Stat { pid: 42, parent: 41, started: 98765 }), "{text:?}");
}
