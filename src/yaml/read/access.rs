//! The deserializer's ways into lists, maps and enums.

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{self, DeserializeSeed, Visitor};

use super::reader::Reader;
use super::{Reading, Subject, Wrong};
use crate::yaml::node::{Entry, Node};

/// Elements of a list that have not been left out.
pub(super) struct ElementsAccess<'a> {
    elements: std::slice::Iter<'a, Node>,
    of: Option<&'a str>,
    reading: &'a Reading<'a>,
}

impl<'a> ElementsAccess<'a> {
    pub(super) fn new(elements: &'a [Node], of: Option<&'a str>, reading: &'a Reading<'a>) -> Self {
        Self {
            elements: elements.iter(),
            of,
            reading,
        }
    }
}

impl<'a> de::SeqAccess<'a> for ElementsAccess<'a> {
    type Error = Wrong;

    fn next_element_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<Option<T::Value>, Wrong> {
        let reading = self.reading;
        let Some(node) = self.elements.find(|node| !reading.is_left_out(node)) else {
            return Ok(None);
        };
        let reader = Reader::new(node, Subject::Element(self.of), reading);
        seed.deserialize(reader).map(Some).map_err(|wrong| wrong.at(&reader))
    }
}

/// Entries of a map that have not been left out.
pub(super) struct EntriesAccess<'a> {
    entries: std::vec::IntoIter<&'a Entry>,
    current: Option<&'a Entry>,
    reading: &'a Reading<'a>,
}

impl<'a> EntriesAccess<'a> {
    pub(super) fn new(entries: Vec<&'a Entry>, reading: &'a Reading<'a>) -> Self {
        Self {
            entries: entries.into_iter(),
            current: None,
            reading,
        }
    }
}

impl<'a> de::MapAccess<'a> for EntriesAccess<'a> {
    type Error = Wrong;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, Wrong> {
        let reading = self.reading;
        self.current = self.entries.find(|entry| !reading.is_left_out(&entry.node));
        let Some(entry) = self.current else {
            return Ok(None);
        };
        let key = seed.deserialize(BorrowedStrDeserializer::<Wrong>::new(&entry.key));
        key.map(Some).map_err(|wrong| {
            let reader = Reader::new(&entry.node, Subject::Key(entry), reading);
            wrong.at(&reader).pointing(entry.key_span.clone())
        })
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Wrong> {
        let entry = self
            .current
            .ok_or_else(|| <Wrong as de::Error>::custom("a value was asked for before its key"))?;
        let reader = Reader::new(&entry.node, Subject::Key(entry), self.reading);
        seed.deserialize(reader).map_err(|wrong| wrong.at(&reader))
    }
}

/// The content of an enum's variant.
pub(super) struct VariantAccess<'a> {
    tag: &'a str,
    content: Option<&'a Entry>,
    whole: Reader<'a>,
}

impl<'a> VariantAccess<'a> {
    pub(super) fn new(tag: &'a str, content: Option<&'a Entry>, whole: Reader<'a>) -> Self {
        Self { tag, content, whole }
    }

    fn content(&self) -> Result<Reader<'a>, Wrong> {
        match self.content {
            Some(entry) => Ok(Reader::new(&entry.node, Subject::Key(entry), self.whole.reading)),
            None => Err(Wrong::kind(&self.whole, "a key with a value")
                .reworded(format!("`{}` needs more than its name", self.tag))
                .hint(Some(format!("write `{}: ...` with its value", self.tag)))),
        }
    }
}

impl<'a> de::EnumAccess<'a> for VariantAccess<'a> {
    type Error = Wrong;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'a>>(self, seed: V) -> Result<(V::Value, Self), Wrong> {
        let tag = seed.deserialize(BorrowedStrDeserializer::<Wrong>::new(self.tag))?;
        Ok((tag, self))
    }
}

impl<'a> de::VariantAccess<'a> for VariantAccess<'a> {
    type Error = Wrong;

    fn unit_variant(self) -> Result<(), Wrong> {
        match self.content {
            None => Ok(()),
            Some(_) => Err(Wrong::kind(&self.whole, "a plain name")
                .reworded(format!("`{}` takes no value", self.tag))
                .hint(Some(format!("write `{}` alone", self.tag)))),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'a>>(self, seed: T) -> Result<T::Value, Wrong> {
        let reader = self.content()?;
        seed.deserialize(reader).map_err(|wrong| wrong.at(&reader))
    }

    fn tuple_variant<V: Visitor<'a>>(self, _: usize, visitor: V) -> Result<V::Value, Wrong> {
        de::Deserializer::deserialize_seq(self.content()?, visitor)
    }

    fn struct_variant<V: Visitor<'a>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Wrong> {
        self.content()?.read_struct(fields, visitor)
    }
}
