//! Words, numbers and strings of KDL 2, and only those: whatever is accepted
//! here is accepted by the parser too, so that its error recovery, which
//! recurses, has nothing to recover from.

use super::diagnostic::Span;

/// Most `#` of a raw string.
const MAX_HASHES: usize = 16;

/// Why a text is not KDL, and where.
#[derive(Debug)]
pub(super) struct Refusal {
    pub span: Span,
    pub message: String,
    pub label: &'static str,
    pub help: String,
    /// A second place that has to do with it, and its label.
    pub also: Option<(Span, &'static str)>,
    pub after: After,
}

/// Where reading goes on after what is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// At the next space.
    Token,
    /// On the next line: what is left of this one may be inside of a text, or outside.
    Line,
    /// Nowhere: what follows cannot be told apart from what is wrong.
    Nothing,
}

impl Refusal {
    pub fn new(span: Span, message: impl Into<String>, label: &'static str, help: impl Into<String>) -> Self {
        Self { span, message: message.into(), label, help: help.into(), also: None, after: After::Token }
    }

    pub fn also(mut self, span: Span, label: &'static str) -> Self {
        self.also = Some((span, label));
        self
    }

    pub fn fatal(mut self) -> Self {
        self.after = After::Nothing;
        self
    }

    pub fn up_to_line_end(mut self) -> Self {
        self.after = After::Line;
        self
    }
}

/// What a token may be used as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lexeme {
    /// A bare word or a string: a name, or a value.
    Text,
    /// A number or keyword: a value only.
    Value,
}

pub(super) fn is_space(c: char) -> bool {
    matches!(
        c,
        '\t' | ' ' | '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}'
    )
}

