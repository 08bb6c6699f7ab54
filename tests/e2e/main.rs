//! End-to-end tests on the binary, on real inputs of the corpus and on fixtures made here.

mod image;
mod support;
