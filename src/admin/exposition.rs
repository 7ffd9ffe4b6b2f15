//! The text that Prometheus reads.
//!
//! Source: <https://prometheus.io/docs/instrumenting/exposition_formats/>, text format 0.0.4.

use std::fmt::Write as _;

use crate::metrics::{Kind, Series, Snapshot};

pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All figures of all shards, and those of the process as a whole. `shards`: in the order of their ids.
///
/// Every sample of a shard has a label `shard`; nothing is added up here, because sums over labels are what the reader is for
/// and a sum beside its parts would be counted twice.
pub fn render(shards: &[Snapshot], whole: &[Series], version: &str) -> String {
    let mut text = String::with_capacity(4_096 + shards.len() * 4_096);
    introduce("polycast_build_info", Kind::Gauge, "The version that runs; always 1.", &mut text);
    sample("polycast_build_info", &[("version", version)], "", 1, &mut text);
    introduce("polycast_shards", Kind::Gauge, "Threads that serve connections.", &mut text);
    sample("polycast_shards", &[], "", shards.len() as u64, &mut text);

    for (index, series) in whole.iter().enumerate() {
        if index == 0 || whole[index - 1].name != series.name {
            introduce(series.name, series.kind, series.help, &mut text);
        }
        sample(series.name, &[], series.labels, series.value, &mut text);
    }

    let figures: Vec<Vec<Series>> = shards.iter().map(Snapshot::series).collect();
    let Some(first) = figures.first() else { return text };
    for (index, series) in first.iter().enumerate() {
        // The samples of one name must stand together, whatever the order of the figures.
        if first[..index].iter().any(|before| before.name == series.name) {
            continue;
        }
        introduce(series.name, series.kind, series.help, &mut text);
        for (shard, figures) in figures.iter().enumerate() {
            for same in figures.iter().filter(|figure| figure.name == series.name) {
                sample(same.name, &[("shard", &shard.to_string())], same.labels, same.value, &mut text);
            }
        }
    }
    text
}

fn introduce(name: &str, kind: Kind, help: &str, text: &mut String) {
    let kind = match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
    };
    text.push_str("# HELP ");
    text.push_str(name);
    text.push(' ');
    escape(help.trim(), false, text);
    writeln!(text, "\n# TYPE {name} {kind}").expect("a String takes all");
}

/// `more`: labels as the exposition format writes them, without braces.
fn sample(name: &str, labels: &[(&str, &str)], more: &str, value: u64, text: &mut String) {
    text.push_str(name);
    let mut before = '{';
    for (label, value) in labels {
        text.push(before);
        text.push_str(label);
        text.push_str("=\"");
        escape(value, true, text);
        text.push('"');
        before = ',';
    }
    if !more.is_empty() {
        text.push(before);
        text.push_str(more);
        before = ',';
    }
    if before == ',' {
        text.push('}');
    }
    writeln!(text, " {value}").expect("a String takes all");
}

fn escape(raw: &str, is_label: bool, text: &mut String) {
    for character in raw.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '"' if is_label => text.push_str("\\\""),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn two_shards() -> String {
        let first = Snapshot { connections: 5, publishes_api: 7, ..Snapshot::default() };
        let second = Snapshot { connections: 6, publishes_client: u64::MAX, ..Snapshot::default() };
        let whole = |labels, value| Series {
            name: "polycast_things_total",
            labels,
            kind: Kind::Counter,
            help: " Things.",
            value,
        };
        render(&[first, second], &[whole("of=\"one\"", 1), whole("of=\"other\"", 2)], "0.1.0")
    }

    #[test]
    fn samples_carry_shard_and_own_labels() {
        let text = two_shards();
        let want = [
            "polycast_build_info{version=\"0.1.0\"} 1\n",
            "polycast_shards 2\n",
            "polycast_things_total{of=\"one\"} 1\npolycast_things_total{of=\"other\"} 2\n",
            "polycast_connections{shard=\"0\"} 5\n",
            "polycast_connections{shard=\"1\"} 6\n",
            "polycast_publishes_total{shard=\"0\",entrance=\"api\"} 7\n",
            "polycast_publishes_total{shard=\"1\",entrance=\"client\"} 18446744073709551615\n",
            "# HELP polycast_connections Open sockets, whatever they speak.\n# TYPE polycast_connections gauge\n",
            "# TYPE polycast_publishes_total counter\n",
        ];
        for line in want {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    /// What a parser of the format demands: one introduction per name, its samples right behind it, no sample twice.
    #[test]
    fn every_name_is_introduced_once_and_stays_together() {
        let text = two_shards();
        assert!(text.ends_with('\n') && !text.contains("\n\n"));
        let (mut names, mut samples) = (BTreeSet::new(), BTreeSet::new());
        let mut current = "";
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a help text");
                assert!(names.insert(name) && !help.is_empty(), "{line}");
                let kind = lines.next().and_then(|line| line.strip_prefix("# TYPE "));
                let kind = kind.and_then(|rest| rest.strip_prefix(name)).expect("a type behind the help");
                assert!([" counter", " gauge"].contains(&kind), "{line}");
                assert_eq!(kind == " counter", name.ends_with("_total"), "{name}");
                current = name;
                continue;
            }
            let (series, value) = line.rsplit_once(' ').expect("a sample");
            assert!(value.parse::<u64>().is_ok(), "{line}");
            assert_eq!(series.split('{').next(), Some(current), "{line}");
            assert!(samples.insert(series), "twice: {line}");
        }
        let figures = Snapshot::default().series().len();
        assert_eq!(samples.len(), 2 + 2 + 2 * figures);
    }

    #[test]
    fn odd_texts_are_escaped() {
        let mut text = String::new();
        sample("a", &[("b", "x\\\"\ny")], "", 1, &mut text);
        introduce("a", Kind::Gauge, " c \\ \"d\"\ne ", &mut text);
        assert_eq!(text, "a{b=\"x\\\\\\\"\\ny\"} 1\n# HELP a c \\\\ \"d\"\\ne\n# TYPE a gauge\n");
    }
}
