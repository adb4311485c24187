//! What was measured, as a table for people and as JSON for programs.

use std::fmt::Write as _;

use serde::Serialize;

use crate::machine::Machine;

/// What a figure must be.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
    /// Nothing is promised; the figure explains another.
    None,
}

/// One figure.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    /// Of which scenario.
    pub(crate) scenario: &'static str,
    /// What it is.
    pub(crate) what: String,
    /// Its value.
    pub(crate) value: f64,
    /// Its unit.
    pub(crate) unit: &'static str,
    /// What it must be.
    pub(crate) target: Target,
    /// Absolute figures behind a ratio, spread, samples.
    pub(crate) beside: String,
}

impl Figure {
    /// A value with its unit.
    pub(crate) fn of(
        scenario: &'static str,
        what: &str,
        (value, unit): (f64, &'static str),
        target: Target,
        beside: String,
    ) -> Self {
        Self { scenario, what: what.to_owned(), value, unit, target, beside }
    }

    /// Whether it is as it must be; `None` where nothing is promised.
    pub(crate) fn passes(&self) -> Option<bool> {
        match self.target {
            Target::AtLeast(least) => Some(self.value >= least),
            Target::AtMost(most) => Some(self.value <= most),
            Target::None => None,
        }
    }
}

/// Everything that one run measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// On what.
    pub(crate) machine: Machine,
    /// When, RFC 3339.
    pub(crate) date: String,
    /// Whether rounds were shortened.
    pub(crate) quick: bool,
    /// In the order of measuring.
    pub(crate) figures: Vec<Figure>,
    /// Scenarios that could not be measured.
    pub(crate) unmeasured: usize,
}

impl Report {
    /// How many figures are not as they must be.
    pub(crate) fn missed(&self) -> usize {
        self.figures.iter().filter(|figure| figure.passes() == Some(false)).count()
    }

    /// Markdown: the machine, then a table.
    pub(crate) fn markdown(&self) -> String {
        let Machine { cpu, mhz, cores, kernel, filesystem, device, load_average } = &self.machine;
        let mut out = format!(
            "Measured {} on {cores} cores of {cpu} ({mhz} MHz), Linux {kernel}, data on \
             {filesystem} ({device}); load average before the run {load_average}.{}\n\n",
            self.date,
            if self.quick { " Quick: few and short rounds." } else { "" }
        );
        out.push_str("| scenario | figure | measured | target | | beside it |\n");
        out.push_str("|---|---|---:|---:|---|---|\n");
        for figure in &self.figures {
            let Figure { scenario, what, value, unit, target, beside } = figure;
            let target = match target {
                Target::AtLeast(least) => format!("≥ {}", number(*least, unit)),
                Target::AtMost(most) => format!("≤ {}", number(*most, unit)),
                Target::None => String::new(),
            };
            let mark = match figure.passes() {
                Some(true) => "pass",
                Some(false) => "**missed**",
                None => "",
            };
            let value = number(*value, unit);
            // Writing to a String cannot fail.
            let _ =
                writeln!(out, "| {scenario} | {what} | {value} | {target} | {mark} | {beside} |");
        }
        out
    }
}

/// A number with as many digits as mean something.
pub(crate) fn number(value: f64, unit: &str) -> String {
    let text = match value.abs() {
        large if large >= 1000.0 => grouped(value),
        medium if medium >= 100.0 => format!("{value:.0}"),
        small if small >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    };
    let text = if unit == "%" { format!("{value:.0}") } else { text };
    if unit.is_empty() { text } else { format!("{text} {unit}") }
}

fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The middle of some values; 0 of none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.get(sorted.len() / 2).copied().unwrap_or(0.0);
    if sorted.is_empty() || !sorted.len().is_multiple_of(2) {
        return upper;
    }
    let lower = sorted.get(sorted.len() / 2 - 1).copied().unwrap_or(upper);
    f64::midpoint(lower, upper)
}

/// The least and the greatest of some values.
pub(crate) fn spread(values: &[f64], unit: &str) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(0.0, f64::max);
    format!("{} to {}", number(least, ""), number(most, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(value: f64, target: Target) -> Figure {
        let (what, beside) = (String::new(), String::new());
        Figure { scenario: "issue", what, value, unit: "", target, beside }
    }

    #[test]
    fn a_figure_at_its_target_passes_and_one_beyond_does_not() {
        assert_eq!(figure(60.0, Target::AtLeast(60.0)).passes(), Some(true));
        assert_eq!(figure(59.9, Target::AtLeast(60.0)).passes(), Some(false));
        assert_eq!(figure(10.1, Target::AtMost(10.0)).passes(), Some(false));
        assert_eq!(figure(f64::NAN, Target::AtLeast(0.0)).passes(), Some(false));
        assert_eq!(figure(0.0, Target::None).passes(), None);
    }

    #[test]
    fn the_median_is_the_middle() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!(median(&[]).abs() < 1e-9);
    }

    #[test]
    fn numbers_are_short_and_grouped() {
        assert_eq!(number(1_234_567.0, "/s"), "1,234,567 /s");
        assert_eq!(number(59.96, "%"), "60 %");
        assert_eq!(number(0.123, "ms"), "0.12 ms");
    }
}
