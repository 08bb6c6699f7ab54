//! `peinfo`: what a PE file tells about itself.

use crate::context::{Context, Outcome, UsageError};
use crate::demangle::demangle;
use crate::input;
use crate::output::{Output, printable};
use crate::pe::{self, DebugRecord, Export, PeInfo, Target};
use anyhow::{Context as _, Result};
use clap::{Arg, ArgMatches, value_parser};
use quaid_analyzer::Time;
use serde_json::{Map, Value, json};
use std::io::{self, Write};
use std::path::PathBuf;

pub(crate) fn cli() -> clap::Command {
    let path = |name| Arg::new(name).value_parser(value_parser!(PathBuf));
    clap::Command::new("peinfo")
        .about("Show what a PE file (.exe, .dll, .sys) tells about itself: build, PDB, sections, version")
        .arg(path("pe").value_name("FILE").help("The PE file; -f before the command names it as well"))
        .arg(path("filename").long("filename").value_name("FILE").conflicts_with("pe").help("The same"))
}

pub(crate) fn run(context: &Context, args: &ArgMatches) -> Result<Outcome> {
    let path = |name| args.get_one::<PathBuf>(name);
    let Some(input) = path("pe").or_else(|| path("filename")).or(context.globals.filename.as_ref()) else {
        return Err(UsageError::of("which PE file? quaid peinfo NTOSKRNL.EXE"));
    };
    let bytes = input::read(input, pe::MAX_FILE_BYTES);
    let bytes = bytes.with_context(|| format!("cannot read {}", input.display()))?;
    let info = pe::parse(&bytes).with_context(|| format!("cannot read {}", input.display()))?;
    let mut out = Output::open(context)?;
    if context.globals.format == "json" {
        // As an io::Error, which tells a closed pipe from a failure.
        serde_json::to_writer_pretty(&mut out, &to_json(&info)).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        write_text(&mut out, &info)?;
    }
    out.finish()?;
    for problem in &info.problems {
        context.warn(&format!("{}: {problem}", input.display()));
    }
    Ok(if info.problems.is_empty() { Outcome::Done } else { Outcome::SomeErrors })
}

/// Two columns under a heading, as Rekall prints them.
fn write_pairs(out: &mut impl Write, heading: (&str, &str), pairs: &[(String, String)]) -> io::Result<()> {
    writeln!(out, "{:<20} {}", heading.0, heading.1)?;
    writeln!(out, "{:-<20} -----", "")?;
    pairs.iter().try_for_each(|(key, value)| writeln!(out, "{key:<20} {value}"))
}

fn write_text(out: &mut impl Write, info: &PeInfo) -> io::Result<()> {
    let stamp = Time { unix_seconds: info.time_date_stamp.into() };
    let mut pairs = vec![
        ("Machine".to_owned(), pe::machine_name(info.machine)),
        ("TimeDateStamp".to_owned(), format!("{stamp}+0000")),
        ("Characteristics".to_owned(), pe::characteristics(info.characteristics).join(", ")),
    ];
    for record in &info.debug {
        match record {
            DebugRecord::Rsds(codeview) => {
                // The seed's row, then what profiles and symbol servers go by.
                pairs.push(("GUID".to_owned(), codeview.guid_age.guid_text().to_lowercase()));
                pairs.push(("GUID/Age".to_owned(), codeview.guid_age.to_string()));
                pairs.push(("PDB".to_owned(), printable(&codeview.pdb_name)));
            }
            DebugRecord::Nb10 { pdb_name, signature, age } => {
                let pdb_name = printable(pdb_name);
                pairs.push((
                    "PDB".to_owned(),
                    format!("{pdb_name} (NB10: time stamp {signature:08X}, age {age}; no GUID)"),
                ));
            }
            DebugRecord::Unknown(signature) => {
                pairs
                    .push(("CodeView".to_owned(), format!("record of unknown signature {}", signature.escape_ascii())));
            }
        }
    }
    for (what, (major, minor)) in [
        ("OSVersion", info.operating_system_version),
        ("ImageVersion", info.image_version),
        ("SubsystemVersion", info.subsystem_version),
    ] {
        pairs.push((what.to_owned(), format!("{major}.{minor}")));
    }
    write_pairs(out, ("Attribute", "Value"), &pairs)?;

    writeln!(out, "\nSections (Relative to 0x{:X}):", info.image_base)?;
    writeln!(out, "{:<4} {:<10} {:>10} {:>10} {:>10}", "Perm", "Name", "Raw Off", "VMA", "Size")?;
    writeln!(out, "---- ---------- ---------- ---------- ----------")?;
    for s in &info.sections {
        let (raw, rva, size) = (s.raw_offset, s.rva, s.size);
        writeln!(out, "{:<4} {:<10} {raw:>#10x} {rva:>#10x} {size:>#10x}", s.permissions, printable(&s.name))?;
    }

    writeln!(out, "\nData Directories:")?;
    writeln!(out, "{:<37} {:>10} {:>10}", "Name", "VMA", "Size")?;
    writeln!(out, "{:-<37} ---------- ----------", "")?;
    for directory in &info.directories {
        writeln!(out, "{:<37} {:>#10x} {:>#10x}", directory.name, directory.rva, directory.size)?;
    }

    if let Some(exports) = &info.exports {
        writeln!(out, "\nExports: {} from {}", exports.list.len(), printable(&exports.module))?;
        writeln!(out, "{:<10} {:>7} Name", "Entry", "Ordinal")?;
        writeln!(out, "---------- ------- ----")?;
        for export in &exports.list {
            writeln!(out, "{}", export_line(export).trim_end())?;
        }
    }

    if !info.version.is_empty() {
        writeln!(out, "\nVersion Information:")?;
        let pairs: Vec<(String, String)> = info.version.iter().map(|(k, v)| (printable(k), printable(v))).collect();
        write_pairs(out, ("key", "value"), &pairs)?;
    }
    Ok(())
}

