//! Keeps secrets out of logs.

use std::collections::BTreeMap;

use regex::Regex;

/// Replaces secrets in lines.
#[derive(Debug)]
pub(super) struct Redactor {
    /// The longest first, so that a secret that begins with another is replaced whole.
    secrets: Vec<String>,
    in_url: Regex,
}

const WORDS: [&str; 4] = ["PASSWORD", "SECRET", "TOKEN", "KEY"];

/// A shorter value would be found by accident everywhere.
const CHARS_MIN: usize = 5;

impl Redactor {
    /// For a replica with this environment.
    pub(super) fn new(environment: &BTreeMap<String, String>) -> Self {
        let mut secrets: Vec<String> = environment
            .iter()
            .filter(|(name, _)| {
                let name = name.to_ascii_uppercase();
                WORDS.iter().any(|word| name.contains(word))
            })
            .map(|(_, value)| value.clone())
            .filter(|value| value.chars().count() >= CHARS_MIN)
            .collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self {
            secrets,
            in_url: Regex::new(r"(?P<before>[A-Za-z][A-Za-z0-9+.-]*://[^\s/:@]*:)[^\s/@]+@").expect("a valid pattern"),
        }
    }

    /// The line without secrets.
    pub(super) fn redact(&self, line: &str) -> String {
        let mut line = if line.contains("://") {
            self.in_url.replace_all(line, "$before***@").into_owned()
        } else {
            line.to_owned()
        };
        for secret in &self.secrets {
            if line.contains(secret.as_str()) {
                line = line.replace(secret.as_str(), "***");
            }
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_and_the_rest_stays() {
        let environment = BTreeMap::from(
            [
                ("DB_PASSWORD", "hunter2"),
                ("api_token", "hunter2-longer"),
                ("SHORT_KEY", "1"),
                ("NAME", "visible"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        let redactor = Redactor::new(&environment);
        assert_eq!(
            redactor.redact("a hunter2-longer b hunter2 c 1 visible"),
            "a *** b *** c 1 visible"
        );
        assert_eq!(
            redactor.redact("at postgres://app:s3cr3t@db:5432/x and http://db:80/"),
            "at postgres://app:***@db:5432/x and http://db:80/"
        );
    }
}
