//! A migration's file: kept whole in the plan, and parted into statements as `psql` parts it.

use std::fmt;
use std::path::Path;

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

use super::statements::{Flaw, Statement, statements};
use crate::fault::Problem;

/// A migration is text that somebody wrote; what is larger is a dump.
const BYTES_MAX: u64 = 256 * 1024;

/// A file of SQL. An experiment names it, relative to the folder of the system; a plan holds what it says, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlFile {
    /// As it is written in the experiment.
    pub path: String,
    /// What it says, once it was read.
    text: Option<String>,
}

impl SqlFile {
    /// A file that was read.
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            text: Some(text.into()),
        }
    }

    /// Reads it; `key` is the parameter that names it.
    pub(super) fn read(&mut self, key: &str, folder: &Path) -> Option<Problem> {
        if self.text.is_some() {
            return None;
        }
        match read(&folder.join(&self.path)) {
            Ok(text) => {
                self.text = Some(text);
                None
            }
            Err(reason) => Some(Problem {
                path: key.to_owned(),
                message: format!("cannot be read: {}: {reason}", self.path),
                hint: "name a file of SQL, relative to the folder of system.yaml".to_owned(),
            }),
        }
    }

    /// Its statements, of which there is at least one.
    pub(super) fn statements(&self) -> Result<Vec<Statement>, Flaw> {
        let found = statements(self.text.as_deref().unwrap_or_default())?;
        match found.is_empty() {
            false => Ok(found),
            true => Err(Flaw {
                line: 1,
                message: "there is no statement in it".to_owned(),
                hint: "write the statements of the migration, each with a semicolon at its end",
            }),
        }
    }

    /// What is wrong with what it says, if anything is; `key` is the parameter that names it.
    pub(super) fn problem(&self, key: &str) -> Option<Problem> {
        let flaw = self.statements().err()?;
        Some(self.flawed(key, &flaw))
    }

    pub(super) fn flawed(&self, key: &str, flaw: &Flaw) -> Problem {
        Problem {
            path: key.to_owned(),
            message: format!(
                "is no migration that can be run: {}:{}: {}",
                self.path, flaw.line, flaw.message
            ),
            hint: flaw.hint.to_owned(),
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    let length = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > BYTES_MAX {
        return Err(format!("it is larger than {} KB", BYTES_MAX / 1024));
    }
    std::fs::read_to_string(path).map_err(|error| error.to_string())
}

impl fmt::Display for SqlFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}

impl Serialize for SqlFile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(text) = &self.text else {
            return serializer.serialize_str(&self.path);
        };
        let mut whole = serializer.serialize_struct("SqlFile", 2)?;
        whole.serialize_field("path", &self.path)?;
        whole.serialize_field("text", text)?;
        whole.end()
    }
}

impl<'de> Deserialize<'de> for SqlFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PathOrWhole;

        impl<'de> Visitor<'de> for PathOrWhole {
            type Value = SqlFile;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the path of a file of SQL")
            }

            fn visit_str<E: de::Error>(self, path: &str) -> Result<SqlFile, E> {
                Ok(SqlFile {
                    path: path.to_owned(),
                    text: None,
                })
            }

            /// As a plan has it.
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SqlFile, A::Error> {
                let mut file = SqlFile {
                    path: String::new(),
                    text: None,
                };
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "path" => file.path = map.next_value()?,
                        "text" => file.text = Some(map.next_value()?),
                        other => return Err(de::Error::unknown_field(other, &["path", "text"])),
                    }
                }
                Ok(file)
            }
        }

        deserializer.deserialize_any(PathOrWhole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_holds_what_the_file_says() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("add.sql"), "select 1;").unwrap();
        let mut file: SqlFile = serde_json::from_str("\"add.sql\"").unwrap();
        assert_eq!(file.read("script", folder.path()), None);
        let written = serde_json::to_string(&file).unwrap();
        std::fs::remove_file(folder.path().join("add.sql")).unwrap();
        let mut again: SqlFile = serde_json::from_str(&written).unwrap();
        assert_eq!(again.read("script", folder.path()), None);
        assert_eq!(again, SqlFile::new("add.sql", "select 1;"));
    }

    #[test]
    fn a_file_that_is_not_there_or_says_nothing_is_a_problem_where_it_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut missing: SqlFile = serde_json::from_str("\"missing.sql\"").unwrap();
        let problem = missing.read("rollback", folder.path()).unwrap();
        assert_eq!(problem.path, "rollback");
        assert!(problem.message.contains("missing.sql: No such file"), "{problem:?}");
        let empty = SqlFile::new("empty.sql", "-- to be written\n;");
        let problem = empty.problem("script").unwrap();
        assert!(
            problem.message.contains("empty.sql:1: there is no statement"),
            "{problem:?}"
        );
    }
}
