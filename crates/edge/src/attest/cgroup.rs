//! cgroups(7): the control group of a process, version 2 alone.
//!
//! Where the kernel has hierarchies of version 1 beside it, a process is in several groups at once and
//! nothing is told: which one counts would be a guess.

use super::{Attestor, ProcFolder, Selector, Told, Unattested};

/// The control group as the kernel tells it.
#[derive(Debug)]
pub struct Cgroup;

impl Attestor for Cgroup {
    fn selectors(&self) -> &'static [Selector] {
        &[Selector::Cgroup]
    }

    fn attest(&self, process: &ProcFolder, told: &mut Told) -> Result<(), Unattested> {
        if let Some(path) = process.text("cgroup").as_deref().and_then(membership) {
            told.tell(Selector::Cgroup, path);
        }
        Ok(())
    }
}

/// The path in `/proc/<pid>/cgroup`. Nothing where it is outside of what this process sees (`/../…`), was
/// removed meanwhile, or is not spelled as the kernel does.
pub fn membership(text: &str) -> Option<&str> {
    let line = text.strip_suffix('\n').unwrap_or(text);
    let path = line.strip_prefix("0::")?;
    let is_part = |part: &str| !matches!(part, "" | "." | "..");
    let is_plain = path == "/" || path.strip_prefix('/')?.split('/').all(is_part);
    let is_there = !path.ends_with(" (deleted)") && !path.chars().any(char::is_control);
    (is_plain && is_there).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_group_is_one_line_of_the_one_hierarchy() {
        let is = |path: &str| {
            assert_eq!(membership(&format!("0::{path}\n")), Some(path));
        };
        is("/");
        is("/system.slice/crm.service");
        is("/a b/c:d");
        for wrong in [
            "",
            "0::",
            "0::\n",
            "0::a\n",
            "0:://\n",
            "0::/a/\n",
            "0::/a//b\n",
            "0::/../a\n",
            "0::/a/./b\n",
            "0::/a (deleted)\n",
            "0::/a\n\n",
            "0::/a\n1:name=systemd:/b\n",
            "1:name=systemd:/b\n0::/a\n",
            "4:memory:/a\n",
            " 0::/a\n",
            "0::/a\u{7}b\n",
        ] {
            assert_eq!(membership(wrong), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_has_no_steps_back(text in "(0::)?[/.a-c\n:]{0,20}") {
            if let Some(path) = membership(&text) {
                prop_assert!(path.starts_with('/'));
                prop_assert!(!path.split('/').skip(1).any(|part| part == ".."));
            }
        }
    }
}
