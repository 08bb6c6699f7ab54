//! The forms in which a command writes a profile: `--to`.

use clap::{Arg, ArgMatches, ValueEnum};
use quaid_profile::{Losses, Profile};

/// A form of profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub(crate) enum Form {
    /// Rekall JSON, the canonical form.
    Rekall,
    /// ISF 6.2.0, for Volatility 3.
    Isf,
    /// A C header with the types alone.
    C,
}

impl Form {
    /// `--to`.
    pub(crate) fn arg() -> Arg {
        Arg::new("to")
            .long("to")
            .value_name("FORM")
            .value_parser(clap::value_parser!(Self))
            .default_value("rekall")
            .help("Form of the profile; the file is compressed where its name ends in .gz or .xz")
    }

    /// What the user chose.
    pub(crate) fn of(args: &ArgMatches) -> Self {
        args.get_one("to").copied().unwrap_or(Self::Rekall)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rekall => "Rekall JSON",
            Self::Isf => "ISF",
            Self::C => "C",
        }
    }

    /// How the names of such files end, without the dot.
    pub(crate) fn ending(self) -> &'static str {
        match self {
            Self::Rekall | Self::Isf => "json",
            Self::C => "h",
        }
    }

    /// The text, and what the form cannot say.
    pub(crate) fn print(self, profile: &Profile) -> (String, Losses) {
        match self {
            Self::Rekall => (profile.to_rekall(), Losses::default()),
            Self::Isf => profile.to_isf(),
            Self::C => profile.to_c(),
        }
    }
}
