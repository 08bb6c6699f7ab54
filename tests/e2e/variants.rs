//! One state of a machine in every form that quaid and other programs give it: each image has the same memory and shows the
//! same processes.

use crate::linux::{plugin, repository, system_map};
use crate::support::{arg, corpus, corpus_text, ok, skipped, unpacked};
use crate::truth::sections;
use quaid_analyzer::image::{Options, open};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A machine: its memory as it is, the physical address of the first byte, and what `pslist` says of it.
struct State {
    folder: tempfile::TempDir,
    raw: PathBuf,
    memory: Vec<u8>,
    begin: u64,
    repo: PathBuf,
    pslist: Vec<Value>,
}

impl State {
    /// `make` makes a repository with the kernel's profile in the folder that it is given.
    fn new(raw: PathBuf, begin: u64, make: impl FnOnce(&Path) -> PathBuf) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let repo = make(folder.path());
        let pslist = plugin(&repo, &raw, &["pslist"]);
        assert!(pslist.len() > 10, "{}", pslist.len());
        let memory = std::fs::read(&raw).expect("the raw image");
        Self { folder, raw, memory, begin, repo, pslist }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// That all that `image` holds is the machine's, and `pslist` as well. Gives how many bytes it has.
    fn check(&self, what: &str, image: &Path, format: &str) -> u64 {
        let opened = open(image, &Options::default()).unwrap_or_else(|why| panic!("{what}: {why}"));
        assert_eq!(opened.describe(), format, "{what}");
        let mut bytes = 0;
        for run in opened.runs() {
            let from = (run.start.0 - self.begin) as usize;
            let expected = self.memory.get(from..from + run.bytes as usize).expect("memory that the machine has");
            let mut buffer = vec![0; 1 << 20];
            for (block, at) in expected.chunks(buffer.len()).zip((run.start.0..).step_by(1 << 20)) {
                let buffer = &mut buffer[..block.len()];
                assert_eq!(opened.read(quaid_analyzer::Pa(at), buffer), Ok(()), "{what} at {at:#x}");
                assert!(buffer == block, "{what} at {at:#x}");
            }
            bytes += run.bytes;
        }
        drop(opened);
        assert_eq!(plugin(&self.repo, image, &["pslist"]), self.pslist, "{what}");
        bytes
    }

    /// As `check`, of an image of all memory; it is removed afterwards.
    fn check_all(&self, what: &str, image: &Path, format: &str) {
        assert_eq!(self.check(what, image, format), self.memory.len() as u64, "{what}");
        std::fs::remove_file(image).expect("removed");
    }

    /// The formats that quaid writes.
    fn check_copies(&self) {
        let image = self.at("copy");
        for (to, format) in [("lime", "LiME"), ("avml", "AVML"), ("elf", "ELF core"), ("kdump", "kdump")] {
            let begin = format!("{:#x}", self.begin);
            // Raw memory does not tell where it begins; an ELF core of it does.
            let from = if self.begin == 0 { self.raw.clone() } else { self.core() };
            ok(&["-f", arg(&from), "imagecopy", arg(&image), "--to", to]);
            self.check_all(&format!("imagecopy --to {to} from {begin}"), &image, format);
        }
    }

    /// An ELF core of one segment that tells where the memory begins.
    fn core(&self) -> PathBuf {
        let path = self.at("begin.core");
        if !path.exists() {
            let load = Segment { virtual_address: 0, address: self.begin, bytes: &self.memory };
            write_core(&path, 183, &[], &[load]);
        }
        path
    }
}

/// Runs a program of another maker; `false`, with a printed line, where it is not installed.
fn made_by(command: &mut Command) -> bool {
    let Ok(output) = command.output() else {
        skipped(&format!("there is no {}", command.get_program().to_string_lossy()));
        return false;
    };
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    true
}

/// A PT_LOAD.
struct Segment<'m> {
    virtual_address: u64,
    address: u64,
    bytes: &'m [u8],
}

