//! `/docs`: every route with its fields, its answers and an example to run, as one page that needs nothing from elsewhere;
//! and the same as Markdown, for machines.

use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderValue};
use maud::{Markup, html};

use super::description::{Description, Field, Kind, Route, Shape};
use super::inline;
use crate::http::auth::Caller;
use crate::http::{App, SharedApp, pages};
use crate::web::assets;

/// Stands for the server's address in what is made once.
const ADDRESS: &str = "OUTLAY-ADDRESS";

static DESCRIPTION: LazyLock<Description> = LazyLock::new(|| {
    let json = serde_json::from_slice(&crate::http::openapi::JSON).unwrap_or_default();
    Description::of(&json)
});

/// `GET /docs`
pub(in crate::http) async fn page(State(app): State<SharedApp>, caller: Caller, headers: HeaderMap) -> Response {
    static OPEN: LazyLock<String> = LazyLock::new(|| whole(false));
    static KEYED: LazyLock<String> = LazyLock::new(|| whole(true));
    let page: &str = if matches!(caller, Caller::Open) { &OPEN } else { &KEYED };
    pages::answer_scripted(page.replace(ADDRESS, &address(&app, &headers)))
}

/// `GET /docs.md`
pub(in crate::http) async fn text(State(app): State<SharedApp>, headers: HeaderMap) -> Response {
    static TEXT: LazyLock<String> = LazyLock::new(|| markdown(&DESCRIPTION));
    plain("text/markdown; charset=utf-8", TEXT.replace(ADDRESS, &address(&app, &headers)))
}

/// `GET /llms.txt`
pub(in crate::http) async fn llms(State(app): State<SharedApp>, headers: HeaderMap) -> Response {
    let text = format!(
        "# Outlay\n\n> {}\n\n## Docs\n\n- [The API as Markdown]({ADDRESS}/docs.md): every route with fields, answers and examples\n\
         - [openapi.json]({ADDRESS}/openapi.json): the same as OpenAPI 3.1\n\
         - [Problems]({ADDRESS}/problems): what each kind of error means, and what to do\n",
        DESCRIPTION.intro.replace("\n\n", "\n>\n> ")
    );
    plain("text/plain; charset=utf-8", text.replace(ADDRESS, &address(&app, &headers)))
}

fn plain(kind: &'static str, text: String) -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static(kind))], text).into_response()
}

/// The server's address as the reader knows it. A `Host` with anything but a name or number in it is not repeated.
fn address(app: &App, headers: &HeaderMap) -> String {
    let is_plain = |host: &&str| host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".:-[]_".contains(&byte));
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).filter(is_plain).unwrap_or("127.0.0.1:4780");
    app.presentation.now().public_url.clone().unwrap_or_else(|| format!("http://{host}"))
}

fn whole(needs_key: bool) -> String {
    let script = format!("assets/docs.js?v={}", assets::version("docs.js"));
    pages::scripted("", "The API", &content(&DESCRIPTION, needs_key), &script).into_string()
}

fn content(description: &Description, needs_key: bool) -> Markup {
    html! {
        nav.contents aria-label="Contents" {
            @for group in &description.groups {
                p { a href={ "#" (group.name) } { (group.name) } }
                ul {
                    @for route in &group.routes {
                        li { a href={ "#" (route.id) } { (route.summary) } }
                    }
                }
            }
            p { a href="#shapes" { "Shapes" } }
        }
        article {
            h1 { "The API of Outlay" }
            @for paragraph in description.intro.split("\n\n") { p { (inline(paragraph)) } }
            p {
                "The same for machines: " a href="openapi.json" { "openapi.json" } ", " a href="docs.md" { "docs.md" }
                ". Every kind of error: " a href="problems" { "problems" } "."
            }
            @if needs_key {
                p { "The examples take the key from the variable " code { "OUTLAY_KEY" } "; " code { "outlay keys create --role app" } " makes one." }
            }
            @for group in &description.groups {
                h2 id=(group.name) { (group.name) }
                p { (group.about) "." }
                @for route in &group.routes { (drawn(route, needs_key)) }
            }
            h2 id="shapes" { "Shapes" }
            p { "The objects that stand in requests and answers." }
            @for shape in &description.shapes { (drawn_shape(shape)) }
        }
    }
}

