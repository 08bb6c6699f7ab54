//! The Windows kernel's build by Rekall's data index, where RSDS record and exports are both lost.

use super::hinted::Hinted;
use crate::guess::{Evidence, Search};
use crate::paging::{AddressSpace, Software};
use crate::session::Session;
use quaid_profile::{IndexMatch, Step};

/// How many points must be compared before they tell a build.
const MIN_COMPARED: usize = 4;

impl<'m> Search<'m, '_, '_> {
    /// The kernel by the data index. What fits in part only, and what fits several builds, is told and not taken; nor is
    /// anything taken when the kernel itself names another build.
    pub(super) fn by_data(&mut self, hinted: &Hinted) -> Option<Session<'m>> {
        let base = hinted.place.base;
        let space = AddressSpace::new(self.memory, hinted.spec, Software::None, hinted.root.0);
        let read = |offset: i64, bytes: &mut [u8]| space.read(base.wrapping_add(offset.cast_unsigned()), bytes).is_ok();
        let Self { profiles, observe, .. } = self;
        let matches = profiles.by_data("nt", read, &mut |step: Step| observe(&step.to_string()))?;
        let mut enough = matches.into_iter().filter(|found| found.compared >= MIN_COMPARED).peekable();
        let Some(best) = enough.next() else {
            self.tell("The data index fits no profile");
            return None;
        };
        let (matched, compared) = (best.matched, best.compared);
        let takes = format!("`--profile {}` takes it all the same", best.profile);
        let why = if !best.is_exact() {
            format!("only a partial match by the data index: {matched} of {compared} points fit; {takes}")
        } else if let Some(other) = enough.next_if(IndexMatch::is_exact) {
            format!("the data index fits {} equally; {takes}", other.profile)
        } else if let Ok((id, _)) = &hinted.place.record {
            format!(
                "{matched} of {compared} points of the data index fit, but the kernel's RSDS record says {id}; {takes}"
            )
        } else {
            let found = self.load_if_any(&best.profile).filter(|_| self.may_try())?;
            match self.open_located(hinted, found, Evidence::Data { matched, compared }) {
                Ok(session) => return Some(session),
                Err(why) => why,
            }
        };
        self.refuse(&best.profile, why);
        None
    }
}
