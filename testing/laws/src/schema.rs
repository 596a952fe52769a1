//! Documents from a JSON Schema (draft 2020-12, and what older drafts share with it).
//!
//! It makes documents that a schema allows and does not judge documents. Few values, so that writers collide.

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any};
use proptest::strategy::{BoxedStrategy, Union};
use proptest::string::string_regex;
use serde_json::{Map, Value, json};

use crate::pointer::Pointer;

/// How many references are followed into each other before only what must be there is made.
const DEPTH_MAX: usize = 6;

/// Keywords that describe and do not restrict, or that are dealt with where they belong.
const HARMLESS: [&str; 15] = [
    "$schema",
    "$id",
    "$defs",
    "definitions",
    "$comment",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "$anchor",
    "contentMediaType",
    "contentEncoding",
];

const KNOWN: [&str; 27] = [
    "$ref",
    "type",
    "enum",
    "const",
    "properties",
    "required",
    "additionalProperties",
    "minProperties",
    "maxProperties",
    "items",
    "prefixItems",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "anyOf",
    "oneOf",
    "allOf",
    "unevaluatedProperties",
];

/// Why documents cannot be made from a schema.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// A keyword that documents could break.
    #[error(
        "{keyword:?} at {at:?} is not supported: give a strategy, or filter what a schema without it makes"
    )]
    Unsupported {
        /// The keyword.
        keyword: String,
        /// Where in the schema.
        at: String,
    },
    /// A keyword whose value makes no sense.
    #[error("{keyword:?} at {at:?} is malformed: {detail}")]
    Malformed {
        /// The keyword.
        keyword: String,
        /// Where in the schema.
        at: String,
        /// What is wrong.
        detail: String,
    },
    /// No value is allowed.
    #[error("nothing is allowed at {at:?}")]
    Nothing {
        /// Where in the schema.
        at: String,
    },
}

/// A strategy for what the schema allows.
pub(crate) fn documents(schema: &Value) -> Result<BoxedStrategy<Value>, SchemaError> {
    Reader { root: schema }.any_of(schema, &Pointer::default(), 0)
}

struct Reader<'s> {
    root: &'s Value,
}

