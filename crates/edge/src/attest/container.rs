//! cgroups(7): container and pod of a process, by the names that engines give their control groups.
//!
//! A name counts only where root alone can make a group of that name: directly below `/system.slice`,
//! `/machine.slice`, `/docker` or `/libpod_parent`, and at its place below `/kubepods` or
//! `/kubepods.slice`. A user's own manager (`/user.slice/…`) and services with a part of their own
//! (`Delegate=`) can make groups of any name further below, so that containers without root (podman,
//! docker) are none here. Where a second container is named below the first, nothing is told: what runs
//! in a container can name things as it likes.

use super::{Attestor, ProcFolder, Selector, Told, Unattested, membership};

/// Length of a container's id, hexadecimal digits.
const ID_CHARS: usize = 64;
/// What engines write before the id, where systemd makes the group.
const OF_SYSTEM: [&str; 4] = ["docker-", "nerdctl-", "cri-containerd-", "crio-"];
const OF_PODS: [&str; 3] = ["cri-containerd-", "crio-", "docker-"];
/// The classes of service that have a group of their own; pods of the first class have none.
const CLASSES: [&str; 2] = ["burstable", "besteffort"];

/// Containers and pods.
#[derive(Debug)]
pub struct Containers;

impl Attestor for Containers {
    fn selectors(&self) -> &'static [Selector] {
        &[Selector::ContainerId, Selector::PodUid]
    }

    fn attest(&self, process: &ProcFolder, told: &mut Told) -> Result<(), Unattested> {
        let text = process.text("cgroup");
        if let Some(container) = text.as_deref().and_then(membership).and_then(Container::of) {
            told.tell(Selector::ContainerId, container.id);
            if let Some(pod) = container.pod {
                told.tell(Selector::PodUid, pod);
            }
        }
        Ok(())
    }
}

/// A container, and the pod that it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The pod's uid, where it is in one.
    pub pod: Option<String>,
}

impl Container {
    /// The container of a control group; nothing where it is in none, or in more than one.
    pub fn of(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let (found, below) = alone(&parts).or_else(|| in_pod(&parts))?;
        let is_one = !below.iter().any(|part| names_another(part));
        is_one.then_some(found)
    }
}

/// A container of an engine alone, and the path below it.
fn alone<'a>(parts: &'a [&'a str]) -> Option<(Container, &'a [&'a str])> {
    let [parent, name, below @ ..] = parts else { return None };
    let id = match *parent {
        "system.slice" => OF_SYSTEM.iter().find_map(|engine| scope(name, engine)),
        "machine.slice" => scope(name, "libpod-"),
        "docker" => id(name),
        "libpod_parent" => name.strip_prefix("libpod-").and_then(id),
        _ => None,
    };
    Some((Container { id: id?.to_owned(), pod: None }, below))
}

/// A container of Kubernetes, and the path below it.
fn in_pod<'a>(parts: &'a [&'a str]) -> Option<(Container, &'a [&'a str])> {
    // Where the kubelet has a group of its own, everything is below that.
    let (prefix, parts) = match parts {
        ["kubelet.slice", rest @ ..] => ("kubelet-", rest),
        ["kubelet", rest @ ..] => ("", rest),
        parts => ("", parts),
    };
    match parts {
        [top, rest @ ..] if *top == format!("{prefix}kubepods.slice") => {
            let mut stem = format!("{prefix}kubepods-");
            let class = rest.first().and_then(|part| {
                CLASSES.into_iter().find(|class| *part == format!("{stem}{class}.slice"))
            });
            let rest = if let Some(class) = class {
                stem = format!("{stem}{class}-");
                rest.get(1..)?
            } else {
                rest
            };
            let [pod, name, below @ ..] = rest else { return None };
            let pod = pod.strip_prefix(&*stem)?.strip_prefix("pod")?.strip_suffix(".slice")?;
            // `-` stands for a step in the name of a slice.
            let pod = uid(&pod.replace('_', "-")).filter(|_| !pod.contains('-'))?;
            let id = OF_PODS.iter().find_map(|engine| scope(name, engine))?.to_owned();
            Some((Container { id, pod: Some(pod) }, below))
        }
        ["kubepods", rest @ ..] => {
            let has_class = rest.first().is_some_and(|part| CLASSES.contains(part));
            let [pod, name, below @ ..] = rest.get(usize::from(has_class)..)? else { return None };
            let pod = uid(pod.strip_prefix("pod")?)?;
            let id = id(name.strip_prefix("crio-").unwrap_or(name))?.to_owned();
            Some((Container { id, pod: Some(pod) }, below))
        }
        _ => None,
    }
}

/// The id in `<engine><id>.scope`.
fn scope<'a>(name: &'a str, engine: &str) -> Option<&'a str> {
    id(name.strip_prefix(engine)?.strip_suffix(".scope")?)
}

fn id(text: &str) -> Option<&str> {
    (text.len() == ID_CHARS && text.bytes().all(is_digit)).then_some(text)
}

fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// A pod's uid: a UUID (RFC 9562), or the 32 digits of one that the kubelet has from a file.
fn uid(text: &str) -> Option<String> {
    let parts: Vec<usize> = text.split('-').map(str::len).collect();
    let is_one = matches!(parts[..], [8, 4, 4, 4, 12] | [32]);
    (is_one && text.bytes().all(|byte| byte == b'-' || is_digit(byte))).then(|| text.to_owned())
}

