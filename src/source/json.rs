//! Converts JSON values, such as the answers of an API server.

use serde_json::Value as Json;

use super::node::{Location, Node, Value};

/// Returns a JSON value as a part of a document. Its location is [`Location::NOWHERE`].
pub fn from_json(json: &Json) -> Node {
    let value = match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match number.as_i64() {
            Some(integer) => Value::Integer(integer),
            // Every JSON number without arbitrary precision is a float.
            None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::String(text.clone()),
        Json::Array(items) => Value::Sequence(items.iter().map(from_json).collect()),
        Json::Object(fields) => Value::Mapping(
            fields.iter().map(|(key, value)| (located(key.clone()), from_json(value))).collect(),
        ),
    };
    located(value)
}

fn located<T>(value: T) -> super::Located<T> {
    super::Located { value, at: Location::NOWHERE }
}

#[cfg(test)]
mod tests {
    use super::super::{Dialect, parse_as};
    use super::*;

    #[test]
    fn a_value_has_the_content_of_its_text() {
        let text = r#"{"a": [1, -2, 1.5, 18446744073709551615, null, true, "x: y"], "b": {}}"#;
        let parsed = parse_as(text, Dialect::Kubectl).unwrap().remove(0);
        let converted = from_json(&serde_json::from_str(text).unwrap());
        assert!(converted.has_same_content(&parsed), "{converted:?}");
    }
}
