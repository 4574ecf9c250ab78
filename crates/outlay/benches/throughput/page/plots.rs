//! The pictures: SVG without a ground, in colours that stand out from a light page and from a dark one.

use plotters::coord::Shift;
use plotters::coord::combinators::BindKeyPoints;
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::figures::{Run, Turns};
use super::tables::distinct;

/// Text and axes: as far from white as from black.
const INK: RGBColor = RGBColor(118, 124, 133);
const FONT: &str = "system-ui, -apple-system, 'Segoe UI', sans-serif";
const TEXT: i32 = 13;
const HEADING: i32 = 14;
const HEADING_HEIGHT: i32 = 26;
const LEGEND_HEIGHT: i32 = 34;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Points = Vec<(f64, f64)>;
/// What is written at a tick.
type Label<'a> = &'a dyn Fn(&f64) -> String;
/// What a point's height is made of.
type Micros = fn(&Turns) -> u64;

/// One line of a picture.
struct Line {
    name: String,
    points: Points,
}

/// Rate by clients: one by one, and in batches.
pub(crate) fn clients(run: &Run) -> String {
    let kinds = distinct(run.closed.iter().map(|turns| turns.kind.clone()));
    let kinds: Vec<_> = kinds.into_iter().filter(|kind| kind == "record" || kind.starts_with("record in")).collect();
    let panels: Vec<_> = kinds
        .iter()
        .rev()
        .map(|kind| {
            let of_kind = |turns: &&Turns| turns.kind == *kind;
            let lines = lines(run.closed.iter().filter(of_kind), |turns| (count(turns.clients), turns.median));
            (format!("{kind}: operations a second, by clients"), lines)
        })
        .collect();
    panels_side_by_side((860, 400), &panels, |points| {
        let clients = distinct(points.iter().map(|point| point.0));
        (clients, |clients: &f64| format!("{clients:.0}"))
    })
}

/// Latency at set rates.
pub(crate) fn open(run: &Run) -> String {
    let of: [(&str, Micros); 3] =
        [("p50", |turns| turns.p50_micros), ("p99", |turns| turns.p99_micros), ("p99.9", |turns| turns.p999_micros)];
    let panels = of.map(|(name, micros)| {
        let point = |turns: &Turns| (turns.offered.unwrap_or(1.0), thousandths(micros(turns)));
        (format!("{name} in ms, by operations due a second"), lines(run.open.iter(), point))
    });
    panels_side_by_side((1080, 380), &panels, |points| (steps(points.iter().map(|point| point.0)), short))
}

/// Rate and slowest batch while it fills.
pub(crate) fn fill(run: &Run) -> String {
    let points = |of: fn(&super::figures::Slice) -> f64| -> Points {
        run.slices.iter().map(|slice| (millions(slice.operations), of(slice))).collect()
    };
    let rates = points(|slice| slice.per_second);
    let slowest = points(|slice| thousandths(slice.max_micros));
    picture((760, 460), |root| {
        let [upper, lower] = halves(&root.split_evenly((2, 1)));
        over_size(&upper, "operations a second of each part, by millions recorded", &rates, short);
        over_size(&lower, "slowest batch of each part in ms, by millions recorded", &slowest, short);
    })
}

/// Time to the first acknowledged operation after a kill, by size.
pub(crate) fn start(run: &Run) -> String {
    let points: Points = run.marks.iter().map(|mark| (millions(mark.operations), mark.start_seconds)).collect();
    picture((760, 250), |root| {
        let heading = "seconds from a start after kill -9 to the first acknowledged operation, by millions recorded";
        over_size(root, heading, &points, |seconds| format!("{seconds:.2}"));
    })
}

fn picture(size: (u32, u32), draw: impl FnOnce(&Area)) -> String {
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, size).into_drawing_area();
        draw(&root);
        root.present().unwrap();
    }
    text
}

/// Panels with the same lines on logarithmic axes, the upward one shared, under a legend.
fn panels_side_by_side(
    size: (u32, u32),
    panels: &[(String, Vec<Line>)],
    across: impl Fn(&Points) -> (Vec<f64>, fn(&f64) -> String),
) -> String {
    picture(size, |root| {
        let (top, rest) = root.split_vertically(LEGEND_HEIGHT);
        let names = distinct(panels.iter().flat_map(|(_, lines)| lines.iter().map(|line| line.name.clone())));
        legend(&top, &names);
        let all: Points =
            panels.iter().flat_map(|(_, lines)| lines.iter().flat_map(|line| line.points.clone())).collect();
        let upward = steps(all.iter().map(|point| point.1));
        for (area, (heading, lines)) in rest.split_evenly((1, panels.len())).iter().zip(panels) {
            let points: Points = lines.iter().flat_map(|line| line.points.clone()).collect();
            let (ticks, label) = across(&points);
            let (from, to) = ends(&ticks);
            let x = (from..to).log_scale().with_key_points(ticks);
            let (from, to) = ends(&upward);
            let y = (from..to).log_scale().with_key_points(upward.clone());
            chart(area, heading, lines, (x, y), (&|x| label(x), &short));
        }
    })
}

/// One line over the size of the store, from zero.
fn over_size(area: &Area, heading: &str, points: &Points, label: fn(&f64) -> String) {
    let most = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).fold(0.0, f64::max);
    let (x, y) =
        (0.0..most(|point| point.0).max(f64::MIN_POSITIVE), 0.0..most(|point| point.1).max(f64::MIN_POSITIVE) * 1.1);
    let lines = [Line { name: "outlay".to_owned(), points: points.clone() }];
    chart(area, heading, &lines, (x, y), (&short, &label));
}

