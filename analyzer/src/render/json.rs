//! Tables as JSON: one array with an object for each row.

use super::Renderer;
use super::text::drives_direction;
use crate::table::{Cell, Column};
use std::fmt::Write as _;
use std::io::{self, Write};

/// Rows as objects by the columns' keys, streamed. Counts and ids are numbers, addresses "0x...", times
/// "2026-03-04T04:32:10Z", what is absent null, what cannot be read `{"error": "..."}`.
pub struct Json<W: Write> {
    columns: &'static [Column],
    writer: W,
    rows: u64,
}

impl<W: Write> Json<W> {
    /// A table of these columns, written to `writer`.
    pub fn new(columns: &'static [Column], writer: W) -> Self {
        Self { columns, writer, rows: 0 }
    }
}

impl<W: Write> Renderer for Json<W> {
    fn row(&mut self, cells: &[Cell]) -> io::Result<()> {
        let mut line = String::from(if self.rows == 0 { "[\n {" } else { ",\n {" });
        self.rows += 1;
        for (index, (cell, column)) in cells.iter().zip(self.columns).enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            // To a String; it cannot fail.
            let _ = write!(line, "{comma}{}: {}", quoted(column.key), value_of(cell));
        }
        line.push('}');
        self.writer.write_all(line.as_bytes())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.writer.write_all(if self.rows == 0 { b"[]\n" } else { b"\n]\n" })?;
        self.writer.flush()
    }
}

fn value_of(cell: &Cell) -> String {
    match cell {
        Cell::Absent => "null".to_owned(),
        Cell::Address(address) => format!("\"{address:#x}\""),
        Cell::Int(number) => number.to_string(),
        Cell::Text(text) => quoted(text),
        Cell::Bool(truth) => truth.to_string(),
        Cell::Time(time) => quoted(&time.rfc3339()),
        Cell::Unreadable(why) => format!("{{\"error\": {}}}", quoted(why)),
    }
}

/// A JSON string. Beside what JSON demands, everything that could drive a terminal is escaped.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        let _ = match c {
            '"' => write!(out, "\\\""),
            '\\' => write!(out, "\\\\"),
            // All of these are below U+10000: one unit of UTF-16.
            c if c.is_control() || drives_direction(c) => write!(out, "\\u{:04x}", u32::from(c)),
            c => write!(out, "{c}"),
        };
    }
    out.push('"');
    out
}
