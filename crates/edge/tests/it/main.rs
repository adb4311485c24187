//! The local end over real sockets, before an issuer that does as it is told, and the fuzzer's corpus.
#![cfg(target_os = "linux")]
#![expect(clippy::disallowed_methods, reason = "drives real sockets in real time")]
#![expect(clippy::expect_used, reason = "a fixture is a test too, and fails loudly")]

mod attestors;
#[path = "../../../../fuzz/edge.rs"]
mod edge;
mod issuer;
mod workload_api;
mod workloads;

use std::path::Path;

#[test]
fn the_readers_of_the_local_end_do_not_panic_on_their_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/edge");
    let mut inputs = 0;
    for input in std::fs::read_dir(corpus).expect("a corpus") {
        let bytes = std::fs::read(input.expect("an entry").path()).expect("an input");
        edge::run(&bytes);
        // Near misses of each input: cut short, and with one bit turned.
        for cut in 0..bytes.len() {
            edge::run(&bytes[..cut]);
            let mut bent = bytes.clone();
            bent[cut] ^= 1 << (cut % 8);
            edge::run(&bent);
        }
        inputs += 1;
    }
    assert!(inputs > 2, "{inputs} inputs");
}
