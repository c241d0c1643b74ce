//! Decodes documents into typed values. Every error has a location.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::iter::Enumerate;
use std::sync::Arc;
use std::{fmt, slice};

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};

use super::error::Error;
use super::located::LOCATED;
use super::near::{did_you_mean, misspelt};
use super::node::{Key, Location, Node, Segment, Value, path_to_string};

/// Decodes a document. A field that the type does not know is an error, except inside the top-level `status`: the API
/// server writes it, and newer servers add fields.
///
/// # Errors
/// If the document does not have the type's shape.
pub fn decode<'a, T: Deserialize<'a>>(node: &'a Node) -> Result<T, DecodeError> {
    let decoder = Decoder { node, step: Step::Root, tolerant: false, unknown: None };
    T::deserialize(decoder).map_err(|error| decoder.locate(error))
}

/// A field that a type does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownField {
    /// Its path, without list indices.
    pub path: String,
    /// Location of its first occurrence.
    pub at: Location,
    /// The field of the type that it may be a misspelling of.
    pub meant: Option<&'static str>,
}

/// Decodes a document that a server has written. Also returns the fields that the type does not know, because newer
/// servers add fields. Each path occurs once, and the paths are sorted.
///
/// # Errors
/// If the document does not have the type's shape, apart from unknown fields.
pub fn decode_live<T: DeserializeOwned>(node: &Node) -> Result<(T, Vec<UnknownField>), DecodeError> {
    let unknown = UnknownFields::default();
    let decoder = Decoder { node, step: Step::Root, tolerant: false, unknown: Some(&unknown) };
    let value = T::deserialize(decoder).map_err(|error| decoder.locate(error))?;
    Ok((value, unknown.into_inner().into_values().collect()))
}

/// Unknown fields by path.
type UnknownFields = RefCell<BTreeMap<String, UnknownField>>;

/// Names of a type's fields; empty for maps.
type Fields = &'static [&'static str];

/// A document that does not have the shape of a type.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct DecodeError {
    /// `None` as long as the message is without the path to the field.
    at: Option<Location>,
    message: String,
}

impl DecodeError {
    /// Returns the location of the error.
    pub fn at(&self) -> Location {
        self.at.unwrap_or(Location::START)
    }

    /// Returns the error with its place in a file.
    pub fn within(self, file: &Arc<str>) -> Error {
        Error::at(file, self.at(), self.message.clone()).because(self)
    }
}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { at: None, message: message.to_string() }
    }

    fn unknown_field(field: &str, expected: Fields) -> Self {
        let known = match expected {
            [] => "there are no fields".to_owned(),
            [_, ..] => format!("expected {}", one_of(expected)),
        };
        let meant = did_you_mean(misspelt(field, expected.iter().copied()).as_slice());
        Self::custom(format_args!("unknown field `{field}`, {known}{meant}"))
    }
}

/// Returns names as serde lists them.
fn one_of(names: Fields) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    match names.as_slice() {
        [] | [_] | [_, _] => names.join(" or "),
        [_, _, _, ..] => format!("one of {}", names.join(", ")),
    }
}

/// A part of a document that is decoded.
#[derive(Clone, Copy)]
struct Decoder<'a, 't> {
    node: &'a Node,
    step: Step<'a, 't>,
    tolerant: bool,
    /// Where unknown fields are recorded; `None` if they are errors.
    unknown: Option<&'t UnknownFields>,
}

/// Position of a part in the part around it.
#[derive(Clone, Copy)]
enum Step<'a, 't> {
    Root,
    Field { parent: &'t Decoder<'a, 't>, key: &'a Key, fields: Fields },
    Index { parent: &'t Decoder<'a, 't>, index: usize },
}

impl Decoder<'_, '_> {
    fn path(&self) -> Vec<Segment> {
        let (parent, segment) = match self.step {
            Step::Root => return Vec::new(),
            Step::Field { parent, key, .. } => (parent, Segment::Field(key.value.clone())),
            Step::Index { parent, index } => (parent, Segment::Index(index)),
        };
        let mut path = parent.path();
        path.push(segment);
        path
    }

    /// Adds the path and location of this part to an error that has none.
    fn locate(&self, error: DecodeError) -> DecodeError {
        self.locate_at(self.node.at, error)
    }

    fn locate_at(&self, at: Location, error: DecodeError) -> DecodeError {
        if error.at.is_some() {
            return error;
        }
        let path = path_to_string(&self.path());
        let before = if path.is_empty() { "" } else { ": " };
        DecodeError { at: Some(at), message: format!("{path}{before}{}", error.message) }
    }

