//! The quick way through a history: lines exactly as `record` writes them.
//!
//! A million lines must be read in about a second. This reader knows one spelling, that of compact JSON with the members
//! in the order of the types' fields, and gives up on anything else: escapes, floats, spaces, other orders. What it
//! gives up on, `load` hands to serde_json, which decides. So it must never accept what serde_json would refuse or
//! would read differently; `load`'s tests compare the two.

use std::borrow::Cow;

use super::{Fields, Item, Op, Outcome, Value};

/// A place in a text of JSON.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { rest: text }
    }

    /// What has not been read.
    pub(super) fn rest(&self) -> &'a str {
        self.rest
    }

    /// Passes `expected`, if it is next.
    fn eat(&mut self, expected: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(expected)?;
        Some(())
    }

    /// Passes what is before `length`, and gives it.
    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }

    /// The rest of a string without escapes, whose opening quote has been passed.
    fn string_rest(&mut self) -> Option<&'a str> {
        let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
        let end = self.rest.as_bytes().iter().position(special)?;
        let text = self.take(end);
        self.eat("\"")?;
        Some(text)
    }

    /// Digits that are a whole number and nothing more.
    fn digits(&mut self) -> Option<&'a str> {
        let bytes = self.rest.as_bytes();
        let end = bytes.iter().position(|byte| !byte.is_ascii_digit())?;
        let more = matches!(bytes[end], b'.' | b'e' | b'E');
        let padded = end > 1 && bytes[0] == b'0';
        if end == 0 || more || padded {
            return None;
        }
        Some(self.take(end))
    }

    fn number<T: std::str::FromStr>(&mut self) -> Option<T> {
        self.digits()?.parse().ok()
    }

    fn int(&mut self) -> Option<i64> {
        let whole = self.rest;
        if self.eat("-").is_none() {
            return self.number();
        }
        let digits = self.digits()?;
        if digits == "0" {
            // JSON's -0 is a float.
            return None;
        }
        whole[..digits.len() + 1].parse().ok()
    }

    fn value(&mut self) -> Option<Value<'a>> {
        let value = match self.rest.as_bytes().first()? {
            b'"' => {
                self.eat("\"")?;
                Value::Text(Cow::Borrowed(self.string_rest()?))
            }
            b't' => self.eat("true").map(|()| Value::Bool(true))?,
            b'f' => self.eat("false").map(|()| Value::Bool(false))?,
            b'n' => self.eat("null").map(|()| Value::Null)?,
            _ => Value::Int(self.int()?),
        };
        Some(value)
    }

    /// A member of an object and whether it is the last.
    fn member(&mut self) -> Option<(&'a str, Value<'a>, bool)> {
        self.eat("\"")?;
        let name = self.string_rest()?;
        self.eat(":")?;
        let value = self.value()?;
        let last = self.eat("}").is_some();
        if !last {
            self.eat(",")?;
        }
        Some((name, value, last))
    }

    /// Passes an object of plain values, and gives its text.
    pub(super) fn plain_object(&mut self) -> Option<&'a str> {
        let start = self.rest;
        self.eat("{")?;
        if self.eat("}").is_none() {
            while !self.member()?.2 {}
        }
        Some(&start[..start.len() - self.rest.len()])
    }

    /// The members of an object that [`Cursor::plain_object`] has passed.
    pub(super) fn into_members(mut self) -> impl Iterator<Item = (&'a str, Value<'a>)> {
        let mut more = self.eat("{").is_some() && self.eat("}").is_none();
        std::iter::from_fn(move || {
            if !more {
                return None;
            }
            let (name, value, last) = self.member()?;
            more = !last;
            Some((name, value))
        })
    }

    fn fields(&mut self) -> Option<Fields<'a>> {
        self.plain_object().map(Fields::from_text)
    }

    fn outcome(&mut self) -> Option<Outcome> {
        match self.string_rest()? {
            "ok" => Some(Outcome::Ok),
            "fail" => Some(Outcome::Fail),
            "info" => Some(Outcome::Info),
            _ => None,
        }
    }

    /// An operation's line with its end.
    pub(super) fn op(&mut self) -> Option<Op<'a>> {
        self.eat(r#"{"op":{"kind":""#)?;
        let kind = self.string_rest()?;
        self.eat(r#","key":""#)?;
        let key = self.string_rest()?;
        self.eat(r#","intended_us":"#)?;
        let intended_us = self.number()?;
        let sent_us = match self.eat(r#","sent_us":"#) {
            Some(()) => Some(self.number()?),
            None => None,
        };
        self.eat(r#","done_us":"#)?;
        let done_us = self.number()?;
        self.eat(r#","outcome":""#)?;
        let outcome = self.outcome()?;
        self.eat(r#","attempts":"#)?;
        let attempts = self.number()?;
        let status = match self.eat(r#","status":"#) {
            Some(()) => Some(self.number()?),
            None => None,
        };
        let error = match self.eat(r#","error":""#) {
            Some(()) => Some(Cow::Borrowed(self.string_rest()?)),
            None => None,
        };
        let values = match self.eat(r#","values":"#) {
            Some(()) => self.fields()?,
            None => Fields::default(),
        };
        self.eat("}}\n")?;
        Some(Op {
            kind: Cow::Borrowed(kind),
            key: Cow::Borrowed(key),
            intended_us,
            sent_us,
            done_us,
            outcome,
            attempts,
            status,
            error,
            values,
            // A line that has one is no line of this spelling.
            forbidden: None,
        })
    }

    /// An item's line with its end.
    pub(super) fn item(&mut self) -> Option<Item<'a>> {
        self.eat(r#"{"item":{"read":""#)?;
        let read = self.string_rest()?;
        self.eat(r#","element":""#)?;
        let element = self.string_rest()?;
        let fields = match self.eat(r#","fields":"#) {
            Some(()) => self.fields()?,
            None => Fields::default(),
        };
        self.eat("}}\n")?;
        Some(Item {
            read: Cow::Borrowed(read),
            element: Cow::Borrowed(element),
            fields,
        })
    }
}
