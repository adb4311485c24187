//! The parser of a store's URL of `accredit-store`, apart from the other targets because it is another
//! crate's.

use accredit_store::driver::target::Target;

/// Where a URL has what no answer may repeat.
const PASSWORD: &str = "s3cret-that-nobody-else-writes";

/// What is read is written as what is read again, and no password is taken or repeated.
pub(crate) fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let rest = ["postgres://", "postgresql://"].iter().find_map(|it| text.strip_prefix(it));
    for text in [text.to_owned(), format!("postgres://a@{text}/x"), format!("postgres://{text}")] {
        match text.parse::<Target>() {
            Ok(target) => {
                let written = target.to_string();
                let again: Target = written.parse().expect("what was written");
                assert_eq!(format!("{again:?}"), format!("{target:?}"), "{written}");
                assert_eq!(again.to_string(), written);
            }
            Err(error) => assert!(!error.detail.is_empty() && !error.hint.is_empty()),
        }
    }
    let rest = rest.unwrap_or(text);
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    for with in [format!("postgres://a:{PASSWORD}@{place}"), format!("{text}?password={PASSWORD}")]
    {
        let refused = with.parse::<Target>().expect_err("it holds a password, or is none");
        assert!(!refused.to_string().contains(PASSWORD), "{with}");
    }
}
