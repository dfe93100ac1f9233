//! Small charts of the last hour, a bar for each minute.

use maud::{Markup, html};

use super::page::Page;
use super::show::rate;
use crate::metrics::pace::MINUTES;

/// The height of a chart, in its own units; a minute is four wide.
const HEIGHT: f64 = 48.0;
const STEP: usize = 4;

impl Page {
    /// A chart. `bars` are drawn upon each other, each with its tone.
    pub fn chart(&self, title: &str, unit: &str, bars: &[(&'static str, [f64; MINUTES])]) -> Markup {
        let total = |at: usize| bars.iter().map(|(_, values)| values[at]).sum::<f64>();
        let most = (0..MINUTES).map(total).fold(0.0, f64::max);
        let words = if most > 0.0 {
            self.fill("at most {0} {1}", &[&rate(most), &unit])
        } else {
            self.say("nothing in the last hour").to_owned()
        };
        html! {
            figure.chart {
                figcaption { strong { (title) } " " span.quiet { (words) } }
                svg viewBox={ "0 0 " (MINUTES * STEP) " " (HEIGHT) } preserveAspectRatio="none" role="img"
                    aria-label={ (title) ": " (words) } {
                    line.ground x1="0" x2=(MINUTES * STEP) y1=(HEIGHT) y2=(HEIGHT) {}
                    @if most > 0.0 {
                        @for at in 0..MINUTES {
                            @for (tone, low, high) in stacked(bars, at) {
                                rect class=(tone) x=(at * STEP) width=(STEP - 1)
                                    y={ (format!("{:.1}", HEIGHT * (1.0 - high / most))) }
                                    height={ (format!("{:.1}", (HEIGHT * (high - low) / most).max(1.0))) } {}
                            }
                        }
                    }
                }
                div.axis { span { (self.say("an hour ago")) } span { (self.say("now")) } }
            }
        }
    }
}

/// The bars of one minute: tone, from, to.
fn stacked(bars: &[(&'static str, [f64; MINUTES])], at: usize) -> Vec<(&'static str, f64, f64)> {
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