/// RVA, ordinal and name, of C++ also as in the source; an export without a name ends there, and a forwarder has no RVA but where it leads.
fn export_line(Export { ordinal, name, target }: &Export) -> String {
    let plain = name.as_deref().and_then(demangle).map(|plain| format!("  {plain}")).unwrap_or_default();
    let name = printable(&format!("{}{plain}", name.as_deref().unwrap_or_default()));
    match target {
        Target::Rva(rva) => format!("{rva:<#10x} {ordinal:>7} {name}"),
        Target::Forwarder(forwarder) => format!("{:<10} {ordinal:>7} {name} -> {}", "-", printable(forwarder)),
    }
}

/// One object. Addresses are strings in hex, counts and sizes numbers.
fn to_json(info: &PeInfo) -> Value {
    let stamp = Time { unix_seconds: info.time_date_stamp.into() };
    let address = |value: u64| format!("{value:#x}");
    let version = |(major, minor): (u16, u16)| format!("{major}.{minor}");
    let debug = info.debug.iter().map(|record| match record {
        DebugRecord::Rsds(codeview) => {
            json!({ "kind": "RSDS", "pdb": codeview.pdb_name, "guid_age": codeview.guid_age.to_string() })
        }
        DebugRecord::Nb10 { pdb_name, signature, age } => {
            json!({ "kind": "NB10", "pdb": pdb_name, "signature": format!("{signature:08X}"), "age": age })
        }
        DebugRecord::Unknown(signature) => json!({ "kind": signature.escape_ascii().to_string() }),
    });
    let sections = info.sections.iter().map(|s| {
        json!({ "perm": s.permissions, "name": s.name, "raw_offset": s.raw_offset, "rva": address(s.rva.into()), "size": s.size })
    });
    let directories =
        info.directories.iter().map(|d| json!({ "name": d.name, "rva": address(d.rva.into()), "size": d.size }));
    let exports = info.exports.iter().flat_map(|exports| &exports.list).map(|export| match &export.target {
        Target::Rva(rva) => {
            json!({ "ordinal": export.ordinal, "name": export.name, "rva": address((*rva).into()) })
        }
        Target::Forwarder(to) => json!({ "ordinal": export.ordinal, "name": export.name, "forwarder": to }),
    });
    let strings: Map<String, Value> =
        info.version.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
    json!({
        "machine": pe::machine_name(info.machine),
        "time_date_stamp": stamp.rfc3339(),
        "characteristics": pe::characteristics(info.characteristics),
        "guid_age": info.codeview().map(|codeview| codeview.guid_age.to_string()),
        "pdb": info.codeview().map(|codeview| codeview.pdb_name.clone()),
        "debug": debug.collect::<Vec<_>>(),
        "operating_system_version": version(info.operating_system_version),
        "image_version": version(info.image_version),
        "subsystem_version": version(info.subsystem_version),
        "image_base": address(info.image_base),
        "size_of_image": info.size_of_image,
        "sections": sections.collect::<Vec<_>>(),
        "directories": directories.collect::<Vec<_>>(),
        "export_module": info.exports.as_ref().map(|exports| exports.module.as_str()),
        "exports": exports.collect::<Vec<_>>(),
        "version": strings,
        "problems": info.problems,
    })
}
