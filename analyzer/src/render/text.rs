//! Tables as text, in the layout of the ancestor's manual.

use super::Renderer;
use crate::table::{Cell, Column, Kind};
use std::fmt::Write as _;
use std::io::{self, Write};

/// Columns under headings, streamed: a cell that is wider than its column moves the rest of its row to the right.
pub struct Text<W: Write> {
    columns: &'static [Column],
    writer: W,
    begun: bool,
}

impl<W: Write> Text<W> {
    /// A table of these columns, written to `writer`.
    pub fn new(columns: &'static [Column], writer: W) -> Self {
        Self { columns, writer, begun: false }
    }

    /// The headings, once.
    fn begin(&mut self) -> io::Result<()> {
        if self.begun {
            return Ok(());
        }
        self.begun = true;
        let headings: Vec<String> = self.columns.iter().map(|column| column.heading.to_owned()).collect();
        self.line(&headings, |kind| if kind == Kind::Address { Align::Centre } else { align(kind) })?;
        let dashes: Vec<String> = self.columns.iter().map(|column| "-".repeat(column.width)).collect();
        self.line(&dashes, align)
    }

    fn line(&mut self, cells: &[String], align: fn(Kind) -> Align) -> io::Result<()> {
        let mut line = String::new();
        for (cell, column) in cells.iter().zip(self.columns) {
            if !line.is_empty() {
                line.push(' ');
            }
            let width = column.width;
            // To a String; it cannot fail.
            let _ = match align(column.kind) {
                Align::Left => write!(line, "{cell:<width$}"),
                Align::Centre => write!(line, "{cell:^width$}"),
                Align::Right => write!(line, "{cell:>width$}"),
            };
        }
        writeln!(self.writer, "{}", line.trim_end())
    }
}

enum Align {
    Left,
    Centre,
    Right,
}

fn align(kind: Kind) -> Align {
    match kind {
        Kind::Int | Kind::Bool => Align::Right,
        Kind::Address | Kind::Text | Kind::Time => Align::Left,
    }
}

impl<W: Write> Renderer for Text<W> {
    fn row(&mut self, cells: &[Cell]) -> io::Result<()> {
        self.begin()?;
        let cells: Vec<String> =
            cells.iter().zip(self.columns).map(|(cell, column)| text_of(cell, column.kind)).collect();
        self.line(&cells, align)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.begin()?;
        self.writer.flush()
    }
}

fn text_of(cell: &Cell, kind: Kind) -> String {
    match cell {
        Cell::Absent if kind == Kind::Int => "------".to_owned(),
        Cell::Absent => "-".to_owned(),
        Cell::Address(address) => address_text(*address),
        Cell::Int(number) => number.to_string(),
        Cell::Text(text) => harmless(text),
        Cell::Bool(true) => "True".to_owned(),
        Cell::Bool(false) => "False".to_owned(),
        Cell::Time(time) => time.to_string(),
        Cell::Unreadable(_) => "?".to_owned(),
    }
}

/// An address as the ancestor prints it: twelve digits; of a kernel address the 16 bits above, which are all ones, are
/// left out.
pub(crate) fn address_text(address: u64) -> String {
    let shown = if address >> 47 == 0x1_ffff { address & 0xffff_ffff_ffff } else { address };
    format!("{shown:#014x}")
}

/// The text without characters that drive a terminal or turn its direction of writing; they are shown escaped.
fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let _ = match c {
            '\n' => write!(out, "\\n"),
            '\r' => write!(out, "\\r"),
            '\t' => write!(out, "\\t"),
            c if c.is_control() => write!(out, "\\x{:02x}", u32::from(c)),
            c if drives_direction(c) => write!(out, "\\u{:04x}", u32::from(c)),
            c => write!(out, "{c}"),
        };
    }
    out
}

/// Marks, embeddings, overrides and isolates of bidirectional writing; line and paragraph separators; zero width.
pub(super) fn drives_direction(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}
