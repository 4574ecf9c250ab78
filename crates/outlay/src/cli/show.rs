//! What is printed: tables on a terminal, plain columns when piped, JSON as the server gave it.

use std::io::{IsTerminal as _, Write as _};

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, ContentArrangement};

use super::Failure;

/// A table with a header.
#[derive(Debug)]
pub(super) struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    numbers_from: usize,
}

impl Table {
    /// A table whose columns from `numbers_from` on are numbers.
    pub(super) fn new<const N: usize>(header: [&'static str; N], numbers_from: usize) -> Self {
        Self { header: header.to_vec(), rows: Vec::new(), numbers_from }
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    pub(super) fn print(self) -> Result<(), Failure> {
        if std::io::stdout().is_terminal() { self.draw() } else { self.list() }
    }

    fn draw(self) -> Result<(), Failure> {
        let mut table = comfy_table::Table::new();
        table.load_style(UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(self.header);
        table.add_rows(self.rows);
        for column in table.column_iter_mut().skip(self.numbers_from) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        line(&table.to_string())
    }

    /// One line a row, columns between tabs, for `cut` and `awk`.
    fn list(self) -> Result<(), Failure> {
        line(&self.header.join("\t"))?;
        self.rows.iter().try_for_each(|row| line(&row.join("\t")))
    }
}

/// Prints a line.
pub(super) fn line(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").map_err(unread)
}

/// Prints bytes as they are.
pub(super) fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(unread)
}

/// Prints an answer's JSON as the server gave it.
pub(super) fn json(body: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(body).and_then(|()| out.write_all(b"\n")).map_err(unread)
}

/// Says on standard error why the command failed.
pub(super) fn complain(failure: &Failure) {
    say(&format!("outlay: {failure}"));
}

/// Says something on standard error that is no answer.
pub(super) fn say(text: &str) {
    // Nobody to tell if standard error is closed.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// A question on the terminal; yes only if that is what is typed. Without a terminal there is nobody to ask.
pub(super) fn confirmed(question: &str) -> bool {
    if !std::io::stdin().is_terminal() {
        return true;
    }
    let mut answer = String::new();
    let asked = write!(std::io::stderr().lock(), "{question} [yes/no] ");
    asked.is_ok() && std::io::stdin().read_line(&mut answer).is_ok() && answer.trim() == "yes"
}

fn unread(error: std::io::Error) -> Failure {
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        return Failure::Unread;
    }
    Failure::io("print")(error)
}
