//! What was measured, for people and for programs.

use {
    crate::measure::{Rate, median_of},
    core::fmt::Write,
    serde::Serialize,
};

/// What a figure has to reach.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// The ratio to the reference is at least this.
    RatioAtLeast(f64),
    /// The ratio to the reference is at most this.
    RatioAtMost(f64),
    /// The figure itself is at least this.
    AtLeast(f64),
    /// The figure itself is at most this.
    AtMost(f64),
}

impl Goal {
    fn is_met(self, value: f64, ratio: Option<f64>) -> bool {
        match self {
            Self::RatioAtLeast(goal) => ratio.is_some_and(|ratio| ratio >= goal),
            Self::RatioAtMost(goal) => ratio.is_some_and(|ratio| ratio <= goal),
            Self::AtLeast(goal) => value >= goal,
            Self::AtMost(goal) => value <= goal,
        }
    }
}

/// One line of the report, before it is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figure {
    /// What `--only` takes.
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) unit: &'static str,
    /// What the ratio is a ratio to.
    pub(crate) reference: Option<&'static str>,
    pub(crate) goal: Option<Goal>,
}

impl Figure {
    pub(crate) const fn new(
        name: &'static str,
        what: &'static str,
        unit: &'static str,
        reference: Option<&'static str>,
        goal: Option<Goal>,
    ) -> Self {
        Self {
            name,
            what,
            unit,
            reference,
            goal,
        }
    }
}

/// What one round measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    value: f64,
    /// To the reference, measured next to it.
    ratio: Option<f64>,
    /// The same ratio a unit of processor time, for what is a rate.
    processor_ratio: Option<f64>,
}

impl Outcome {
    pub(crate) const fn alone(value: f64) -> Self {
        Self {
            value,
            ratio: None,
            processor_ratio: None,
        }
    }

    pub(crate) fn against(value: f64, reference: f64) -> Self {
        Self {
            value,
            ratio: Some(value / reference),
            processor_ratio: None,
        }
    }

    pub(crate) fn rates(rate: Rate, reference: Rate) -> Self {
        Self {
            processor_ratio: rate
                .a_tick
                .zip(reference.a_tick)
                .map(|(ours, raw)| ours / raw),
            ..Self::against(rate.a_second, reference.a_second)
        }
    }
}

/// One line of the report.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    name: &'static str,
    what: &'static str,
    unit: &'static str,
    /// The median over the rounds.
    value: f64,
    /// The lowest and the highest.
    range: [f64; 2],
    reference: Option<&'static str>,
    /// The median of each round's ratio.
    ratio: Option<f64>,
    /// The median of each round's ratio of what a unit of processor time yields.
    processor_ratio: Option<f64>,
    goal: Option<String>,
    met: Option<bool>,
}

impl Line {
    pub(crate) fn new(figure: &Figure, outcomes: &[Outcome]) -> Self {
        let mut values: Vec<f64> = outcomes.iter().map(|one| one.value).collect();
        let median = |of: fn(&Outcome) -> Option<f64>| {
            let mut all: Vec<f64> = outcomes.iter().filter_map(of).collect();
            (!all.is_empty()).then(|| median_of(&mut all))
        };
        let value = median_of(&mut values);
        let ratio = median(|one| one.ratio);
        Self {
            name: figure.name,
            what: figure.what,
            unit: figure.unit,
            value,
            range: [values[0], values[values.len() - 1]],
            reference: figure.reference,
            ratio,
            processor_ratio: median(|one| one.processor_ratio),
            goal: figure.goal.map(|goal| goal_text(goal, figure.unit)),
            met: figure.goal.map(|goal| goal.is_met(value, ratio)),
        }
    }
}

fn goal_text(goal: Goal, unit: &str) -> String {
    match goal {
        Goal::RatioAtLeast(ratio) => format!("ratio ≥ {ratio}"),
        Goal::RatioAtMost(ratio) => format!("ratio ≤ {ratio}"),
        Goal::AtLeast(value) => format!("≥ {} {unit}", number(value)),
        Goal::AtMost(value) => format!("≤ {} {unit}", number(value)),
    }
}

/// The whole report.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) processors: usize,
    pub(crate) seconds: f64,
    pub(crate) rounds: usize,
    pub(crate) figures: Vec<Line>,
}

impl Report {
    /// A table for a terminal.
    pub(crate) fn table(&self) -> String {
        let mut rows =
            vec![["figure", "", "range", "ratio", "by cpu", "goal", ""].map(str::to_owned)];
        for line in &self.figures {
            rows.push([
                line.what.to_owned(),
                format!("{} {}", number(line.value), line.unit),
                if self.rounds > 1 {
                    format!("{} – {}", number(line.range[0]), number(line.range[1]))
                } else {
                    String::new()
                },
                match (line.ratio, line.reference) {
                    (Some(ratio), Some(reference)) => format!("{ratio:.2} of {reference}"),
                    _ => String::new(),
                },
                line.processor_ratio
                    .map(|ratio| format!("{ratio:.2}"))
                    .unwrap_or_default(),
                line.goal.clone().unwrap_or_default(),
                match line.met {
                    Some(true) => "met".to_owned(),
                    Some(false) => "SHORT".to_owned(),
                    None => String::new(),
                },
            ]);
        }
        let mut widths = [0; 7];
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut table = format!(
            "{} processors shared by both ends; medians of {} rounds of {} s\n\n",
            self.processors, self.rounds, self.seconds
        );
        for row in &rows {
            let mut text = String::new();
            for (width, cell) in widths.iter().zip(row) {
                // Writing into a string cannot fail.
                let _ = write!(text, "{cell:<width$}  ");
            }
            table.push_str(text.trim_end());
            table.push('\n');
        }
        table
    }
}

/// Three digits that matter, and separators between thousands.
fn number(value: f64) -> String {
    if value.abs() < 10.0 {
        return format!("{value:.2}");
    }
    if value.abs() < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIGURE: Figure = Figure {
        name: "one",
        what: "items of one byte",
        unit: "items/s",
        reference: Some("raw"),
        goal: Some(Goal::RatioAtLeast(0.5)),
    };

    #[test]
    fn ratios_are_taken_round_by_round() {
        let outcomes = [(1.0, 2.0), (30.0, 10.0), (4.0, 10.0)];
        let outcomes = outcomes.map(|(value, raw)| Outcome::against(value, raw));
        let line = Line::new(&FIGURE, &outcomes);
        assert_eq!(line.ratio, Some(0.5));
        assert_eq!(line.met, Some(true));
        assert!((line.value - 4.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_goal_that_is_missed_is_said_to_be() {
        let line = Line::new(&FIGURE, &[Outcome::against(1.0, 4.0)]);
        assert_eq!(line.met, Some(false));
        let report = Report {
            processors: 2,
            seconds: 1.0,
            rounds: 1,
            figures: vec![line],
        };
        assert!(report.table().contains("SHORT"), "{}", report.table());
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(number(3_000_000.4), "3,000,000");
        assert_eq!(number(999.6), "1,000");
        assert_eq!(number(100.0), "100");
        assert_eq!(number(12.34), "12.3");
        assert_eq!(number(0.856), "0.86");
    }
}
