//! Words of an instruction: quotes, escapes and variables, by Docker's rules rather than a shell's.

use std::iter::Peekable;
use std::str::Chars;

/// Looks a variable up.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A word with its quotes and escapes taken away and its variables filled in; one that is not set is empty.
pub(super) fn expand(word: &str, escape: char, lookup: Lookup<'_>) -> Result<String, String> {
    let mut out = String::new();
    let mut chars = word.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' => loop {
                match chars.next() {
                    Some('\'') => break,
                    Some(c) => out.push(c),
                    None => return Err(format!("a single quote of `{word}` is not closed")),
                }
            },
            '"' => loop {
                match chars.next() {
                    Some('"') => break,
                    Some('$') => out += &variable(&mut chars, escape, lookup)?,
                    Some(c) if c == escape => match chars.next() {
                        Some(c) if c == '"' || c == '$' || c == escape => out.push(c),
                        Some(c) => out.extend([escape, c]),
                        None => return Err(format!("a double quote of `{word}` is not closed")),
                    },
                    Some(c) => out.push(c),
                    None => return Err(format!("a double quote of `{word}` is not closed")),
                }
            },
            '$' => out += &variable(&mut chars, escape, lookup)?,
            c if c == escape => out.extend(chars.next()),
            c => out.push(c),
        }
    }
    Ok(out)
}

/// What stands after a `$`.
fn variable(chars: &mut Peekable<Chars<'_>>, escape: char, lookup: Lookup<'_>) -> Result<String, String> {
    if chars.next_if_eq(&'{').is_some() {
        return braced(chars, escape, lookup);
    }
    let name = name(chars);
    if name.is_empty() {
        return Ok("$".to_owned());
    }
    Ok(lookup(&name).unwrap_or_default())
}

fn name(chars: &mut Peekable<Chars<'_>>) -> String {
    let mut name = String::new();
    while let Some(c) = chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
        name.push(c);
    }
    name
}

/// What stands after a `${`.
fn braced(chars: &mut Peekable<Chars<'_>>, escape: char, lookup: Lookup<'_>) -> Result<String, String> {
    let name = name(chars);
    let mut rest = String::new();
    let mut depth = 1;
    for c in chars {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        rest.push(c);
    }
    if depth > 0 || name.is_empty() {
        return Err(format!("`${{{name}{rest}` is not a variable; write `${{name}}`"));
    }
    let value = lookup(&name);
    if rest.is_empty() {
        return Ok(value.unwrap_or_default());
    }
    // With a colon an empty value counts as none.
    let (set, operator) = match rest.strip_prefix(':') {
        Some(operator) => (value.clone().filter(|value| !value.is_empty()), operator),
        None => (value.clone(), rest.as_str()),
    };
    let other = |text: &str| expand(text, escape, lookup);
    match (operator.get(..1), operator.get(1..)) {
        (Some("-"), Some(text)) => set.map_or_else(|| other(text), Ok),
        (Some("+"), Some(text)) => set.map_or_else(|| Ok(String::new()), |_| other(text)),
        (Some("?"), Some(text)) => {
            set.ok_or_else(|| format!("`{name}` is not set: {}", other(text).unwrap_or_default()))
        }
        _ => Err(format!(
            "`${{{name}{rest}}}` cannot be filled in; `${{x:-y}}`, `${{x:+y}}` and `${{x:?y}}` can, with or without the colon"
        )),
    }
}

/// Splits at white space that is neither quoted nor escaped; quotes and escapes stay.
pub(super) fn split(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote: Option<char> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == escape && quote != Some('\'') {
            word.push(c);
            word.extend(chars.next());
            continue;
        }
        if quote.is_none() && c.is_whitespace() {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            continue;
        }
        match quote {
            Some(open) if open == c => quote = None,
            None if c == '\'' || c == '"' => quote = Some(c),
            _ => {}
        }
        word.push(c);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// The words of `["a", "b"]`; none if it is not such a list.
pub(super) fn json(text: &str) -> Option<Vec<String>> {
    text.starts_with('[').then(|| serde_json::from_str(text).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "x" => Some("value".to_owned()),
            "empty" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn variables_are_filled_in_as_docker_does() {
        for (word, expected) in [
            ("$x/y", "value/y"),
            ("a${x}b", "avalueb"),
            ("${none:-d$x}", "dvalue"),
            ("${empty:-d}", "d"),
            ("${empty-d}", ""),
            ("${x:+set}", "set"),
            ("${none+set}", ""),
            ("'$x'", "$x"),
            ("\"a $x\"", "a value"),
            ("\\$x", "$x"),
            ("\"\\$x \\n\"", "$x \\n"),
            ("$none", ""),
            ("5$", "5$"),
            ("${none:-${x}}", "value"),
        ] {
            assert_eq!(expand(word, '\\', &lookup).as_deref(), Ok(expected), "{word}");
        }
        for wrong in ["'a", "\"a", "${x", "${none:?must be}", "${x#v}", "${}"] {
            assert!(expand(wrong, '\\', &lookup).is_err(), "{wrong}");
        }
    }

    #[test]
    fn words_keep_together_what_is_quoted_or_escaped() {
        let expected = ["a=\"b c\"", "d=e\\ f", "g='h i'"];
        assert_eq!(split("a=\"b c\"  d=e\\ f g='h i'", '\\'), expected);
        assert_eq!(json("[\"a\", \"b\"]").unwrap(), ["a", "b"]);
        assert_eq!(json("[ -f x ]"), None);
    }
}
