//! The analyzer on the images of the corpus. Each test skips, with a printed line, where the corpus is absent.

mod containers;
mod damaged;
mod examples;
mod formats;
mod hints;
mod linux;
mod support;
mod vtop;
mod windows;