    fn wrong_type(&self, expected: &str) -> DecodeError {
        let hint = match (&self.node.value, expected) {
            (Value::Bool(_) | Value::Integer(_) | Value::Float(_), "a string") => ": quote it",
            _ => "",
        };
        let found = self.node.value.describe();
        self.locate(de::Error::custom(format!("expected {expected}, found {found}{hint}")))
    }
}

impl<'de> Deserializer<'de> for Decoder<'de, '_> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Integer(value) => visitor.visit_i64(*value),
            // `kubectl` writes `80.0` as the JSON number 80, an integer.
            Value::Float(value) => match whole(*value) {
                Some(whole) => visitor.visit_i64(whole),
                None => visitor.visit_f64(*value),
            },
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Sequence(items) => {
                visitor.visit_seq(Items { parent: self, items: items.iter().enumerate() })
            }
            Value::Mapping(entries) => {
                visitor.visit_map(Entries { parent: self, fields: &[], entries: entries.iter(), value: None })
            }
        }
        .map_err(|error| self.locate(error))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.node.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.node.as_str().is_none() {
            return Err(self.wrong_type("a string"));
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_string(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if !matches!(self.node.value, Value::Sequence(_)) {
            return Err(self.wrong_type("a list"));
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if !matches!(self.node.value, Value::Mapping(_)) {
            return Err(self.wrong_type("a mapping"));
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: Fields,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let Value::Mapping(entries) = &self.node.value else { return Err(self.wrong_type("a mapping")) };
        visitor
            .visit_map(Entries { parent: self, fields, entries: entries.iter(), value: None })
            .map_err(|error| self.locate(error))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        if name == LOCATED {
            return visitor.visit_seq(WithLocation { at: self.node.at, inner: self, next: 0 });
        }
        self.deserialize_seq(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let Some(text) = self.node.as_str() else { return Err(self.wrong_type("a string")) };
        visitor.visit_enum(StrDeserializer::<DecodeError>::new(text)).map_err(|error| self.locate(error))
    }

    /// Handles the value of a field that the type does not know.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match (self.step, self.unknown) {
            _ if self.tolerant => {}
            (Step::Field { key, fields, .. }, Some(unknown)) => {
                let mut path = self.path();
                path.retain(|segment| matches!(segment, Segment::Field(_)));
                let path = path_to_string(&path);
                let meant = misspelt(&key.value, fields.iter().copied());
                let field = UnknownField { path: path.clone(), at: key.at, meant };
                unknown.borrow_mut().entry(path).or_insert(field);
            }
            (Step::Root | Step::Index { .. }, Some(_)) => {}
            (step, None) => {
                // An unknown field is reported at its name, every other error at the value.
                let at = if let Step::Field { key, .. } = step { key.at } else { self.node.at };
                let message = format!("unknown field `{}`", path_to_string(&self.path()));
                return Err(DecodeError { at: Some(at), message });
            }
        }
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct
        tuple identifier
    }
}

/// Returns the integer that a float equals, if it fits into 64 bits.
fn whole(value: f64) -> Option<i64> {
    // 2^63, the smallest float that is too large for an `i64`. A float represents it exactly.
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    (value.fract() == 0.0 && (-LIMIT..LIMIT).contains(&value)).then_some(value as i64)
}

struct Items<'a, 't> {
    parent: Decoder<'a, 't>,
    items: Enumerate<slice::Iter<'a, Node>>,
}

impl<'a> SeqAccess<'a> for Items<'a, '_> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'a>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        let Some((index, node)) = self.items.next() else { return Ok(None) };
        let step = Step::Index { parent: &self.parent, index };
        let decoder = Decoder { node, step, ..self.parent };
        seed.deserialize(decoder).map(Some).map_err(|error| decoder.locate(error))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

struct Entries<'a, 't> {
    parent: Decoder<'a, 't>,
    fields: Fields,
    entries: slice::Iter<'a, (Key, Node)>,
    value: Option<(&'a Key, &'a Node)>,
}

impl<'a> MapAccess<'a> for Entries<'a, '_> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, DecodeError> {
        let Some((key, node)) = self.entries.next() else { return Ok(None) };
        self.value = Some((key, node));
        seed.deserialize(KeyDecoder(key)).map(Some).map_err(|error| self.parent.locate_at(key.at, error))
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, DecodeError> {
        let Some((key, node)) = self.value.take() else {
            return Err(de::Error::custom("a value without a key"));
        };
        let parent = &self.parent;
        let is_status = matches!(parent.step, Step::Root) && key.value == "status";
        let step = Step::Field { parent, key, fields: self.fields };
        let decoder = Decoder { node, step, tolerant: parent.tolerant || is_status, ..*parent };
        seed.deserialize(decoder).map_err(|error| decoder.locate(error))
    }
}

#[derive(Clone, Copy)]
struct KeyDecoder<'a>(&'a Key);

impl<'de> Deserializer<'de> for KeyDecoder<'de> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_borrowed_str(&self.0.value)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        if name == LOCATED {
            return visitor.visit_seq(WithLocation { at: self.0.at, inner: self, next: 0 });
        }
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple map struct enum identifier ignored_any
    }
}

/// The sequence that [`Located`](super::Located) requests: line, column, value.
struct WithLocation<D> {
    at: Location,
    inner: D,
    next: usize,
}

