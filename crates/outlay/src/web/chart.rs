//! Pictures of sums, as SVG made here. Each stands in a figure with a sentence that says what it shows, and beside a table
//! of the same figures. All geometry is in whole numbers: a thousandth of the picture is finer than a screen.

use std::fmt::Write as _;

use maud::{Markup, PreEscaped, html};
use outlay_core::money::UsdSum;

use super::format;
use super::parts::{tenths, thousandths};

/// A small line of the last days, for beside a figure that says the same.
pub fn sparkline(values: &[i128]) -> Markup {
    let points = points(values, values.iter().copied().max().unwrap_or(0), values.len());
    PreEscaped(format!(
        r#"<svg class="spark" viewBox="0 0 1000 1000" preserveAspectRatio="none" aria-hidden="true"><polygon points="0,1000 {points} {},1000"/><polyline points="{points}"/></svg>"#,
        last_x(values.len(), values.len())
    ))
}

/// Where the value at an index is, of so many that the picture has room for.
fn x_of(index: usize, room: usize) -> usize {
    index * 1_000 / room.saturating_sub(1).max(1)
}

fn last_x(count: usize, room: usize) -> usize {
    x_of(count.saturating_sub(1), room)
}

/// How far from the top a value is.
fn y_of(value: i128, max: i128) -> i128 {
    1_000 - thousandths(value.max(0), max.max(1)).min(1_000)
}

fn points(values: &[i128], max: i128, room: usize) -> String {
    let mut text = String::with_capacity(values.len() * 9);
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            text.push(' ');
        }
        // Writing to a string cannot fail.
        let _ = write!(text, "{},{}", x_of(index, room), y_of(*value, max));
    }
    text
}

/// What a month is expected to end at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Band {
    /// The least, by an 80 percent interval.
    pub low: i128,
    /// The middle.
    pub projected: i128,
    /// The most.
    pub high: i128,
}

/// Cost that adds up day by day: of this month, of the month before, and where it is going.
#[derive(Debug, Clone)]
pub struct BurnUp<'a> {
    /// Sums up to and with each day so far, in picodollars.
    pub this: &'a [i128],
    /// The same of the month before, all its days.
    pub before: &'a [i128],
    /// The month as it stands at the first day, like `Oct`.
    pub month: &'a str,
    /// Days of the month.
    pub days: usize,
    /// Where it is expected to end.
    pub band: Option<Band>,
}

/// Draws it; the sentence says what it shows.
pub fn burn_up(of: &BurnUp<'_>, sentence: &str) -> Markup {
    let days = of.days.max(of.before.len()).max(2);
    let highest = of.this.iter().chain(of.before).copied().max().unwrap_or(0).max(of.band.map_or(0, |band| band.high));
    let (max, lines) = scale(highest);
    let this = points(of.this, max, days);
    let (today, now) = (last_x(of.this.len(), days), of.this.last().copied().unwrap_or(0));
    let end = x_of(of.days.saturating_sub(1), days);
    html! {
        svg.chart.burn role="img" aria-label=(sentence) {
            (grid(&lines, max))
            svg.plot x={ (tenths(GUTTER)) "%" } width={ (tenths(1_000 - GUTTER)) "%" } viewBox="0 0 1000 1000" preserveAspectRatio="none" height="200" {
                polyline.before points=(points(of.before, max, days)) {}
                @if let Some(band) = of.band.filter(|_| of.this.len() < of.days && !of.this.is_empty()) {
                    polygon.band points=(format!("{today},{} {end},{} {end},{}", y_of(now, max), y_of(band.high, max), y_of(band.low, max))) {}
                    polyline.projected points=(format!("{today},{} {end},{}", y_of(now, max), y_of(band.projected, max))) {}
                }
                polygon.area points=(format!("0,1000 {this} {today},1000")) {}
                polyline.this points=(this) {}
            }
            @for day in [1, 8, 15, 22, 29].into_iter().filter(|day| *day <= days) {
                @let x = i128::try_from(x_of(day - 1, days)).unwrap_or(0) * (1_000 - GUTTER) / 1_000;
                text.tick x={ (tenths(GUTTER + x)) "%" } y="218" text-anchor="middle" { (day) @if day == 1 { " " (of.month) } }
            }
        }
    }
}

/// Lines across with their values, and the one of nothing.
fn grid(lines: &[i128], max: i128) -> Markup {
    html! {
        line.rule.zero x1="0" x2="100%" y1="200" y2="200" {}
        @for line in lines {
            @let y = tenths_of_pixel(*line, max);
            line.rule x1="0" x2="100%" y1=(y) y2=(y) {}
            text.tick x="0" y=(y) dy="-4" { (format::usd(UsdSum::from_picos(*line)).trim_end_matches(".00")) }
        }
    }
}

/// How far from the top of a plot of 200 pixels a value is.
fn tenths_of_pixel(value: i128, max: i128) -> String {
    tenths(y_of(value, max) * 2)
}

/// A round value above the highest, and round lines below it.
fn scale(highest: i128) -> (i128, Vec<i128>) {
    if highest <= 0 {
        return (1, Vec::new());
    }
    let mut step: i128 = 1;
    // Three or four lines; steps of 1, 2 and 5.
    while step.saturating_mul(4) < highest {
        let digits = [2, 5, 10].map(|factor| step.saturating_mul(factor));
        step = digits.into_iter().find(|step| step.saturating_mul(4) >= highest).unwrap_or(digits[2]);
    }
    let count = (highest + step - 1) / step;
    (count * step, (1..=count).map(|line| line * step).collect())
}

/// Thousandths of the width before the first bar.
const GUTTER: i128 = 70;