pub(super) fn is_newline(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Code points that KDL admits nowhere: controls, and marks that turn the direction of text.
pub(super) fn is_forbidden(c: char) -> bool {
    matches!(c,
        '\0'..='\u{8}' | '\u{e}'..='\u{1f}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

pub(super) fn forbidden(at: usize, c: char) -> Refusal {
    Refusal::new(
        (at, c.len_utf8()),
        format!("the character U+{:04X} is not allowed", c as u32),
        "here",
        "it is invisible, or changes how the text around it is shown; remove it",
    )
}

fn is_word(c: char) -> bool {
    !is_space(c) && !is_newline(c) && !is_forbidden(c) && !"\\/(){}[];\"#=".contains(c)
}

/// Reads the token that starts at `at`; its end and what it may be used as.
pub(super) fn lexeme(text: &str, at: usize) -> Result<(usize, Lexeme), Refusal> {
    let rest = &text[at..];
    if rest.starts_with('"') {
        return string(text, at, at, 0).map(|end| (end, Lexeme::Text));
    }
    if rest.starts_with('#') {
        let hashes = rest.bytes().take_while(|byte| *byte == b'#').count();
        if rest[hashes..].starts_with('"') {
            if hashes > MAX_HASHES {
                let message = format!("a raw string with {hashes} `#`");
                return Err(Refusal::new((at, MAX_HASHES), message, "too many", "one or two are enough"));
            }
            return string(text, at, at + hashes, hashes).map(|end| (end, Lexeme::Text));
        }
        return keyword(text, at).map(|end| (end, Lexeme::Value));
    }
    let end = at + rest.find(|c| !is_word(c)).unwrap_or(rest.len());
    let word = &text[at..end];
    let unsigned = word.strip_prefix(['+', '-']).unwrap_or(word);
    if unsigned.starts_with(|c: char| c.is_ascii_digit()) {
        return number(word, unsigned, at).map(|()| (end, Lexeme::Value));
    }
    if unsigned.strip_prefix('.').is_some_and(|fraction| fraction.starts_with(|c: char| c.is_ascii_digit())) {
        let help = format!("write a digit before the point: `{}`", word.replacen('.', "0.", 1));
        return Err(Refusal::new((at, word.len()), "a number starts with a digit", "not a number", help));
    }
    if matches!(word, "true" | "false" | "null" | "inf" | "-inf" | "nan") {
        let help = format!("write `#{word}` for the value, or `\"{word}\"` for a text");
        return Err(Refusal::new(
            (at, word.len()),
            format!("`{word}` is ambiguous"),
            "not a KDL 2 value",
            help,
        ));
    }
    match rest.chars().next() {
        Some(c) if is_word(c) => Ok((end, Lexeme::Text)),
        Some(c) if is_forbidden(c) => Err(forbidden(at, c)),
        Some('(' | ')') => Err(Refusal::new(
            (at, 1),
            "type annotations are not used here",
            "a parenthesis outside of a text",
            "units are written into the value: `\"500ms\"`, `\"4GiB\"`, `\"5%\"`",
        )),
        Some(c) => Err(Refusal::new(
            (at, c.len_utf8()),
            format!("`{c}` cannot stand here"),
            "unexpected",
            "put texts that hold it into quotes: \"…\"",
        )),
        None => Err(Refusal::new((at, 0), "the text ends too early", "something is missing", "")),
    }
}

fn keyword(text: &str, at: usize) -> Result<usize, Refusal> {
    let rest = &text[at + 1..];
    let end = at + 1 + rest.find(|c| !is_word(c)).unwrap_or(rest.len());
    if matches!(&text[at + 1..end], "true" | "false" | "null" | "inf" | "-inf" | "nan") {
        return Ok(end);
    }
    let help = "keywords are `#true`, `#false` and `#null`; a comment starts with `//`";
    Err(Refusal::new((at, end - at), "no keyword of KDL", "unknown", help))
}

/// Checks a number's form. The parser holds each run of digits in 128 bits.
fn number(word: &str, unsigned: &str, at: usize) -> Result<(), Refusal> {
    let run = |digits: &str, base: u32| {
        let first = digits.starts_with(|c: char| c.is_digit(base));
        first && digits.chars().all(|c| c == '_' || c.is_digit(base))
    };
    let radix =
        [("0x", 16, 31), ("0X", 16, 31), ("0o", 8, 42), ("0O", 8, 42), ("0b", 2, 127), ("0B", 2, 127)];
    let prefixed =
        radix.iter().find_map(|(prefix, base, most)| Some((unsigned.strip_prefix(prefix)?, *base, *most)));
    let (valid, longest, most) = match prefixed {
        Some((digits, base, most)) => (run(digits, base), digits.len(), most),
        None => {
            let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
                Some((mantissa, exponent)) => {
                    (mantissa, exponent.strip_prefix(['+', '-']).unwrap_or(exponent))
                }
                None => (unsigned, "0"),
            };
            let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
            let parts = [whole, fraction, exponent];
            (
                parts.iter().all(|part| run(part, 10)),
                parts.iter().map(|part| part.len()).max().unwrap_or(0),
                38,
            )
        }
    };
    if !valid {
        let help = match word.strip_suffix(',') {
            Some(number) => format!("values are separated by spaces: write `{number}` without the comma"),
            None => {
                "texts that start with a digit are put into quotes, such as \"500ms\" or \"5%\"".to_owned()
            }
        };
        return Err(Refusal::new((at, word.len()), "not a number", "starts like a number", help));
    }
    if longest > most {
        let message = format!("a number with {longest} digits");
        return Err(Refusal::new((at, word.len()), message, "too long", "no setting needs so many"));
    }
    Ok(())
}

/// Reads a string; `start` is its first byte, `quote` its first quote, `hashes` > 0 for a raw one.
fn string(text: &str, start: usize, quote: usize, hashes: usize) -> Result<usize, Refusal> {
    let rest = &text[quote..];
    if rest.starts_with("\"\"\"") && rest[3..].starts_with(is_newline) {
        return multi_line(text, start, quote + 3, hashes);
    }
    let close = format!("\"{}", "#".repeat(hashes));
    let mut at = quote + 1;
    loop {
        let rest = &text[at..];
        let Some(c) = rest.chars().next() else { break };
        if rest.starts_with(&close) {
            // The parser reads `"""x"` and `#"""#` as broken multi-line strings.
            let tripled = text[quote..].starts_with("\"\"\"") || (hashes > 0 && &text[quote + 1..at] == "\"");
            if tripled && (hashes == 0 || at == quote + 2) {
                break;
            }
            return Ok(at + close.len());
        }
        if is_newline(c) {
            break;
        }
        if is_forbidden(c) {
            return Err(forbidden(at, c));
        }
        at += if c == '\\' && hashes == 0 { escape(text, at, true)? } else { c.len_utf8() };
    }
    let span = (start, at.saturating_sub(start).max(1));
    let help = "texts start and end with `\"`, on one line";
    Err(Refusal::new(span, "a text without its closing quote", "starts here", help).up_to_line_end())
}

/// Reads an escape; how long it is.
fn escape(text: &str, at: usize, over_lines: bool) -> Result<usize, Refusal> {
    let rest = &text[at + 1..];
    let next = rest.chars().next().unwrap_or('\0');
    if matches!(next, '\\' | '"' | 'b' | 'f' | 'n' | 'r' | 't' | 's') {
        return Ok(2);
    }
    if over_lines && (is_space(next) || is_newline(next)) {
        return Ok(1 + rest.find(|c| !is_space(c) && !is_newline(c)).unwrap_or(rest.len()));
    }
    if let Some(code) = rest.strip_prefix("u{") {
        let digits = code.bytes().take_while(u8::is_ascii_hexdigit).count();
        let value =
            (1..=6).contains(&digits).then(|| u32::from_str_radix(&code[..digits], 16).ok()).flatten();
        if value.and_then(char::from_u32).is_some() && code[digits..].starts_with('}') {
            return Ok(4 + digits);
        }
    }
    let length = 1 + if is_newline(next) { 0 } else { rest.chars().next().map_or(0, char::len_utf8) };
    let help = "a backslash is written `\\\\`; paths use `/`";
    Err(Refusal::new((at, length), "an unknown escape in a text", "here", help))
}

/// Reads a multi-line string, whose lines start with what stands before its closing quotes.
fn multi_line(text: &str, start: usize, body: usize, hashes: usize) -> Result<usize, Refusal> {
    let refuse = |message: &str, help: &str| {
        Err(Refusal::new((start, body - start), message, "starts here", help).fatal())
    };
    let close = format!("\"\"\"{}", "#".repeat(hashes));
    let mut at = body;
    while !text[at..].starts_with(&close) {
        let Some(c) = text[at..].chars().next() else {
            return refuse(
                "a multi-line text without its closing quotes",
                "close it with `\"\"\"` on a line of its own",
            );
        };
        if is_forbidden(c) {
            return Err(forbidden(at, c).fatal());
        }
        at += if c == '\\' && hashes == 0 {
            escape(text, at, false).map_err(Refusal::fatal)?
        } else {
            c.len_utf8()
        };
    }
    let lines: Vec<&str> = text[body..at].split(is_newline).collect();
    let Some((prefix, lines)) = lines.split_last() else { return Ok(at + close.len()) };
    if !prefix.chars().all(is_space) {
        return refuse(
            "the closing quotes of a multi-line text follow other text",
            "put them on a line of their own",
        );
    }
    if !lines.iter().all(|line| line.starts_with(prefix) || line.chars().all(is_space)) {
        return refuse(
            "lines of a multi-line text are indented less than its closing quotes",
            "indent them alike",
        );
    }
    Ok(at + close.len())
}
