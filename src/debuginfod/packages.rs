//! Which package of which distribution has the debug symbols of a kernel: rules over banners, as data in `packages.yaml`.

use regex::{Captures, Regex};
use serde::Deserialize;
use std::fmt;
use std::sync::LazyLock;

/// How the banners of one distribution look, and what follows from them. Texts have the groups of `banner` in braces.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    distribution: String,
    banner: String,
    packages: Vec<String>,
    version: Option<String>,
    file: Option<String>,
    get: String,
    debuginfod: Option<String>,
}

static RULES: LazyLock<Vec<(Regex, Rule)>> = LazyLock::new(|| {
    // A test reads and compiles each of them, so that none can fail in a release.
    let rules: Vec<Rule> = serde_saphyr::from_str(include_str!("packages.yaml")).unwrap_or_default();
    rules.into_iter().filter_map(|rule| Some((Regex::new(&rule.banner).ok()?, rule))).collect()
});

/// Where the debug symbols of one kernel are. Prints in some lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// The distribution.
    pub distribution: &'static str,
    /// What `uname -r` prints.
    pub release: String,
    /// The package; where there are several, the first that exists.
    pub packages: Vec<String>,
    /// Its version, where the name of the package does not tell it.
    pub version: Option<String>,
    /// The file in it.
    pub file: Option<String>,
    /// Where the package comes from.
    pub get: String,
    /// The distribution's debuginfod server, which may have the file too.
    pub debuginfod: Option<String>,
}

/// The advice for a kernel's banner; `None` when it is of no distribution that is known.
pub fn advice(banner: &str) -> Option<Advice> {
    let (groups, rule) = RULES.iter().find_map(|(regex, rule)| Some((regex.captures(banner)?, rule)))?;
    let fill = |text: &String| fill(text, &groups);
    Some(Advice {
        distribution: &rule.distribution,
        release: fill(&"{release}".to_owned()),
        packages: rule.packages.iter().map(fill).collect(),
        version: rule.version.as_ref().map(fill),
        file: rule.file.as_ref().map(fill),
        get: fill(&rule.get),
        debuginfod: rule.debuginfod.clone(),
    })
}

