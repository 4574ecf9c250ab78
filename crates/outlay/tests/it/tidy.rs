//! The source tree keeps the house rules that no compiler knows.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Asks, Server};

/// A room with more lines than this should be two.
const LINES_MAX: usize = 900;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Every file under a folder; none where there is no folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Every source file of every crate, without its tests' folder.
fn sources() -> Vec<PathBuf> {
    let crates = fs::read_dir(workspace().join("crates")).unwrap().map(|entry| entry.unwrap().path());
    let folders = crates.chain([workspace().join("xtask")]).map(|path| path.join("src"));
    let sources: Vec<PathBuf> =
        folders.flat_map(|folder| files(&folder)).filter(|path| path.extension().is_some_and(|e| e == "rs")).collect();
    assert!(sources.len() > 3, "the sources were not found");
    sources
}

#[test]
fn no_source_file_is_too_long() {
    let long: Vec<_> = sources()
        .into_iter()
        .map(|path| (fs::read_to_string(&path).unwrap().lines().count(), path))
        .filter(|(lines, _)| *lines > LINES_MAX)
        .collect();
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn no_module_is_a_mod_rs() {
    let found: Vec<_> = sources().into_iter().filter(|path| path.ends_with("mod.rs")).collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_module_says_what_it_is_for() {
    let silent: Vec<_> =
        sources().into_iter().filter(|path| !fs::read_to_string(path).unwrap().starts_with("//!")).collect();
    assert!(silent.is_empty(), "{silent:#?}");
}

#[test]
fn nothing_is_left_to_be_done() {
    let marks = ["TODO", "FIXME", "XXX", "todo!(", "unimplemented!(", "dbg!("];
    let mut found = Vec::new();
    for path in sources() {
        for (number, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                found.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_problem_page_is_served() {
    let server = Server::open();
    for path in files(&workspace().join("docs/problems")) {
        let slug = path.file_stem().unwrap().to_str().unwrap();
        if path.extension().is_some_and(|extension| extension == "md") {
            server.get(&format!("/problems/{slug}")).is_text(200);
        }
    }
}
