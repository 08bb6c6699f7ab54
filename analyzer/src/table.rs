//! Tables: columns with types, and cells that know why they are empty.

use crate::addr::{Pa, Va};
use crate::error::PageFault;
use crate::time::Time;
use std::io;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Addresses.
    Address,
    /// Counts, ids, sizes.
    Int,
    /// Texts.
    Text,
    /// Truth values.
    Bool,
    /// Times.
    Time,
}

/// A column of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its key in machine-readable output.
    pub key: &'static str,
    /// Its heading in text.
    pub heading: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Width in text, in characters. A longer cell is printed whole.
    pub width: usize,
}

impl Column {
    /// A column of addresses.
    pub const fn address(key: &'static str, heading: &'static str) -> Self {
        Self { key, heading, kind: Kind::Address, width: 14 }
    }
    /// A column of numbers.
    pub const fn int(key: &'static str, heading: &'static str, width: usize) -> Self {
        Self { key, heading, kind: Kind::Int, width }
    }
    /// A column of texts.
    pub const fn text(key: &'static str, heading: &'static str, width: usize) -> Self {
        Self { key, heading, kind: Kind::Text, width }
    }
    /// A column of truth values.
    pub const fn bool(key: &'static str, heading: &'static str) -> Self {
        Self { key, heading, kind: Kind::Bool, width: 6 }
    }
    /// A column of times.
    pub const fn time(key: &'static str, heading: &'static str) -> Self {
        Self { key, heading, kind: Kind::Time, width: 20 }
    }
}

/// One cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// There is nothing: the kernel has no such thing for this row.
    Absent,
    /// An address.
    Address(u64),
    /// A number.
    Int(i128),
    /// A text, as it is in memory: renderers make it harmless.
    Text(String),
    /// A truth value.
    Bool(bool),
    /// A time.
    Time(Time),
    /// There is something, and memory does not tell what: the reason.
    Unreadable(String),
}

impl Cell {
    /// Whether it may stand in a column of this kind.
    pub fn fits(&self, kind: Kind) -> bool {
        match self {
            Self::Absent | Self::Unreadable(_) => true,
            Self::Address(_) => kind == Kind::Address,
            Self::Int(_) => kind == Kind::Int,
            Self::Text(_) => kind == Kind::Text,
            Self::Bool(_) => kind == Kind::Bool,
            Self::Time(_) => kind == Kind::Time,
        }
    }
}

macro_rules! cells {
    ($($ty:ty => |$value:ident| $cell:expr,)*) => {$(
        impl From<$ty> for Cell {
            fn from($value: $ty) -> Self {
                $cell
            }
        }
    )*};
}
cells! {
    u32 => |value| Self::Int(value.into()),
    u64 => |value| Self::Int(value.into()),
    i64 => |value| Self::Int(value.into()),
    bool => |value| Self::Bool(value),
    Va => |value| Self::Address(value.0),
    Pa => |value| Self::Address(value.0),
    Time => |value| Self::Time(value),
    String => |value| Self::Text(value),
    &str => |value| Self::Text(value.to_owned()),
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Absent, Into::into)
    }
}

impl<T: Into<Cell>> From<Result<T, PageFault>> for Cell {
    fn from(value: Result<T, PageFault>) -> Self {
        value.map_or_else(|fault| Self::Unreadable(fault.to_string()), Into::into)
    }
}

/// Takes the rows of a table as they are found.
pub trait RowSink {
    /// One row: a cell for each column, in order.
    fn row(&mut self, cells: Vec<Cell>) -> io::Result<()>;
    /// Something that was met on the way and survived, such as a list that breaks off: rows may be missing.
    fn problem(&mut self, what: String);
}

/// The cells of a row, from values that become cells.
macro_rules! row {
    ($($cell:expr),* $(,)?) => { vec![$($crate::table::Cell::from($cell)),*] };
}
pub(crate) use row;