/// Whether a group below a container could be taken for another one, or for a pod.
fn names_another(part: &str) -> bool {
    let has_id = part.split(|c: char| !c.is_ascii_hexdigit()).any(|run| run.len() >= ID_CHARS);
    has_id || part.contains("kubepods")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const POD: &str = "0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f";

    fn hex() -> String {
        "0123456789abcdef".repeat(4)
    }

    fn is(path: &str, pod: Option<&str>) {
        let path = path.replace("ID", &hex()).replace("POD", POD);
        let path = path.replace("P_D", &POD.replace('-', "_"));
        let expected = Container { id: hex(), pod: pod.map(str::to_owned) };
        assert_eq!(Container::of(&path), Some(expected), "{path}");
    }

    fn is_none(path: &str) {
        let path = path.replace("ID", &hex()).replace("POD", POD);
        let path = path.replace("P_D", &POD.replace('-', "_"));
        assert_eq!(Container::of(&path), None, "{path}");
    }

    #[test]
    fn a_container_is_known_where_its_engine_puts_it() {
        for path in [
            "/system.slice/docker-ID.scope",
            "/system.slice/docker-ID.scope/init",
            "/system.slice/nerdctl-ID.scope",
            "/system.slice/crio-ID.scope",
            "/docker/ID",
            "/docker/ID/system.slice/crm.service",
            "/machine.slice/libpod-ID.scope/container",
            "/libpod_parent/libpod-ID",
        ] {
            is(path, None);
        }
        for path in [
            "/kubepods.slice/kubepods-podP_D.slice/cri-containerd-ID.scope",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podP_D.slice/crio-ID.scope",
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podP_D.slice/docker-ID.scope",
            "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podP_D.slice/cri-containerd-ID.scope",
            "/kubepods/podPOD/ID",
            "/kubepods/burstable/podPOD/ID",
            "/kubepods/besteffort/podPOD/crio-ID/below",
            "/kubelet/kubepods/burstable/podPOD/ID",
        ] {
            is(path, Some(POD));
        }
        let of_file = "0123456789abcdef0123456789abcdef";
        is(&format!("/kubepods/burstable/pod{of_file}/ID"), Some(of_file));
    }

    #[test]
    fn a_name_that_anybody_could_have_made_counts_for_nothing() {
        let user = "/user.slice/user-7.slice/user@7.service";
        for below in [
            "docker-ID.scope",
            "app.slice/docker-ID.scope",
            "user.slice/libpod-ID.scope/container",
            "system.slice/docker-ID.scope",
            "kubepods.slice/kubepods-podP_D.slice/cri-containerd-ID.scope",
            "kubepods/podPOD/ID",
            "docker/ID",
        ] {
            is_none(&format!("{user}/{below}"));
            is_none(&format!("/system.slice/crm.service/{below}"));
            is_none(&format!("/user.slice/{below}"));
            is_none(&format!("/../{below}"));
        }
        is_none("/user.slice/docker-ID.scope");
        is_none("/docker-ID.scope");
        is_none("/ID");
    }

    #[test]
    fn what_names_two_or_is_not_spelled_so_is_none() {
        for path in [
            "",
            "/",
            "/docker",
            "/docker/ID/docker/ID",
            "/docker/ID/x-ID.scope",
            "/system.slice/docker-ID.scope/kubelet.slice/kubelet-kubepods.slice",
            "/system.slice/docker-ID.scope/kubepods/podPOD/ID",
            "/system.slice/docker-IDa.scope",
            "/system.slice/docker-ID",
            "/system.slice/docker-ID.service",
            "/machine.slice/libpod-conmon-ID.scope",
            "/machine.slice/docker-ID.scope",
            "/docker/docker-ID.scope",
            "/kubepods.slice/cri-containerd-ID.scope",
            "/kubepods.slice/kubepods-podP_D.slice",
            "/kubepods.slice/kubepods-podPOD.slice/cri-containerd-ID.scope",
            "/kubepods.slice/kubepods-burstable-podP_D.slice/cri-containerd-ID.scope",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-podP_D.slice/cri-containerd-ID.scope",
            "/kubepods.slice/kubepods-podP_D.slice/ID",
            "/kubepods/guaranteed/podPOD/ID",
            "/kubepods/podx/ID",
            "/kubepods/podP_D/ID",
            "/kubepods/POD/ID",
            "/kubepods/podPOD/x/ID",
        ] {
            is_none(path);
        }
        let upper = hex().to_ascii_uppercase();
        is_none(&format!("/docker/{upper}"));
    }

    proptest! {
        #[test]
        fn nothing_below_a_user_or_a_service_is_a_container(
            below in "(/(kubepods|docker|system\\.slice|podPOD|ID|docker-ID\\.scope)){1,5}",
        ) {
            let below = below.replace("ID", &hex()).replace("POD", POD);
            for above in ["/user.slice/user-7.slice/user@7.service", "/system.slice/crm.service"] {
                prop_assert_eq!(Container::of(&format!("{above}{below}")), None);
            }
        }

        #[test]
        fn no_path_makes_the_reader_panic(path in ".{0,120}") {
            let _ = Container::of(&path);
        }
    }
}
