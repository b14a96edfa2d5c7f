//! A plot as inline SVG: lines over the seconds of a run, bands for its phases, values under the pointer.

use std::fmt::Write;

use super::escape::escaped;

pub(super) const WIDTH: f64 = 720.0;
pub(super) const HEIGHT: f64 = 240.0;
pub(super) const LEFT: f64 = 68.0;
pub(super) const RIGHT: f64 = 10.0;
pub(super) const TOP: f64 = 22.0;
pub(super) const BOTTOM: f64 = 28.0;

/// Columns of a plot: more seconds than this share columns.
const COLUMNS: usize = 240;

/// An axis may be logarithmic where the largest is so many times the smallest.
const LOG_FROM: f64 = 40.0;

/// A line of a plot.
pub(super) struct Series {
    pub(super) name: String,
    /// Which of the colours of the page.
    pub(super) colour: usize,
    /// By second; `None`: nothing was there.
    pub(super) values: Vec<Option<f64>>,
}

/// A plot.
pub(super) struct Plot<'a> {
    pub(super) title: &'a str,
    pub(super) series: Vec<Series>,
    /// The end of each second, since the run began.
    pub(super) seconds: &'a [f64],
    /// Phases: name, begin and end.
    pub(super) phases: &'a [(&'a str, f64, f64)],
    pub(super) show: fn(f64) -> String,
    pub(super) scale: Scale,
}

/// What an axis is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// From zero on.
    Linear,
    /// Logarithmic, if values differ by orders of magnitude.
    Free,
    /// The same for bytes, whose round numbers are powers of two.
    Bytes,
}

/// The values of an axis and where they stand on it, 0 to 1.
pub(super) struct Axis {
    low: f64,
    high: f64,
    is_log: bool,
    pub(super) ticks: Vec<f64>,
}

impl Axis {
    pub(super) fn of(values: impl Iterator<Item = f64> + Clone, scale: Scale) -> Self {
        let high = values.clone().fold(0.0, f64::max);
        let low = values.filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min);
        if scale != Scale::Linear && low.is_finite() && high > low * LOG_FROM {
            let base: f64 = if scale == Scale::Bytes { 16.0 } else { 10.0 };
            let (first, last) = (low.log(base).floor() as i32, high.log(base).ceil() as i32);
            let ticks: Vec<f64> = (first..=last).map(|power| base.powi(power)).collect();
            return Self { low: base.powi(first), high: base.powi(last), is_log: true, ticks };
        }
        let unit =
            if scale == Scale::Bytes { 1_024_f64.powi(high.max(1.0).log(1_024.0) as i32) } else { 1.0 };
        let step = step(high / unit / 4.0) * unit;
        let steps = (high / step).ceil().max(1.0);
        let ticks = (0..=steps as u32).map(|tick| f64::from(tick) * step).collect();
        Self { low: 0.0, high: steps * step, is_log: false, ticks }
    }

    pub(super) fn place(&self, value: f64) -> f64 {
        let part = if self.is_log {
            (value.max(self.low) / self.low).log10() / (self.high / self.low).log10()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        part.clamp(0.0, 1.0)
    }
}

/// 1, 2 or 5 times a power of ten, at least so large.
fn step(least: f64) -> f64 {
    if least <= 0.0 || !least.is_finite() {
        return 1.0;
    }
    let power = 10_f64.powf(least.log10().floor());
    let digit = [1.0, 2.0, 5.0].into_iter().find(|digit| digit * power >= least);
    digit.unwrap_or(10.0) * power
}