fn chart<X, Y>(area: &Area, heading: &str, lines: &[Line], (x, y): (X, Y), (x_label, y_label): (Label, Label))
where
    X: AsRangedCoord<Value = f64>,
    Y: AsRangedCoord<Value = f64>,
    X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let (heading_area, rest) = area.split_vertically(HEADING_HEIGHT);
    let style = text_style(HEADING).pos(Pos::new(HPos::Left, VPos::Center));
    heading_area.draw_text(heading, &style, (14, HEADING_HEIGHT / 2)).unwrap();
    let mut chart = ChartBuilder::on(&rest)
        .margin_right(18)
        .margin_top(6)
        .x_label_area_size(30)
        .y_label_area_size(54)
        .build_cartesian_2d(x, y)
        .unwrap();
    chart
        .configure_mesh()
        .disable_x_mesh()
        .bold_line_style(INK.mix(0.22))
        .light_line_style(TRANSPARENT)
        .axis_style(INK.mix(0.6))
        .label_style(text_style(TEXT))
        .x_labels(8)
        .y_labels(6)
        .x_label_formatter(x_label)
        .y_label_formatter(y_label)
        .draw()
        .unwrap();
    // Outlay's lies above the others.
    for line in lines.iter().rev() {
        let (colour, width) = style_of(&line.name);
        chart.draw_series(LineSeries::new(line.points.iter().copied(), colour.stroke_width(width))).unwrap();
        if line.points.len() <= 30 {
            let dot = |point: &(f64, f64)| Circle::new(*point, 2 + width / 2, colour.filled());
            chart.draw_series(line.points.iter().map(dot)).unwrap();
        }
    }
}

fn legend(area: &Area, names: &[String]) {
    let mut x = 14;
    for name in names {
        let (colour, width) = style_of(name);
        let middle = LEGEND_HEIGHT / 2;
        area.draw(&PathElement::new(vec![(x, middle), (x + 22, middle)], colour.stroke_width(width))).unwrap();
        let style = text_style(TEXT).pos(Pos::new(HPos::Left, VPos::Center));
        area.draw_text(if name == "outlay" { "Outlay" } else { name }, &style, (x + 29, middle)).unwrap();
        x += 29 + i32::try_from(name.len()).unwrap_or(0) * 15 / 2 + 22;
    }
}

fn text_style(size: i32) -> TextStyle<'static> {
    (FONT, size).into_font().color(&INK)
}

/// Colours of middling lightness; what is compared with all others is thick.
fn style_of(name: &str) -> (RGBColor, u32) {
    match name {
        "outlay" => (RGBColor(232, 89, 12), 3),
        "PostgreSQL function" => (RGBColor(59, 130, 246), 2),
        "Redis script" => (RGBColor(168, 85, 214), 2),
        "SQLite, textbook" => (RGBColor(38, 155, 90), 2),
        _ => (INK, 1),
    }
}

fn lines<'a>(all: impl Iterator<Item = &'a Turns>, point: impl Fn(&Turns) -> (f64, f64)) -> Vec<Line> {
    let all: Vec<_> = all.collect();
    let names = distinct(all.iter().map(|turns| turns.by.clone()));
    let line = |name: String| {
        let points = all.iter().filter(|turns| turns.by == name).map(|turns| point(turns)).collect();
        Line { name, points }
    };
    names.into_iter().map(line).collect()
}

/// 1, 2 and 5 times powers of ten, or only the powers where there are many, around all of these.
fn steps(all: impl Iterator<Item = f64>) -> Vec<f64> {
    let (least, most) = all.filter(|number| *number > 0.0).fold((f64::MAX, 0.0_f64), |(a, b), x| (a.min(x), b.max(x)));
    if most == 0.0 {
        return vec![1.0, 10.0];
    }
    let many = (most / least).log10() > 2.5;
    let of_ten: &[f64] = if many { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let powers = -3..=9;
    let all: Vec<_> = powers.flat_map(|power| of_ten.iter().map(move |step| step * 10_f64.powi(power))).collect();
    let first = all.iter().rposition(|step| *step <= least).unwrap_or(0);
    let last = all.iter().position(|step| *step >= most).unwrap_or(all.len() - 1);
    // One step alone would be an axis without a length.
    let last = last.max(first + 1).min(all.len() - 1);
    all[first.min(last - 1)..=last].to_vec()
}

fn ends(ticks: &[f64]) -> (f64, f64) {
    let (first, last) = (ticks.first().copied().unwrap_or(1.0), ticks.last().copied().unwrap_or(10.0));
    if first < last { (first, last) } else { (first, first * 2.0) }
}

/// A number in few letters.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "that is how ticks are given")]
fn short(number: &f64) -> String {
    let (number, unit) = match *number {
        number if number >= 1e6 => (number / 1e6, "M"),
        number if number >= 1e3 => (number / 1e3, "k"),
        number => (number, ""),
    };
    let text = format!("{number:.3}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

#[expect(clippy::cast_precision_loss, reason = "no run counts to 2^53")]
fn millions(operations: u64) -> f64 {
    operations as f64 / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "no run has so many clients")]
fn count(clients: usize) -> f64 {
    clients as f64
}

#[expect(clippy::cast_precision_loss, reason = "no answer takes 2^53 microseconds")]
fn thousandths(micros: u64) -> f64 {
    micros as f64 / 1e3
}

fn halves<'a>(areas: &[Area<'a>]) -> [Area<'a>; 2] {
    [areas[0].clone(), areas[1].clone()]
}
