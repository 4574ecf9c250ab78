//! What is shown before anything was recorded: the first commands, with this server's address in them.

use maud::{Markup, html};

use super::links::{Links, Query};
use super::{Page, Section, parts};

/// The languages that it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Language {
    /// For a terminal.
    #[default]
    Curl,
    /// With `@outlay/client`.
    TypeScript,
    /// With nothing but what Python has.
    Python,
}

impl Language {
    const ALL: [(Self, &'static str, &'static str); 3] = [
        (Self::Curl, "curl", "curl"),
        (Self::TypeScript, "typescript", "TypeScript"),
        (Self::Python, "python", "Python"),
    ];

    /// The one with this name in a query.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, own, _)| *own == name).map(|(language, ..)| language)
    }
}

/// Draws it. `base` is the server's address, `open` whether no key is needed.
pub fn page(links: &Links, base: &str, open: bool, language: Language) -> Page {
    let tabs = Language::ALL.map(|(of, own, name)| (name, links.to("", &Query::new().with("in", own)), of == language));
    Page {
        section: Some(Section::Overview),
        title: "Quickstart".to_owned(),
        heading: html! { h1 { "Quickstart" } },
        stepper: None,
        main: html! {
            section.panel.quickstart aria-labelledby="first" {
                header { h2 #first { "Record the first operation" } (parts::tabs("Language", &tabs)) }
                @if open { p { "This server is open: it needs no key, and answers to this machine alone." } }
                @else { p { "Make a key for your application under " a href=(links.to("settings", &Query::new())) { "Settings" } ", or by " code { "outlay keys create --role app" } ", and put it into " code { "OUTLAY_KEY" } "." } }
                (steps(base, open, language))
                p #waiting .waiting data-live { span.pulse aria-hidden="true" {} "Waiting for the first operation. This page becomes the overview when it is there." }
            }
        },
        as_of: None,
        csv: None,
        json: Some(links.to("v1/overview", &Query::new())),
        user_id: None,
    }
}

fn steps(base: &str, open: bool, language: Language) -> Markup {
    let key = if open { "" } else { " \\\n  -H \"Authorization: Bearer $OUTLAY_KEY\"" };
    let json = " \\\n  -H 'Content-Type: application/json'";
    let steps: [(&str, String); 3] = match language {
        Language::Curl => [
            (
                "Put a user on a plan",
                format!("curl -X PUT {base}/v1/users/alice{key}{json} \\\n  -d '{{\"plan\": \"premium\"}}'"),
            ),
            (
                "Record what a call cost",
                format!(
                    "curl {base}/v1/usage{key}{json} \\\n  -d '{{\"operationId\": \"scan-1\", \"userId\": \"alice\", \"feature\": \"business_card_scan\",\n       \"cost\": 0.00010785, \"isBillableRun\": true}}'"
                ),
            ),
            ("See the budget move", format!("curl {base}/v1/users/alice/budget{key}")),
        ],
        Language::TypeScript => [
            ("Install the client", "npm install @outlay/client".to_owned()),
            (
                "Record what a call cost",
                format!(
                    "import {{ Outlay }} from \"@outlay/client\";\n\nconst outlay = new Outlay({{ url: \"{base}\"{} }});\nawait outlay.usage.record({{\n  userId: \"alice\", feature: \"business_card_scan\",\n  cost: \"0.00010785\", isBillableRun: true,\n}});",
                    if open { "" } else { ", key: process.env.OUTLAY_KEY" }
                ),
            ),
            ("See the budget move", "console.log(await outlay.users.budget(\"alice\"));".to_owned()),
        ],
        Language::Python => {
            let header = if open {
                String::new()
            } else {
                ",\n    \"Authorization\": \"Bearer \" + os.environ[\"OUTLAY_KEY\"]".to_owned()
            };
            [
                ("Nothing to install", "import json, os, urllib.request".to_owned()),
                (
                    "Record what a call cost",
                    format!(
                        "operation = {{\"operationId\": \"scan-1\", \"userId\": \"alice\", \"feature\": \"business_card_scan\",\n             \"cost\": \"0.00010785\", \"isBillableRun\": True}}\nheaders = {{\"Content-Type\": \"application/json\"{header}}}\nrequest = urllib.request.Request(\"{base}/v1/usage\", json.dumps(operation).encode(), headers)\nanswer = json.load(urllib.request.urlopen(request))"
                    ),
                ),
                ("See the budget move", "print(answer[\"budget\"])".to_owned()),
            ]
        }
    };
    html! {
        ol.steps-list {
            @for (what, command) in &steps { li { h3 { (what) } pre tabindex="0" { code { (command) } } } }
        }
    }
}
