//! Linux on x86-64: the build by the banner, the kernel's two places by where the banner lies.
//!
//! The kernel is moved twice (KASLR), independently: its physical address tells the page tables, which lie in its data;
//! its virtual address is the one at which these page tables show the banner again.

use super::{Identity, Search};
use crate::addr::{Pa, Va};
use crate::image::PhysicalMemory;
use crate::object::Types;
use crate::object::text_of_bytes;
use crate::paging::{AMD64, AMD64_LA57, AddressSpace, Software};
use crate::scan::find_all;
use crate::session::Session;
use memchr::memmem;
use quaid_profile::{Arch, Error, Found, Os, ProfileFile, release_of};
use std::collections::HashMap;

const PREFIX: &[u8] = b"Linux version ";
/// The longest banner, in bytes: release, builder, compiler and version are each limited to some tens of bytes.
const MAX_BANNER: usize = 1024;
/// `__START_KERNEL_map`: where the kernel's image is mapped, before it is moved (arch/x86/include/asm/page_64_types.h).
const START_KERNEL_MAP: u64 = 0xffff_ffff_8000_0000;
/// The finest step of both moves (`CONFIG_PHYSICAL_ALIGN` is at least this).
const ALIGN: u64 = 0x20_0000;
/// `KERNEL_IMAGE_SIZE` with KASLR: how far the image can be moved.
const IMAGE_BYTES: u64 = 0x4000_0000;

/// A banner in memory.
struct Hit {
    at: Pa,
    /// Without the newline at its end.
    banner: String,
}

/// Every text that could be `linux_banner`: it ends with a newline and a zero byte, which the copies in the kernel's log
/// and in files mostly do not. Since 6.1 a template lies beside it that has no number of the build ("# SMP").
fn banners(memory: &dyn PhysicalMemory) -> impl Iterator<Item = Hit> {
    find_all(memory, PREFIX).filter_map(move |at| {
        let mut buffer = [0; MAX_BANNER];
        // What cannot be read is zero, and ends the text.
        let _ = memory.read(at, &mut buffer);
        let text = buffer.split(|&b| b == 0).next()?.strip_suffix(b"\n")?;
        let plausible = text.get(PREFIX.len()).is_some_and(u8::is_ascii_digit)
            && text.iter().all(|b| (b' '..=b'~').contains(b))
            && memmem::find(text, b" # ").is_none();
        plausible.then(|| Hit { at, banner: text_of_bytes(text) })
    })
}

impl<'m> Search<'m, '_, '_> {
    /// Each banner in turn, until a profile fits at its place.
    pub(super) fn linux(&mut self) -> Result<Option<Session<'m>>, super::OpenError> {
        let mut candidates: HashMap<String, Vec<Found>> = HashMap::new();
        for hit in banners(self.memory) {
            if self.is_new(Identity::Linux { banner: hit.banner.clone() }) {
                self.tell(&format!("Found banner @ {}: {}", hit.at, hit.banner));
                let names = self.profiles.linux_candidates(&hit.banner)?;
                let loaded = names.iter().filter_map(|name| self.load_if_any(name)).collect();
                candidates.insert(hit.banner.clone(), loaded);
            }
            let Some(profiles) = candidates.get_mut(&hit.banner) else { continue };
            for index in 0..profiles.len() {
                let Some(Found { profile, name }) = profiles.get(index) else { continue };
                self.tell(&format!("Verifying profile {name}"));
                match self.kernel_at_banner(profile, &hit) {
                    Ok((space, slide)) => {
                        let Found { profile, name } = profiles.swap_remove(index);
                        return Ok(Some(Session::new(profile, name, Os::Linux, space, slide)));
                    }
                    Err(why) => self.refuse(&name.clone(), why),
                }
            }
        }
        Ok(None)
    }

    /// With the profile that was asked for.
    pub(super) fn linux_with(&mut self, found: Found) -> Option<Session<'m>> {
        let Found { profile, name } = found;
        self.tell(&format!("Verifying profile {name}"));
        let mut failure = None;
        for hit in banners(self.memory) {
            match self.kernel_at_banner(&profile, &hit) {
                Ok((space, slide)) => return Some(Session::new(profile, name, Os::Linux, space, slide)),
                Err(why) => {
                    self.tell(&format!("No kernel of {name} @ {}: {why}", hit.at));
                    // Why the right banner is not it says more than that another one is another.
                    if failure.is_none() || check_identity(&profile, &hit.banner).is_ok() {
                        failure = Some(why);
                    }
                }
            }
        }
        let why = failure.unwrap_or_else(|| "the image has no banner of a Linux kernel".to_owned());
        self.refuse(&name, why);
        None
    }

    /// The kernel's address space and how far it was moved, when the banner `hit` is the one of the profile's kernel.
    fn kernel_at_banner(&mut self, profile: &ProfileFile, hit: &Hit) -> Result<(AddressSpace<'m>, u64), String> {
        check_identity(profile, &hit.banner)?;
        let kernel = Kernel { profile, memory: self.memory, shift: 0 };
        let banner = kernel.linked("linux_banner")?;
        let kernel = Kernel { shift: hit.at.0.wrapping_sub(banner.wrapping_sub(START_KERNEL_MAP)), ..kernel };
        kernel.check_idle_task()?;
        let root = match self.options.dtb {
            Some(dtb) => dtb,
            None => kernel.physical(kernel.first_of(&["init_top_pgt", "init_level4_pgt", "swapper_pg_dir"])?).0,
        };
        let spec = if kernel.has_five_levels()? { &AMD64_LA57 } else { &AMD64 };
        let space = AddressSpace::new(self.memory, spec, Software::Linux, root);
        let shows_banner = |slide: &u64| space.translate(Va(banner.wrapping_add(*slide))) == Ok(hit.at);
        let slide = match self.options.kernel_slide {
            Some(slide) => Some(slide).filter(shows_banner),
            None => (0..IMAGE_BYTES / ALIGN).map(|step| step * ALIGN).find(shows_banner),
        };
        let slide = slide.ok_or_else(|| match self.options.kernel_slide {
            Some(slide) => format!(
                "the page tables at {} do not show the banner at {hit} for a slide of {slide:#x}",
                space.root(),
                hit = hit.at
            ),
            None => format!(
                "the page tables at {} show the banner at {} nowhere in the kernel's image",
                space.root(),
                hit.at
            ),
        })?;
        kernel.check_physical_base(slide)?;
        self.tell(&format!(
            "Found linux_banner @ {} (DTB: {}, slide: {slide:#x}): {}",
            hit.at,
            space.root(),
            hit.banner
        ));
        Ok((space, slide))
    }
}

