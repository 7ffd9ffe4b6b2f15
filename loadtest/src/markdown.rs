//! Results as a table for a README, and its place there.

use std::fmt::Write;

use crate::scenario::Result;

/// Machine, one line per run with its bars, and what was disturbed.
pub fn table(results: &[Result]) -> String {
    let mut out = String::new();
    if let Some(host) = results.iter().find_map(|result| result.report.as_ref()).map(|report| &report.host) {
        let guest = if host.virtual_machine { " (virtual machine)" } else { "" };
        let gib = host.memory_bytes as f64 / f64::from(1 << 30);
        let _ = writeln!(
            out,
            "{} cores of {}{guest}, {gib:.0} GiB; Linux {}; {}; revision `{}`.\n",
            host.cores, host.cpu, host.kernel, host.congestion_control, host.revision
        );
    }
    out.push_str("| load | what came out | bars |\n| --- | --- | --- |\n");
    for result in results {
        let outcome = match (&result.report, &result.error) {
            (Some(report), _) if report.faults.is_empty() => report.outcome.clone(),
            (Some(report), _) => format!("{}; **{}**", report.outcome, report.faults.join("; ")),
            (None, error) => format!("**not made: {}**", error.as_deref().unwrap_or_default()),
        };
        let verdicts = result.verdicts.iter().map(|verdict| {
            let met = verdict.missed_by.is_some_and(|missed| missed <= 0.0);
            if met { verdict.to_string() } else { format!("**{verdict}**") }
        });
        let bars = verdicts.collect::<Vec<_>>().join("<br>");
        let _ = writeln!(out, "| {} | {} | {} |", cell(&result.name), cell(&outcome), cell(&bars));
    }
    let disturbed: Vec<&str> = results
        .iter()
        .filter(|result| result.report.as_ref().is_some_and(|report| !report.undisturbed()))
        .map(|result| result.name.as_str())
        .collect();
    match disturbed.as_slice() {
        [] => out
            .push_str("\nUndisturbed: nobody else took more than 5 % of a core during any of these runs.\n"),
        names => {
            let _ = writeln!(
                out,
                "\n**Disturbed by others, so that the figures do not count: {}.**",
                names.join("; ")
            );
        }
    }
    out
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// `text` with `table` between its markers, `<!-- loadtest/NAME: begin -->` and `… end -->`. `None`: they are not
/// there, in this order.
pub fn replaced(text: &str, name: &str, table: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- loadtest/{name}: begin -->"), format!("<!-- loadtest/{name}: end -->"));
    let (before, rest) = text.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n{table}{end}{after}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bars::{Limit, Verdict};
    use crate::host::Host;
    use crate::report::Report;

    const BEGIN: &str = "<!-- loadtest/report: begin -->";
    const END: &str = "<!-- loadtest/report: end -->";

    fn verdict(figure: f64) -> Verdict {
        Verdict {
            what: "CPU".to_owned(),
            unit: "ns".to_owned(),
            limit: Some(Limit::AtMost(100.0)),
            figure: Some(figure),
            missed_by: Some(figure / 100.0 - 1.0),
            disturbed: false,
        }
    }

    #[test]
    fn a_missed_bar_stands_out_and_a_run_that_failed_is_there() {
        let rows = [json!({"name": "broker"})];
        let mut report = Report::new("fanout", Host::read(), &json!({}), &rows).expect("values");
        report.outcome = "10 | 20".to_owned();
        let results = [
            Result {
                name: "a".into(),
                report: Some(report),
                error: None,
                verdicts: vec![verdict(90.0), verdict(110.0)],
            },
            Result {
                name: "b".into(),
                report: None,
                error: Some("no such file".into()),
                verdicts: Vec::new(),
            },
        ];
        let table = table(&results);
        let want = "| a | 10 \\| 20 | CPU ≤ 100 ns: 90 ns, met<br>**CPU ≤ 100 ns: 110 ns, missed by 10 %** |";
        assert!(table.contains(want), "{table}");
        assert!(table.contains("| b | **not made: no such file** |  |"), "{table}");
        assert!(table.contains("Undisturbed"), "{table}");
    }

    #[test]
    fn only_what_lies_between_the_markers_changes() {
        let text = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let once = replaced(&text, "report", "new\n").expect("markers");
        assert_eq!(once, format!("before\n{BEGIN}\nnew\n{END}\nafter\n"));
        assert_eq!(replaced(&once, "report", "new\n"), Some(once));
        assert_eq!(replaced("no markers", "report", "new"), None);
        assert_eq!(replaced(&format!("{END} {BEGIN}"), "report", "new"), None);
    }
}
