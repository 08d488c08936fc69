//! `where`: which items of a final read count.

use std::collections::BTreeMap;

use super::{Checked, Evidence};
use crate::history::{Item, Value};

/// Items whose fields have these values, each one value or any of a list.
pub(super) struct Filter<'a> {
    wanted: Vec<(&'a str, Vec<Value<'a>>)>,
}

impl<'a> Filter<'a> {
    pub(super) fn new(wanted: &'a BTreeMap<String, serde_json::Value>) -> Self {
        let any_of = |value: &'a serde_json::Value| match value.as_array() {
            Some(values) => values.iter().map(plain).collect(),
            None => vec![plain(value)],
        };
        let wanted = wanted.iter().map(|(name, value)| (name.as_str(), any_of(value)));
        Self {
            wanted: wanted.collect(),
        }
    }

    /// The items that count, each with the number of its element. A field that no item has is a mistake in the definition,
    /// and so a doubt.
    pub(super) fn apply<'e>(
        &self,
        evidence: &'e Evidence<'e>,
        read: &str,
        checked: &mut Checked,
    ) -> Vec<(usize, &'e Item<'e>)> {
        for (name, _) in &self.wanted {
            let mut items = evidence.items(read).peekable();
            let empty = items.peek().is_none();
            if !empty && !items.any(|(_, item)| item.fields.get(name).is_some()) {
                checked.doubt(|| format!("no item of the final read `{read}` has the field `{name}`"));
            }
        }
        evidence.items(read).filter(|(_, item)| self.passes(item)).collect()
    }

    fn passes(&self, item: &Item<'_>) -> bool {
        let mut wanted = self.wanted.iter();
        wanted.all(|(name, values)| {
            let found = item.fields.get(name);
            found.is_some_and(|found| values.iter().any(|value| found.same(value)))
        })
    }
}

fn plain(value: &serde_json::Value) -> Value<'_> {
    match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(flag) => Value::Bool(*flag),
        serde_json::Value::String(text) => Value::Text(text.as_str().into()),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(int), _) => Value::Int(int),
            (None, Some(float)) => Value::Float(float),
            (None, None) => Value::Text(number.to_string().into()),
        },
        // Fields are plain, so nothing ever equals these.
        nested => Value::Text(nested.to_string().into()),
    }
}
