//! What is printed: tables and cards on a terminal, plain columns when piped, JSON as the server gave it.

use std::io::{IsTerminal as _, Write as _};

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, TableStyle};
use console::{Style, Term};

use super::Failure;

/// One line a row, and one under the head.
const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

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
        line(&self.into_text())
    }

    /// Drawn on a terminal; else one line a row, columns between tabs, for `cut` and `awk`.
    pub(super) fn into_text(self) -> String {
        if std::io::stdout().is_terminal() { self.drawn() } else { self.listed() }
    }

    fn drawn(self) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(STYLE).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(self.header);
        table.add_rows(self.rows);
        for column in table.column_iter_mut().skip(self.numbers_from) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table.to_string()
    }

    fn listed(self) -> String {
        let rows = self.rows.iter().map(|row| row.join("\t"));
        std::iter::once(self.header.join("\t")).chain(rows).collect::<Vec<_>>().join("\n")
    }
}

/// A terminal on which the same lines are drawn again and again.
#[derive(Debug)]
pub(super) struct Screen {
    term: Term,
    /// How many lines stand there.
    lines: usize,
    /// Whether bars are drawn with blocks; a terminal that knows no colours may not know them either.
    has_blocks: bool,
}

impl Screen {
    /// The terminal of standard output, if it is one.
    pub(super) fn of_terminal() -> Option<Self> {
        let term = Term::stdout();
        term.is_term().then(|| Self { has_blocks: term.features().colors_supported(), term, lines: 0 })
    }

    #[cfg(test)]
    pub(super) fn plain() -> Self {
        Self { term: Term::stdout(), lines: 0, has_blocks: false }
    }

    /// How many lines it has.
    pub(super) fn rows(&self) -> u16 {
        self.term.size().0
    }

    /// Draws these lines in place of those drawn before, each cut to the terminal's width.
    pub(super) fn redraw(&mut self, lines: &[String]) -> Result<(), Failure> {
        self.term.clear_last_lines(self.lines).map_err(unread)?;
        self.lines = 0;
        lines.iter().try_for_each(|text| self.add(text))
    }

    /// Adds a line, which the next drawing takes away.
    pub(super) fn note(&mut self, text: &str) -> Result<(), Failure> {
        self.add(&Style::new().dim().apply_to(text).to_string())
    }

    fn add(&mut self, text: &str) -> Result<(), Failure> {
        let width = usize::from(self.term.size().1);
        self.term.write_line(&console::truncate_str(text, width, "~")).map_err(unread)?;
        self.lines += 1;
        Ok(())
    }

    /// A bar of so many cells: the shares used and held of a limit, of which together one bar is full. What is used
    /// shows, however little it is.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "shares are clamped to a bar's cells")]
    pub(super) fn bar(&self, used: f64, held: f64, cells: usize) -> String {
        const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
        // A terminal has no line of more than 65,535 cells.
        let wide = f64::from(u16::try_from(cells).unwrap_or(u16::MAX));
        let eighths = |share: f64| (share.clamp(0.0, 1.0) * wide * 8.0) as usize;
        let used_eighths = if used > 0.0 { eighths(used).max(1) } else { 0 };
        let end = eighths(used + held).div_ceil(8);
        if !self.has_blocks {
            let full = used_eighths.div_ceil(8).min(if used < 1.0 { cells.saturating_sub(1) } else { cells });
            let pending = end.saturating_sub(full);
            return format!(
                "[{}{}{}]",
                "#".repeat(full),
                "-".repeat(pending),
                " ".repeat(cells.saturating_sub(full + pending))
            );
        }
        let mut bar = "█".repeat(used_eighths / 8);
        bar.extend(EIGHTHS.get(used_eighths % 8).filter(|block| **block != ' '));
        let drawn = bar.chars().count();
        let pending = end.saturating_sub(drawn);
        format!("{bar}{}{}", "▒".repeat(pending), "░".repeat(cells.saturating_sub(drawn + pending)))
    }
}

/// The colour of a state; its word stands beside it.
pub(super) fn tone(state: &str) -> Style {
    match state {
        "warning" => Style::new().yellow(),
        "critical" => Style::new().color256(208),
        "reached" => Style::new().red(),
        _ => Style::new().green(),
    }
}

/// An id as it may stand on a terminal: what turns the direction of writing is replaced, since it would disorder the line.
pub(super) fn plain(text: &str) -> String {
    let turns = |character| matches!(character, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|character| if turns(character) { char::REPLACEMENT_CHARACTER } else { character }).collect()
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

/// A question on the terminal; yes only if that is what is typed. Without a terminal there is nobody to ask, and `--yes`
/// must have been passed.
pub(super) fn confirmed(question: &str) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::Usage(format!("{question} There is no terminal to ask on: pass --yes if that is meant")));
    }
    let mut answer = String::new();
    let asked = write!(std::io::stderr().lock(), "{question} [yes/no] ");
    Ok(asked.is_ok() && std::io::stdin().read_line(&mut answer).is_ok() && answer.trim() == "yes")
}

fn unread(error: std::io::Error) -> Failure {
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        return Failure::Unread;
    }
    Failure::io("print")(error)
}
