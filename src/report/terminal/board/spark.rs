//! Sparklines: a glyph a column.

use super::tracks::Part;
use crate::report::terminal::style::{Paint, Style};

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A success rate a column: the full block (`#`) where all ended `ok` and only there, the lowest (`0`) where hardly any did, nothing
/// where none ended. Without Unicode a digit says how many tenths.
pub(super) fn success(parts: &[Option<Part>], asked_percent: Option<f64>, style: &Style) -> String {
    let cell = |part: &Option<Part>| {
        let Some((part, percent)) = part.and_then(|part| Some((part, part.ok_percent()?))) else {
            return (None, ' ');
        };
        let glyph = match (part.ok == part.ended, style.unicode) {
            (true, true) => BLOCKS[7],
            (true, false) => '#',
            (false, true) => BLOCKS[((percent / 100.0 * 7.0) as usize).min(6)],
            (false, false) => digit(percent / 100.0),
        };
        (paint(percent, asked_percent), glyph)
    };
    painted(parts.iter().map(cell), style)
}

/// The colour of a success rate; none where nothing is asked of it: some operations are to be refused.
pub(super) fn paint(percent: f64, asked_percent: Option<f64>) -> Option<Paint> {
    let is_good = percent >= asked_percent?;
    Some(if is_good { Paint::Pass } else { Paint::Fail })
}

/// A 99th percentile a column, on a scale of ratios from the least to the greatest; nothing where there is none.
pub(super) fn latency(parts: &[Option<Part>], range_ms: (f64, f64), style: &Style) -> String {
    // Less than a factor of four is no more than half of the height: noise is not to look like a mountain.
    const RATIO_MIN: f64 = 16.0;
    let (low, high) = (range_ms.0.max(0.01), range_ms.1.max(0.01));
    let ratio = (high / low).max(RATIO_MIN);
    let cell = |part: &Option<Part>| {
        let Some(p99_ms) = part.and_then(|part| part.p99_ms) else {
            return (None, ' ');
        };
        let level = ((p99_ms / low).max(1.0).ln() / ratio.ln()).clamp(0.0, 1.0);
        let glyph = match style.unicode {
            true => BLOCKS[(level * 7.0).round() as usize],
            false => digit(level),
        };
        (Some(Paint::Dim), glyph)
    };
    painted(parts.iter().map(cell), style)
}

/// `0` to `9`.
fn digit(share: f64) -> char {
    let tenths = ((share * 10.0) as u32).min(9);
    char::from_digit(tenths, 10).unwrap_or('9')
}

/// Cells as text, those of one colour together.
pub(super) fn painted(cells: impl Iterator<Item = (Option<Paint>, char)>, style: &Style) -> String {
    let mut text = String::new();
    let mut run: (Option<Paint>, String) = (None, String::new());
    let mut end = |(paint, glyphs): (Option<Paint>, String)| match paint {
        Some(paint) => text.push_str(&style.paint(paint, &glyphs)),
        None => text.push_str(&glyphs),
    };
    for (paint, glyph) in cells {
        if paint != run.0 && !run.1.is_empty() {
            end(std::mem::take(&mut run));
        }
        run.0 = paint;
        run.1.push(glyph);
    }
    if !run.1.is_empty() {
        end(run);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(ok: u64, ended: u64, p99_ms: Option<f64>) -> Option<Part> {
        Some(Part { ok, ended, p99_ms })
    }

    #[test]
    fn only_all_is_full_and_nothing_is_blank() {
        let parts = [
            part(10_000, 10_000, None),
            part(9_999, 10_000, None),
            part(50, 100, None),
            part(1, 100, None),
            part(0, 7, None),
            part(0, 0, None),
            None,
        ];
        let (plain, unicode) = (
            Style::default(),
            Style {
                unicode: true,
                ..Style::default()
            },
        );
        assert_eq!(success(&parts, Some(99.0), &plain), "#9500  ");
        assert_eq!(success(&parts, Some(99.0), &unicode), "█▇▄▁▁  ");
    }

    #[test]
    fn a_latency_is_as_high_as_its_ratio_to_the_least() {
        let parts = [5.0, 10.0, 80.0, 5_000.0].map(|p99_ms| part(1, 1, Some(p99_ms)));
        let unicode = Style {
            unicode: true,
            ..Style::default()
        };
        assert_eq!(latency(&parts, (5.0, 5_000.0), &unicode), "▁▂▄█");
        assert_eq!(
            latency(&parts[..2], (5.0, 10.0), &Style::default()),
            "02",
            "little is not made much of"
        );
        assert_eq!(latency(&[part(0, 0, None), None], (0.0, 0.0), &unicode), "  ");
    }

    #[test]
    fn colours_change_where_the_colour_does() {
        let style = Style {
            colour: true,
            unicode: false,
            width: None,
        };
        let parts = [part(1, 1, None), part(1, 1, None), part(0, 1, None), None];
        assert_eq!(
            success(&parts, Some(99.0), &style),
            "\x1b[32m##\x1b[0m\x1b[1;31m0\x1b[0m "
        );
    }
}
