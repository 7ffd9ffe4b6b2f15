//! Line charts as SVG, to be put into a page as they are.

use std::fmt::Write;

const WIDTH: f64 = 680.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 46.0;

/// Told apart by people who do not see every colour (Okabe and Ito); repeated after the last.
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

pub struct Chart<'a> {
    pub title: &'a str,
    pub x_label: &'a str,
    pub y_label: &'a str,
    pub x: Scale,
    pub y: Scale,
    pub lines: Vec<Line>,
}

/// Points joined by a line.
pub type Segment = Vec<(f64, f64)>;

/// One colour; its segments are not joined.
pub struct Line {
    pub name: String,
    pub segments: Vec<Segment>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// From zero.
    Linear,
    Logarithmic,
    /// 0, 90, 99, 99.9 … at equal distances.
    Percentile,
}

impl Scale {
    /// Where a value lies, before it is fitted to the chart's size.
    fn place(self, value: f64) -> f64 {
        match self {
            Scale::Linear => value,
            Scale::Logarithmic => value.max(1e-9).log10(),
            Scale::Percentile => -(1.0 - value.min(99.999_99) / 100.0).log10(),
        }
    }

    /// From the first mark to the last: all of `values` lies between.
    fn marks(self, values: impl Iterator<Item = f64>) -> Vec<f64> {
        let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
        if low > high {
            return vec![0.0, 1.0];
        }
        match self {
            Scale::Linear => {
                let step = round_step(high / 5.0);
                (0..=(high / step).ceil() as u32).map(|n| f64::from(n) * step).collect()
            }
            Scale::Logarithmic => {
                let (low, high) = (self.place(low).floor() as i32, self.place(high).ceil() as i32);
                (low..=high.max(low + 1)).map(|power| 10f64.powi(power)).collect()
            }
            Scale::Percentile => {
                let nines = self.place(high).ceil().clamp(1.0, 7.0) as i32;
                (0..=nines).map(|n| 100.0 - 100.0 * 10f64.powi(-n)).collect()
            }
        }
    }
}

/// 1, 2 or 5 times a power of ten, at least `value`.
fn round_step(value: f64) -> f64 {
    let power = 10f64.powf(value.max(1e-9).log10().floor());
    [1.0, 2.0, 5.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|step| *step >= value)
        .unwrap_or(10.0 * power)
}

/// What text may contain where markup is meant.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// 12,000 or 0.05: as short as it can be said.
pub fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        1e6.. => format!("{}M", trimmed(value / 1e6, 2)),
        1e4.. => format!("{}k", trimmed(value / 1e3, 1)),
        10.0.. => trimmed(value, 1),
        _ => trimmed(value, 3),
    }
}

fn trimmed(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

impl Chart<'_> {
    pub fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| &line.segments).flatten();
        let x_marks = self.x.marks(points().map(|point| point.0));
        let y_marks = self.y.marks(points().map(|point| point.1));
        let x = fit(self.x, &x_marks, LEFT, WIDTH - RIGHT);
        let y = fit(self.y, &y_marks, HEIGHT - BOTTOM, TOP);
        let mut out = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{0}\">\n\
             <text x=\"{LEFT}\" y=\"16\" class=\"title\">{0}</text>\n",
            escaped(self.title)
        );
        self.axes(&x_marks, &y_marks, &x, &y, &mut out);
        for (index, line) in self.lines.iter().enumerate() {
            for segment in &line.segments {
                draw(segment, colour(index), &x, &y, &mut out);
            }
        }
        self.legend(&mut out);
        out.push_str("</svg>\n");
        out
    }

    fn axes(
        &self,
        x_marks: &[f64],
        y_marks: &[f64],
        x: &impl Fn(f64) -> f64,
        y: &impl Fn(f64) -> f64,
        out: &mut String,
    ) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for &mark in x_marks {
            let (at, text) = (x(mark), short(mark));
            let text = if self.x == Scale::Percentile { trimmed(mark, 5) } else { text };
            let _ = writeln!(out, "<path d=\"M{at:.1} {TOP}V{bottom}\" class=\"grid\"/>");
            let _ = writeln!(out, "<text x=\"{at:.1}\" y=\"{:.1}\" class=\"x\">{text}</text>", bottom + 16.0);
        }
        for &mark in y_marks {
            let (at, text) = (y(mark), short(mark));
            let _ = writeln!(out, "<path d=\"M{LEFT} {at:.1}H{right}\" class=\"grid\"/>");
            let _ = writeln!(
                out,
                "<text x=\"{:.1}\" y=\"{:.1}\" class=\"y\">{text}</text>",
                LEFT - 6.0,
                at + 4.0
            );
        }
        let middle = (LEFT + right) / 2.0;
        let _ = writeln!(
            out,
            "<text x=\"{middle}\" y=\"{:.1}\" class=\"x\">{}</text>",
            HEIGHT - 8.0,
            escaped(self.x_label)
        );
        let middle = (TOP + bottom) / 2.0;
        let _ = writeln!(
            out,
            "<text transform=\"translate(14 {middle}) rotate(-90)\" class=\"x\">{}</text>",
            escaped(self.y_label)
        );
    }

    fn legend(&self, out: &mut String) {
        let mut at = WIDTH - RIGHT;
        for (index, line) in self.lines.iter().enumerate().rev() {
            let (colour, name) = (colour(index), escaped(&line.name));
            let _ = writeln!(
                out,
                "<text x=\"{at:.1}\" y=\"16\" class=\"y\" style=\"fill:{colour}\">{name}</text>"
            );
            at -= 7.0 * line.name.chars().count() as f64 + 14.0;
        }
    }
}

