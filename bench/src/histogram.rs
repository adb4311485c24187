//! Latencies counted in buckets whose width grows with the value: 1.6 % wide at most, so that a
//! percentile is known to that, at a cost of one increment.

use std::time::Duration;

/// Buckets between a power of two and the next.
const STEPS: u64 = 64;
/// Its logarithm.
const STEPS_LOG: u32 = STEPS.ilog2();
/// Values below 2^33 us, over two hours, are told apart.
const BUCKETS: usize = 28 * STEPS as usize;

/// Counts of durations, in microseconds.
#[derive(Clone)]
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: u64,
}

impl Histogram {
    /// Without a value.
    pub(crate) fn new() -> Self {
        Self { buckets: vec![0; BUCKETS], count: 0, max: 0 }
    }

    /// Counts one duration.
    pub(crate) fn record(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get_mut(bucket_of(micros).min(BUCKETS - 1)) {
            *bucket += 1;
        }
        self.count += 1;
        self.max = self.max.max(micros);
    }

    /// How many were counted.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The longest one, microseconds.
    pub(crate) fn max(&self) -> u64 {
        self.max
    }

    /// The value, microseconds, that this part of all values does not exceed; 0 without values.
    pub(crate) fn quantile(&self, part: f64) -> u64 {
        let wanted = ((self.count as f64 * part).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        for (index, bucket) in self.buckets.iter().enumerate() {
            seen += bucket;
            if seen >= wanted && index + 1 < BUCKETS {
                return upper_end(index).min(self.max);
            }
        }
        // Those beyond the last bucket are told apart only by their maximum.
        self.max
    }
}

fn bucket_of(micros: u64) -> usize {
    if micros < STEPS {
        return micros as usize;
    }
    let shift = micros.ilog2() - STEPS_LOG;
    // The leading bit chooses the group, the next bits the bucket in it.
    (u64::from(shift + 1) * STEPS + (micros >> shift) - STEPS) as usize
}

fn upper_end(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < STEPS {
        return bucket;
    }
    let shift = bucket / STEPS - 1;
    ((bucket % STEPS + STEPS + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_lies_in_its_bucket_and_the_bucket_is_narrow() {
        for micros in (0..5_000).chain((5_000..10_000_000).step_by(977)) {
            let bucket = bucket_of(micros);
            let end = upper_end(bucket);
            assert!(micros <= end && end - micros <= micros / STEPS, "{micros} {bucket} {end}");
            assert!(bucket == 0 || upper_end(bucket - 1) < micros);
        }
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_values() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.quantile(0.5), 0);
        for micros in 1..=1000 {
            histogram.record(Duration::from_micros(micros));
        }
        for (part, exact) in [(0.5, 500), (0.99, 990), (1.0, 1000), (0.0, 1)] {
            let found = histogram.quantile(part);
            assert!(found >= exact && found <= exact + exact / STEPS + 1, "{part}: {found}");
        }
        assert_eq!((histogram.count(), histogram.max()), (1000, 1000));
        histogram.record(Duration::from_secs(1_000_000));
        assert_eq!(histogram.quantile(1.0), 1_000_000_000_000, "beyond the buckets, the maximum");
    }
}
