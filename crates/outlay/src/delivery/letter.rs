//! Letters: what is mailed of a crossed threshold, worded for the user whom it is about and for the operator.
//!
//! The words stand in templates beside this file. A folder of the operator's may hold others by the same names, which are
//! tried out when the server starts: a letter that cannot be written must not be found out by nobody being told.

mod words;

use std::path::{Path, PathBuf};

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use outlay_core::alert::Alert;
use outlay_core::budget::Budget;
use thiserror::Error;

use crate::config::Presentation;
use words::Words;

/// One mail to one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// The address, such as `ada@example.org`.
    pub to: String,
    /// What it is about, such as `alert_0a1b2c3d_17`: the same id makes the same `Message-ID` on every try.
    pub id: String,
    /// The subject line.
    pub subject: String,
    /// The body as plain text.
    pub text: String,
    /// The same as HTML.
    pub html: String,
}

/// Who reads a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reader {
    /// The user whose budget it is about.
    User,
    /// The operator, who reads whose it is.
    Operator,
}

/// A crossed threshold, and all that is said of it.
#[derive(Debug, Clone, Copy)]
pub struct Crossing<'a> {
    /// The alert's id as the API shows it.
    pub id: &'a str,
    /// What was crossed, and what was used then.
    pub alert: &'a Alert,
    /// The user's budget of that month as it stands now.
    pub budget: &'a Budget,
    /// What is foretold of the meter, such as `You will reach your AI operations limit around 24 October`.
    pub forecast: Option<&'a str>,
    /// Labels and links.
    pub presentation: &'a Presentation,
}

/// The templates: who reads it, which part, and its built-in text.
const TEMPLATES: [(&str, &str); 6] = [
    ("alert-user.subject.txt", include_str!("letter/alert-user.subject.txt")),
    ("alert-user.txt", include_str!("letter/alert-user.txt")),
    ("alert-user.html", include_str!("letter/alert-user.html")),
    ("alert-operator.subject.txt", include_str!("letter/alert-operator.subject.txt")),
    ("alert-operator.txt", include_str!("letter/alert-operator.txt")),
    ("alert-operator.html", include_str!("letter/alert-operator.html")),
];

/// Why the templates of a folder cannot be used.
#[derive(Debug, Error)]
pub enum TemplateError {
    /// The folder or a file cannot be read.
    #[error("read the mail templates in {}: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file that takes no template's place.
    #[error("use the mail template {}: there is none by this name; they are {}", .0.display(), names())]
    Unknown(PathBuf),
    /// A template that makes no sense, or names what there is not.
    #[error("use the mail template {} line {line}: {why}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// The line in it, from 1.
        line: usize,
        /// What is wrong there.
        why: String,
    },
}

fn names() -> String {
    TEMPLATES.map(|(name, _)| name).join(", ")
}

/// Writes letters.
#[derive(Debug)]
pub struct Letters {
    templates: Environment<'static>,
}

impl Letters {
    /// The built-in templates, and in the place of some those of a folder.
    ///
    /// # Errors
    /// When one of the folder's cannot be read, has no such name, or cannot be written with: file and line.
    pub fn open(folder: Option<&Path>) -> Result<Self, TemplateError> {
        let mut letters = Self { templates: environment() };
        let path = |name: &str| folder.map_or_else(|| PathBuf::from(name), |folder| folder.join(name));
        let own = folder.map(read).transpose()?.unwrap_or_default();
        for (name, built_in) in TEMPLATES {
            let text = own.iter().find(|(own, _)| own == name).map_or(built_in, |(_, text)| text);
            let added = letters.templates.add_template_owned(name, text.to_owned());
            added.map_err(|error| wrong(path(name), &error))?;
            for words in words::samples() {
                letters.render(name, &words).map_err(|error| wrong(path(name), &error))?;
            }
        }
        Ok(letters)
    }

    /// The letter that tells a reader of a crossed threshold.
    ///
    /// # Errors
    /// When a template of the operator's cannot be written with these words, though it could with others.
    pub fn alert(&self, crossing: &Crossing<'_>, reader: Reader, to: &str) -> Result<Letter, TemplateError> {
        let words = Words::of(crossing);
        let (name, id) = match reader {
            Reader::User => ("alert-user", crossing.id.to_owned()),
            // Another letter than the user's, also where both go to one address.
            Reader::Operator => ("alert-operator", format!("{}.operator", crossing.id)),
        };
        let part = |end: &str| {
            let name = format!("{name}{end}");
            self.render(&name, &words).map_err(|error| wrong(PathBuf::from(name), &error))
        };
        Ok(Letter {
            to: to.to_owned(),
            id,
            subject: part(".subject.txt")?.trim().to_owned(),
            text: part(".txt")?,
            html: part(".html")?,
        })
    }

    fn render(&self, name: &str, words: &Words) -> Result<String, minijinja::Error> {
        self.templates.get_template(name)?.render(minijinja::value::Serde(words))
    }
}

fn environment() -> Environment<'static> {
    let mut templates = Environment::new();
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    templates.set_syntax(syntax.expect("the marks are the usual ones"));
    templates.set_auto_escape_callback(|name| {
        if Path::new(name).extension().is_some_and(|end| end == "html") { AutoEscape::Html } else { AutoEscape::None }
    });
    templates
}

/// The files of a folder with their names; those that begin with a dot are editors' own.
fn read(folder: &Path) -> Result<Vec<(String, String)>, TemplateError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| TemplateError::Unreadable { path, source }
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed(folder))? {
        let path = entry.map_err(failed(folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') || name.ends_with('~') {
            continue;
        }
        if !TEMPLATES.iter().any(|(known, _)| *known == name) {
            return Err(TemplateError::Unknown(path));
        }
        files.push((name, std::fs::read_to_string(&path).map_err(failed(&path))?));
    }
    Ok(files)
}

fn wrong(path: PathBuf, error: &minijinja::Error) -> TemplateError {
    let why = match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    TemplateError::Wrong { path, line: error.line().unwrap_or(1), why }
}

#[cfg(test)]
mod tests;