impl Reader<'_> {
    fn any_of(
        &self,
        schema: &Value,
        at: &Pointer,
        depth: usize,
    ) -> Result<BoxedStrategy<Value>, SchemaError> {
        let schema = match schema {
            Value::Bool(true) => return Ok(anything()),
            Value::Object(schema) => schema,
            _ => return Err(SchemaError::Nothing { at: at.to_string() }),
        };
        let is_known = |keyword: &str| {
            KNOWN.contains(&keyword) || HARMLESS.contains(&keyword) || keyword.starts_with("x-")
        };
        if let Some(keyword) = schema.keys().find(|keyword| !is_known(keyword)) {
            return Err(SchemaError::Unsupported { keyword: keyword.clone(), at: at.to_string() });
        }
        if let Some(reference) = schema.get("$ref") {
            return self.reference(reference, at, depth);
        }
        if let Some(value) = schema.get("const") {
            return Ok(Just(value.clone()).boxed());
        }
        if let Some(values) = schema.get("enum") {
            let values = list(values, "enum", at)?;
            return union(values.iter().map(|value| Ok(Just(value.clone()).boxed())), at);
        }
        for keyword in ["anyOf", "oneOf"] {
            if let Some(schemas) = schema.get(keyword) {
                return self.alternatives(schema, keyword, list(schemas, keyword, at)?, at, depth);
            }
        }
        if let Some(schemas) = schema.get("allOf") {
            return self.all_of(schema, list(schemas, "allOf", at)?, at, depth);
        }
        let types: Vec<&str> = match schema.get("type") {
            Some(Value::String(name)) => vec![name],
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            Some(_) => return Err(malformed("type", at, "it is a name or a list of names")),
            None if schema.contains_key("properties") => vec!["object"],
            None if schema.contains_key("items") => vec!["array"],
            None => return Ok(anything()),
        };
        // Deep down a list of types gets short, so that recursion ends.
        let ends = types.iter().find(|name| **name == "null").filter(|_| depth > DEPTH_MAX);
        let types = ends.map_or(types.clone(), |null| vec![*null]);
        union(types.into_iter().map(|name| self.of_type(name, schema, at, depth)), at)
    }

    fn of_type(
        &self,
        name: &str,
        schema: &Map<String, Value>,
        at: &Pointer,
        depth: usize,
    ) -> Result<BoxedStrategy<Value>, SchemaError> {
        Ok(match name {
            "null" => Just(Value::Null).boxed(),
            "boolean" => any::<bool>().prop_map(Value::from).boxed(),
            "integer" => integers(schema, at)?,
            "number" => floats(schema),
            "string" => strings(schema, at)?,
            "array" => self.lists(schema, at, depth)?,
            "object" => self.objects(schema, at, depth)?,
            other => return Err(malformed("type", at, &format!("there is no type {other:?}"))),
        })
    }

    fn reference(
        &self,
        reference: &Value,
        at: &Pointer,
        depth: usize,
    ) -> Result<BoxedStrategy<Value>, SchemaError> {
        let name = reference.as_str().and_then(|text| text.strip_prefix('#'));
        let place: Option<Pointer> = name.and_then(|name| name.parse().ok());
        let found = place.and_then(|place| Some((place.of(self.root)?, place)));
        let Some((schema, place)) = found else {
            return Err(malformed("$ref", at, "it names no place in this schema"));
        };
        if depth > 2 * DEPTH_MAX {
            return Err(SchemaError::Nothing { at: at.to_string() });
        }
        self.any_of(schema, &place, depth + 1)
    }

    fn alternatives(
        &self,
        schema: &Map<String, Value>,
        keyword: &str,
        choices: &[Value],
        at: &Pointer,
        depth: usize,
    ) -> Result<BoxedStrategy<Value>, SchemaError> {
        let rest: Map<String, Value> = schema
            .iter()
            .filter(|(key, _)| *key != keyword)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let restricts = rest.keys().any(|key| !HARMLESS.contains(&key.as_str()));
        let place = at.child(keyword);
        let strategies = choices.iter().enumerate().map(|(index, choice)| {
            let at = place.child(&index.to_string());
            if restricts {
                self.any_of(&merged(&rest, choice), &at, depth)
            } else {
                self.any_of(choice, &at, depth)
            }
        });
        // Where it may end, a choice that goes too deep is none.
        let mut strategies: Vec<_> = strategies.collect();
        if strategies.iter().any(Result::is_ok) {
            strategies.retain(|strategy| !matches!(strategy, Err(SchemaError::Nothing { .. })));
        }
        if depth > DEPTH_MAX {
            let null = choices.iter().position(|choice| choice["type"] == "null");
            strategies = null.map_or(strategies, |_| vec![Ok(Just(Value::Null).boxed())]);
        }
        union(strategies.into_iter(), at)
    }

    fn all_of(
        &self,
        schema: &Map<String, Value>,
        parts: &[Value],
        at: &Pointer,
        depth: usize,
    ) -> Result<BoxedStrategy<Value>, SchemaError> {
        let mut whole: Map<String, Value> = schema
            .iter()
            .filter(|(key, _)| *key != "allOf")
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        for part in parts {
            let reference = part.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix('#'));
            let place: Option<Pointer> = reference.and_then(|name| name.parse().ok());
            let part = place.and_then(|place| place.of(self.root)).unwrap_or(part);
            if let Value::Object(joined) = merged(&whole, part) {
                whole = joined;
            }
        }
        self.any_of(&Value::Object(whole), at, depth)
    }

    fn lists(
        &self,
        schema: &Map<String, Value>,
        at: &Pointer,
        depth: usize,
    ) -> Result<BoxedStrategy<Value>, SchemaError> {
        if let Some(items) = schema.get("prefixItems") {
            let place = at.child("prefixItems");
            let items: Result<Vec<_>, _> = list(items, "prefixItems", at)?
                .iter()
                .enumerate()
                .map(|(index, item)| self.any_of(item, &place.child(&index.to_string()), depth))
                .collect();
            return Ok(items?.prop_map(Value::Array).boxed());
        }
        let least = number(schema, "minItems").unwrap_or(0.0) as usize;
        let most = number(schema, "maxItems").map_or(least.max(3), |most| (most as usize).min(least + 3));
        if most == 0 || (depth > DEPTH_MAX && least == 0) {
            return Ok(Just(json!([])).boxed());
        }
        let items =
            self.any_of(schema.get("items").unwrap_or(&Value::Bool(true)), &at.child("items"), depth + 1)?;
        let is_set = schema.get("uniqueItems") == Some(&Value::Bool(true));
        let lists = vec(items, least..=most).prop_map(move |mut items| {
            if is_set {
                let mut seen = Vec::new();
                items.retain(|item| {
                    !seen.contains(item) && {
                        seen.push(item.clone());
                        true
                    }
                });
            }
            items
        });
        let lists =
            lists.prop_filter("fewer different items than there must be", move |items| items.len() >= least);
        Ok(lists.prop_map(Value::Array).boxed())
    }

    fn objects(
        &self,
        schema: &Map<String, Value>,
        at: &Pointer,
        depth: usize,
    ) -> Result<BoxedStrategy<Value>, SchemaError> {
        let required: Vec<&str> = schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let mut fields = Vec::new();
        let none = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
        for (key, property) in properties {
            let is_required = required.contains(&key.as_str());
            if depth > DEPTH_MAX && !is_required {
                continue;
            }
            let value = self.any_of(property, &at.child("properties").child(key), depth + 1)?;
            let value = if is_required {
                value.prop_map(Some).boxed()
            } else {
                proptest::option::weighted(0.7, value).boxed()
            };
            fields.push(
                value
                    .prop_map({
                        let key = key.clone();
                        move |value| value.map(|value| (key.clone(), value))
                    })
                    .boxed(),
            );
        }
        if let Some(others @ Value::Object(_)) = schema.get("additionalProperties")
            && depth <= DEPTH_MAX
        {
            let value = self.any_of(others, &at.child("additionalProperties"), depth + 1)?;
            for key in ["one", "two"] {
                let entry = value.clone().prop_map(move |value| (key.to_string(), value));
                fields.push(proptest::option::of(entry).boxed());
            }
        }
        Ok(fields.prop_map(|fields| Value::Object(fields.into_iter().flatten().collect())).boxed())
    }
}

