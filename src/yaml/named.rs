//! Keys and values in whose place a name alone may stand.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

/// A `T` that may be written as text alone, from which it is made. Only [`super::read`] knows such text.
#[derive(Debug, Clone)]
pub struct Named<T>(pub T);

/// By this name the reader knows that text is welcome.
pub(in crate::yaml) const NAMED: &str = "nightmail::yaml::Named";

impl<T: Serialize> Serialize for Named<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<T: JsonSchema> JsonSchema for Named<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("{}OrName", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let whole = generator.subschema_for::<T>();
        json_schema!({"anyOf": [{"type": "string"}, whole]})
    }
}

impl<'de, T: Deserialize<'de> + From<String>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NamedVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de> + From<String>> Visitor<'de> for NamedVisitor<T> {
            type Value = Named<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name, or keys and values")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Named<T>, E> {
                Ok(Named(T::from(name.to_owned())))
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, whole: D) -> Result<Named<T>, D::Error> {
                T::deserialize(whole).map(Named)
            }
        }

        deserializer.deserialize_newtype_struct(NAMED, NamedVisitor(PhantomData))
    }
}
