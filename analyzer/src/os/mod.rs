//! What the plugins of an operating system share: its kernel's structs and the walks from one to the next. Files are
//! named after the kernel's own headers and subsystems.

pub(crate) mod linux;
mod roots;
pub(crate) mod windows;

pub(crate) use roots::{Process, processes};

use crate::error::PageFault;
use crate::object::CStr;
use crate::options::{Args, Opt, Value};
use crate::session::Error;
use regex::Regex;

/// `--pid`, as every plugin that lists processes has it.
pub(crate) const PID: Opt = Opt::many("pid", Value::Int, "Only the processes with these PIDs");
/// `--proc_regex`, as every plugin that lists processes has it.
pub(crate) const PROC_REGEX: Opt = Opt::one(
    "proc_regex",
    Value::Regex,
    "Only processes whose name this regular expression matches, anywhere and in any case",
);

/// Which processes a person wants to see.
pub(crate) struct Selection {
    pids: Vec<u64>,
    name: Option<Regex>,
}

impl Selection {
    /// From `--pid` and `--proc_regex`.
    pub(crate) fn from_args(args: &Args) -> Result<Self, Error> {
        Ok(Self { pids: args.ints("pid")?, name: args.regex("proc_regex")? })
    }

    /// Whether the process is wanted. What is not asked about need not be readable.
    pub(crate) fn wants<const N: usize>(
        &self,
        pid: impl FnOnce() -> Result<u64, PageFault>,
        name: impl FnOnce() -> Result<CStr<N>, PageFault>,
    ) -> Result<bool, PageFault> {
        if !self.pids.is_empty() && !self.pids.contains(&pid()?) {
            return Ok(false);
        }
        match &self.name {
            Some(regex) => Ok(regex.is_match(&name()?.0)),
            None => Ok(true),
        }
    }
}
