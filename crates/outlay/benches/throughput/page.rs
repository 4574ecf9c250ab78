//! The page about the figures: its tables, between markers of the text that is written by hand, and its pictures.

mod figures;
mod plots;
mod tables;

use std::fs;
use std::path::{Path, PathBuf};

use figures::Run;

/// What a section is made of.
struct Section {
    /// Its markers are `<!-- figures: NAME -->` and `<!-- /figures: NAME -->`.
    name: &'static str,
    is_in: fn(&Run) -> bool,
    text: fn(&Run) -> String,
    pictures: &'static [Picture],
}

/// The name of its file, and what draws it.
type Picture = (&'static str, fn(&Run) -> String);

const SECTIONS: [Section; 4] = [
    Section {
        name: "closed",
        is_in: |run| !run.closed.is_empty(),
        text: tables::closed,
        pictures: &[("bench-clients.svg", plots::clients)],
    },
    Section {
        name: "open",
        is_in: |run| !run.open.is_empty(),
        text: tables::open,
        pictures: &[("bench-open.svg", plots::open)],
    },
    Section {
        name: "fill",
        is_in: |run| !run.marks.is_empty(),
        text: tables::fill,
        pictures: &[("bench-fill.svg", plots::fill), ("bench-start.svg", plots::start)],
    },
    Section {
        name: "alone",
        is_in: |run| run.alone.iter().any(figures::Alone::is_in_process),
        text: tables::alone,
        pictures: &[],
    },
];

/// Writes the sections that one of the files has figures of, the last file where several have; leaves the others as they are.
pub(crate) fn write(files: &[PathBuf], docs: &Path) {
    let runs: Vec<_> = files.iter().map(|file| Run::read(file)).collect();
    let page = docs.join("benchmarks.md");
    let mut text = fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
    let pictures = docs.join("pictures");
    fs::create_dir_all(&pictures).unwrap();
    for section in &SECTIONS {
        let Some(run) = runs.iter().rev().find(|run| (section.is_in)(run)) else { continue };
        for (name, draw) in section.pictures {
            fs::write(pictures.join(name), draw(run)).unwrap();
        }
        let inside = format!("\n{}\n{}", tables::caption(&run.machine), (section.text)(run));
        text = replace(&text, section.name, &inside)
            .unwrap_or_else(|| panic!("{} has no markers of {}", page.display(), section.name));
        println!("{}: {}", page.display(), section.name);
    }
    fs::write(&page, text).unwrap();
}

/// The text with something else between the markers.
fn replace(text: &str, name: &str, inside: &str) -> Option<String> {
    let (opens, closes) = (format!("<!-- figures: {name} -->"), format!("<!-- /figures: {name} -->"));
    let begin = text.find(&opens)? + opens.len();
    let end = begin + text[begin..].find(&closes)?;
    Some(format!("{}\n{inside}\n{}", &text[..begin], &text[end..]))
}