/// An ELF64 core with a segment of notes, if there are any, and these.
fn write_core(path: &Path, machine: u16, notes: &[u8], segments: &[Segment<'_>]) {
    let page = |bytes: u64| bytes.next_multiple_of(0x1000);
    let mut header = b"\x7fELF\x02\x01\x01".to_vec();
    header.resize(16, 0);
    let count = segments.len() + 1;
    for half in [4, machine] {
        header.extend(half.to_le_bytes());
    }
    header.extend(1_u32.to_le_bytes());
    for word in [0_u64, 64, 0] {
        header.extend(word.to_le_bytes());
    }
    header.extend(0_u32.to_le_bytes());
    for half in [64, 56, count as u16, 0, 0, 0] {
        header.extend(half.to_le_bytes());
    }
    let notes_at = 64 + 56 * count as u64;
    let mut program = |kind: u32, words: [u64; 6]| {
        header.extend(kind.to_le_bytes());
        header.extend(7_u32.to_le_bytes());
        header.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    };
    program(4, [notes_at, 0, 0, notes.len() as u64, notes.len() as u64, 4]);
    let first = page(notes_at + notes.len() as u64);
    let mut at = first;
    for segment in segments {
        let bytes = segment.bytes.len() as u64;
        program(1, [at, segment.virtual_address, segment.address, bytes, bytes, 0x1000]);
        at += page(bytes);
    }
    header.extend(notes);
    header.resize(first as usize, 0);
    let mut file = File::create(path).expect("created");
    file.write_all(&header).expect("written");
    for segment in segments {
        file.write_all(segment.bytes).expect("written");
        let padding = page(segment.bytes.len() as u64) as usize - segment.bytes.len();
        file.write_all(&vec![0; padding]).expect("written");
    }
}

fn small() -> Option<State> {
    let zip = corpus("linux/small/profile-6.1.192-rklab.zip")?;
    let raw = unpacked("linux/small/linux-small-bash.raw")?;
    Some(State::new(raw, 0, |folder| repository(folder, &zip)))
}

#[test]
fn copies_of_a_small_guest_have_its_memory_and_its_processes() {
    let Some(state) = small() else { return };
    state.check_copies();
    let lime = state.at("mem.lime");
    ok(&["-f", arg(&state.raw), "imagecopy", arg(&lime), "--to", "lime"]);
    for (program, options) in
        [("gzip", &["-1"][..]), ("xz", &["-0", "-T2"]), ("zstd", &["-3"]), ("pigz", &["-1", "-z"])]
    {
        let packed = state.at("packed");
        let output = File::create(&packed).expect("created");
        if made_by(Command::new(program).args(options).arg("-c").arg(&lime).stdout(output)) {
            state.check_all(program, &packed, "LiME");
        }
    }
    for (format, level, segment) in [
        ("encase6", "none", "7EiB"),
        ("encase6", "best", "3MiB"),
        ("linen6", "fast", "1GiB"),
        ("ftk", "fast", "10MiB"),
        ("smart", "empty-block", "2MiB"),
    ] {
        let folder = state.at("ewf");
        std::fs::create_dir(&folder).expect("created");
        let mut command = Command::new("ewfacquire");
        command.args(["-u", "-q", "-f", format, "-c", level, "-S", segment, "-t"]);
        if made_by(command.arg(folder.join("mem")).arg(&state.raw)) {
            let what = format!("ewfacquire -f {format} -c {level} -S {segment}");
            let first = ["E01", "e01", "s01"].map(|ending| folder.join(format!("mem.{ending}")));
            let first = first.iter().find(|path| path.exists()).expect("a first segment");
            assert_eq!(state.check(&what, first, "EWF"), state.memory.len() as u64, "{what}");
        }
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}

#[test]
fn copies_of_a_guest_with_page_table_isolation_have_its_memory_and_its_processes() {
    let Some(raw) = unpacked("linux/linux-5.10/mem.raw") else { return };
    let btf = unpacked("linux/linux-5.10/vmlinux-5.10.0-43-cloud-amd64.btf").expect("beside it");
    let map = unpacked("linux/linux-5.10/System.map-5.10.0-43-cloud-amd64").expect("beside it");
    let state = State::new(raw, 0, |folder| {
        let (repo, profile) = (folder.join("profiles"), folder.join("kernel.json"));
        ok(&["convert_profile", arg(&btf), arg(&profile), "--system_map", arg(&map)]);
        ok(&["repo", "init", arg(&repo)]);
        ok(&["repo", "-C", arg(&repo), "add", arg(&profile)]);
        repo
    });
    state.check_copies();
}

#[test]
fn copies_of_an_arm64_guest_have_its_memory_and_its_processes() {
    let Some(zip) = corpus("linux/arm64/debian-6.1.0-56-cloud-arm64-dwarf5.zip") else { return };
    let raw = unpacked("linux/arm64/mem.raw").expect("beside it");
    let state = State::new(raw, 0x4000_0000, |folder| repository(folder, &zip));
    state.check_copies();
    // QEMU's own ELF core, which the corpus has in parts.
    let path = state.at("qemu.elf");
    let mut file = File::create(&path).expect("created");
    for part in ["head", "tail"] {
        let part = corpus(&format!("linux/arm64/mem.elf.{part}")).expect("beside it");
        file.write_all(&std::fs::read(&part).expect("read")).expect("written");
        if part.extension().is_some_and(|part| part == "head") {
            file.write_all(&state.memory).expect("written");
        }
    }
    drop(file);
    state.check_all("QEMU", &path, "ELF core");
}

/// The same guest on a machine that encrypts its memory (AMD SEV) and shows it plain, as a program inside sees it: bit 51 of
/// every entry of its page tables is set, and the kernel's own mask says so.
#[test]
fn a_guest_with_the_c_bit_in_its_page_tables_has_the_same_processes() {
    const C: u64 = 1 << 51;
    let Some(zip) = corpus("linux/profiles/debian-6.1.0-56-cloud-amd64-dwarf5.zip") else { return };
    let raw = unpacked("linux/a256/mem.raw").expect("beside it");
    let told = corpus_text("linux/a256/groundtruth.txt.xz").expect("beside it");
    let registers = corpus_text("linux/a256/info_registers_-a.txt").expect("beside it");
    let state = State::new(raw, 0, |folder| repository(folder, &zip));

    let kernel = Kernel::of(&state, &told);
    // The guest printed few symbols: the map of its profile has these beside one that it did.
    let map = system_map(&zip);
    let banner = kernel.physical("linux_banner").wrapping_sub(address_of(&map, "linux_banner"));
    let place = |symbol: &str| banner.wrapping_add(address_of(&map, symbol));

    let mut memory = state.memory.clone();
    let cr3 = registers.split_whitespace().find_map(|word| word.strip_prefix("CR3=")).expect("CR3");
    let roots = state.pslist.iter().filter_map(|row| row["dtb"].as_str()?.strip_prefix("0x"));
    let roots = roots.chain([cr3]).map(hex).chain([place("init_top_pgt")]);
    let mut tables: Vec<(u64, u32)> = roots.map(|root| (root, 4)).collect();
    let mut seen = BTreeSet::new();
    while let Some((table, level)) = tables.pop() {
        if !seen.insert(table) {
            continue;
        }
        for at in (table as usize..table as usize + 0x1000).step_by(8) {
            let entry = u64::from_le_bytes(*memory[at..].first_chunk().expect("inside"));
            if entry & 1 == 1 {
                memory[at..at + 8].copy_from_slice(&(entry | C).to_le_bytes());
                if level > 1 && entry & 0x80 == 0 {
                    tables.push((entry & 0x000f_ffff_ffff_f000, level - 1));
                }
            }
        }
    }
    assert!(seen.len() > 300, "{}", seen.len());
    let mask = place("sme_me_mask") as usize;
    memory[mask..mask + 8].copy_from_slice(&C.to_le_bytes());
    let image = state.at("encrypted");
    std::fs::write(&image, memory).expect("written");
    assert_eq!(plugin(&state.repo, &image, &["pslist"]), state.pslist);
    let banner = format!("{:#x}", kernel.address("linux_banner"));
    let steps = plugin(&state.repo, &image, &["vtop", &banner]);
    assert!(steps[0]["flags"].as_str().expect("flags").split(' ').any(|flag| flag == "C"), "{steps:?}");
    assert_eq!(steps.last(), plugin(&state.repo, &state.raw, &["vtop", &banner]).last());
}

/// What a guest tells of where its kernel is.
struct Kernel<'t> {
    sections: BTreeMap<&'t str, &'t str>,
    /// The kernel's note with VMCOREINFO, as it is in its memory.
    note: Vec<u8>,
    phys_base: i64,
}

impl<'t> Kernel<'t> {
    fn of(state: &State, told: &'t str) -> Self {
        // A note has three words before its name: the lengths of name and content, and its type.
        let name = b"VMCOREINFO\0\0OSRELEASE=6.1.0-56-cloud-amd64\n";
        let at = memchr::memmem::find(&state.memory, name).expect("the kernel's note") - 12;
        let content_bytes = u32::from_le_bytes(*state.memory[at + 4..].first_chunk().expect("inside")) as usize;
        let note = state.memory[at..at + 24 + content_bytes.next_multiple_of(4)].to_vec();
        let content = std::str::from_utf8(&note[24..24 + content_bytes]).expect("text");
        let phys_base = content.lines().find_map(|line| line.strip_prefix("NUMBER(phys_base)=")).expect("a base");
        let phys_base = phys_base.parse().expect("a number");
        Self { sections: sections(told), note, phys_base }
    }

    /// A symbol's virtual address.
    fn address(&self, symbol: &str) -> u64 {
        address_of(self.sections["kallsyms"], symbol)
    }

    /// Where a symbol of the kernel's image is.
    fn physical(&self, symbol: &str) -> u64 {
        (self.address(symbol) - 0xffff_ffff_8000_0000).wrapping_add_signed(self.phys_base)
    }
}

/// The address of a symbol in lines of /proc/kallsyms or System.map.
fn address_of(lines: &str, symbol: &str) -> u64 {
    let line = lines.lines().find(|line| line.split(' ').nth(2) == Some(symbol)).expect("a symbol");
    hex(line.split(' ').next().expect("an address"))
}

fn hex(text: &str) -> u64 {
    u64::from_str_radix(text, 16).expect("hex")
}

/// The machine as the kernel of a crashed one shows it in `/proc/vmcore`, which is what makedumpfile reads: the kernel's own
/// note, and segments with the virtual addresses of its direct map and of its text.
fn vmcore(state: &State, told: &str, path: &Path) -> u64 {
    let kernel = Kernel::of(state, told);
    let word = |at: u64| u64::from_le_bytes(*state.memory[at as usize..].first_chunk().expect("inside"));
    let direct_map = word(kernel.physical("page_offset_base"));

    let range = |start: u64, end: u64| &state.memory[start as usize..end as usize];
    let (start, end) = (kernel.physical("_text"), kernel.physical("_end"));
    let text = Segment { virtual_address: kernel.address("_text"), address: start, bytes: range(start, end) };
    let ram = kernel.sections["iomem"].lines().filter_map(|line| line.strip_suffix(" : System RAM"));
    let ram = ram.filter(|range| !range.starts_with(' ')).map(|range| range.split_once('-').expect("a range"));
    // Whole pages: makedumpfile knows no others.
    let ram: Vec<(u64, u64)> = ram.map(|(start, last)| (hex(start), (hex(last) + 1) & !0xfff)).collect();
    let direct = |&(start, end): &(u64, u64)| Segment {
        virtual_address: direct_map + start,
        address: start,
        bytes: range(start, end),
    };
    let segments: Vec<Segment<'_>> = std::iter::once(text).chain(ram.iter().map(direct)).collect();
    write_core(path, 62, &kernel.note, &segments);
    ram.iter().map(|(start, end)| end - start).sum()
}

#[test]
fn what_makedumpfile_makes_of_a_guest_has_its_memory_and_its_processes() {
    let Some(zip) = corpus("linux/profiles/debian-6.1.0-56-cloud-amd64-dwarf5.zip") else { return };
    let raw = unpacked("linux/a256/mem.raw").expect("beside it");
    let told = corpus_text("linux/a256/groundtruth.txt.xz").expect("beside it");
    let state = State::new(raw, 0, |folder| repository(folder, &zip));
    let core = state.at("vmcore");
    let ram = vmcore(&state, &told, &core);
    assert_eq!(state.check("vmcore", &core, "ELF core"), ram);

    let Ok(version) = Command::new("makedumpfile").arg("-v").output() else {
        return skipped("there is no makedumpfile");
    };
    let version = String::from_utf8_lossy(&[version.stdout, version.stderr].concat()).into_owned();
    let makedumpfile = |options: &[&str], outputs: &[&Path]| {
        assert!(made_by(Command::new("makedumpfile").args(options).arg(&core).args(outputs)), "{options:?}");
    };
    let image = state.at("dump");
    for (options, needs, format) in [
        (&["-c"][..], None, "kdump"),
        (&["-l"], Some("lzo"), "kdump"),
        (&["-p"], Some("snappy"), "kdump"),
        (&["-z"], Some("zstd"), "kdump"),
        // Pages of zeros, of the cache, of users, and free ones are left out.
        (&["-c", "-d", "31"], None, "kdump"),
        (&["-E", "-d", "31"], None, "ELF core"),
    ] {
        let what = format!("makedumpfile {}", options.join(" "));
        if let Some(needs) = needs.filter(|needs| !version.contains(&format!("{needs}\tenabled"))) {
            skipped(&format!("{what}: this makedumpfile was built without {needs}"));
            continue;
        }
        makedumpfile(options, &[&image]);
        let bytes = state.check(&what, &image, format);
        if options.contains(&"31") {
            assert!(bytes > ram / 20 && bytes < ram / 2, "{what}: {bytes}");
        } else {
            assert_eq!(bytes, ram, "{what}");
        }
        std::fs::remove_file(&image).expect("removed");
    }
    let parts = ["part.1", "part.2", "part.3"].map(|name| state.at(name));
    makedumpfile(&["-c", "--split"], &parts.each_ref().map(PathBuf::as_path));
    assert_eq!(state.check("makedumpfile --split", &parts[1], "kdump"), ram);
    let output = File::create(&image).expect("created");
    assert!(made_by(Command::new("makedumpfile").args(["-c", "-F"]).arg(&core).stdout(output)));
    assert_eq!(state.check("makedumpfile -F", &image, "kdump"), ram);
}
