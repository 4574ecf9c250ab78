//! The description of the API as a reader needs it: by group, each route with its fields, answers and example, and the
//! shapes that they name.

use std::collections::BTreeSet;

use serde_json::Value;

use super::examples;
use crate::http::routes;

/// All of it.
#[derive(Debug)]
pub(super) struct Description {
    pub(super) intro: String,
    pub(super) groups: Vec<Group>,
    pub(super) shapes: Vec<Shape>,
}

/// Routes that belong together.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) about: String,
    pub(super) routes: Vec<Route>,
}

/// One method of one path.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) id: String,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) summary: String,
    pub(super) about: String,
    /// Who may call it, as a sentence.
    pub(super) who: &'static str,
    pub(super) parameters: Vec<Field>,
    pub(super) body: Option<Body>,
    pub(super) answers: Vec<Answer>,
    pub(super) example: Example,
}

/// What a request brings.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) kinds: Vec<String>,
    pub(super) about: String,
    pub(super) fields: Vec<Field>,
    pub(super) kind: Kind,
}

/// What comes back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: String,
    pub(super) about: String,
    pub(super) media: Option<String>,
    pub(super) kind: Option<Kind>,
}

/// A request that can be sent as it stands.
#[derive(Debug)]
pub(super) struct Example {
    /// Path and query, relative to the server's address.
    pub(super) address: String,
    pub(super) body: Option<&'static str>,
    /// Whether the answer comes piece by piece for as long as somebody reads.
    pub(super) streams: bool,
    /// Whether it changes nothing and gives text, so that a page can show what comes.
    pub(super) can_try: bool,
}

/// A parameter, or a member of an object.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: String,
    /// Where a parameter stands; empty for a member.
    pub(super) place: String,
    pub(super) kind: Kind,
    pub(super) required: bool,
    pub(super) about: String,
}

/// An object with its members.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) name: String,
    pub(super) about: String,
    pub(super) fields: Vec<Field>,
}

/// What a value is: words, and the shape that they end with, if it is one.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) words: String,
    pub(super) shape: Option<String>,
    pub(super) or_null: bool,
}

impl Description {
    pub(super) fn of(json: &Value) -> Self {
        let reader = Reader { json };
        let groups = items(json, "/tags").iter().map(|tag| reader.group(tag)).collect();
        Self { intro: text(json, "/info/description").to_owned(), groups, shapes: reader.shapes() }
    }
}

const METHODS: [&str; 4] = ["get", "post", "put", "delete"];

struct Reader<'a> {
    json: &'a Value,
}

