//! Parts SQL into statements: at semicolons outside quotes, comments and parentheses.
//!
//! A comment before a statement may say how it is run, so that the file stays one that any other tool runs:
//! `-- nightmail: repeat until no rows, pause 50ms`.

use crate::duration::DurationMs;

/// What such comments begin with.
const DIRECTIVE: &str = "nightmail:";
/// The only one there is.
const REPEAT: &str = "repeat until no rows";

/// A statement of a migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    /// Without its semicolon and what stands before it.
    pub sql: String,
    /// Where it begins in its file, from 1.
    pub line: usize,
    /// It is run over and over until it touches no row, with this pause in between.
    pub repeat: Option<DurationMs>,
}

/// What is wrong with a file of SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flaw {
    /// From 1.
    pub line: usize,
    pub message: String,
    pub hint: &'static str,
}

impl Statement {
    /// Whether it runs a procedure, which may end transactions.
    pub(super) fn runs_procedure(&self) -> bool {
        ["CALL", "DO"].contains(&self.words().next().unwrap_or_default().as_str())
    }

    /// Whether the server runs it outside of transactions alone.
    pub(super) fn stands_alone(&self) -> bool {
        let words: Vec<String> = self.words().take(5).collect();
        let first = words.first().map(String::as_str).unwrap_or_default();
        let of_indexes = ["CREATE", "DROP", "REINDEX"].contains(&first);
        let of_servers = || ["DATABASE", "TABLESPACE", "SYSTEM"].contains(&words.get(1).map_or("", String::as_str));
        match first {
            "VACUUM" => true,
            _ if of_indexes && words.iter().any(|word| word == "CONCURRENTLY") => true,
            "CREATE" | "DROP" | "ALTER" => of_servers() && !(first == "ALTER" && words[1] == "DATABASE"),
            _ => false,
        }
    }

    /// Whether it begins or ends a transaction.
    fn controls_transactions(&self) -> bool {
        let mut words = self.words();
        let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        match first.as_str() {
            "BEGIN" | "COMMIT" | "END" | "ABORT" => true,
            "START" => second == "TRANSACTION",
            "ROLLBACK" => second != "TO",
            _ => false,
        }
    }

    fn words(&self) -> impl Iterator<Item = String> + '_ {
        let words = self.sql.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words.filter(|word| !word.is_empty()).map(str::to_ascii_uppercase)
    }
}

/// The statements of a text, in their order.
pub(super) fn statements(text: &str) -> Result<Vec<Statement>, Flaw> {
    let mut parser = Parser {
        text,
        at: 0,
        begin: None,
        depth: 0,
        repeat: None,
        found: Vec::new(),
    };
    while parser.at < text.len() {
        parser.step()?;
    }
    parser.finish()?;
    match parser.repeat {
        Some((line, _)) => Err(parser.flaw_in(
            line,
            "this comment is about no statement",
            "write it before the statement",
        )),
        None => Ok(parser.found),
    }
}

