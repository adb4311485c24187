//! Corpus replay: what the fuzzer starts from, against the parser of a store's URL.

#[path = "../../../../fuzz/store_url.rs"]
mod store_url;

use std::path::Path;

#[test]
fn the_parser_of_a_stores_url_does_not_panic_on_its_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/store_url");
    let mut inputs = 0;
    for input in std::fs::read_dir(corpus).expect("a corpus") {
        let bytes = std::fs::read(input.expect("an entry").path()).expect("an input");
        store_url::run(&bytes);
        // Near misses of each input: cut short, and with one bit turned.
        for cut in 0..bytes.len() {
            store_url::run(&bytes[..cut]);
            let mut bent = bytes.clone();
            bent[cut] ^= 1 << (cut % 8);
            store_url::run(&bent);
        }
        inputs += 1;
    }
    assert!(inputs > 2, "{inputs} inputs");
}
