//! Text from outside, made safe to set: characters the fonts have, lengths a
//! page can hold. What is cut or replaced stays visible as `…` or `□`.

use std::sync::OnceLock;

use typst::layout::Abs;
use typst::text::{Font, FontInstance, FontStyle, FontVariations, FontWeight};

use super::world::{MONO, SERIF, fonts};

/// Stands for a character that the fonts lack or that shows nothing.
const STAND_IN: char = '□';

/// Blocks whose characters take one line's height and follow Latin layout (Hebrew runs right to left within).
const BLOCKS: [(u32, u32); 10] = [
    (0x20, 0x7e),
    (0xa1, 0xac),
    (0xae, 0x24f),
    (0x250, 0x2af),
    (0x370, 0x482),
    (0x48a, 0x52f),
    (0x5d0, 0x5ea),
    (0x1e00, 0x1fff),
    (0x2010, 0x2027),
    (0x2030, 0x205e),
];
/// Superscripts, currency, letterlike, arrows, operators, boxes, shapes.
const SYMBOLS: (u32, u32) = (0x2070, 0x25ff);
const COMBINING: (u32, u32) = (0x300, 0x36f);

/// One font file of a family.
fn face(family: &str, weight: FontWeight) -> Option<Font> {
    (0..).map_while(|index| fonts().font(index)).find(|font| {
        let info = font.info();
        info.family == family && info.variant.weight == weight && info.variant.style == FontStyle::Normal
    })
}

struct Faces {
    serif: Vec<Font>,
    mono: Vec<Font>,
    /// Regular and semibold serif, for widths.
    widths: Vec<FontInstance>,
}

fn faces() -> &'static Faces {
    static FACES: OnceLock<Faces> = OnceLock::new();
    FACES.get_or_init(|| {
        let all = |family, weights: &[FontWeight]| {
            weights.iter().filter_map(|weight| face(family, *weight)).collect::<Vec<_>>()
        };
        let serif = all(SERIF, &[FontWeight::REGULAR, FontWeight::SEMIBOLD, FontWeight::BOLD]);
        let instance = |font: &Font| {
            font.clone().instantiate(font.info().variant, Abs::pt(10.0), &FontVariations::default())
        };
        Faces {
            widths: serif.iter().take(2).map(instance).collect(),
            serif,
            mono: all(MONO, &[FontWeight::REGULAR, FontWeight::BOLD]),
        }
    })
}

/// Whether every weight of one of the two families has the character.
pub(super) fn covered(c: char) -> bool {
    let has = |fonts: &[Font]| {
        !fonts.is_empty() && fonts.iter().all(|font| font.info().coverage.contains(c as u32))
    };
    has(&faces().serif) || has(&faces().mono)
}

fn within(c: char, (first, last): (u32, u32)) -> bool {
    (first..=last).contains(&(c as u32))
}

/// Replaces what cannot be set. White space of any kind becomes one space; at
/// most two combining marks follow a letter. At most `max` characters are kept
/// (see [`shorten`]).
pub(super) fn clean(text: &str, max: usize) -> String {
    let mut out = String::new();
    let mut kept = 0;
    let mut marks = 0;
    let mut chars = text.trim().chars();
    // Far more than any caller keeps; bounds the work on a hostile string.
    let mut budget = max.saturating_mul(8).saturating_add(64);
    for c in chars.by_ref() {
        budget -= 1;
        if budget == 0 {
            break;
        }
        if within(c, COMBINING) {
            marks += 1;
            if marks <= 2 && kept > 0 && covered(c) {
                out.push(c);
            }
            continue;
        }
        let c = if c.is_whitespace() {
            if out.ends_with(' ') || out.is_empty() {
                continue;
            }
            ' '
        } else if c == '\u{fe0f}' || c == '\u{fe0e}' {
            continue;
        } else if (BLOCKS.iter().any(|block| within(c, *block)) || within(c, SYMBOLS)) && covered(c) {
            c
        } else {
            STAND_IN
        };
        out.push(c);
        kept += 1;
        marks = 0;
    }
    let length = kept + chars.count();
    shorten_of(out.trim_end(), max, length)
}

/// Keeps the first two thirds and the end of a text longer than `max` characters, an ellipsis between.
pub(super) fn shorten(text: &str, max: usize) -> String {
    shorten_of(text, max, text.chars().count())
}

fn shorten_of(text: &str, max: usize, length: usize) -> String {
    if length <= max {
        return text.to_owned();
    }
    let tail = (max / 3).saturating_sub(1);
    let head = max.saturating_sub(tail + 1);
    let chars: Vec<char> = text.chars().collect();
    let first: String = chars.iter().take(head).collect();
    let last: String = chars[chars.len().saturating_sub(tail).max(head.min(chars.len()))..].iter().collect();
    format!("{}…{}", first.trim_end(), last.trim_start())
}