struct Parser<'a> {
    text: &'a str,
    /// What is looked at.
    at: usize,
    /// Where the statement begins, if one has.
    begin: Option<usize>,
    /// Of parentheses.
    depth: usize,
    /// What a comment said of the next statement, and the line in which.
    repeat: Option<(usize, DurationMs)>,
    found: Vec<Statement>,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn step(&mut self) -> Result<(), Flaw> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return Ok(());
        };
        if rest.starts_with("--") {
            return self.line_comment();
        }
        if rest.starts_with("/*") {
            return self.block_comment();
        }
        if first.is_whitespace() {
            self.at += first.len_utf8();
            return Ok(());
        }
        if first == ';' && self.depth == 0 {
            self.finish()?;
            self.at += 1;
            return Ok(());
        }
        if first == '\\' && self.begin.is_none() {
            let message = "this is a command of psql's, not SQL";
            return Err(self.flaw(self.at, message, "write out what it stands for"));
        }
        self.begin.get_or_insert(self.at);
        match first {
            '\'' | '"' => self.quoted(first),
            '$' => self.dollar(),
            _ => {
                self.depth = match first {
                    '(' => self.depth + 1,
                    ')' => self.depth.saturating_sub(1),
                    _ => self.depth,
                };
                self.at += first.len_utf8();
                Ok(())
            }
        }
    }

    fn line_comment(&mut self) -> Result<(), Flaw> {
        let rest = self.rest();
        let length = rest.find('\n').unwrap_or(rest.len());
        let said = rest[..length].trim_start_matches('-').trim();
        if let Some(directive) = said.strip_prefix(DIRECTIVE) {
            self.directive(directive.trim())?;
        }
        self.at += length;
        Ok(())
    }

    fn directive(&mut self, said: &str) -> Result<(), Flaw> {
        if self.begin.is_some() {
            let message = "this comment stands within a statement";
            return Err(self.flaw(self.at, message, "write it before the statement"));
        }
        let pause = match said.strip_prefix(REPEAT).map(str::trim) {
            Some("") => Some(DurationMs(0)),
            Some(more) => more
                .strip_prefix(',')
                .and_then(|more| more.trim().strip_prefix("pause"))
                .and_then(|pause| pause.trim().parse().ok()),
            None => None,
        };
        let Some(pause) = pause else {
            let message = format!("`{said}` is nothing that nightmail can be told");
            let hint = "write `-- nightmail: repeat until no rows` or `-- nightmail: repeat until no rows, pause 50ms`";
            return Err(self.flaw(self.at, message, hint));
        };
        self.repeat = Some((self.line(self.at), pause));
        Ok(())
    }

    /// They nest.
    fn block_comment(&mut self) -> Result<(), Flaw> {
        let began = self.at;
        let mut depth = 0;
        loop {
            let rest = self.rest();
            if rest.starts_with("/*") {
                depth += 1;
                self.at += 2;
            } else if rest.starts_with("*/") {
                depth -= 1;
                self.at += 2;
            } else {
                match rest.chars().next() {
                    Some(other) => self.at += other.len_utf8(),
                    None => return Err(self.flaw(began, "this comment is not closed", "close it with `*/`")),
                }
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Result<(), Flaw> {
        let began = self.at;
        // In E'...' a backslash takes the next character's meaning.
        let before = &self.text[..began];
        let is_escaped = quote == '\''
            && before.ends_with(['e', 'E'])
            && !before[..before.len() - 1].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        self.at += 1;
        let mut chars = self.rest().char_indices();
        while let Some((at, each)) = chars.next() {
            match each {
                '\\' if is_escaped => drop(chars.next()),
                // A quote twice closes the text and opens the next, which comes to the same.
                each if each == quote => {
                    self.at += at + 1;
                    return Ok(());
                }
                _ => {}
            }
        }
        Err(self.flaw(began, format!("this {quote} is not closed"), "close it"))
    }

    /// A text in `$tag$`, a parameter such as `$1`, or a part of a name.
    fn dollar(&mut self) -> Result<(), Flaw> {
        let began = self.at;
        let is_in_name = self.text[..began].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let rest = self.rest();
        let tag = rest[1..].find('$').map(|end| &rest[..end + 2]).filter(|tag| {
            let name = &tag[1..tag.len() - 1];
            name.chars().all(|c| c.is_alphanumeric() || c == '_') && !name.starts_with(|c: char| c.is_ascii_digit())
        });
        let Some(tag) = tag.filter(|_| !is_in_name) else {
            self.at += 1;
            return Ok(());
        };
        match rest[tag.len()..].find(tag) {
            Some(end) => {
                self.at += tag.len() + end + tag.len();
                Ok(())
            }
            None => Err(self.flaw(began, format!("this {tag} is not closed"), "close it")),
        }
    }

    fn finish(&mut self) -> Result<(), Flaw> {
        let Some(begin) = self.begin.take() else { return Ok(()) };
        self.depth = 0;
        let statement = Statement {
            sql: self.text[begin..self.at].trim_end().to_owned(),
            line: self.line(begin),
            repeat: self.repeat.take().map(|(_, pause)| pause),
        };
        if statement.controls_transactions() {
            let message = "it begins or ends a transaction, which the fault itself does";
            return Err(self.flaw(
                begin,
                message,
                "leave it out, and say `transaction: true` or `transaction: false`",
            ));
        }
        let words: Vec<String> = statement.words().collect();
        if words.windows(2).any(|pair| pair == ["BEGIN", "ATOMIC"]) {
            let message = "the semicolons of a body after BEGIN ATOMIC cannot be told from others";
            return Err(self.flaw(begin, message, "write the body in dollar quotes: AS $$ ... $$"));
        }
        self.found.push(statement);
        Ok(())
    }

    fn line(&self, at: usize) -> usize {
        self.text[..at].matches('\n').count() + 1
    }

    fn flaw(&self, at: usize, message: impl Into<String>, hint: &'static str) -> Flaw {
        self.flaw_in(self.line(at), message, hint)
    }

    fn flaw_in(&self, line: usize, message: impl Into<String>, hint: &'static str) -> Flaw {
        Flaw {
            line,
            message: message.into(),
            hint,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parted(text: &str) -> Vec<String> {
        let found = statements(text).unwrap();
        found.into_iter().map(|statement| statement.sql).collect()
    }

    #[test]
    fn semicolons_part_statements_and_those_in_quotes_comments_and_parentheses_do_not() {
        let text = "
-- one; comment
select 'a;''b', \"c;d\" ;
/* two; /* nested; */ ; */
create function f() returns text language sql as $body$ select 'x;'; $body$;;
select E'it\\'s;', $$;$$, a$b from t where a = $1;
create rule r as on insert to t do also (select 1; select 2)";
        assert_eq!(
            parted(text),
            [
                "select 'a;''b', \"c;d\"",
                "create function f() returns text language sql as $body$ select 'x;'; $body$",
                "select E'it\\'s;', $$;$$, a$b from t where a = $1",
                "create rule r as on insert to t do also (select 1; select 2)",
            ]
        );
        let lines: Vec<usize> = statements(text).unwrap().iter().map(|found| found.line).collect();
        assert_eq!(lines, [3, 5, 6, 7]);
        assert!(parted(" -- nothing\n ; ").is_empty());
    }

    #[test]
    fn a_comment_says_that_the_next_statement_alone_is_repeated() {
        let text = "select 1;\n-- nightmail: repeat until no rows, pause 50ms\n-- why\nupdate t set a = 1;\nselect 2;
            --nightmail: repeat until no rows\ndelete from t";
        let repeats: Vec<Option<u64>> = statements(text)
            .unwrap()
            .iter()
            .map(|found| found.repeat.map(|pause| pause.0))
            .collect();
        assert_eq!(repeats, [None, Some(50), None, Some(0)]);
    }

    #[test]
    fn what_cannot_be_run_is_told_with_its_line() {
        for (text, line, said) in [
            ("select 1;\nselect 'a", 2, "this ' is not closed"),
            ("select $a$ $b$;", 1, "this $a$ is not closed"),
            ("\n/* a", 2, "this comment is not closed"),
            ("\\i other.sql", 1, "a command of psql's"),
            ("select 1;\nbegin;", 2, "begins or ends a transaction"),
            ("rollback", 1, "begins or ends a transaction"),
            (
                "create function f() returns int begin atomic select 1; end;",
                1,
                "BEGIN ATOMIC",
            ),
            ("-- nightmail: repeat twice\nselect 1", 1, "`repeat twice` is nothing"),
            ("-- nightmail: repeat until no rows, pause 5\nselect 1", 1, "is nothing"),
            ("select 1;\n-- nightmail: repeat until no rows", 2, "about no statement"),
            ("select\n-- nightmail: repeat until no rows\n1", 2, "within a statement"),
        ] {
            let flaw = statements(text).unwrap_err();
            assert!(flaw.line == line && flaw.message.contains(said), "{text}: {flaw:?}");
        }
        assert_eq!(parted("savepoint a; rollback to a").len(), 2);
    }

    #[test]
    fn some_statements_stand_alone() {
        let alone = |text: &str| statements(text).unwrap()[0].stands_alone();
        for text in [
            "create unique index concurrently a on t (b)",
            "drop index concurrently a",
            "reindex table concurrently t",
            "vacuum t",
            "alter system set a = b",
        ] {
            assert!(alone(text), "{text}");
        }
        for text in [
            "create index a on t (b)",
            "refresh materialized view concurrently v",
            "alter table t add concurrently int",
            "create table vacuum ()",
            "do $$ begin end $$",
        ] {
            assert!(!alone(text), "{text}");
        }
        let runs = |text: &str| statements(text).unwrap()[0].runs_procedure();
        assert!(runs("call p()") && runs("DO $$ begin commit; end $$") && !runs("drop table done"));
    }
}
