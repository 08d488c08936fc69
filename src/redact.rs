//! Keeps secrets out of everything that is written or shown: replicas' logs, plans, events, histories.
//!
//! What is a secret: a value that an experiment takes from an environment variable, the value of a variable whose name
//! says so, and a password within a URL. Secrets are replaced where they are captured, so that nothing downstream, reports
//! included, ever holds one.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

/// What stands in a secret's place.
pub const MASK: &str = "***";

/// A shorter value would be found by accident everywhere.
const CHARS_MIN: usize = 5;

/// A word of a name that makes its value a secret; `POSTGRES_PASSWORD` has two words.
const WORDS: [&str; 9] = [
    "password",
    "passwd",
    "pass",
    "secret",
    "token",
    "key",
    "credential",
    "credentials",
    "auth",
];
/// The end of a word that does: `PGPASSWORD`, `APIKEY`.
const ENDS: [&str; 5] = ["password", "passwd", "secret", "token", "apikey"];

static IN_URL: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?P<before>[A-Za-z][A-Za-z0-9+.-]*://[^\s/:@]*:)[^\s/@]+@").expect("a valid pattern")
});

/// Whether a variable of that name holds a secret.
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_lowercase();
    let mut words = name.split(|c: char| !c.is_alphanumeric());
    words.any(|word| WORDS.contains(&word) || ENDS.iter().any(|end| word.ends_with(end)))
}

/// The value as it may be shown, by its variable's name.
pub fn shown<'a>(name: &str, value: &'a str) -> std::borrow::Cow<'a, str> {
    if is_secret_name(name) {
        return MASK.into();
    }
    without_passwords(value)
}

fn without_passwords(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains("://") {
        IN_URL.replace_all(text, format!("${{before}}{MASK}@"))
    } else {
        text.into()
    }
}

/// Replaces secrets in texts.
#[derive(Debug, Clone, Default)]
pub struct Redactor {
    /// The longest first, so that a secret that begins with another is replaced whole.
    secrets: Vec<String>,
    /// The same as JSON writes them, to see quickly that a line holds none.
    written: Vec<String>,
}

impl Redactor {
    /// For these values; those too short to be told from ordinary text are left out.
    pub fn new(secrets: impl IntoIterator<Item = String>) -> Self {
        let long = |secret: &String| secret.chars().count() >= CHARS_MIN;
        let mut secrets: Vec<String> = secrets.into_iter().filter(long).collect();
        secrets.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        secrets.dedup();
        let written = secrets.iter().map(|secret| {
            let quoted = Value::from(secret.as_str()).to_string();
            quoted[1..quoted.len() - 1].to_owned()
        });
        Self {
            written: written.collect(),
            secrets,
        }
    }

    /// For a replica with this environment too.
    pub fn with_environment(&self, environment: &BTreeMap<String, String>) -> Self {
        Self::new(in_environment(environment).chain(self.secrets.iter().cloned()))
    }

    /// The text without secrets.
    pub fn text(&self, text: &str) -> String {
        let mut text = without_passwords(text).into_owned();
        for secret in &self.secrets {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), MASK);
            }
        }
        text
    }

    /// Replaces secrets in every string of a value; names of members stay.
    pub fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(elements) => elements.iter_mut().for_each(|element| self.value(element)),
            Value::Object(members) => members.values_mut().for_each(|member| self.value(member)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// The same JSON text without secrets; absent if it holds none.
    pub fn json(&self, text: &[u8]) -> Option<Vec<u8>> {
        let text = std::str::from_utf8(text).ok()?;
        if !self.written.iter().any(|secret| text.contains(secret.as_str())) {
            return None;
        }
        let mut value: Value = serde_json::from_str(text).ok()?;
        self.value(&mut value);
        serde_json::to_vec(&value).ok()
    }
}

/// The values that an environment's names call secret.
pub fn in_environment(environment: &BTreeMap<String, String>) -> impl Iterator<Item = String> {
    let secret = environment.iter().filter(|(name, _)| is_secret_name(name));
    secret.map(|(_, value)| value.clone())
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
        let redactor = Redactor::new(["from-outside".to_owned()]).with_environment(&environment);
        assert_eq!(
            redactor.text("a hunter2-longer b hunter2 c 1 visible from-outside"),
            "a *** b *** c 1 visible ***"
        );
        assert_eq!(
            redactor.text("at postgres://app:s3cr3t@db:5432/x and http://db:80/"),
            "at postgres://app:***@db:5432/x and http://db:80/"
        );
    }

    #[test]
    fn names_say_what_is_secret() {
        assert_eq!(shown("POSTGRES_PASSWORD", "hunter2"), "***");
        assert_eq!(shown("PGPASSWORD", "hunter2"), "***");
        assert_eq!(shown("api-token", "hunter2"), "***");
        assert_eq!(
            shown("DATABASE", "postgres://app:hunter2@db/postage"),
            "postgres://app:***@db/postage"
        );
        assert_eq!(shown("MONKEY", "see http://api:8080/"), "see http://api:8080/");
        assert_eq!(shown("RATE", "5"), "5");
    }

    #[test]
    fn json_stays_json() {
        let redactor = Redactor::new(["say \"123456\"".to_owned(), "123456".to_owned(), "tick".to_owned()]);
        let text = br#"{"a":"say \"123456\", 123456","n":1234567,"tick":["tick"]}"#;
        let redacted = String::from_utf8(redactor.json(text).unwrap()).unwrap();
        assert_eq!(redacted, r#"{"a":"***, ***","n":1234567,"tick":["tick"]}"#);
        assert_eq!(redactor.json(br#"{"a":"nothing"}"#), None);
    }
}
