//! Platforms, as OCI names them: `os/arch[/variant]`.
//!
//! Values are Go's `GOOS` and `GOARCH` (OCI image-spec, image index, `platform`). Aliases and default variants are those of
//! containerd's `platforms` package, so that archfan, containerd, buildah and buildx mean the same by the same text.

use std::fmt;

use super::nearest;

/// A platform, in its one canonical form. Two platforms are the same if and only if they are equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform {
    os: &'static str,
    arch: &'static str,
    variant: String,
}

/// Operating systems that an image may be for.
const SYSTEMS: &[&str] = &[
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "illumos",
    "ios",
    "js",
    "linux",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "wasip1",
    "windows",
    "zos",
];

/// Architectures that an image may be for.
const ARCHITECTURES: &[&str] = &[
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le",
    "riscv64", "s390x", "wasm",
];

impl Platform {
    /// Reads a platform: `linux/arm64`, `linux/arm/v7`, `arm64`, `aarch64`, `armhf`.
    ///
    /// A text without an operating system means Linux: what builds containers here.
    ///
    /// # Errors
    /// A sentence about what is wrong and what to write instead, without the text itself.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lower = text.trim().to_ascii_lowercase();
        let parts: Vec<&str> = lower.split('/').collect();
        let (os, arch, variant) = match parts.as_slice() {
            [""] => {
                return Err(
                    "a platform is wanted and nothing is there; write one like linux/arm64".to_owned()
                );
            }
            [arch] => ("linux", *arch, ""),
            // `arm/v7`: an architecture with its variant. No architecture is called as an operating system is.
            [arch, variant] if is_architecture(arch) => ("linux", *arch, *variant),
            [os, arch] => (*os, *arch, ""),
            [os, arch, variant] => (*os, *arch, *variant),
            _ => {
                return Err(
                    "more than os/arch/variant; write one like linux/arm64 or linux/arm/v7".to_owned()
                );
            }
        };
        let os = if os == "macos" { "darwin" } else { os };
        let Some(os) = word(os, SYSTEMS) else {
            return Err(unknown("operating system", os, SYSTEMS));
        };
        let (arch, variant) = normalize(arch, variant);
        let Some(arch) = word(arch, ARCHITECTURES) else {
            return Err(unknown("architecture", arch, ARCHITECTURES));
        };
        if !is_variant(variant) {
            return Err(format!("{variant:?} is no variant; variants look like v7"));
        }
        Ok(Self { os, arch, variant: variant.to_owned() })
    }

    /// `GOOS`: `linux`.
    pub fn os(&self) -> &'static str {
        self.os
    }

    /// `GOARCH`: `arm64`. Also the value of a node's label `kubernetes.io/arch`.
    pub fn arch(&self) -> &'static str {
        self.arch
    }

    /// `v7` and the like; empty for most.
    pub fn variant(&self) -> &str {
        &self.variant
    }

    /// What `uname -m` says on such a machine: `aarch64`.
    pub fn machine(&self) -> String {
        match (self.arch, self.variant.as_str()) {
            ("amd64", _) => "x86_64".to_owned(),
            ("arm64", _) => "aarch64".to_owned(),
            ("386", _) => "i686".to_owned(),
            ("arm", variant) => format!("arm{variant}l"),
            ("loong64", _) => "loongarch64".to_owned(),
            ("mipsle", _) => "mips".to_owned(),
            ("mips64le", _) => "mips64".to_owned(),
            (arch, _) => arch.to_owned(),
        }
    }

    /// The form for places where `/` cannot stand, such as labels, tags, folders and names of results: `linux-arm64`,
    /// `linux-arm-v7`.
    pub fn key(&self) -> String {
        match self.variant.as_str() {
            "" => [self.os, self.arch].join("-"),
            variant => [self.os, self.arch, variant].join("-"),
        }
    }

    /// Whether a node of `self` can run what is built for `other`: the same operating system and architecture. Kubernetes has
    /// no label for variants.
    pub fn shares_nodes_with(&self, other: &Self) -> bool {
        self.os == other.os && self.arch == other.arch
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.os)?;
        f.write_str("/")?;
        f.write_str(self.arch)?;
        if self.variant.is_empty() {
            return Ok(());
        }
        f.write_str("/")?;
        f.write_str(&self.variant)
    }
}