/// A profile with a banner must have this one; one without must be of its release.
fn check_identity(profile: &ProfileFile, banner: &str) -> Result<(), String> {
    let metadata = profile.metadata();
    match metadata.arch() {
        Some(Arch::Amd64) | None => {}
        Some(arch) => return Err(format!("its kernel runs on {}; such page tables are not read yet", arch.name())),
    }
    match (metadata.banner(), metadata.release()) {
        (Some(own), _) if own.trim_end() != banner => {
            Err(format!("it is for \"{own}\", and the kernel of this image says \"{banner}\""))
        }
        (None, Some(release)) if release_of(banner) != Some(release) => {
            Err(format!("it is for {release}, and the kernel of this image says \"{banner}\""))
        }
        _ => Ok(()),
    }
}

/// The kernel of a profile, at a supposed place.
struct Kernel<'p, 'm> {
    profile: &'p ProfileFile,
    memory: &'m dyn PhysicalMemory,
    /// From the image's offset to its physical address.
    shift: u64,
}

impl Kernel<'_, '_> {
    /// The address at which a symbol was linked.
    fn linked(&self, name: &str) -> Result<u64, String> {
        self.first_of(&[name])
    }

    fn first_of(&self, names: &[&str]) -> Result<u64, String> {
        for name in names {
            if let Some(symbol) = self.profile.symbol(name).map_err(|why| why.to_string())? {
                return Ok(symbol.address);
            }
        }
        Err(format!("it has no symbol {}", names.join(" or ")))
    }

    /// Where the part of the image that was linked at `linked` lies.
    fn physical(&self, linked: u64) -> Pa {
        Pa(linked.wrapping_sub(START_KERNEL_MAP).wrapping_add(self.shift))
    }

    fn bytes<const N: usize>(&self, linked: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.memory.read(self.physical(linked), &mut bytes).ok()?;
        Some(bytes)
    }

    /// `init_task` must be the idle task: "swapper/0", "swapper" before 2.6.38.
    fn check_idle_task(&self) -> Result<(), String> {
        let text = |why: Error| why.to_string();
        let comm = Types::new(self.profile)
            .find("task_struct", "comm")
            .map_err(text)?
            .ok_or("its task_struct has no member comm")?;
        let at = self.linked("init_task")?.wrapping_add(comm.offset);
        match self.bytes::<7>(at) {
            Some(bytes) if &bytes == b"swapper" => Ok(()),
            seen => Err(format!(
                "init_task would be at {}, and its name there is {}, not swapper",
                self.physical(at),
                seen.map_or("unreadable".to_owned(), |b| format!("\"{}\"", text_of_bytes(&b).escape_default()))
            )),
        }
    }

    /// Kernels that can use five levels keep a word that says whether they do.
    fn has_five_levels(&self) -> Result<bool, String> {
        let symbol = self.profile.symbol("__pgtable_l5_enabled").map_err(|why| why.to_string())?;
        Ok(symbol.and_then(|symbol| self.bytes::<4>(symbol.address)).is_some_and(|word| word != [0; 4]))
    }

    /// The kernel's own note of its move must say the same.
    fn check_physical_base(&self, slide: u64) -> Result<(), String> {
        let Some(symbol) = self.profile.symbol("phys_base").map_err(|why| why.to_string())? else { return Ok(()) };
        let expected = self.shift.wrapping_sub(slide);
        match self.bytes::<8>(symbol.address).map(u64::from_le_bytes) {
            Some(seen) if seen != expected => {
                Err(format!("phys_base is {seen:#x}, and must be {expected:#x} for a kernel at this place"))
            }
            _ => Ok(()),
        }
    }
}
