//! Secrets in memory: wiped when dropped, and never printed by accident.

use std::fmt;

use zeroize::Zeroizing;

/// A value that must not appear in a log, an error or a metric. `Debug` prints `[redacted]`;
/// there is no `Display` and no `Serialize`. The only way to the value is [`Secret::expose`],
/// so that a search for that word finds every use.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps a secret text.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The secret itself, out of its wrapping: for what turned out to be none.
    pub fn expose_owned(mut self) -> String {
        std::mem::take(&mut *self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was freed cannot be looked at without `unsafe`: held is the type that wipes, and what
    /// wiping does.
    #[test]
    fn it_is_held_in_what_wipes_itself() {
        fn wipes<T: zeroize::ZeroizeOnDrop>(_: &T) {}
        let mut secret = Secret::new("hunter2".to_owned());
        wipes(&secret.0);
        zeroize::Zeroize::zeroize(&mut secret.0);
        assert_eq!(secret.expose(), "");
    }

    #[test]
    fn debug_does_not_show_it() {
        assert_eq!(format!("{:?}", Secret::new("hunter2".into())), "[redacted]");
    }
}
