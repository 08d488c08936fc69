//! Keeps secrets out of everything that is written or shown: replicas' logs, plans, events, histories.
//!
//! What is a secret: a value that an experiment takes from an environment variable, the value of a variable whose name
//! says so, and a password within a URL. Secrets are replaced where they are captured, so that nothing downstream, reports
//! included, ever holds one.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;
use serde::de::DeserializeOwned;
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

fn is_long(value: &str) -> bool {
    value.trim().chars().count() >= CHARS_MIN
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
    /// For these values and each line of theirs, since logs come in lines; what is too short to be told from ordinary text
    /// is left out.
    pub fn new(secrets: impl IntoIterator<Item = String>) -> Self {
        let mut all = Vec::new();
        for secret in secrets {
            all.extend(secret.lines().map(|line| line.trim().to_owned()));
            all.push(secret);
        }
        all.retain(|secret| is_long(secret));
        all.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        all.dedup();
        Self::of(all)
    }

    fn of(secrets: Vec<String>) -> Self {
        let written = secrets.iter().map(|secret| {
            let quoted = Value::from(secret.as_str()).to_string();
            quoted[1..quoted.len() - 1].to_owned()
        });
        Self {
            written: written.collect(),
            secrets,
        }
    }

    /// Without those that are no secrets, as this says.
    pub fn sparing(self, is_none: impl Fn(&str) -> bool) -> Self {
        let mut secrets = self.secrets;
        secrets.retain(|secret| !is_none(secret));
        Self::of(secrets)
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

    /// Lets `replace` put a mask in the place of one secret after the other, where a `T` can still be read of the value
    /// then: one that is a word of the format as well, such as `poisson`, stays.
    pub fn readable<T: DeserializeOwned>(
        &self,
        mut value: Value,
        replace: impl Fn(&Self, &mut Value),
    ) -> serde_json::Result<T> {
        let each = self.secrets.iter().map(|secret| Self::of(vec![secret.clone()]));
        for one in std::iter::once(Self::default()).chain(each) {
            let mut replaced = value.clone();
            replace(&one, &mut replaced);
            if replaced != value && T::deserialize(&replaced).is_ok() {
                value = replaced;
            }
        }
        T::deserialize(value)
    }

    /// Whether JSON text holds a secret.
    pub fn is_in_json(&self, text: &[u8]) -> bool {
        std::str::from_utf8(text).is_ok_and(|text| self.written.iter().any(|secret| text.contains(secret.as_str())))
    }

    /// The same JSON text without secrets; absent if it holds none.
    pub fn json(&self, text: &[u8]) -> Option<Vec<u8>> {
        if !self.is_in_json(text) {
            return None;
        }
        let mut value: Value = serde_json::from_slice(text).ok()?;
        self.value(&mut value);
        serde_json::to_vec(&value).ok()
    }
}

/// Masks the values that an environment's names call secret. A short one, such as the `1` of a switch, is none.
pub fn mask(environment: &mut BTreeMap<String, String>) {
    for (name, value) in environment {
        if is_secret_name(name) && is_long(value) {
            *value = MASK.to_owned();
        }
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
    fn a_switch_is_no_secret() {
        let pairs = [("API_KEY", "hunter2"), ("NEW_KEY_EACH_TIME", "1"), ("NAME", "visible")];
        let mut environment = BTreeMap::from(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
        mask(&mut environment);
        assert_eq!(environment.into_values().collect::<Vec<_>>(), ["***", "visible", "1"]);
    }

    #[test]
    fn a_secret_of_several_lines_goes_line_by_line_too() {
        let redactor = Redactor::new(["-----BEGIN-----\n  c2VjcmV0\n}\n".to_owned()]);
        assert_eq!(redactor.text("key -----BEGIN-----"), "key ***");
        assert_eq!(redactor.text("c2VjcmV0 }"), "*** }");
        let with_a_line_break = Redactor::new(["hunter2\n".to_owned()]);
        assert_eq!(with_a_line_break.text("is hunter2?"), "is ***?");
    }

    #[test]
    fn a_word_of_the_format_stays_and_the_other_secrets_go() {
        #[derive(Debug, PartialEq, serde::Deserialize)]
        #[serde(rename_all = "lowercase")]
        enum Arrivals {
            Poisson,
        }
        let redactor = Redactor::new(["poisson".to_owned(), "hunter2".to_owned()]);
        let value = serde_json::json!(["poisson", "hunter2 poisson"]);
        let read: (Arrivals, String) = redactor.readable(value, Redactor::value).unwrap();
        assert_eq!(read, (Arrivals::Poisson, "*** poisson".to_owned()));
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
