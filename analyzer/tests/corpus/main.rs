//! The analyzer on the images of the corpus. Each test skips, with a printed line, where the corpus is absent.

mod containers;
mod damaged;
mod examples;
mod formats;
#[cfg(unix)]
#[path = "../../src/image/hibernation/sample.rs"]
mod hibernation;
mod hints;
mod linux;
#[cfg(unix)]
mod mutated;
mod support;
mod vtop;
mod windows;
