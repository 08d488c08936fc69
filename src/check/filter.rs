//! `where`: which items of a final read count.

use std::collections::BTreeMap;

use super::Checked;
use crate::history::load::FinalList;
use crate::history::{Item, Value};

/// Items whose fields have these values.
pub(super) struct Filter<'a> {
    wanted: Vec<(&'a str, Value<'a>)>,
}

impl<'a> Filter<'a> {
    pub(super) fn new(wanted: &'a BTreeMap<String, serde_json::Value>) -> Self {
        let wanted = wanted.iter().map(|(name, value)| (name.as_str(), plain(value)));
        Self {
            wanted: wanted.collect(),
        }
    }

    /// The items that count. A field that no item has is a mistake in the definition, and so a doubt.
    pub(super) fn apply<'h, 'i>(
        &self,
        list: &'h FinalList<'i>,
        read: &str,
        checked: &mut Checked,
    ) -> Vec<&'h Item<'i>> {
        for (name, _) in &self.wanted {
            let known = list.items.iter().any(|item| item.fields.get(name).is_some());
            if !known && !list.items.is_empty() {
                checked.doubt(|| format!("no item of the final read `{read}` has the field `{name}`"));
            }
        }
        list.items.iter().filter(|item| self.passes(item)).collect()
    }

    fn passes(&self, item: &Item<'_>) -> bool {
        let mut wanted = self.wanted.iter();
        wanted.all(|(name, value)| item.fields.get(name).is_some_and(|found| found.same(value)))
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
