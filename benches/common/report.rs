//! Figures, and their report: a table, a line of JSON for each, and a file with all of them.

use std::path::Path;

use super::Outcome;

/// What a figure should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// Nothing was asked for.
    None,
    /// This or more.
    Least(f64),
    /// This or less.
    Most(f64),
}

/// One figure of one engine.
pub struct Figure {
    /// What was measured.
    pub what: &'static str,
    /// In which unit.
    pub unit: &'static str,
    /// What it should be.
    pub goal: Goal,
    /// Each run's.
    pub values: Vec<f64>,
}

impl Figure {
    /// Without a goal.
    pub fn new(what: &'static str, unit: &'static str, values: Vec<f64>) -> Self {
        Self { what, unit, goal: Goal::None, values }
    }

    /// With one.
    pub fn goal(self, goal: Goal) -> Self {
        Self { goal, ..self }
    }

    /// The middle value.
    pub fn median(&self) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    fn bounds(&self) -> (f64, f64) {
        self.values
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(*value), high.max(*value)))
    }
}

impl Goal {
    fn met(self, value: f64) -> Option<bool> {
        match self {
            Self::None => None,
            Self::Least(least) => Some(value >= least),
            Self::Most(most) => Some(value <= most),
        }
    }

    fn text(self, value: f64) -> String {
        let verdict = if self.met(value) == Some(true) { "met" } else { "missed" };
        match self {
            Self::None => String::new(),
            Self::Least(goal) => format!("at least {goal}: {verdict}"),
            Self::Most(goal) => format!("at most {goal}: {verdict}"),
        }
    }
}

/// Prints all figures and writes them to `target/bench/FILE`. The other engine's are found by what they say.
pub fn report(head: &str, file: &str, ours: &[Figure], genuine: &[Figure]) -> Outcome<()> {
    let width = ours.iter().map(|figure| figure.what.len()).max().unwrap_or(0).max(head.len()) + 2;
    let mut lines = Vec::new();
    println!("{head:<width$}{:>16}{:>16}{:>8}  goal", "swarmlab", "docker", "ratio");
    for figure in ours {
        let other = genuine.iter().find(|other| other.what == figure.what);
        let text = |value: f64| format!("{value:.2} {}", figure.unit).trim_end().to_owned();
        let median = figure.median();
        let others = other.map_or("-".to_owned(), |other| text(other.median()));
        let ratio = other.map_or("-".to_owned(), |other| format!("{:.2}", median / other.median()));
        let line =
            format!("{:<width$}{:>16}{others:>16}{ratio:>8}  {}", figure.what, text(median), figure.goal.text(median));
        println!("{}", line.trim_end());
        let goal = match figure.goal {
            Goal::None => None,
            Goal::Least(goal) | Goal::Most(goal) => Some(goal),
        };
        lines.push(serde_json::json!({
            "what": figure.what, "unit": figure.unit, "swarmlab": median, "docker": other.map(Figure::median),
            "lowest": figure.bounds().0, "highest": figure.bounds().1,
            "docker_lowest": other.map(|other| other.bounds().0),
            "docker_highest": other.map(|other| other.bounds().1),
            "goal": goal, "met": figure.goal.met(median),
        }));
    }
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    std::fs::create_dir_all(&dir)?;
    std::fs::write(dir.join(file), serde_json::to_vec_pretty(&lines)?)?;
    for line in lines {
        println!("{line}");
    }
    Ok(())
}
