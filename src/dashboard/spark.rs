//! Small charts.

use maud::{Markup, html};

use super::page::Page;
use super::show::rate;

/// The height of a chart, in its own units; a bar is four wide.
const HEIGHT: f64 = 48.0;
const STEP: usize = 4;

/// What a chart shows.
pub(super) struct Chart<'a> {
    pub title: &'a str,
    pub unit: &'a str,
    /// How long ago it begins, in words.
    pub since: &'a str,
    /// What it says where there is nothing.
    pub nothing: &'a str,
    /// Drawn upon each other, each with its tone; all of one length.
    pub bars: Vec<(&'static str, Vec<f64>)>,
}

impl Page {
    /// A chart, a bar for each part of the time.
    pub fn chart(&self, chart: &Chart<'_>) -> Markup {
        let Chart { title, unit, since, nothing, bars } = chart;
        let parts = bars.first().map_or(0, |(_, values)| values.len());
        let total = |at: usize| bars.iter().map(|(_, values)| values[at]).sum::<f64>();
        let most = (0..parts).map(total).fold(0.0, f64::max);
        let words =
            if most > 0.0 { self.fill("at most {0} {1}", &[&rate(most), &unit]) } else { (*nothing).to_owned() };
        html! {
            figure.chart {
                figcaption { strong { (title) } " " span.quiet { (words) } }
                svg viewBox={ "0 0 " (parts * STEP) " " (HEIGHT) } preserveAspectRatio="none" role="img"
                    aria-label={ (title) ": " (words) } {
                    line.ground x1="0" x2=(parts * STEP) y1=(HEIGHT) y2=(HEIGHT) {}
                    @if most > 0.0 {
                        @for at in 0..parts {
                            @for (tone, low, high) in stacked(bars, at) {
                                rect class=(tone) x=(at * STEP) width=(STEP - 1)
                                    y={ (format!("{:.1}", HEIGHT * (1.0 - high / most))) }
                                    height={ (format!("{:.1}", (HEIGHT * (high - low) / most).max(1.0))) } {}
                            }
                        }
                    }
                }
                div.axis { span { (since) } span { (self.say("now")) } }
            }
        }
    }
}

/// The bars of one minute: tone, from, to.
fn stacked(bars: &[(&'static str, Vec<f64>)], at: usize) -> Vec<(&'static str, f64, f64)> {
    let mut low = 0.0;
    let mut stacked = Vec::with_capacity(bars.len());
    for (tone, values) in bars {
        if values[at] > 0.0 {
            stacked.push((*tone, low, low + values[at]));
            low += values[at];
        }
    }
    stacked
}