fn integers(schema: &Map<String, Value>, at: &Pointer) -> Result<BoxedStrategy<Value>, SchemaError> {
    let low = number(schema, "minimum").or(number(schema, "exclusiveMinimum").map(|low| low + 1.0));
    let high = number(schema, "maximum").or(number(schema, "exclusiveMaximum").map(|high| high - 1.0));
    let (low, high) = (low.map(|low| low.ceil() as i64), high.map(|high| high.floor() as i64));
    let step = (number(schema, "multipleOf").unwrap_or(1.0) as i64).max(1);
    let start = low.unwrap_or(high.map_or(0, |high| high.min(0)));
    let start = start + (step - start.rem_euclid(step)) % step;
    let few = (0..4).filter_map(|number| start.checked_add(number * step));
    let mut few: Vec<i64> = few.filter(|number| high.is_none_or(|high| *number <= high)).collect();
    // Beyond what a double holds exactly, where integers may be that large.
    let large = 9_007_199_254_740_993;
    if low.is_none_or(|low| low <= large) && high.is_none_or(|high| large <= high) && step == 1 {
        few.push(large);
    }
    union(few.into_iter().map(|number| Ok(Just(json!(number)).boxed())), at)
}

fn floats(schema: &Map<String, Value>) -> BoxedStrategy<Value> {
    let low = number(schema, "minimum").or(number(schema, "exclusiveMinimum").map(|low| low + 0.5));
    let high = number(schema, "maximum").or(number(schema, "exclusiveMaximum").map(|high| high - 0.5));
    let start = low.unwrap_or(high.map_or(0.0, |high| high.min(0.0)));
    let step = number(schema, "multipleOf").unwrap_or(0.5);
    let most = high.map_or(4, |high| ((high - start) / step).clamp(0.0, 4.0) as u32);
    (0..=most).prop_map(move |steps| json!(start + step * f64::from(steps))).boxed()
}

