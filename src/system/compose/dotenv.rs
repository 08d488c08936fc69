//! Files of `NAME=value` lines: `.env` and `env_file`.

use std::collections::BTreeMap;
use std::path::Path;

use crate::diagnostic::Diagnostic;

/// The environment with what `.env` adds; what the environment already holds wins.
pub(super) fn with_dotenv(
    dir: &Path,
    environment: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, Diagnostic> {
    let path = dir.join(".env");
    let mut merged = if path.is_file() {
        read(&path, environment)?
    } else {
        BTreeMap::new()
    };
    merged.extend(environment.clone());
    Ok(merged)
}

/// The variables of a file. A name without `=` takes its value from `environment`, and is left out if that has none.
pub(super) fn read(
    path: &Path,
    environment: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, Diagnostic> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Diagnostic::in_file(path, format!("this file of variables cannot be read: {error}")))?;
    let mut variables = BTreeMap::new();
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let start = offset;
        offset += line.len();
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name.trim(), Some(unquote(value.trim()))),
            None => (line, environment.get(line).cloned()),
        };
        if name.is_empty() || name.contains(char::is_whitespace) {
            let text: std::sync::Arc<str> = text.as_str().into();
            return Err(Diagnostic::at(
                path,
                &text,
                start..offset,
                format!("`{name}` is not the name of a variable"),
            )
            .allowed("lines of the form NAME=value, comments (#), and empty lines"));
        }
        if let Some(value) = value {
            variables.insert(name.to_owned(), value);
        }
    }
    Ok(variables)
}

fn unquote(value: &str) -> String {
    if let Some(inner) = value.strip_prefix('\'').and_then(|rest| rest.split_once('\'')) {
        return inner.0.to_owned();
    }
    if let Some(inner) = value.strip_prefix('"').and_then(closing_quote) {
        return inner;
    }
    // An unquoted value ends before a comment that follows a blank.
    let end = value.find(" #").unwrap_or(value.len());
    value[..end].trim_end().to_owned()
}

fn closing_quote(text: &str) -> Option<String> {
    let mut value = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next()? {
            '"' => return Some(value),
            '\\' => match chars.next()? {
                'n' => value.push('\n'),
                't' => value.push('\t'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_comments_and_names_without_a_value() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vars");
        std::fs::write(&path, "# c\nA=1 # one\nexport B='x # y'\nC=\"a\\nb\"\nHOST\nABSENT\n").unwrap();
        let host = BTreeMap::from([("HOST".to_owned(), "h".to_owned())]);
        let read = read(&path, &host).unwrap();
        let expected = [("A", "1"), ("B", "x # y"), ("C", "a\nb"), ("HOST", "h")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(read, BTreeMap::from(expected));
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(".env"), "A=file\nB=file\n").unwrap();
        let environment = BTreeMap::from([("A".to_owned(), "process".to_owned())]);
        let merged = with_dotenv(dir.path(), &environment).unwrap();
        assert_eq!((merged["A"].as_str(), merged["B"].as_str()), ("process", "file"));
    }

    #[test]
    fn a_line_that_is_no_variable_is_an_error_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vars");
        std::fs::write(&path, "A=1\nno variable = x\n").unwrap();
        let error = read(&path, &BTreeMap::new()).unwrap_err();
        assert_eq!(error.line(), Some(2));
    }
}