impl Plot<'_> {
    /// The plot as SVG in a figure.
    pub(super) fn svg(&self) -> String {
        let title = escaped(self.title);
        let end = self.seconds.last().copied().unwrap_or(1.0).max(1e-3);
        let axis =
            Axis::of(self.series.iter().flat_map(|line| line.values.iter().flatten().copied()), self.scale);
        let x = |at: f64| LEFT + at / end * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| HEIGHT - BOTTOM - axis.place(value) * (HEIGHT - TOP - BOTTOM);
        let mut svg = format!("<figure><figcaption>{title}{}</figcaption>", self.legend(axis.is_log));
        // Writing to a String does not fail.
        _ = write!(svg, "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">");
        for (at, (name, from, to)) in self.phases.iter().enumerate() {
            let (from, to) = (x(*from), x(to.min(end)));
            let width = (to - from).max(0.0);
            let class = if at % 2 == 0 { "band" } else { "band odd" };
            _ = write!(
                svg,
                "<rect class=\"{class}\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{:.1}\"/>",
                HEIGHT - TOP - BOTTOM
            );
            if width > 7.0 * name.len() as f64 {
                _ = write!(
                    svg,
                    "<text class=\"phase\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                    from + 4.0,
                    TOP - 6.0,
                    escaped(name)
                );
            }
        }
        for tick in &axis.ticks {
            let at = y(*tick);
            _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>",
                WIDTH - RIGHT
            );
            _ = write!(
                svg,
                "<text class=\"tick\" text-anchor=\"end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                LEFT - 6.0,
                at + 4.0,
                escaped(&(self.show)(*tick))
            );
        }
        let every = step(end / 8.0);
        for tick in (0..=(end / every) as u32).map(|tick| f64::from(tick) * every) {
            _ = write!(
                svg,
                "<text class=\"tick\" text-anchor=\"middle\" x=\"{:.1}\" y=\"{:.1}\">{tick} s</text>",
                x(tick),
                HEIGHT - 8.0
            );
        }
        let columns = self.columns();
        for line in &self.series {
            self.write_line(&mut svg, line, &columns, &x, &y);
        }
        self.write_values(&mut svg, &columns, &x);
        svg + "</svg></figure>"
    }

    fn legend(&self, is_log: bool) -> String {
        let names = self
            .series
            .iter()
            .map(|line| format!("<span class=\"key c{}\">{}</span>", line.colour, escaped(&line.name)));
        let log = if is_log { "<span class=\"dim\">logarithmic</span>" } else { "" };
        format!("<span class=\"keys\">{}{log}</span>", names.collect::<String>())
    }

    /// Ranges of seconds that share a column.
    fn columns(&self) -> Vec<std::ops::Range<usize>> {
        let each = self.seconds.len().div_ceil(COLUMNS).max(1);
        (0..self.seconds.len())
            .step_by(each)
            .map(|from| from..(from + each).min(self.seconds.len()))
            .collect()
    }

    fn write_line(
        &self,
        svg: &mut String,
        line: &Series,
        columns: &[std::ops::Range<usize>],
        x: &dyn Fn(f64) -> f64,
        y: &dyn Fn(f64) -> f64,
    ) {
        let mut path = String::new();
        let mut is_down = false;
        let mut alone = None;
        for column in columns {
            let Some(value) = most(line, column) else {
                is_down = false;
                continue;
            };
            let (x, y) = (x(self.seconds[column.end - 1]), y(value));
            _ = write!(path, "{}{x:.1} {y:.1}", if is_down { "L" } else { "M" });
            alone = if path.len() < 16 { Some((x, y)) } else { None };
            is_down = true;
        }
        if let Some((x, y)) = alone {
            _ = write!(svg, "<circle class=\"dot c{}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>", line.colour);
        }
        _ = write!(svg, "<path class=\"line c{}\" d=\"{path}\"/>", line.colour);
    }

    /// What a pointer that rests on a column is shown: a title, which needs no script.
    fn write_values(&self, svg: &mut String, columns: &[std::ops::Range<usize>], x: &dyn Fn(f64) -> f64) {
        let mut from = LEFT;
        for column in columns {
            let at = self.seconds[column.end - 1];
            let to = x(at);
            let values = self
                .series
                .iter()
                .filter_map(|line| Some(format!("\n{}: {}", line.name, (self.show)(most(line, column)?))));
            let text = format!("{at:.0} s{}", values.collect::<String>());
            _ = write!(
                svg,
                "<rect class=\"hit\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\"><title>{}</title></rect>",
                (to - from).max(0.5),
                HEIGHT - TOP - BOTTOM,
                escaped(&text)
            );
            from = to;
        }
    }
}

/// The largest value in a column: peaks are what people look for.
fn most(line: &Series, column: &std::ops::Range<usize>) -> Option<f64> {
    line.values[column.clone()].iter().flatten().copied().reduce(f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(values: Vec<Option<f64>>, scale: Scale) -> String {
        let seconds: Vec<f64> = (1..=values.len()).map(|second| second as f64).collect();
        let series = vec![Series { name: "<b>".into(), colour: 0, values }];
        let phases = [("connecting", 0.0, 2.0), ("publishing", 2.0, 4.0)];
        let plot = Plot {
            title: "a & b",
            series,
            seconds: &seconds,
            phases: &phases,
            show: |value| format!("{value}"),
            scale,
        };
        plot.svg()
    }

    #[test]
    fn steps_are_round_and_large_enough() {
        for (least, wanted) in
            [(0.3, 0.5), (1.0, 1.0), (1.1, 2.0), (230.0, 500.0), (6.0, 10.0), (0.0, 1.0), (f64::NAN, 1.0)]
        {
            assert!((step(least) - wanted).abs() < 1e-9, "{least}");
        }
    }

    #[test]
    fn axes_of_bytes_have_round_numbers_of_bytes() {
        let mib = f64::from(1 << 20);
        let axis = |values: &[f64]| Axis::of(values.iter().copied(), Scale::Bytes);
        assert_eq!(axis(&[3.0 * mib, 9.0 * mib]).ticks, [0.0, 5.0 * mib, 10.0 * mib]);
        assert_eq!(axis(&[3.0 * mib, 900.0 * mib]).ticks, [mib, 16.0 * mib, 256.0 * mib, 4_096.0 * mib]);
    }

    #[test]
    fn a_hole_breaks_the_line_and_names_are_escaped() {
        let svg = plot(vec![Some(1.0), Some(2.0), None, Some(3.0), Some(4.0)], Scale::Linear);
        let path = svg.split("d=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!(path.matches('M').count(), 2, "{path}");
        assert!(svg.contains("&lt;b&gt;") && !svg.contains("<b>") && svg.contains("a &amp; b"));
        assert!(svg.contains("5 s\n&lt;b&gt;: 4"), "the value under the pointer");
    }

    #[test]
    fn empty_and_long_runs_are_plotted() {
        assert!(plot(Vec::new(), Scale::Free).ends_with("</svg></figure>"));
        assert!(plot(vec![Some(0.0)], Scale::Free).contains("<circle"), "a line of one point is a dot");
        let long = plot((0..100_000).map(|second| Some(f64::from(second))).collect(), Scale::Free);
        assert!(long.matches("<title>").count() <= COLUMNS && long.len() < 100_000, "{}", long.len());
        assert!(long.contains("logarithmic") && !long.contains("NaN") && !long.contains("inf"));
    }
}
