//! Image formats: every sample of the corpus holds the memory that its maker put there.

use crate::support::formats;
use quaid_analyzer::Pa;
use quaid_analyzer::image::{self, Image};
use serde_json::Value;

/// The memory content of all samples, and which of it each generated file holds.
struct Truth {
    folder: std::path::PathBuf,
    flat: Vec<u8>,
    expected: Value,
}

/// (physical address, offset in flat.raw, bytes)
type Runs = Vec<(u64, u64, u64)>;

fn truth() -> Option<Truth> {
    let folder = formats()?;
    let flat = std::fs::read(folder.join("flat.raw")).expect("flat.raw");
    let expected = std::fs::read(folder.join("synth/expected.json")).expect("expected.json");
    Some(Truth { flat, expected: serde_json::from_slice(&expected).expect("JSON"), folder })
}

impl Truth {
    fn open(&self, file: &str) -> Image {
        image::open(&self.folder.join(file), &image::Options::default()).unwrap_or_else(|why| panic!("{why}"))
    }

    /// As expected.json has it for a file of synth/, sorted by address; neighbours in both are one.
    fn made(&self, file: &str) -> Runs {
        let number = |value: &Value| {
            u64::from_str_radix(value.as_str().expect("text").trim_start_matches("0x"), 16).expect("hex")
        };
        let runs = self.expected[file]["runs"].as_array().expect("runs");
        let mut runs: Runs = runs.iter().map(|run| (number(&run[0]), number(&run[1]), number(&run[2]))).collect();
        runs.sort_unstable();
        let mut joined: Runs = Vec::new();
        for (at, offset, bytes) in runs {
            match joined.last_mut() {
                Some(last) if last.0 + last.2 == at && last.1 + last.2 == offset => last.2 += bytes,
                _ => joined.push((at, offset, bytes)),
            }
        }
        joined
    }

    fn whole(&self) -> Runs {
        vec![(0, 0, self.flat.len() as u64)]
    }

    /// That the image holds exactly `runs`: their addresses and their bytes, read at once and page by page.
    fn check(&self, file: &str, image: &Image, runs: &Runs) {
        let seen: Vec<_> = image.runs().iter().map(|run| (run.start.0, run.bytes)).collect();
        assert_eq!(seen, runs.iter().map(|&(at, _, bytes)| (at, bytes)).collect::<Vec<_>>(), "{file}");
        for &(at, offset, bytes) in runs {
            let expected = &self.flat[offset as usize..(offset + bytes) as usize];
            let mut buffer = vec![0; expected.len()];
            assert_eq!(image.read(Pa(at), &mut buffer), Ok(()), "{file} at {at:#x}");
            assert!(buffer == expected, "{file} at {at:#x}");
            for (page, at) in expected.chunks(0x1000).zip((at..).step_by(0x1000)) {
                let mut buffer = vec![0; page.len()];
                assert_eq!(image.read(Pa(at), &mut buffer), Ok(()), "{file} at {at:#x}");
                assert!(buffer == page, "{file} at {at:#x}");
                assert!(image.slice(Pa(at), page.len()).is_none_or(|slice| slice == page), "{file} at {at:#x}");
            }
        }
    }
}

#[test]
fn lime_and_avml_files_hold_the_memory() {
    let Some(truth) = truth() else { return };
    for (file, format, runs, warnings) in [
        ("flat.raw", "raw", truth.whole(), 0),
        ("avml/flat.lime", "LiME", truth.whole(), 0),
        ("avml/flat.avml", "AVML", truth.whole(), 0),
        ("synth/two.lime", "LiME", truth.made("two.lime"), 0),
        ("synth/odd.lime", "LiME", truth.made("odd.lime"), 0),
        ("synth/truncated.lime", "LiME", truth.made("truncated.lime"), 1),
    ] {
        let image = truth.open(file);
        assert_eq!((image.describe(), image.warnings.len()), (format.into(), warnings), "{file}");
        truth.check(file, &image, &runs);
    }
}