/// A bar of parts, such as a month with what its parts cost.
#[derive(Debug, Clone)]
pub struct Stack {
    /// What stands below it, like `Oct`.
    pub label: String,
    /// Its whole name, like `October 2025`.
    pub name: String,
    /// Where it leads.
    pub href: String,
    /// Whether it is the one that the page shows.
    pub here: bool,
    /// Its parts in picodollars, in the order of the series.
    pub parts: Vec<i128>,
}

/// What the parts of one colour are of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Series {
    /// A name, whatever an application chose.
    Named(String),
    /// Operations that have no such name.
    Nameless,
    /// All that have no colour of their own.
    Other,
}

impl Series {
    fn draw(&self, characters_max: usize) -> Markup {
        match self {
            Self::Named(name) => super::parts::text(name, characters_max),
            Self::Nameless => nameless(),
            Self::Other => html! { span.muted { "Other" } },
        }
    }
}

/// What stands for operations without a model: told from a model of any name by how it looks.
pub fn nameless() -> Markup {
    html! { span.muted { "No model" } }
}

/// Bars of parts one beside the other, with a legend and the same as a table.
pub fn stacked(stacks: &[Stack], series: &[Series], sentence: &str) -> Markup {
    let totals: Vec<i128> = stacks.iter().map(|stack| stack.parts.iter().sum()).collect();
    let (max, lines) = scale(totals.iter().copied().max().unwrap_or(0));
    if totals.iter().all(|total| *total == 0) {
        return super::parts::nothing("Nothing was recorded in these months.");
    }
    // What stands at the lines has a place of its own before the first bar.
    let width = (1_000 - GUTTER) / i128::try_from(stacks.len().max(1)).unwrap_or(1);
    let left = |at: i128| GUTTER + at * width;
    html! {
        figure {
            figcaption { (sentence) }
            svg.chart.stacks role="group" aria-label=(sentence) {
                (grid(&lines, max))
                // Beside the links, whose names say the same.
                @for (at, total) in (0_i128..).zip(&totals).filter(|(_, total)| **total > 0) {
                    text.tick x={ (tenths(left(at) + width / 2)) "%" } y=(tenths_of_pixel(*total, max)) dy="-5" text-anchor="middle" { (format::usd_short(UsdSum::from_picos(*total))) }
                }
                @for ((at, stack), total) in (0_i128..).zip(stacks).zip(&totals) {
                    a href=(stack.href) aria-current=[stack.here.then_some("true")]
                        aria-label={ (stack.label) ", " (stack.name) ": " (format::usd(UsdSum::from_picos(*total))) } {
                        rect.hit x={ (tenths(left(at))) "%" } y="0" width={ (tenths(width)) "%" } height="224" {}
                        @for (series, top, height) in pieces(&stack.parts, max) {
                            rect class={ "s" (series) } x={ (tenths(left(at) + width / 5)) "%" } width={ (tenths(width * 3 / 5)) "%" }
                                y=(tenths(top)) height=(tenths(height)) {}
                        }
                        text.tick x={ (tenths(left(at) + width / 2)) "%" } y="218" text-anchor="middle" { (stack.label) }
                    }
                }
            }
            ul.legend {
                @for (at, name) in series.iter().enumerate() {
                    li { svg.swatch aria-hidden="true" { rect class={ "s" (at) } width="100%" height="100%" {} } (name.draw(28)) }
                }
            }
            details {
                summary { "Show as table" }
                div.scroll tabindex="0" role="group" aria-label="The chart as a table" {
                    table {
                        thead { tr { th scope="col" { "Month" } @for name in series { th.n scope="col" { (name.draw(20)) } } th.n scope="col" { "Total" } } }
                        tbody {
                            @for (stack, total) in stacks.iter().zip(&totals) {
                                tr {
                                    th scope="row" { a href=(stack.href) { (stack.name) } }
                                    @for part in &stack.parts { td.n { (super::parts::money(UsdSum::from_picos(*part))) } }
                                    td.n { (super::parts::money(UsdSum::from_picos(*total))) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The parts from the bottom up: series, top and height in tenths of a pixel of 200.
fn pieces(parts: &[i128], max: i128) -> Vec<(usize, i128, i128)> {
    let mut below = 0;
    let mut pieces = Vec::with_capacity(parts.len());
    for (series, part) in parts.iter().enumerate() {
        let (bottom, top) = (y_of(below, max) * 2, y_of(below + part.max(&0), max) * 2);
        below += part.max(&0);
        if bottom > top {
            pieces.push((series, top, bottom - top));
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_is_round_and_above_the_highest() {
        let usd = |dollars: i128| dollars * 1_000_000_000_000;
        assert_eq!(scale(usd(61)), (usd(80), vec![usd(20), usd(40), usd(60), usd(80)]));
        assert_eq!(scale(usd(412)).0, usd(600));
        assert_eq!(scale(0), (1, vec![]), "nothing needs no lines");
        for highest in [1, 7, 99, 100, 101, 12_345_678_901_234] {
            let (max, lines) = scale(highest);
            assert!(max >= highest && lines.len() <= 4 && lines.last() == Some(&max), "{highest}: {lines:?}");
        }
    }

    #[test]
    fn what_is_largest_touches_the_top_and_nothing_leaves_the_picture() {
        assert_eq!(points(&[0, 5, 10], 10, 3), "0,1000 500,500 1000,0");
        assert_eq!(points(&[-5, 20], 10, 2), "0,1000 1000,0");
        assert_eq!(points(&[], 10, 0), "");
        assert_eq!(pieces(&[5, 0, 5], 10), [(0, 1_000, 1_000), (2, 0, 1_000)]);
    }
}