/// `text` with the groups in the place of their names in braces.
fn fill(text: &str, groups: &Captures<'_>) -> String {
    let mut filled = String::new();
    for (index, part) in text.split('{').enumerate() {
        match part.split_once('}') {
            Some((name, rest)) if index > 0 => {
                filled.push_str(groups.name(name).map_or("", |group| group.as_str()));
                filled.push_str(rest);
            }
            _ => filled.push_str(part),
        }
    }
    filled
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: kernel {}", self.distribution, self.release)?;
        writeln!(f, "  package     {}", self.packages.join(", or "))?;
        for (name, value) in [("version", &self.version), ("file", &self.file)] {
            if let Some(value) = value {
                writeln!(f, "  {name:<11} {value}")?;
            }
        }
        writeln!(f, "  from        {}", self.get)?;
        if let Some(server) = &self.debuginfod {
            writeln!(f, "  debuginfod  {server} (may have it, by build-id)")?;
        }
        write!(f, "  then        quaid convert_profile PACKAGE PROFILE.json")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_read_and_fills_its_texts() {
        let rules: Vec<Rule> = serde_saphyr::from_str(include_str!("packages.yaml")).expect("the table");
        assert_eq!(rules.len(), RULES.len(), "every regular expression compiles");
        for rule in &rules {
            let regex = Regex::new(&rule.banner).expect("a regular expression");
            let groups: Vec<&str> = regex.capture_names().flatten().collect();
            assert!(groups.contains(&"release"), "{}", rule.banner);
            let texts = rule.packages.iter().chain(&rule.version).chain(&rule.file).chain([&rule.get]);
            for text in texts {
                for name in text.split('{').skip(1).map(|part| part.split_once('}').expect("closed").0) {
                    assert!(groups.contains(&name), "{{{name}}} in {text}");
                }
            }
        }
    }

    /// Banners as kernels of the distributions print them, and what their archives call the package.
    #[test]
    fn banners_lead_to_the_package_that_the_distribution_has() {
        for (banner, distribution, package, version) in [
            (
                "Linux version 6.1.0-13-amd64 (debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14) 12.2.0, GNU ld (GNU Binutils for Debian) 2.40) #1 SMP PREEMPT_DYNAMIC Debian 6.1.55-1 (2023-09-29)",
                "Debian",
                "linux-image-6.1.0-13-amd64-dbg",
                Some("6.1.55-1"),
            ),
            (
                "Linux version 3.2.0-4-amd64 (debian-kernel@lists.debian.org) (gcc version 4.6.3 (Debian 4.6.3-14) ) #1 SMP Debian 3.2.65-1+deb7u1",
                "Debian",
                "linux-image-3.2.0-4-amd64-dbg",
                Some("3.2.65-1+deb7u1"),
            ),
            (
                "Linux version 2.6.32-5-amd64 (Debian 2.6.32-48squeeze4) (jmm@debian.org) (gcc version 4.3.5 (Debian 4.3.5-4) ) #1 SMP Mon Sep 23 22:14:43 UTC 2013",
                "Debian",
                "linux-image-2.6.32-5-amd64-dbg",
                Some("2.6.32-48squeeze4"),
            ),
            (
                "Linux version 5.15.0-91-generic (buildd@lcy02-amd64-045) (gcc (Ubuntu 11.4.0-1ubuntu1~22.04) 11.4.0, GNU ld (GNU Binutils for Ubuntu) 2.38) #101-Ubuntu SMP Tue Nov 14 13:30:08 UTC 2023 (Ubuntu 5.15.0-91.101-generic 5.15.131)",
                "Ubuntu",
                "linux-image-unsigned-5.15.0-91-generic-dbgsym",
                Some("5.15.0-91.101"),
            ),
            (
                "Linux version 6.5.0-14-generic (buildd@lcy02-amd64-110) (x86_64-linux-gnu-gcc-12 (Ubuntu 12.3.0-1ubuntu1~22.04) 12.3.0, GNU ld (GNU Binutils for Ubuntu) 2.38) #14~22.04.1-Ubuntu SMP PREEMPT_DYNAMIC Mon Nov 20 18:15:30 UTC 2",
                "Ubuntu",
                "linux-image-unsigned-6.5.0-14-generic-dbgsym",
                Some("6.5.0-14.14~22.04.1"),
            ),
            (
                "Linux version 6.5.6-300.fc39.x86_64 (mockbuild@bkernel01.iad2.fedoraproject.org) (gcc (GCC) 13.2.1 20230918 (Red Hat 13.2.1-3), GNU ld version 2.40-13.fc39) #1 SMP PREEMPT_DYNAMIC Fri Oct  6 19:57:21 UTC 2023",
                "Fedora",
                "kernel-debuginfo-6.5.6-300.fc39.x86_64",
                None,
            ),
            (
                "Linux version 6.5.6-300.fc39.x86_64+debug (mockbuild@bkernel01.iad2.fedoraproject.org) (gcc (GCC) 13.2.1 20230918 (Red Hat 13.2.1-3), GNU ld version 2.40-13.fc39) #1 SMP PREEMPT_DYNAMIC Fri Oct  6 19:00:00 UTC 2023",
                "Fedora",
                "kernel-debug-debuginfo-6.5.6-300.fc39.x86_64",
                None,
            ),
            (
                "Linux version 4.18.0-513.5.1.el8_9.x86_64 (mockbuild@x86-vm-09.build.eng.bos.redhat.com) (gcc version 8.5.0 20210514 (Red Hat 8.5.0-20) (GCC)) #1 SMP Fri Sep 29 05:21:10 EDT 2023",
                "Red Hat Enterprise Linux",
                "kernel-debuginfo-4.18.0-513.5.1.el8_9.x86_64",
                None,
            ),
            (
                "Linux version 3.10.0-1160.el7.x86_64 (mockbuild@kbuilder.bsys.centos.org) (gcc version 4.8.5 20150623 (Red Hat 4.8.5-44) (GCC) ) #1 SMP Mon Oct 19 16:18:59 UTC 2020",
                "CentOS",
                "kernel-debuginfo-3.10.0-1160.el7.x86_64",
                None,
            ),
            (
                "Linux version 5.14.0-391.el9.x86_64 (mockbuild@x86-05.stream.rdu2.redhat.com) (gcc (GCC) 11.4.1 20231115 (Red Hat 11.4.1-2), GNU ld version 2.35.2-42.el9) #1 SMP PREEMPT_DYNAMIC Tue Nov 28 20:35:49 UTC 2023",
                "CentOS Stream",
                "kernel-debuginfo-5.14.0-391.el9.x86_64",
                None,
            ),
            (
                "Linux version 5.14.0-362.8.1.el9_3.x86_64 (mockbuild@iad1-prod-build001.bld.equ.rockylinux.org) (gcc (GCC) 11.4.1 20230605 (Red Hat 11.4.1-2), GNU ld version 2.35.2-42.el9) #1 SMP PREEMPT_DYNAMIC Wed Nov 8 17:36:32 UTC 2023",
                "Rocky Linux",
                "kernel-debuginfo-5.14.0-362.8.1.el9_3.x86_64",
                None,
            ),
            (
                "Linux version 5.14.0-362.8.1.el9_3.x86_64 (mockbuild@x64-builder02.almalinux.org) (gcc (GCC) 11.4.1 20230605 (Red Hat 11.4.1-2), GNU ld version 2.35.2-42.el9) #1 SMP PREEMPT_DYNAMIC Tue Nov 7 14:54:22 EST 2023",
                "AlmaLinux",
                "kernel-debuginfo-5.14.0-362.8.1.el9_3.x86_64",
                None,
            ),
            (
                "Linux version 5.14.21-150500.55.39-default (geeko@buildhost) (gcc (SUSE Linux) 7.5.0, GNU ld (GNU Binutils; SUSE Linux Enterprise 15) 2.41.0.20230908-150100.7.46) #1 SMP PREEMPT_DYNAMIC Tue Dec 5 10:06:35 UTC 2023 (2e4092e)",
                "SUSE",
                "kernel-default-debuginfo",
                Some("5.14.21-150500.55.39 and what follows it, as in 5.14.21-150500.55.39.1"),
            ),
            (
                "Linux version 6.6.7-arch1-1 (linux@archlinux) (gcc (GCC) 13.2.1 20230801, GNU ld (GNU Binutils) 2.41.0) #1 SMP PREEMPT_DYNAMIC Thu, 14 Dec 2023 03:45:42 +0000",
                "Arch Linux",
                "linux-headers",
                Some("6.6.7.arch1-1"),
            ),
            (
                "Linux version 6.7.0-arch3-1 (linux@archlinux) (gcc (GCC) 13.2.1 20230801, GNU ld (GNU Binutils) 2.41.0) #1 SMP PREEMPT_DYNAMIC Sat, 13 Jan 2024 14:37:14 +0000",
                "Arch Linux",
                "linux-headers",
                Some("6.7.arch3-1"),
            ),
            (
                "Linux version 6.6.7-zen1-1-zen (linux-zen@archlinux) (gcc (GCC) 13.2.1 20230801, GNU ld (GNU Binutils) 2.41.0) #1 ZEN SMP PREEMPT_DYNAMIC Thu, 14 Dec 2023 03:45:47 +0000",
                "Arch Linux",
                "linux-zen-headers",
                Some("6.6.7.zen1-1"),
            ),
            (
                "Linux version 6.1.68-1-lts (linux-lts@archlinux) (gcc (GCC) 13.2.1 20230801, GNU ld (GNU Binutils) 2.41.0) #1 SMP PREEMPT_DYNAMIC Wed, 13 Dec 2023 20:19:24 +0000",
                "Arch Linux",
                "linux-lts-headers",
                Some("6.1.68-1"),
            ),
        ] {
            let advice = advice(banner).unwrap_or_else(|| panic!("no rule for {banner}"));
            assert_eq!(
                (advice.distribution, advice.packages[0].as_str(), advice.version.as_deref()),
                (distribution, package, version),
                "{banner}"
            );
            assert!(!advice.to_string().contains(['{', '}']), "{advice}");
        }
    }

    #[test]
    fn kernels_of_nobody_known_and_hostile_banners_get_no_advice() {
        for banner in [
            "",
            "Linux version 6.1.0 (me@home) (gcc 12) #1 SMP Sat Jan 1 00:00:00 UTC 2022",
            // Kali and Raspberry Pi OS sign as Debian does, and keep their packages elsewhere.
            "Linux version 6.5.0-kali3-amd64 (devel@kali.org) (gcc-13 (Debian 13.2.0-4) 13.2.0) #1 SMP PREEMPT_DYNAMIC Debian 6.5.6-1kali1 (2023-10-09)",
            "Linux version 6.1.0;reboot (debian-kernel@lists.debian.org) (gcc-12) #1 SMP Debian 6.1.55-1 (2023-09-29)",
            "Linux version $(id).fc39.x86_64 (mockbuild@bkernel01.iad2.fedoraproject.org) (gcc) #1 SMP",
        ] {
            assert_eq!(advice(banner), None, "{banner}");
        }
    }
}
