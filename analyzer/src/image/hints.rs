//! What an image tells about its machine besides the memory.

use crate::addr::{Pa, Va};
use crate::vmcoreinfo::VmcoreInfo;

/// What the headers and notes of an image say. They spare a search and are confirmed like everything else: a hint that
/// the memory contradicts is not used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hints {
    /// Top page tables, the most trusted first: the crash dump's, CR3 of each processor (flags and PCID included).
    pub dtbs: Vec<Pa>,
    /// Where the kernel's image begins.
    pub kernel_base: Option<Va>,
    /// `KdDebuggerDataBlock` of a Windows kernel.
    pub kdbg: Option<Va>,
    /// `PsActiveProcessHead` of a Windows kernel.
    pub ps_active_process_head: Option<Va>,
    /// `PsLoadedModuleList` of a Windows kernel.
    pub ps_loaded_module_list: Option<Va>,
    /// What a Linux kernel notes for dumps.
    pub vmcoreinfo: VmcoreInfo,
    /// Everything else that a person may want to know, in the order of the file: what it is, and what it says
    /// ("acquisition tool", "winpmem 1.6.2").
    pub facts: Vec<(String, String)>,
}

impl Hints {
    /// Adds what a layer above says. It is nearer to the memory, so that it wins where both speak.
    pub(super) fn add(&mut self, above: Self) {
        self.dtbs.splice(0..0, above.dtbs);
        self.kernel_base = above.kernel_base.or(self.kernel_base);
        self.kdbg = above.kdbg.or(self.kdbg);
        self.ps_active_process_head = above.ps_active_process_head.or(self.ps_active_process_head);
        self.ps_loaded_module_list = above.ps_loaded_module_list.or(self.ps_loaded_module_list);
        self.vmcoreinfo.0.extend(above.vmcoreinfo.0);
        self.facts.extend(above.facts);
    }
}
