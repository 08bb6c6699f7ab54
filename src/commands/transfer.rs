//! How a transfer shows on stderr: in words, and with a progress bar while bytes come.

use crate::context::Context;
use crate::symserver::Transfer;
use indicatif::ProgressBar;

/// The bar of the transfer at work.
pub(crate) struct Screen<'a> {
    context: &'a Context,
    bar: Option<ProgressBar>,
}

impl<'a> Screen<'a> {
    pub(crate) fn new(context: &'a Context) -> Self {
        Self { context, bar: None }
    }

    pub(crate) fn context(&self) -> &'a Context {
        self.context
    }

    /// A transfer goes on.
    pub(crate) fn transfer(&mut self, transfer: Transfer) {
        match transfer {
            Transfer::Progress { received, total } => {
                self.bar.get_or_insert_with(|| self.context.progress("Receiving", total, true)).set_position(received);
            }
            Transfer::Resuming(from) => {
                self.clear();
                self.context.note(&format!("Going on from byte {from}"));
            }
            Transfer::Retrying { why, wait } => {
                self.clear();
                self.context.note(&format!("{why}; trying again in {} s", wait.as_secs_f32()));
            }
        }
    }

    /// All `bytes` are here.
    pub(crate) fn received(&mut self, bytes: usize) {
        self.clear();
        self.context.note(&format!("Received {bytes} bytes"));
    }

    /// The bar goes, and lines may come.
    pub(crate) fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
