//! The Windows kernel to which an image's headers lead: a crash dump names a page table and addresses inside the kernel, so
//! that neither its RSDS record nor a process must be searched for. It is confirmed like a kernel that was searched for.

use super::{Kernel, Place, image_at, is_kernel};
use crate::addr::{Pa, Va};
use crate::guess::{Evidence, Identity, Search};
use crate::object::{KernelStruct, Types};
use crate::os::windows::{self, Eprocess};
use crate::paging::{AMD64, AddressSpace, PAGE_BYTES, PagingSpec, Software, X86, X86_PAE};
use crate::session::Session;
use quaid_profile::{Found, Os};
use std::sync::Arc;

/// How many of the page tables that the headers name are tried.
const MAX_ROOTS: usize = 8;
/// How far before an address inside the kernel its header is looked for; kernels have 16 MiB at most.
const MAX_IMAGE_BYTES: u64 = 64 << 20;

/// A kernel's header, seen through a page table that the image's headers name, or that was found without a profile.
pub(super) struct Hinted {
    pub(super) spec: &'static PagingSpec,
    pub(super) root: Pa,
    pub(super) place: Place,
}

impl<'m> Search<'m, '_, '_> {
    /// The kernel of the headers, with the profile of its build.
    pub(in crate::guess) fn windows_by_hints(&mut self) -> Option<Session<'m>> {
        let hinted = self.hinted_kernel()?;
        let (id, pdb) = hinted.place.record.clone().ok()?;
        self.note(Identity::Windows { id, pdb });
        let name = format!("nt/GUID/{id}");
        self.tell(&format!("Verifying profile {name}"));
        let found = self.load_if_any(&name).filter(|_| self.may_try())?;
        let (space, base) = self.verify_hinted(&hinted, &found)?;
        let session = Session::new(found.profile, found.name, Os::Windows, space, base.0);
        Some(session.with_evidence(Evidence::Record(id)))
    }

    /// The address space and place of the headers' kernel, when it is the one of the profile that was asked for.
    pub(super) fn hinted_place(&mut self, found: &Found) -> Option<(AddressSpace<'m>, Va)> {
        let hinted = self.hinted_kernel()?;
        self.verify_hinted(&hinted, found)
    }

    /// What the headers lead to. Nothing when a person said it better.
    fn hinted_kernel(&mut self) -> Option<Hinted> {
        let hints = &self.options.hints;
        if self.options.dtb.is_some() || self.options.kernel_slide.is_some() {
            return None;
        }
        let inside = hints.ps_active_process_head.or(hints.ps_loaded_module_list).or(hints.kdbg);
        if hints.dtbs.is_empty() || (hints.kernel_base.is_none() && inside.is_none()) {
            return None;
        }
        for &root in hints.dtbs.iter().take(MAX_ROOTS) {
            for spec in [&AMD64, &X86_PAE, &X86] {
                let space = AddressSpace::new(self.memory, spec, Software::None, root.0);
                let pages = inside.into_iter().flat_map(|at| {
                    let first = at.0 - at.0 % PAGE_BYTES;
                    (0..MAX_IMAGE_BYTES / PAGE_BYTES).filter_map(move |page| first.checked_sub(page * PAGE_BYTES))
                });
                let bases = hints.kernel_base.into_iter().chain(pages.map(Va));
                for place in bases.filter_map(|base| image_at(&space, base).ok()) {
                    if place.record.as_ref().is_ok_and(|(_, pdb)| is_kernel(pdb)) {
                        let text = format!("The image's headers lead to a kernel at {} (DTB: {root:#})", place.base);
                        self.tell(&text);
                        return Some(Hinted { spec, root, place });
                    }
                }
            }
        }
        self.tell("The image's headers lead to no Windows kernel: the image is searched");
        None
    }

    /// Nothing when the memory does not confirm it; that is no refusal, because the search goes on.
    fn verify_hinted(&mut self, hinted: &Hinted, found: &Found) -> Option<(AddressSpace<'m>, Va)> {
        let base = hinted.place.base;
        let confirmed = Kernel::of(&found.profile, &found.name, &self.options.pagefiles).and_then(|kernel| {
            let space = self.confirm(&kernel, hinted)?;
            let remark = kernel.compare(&hinted.place, self.options.profile.is_some())?;
            let space =
                windows::with_state(&space, &Types::new(&found.profile), base).map_err(|why| why.to_string())?;
            Ok((space, remark, kernel.head))
        });
        let (space, remark, head) = match confirmed {
            Ok(confirmed) => confirmed,
            Err(why) => {
                self.tell(&format!("What the image's headers say is not used: {why}"));
                return None;
            }
        };
        let seen = base.wrapping_add(head);
        if let Some(said) = self.options.hints.ps_active_process_head.filter(|&said| said != seen) {
            self.tell(&format!(
                "The image's headers have PsActiveProcessHead at {said}; by the profile it is at {seen}"
            ));
        }
        self.tell(&format!("Kernel at {base} (DTB: {:#}), by the image's headers: {remark}", space.root()));
        Some((space, base))
    }

    /// The kernel's address space, when the memory confirms it. A header's page table is that of the process which ran;
    /// the first process of the ring, System, has the kernel's own.
    pub(super) fn confirm(
        &self,
        kernel: &Kernel,
        Hinted { root, place, .. }: &Hinted,
    ) -> Result<AddressSpace<'m>, String> {
        let software = Software::Windows(Arc::clone(&kernel.ptes));
        let space = AddressSpace::new(self.memory, kernel.spec, software, root.0);
        image_at(&space, place.base)?;
        kernel.check_shared_data(&space)?;
        kernel.check_ring(&space, place.base)?;
        let head = super::Ring::new(place.base.wrapping_add(kernel.head), &space, &kernel.ring);
        let own = head.ends().ok().and_then(|ring| {
            let at = ring.next.wrapping_sub(kernel.layout.links.offset);
            Eprocess::new(at, &space, &kernel.layout).dtb().ok()
        });
        let own = own.filter(|&dtb| dtb != 0).map(|dtb| space.with_root(dtb));
        let own = own.filter(|own| kernel.check_shared_data(own).is_ok() && kernel.check_ring(own, place.base).is_ok());
        Ok(own.unwrap_or(space))
    }
}