fn drawn(route: &Route, needs_key: bool) -> Markup {
    html! {
        section id=(route.id) {
            h3 { (route.summary) }
            p.route { code { span.method { (route.method) } " " (route.path) } }
            @for paragraph in route.about.split("\n\n").filter(|paragraph| !paragraph.is_empty()) { p { (inline(paragraph)) } }
            p.who { (route.who) }
            (fields("Parameters", &route.parameters))
            @if let Some(body) = &route.body {
                @if !body.about.is_empty() { p { (inline(&body.about)) } }
                @if body.fields.is_empty() { p { "The body is " (kind(&body.kind)) "." } }
                @else { (fields("Body", &body.fields)) }
                @if body.kinds.len() > 1 {
                    p { "It is read as " @for (index, kind) in body.kinds.iter().enumerate() { @if index > 0 { ", " } code { (kind) } } "." }
                }
            }
            pre tabindex="0" { code { (curl(route, needs_key)) } }
            @if route.example.can_try {
                form.try data-try hidden {
                    label { span { "Path" } input name="path" value=(route.example.address) autocomplete="off" spellcheck="false"; }
                    button { "Try it" }
                    output {}
                }
            }
            h4 { "Answers" }
            ul.answers {
                @for answer in &route.answers {
                    li {
                        code { (answer.status) } " " (inline(&answer.about))
                        @if let Some(shape) = &answer.kind { ": " (kind(shape)) }
                        @else if answer.status.starts_with('2') && let Some(media) = &answer.media { ": " code { (media) } }
                    }
                }
            }
        }
    }
}

fn drawn_shape(shape: &Shape) -> Markup {
    html! {
        section id={ "shape-" (shape.name) } {
            h3 { (shape.name) }
            @if !shape.about.is_empty() { p { (inline(&shape.about)) "." } }
            (fields("", &shape.fields))
        }
    }
}

fn fields(title: &str, fields: &[Field]) -> Markup {
    html! {
        @if !fields.is_empty() {
            @if !title.is_empty() { h4 { (title) } }
            dl.fields {
                @for field in fields {
                    dt { code { (field.name) } }
                    dd {
                        small {
                            (kind(&field.kind))
                            @if !field.place.is_empty() { ", in the " (field.place) }
                            @if field.required { ", " strong { "required" } }
                        }
                        @if !field.about.is_empty() { br; (inline(&field.about)) }
                    }
                }
            }
        }
    }
}

fn kind(kind: &Kind) -> Markup {
    html! {
        (inline(&kind.words))
        @if let Some(shape) = &kind.shape { a href={ "#shape-" (shape) } { (shape) } }
        @if kind.or_null { " or null" }
    }
}

/// The example as a command for a shell.
fn curl(route: &Route, needs_key: bool) -> String {
    let mut command = String::from("curl -s");
    if route.example.streams {
        command.push('N');
    }
    if route.method != "GET" && !(route.method == "POST" && route.example.body.is_some()) {
        command.push_str(" -X ");
        command.push_str(&route.method);
    }
    let quote = if route.example.address.contains(['?', '&']) { "'" } else { "" };
    // Writing to a string cannot fail.
    let _ = write!(command, " {quote}{ADDRESS}/{}{quote}", route.example.address);
    if needs_key && !route.who.is_empty() {
        command.push_str(" \\\n  -H \"Authorization: Bearer $OUTLAY_KEY\"");
    }
    if let Some(body) = route.example.body {
        command.push_str(" \\\n  -H 'Content-Type: application/json' \\\n  -d '");
        command.push_str(body);
        command.push('\'');
    }
    if route.id == "backup" {
        command.push_str(" \\\n  -o outlay-backup.db");
    }
    command
}

fn markdown(description: &Description) -> String {
    let mut text = format!("# The API of Outlay\n\n{}\n\nThe server's address is {ADDRESS}.\n", description.intro);
    // Writing to a string cannot fail.
    let mut line = |line: std::fmt::Arguments<'_>| {
        let _ = writeln!(text, "{line}");
    };
    for group in &description.groups {
        line(format_args!("\n## {}\n\n{}.", group.name, group.about));
        for route in &group.routes {
            line(format_args!("\n### {}\n\n`{} {}`\n", route.summary, route.method, route.path));
            line(format_args!("{}\n\n{}\n", route.about, route.who));
            route.parameters.iter().for_each(|field| line(format_args!("{}", listed(field))));
            if let Some(body) = &route.body {
                line(format_args!("\nBody ({}): {}\n", body.kinds.join(", "), body.about));
                body.fields.iter().for_each(|field| line(format_args!("{}", listed(field))));
            }
            line(format_args!("\n```sh\n{}\n```\n\nAnswers:\n", curl(route, true)));
            for answer in &route.answers {
                let kind = answer.kind.as_ref().map(|kind| format!(": {}", worded(kind))).unwrap_or_default();
                line(format_args!("- `{}` {}{kind}", answer.status, answer.about));
            }
        }
    }
    line(format_args!("\n## Shapes"));
    for shape in &description.shapes {
        line(format_args!("\n### {}\n\n{}\n", shape.name, shape.about));
        shape.fields.iter().for_each(|field| line(format_args!("{}", listed(field))));
    }
    text
}

fn listed(field: &Field) -> String {
    let place = if field.place.is_empty() { String::new() } else { format!(", in the {}", field.place) };
    let required = if field.required { ", required" } else { "" };
    let about = if field.about.is_empty() { String::new() } else { format!(": {}", field.about) };
    format!("- `{}` ({}{place}{required}){about}", field.name, worded(&field.kind))
}

fn worded(kind: &Kind) -> String {
    format!("{}{}{}", kind.words, kind.shape.as_deref().unwrap_or_default(), if kind.or_null { " or null" } else { "" })
}