/// A word as it stands in a list of all that there are.
fn word(text: &str, known: &[&'static str]) -> Option<&'static str> {
    known.iter().copied().find(|known| *known == text)
}

fn is_architecture(text: &str) -> bool {
    ARCHITECTURES.contains(&normalize(text, "").0)
}

/// containerd `platforms.normalizeArch`, and `uname -m` spellings beside it.
fn normalize<'a>(arch: &'a str, variant: &'a str) -> (&'a str, &'a str) {
    match (arch, variant) {
        ("x86_64" | "x86-64" | "x64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64" | "x64" | "amd64", variant) => ("amd64", variant),
        ("i386" | "i486" | "i586" | "i686" | "x86" | "386", _) => ("386", ""),
        ("aarch64" | "arm64" | "armv8" | "armv8l", "" | "8" | "v8") => ("arm64", ""),
        ("aarch64" | "arm64" | "armv8" | "armv8l", variant) => ("arm64", variant),
        ("armhf" | "armv7" | "armv7l" | "armv7hl", "") | ("arm", "" | "7") => ("arm", "v7"),
        ("armel" | "armv6" | "armv6l", "") | ("arm", "6") => ("arm", "v6"),
        ("armv5" | "armv5l" | "armv5tel", "") | ("arm", "5") => ("arm", "v5"),
        ("arm", "8") => ("arm", "v8"),
        ("loongarch64", variant) => ("loong64", variant),
        ("powerpc64le" | "ppc64el", variant) => ("ppc64le", variant),
        other => other,
    }
}

/// Variants are short and end up in names: `v7`, `v8.1`, `power9`, `rva22u64`.
fn is_variant(text: &str) -> bool {
    text.len() <= 16
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.')
        && !text.ends_with('.')
        && !text.starts_with('.')
}

fn unknown(what: &str, text: &str, known: &[&str]) -> String {
    match nearest::to(text, known.iter().copied()) {
        Some(near) => format!("{text:?} is no {what}; did you mean {near:?}?"),
        None => format!("{text:?} is no {what}; known are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_oci_and_every_day_spellings() {
        let cases = [
            ("linux/amd64", "linux/amd64", "linux-amd64", "x86_64"),
            ("linux/arm64", "linux/arm64", "linux-arm64", "aarch64"),
            ("amd64", "linux/amd64", "linux-amd64", "x86_64"),
            ("x86_64", "linux/amd64", "linux-amd64", "x86_64"),
            ("aarch64", "linux/arm64", "linux-arm64", "aarch64"),
            ("linux/aarch64", "linux/arm64", "linux-arm64", "aarch64"),
            ("linux/arm64/v8", "linux/arm64", "linux-arm64", "aarch64"),
            ("linux/arm64/v9", "linux/arm64/v9", "linux-arm64-v9", "aarch64"),
            ("linux/amd64/v1", "linux/amd64", "linux-amd64", "x86_64"),
            ("linux/amd64/v3", "linux/amd64/v3", "linux-amd64-v3", "x86_64"),
            ("linux/arm", "linux/arm/v7", "linux-arm-v7", "armv7l"),
            ("linux/arm/v6", "linux/arm/v6", "linux-arm-v6", "armv6l"),
            ("arm/v6", "linux/arm/v6", "linux-arm-v6", "armv6l"),
            ("armv7", "linux/arm/v7", "linux-arm-v7", "armv7l"),
            ("armhf", "linux/arm/v7", "linux-arm-v7", "armv7l"),
            ("armel", "linux/arm/v6", "linux-arm-v6", "armv6l"),
            ("i386", "linux/386", "linux-386", "i686"),
            ("s390x", "linux/s390x", "linux-s390x", "s390x"),
            ("ppc64le", "linux/ppc64le", "linux-ppc64le", "ppc64le"),
            ("linux/riscv64", "linux/riscv64", "linux-riscv64", "riscv64"),
            (" Linux/ARM64 ", "linux/arm64", "linux-arm64", "aarch64"),
            ("windows/amd64", "windows/amd64", "windows-amd64", "x86_64"),
            ("macos/arm64", "darwin/arm64", "darwin-arm64", "aarch64"),
        ];
        for (text, display, key, machine) in cases {
            let platform = Platform::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(
                (platform.to_string().as_str(), platform.key().as_str(), platform.machine().as_str()),
                (display, key, machine),
                "{text}"
            );
        }
    }

    #[test]
    fn a_platform_has_three_parts() {
        for (text, parts) in [
            ("linux/amd64", ("linux", "amd64", "")),
            ("linux/arm/v7", ("linux", "arm", "v7")),
            ("arm/v6", ("linux", "arm", "v6")),
            ("macos/aarch64", ("darwin", "arm64", "")),
            ("windows/amd64", ("windows", "amd64", "")),
        ] {
            let platform = Platform::parse(text).unwrap();
            assert_eq!((platform.os(), platform.arch(), platform.variant()), parts, "{text}");
        }
    }

    #[test]
    fn says_what_is_no_platform() {
        for (text, part) in [
            ("", "nothing is there"),
            ("linux/amd65", r#"did you mean "amd64"?"#),
            ("linus/amd64", r#"did you mean "linux"?"#),
            ("linux/quantum", "known are"),
            ("linux/arm/v7/extra", "more than os/arch/variant"),
            ("linux/arm/V 7", "no variant"),
            ("$(params.arch)", "no architecture"),
        ] {
            let error = Platform::parse(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics_and_is_stable(text in ".{0,40}") {
            if let Ok(platform) = Platform::parse(&text) {
                let again = Platform::parse(&platform.to_string());
                proptest::prop_assert_eq!(again.as_ref(), Ok(&platform));
                proptest::prop_assert!(platform.key().len() <= 40);
            }
        }
    }
}