impl<'a, D: Deserializer<'a, Error = DecodeError> + Copy> SeqAccess<'a> for WithLocation<D> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'a>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        self.next += 1;
        match self.next {
            1 => seed.deserialize(de::value::U32Deserializer::new(self.at.line)).map(Some),
            2 => seed.deserialize(de::value::U32Deserializer::new(self.at.column)).map(Some),
            3 => seed.deserialize(self.inner).map(Some),
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Located, parse};
    use super::*;
    use k8s_openapi::api::networking::v1::NetworkPolicy;
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

    fn failure<T: for<'a> Deserialize<'a> + fmt::Debug>(text: &str) -> String {
        let node = parse(text).unwrap().remove(0);
        let error = decode::<T>(&node).unwrap_err();
        format!("{}: {error}", error.at())
    }

    /// Returns a policy whose first three lines are the same in every test.
    fn policy(rest: &str) -> String {
        format!("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: a}}\n{rest}")
    }

    #[test]
    fn a_misspelt_field_of_an_api_type_is_found_at_its_name() {
        let text = policy(
            "\
spec:
  podSelector: {}
  ingress:
  - from:
    - podSelectors: {matchLabels: {app: web}}
",
        );
        assert_eq!(
            failure::<NetworkPolicy>(&text),
            "8:7: unknown field `spec.ingress[0].from[0].podSelectors`"
        );
    }

    #[test]
    fn an_unknown_field_in_the_status_is_a_newer_servers() {
        let text = policy("status: {new: {field: 1}}\n");
        decode::<NetworkPolicy>(&parse(&text).unwrap()[0]).unwrap();
    }

    #[test]
    fn an_unknown_field_of_a_live_object_is_a_newer_servers() {
        let text = policy(
            "\
spec:
  newField: {deep: 1}
  podSelector: {matchLabels: {app: web}}
  ingress:
  - from:
    - {podSelector: {}, newPeer: 1}
    - {podSelector: {}, newPeer: 2}
  - form: []
",
        );
        let node = parse(&text).unwrap().remove(0);
        let (policy, unknown) = decode_live::<NetworkPolicy>(&node).unwrap();
        let unknown: Vec<_> = unknown.into_iter().map(|field| (field.path, field.at, field.meant)).collect();
        let at = |line, column| Location { line, column };
        assert_eq!(
            unknown,
            [
                ("spec.ingress.form".to_owned(), at(11, 5), Some("from")),
                ("spec.ingress.from.newPeer".to_owned(), at(9, 25), None),
                ("spec.newField".to_owned(), at(5, 3), None)
            ]
        );
        assert!(policy.spec.unwrap().pod_selector.unwrap().match_labels.unwrap().contains_key("app"));
        // A known field with a wrong value is still an error.
        let node = parse(&text.replace("app: web", "app: 1")).unwrap().remove(0);
        assert!(decode_live::<NetworkPolicy>(&node).is_err());
    }

    #[test]
    fn a_float_that_is_whole_is_an_integer() {
        use k8s_openapi::api::core::v1::ContainerPort;
        let port = |text: &str| {
            let node = parse(&format!("{{containerPort: {text}}}\n")).unwrap().remove(0);
            decode::<ContainerPort>(&node).map(|port| port.container_port)
        };
        for (text, number) in [("8080.0", 8080), ("8.08e3", 8080), ("-1.0", -1), ("080.", 80)] {
            assert_eq!(port(text).unwrap(), number, "{text}");
        }
        for text in ["8080.5", "2147483648.0", "1e30", "1e-1", ".inf", ".nan"] {
            assert!(port(text).is_err(), "{text}");
        }
        let rule = "{spec: {podSelector: {}, ingress: [{ports: [{port: 80.0, endPort: 9e1}]}]}}\n";
        let policy: NetworkPolicy = decode(&parse(rule).unwrap()[0]).unwrap();
        let ports = policy.spec.unwrap().ingress.unwrap().remove(0).ports.unwrap();
        assert_eq!((ports[0].port.clone().unwrap(), ports[0].end_port), (IntOrString::Int(80), Some(90)));
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its shape is tested")]
    struct Own {
        name: Located<String>,
        count: Option<u16>,
    }

    #[test]
    fn errors_name_the_path_and_stand_at_the_value() {
        assert_eq!(
            failure::<Vec<Own>>("- name: a\n- name: 80\n"),
            "2:9: [1].name: expected a string, found the number `80`: quote it"
        );
        assert_eq!(
            failure::<Own>("nam: a\n"),
            "1:1: unknown field `nam`, expected `name` or `count`; did you mean name?"
        );
        assert_eq!(failure::<Own>("x: a\n"), "1:1: unknown field `x`, expected `name` or `count`");
        assert_eq!(failure::<Own>("count: 1\n"), "1:1: missing field `name`");
        assert_eq!(
            failure::<Own>("name: a\ncount: 65536\n"),
            "2:8: count: invalid value: integer `65536`, expected u16"
        );
    }

    #[test]
    fn a_located_value_knows_its_place() {
        let node = parse("count: 3\nname: x\n").unwrap().remove(0);
        let own: Own = decode(&node).unwrap();
        assert_eq!((own.name.at, own.name.value.as_str()), (Location { line: 2, column: 7 }, "x"));
    }
}