/// Shortens every word longer than `max`, so that a line can always be broken.
pub(super) fn short_words(text: &str, max: usize) -> String {
    text.split(' ').map(|word| shorten(word, max)).collect::<Vec<_>>().join(" ")
}

/// Lines of at most `width` characters, at most `lines` of them, for names and digests in mono.
pub(super) fn wrap(text: &str, width: usize, lines: usize) -> Vec<String> {
    let text = shorten(text, width * lines);
    let mut out: Vec<String> = Vec::new();
    let mut rest: Vec<char> = text.chars().collect();
    while rest.len() > width && out.len() + 1 < lines {
        // At a space if one is near the end of the line, else wherever it is full.
        let at = (width * 2 / 3..=width).rev().find(|at| rest[*at] == ' ').unwrap_or(width);
        let tail = rest.split_off(at);
        out.push(rest.into_iter().collect());
        rest = tail.into_iter().skip_while(|c| *c == ' ').collect();
    }
    let last: String = rest.into_iter().collect();
    out.push(shorten(&last, width));
    out
}

/// Width of a line of serif text in points; kerning left out.
pub(super) fn serif_width(text: &str, size: f64, semibold: bool) -> f64 {
    let faces = faces();
    let font = faces.widths.get(usize::from(semibold)).or(faces.widths.first());
    let advance = |c: char| {
        let glyph = font.and_then(|font| font.ttf().glyph_index(c).map(|glyph| (font, glyph.0)));
        glyph.and_then(|(font, glyph)| font.x_advance(glyph)).map_or(0.62, |em| em.get())
    };
    size * text.chars().map(advance).sum::<f64>()
}

/// The text, or as much of its start and end as fits `width` points with an ellipsis.
pub(super) fn fit(text: &str, size: f64, semibold: bool, width: f64) -> String {
    let mut max = text.chars().count();
    let mut out = text.to_owned();
    while max > 4 && serif_width(&out, size, semibold) > width {
        max -= 1;
        out = shorten(text, max);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_left_alone() {
        for text in
            ["rtx4090-llama-3.1-8b", "naïve Größe, Ωμέγα, Привет", "±3 % → x₁ ≤ “y”", "#let $x$ = \"a\\b\""]
        {
            assert_eq!(clean(text, 200), text);
        }
    }

    #[test]
    fn what_cannot_be_set_stays_visible() {
        assert_eq!(clean("a\u{0}b\u{1b}[31m", 99), "a□b□[31m");
        assert_eq!(clean("模型 🚀", 99), "□□ □");
        assert_eq!(clean("a\u{202e}b\u{200b}c\u{feff}", 99), "a□b□c□");
        assert_eq!(clean(" a \n\t b\u{2028}c ", 99), "a b c");
        assert_eq!(clean(&format!("e{}x", "\u{301}".repeat(50)), 99), "e\u{301}\u{301}x");
    }

    #[test]
    fn long_text_keeps_both_ends_and_its_bound() {
        let name = clean(&format!("start{}end", "a".repeat(10_000)), 48);
        assert_eq!(name.chars().count(), 48);
        assert!(name.starts_with("start"), "{name}");
        assert!(name.contains('…'), "{name}");
        let text: String = ('a'..='z').collect();
        assert_eq!(shorten(&text, 9), "abcdef…yz");
        assert_eq!(shorten("short", 9), "short");
    }

    #[test]
    fn wrapping_fills_lines_and_loses_nothing_that_fits() {
        let digest = "0123456789abcdef".repeat(4);
        let lines = wrap(&digest, 30, 3);
        assert_eq!(lines.concat(), digest);
        assert!(lines.iter().all(|line| line.chars().count() <= 30));
        let lines = wrap(&"z".repeat(1_000), 30, 3);
        assert_eq!(lines.len(), 3);
        assert!(lines.concat().contains('…'));
        assert_eq!(wrap("", 30, 3), [""]);
    }

    #[test]
    fn fitting_uses_the_fonts_widths() {
        let text = "WWWWWWWWWW";
        assert!(serif_width(text, 8.0, true) > serif_width("iiiiiiiiii", 8.0, true) * 2.0);
        let line = serif_width("Intel Xeon Platinum, 2.70GHz", 8.0, true);
        assert!((95.0..108.0).contains(&line), "{line}");
        let cut = fit(text, 8.0, true, 40.0);
        assert!(serif_width(&cut, 8.0, true) <= 40.0 && cut.contains('…'), "{cut}");
    }

    #[test]
    fn characters_of_the_template_are_covered() {
        for c in "−±×÷…–≤≥·□’“”\u{202f}µ".chars() {
            assert!(covered(c), "{c:?} U+{:04X}", c as u32);
        }
    }
}
