//! `dt`: the members of a struct, and their values where there is one.
//!
//! ```text
//! Offset   Field                          Content
//! -------- ------------------------------ ----------------------------------------
//! 0x0      Pcb                            _KPROCESS
//! 0x180    UniqueProcessId                pointer to void
//! ```

use crate::addr::Va;
use crate::error::PageFault;
use crate::object::{Integer, Memory, Resolver, Types, text_of_bytes};
use crate::options::{Args, Opt, Value};
use crate::plugins::Plugin;
use crate::session::{Error, Session};
use crate::table::{Cell, Column, RowSink, row};
use quaid_profile::{BaseKind, Type};

/// How many elements of an array are shown.
const MAX_ELEMENTS: u64 = 16;
/// How many rows there are at most: structs without a name that hold each other many times could make any number.
const MAX_ROWS: usize = 1 << 16;
/// How deep types in types are followed; the kernels' declarations are far below.
const MAX_DEPTH: usize = 8;

pub(crate) const PLUGIN: Plugin = Plugin {
    name: "dt",
    os: None,
    about: "Show the members of a struct, or their values at an address",
    columns: &[Column::text("offset", "Offset", 8), Column::text("field", "Field", 30), Column::text("content", "Content", 40)],
    options: &[
        Opt::positional("type", Value::Text, "The struct, union or class, by the kernel's name"),
        Opt::one("offset", Value::Address, "The address of one, whose values are shown"),
    ],
    run,
};

fn run(s: &Session<'_>, args: &Args, out: &mut dyn RowSink) -> Result<(), Error> {
    let refuse = |why: String| Error::Option { option: "type".to_owned(), why };
    let name = args.text("type").ok_or_else(|| refuse("the name of a struct is missing".to_owned()))?;
    let types = Types::new(s.profile());
    if types.structure(name)?.is_none() {
        return Err(refuse(unknown(s, name)?));
    }
    let mut members = Vec::new();
    flatten(&types, name, 0, &mut members, MAX_DEPTH)?;
    members.sort_by(|a, b| (a.offset, start_bit(&a.ty), &a.label).cmp(&(b.offset, start_bit(&b.ty), &b.label)));
    let reader = Reader { s, resolver: Resolver::anywhere(&types) };
    let at = args.address("offset", s)?;
    for Row { offset, label, ty, typedef } in members {
        let content = match at {
            None => Cell::Text(ty.in_words_as(typedef.as_deref())),
            Some(at) => reader.content(&ty, at.wrapping_add(offset))?.into(),
        };
        out.row(row![format!("{offset:#x}"), label, content])?;
    }
    Ok(())
}

/// Says that there is no such struct, and which are named alike.
fn unknown(s: &Session<'_>, name: &str) -> Result<String, Error> {
    let wanted = name.trim_start_matches('_').to_lowercase();
    let names = s.profile().struct_names()?;
    let alike: Vec<&str> = names.into_iter().filter(|known| known.to_lowercase().contains(&wanted)).take(8).collect();
    let hint = if alike.is_empty() { String::new() } else { format!("; there are {}", alike.join(", ")) };
    Ok(format!("profile {} has no struct `{name}`{hint}", s.profile_name()))
}

/// A member, and where it is in the struct that was asked for.
struct Row {
    offset: u64,
    label: String,
    ty: Type,
    /// What a member of a native type is declared by.
    typedef: Option<String>,
}

/// The members of a struct; those of a member without a name stand in its place.
fn flatten(types: &Types<'_>, name: &str, base: u64, rows: &mut Vec<Row>, depth: usize) -> Result<(), Error> {
    let Some(structure) = types.structure(name)? else { return Ok(()) };
    for (label, member) in &structure.members {
        let offset = base.saturating_add(member.offset);
        match &member.ty {
            Type::Named(inner) if member.anonymous && depth > 0 && types.structure(inner)?.is_some() => {
                flatten(types, inner, offset, rows, depth - 1)?;
            }
            ty if rows.len() < MAX_ROWS => {
                let typedef = structure.typedefs.get(label).cloned();
                rows.push(Row { offset, label: label.clone(), ty: ty.clone(), typedef });
            }
            _ => return Ok(()),
        }
    }
    Ok(())
}

struct Reader<'r, 'm> {
    s: &'r Session<'m>,
    resolver: Resolver<'r>,
}

impl Reader<'_, '_> {
    /// The value of type `ty` at `at`.
    fn content(&self, ty: &Type, at: Va) -> Result<Result<String, PageFault>, Error> {
        let memory: &dyn Memory = self.s.kernel();
        if let Type::Array { target, count } = ty {
            return self.array(target, *count, at);
        }
        let Ok(integer) = Integer::of(&self.resolver, ty) else {
            // A struct: it is shown by a `dt` of its own.
            return Ok(Ok(format!("{} @ {at}", ty.in_words())));
        };
        let value = match integer.read(memory, at) {
            Ok(value) => value,
            Err(fault) => return Ok(Err(fault)),
        };
        Ok(Ok(self.value(ty, integer, value)?))
    }

    fn value(&self, ty: &Type, integer: Integer, value: u64) -> Result<String, Error> {
        let number = if integer.signed() { i128::from(value.cast_signed()) } else { i128::from(value) };
        Ok(match ty {
            Type::Pointer { .. } => format!("{value:#x}"),
            Type::Enum { name, .. } => {
                let known = self.s.profile().enumeration(name)?;
                // An enum's values may be declared unsigned.
                let label = known.as_ref().and_then(|known| known.label(number).or_else(|| known.label(i128::from(value))));
                format!("{number} ({})", label.unwrap_or("unknown"))
            }
            Type::BitField { target, .. } if matches!(**target, Type::Enum { .. }) => self.value(target, integer, value)?,
            Type::Named(name) if self.s.profile().base_type(name)?.is_some_and(|base| base.kind == BaseKind::Bool) => {
                if value == 0 { "False".to_owned() } else { "True".to_owned() }
            }
            _ => format!("{number} ({value:#x})"),
        })
    }

    /// Characters as a text, other elements one by one as far as they are shown.
    fn array(&self, target: &Type, count: u64, at: Va) -> Result<Result<String, PageFault>, Error> {
        let stride = self.s.profile().size_of(target)?.unwrap_or_default();
        let is_character = match target {
            Type::Named(name) => self.s.profile().base_type(name)?.is_some_and(|base| base.size == 1 && base.kind == BaseKind::Char),
            _ => false,
        };
        if is_character {
            let mut bytes = vec![0; usize::try_from(count).unwrap_or(usize::MAX).min(256)];
            return Ok(self.s.kernel().read(at, &mut bytes).map(|()| {
                let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
                format!("\"{}\"", text_of_bytes(bytes.get(..end).unwrap_or_default()))
            }));
        }
        let mut elements = Vec::new();
        for index in 0..count.min(MAX_ELEMENTS) {
            let at = at.wrapping_add(index.wrapping_mul(stride));
            let Ok(integer) = Integer::of(&self.resolver, target) else {
                return Ok(Ok(format!("{count} of {} @ {at}", target.in_words())));
            };
            match integer.read(self.s.kernel(), at) {
                Ok(value) => elements.push(self.value(target, integer, value)?),
                Err(fault) => return Ok(Err(fault)),
            }
        }
        let more = if count > MAX_ELEMENTS { ", ..." } else { "" };
        Ok(Ok(format!("[{}{more}]", elements.join(", "))))
    }
}

fn start_bit(ty: &Type) -> u64 {
    if let Type::BitField { start, .. } = ty { *start } else { 0 }
}
