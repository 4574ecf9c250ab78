//! The pages for those who call the API: what each route does, and what each kind of problem means.
//!
//! They are made here, whole, without any script.

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use maud::{Markup, html};

use super::pages;
use super::problem::{Kind, Problem};

mod api;
mod description;
mod examples;

pub(super) use api::{llms, page as api, text};
pub(super) use examples::Examples;

/// What a kind of problem means
///
/// Every `type` of an error is such an address: what it means, and what to do. Markdown, or HTML for browsers.
#[utoipa::path(get, path = "/problems/{slug}", tag = "Server",
    operation_id = "getProblemPage", security(()),
    params(("slug" = String, Path, description = "The last part of a problem's `type`, like `outcome-unknown`")),
    responses((status = 200, description = "The page", content_type = "text/markdown", body = String),
        (status = 404, description = "There is no such kind", content_type = "application/problem+json", body = super::openapi::Problem)))]
pub(super) async fn problem_page(Path(slug): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    let kind = Kind::of_slug(&slug).ok_or_else(|| {
        Problem::new(Kind::NotFound).detail("There is no such kind of problem; `/problems` lists all.")
    })?;
    Ok(markdown(kind.title(), kind.page(), &headers))
}

/// `GET /problems`
pub(super) async fn problems() -> Response {
    let list = html! {
        h1 { "Problems" }
        p { "Each kind of error that the API answers with, by status." }
        dl {
            @for kind in Kind::ALL {
                dt { code { (kind.status().as_u16()) } " " a href=(format!("problems/{}", kind.slug())) { (kind.slug()) } }
                dd { (kind.title()) }
            }
        }
    };
    pages::answer(pages::page("", "Problems", &list).into_string())
}

/// A page as it is written, or as HTML for who asks for it.
fn markdown(title: &str, text: &'static str, headers: &HeaderMap) -> Response {
    let wants_html =
        headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|accept| accept.contains("text/html"));
    if wants_html {
        return pages::answer(pages::page("../", title, &blocks(text)).into_string());
    }
    ([(CONTENT_TYPE, HeaderValue::from_static("text/markdown; charset=utf-8"))], text).into_response()
}

/// As much of Markdown as our pages use: headings, paragraphs and code.
fn blocks(text: &str) -> Markup {
    html! {
        @for block in text.split("\n\n") {
            @let block = block.trim();
            @if let Some(heading) = block.strip_prefix("## ") { h2 { (heading) } }
            @else if let Some(heading) = block.strip_prefix("# ") { h1 { (heading) } }
            @else { p { (inline(block)) } }
        }
    }
}

/// Text with `code` between backticks.
fn inline(text: &str) -> Markup {
    html! {
        @for (index, part) in text.split('`').enumerate() {
            @if index % 2 == 0 { (part) } @else { code { (part) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_problem_has_a_page_of_its_own() {
        for kind in Kind::ALL {
            let page = kind.page();
            assert!(page.starts_with(&format!("# {}\n", kind.title())), "{kind:?}");
            assert!(page.contains(&format!("`{}`, status {}.", kind.slug(), kind.status().as_u16())), "{kind:?}");
            assert!(page.contains("## What it means") && page.contains("## What to do"), "{kind:?}");
            assert_eq!(Kind::of_slug(kind.slug()), Some(*kind));
            assert_eq!(page.matches('`').count() % 2, 0, "{kind:?}");
        }
    }

    #[test]
    fn what_a_page_says_is_escaped() {
        let html = blocks("# <a>\n\nUse `<b>` & so on").into_string();
        assert_eq!(html, "<h1>&lt;a&gt;</h1><p>Use <code>&lt;b&gt;</code> &amp; so on</p>");
    }
}
