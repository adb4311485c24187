//! Durations on the command line: `15m`, `24h`, `30d`; on the wire whole seconds.

use std::time::Duration;

/// The longest duration taken, in days: ten years, so that a slip of the finger is noticed.
pub(crate) const DURATION_DAYS_MAX: u64 = 3660;

/// The duration of a text such as `90s`, `15m`, `24h`, `30d` or `1h30m`; a bare number is
/// seconds. The error is a sentence for the command line.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let seconds = seconds(text)
        .ok_or_else(|| format!("`{text}` is not a duration: write `90s`, `15m`, `24h` or `30d`"))?;
    if seconds == 0 {
        return Err("a duration of nothing: write at least `1s`".into());
    }
    if seconds > DURATION_DAYS_MAX * 86_400 {
        return Err(format!("`{text}` is longer than {DURATION_DAYS_MAX} days"));
    }
    Ok(Duration::from_secs(seconds))
}

fn seconds(text: &str) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok();
    }
    let (mut total, mut number, mut smallest) = (0u64, None::<u64>, u64::MAX);
    for byte in text.bytes() {
        if byte.is_ascii_digit() {
            let digit = u64::from(byte - b'0');
            number = Some(number.unwrap_or(0).checked_mul(10)?.checked_add(digit)?);
            continue;
        }
        let unit = match byte {
            b's' => 1,
            b'm' => 60,
            b'h' => 3600,
            b'd' => 86_400,
            _ => return None,
        };
        // `1h30m`, never `30m1h` or `1m1m`: one way to write one duration.
        if unit >= smallest {
            return None;
        }
        smallest = unit;
        total = total.checked_add(number.take()?.checked_mul(unit)?)?;
    }
    number.is_none().then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_usual_forms_are_read() {
        for (text, seconds) in [
            ("90s", 90),
            ("15m", 900),
            ("24h", 86_400),
            ("30d", 2_592_000),
            ("1h30m", 5400),
            ("60", 60),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_the_forms_that_are_read() {
        for text in [
            "",
            "m",
            "15",
            "15x",
            "1.5h",
            "-5m",
            "15 m",
            "15M",
            "30m1h",
            "5m5m",
            "15m3",
            "0s",
            "99999d",
            "99999999999999999999s",
            "１５m",
        ] {
            if text == "15" {
                assert!(parse(text).is_ok(), "a bare number is seconds");
            } else {
                assert!(parse(text).is_err(), "{text}");
            }
        }
        assert!(parse("soon").expect_err("refused").contains("`15m`"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_or_exceed_the_bound(text in "\\PC{0,24}") {
            if let Ok(duration) = parse(&text) {
                prop_assert!(duration.as_secs() <= DURATION_DAYS_MAX * 86_400);
            }
        }
    }
}
