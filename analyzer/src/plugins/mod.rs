//! The plugins: one file each, `plugins/<os>/<name>.rs`, with a `PLUGIN` in it. `build.rs` makes the table of them.

use crate::options::{Args, Opt};
use crate::render::Renderer;
use crate::session::{Error, Session};
use crate::table::{Cell, Column, RowSink};
use quaid_profile::Os;
use std::io;

include!(concat!(env!("OUT_DIR"), "/plugins.rs"));

/// A question that is asked of a session, and answered by a table.
#[derive(Debug)]
pub struct Plugin {
    /// Its name: that of its file, and of the command.
    pub name: &'static str,
    /// The operating system whose images it reads; `None` for all.
    pub os: Option<Os>,
    /// What it gives, in one line.
    pub about: &'static str,
    /// The table's columns.
    pub columns: &'static [Column],
    /// Its options.
    pub options: &'static [Opt],
    /// Finds the rows.
    pub(crate) run: fn(&Session<'_>, &Args, &mut dyn RowSink) -> Result<(), Error>,
}

/// How a run went, beside the rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many rows there were.
    pub rows: u64,
    /// How many cells could not be read.
    pub unreadable: u64,
    /// Why the first of them could not be.
    pub first_unreadable: Option<String>,
    /// What was met and survived, a sentence each: rows may be missing.
    pub problems: Vec<String>,
}

/// Every plugin, sorted by name; plugins of several operating systems may share a name.
pub fn all() -> &'static [&'static Plugin] {
    TABLE
}

/// The plugin of this name for this operating system.
pub fn find(name: &str, os: Os) -> Option<&'static Plugin> {
    TABLE.iter().find(|plugin| plugin.name == name && plugin.os.is_none_or(|own| own == os)).copied()
}

impl Plugin {
    /// Refuses options that the plugin does not have: those of a plugin of the same name for another system.
    pub fn check(&self, args: &Args) -> Result<(), Error> {
        for name in args.names() {
            let refuse = |why: String| Err(self.named(Error::Option { option: name.to_owned(), why }));
            let Some(option) = self.options.iter().find(|option| option.name == name) else {
                return refuse(format!("{} has no such option for images of this operating system", self.name));
            };
            let values = args.values(name);
            if !option.many && values.len() > 1 {
                return refuse(format!("takes one value, and was given {}: {}", values.len(), values.join(", ")));
            }
        }
        Ok(())
    }

    /// An error of an option, called as the person typed it: an argument without a name has no dashes.
    fn named(&self, error: Error) -> Error {
        match error {
            Error::Option { option, why } if self.options.iter().any(|o| o.positional && o.name == option) => {
                Error::Argument { name: option.to_uppercase(), why }
            }
            other => other,
        }
    }

    /// Runs it and writes the rows.
    pub fn run(&self, session: &Session<'_>, args: &Args, renderer: &mut dyn Renderer) -> Result<Summary, Error> {
        self.check(args)?;
        let mut rows = Rows { columns: self.columns, renderer, summary: Summary::default() };
        (self.run)(session, args, &mut rows).map_err(|error| self.named(error))?;
        let summary = rows.summary;
        renderer.finish()?;
        Ok(summary)
    }
}

/// Rows on their way from a plugin to a renderer.
struct Rows<'r> {
    columns: &'static [Column],
    renderer: &'r mut dyn Renderer,
    summary: Summary,
}

impl RowSink for Rows<'_> {
    fn row(&mut self, cells: Vec<Cell>) -> io::Result<()> {
        let fits = cells.len() == self.columns.len()
            && cells.iter().zip(self.columns).all(|(cell, column)| cell.fits(column.kind));
        assert!(fits, "a row that does not fit the plugin's columns: {cells:?}");
        self.summary.rows += 1;
        for cell in &cells {
            let Cell::Unreadable(why) = cell else { continue };
            self.summary.unreadable += 1;
            self.summary.first_unreadable.get_or_insert_with(|| why.clone());
        }
        self.renderer.row(&cells)
    }

    fn problem(&mut self, what: String) {
        self.summary.problems.push(what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::path::Path;

    #[test]
    fn every_plugin_is_named_after_its_file_and_unique_for_its_system() {
        assert_eq!(TABLE.len(), FILES.len());
        let mut known = HashSet::new();
        for (plugin, file) in TABLE.iter().zip(FILES) {
            let path = Path::new(file);
            assert_eq!(path.file_stem().and_then(|stem| stem.to_str()), Some(plugin.name), "{file}");
            let folder = path.parent().and_then(|folder| folder.file_name()).and_then(|name| name.to_str());
            let os = match folder {
                Some("any") => None,
                Some("windows") => Some(Os::Windows),
                Some("linux") => Some(Os::Linux),
                other => panic!("a folder of no operating system: {other:?}"),
            };
            assert_eq!(plugin.os, os, "{file}");
            for system in [Os::Windows, Os::Linux, Os::Macos] {
                assert!(
                    os.is_some_and(|own| own != system) || known.insert((plugin.name, format!("{system:?}"))),
                    "{file}"
                );
            }
        }
    }

    #[test]
    fn a_value_too_many_is_refused_by_the_name_that_was_typed() {
        let given = |name: &str, values: &[&str]| {
            Args::new([(name.to_owned(), values.iter().map(|&value| value.to_owned()).collect())])
        };
        for (plugin, option, told) in [
            ("dt", "type", "TYPE: takes one value, and was given 2: 1, 2"),
            ("vtop", "address", "ADDRESS: takes one value"),
            ("vtop", "pid", "--pid: takes one value"),
            ("vtop", "nonsense", "--nonsense: vtop has no such option"),
        ] {
            let plugin = find(plugin, Os::Linux).expect("a plugin");
            let error = plugin.check(&given(option, &["1", "2"])).expect_err(option).to_string();
            assert!(error.starts_with(told), "{error}");
        }
        let pslist = find("pslist", Os::Linux).expect("a plugin");
        for option in pslist.options.iter().filter(|option| option.many) {
            assert!(pslist.check(&given(option.name, &["1", "2"])).is_ok(), "{}", option.name);
        }
    }

    #[test]
    fn every_plugin_says_what_it_is_and_its_keys_and_options_are_unique() {
        for plugin in TABLE {
            assert!(
                !plugin.about.is_empty() && !plugin.about.contains('\n') && !plugin.about.ends_with('.'),
                "{}",
                plugin.name
            );
            let keys: HashSet<_> = plugin.columns.iter().map(|column| column.key).collect();
            assert_eq!(keys.len(), plugin.columns.len(), "{}", plugin.name);
            let names: HashSet<_> = plugin.options.iter().map(|option| option.name).collect();
            assert_eq!(names.len(), plugin.options.len(), "{}", plugin.name);
            assert!(plugin.options.iter().all(|option| !option.help.is_empty()), "{}", plugin.name);
        }
    }

    #[test]
    fn the_same_option_means_the_same_under_a_shared_name() {
        // The command line is read before the image is: it can tell one option from another by name alone.
        for plugin in TABLE {
            for other in TABLE.iter().filter(|other| other.name == plugin.name) {
                for option in plugin.options {
                    let same = other.options.iter().find(|known| known.name == option.name);
                    assert!(same.is_none_or(|same| same == option), "{} --{}", plugin.name, option.name);
                }
            }
        }
    }
}
