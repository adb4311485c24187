//! What `/proc` and `/sys` tell: processor time and memory of a process, the machine, the file
//! system of a folder, and the flushes of the disk below it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::Answer;

/// Clock ticks in a second: `USER_HZ`, which is 100 on every Linux that Rust runs on.
const TICKS_PER_SECOND: u64 = 100;

/// File systems that live in memory, where a sync is free and so a figure would say nothing.
const IN_MEMORY: [&str; 3] = ["tmpfs", "ramfs", "rootfs"];

/// What a run is measured on.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    /// The processor's own name.
    pub(crate) cpu: String,
    /// Its clock as the kernel tells it, MHz.
    pub(crate) mhz: String,
    /// How many cores there are.
    pub(crate) cores: usize,
    /// The kernel.
    pub(crate) kernel: String,
    /// Type of the file system that holds the data.
    pub(crate) filesystem: String,
    /// Its device.
    pub(crate) device: String,
    /// Processes that wanted to run in the minute before: what is measured beside others' work is
    /// worth little.
    pub(crate) load_average: String,
}

impl Machine {
    /// This machine, with data in `folder`. Fails where that is in memory.
    pub(crate) fn look(folder: &Path) -> Answer<Self> {
        let info = read("/proc/cpuinfo")?;
        let field = |name: &str| {
            let line = info.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.split_once(':'));
            value.map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
        };
        let (filesystem, device) = filesystem(folder)?;
        if IN_MEMORY.contains(&filesystem.as_str()) {
            return Err(format!(
                "{} is on {filesystem}: there a sync costs nothing, and the figures would be \
                 worth nothing; choose a folder on a disk with `--work`",
                folder.display()
            ));
        }
        Ok(Self {
            cpu: field("model name"),
            mhz: field("cpu MHz"),
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            filesystem,
            device,
            load_average: read("/proc/loadavg")?.split(' ').next().unwrap_or_default().to_owned(),
        })
    }
}

fn read(path: &str) -> Answer<String> {
    fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}

/// Type and device of the mount that holds a folder: the longest mount point that leads to it.
fn filesystem(folder: &Path) -> Answer<(String, String)> {
    let folder = folder.canonicalize().map_err(|error| format!("{}: {error}", folder.display()))?;
    let mounts = read("/proc/self/mountinfo")?;
    let mut best: Option<(usize, String, String)> = None;
    for line in mounts.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let Some(point) = left.split(' ').nth(4) else { continue };
        let mut right = right.split(' ');
        let (Some(kind), Some(device)) = (right.next(), right.next()) else { continue };
        // A later mount on the same point hides the earlier one.
        let longer = best.as_ref().is_none_or(|(length, ..)| point.len() >= *length);
        if folder.starts_with(point) && longer {
            best = Some((point.len(), kind.to_owned(), device.to_owned()));
        }
    }
    let (_, kind, device) = best.ok_or("no mount holds the data folder")?;
    Ok((kind, device))
}

/// Processor time that a process has used, user and system, all its threads.
pub(crate) fn cpu_of(pid: u32) -> Answer<Duration> {
    // Fields 14 and 15 of proc(5): utime and stime.
    ticks(&format!("/proc/{pid}/stat"), 11)
}

/// Processor time of the children of this process that have ended.
pub(crate) fn cpu_of_children() -> Answer<Duration> {
    // Fields 16 and 17 of proc(5): cutime and cstime.
    ticks("/proc/self/stat", 13)
}

/// The sum of two neighbouring times of a process, counted from what follows its name.
fn ticks(path: &str, first: usize) -> Answer<Duration> {
    let stat = read(path)?;
    let (_, fields) = stat.rsplit_once(')').ok_or_else(|| format!("{path} has another form"))?;
    let ticks = fields.split_whitespace().skip(first).take(2).map(str::parse::<u64>);
    let ticks: u64 = ticks.map(|value| value.unwrap_or(0)).sum();
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// Processor time that this thread has used, exactly; `None` where the kernel does not tell.
pub(crate) fn cpu_of_thread() -> Option<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

/// Resident memory of a process, KiB.
pub(crate) fn resident_kib(pid: u32) -> Answer<u64> {
    status_kib(pid, "VmRSS:")
}

/// Resident memory of a process that no file stands behind, KiB: what it really takes, since the
/// kernel cannot drop it.
pub(crate) fn anonymous_kib(pid: u32) -> Answer<u64> {
    status_kib(pid, "RssAnon:")
}

fn status_kib(pid: u32, name: &str) -> Answer<u64> {
    let status = read(&format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| format!("/proc/PID/status has no {name}"))
}

/// Bytes that a process has sent to its disks, as the kernel accounts them when pages get dirty.
pub(crate) fn written_bytes(pid: u32) -> Answer<u64> {
    let io = read(&format!("/proc/{pid}/io"))?;
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes:"));
    let number = line.and_then(|line| line.trim().parse().ok());
    number.ok_or_else(|| "/proc/PID/io has no write_bytes".to_owned())
}

/// Cache flushes that the data's disk has completed since it was attached, whoever asked for
/// them; `None` where the kernel or the device does not count them.
pub(crate) fn flushes(device: &str) -> Option<u64> {
    let disk = device.strip_prefix("/dev/")?;
    let stats = fs::read_to_string("/proc/diskstats").ok()?;
    let mut fields = stats.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let line = fields.find(|fields| fields.get(2) == Some(&disk))?;
    line.get(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_in_memory_is_refused() {
        if Path::new("/dev/shm").is_dir() {
            let error = Machine::look(Path::new("/dev/shm")).expect_err("in memory");
            assert!(error.contains("tmpfs"), "{error}");
        }
        assert_eq!(filesystem(Path::new("/proc")).expect("a mount").0, "proc");
    }

    #[test]
    fn this_process_uses_time_and_memory() {
        let pid = std::process::id();
        assert!(resident_kib(pid).expect("memory") > 100);
        let mut sum = 0u64;
        while cpu_of(pid).expect("time") < Duration::from_millis(20) {
            sum = (0..1_000_000u64).fold(sum, |sum, n| sum.wrapping_mul(31).wrapping_add(n));
        }
        assert!(cpu_of_thread().is_none_or(|time| time > Duration::ZERO), "{sum}");
    }
}
