//! Reports as one page that needs nothing but itself: no script, no foreign file.

use std::fmt::Write;

use serde_json::Value;

use crate::report::Report;
use crate::svg::{Chart, Line, Scale, Segment, escaped, short};

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b1f24;--faint:#6b7280;--line:#d8dce2;--paper:#fff}\
@media(prefers-color-scheme:dark){:root{--ink:#e6e8eb;--faint:#9aa3ae;--line:#363c45;--paper:#14171b}}\
body{font:15px/1.5 system-ui,sans-serif;max-width:1440px;margin:2rem auto;padding:0 1rem;color:var(--ink);\
background:var(--paper)}\
h2{margin-top:3rem;font-size:1.15rem;border-top:1px solid var(--line);padding-top:1.2rem}\
table{border-collapse:collapse;font-size:13px}td,th{padding:.15rem .8rem;text-align:right;\
border-bottom:1px solid var(--line)}td:first-child,th:first-child{text-align:left;padding-left:0}\
.scroll{overflow-x:auto}.charts{display:flex;flex-wrap:wrap;gap:1rem}svg{flex:1 1 440px;max-width:720px}\
svg text{font:12px system-ui,sans-serif;fill:var(--faint)}\
.title{font-weight:600}.x{text-anchor:middle}.y{text-anchor:end}.grid{stroke:var(--line);stroke-width:1}\
code{font-size:12px;color:var(--faint);overflow-wrap:anywhere}.bad{color:#c2410c;font-weight:600}";

/// One page with a section for each report, under its name.
pub fn page(title: &str, reports: &[(&str, &Report)]) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{0}</title>\
         <style>{STYLE}</style></head>\n<body><h1>{0}</h1>\n",
        escaped(title)
    );
    if let Some((_, report)) = reports.first() {
        machine(report, &mut out);
    }
    for (name, report) in reports {
        section(name, report, &mut out);
    }
    out.push_str("</body></html>\n");
    out
}

fn machine(report: &Report, out: &mut String) {
    let host = &report.host;
    let guest = if host.virtual_machine { ", virtual machine" } else { "" };
    let gib = host.memory_bytes as f64 / f64::from(1 << 30);
    let facts = [
        ("machine", format!("{} cores, {}{guest}; {gib:.1} GiB", host.cores, host.cpu)),
        ("kernel", format!("Linux {}", host.kernel)),
        ("revision", host.revision.clone()),
        (
            "limits",
            format!(
                "{} descriptors, somaxconn {}, ports {}, tcp_mem {} pages, {}",
                host.descriptors_max,
                host.somaxconn,
                host.ephemeral_ports,
                host.tcp_mem_pages,
                host.congestion_control
            ),
        ),
    ];
    out.push_str("<table>\n");
    for (name, fact) in facts {
        let _ =
            writeln!(out, "<tr><th>{name}</th><td style=\"text-align:left\">{}</td></tr>", escaped(&fact));
    }
    out.push_str("</table>\n");
}

fn section(name: &str, report: &Report, out: &mut String) {
    let _ = writeln!(out, "<h2>{}</h2>\n<p>{}</p>", escaped(name), escaped(&report.outcome));
    let _ = writeln!(out, "<p><code>{}</code></p>", escaped(&report.host.command));
    let share = report.disturbance * 100.0;
    let (class, verdict) = match report.undisturbed() {
        true => ("good", format!("undisturbed: others took at most {share:.1} % of a core")),
        false => {
            ("bad", format!("disturbed: others took up to {share:.0} % of a core; the figures do not count"))
        }
    };
    let _ = writeln!(out, "<p class=\"{class}\">{verdict}</p>");
    for fault in &report.faults {
        let _ = writeln!(out, "<p class=\"bad\">{}</p>", escaped(fault));
    }
    charts(report, out);
    figures(report, out);
    out.push_str("<ul>\n");
    for ratio in &report.ratios {
        let spread = ratio.spread;
        let _ = writeln!(
            out,
            "<li>{} / {}, {}: {:.3} (quartiles {:.3} to {:.3}, {} pairs)</li>",
            escaped(&ratio.of),
            escaped(&ratio.to),
            ratio.what,
            spread.median,
            spread.lower_quartile,
            spread.upper_quartile,
            spread.count
        );
    }
    out.push_str("</ul>\n");
}

fn charts(report: &Report, out: &mut String) {
    let line = |name: &str, segments: Vec<Segment>| {
        let drawn = segments.iter().any(|segment| !segment.is_empty());
        drawn.then(|| Line { name: name.to_owned(), segments })
    };
    let curves = || report.curves.iter();
    let latency: Vec<Line> = curves().filter_map(|c| line(&c.name, vec![c.latency.clone()])).collect();
    let rate: Vec<Line> = curves().filter_map(|c| line(&c.name, c.rate.clone())).collect();
    out.push_str("<div class=\"charts\">\n");
    if !latency.is_empty() {
        let chart = Chart {
            title: "latency",
            x_label: "percentile",
            y_label: "milliseconds",
            x: Scale::Percentile,
            y: Scale::Logarithmic,
            lines: latency,
        };
        out.push_str(&chart.svg());
    }
    if !rate.is_empty() {
        let chart = Chart {
            title: "over time",
            x_label: "seconds",
            y_label: "per second",
            x: Scale::Linear,
            y: Scale::Linear,
            lines: rate,
        };
        out.push_str(&chart.svg());
    }
    out.push_str("</div>\n");
}

/// Every number of every row: figures down, contenders across.
fn figures(report: &Report, out: &mut String) {
    let flat: Vec<Vec<(String, String)>> = report.rows.iter().map(flattened).collect();
    let Some(first) = flat.first() else { return };
    out.push_str("<details><summary>all figures</summary><div class=\"scroll\"><table>\n");
    for (index, (figure, _)) in first.iter().enumerate() {
        let _ = write!(out, "<tr><th>{}</th>", escaped(&figure.replace('_', " ")));
        for row in &flat {
            let value = row.get(index).filter(|(name, _)| name == figure).map_or("", |(_, value)| value);
            let _ = write!(out, "<td>{}</td>", escaped(value));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table></div></details>\n");
}

fn flattened(row: &Value) -> Vec<(String, String)> {
    let mut flat = Vec::new();
    flatten(String::new(), row, &mut flat);
    flat.sort_by_key(|(name, _)| name != "name");
    flat
}

fn flatten(name: String, value: &Value, flat: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                let name = if name.is_empty() { field.clone() } else { format!("{name}, {field}") };
                flatten(name, value, flat);
            }
        }
        Value::Number(number) => flat.push((name, number.as_f64().map_or_else(String::new, short))),
        Value::String(text) => flat.push((name, text.clone())),
        Value::Null => flat.push((name, "–".to_owned())),
        Value::Bool(_) | Value::Array(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::host::Host;
    use crate::report::Curve;

    fn report() -> Report {
        let rows = [json!({"name": "broker", "latency": {"p99_ms": 1.5}, "user": null})];
        let mut report = Report::new("fanout", Host::read(), &json!({}), &rows).expect("values");
        report.outcome = "1,000 <subscribers>".to_owned();
        report.curves.push(Curve {
            name: "broker".to_owned(),
            latency: vec![(0.0, 0.5), (99.0, 1.5)],
            rate: vec![vec![(0.05, 1e5), (0.15, 2e5)]],
        });
        report
    }

    #[test]
    fn a_page_needs_nothing_but_itself() {
        let page = page("a & b", &[("run", &report())]);
        for part in
            ["<title>a &amp; b</title>", "1,000 &lt;subscribers&gt;", "latency, p99 ms", "1.5", "<svg "]
        {
            assert!(page.contains(part), "{part} is missing in {page}");
        }
        for foreign in ["<script", "src=", "href=", "url(", "http:", "https:"] {
            let outside_facts = page.replace(&escaped(&report().host.command), "");
            assert!(!outside_facts.contains(foreign), "{foreign}");
        }
        assert_eq!(page.matches("<svg ").count(), page.matches("</svg>").count());
    }

    #[test]
    fn a_disturbed_run_and_a_faulty_one_say_so() {
        let mut report = report();
        assert!(!page("p", &[("run", &report)]).contains("class=\"bad\""));
        report.disturbance = 0.3;
        report.faults.push("3 gaps".to_owned());
        let page = page("p", &[("run", &report)]);
        assert!(page.contains("up to 30 % of a core") && page.contains("3 gaps"), "{page}");
    }
}
