//! Bars: what a figure of a report must not exceed, or must reach.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::report::Report;
use crate::svg::short;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bar {
    pub what: String,
    /// `contender/field/field` (the last row of that contender), `settings/field`, or `ratio/contender/what`. A spread
    /// counts by its median.
    pub figure: String,
    pub at_most: Option<f64>,
    pub at_least: Option<f64>,
    /// No more than the same figure in an earlier run of this name.
    pub at_most_as_in: Option<String>,
    #[serde(default)]
    pub unit: String,
    /// The figure is the same whoever else uses the machine, as memory is.
    #[serde(default)]
    pub steady: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    pub what: String,
    pub unit: String,
    /// `None`: what it is compared with was not measured.
    pub limit: Option<Limit>,
    /// `None`: not measured.
    pub figure: Option<f64>,
    /// By how much the bar is missed, as a share of it; at most 0: met.
    pub missed_by: Option<f64>,
    /// Others took more of the machine than a figure can bear.
    pub disturbed: bool,
}

/// `earlier`: the report of a run made before, by name.
pub fn judge<'a>(
    bar: &Bar,
    report: Option<&Report>,
    earlier: impl Fn(&str) -> Option<&'a Report>,
) -> Verdict {
    let figure = report.and_then(|report| look_up(report, &bar.figure));
    let limit = match (bar.at_most, bar.at_least, &bar.at_most_as_in) {
        (Some(limit), _, _) => Some(Limit::AtMost(limit)),
        (_, Some(limit), _) => Some(Limit::AtLeast(limit)),
        (_, _, Some(name)) => {
            earlier(name).and_then(|report| look_up(report, &bar.figure)).map(Limit::AtMost)
        }
        _ => None,
    };
    let missed_by = match (limit, figure) {
        (Some(Limit::AtMost(limit)), Some(figure)) => Some(figure / limit - 1.0),
        (Some(Limit::AtLeast(limit)), Some(figure)) => Some(1.0 - figure / limit),
        _ => None,
    };
    Verdict {
        what: bar.what.clone(),
        unit: bar.unit.clone(),
        limit,
        figure,
        missed_by,
        disturbed: !bar.steady && report.is_some_and(|report| !report.undisturbed()),
    }
}

/// A figure of a report: `broker/user_ns`, `settings/shards`, `ratio/floor-ring/server CPU per delivery`.
pub fn look_up(report: &Report, figure: &str) -> Option<f64> {
    let (root, path) = figure.split_once('/')?;
    if root == "ratio" {
        let (to, what) = path.split_once('/')?;
        return report.ratios.iter().find(|r| r.to == to && r.what == what).map(|r| r.spread.median);
    }
    let start = match root {
        "settings" => &report.settings,
        name => report.rows.iter().rfind(|row| row["name"] == name)?,
    };
    let value = path.split('/').try_fold(start, |value, field| value.get(field))?;
    value.as_f64().or_else(|| value.get("median").and_then(Value::as_f64))
}

/// `user CPU per delivery ≤ 150 ns: 118 ns, met`
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict { what, unit, .. } = self;
        let space = if unit.is_empty() { "" } else { " " };
        let with_unit = |value: f64| format!("{}{space}{unit}", short(value));
        write!(f, "{what}")?;
        match self.limit {
            Some(Limit::AtMost(limit)) => write!(f, " ≤ {}", with_unit(limit))?,
            Some(Limit::AtLeast(limit)) => write!(f, " ≥ {}", with_unit(limit))?,
            None => {}
        }
        match (self.figure, self.missed_by) {
            (Some(figure), Some(missed)) if missed > 0.0 => {
                write!(
                    f,
                    ": {}, missed by {} %",
                    with_unit(figure),
                    short((missed * 1000.0 - 1e-6).ceil() / 10.0)
                )?;
            }
            (Some(figure), Some(_)) => write!(f, ": {}, met", with_unit(figure))?,
            (Some(figure), None) => write!(f, ": {}", with_unit(figure))?,
            (None, _) => write!(f, ": not measured")?,
        }
        if self.disturbed { write!(f, " (disturbed)") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::host::Host;
    use crate::summary::{Ratio, Spread};

    fn report() -> Report {
        let rows = [
            json!({"name": "broker", "user_ns": 900}),
            json!({"name": "broker", "user_ns": 120, "cpu": {"median": 5.5, "min": 1}}),
            json!({"name": "floor-ring", "user_ns": 7}),
        ];
        let mut report =
            Report::new("fanout", Host::read(), &json!({"memory": {"peak": 10}}), &rows).expect("values");
        let spread = Spread { median: 1.1, ..Spread::default() };
        let (of, to) = ("broker".to_owned(), "floor-ring".to_owned());
        report.ratios.push(Ratio { of, to, what: "server CPU per delivery", spread });
        report
    }

    #[test]
    fn figures_are_found_and_judged() {
        let table = [
            ("broker/user_ns", "at_most = 150", "x ≤ 150 ns: 120 ns, met"),
            ("broker/user_ns", "at_most = 100", "x ≤ 100 ns: 120 ns, missed by 20 %"),
            ("broker/cpu", "at_least = 11", "x ≥ 11 ns: 5.5 ns, missed by 50 %"),
            (
                "ratio/floor-ring/server CPU per delivery",
                "at_most = 1.05",
                "x ≤ 1.05 ns: 1.1 ns, missed by 4.8 %",
            ),
            ("settings/memory/peak", "at_most = 10", "x ≤ 10 ns: 10 ns, met"),
            ("broker/no_such", "at_most = 1", "x ≤ 1 ns: not measured"),
            ("other/user_ns", "at_most = 1", "x ≤ 1 ns: not measured"),
            ("floor-ring/user_ns", "at_most_as_in = 'before'", "x ≤ 7 ns: 7 ns, met"),
            ("floor-ring/user_ns", "at_most_as_in = 'never'", "x: 7 ns"),
        ];
        for (figure, limit, want) in table {
            let text = format!("what = 'x'\nunit = 'ns'\nfigure = '{figure}'\n{limit}");
            let bar: Bar = toml::from_str(&text).expect("TOML");
            let report = report();
            let verdict = judge(&bar, Some(&report), |name| (name == "before").then_some(&report));
            assert_eq!(verdict.to_string(), want, "{figure}");
        }
    }

    #[test]
    fn a_disturbed_figure_is_marked_and_a_missing_run_is_not_measured() {
        let bar: Bar = toml::from_str("what = 'x'\nfigure = 'broker/user_ns'\nat_most = 150").expect("TOML");
        let report = Report { disturbance: 0.2, ..report() };
        assert_eq!(judge(&bar, Some(&report), |_| None).to_string(), "x ≤ 150: 120, met (disturbed)");
        let steady = Bar { steady: true, ..bar.clone() };
        assert_eq!(judge(&steady, Some(&report), |_| None).to_string(), "x ≤ 150: 120, met");
        assert_eq!(judge(&bar, None, |_| None).to_string(), "x ≤ 150: not measured");
    }
}
