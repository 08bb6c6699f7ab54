//! Tables as text and as JSON.

mod json;
mod text;

pub use json::Json;
pub use text::Text;

use crate::table::{Cell, Column};
use std::io::{self, Write};

/// Writes a table row by row.
pub trait Renderer {
    /// Writes a row.
    fn row(&mut self, cells: &[Cell]) -> io::Result<()>;
    /// Writes what comes behind the last row.
    fn finish(&mut self) -> io::Result<()>;
}

/// The names of the renderers, the first of them the default.
pub const NAMES: &[&str] = &["text", "json"];

/// A renderer's own name, of any case; those of the ancestor's classes (`TextRenderer`) are understood as well. `None`
/// for an unknown one.
pub fn canonical_name(name: &str) -> Option<&'static str> {
    let plain = name.to_ascii_lowercase();
    let plain = plain.strip_suffix("renderer").unwrap_or(&plain);
    NAMES.iter().find(|known| **known == plain).copied()
}

/// The renderer of this name, over `writer`; `None` for an unknown name.
pub fn renderer<'w>(name: &str, columns: &'static [Column], writer: impl Write + 'w) -> Option<Box<dyn Renderer + 'w>> {
    match canonical_name(name)? {
        "json" => Some(Box::new(Json::new(columns, writer))),
        _ => Some(Box::new(Text::new(columns, writer))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Time;

    const COLUMNS: &[Column] = &[
        Column::address("offset", "Offset (V)"),
        Column::text("name", "Name", 20),
        Column::int("pid", "PID", 6),
        Column::int("ppid", "PPID", 6),
        Column::int("thds", "Thds", 6),
        Column::int("hnds", "Hnds", 8),
        Column::int("sess", "Sess", 6),
        Column::bool("wow64", "Wow64"),
        Column::time("start", "Start"),
        Column::time("exit", "Exit"),
    ];

    fn dump_it(name: &str) -> Vec<Cell> {
        vec![
            Cell::Address(0xffff_fa80_0101_6060),
            Cell::Text(name.to_owned()),
            Cell::Int(2860),
            Cell::Int(1652),
            Cell::Int(2),
            Cell::Int(42),
            Cell::Int(1),
            Cell::Bool(true),
            Cell::Time(Time { unix_seconds: 1_329_910_139 }),
            Cell::Absent,
        ]
    }

    fn rendered(name: &str, columns: &'static [Column], rows: &[Vec<Cell>]) -> String {
        let mut bytes = Vec::new();
        let mut renderer = renderer(name, columns, &mut bytes).expect("a known name");
        for row in rows {
            renderer.row(row).expect("written");
        }
        renderer.finish().expect("written");
        drop(renderer);
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn text_is_laid_out_as_in_the_manual() {
        // The lines of the ancestor's manual, section 2.2; blanks at the end of a line are not printed.
        let expected = "  \
              Offset (V)   Name                    PID   PPID   Thds     Hnds   Sess  Wow64 Start                Exit\n\
-------------- -------------------- ------ ------ ------ -------- ------ ------ -------------------- --------------------\n\
0xfa8001016060 DumpIt.exe             2860   1652      2       42      1   True 2012-02-22 11:28:59  -\n";
        assert_eq!(rendered("TextRenderer", COLUMNS, &[dump_it("DumpIt.exe")]), expected);
    }

    #[test]
    fn a_number_that_is_absent_is_dashes_and_one_unreadable_a_question_mark() {
        let mut row = dump_it("a");
        row[5] = Cell::Unreadable("gone".to_owned());
        row[6] = Cell::Absent;
        let text = rendered("text", COLUMNS, &[row]);
        assert!(text.ends_with("      2        ? ------   True 2012-02-22 11:28:59  -\n"), "{text}");
    }

    #[test]
    fn hostile_names_do_not_drive_the_terminal() {
        let name = "\u{1b}[2Jevil\r\n\u{9b}1m\u{202e}exe\u{7f}";
        for format in ["text", "json"] {
            let text = rendered(format, COLUMNS, &[dump_it(name)]);
            let bad = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
            assert!(!text.contains(bad), "{text:?}");
            assert!(text.contains("evil"));
        }
        let text = rendered("text", COLUMNS, &[dump_it(name)]);
        assert!(text.contains(r"\x1b[2Jevil\r\n\x9b1m\u202eexe\x7f"), "{text}");
        let json = rendered("json", COLUMNS, &[dump_it(name)]);
        let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(value[0]["name"], name);
    }

    #[test]
    fn json_is_one_array_of_typed_rows() {
        let mut broken = dump_it("b");
        broken[2] = Cell::Unreadable("0x10 is not there".to_owned());
        let json = rendered("json", COLUMNS, &[dump_it("a"), broken]);
        let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        let expected = serde_json::json!({
            "offset": "0xfffffa8001016060", "name": "a", "pid": 2860, "ppid": 1652, "thds": 2, "hnds": 42, "sess": 1,
            "wow64": true, "start": "2012-02-22T11:28:59Z", "exit": null
        });
        assert_eq!(value[0], expected);
        assert_eq!(value[1]["pid"], serde_json::json!({"error": "0x10 is not there"}));
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&rendered("json", COLUMNS, &[])).expect("JSON"),
            serde_json::json!([])
        );
    }
}