impl Reader<'_> {
    fn group(&self, tag: &Value) -> Group {
        let name = text(tag, "/name");
        let paths = self.json.pointer("/paths").and_then(Value::as_object).into_iter().flatten();
        let routes = paths.flat_map(|(path, item)| {
            let methods = METHODS.into_iter().filter_map(|method| Some((method, item.get(method)?)));
            let own = methods.filter(|(_, route)| text(route, "/tags/0") == name);
            own.map(|(method, route)| self.route(method, path, route)).collect::<Vec<_>>()
        });
        Group { name: name.to_owned(), about: text(tag, "/description").to_owned(), routes: routes.collect() }
    }

    fn route(&self, method: &str, path: &str, route: &Value) -> Route {
        let id = text(route, "/operationId").to_owned();
        let method = method.to_uppercase();
        let answers = route.get("responses").and_then(Value::as_object).into_iter().flatten();
        let answers: Vec<Answer> = answers.map(|(status, answer)| self.answer(status, answer)).collect();
        let success = |media: &str| {
            let mut good = answers.iter().filter(|answer| answer.status.starts_with('2'));
            good.any(|answer| answer.media.as_deref().is_some_and(|own| own.contains(media)))
        };
        Route {
            example: Example {
                address: examples::address(&id, path),
                body: examples::body(&id),
                streams: success("text/event-stream"),
                can_try: method == "GET" && (success("application/json") || success("text/plain")),
            },
            who: routes::wanted(&method, path),
            parameters: items(route, "/parameters").iter().map(|parameter| self.parameter(parameter)).collect(),
            body: route.get("requestBody").map(|body| self.body(body)),
            summary: text(route, "/summary").to_owned(),
            about: text(route, "/description").to_owned(),
            path: path.to_owned(),
            answers,
            method,
            id,
        }
    }

    fn parameter(&self, parameter: &Value) -> Field {
        let schema = parameter.get("schema").unwrap_or(&Value::Null);
        Field {
            name: text(parameter, "/name").to_owned(),
            place: text(parameter, "/in").to_owned(),
            kind: Kind { or_null: false, ..self.kind(schema) },
            required: parameter.get("required").and_then(Value::as_bool).unwrap_or(false),
            about: text(parameter, "/description").to_owned(),
        }
    }

    fn body(&self, body: &Value) -> Body {
        let content = body.get("content").and_then(Value::as_object);
        let schema = content.and_then(|content| content.get("application/json")?.get("schema")).unwrap_or(&Value::Null);
        let kind = self.kind(schema);
        let own = kind.shape.as_deref().and_then(|shape| self.schema(shape)).unwrap_or(schema);
        Body {
            kinds: content.into_iter().flat_map(|content| content.keys().cloned()).collect(),
            about: text(body, "/description").to_owned(),
            fields: self.fields(own),
            kind,
        }
    }

    fn answer(&self, status: &str, answer: &Value) -> Answer {
        let content = answer.get("content").and_then(Value::as_object).and_then(|content| content.iter().next());
        let kind = content.and_then(|(_, content)| Some(self.kind(content.get("schema")?)));
        Answer {
            status: status.to_owned(),
            about: text(answer, "/description").to_owned(),
            media: content.map(|(media, _)| media.clone()),
            // An error is a problem, each time.
            kind: kind.filter(|kind| kind.shape.is_some() && status.starts_with('2')),
        }
    }

    fn schema(&self, name: &str) -> Option<&Value> {
        self.json.pointer("/components/schemas")?.get(name)
    }

    fn shapes(&self) -> Vec<Shape> {
        let schemas = self.json.pointer("/components/schemas").and_then(Value::as_object).into_iter().flatten();
        let shapes = schemas.map(|(name, schema)| Shape {
            name: name.clone(),
            about: text(schema, "/description").to_owned(),
            fields: self.fields(schema),
        });
        shapes.filter(|shape| !shape.fields.is_empty()).collect()
    }

    fn fields(&self, schema: &Value) -> Vec<Field> {
        let required: BTreeSet<&str> = items(schema, "/required").iter().filter_map(Value::as_str).collect();
        let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
        let fields = properties.map(|(name, property)| Field {
            name: name.clone(),
            place: String::new(),
            kind: self.kind(property),
            required: required.contains(name.as_str()),
            about: about(property).to_owned(),
        });
        let mut fields: Vec<Field> = fields.collect();
        fields.sort_by_key(|field| !field.required);
        fields
    }

    fn kind(&self, schema: &Value) -> Kind {
        if let Some(name) = text(schema, "/$ref").rsplit('/').next().filter(|name| !name.is_empty()) {
            let Some(referenced) = self.schema(name) else { return Kind::words(name) };
            if referenced.get("properties").is_some() {
                return Kind { shape: Some(name.to_owned()), ..Kind::default() };
            }
            return self.kind(referenced);
        }
        if let Some(parts) = ["oneOf", "anyOf", "allOf"].into_iter().find_map(|key| schema.get(key)?.as_array()) {
            return self.one_of(parts);
        }
        if let Some(values) = schema.get("enum").and_then(Value::as_array) {
            let values: Vec<String> =
                values.iter().map(|value| format!("`{}`", value.as_str().unwrap_or("null"))).collect();
            return Kind::words(&values.join(", "));
        }
        let types: Vec<&str> = match schema.get("type") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
            _ => return Kind::words("any JSON"),
        };
        let or_null = types.contains(&"null");
        let words = match types.iter().find(|kind| **kind != "null").copied().unwrap_or("null") {
            "array" => {
                let of = schema.get("items").map(|items| self.kind(items)).unwrap_or_default();
                return Kind { words: format!("array of {}", of.words), shape: of.shape, or_null };
            }
            "object" => match schema.get("additionalProperties") {
                Some(values @ Value::Object(_)) => {
                    let of = self.kind(values);
                    return Kind { words: format!("object of {}", of.words), shape: of.shape, or_null };
                }
                _ => "object",
            },
            "boolean" => "true or false",
            word => word,
        };
        Kind { or_null, ..Kind::words(&format!("{words}{}", bounds(schema))) }
    }

    fn one_of(&self, parts: &[Value]) -> Kind {
        let is_null = |part: &Value| part.get("type").is_some_and(|kind| kind == "null");
        let mut kinds = parts.iter().filter(|part| !is_null(part)).map(|part| self.kind(part));
        let mut kind = kinds.next().unwrap_or_default();
        for next in kinds {
            // Only one shape can be led to: the last.
            let first = kind.shape.map_or(kind.words.clone(), |shape| format!("{}{shape}", kind.words));
            kind = Kind {
                words: format!("{first} or {}", next.words),
                shape: next.shape,
                or_null: kind.or_null || next.or_null,
            };
        }
        kind.or_null |= parts.iter().any(is_null);
        kind
    }
}

impl Kind {
    fn words(words: &str) -> Self {
        Self { words: words.to_owned(), ..Self::default() }
    }
}

/// How long a text may be, or how large a number, in words; nothing where only the type bounds it.
fn bounds(schema: &Value) -> String {
    let bound = |name: &str| schema.get(name).and_then(Value::as_i64).filter(|bound| *bound != i64::MAX);
    match (bound("minLength"), bound("maxLength"), bound("minimum"), bound("maximum")) {
        (Some(min), Some(max), _, _) => format!(" of {min} to {max} characters"),
        (None, Some(max), _, _) => format!(" of {max} characters at most"),
        (_, _, Some(min), Some(max)) => format!(" from {min} to {max}"),
        _ => String::new(),
    }
}

/// What is said of a member: at itself, or at the one thing that it is.
fn about(property: &Value) -> &str {
    let own = text(property, "/description");
    let parts = ["/oneOf", "/allOf"].into_iter().flat_map(|pointer| items(property, pointer));
    let of_part = || parts.map(|part| text(part, "/description")).find(|text| !text.is_empty());
    if own.is_empty() { of_part().unwrap_or_default() } else { own }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn items<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}
