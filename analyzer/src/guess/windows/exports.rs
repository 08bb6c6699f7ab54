//! The Windows kernel's build by its exports, where its RSDS record is lost: the export index gives the candidates, and
//! the profile's own symbols are compared with every export of the image.

use super::Kernel;
use super::hinted::Hinted;
use super::locate::KERNEL;
use crate::addr::Va;
use crate::guess::{Evidence, Search};
use crate::object::Types;
use crate::os::windows;
use crate::os::windows::exports::MemoryExports;
use crate::paging::{AddressSpace, Software};
use crate::session::Session;
use quaid_profile::{Found, IndexMatch, Os, ProfileFile, Step};

/// How many exports must be compared before they tell a build.
const MIN_COMPARED: usize = 8;
/// How many exports in another place are named.
const MAX_NAMED: usize = 3;

/// How the exports of an image fit a profile.
struct Fit {
    matched: usize,
    compared: usize,
    /// The first ones that do not: name, RVA in the image, RVA in the profile.
    moved: Vec<(String, u32, u64)>,
}

impl Fit {
    fn of(exports: &MemoryExports, profile: &ProfileFile) -> Result<Self, quaid_profile::Error> {
        let mut fit = Self { matched: 0, compared: 0, moved: Vec::new() };
        for (name, &rva) in &exports.rvas {
            let Some(symbol) = profile.symbol(name)? else { continue };
            fit.compared += 1;
            if symbol.address == u64::from(rva) {
                fit.matched += 1;
            } else if fit.moved.len() < MAX_NAMED {
                fit.moved.push((name.clone(), rva, symbol.address));
            }
        }
        Ok(fit)
    }

    fn is_exact(&self) -> bool {
        self.matched == self.compared && self.compared >= MIN_COMPARED
    }
}

impl<'m> Search<'m, '_, '_> {
    /// The kernel by its exports, else by the data index. What fits in part only is told, and not taken.
    pub(in crate::guess) fn windows_by_content(&mut self) -> Option<Session<'m>> {
        let (hinted, exports) = self.locate_kernel()?;
        let base = hinted.place.base;
        let record = match &hinted.place.record {
            Ok((id, pdb)) => format!("its RSDS record says {id} ({pdb})"),
            Err(why) => why.clone(),
        };
        let lost =
            if exports.unreadable == 0 { String::new() } else { format!(", {} not readable", exports.unreadable) };
        self.tell(&format!("Kernel's image at {base}: {record}; {} exports{lost}", exports.rvas.len()));
        let told = self.refusals.len();
        let session = self.by_exports(&hinted, &exports);
        // What the exports tell counts more than the data.
        if session.is_some() || self.refusals.len() > told {
            return session;
        }
        let session = self.by_data(&hinted);
        if session.is_none() {
            let space = AddressSpace::new(self.memory, hinted.spec, Software::None, hinted.root.0);
            let file = file_key(&space, base).map_or_else(String::new, |key| {
                format!(
                    "a symbol server has its file as {KERNEL}/{key}/{KERNEL}, of which `quaid peinfo` tells the build; "
                )
            });
            let count = exports.rvas.len();
            self.nameless = Some(format!("its image is at {base}; {record}; {file}it has {count} exports{lost}"));
        }
        session
    }

    fn by_exports(&mut self, hinted: &Hinted, exports: &MemoryExports) -> Option<Session<'m>> {
        let Self { profiles, observe, .. } = self;
        let Some(matches) = profiles.by_exports("nt", &exports.rvas, &mut |step: Step| observe(&step.to_string()))
        else {
            self.tell("No place has an export index (`quaid repo index` makes it)");
            return None;
        };
        let (enough, few): (Vec<_>, Vec<_>) = matches.into_iter().partition(|found| found.compared >= MIN_COMPARED);
        if enough.is_empty() {
            let compared = few.first().map_or(0, |found| found.compared);
            self.tell(&format!(
                "The exports fit no profile: {MIN_COMPARED} or more must be comparable, {compared} were"
            ));
            return None;
        }
        let mut fitting: Vec<(Found, Fit)> = Vec::new();
        let mut misfit = false;
        for IndexMatch { profile, matched, compared } in enough {
            self.tell(&format!("Exports: {matched} of {compared} of the index are where {profile} has them"));
            // Behind those that fit best the rest is worse, and would hide what is told.
            if matched < compared && (misfit || !fitting.is_empty()) {
                break;
            }
            let Some(found) = self.load_if_any(&profile).filter(|_| self.may_try()) else { continue };
            match Fit::of(exports, &found.profile) {
                Ok(fit) if fit.is_exact() => fitting.push((found, fit)),
                Ok(fit) => {
                    misfit = true;
                    self.refuse(&profile, partial(&profile, &fit));
                }
                Err(why) => self.refuse(&profile, why.to_string()),
            }
        }
        let several = fitting.len() > 1;
        let names: Vec<String> = fitting.iter().map(|(found, _)| found.name.clone()).collect();
        for (found, fit) in fitting {
            if several {
                let why = format!(
                    "the exports fit {} profiles equally ({}); --profile takes one",
                    names.len(),
                    names.join(", ")
                );
                self.refuse(&found.name, why);
                continue;
            }
            let name = found.name.clone();
            match self.open_by_exports(hinted, found, &fit) {
                Ok(session) => return Some(session),
                Err(why) => self.refuse(&name, why),
            }
        }
        None
    }

    fn open_by_exports(&mut self, hinted: &Hinted, found: Found, fit: &Fit) -> Result<Session<'m>, String> {
        let record = hinted.place.record.as_ref().map(|(id, _)| *id).map_err(Clone::clone);
        self.open_located(hinted, found, Evidence::Exports { matched: fit.matched, compared: fit.compared, record })
    }

    /// A session, when the memory confirms what the profile says of the kernel.
    pub(super) fn open_located(
        &mut self,
        hinted: &Hinted,
        found: Found,
        evidence: Evidence,
    ) -> Result<Session<'m>, String> {
        let base = hinted.place.base;
        let kernel = Kernel::of(&found.profile, &found.name, &self.options.pagefiles)?;
        let space = self.confirm(&kernel, hinted)?;
        let space = windows::with_state(&space, &Types::new(&found.profile), base).map_err(|why| why.to_string())?;
        self.tell(&format!("Kernel at {base} (DTB: {:#}): {evidence}", space.root()));
        let session = Session::new(found.profile, found.name, Os::Windows, space, base.0);
        Ok(session.with_evidence(evidence))
    }
}

/// By what symbol servers know the file of an image in memory: `TimeDateStamp` and `SizeOfImage` of its header (Microsoft,
/// "SymStore", the folder of an executable).
fn file_key(space: &AddressSpace<'_>, base: Va) -> Option<String> {
    let word = |at: Va| space.read_u32(at).ok();
    let pe = base.wrapping_add(word(base.wrapping_add(0x3c))?.into());
    let (stamp, size) = (word(pe.wrapping_add(8))?, word(pe.wrapping_add(24 + 56))?);
    Some(format!("{stamp:08X}{size:x}"))
}

/// What is told of a profile that fits in part.
fn partial(profile: &str, fit: &Fit) -> String {
    let Fit { matched, compared, moved } = fit;
    let moved: Vec<String> = moved
        .iter()
        .map(|(name, seen, known)| format!("{name} is at RVA {seen:#x}, in the profile at {known:#x}"))
        .collect();
    format!(
        "only a partial match by exports: {matched} of {compared} fit ({}); `--profile {profile}` takes it all the same",
        moved.join("; ")
    )
}