fn strings(schema: &Map<String, Value>, at: &Pointer) -> Result<BoxedStrategy<Value>, SchemaError> {
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str) {
        let inner = pattern.trim_start_matches('^').trim_end_matches('$');
        let strings = string_regex(inner).map_err(|error| malformed("pattern", at, &error.to_string()))?;
        return Ok(strings.prop_map(Value::from).boxed());
    }
    let few: &'static [&'static str] = match schema.get("format").and_then(Value::as_str) {
        Some("date-time") => &["2024-02-29T12:00:00Z", "2025-01-01T00:00:00Z"],
        Some("date") => &["2024-02-29", "2025-01-01"],
        Some("time") => &["12:00:00Z", "23:59:59Z"],
        Some("uuid") => &["00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"],
        Some("email") => &["ann@example.org", "bob@example.org"],
        Some("uri") => &["https://example.org/a", "https://example.org/b"],
        _ => &["a", "b", "", "é"],
    };
    let least = number(schema, "minLength").unwrap_or(0.0) as usize;
    let most = number(schema, "maxLength").map_or(usize::MAX, |most| most as usize);
    let fitted = few.iter().map(move |text| {
        let longer = text.chars().chain(std::iter::repeat('a'));
        longer.take(text.chars().count().clamp(least, most.max(least))).collect::<String>()
    });
    union(fitted.map(|text| Ok(Just(Value::from(text)).boxed())), at)
}

fn anything() -> BoxedStrategy<Value> {
    let few = [json!(null), json!(true), json!(1), json!("a"), json!(["a"]), json!({ "a": 1 })];
    proptest::sample::select(few.to_vec()).boxed()
}

/// One schema with what both say. Where they differ, the second one counts.
fn merged(left: &Map<String, Value>, right: &Value) -> Value {
    let mut whole = left.clone();
    for (key, value) in right.as_object().into_iter().flatten() {
        match (whole.get_mut(key), value) {
            (Some(Value::Object(left)), Value::Object(right)) => left.extend(right.clone()),
            (Some(Value::Array(left)), Value::Array(right)) if key == "required" => {
                left.extend(right.clone());
            }
            _ => {
                whole.insert(key.clone(), value.clone());
            }
        }
    }
    Value::Object(whole)
}

fn union(
    strategies: impl Iterator<Item = Result<BoxedStrategy<Value>, SchemaError>>,
    at: &Pointer,
) -> Result<BoxedStrategy<Value>, SchemaError> {
    let strategies = strategies.collect::<Result<Vec<_>, _>>()?;
    if strategies.is_empty() {
        return Err(SchemaError::Nothing { at: at.to_string() });
    }
    Ok(Union::new(strategies).boxed())
}

fn number(schema: &Map<String, Value>, keyword: &str) -> Option<f64> {
    schema.get(keyword).and_then(Value::as_f64)
}

fn list<'v>(value: &'v Value, keyword: &str, at: &Pointer) -> Result<&'v [Value], SchemaError> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| malformed(keyword, at, "it is a list"))
}

fn malformed(keyword: &str, at: &Pointer, detail: &str) -> SchemaError {
    SchemaError::Malformed { keyword: keyword.to_string(), at: at.to_string(), detail: detail.to_string() }
}