fn colour(index: usize) -> &'static str {
    COLOURS[index % COLOURS.len()]
}

/// From a value to its place between `from` (first mark) and `to` (last mark).
fn fit(scale: Scale, marks: &[f64], from: f64, to: f64) -> impl Fn(f64) -> f64 {
    let first = scale.place(marks.first().copied().unwrap_or(0.0));
    let last = scale.place(marks.last().copied().unwrap_or(1.0));
    let span = if last > first { last - first } else { 1.0 };
    move |value| from + (to - from) * ((scale.place(value) - first) / span).clamp(0.0, 1.0)
}

fn draw(
    segment: &[(f64, f64)],
    colour: &str,
    x: &impl Fn(f64) -> f64,
    y: &impl Fn(f64) -> f64,
    out: &mut String,
) {
    if let [point] = segment {
        let (x, y) = (x(point.0), y(point.1));
        let _ = writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"1.5\" fill=\"{colour}\"/>");
        return;
    }
    let _ = write!(out, "<path fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\" d=\"");
    for (point, step) in segment.iter().zip(std::iter::once('M').chain(std::iter::repeat('L'))) {
        let _ = write!(out, "{step}{:.1} {:.1}", x(point.0), y(point.1));
    }
    out.push_str("\"/>\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_enclose_the_values_at_round_numbers() {
        let table: [(Scale, &[f64], &[f64]); 5] = [
            (Scale::Linear, &[3.0, 9.0], &[0.0, 2.0, 4.0, 6.0, 8.0, 10.0]),
            (Scale::Linear, &[170_000.0], &[0.0, 50_000.0, 100_000.0, 150_000.0, 200_000.0]),
            (Scale::Logarithmic, &[0.03, 5.0], &[0.01, 0.1, 1.0, 10.0]),
            (Scale::Percentile, &[0.0, 99.0], &[0.0, 90.0, 99.0]),
            (Scale::Linear, &[], &[0.0, 1.0]),
        ];
        for (scale, values, want) in table {
            let marks = scale.marks(values.iter().copied());
            let close = marks.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6);
            assert!(close && marks.len() == want.len(), "{scale:?} {values:?}: {marks:?}");
        }
    }

    #[test]
    fn a_chart_draws_every_point_inside_its_frame() {
        let line = |name: &str, segments| Line { name: name.to_owned(), segments };
        let chart = Chart {
            title: "a < b",
            x_label: "percentile",
            y_label: "ms",
            x: Scale::Percentile,
            y: Scale::Logarithmic,
            lines: vec![
                line("one", vec![vec![(0.0, 0.1), (50.0, 0.2), (99.9, 7.0), (100.0, 70.0)]]),
                line("two & more", vec![vec![(50.0, 1.0)], Vec::new()]),
            ],
        };
        let svg = chart.svg();
        assert!(svg.contains("a &lt; b") && svg.contains("two &amp; more"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert!(svg.contains("M72.0 ") && svg.contains("<circle"), "{svg}");
    }

    #[test]
    fn numbers_are_short() {
        let table = [
            (0.0, "0"),
            (0.05, "0.05"),
            (12.25, "12.2"),
            (9_999.0, "9999"),
            (15_000.0, "15k"),
            (2.4e6, "2.4M"),
        ];
        for (value, want) in table {
            assert_eq!(short(value), want);
        }
    }
}
