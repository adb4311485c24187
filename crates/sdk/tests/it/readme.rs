//! The README's Rust: it compiles, as it stands there.

use accredit::ConnectError;
use axum::routing::get;

async fn list() {}

#[rustfmt::skip]
#[expect(dead_code, reason = "compiled, and compared with the README")]
async fn shown(secret: String) -> Result<axum::Router, ConnectError> {
    // as in the README
let verifier = accredit::Verifier::builder("https://id.example/o/acme", "https://crm.example/")
    .credential(&secret).connect().await?;
let app = axum::Router::new().route("/customers", get(list))
    .layer(verifier.guard().require("crm:read"));
    // so far
    Ok(app)
}

#[test]
fn the_readme_shows_what_compiles() {
    let own = include_str!("readme.rs");
    let between = |text: &'static str, from: &str, to: &str| {
        let (_, rest) = text.split_once(from).expect("a beginning");
        rest.split_once(to).expect("an end").0
    };
    let compiled = between(own, "    // as in the README\n", "    // so far\n");
    let readme = include_str!("../../../../README.md");
    assert_eq!(between(readme, "```rust\n", "```\n"), compiled);
    assert_eq!(readme.matches("```rust").count(), 1, "every block is compiled");
}
