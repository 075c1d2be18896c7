//! Digests: how OCI names content (image-spec, descriptor.md, "Digests").

use std::fmt;

use ring::digest::{Context, SHA256, SHA512};

/// A checked digest, such as `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Digest(String);

/// The hash functions that OCI registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Sha256,
    Sha512,
}

impl Digest {
    /// Reads a digest. SHA-256 and SHA-512 are the registered ones; anything else cannot be verified and is refused.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let Some((algorithm, hex)) = text.split_once(':') else {
            return Err(format!("{text:?} is no digest; digests look like sha256:<64 hexadecimal digits>"));
        };
        let length = match algorithm {
            "sha256" => 64,
            "sha512" => 128,
            _ => return Err(format!("the digest {text:?} is neither of sha256 nor of sha512")),
        };
        // "MUST match [a-f0-9]": capital letters would make a second name for the same content.
        if hex.len() != length || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(format!("the digest {text:?} does not have {length} small hexadecimal digits"));
        }
        Ok(Self(text.to_owned()))
    }

    /// The SHA-256 digest of some bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::sha256();
        hasher.update(bytes);
        hasher.finish()
    }

    /// The whole text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// `sha256` or `sha512`.
    pub(crate) fn algorithm(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }

    /// The hexadecimal digits alone.
    pub(crate) fn hex(&self) -> &str {
        self.0.split(':').nth(1).unwrap_or_default()
    }

    /// Enough of it for people: the algorithm and twelve digits.
    pub(crate) fn short(&self) -> &str {
        let end = self.algorithm().len() + 13;
        self.0.get(..end).unwrap_or(&self.0)
    }

    /// A hasher of this digest's function.
    pub(crate) fn hasher(&self) -> Hasher {
        match self.algorithm() {
            "sha512" => Hasher::new(Algorithm::Sha512),
            _ => Hasher::sha256(),
        }
    }

    /// Whether `bytes` have this digest.
    pub(crate) fn fits(&self, bytes: &[u8]) -> bool {
        let mut hasher = self.hasher();
        hasher.update(bytes);
        hasher.finish() == *self
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Computes a digest over bytes that come piece by piece.
#[derive(Clone)]
pub(crate) struct Hasher {
    algorithm: Algorithm,
    context: Context,
}

impl Hasher {
    /// SHA-256: what everybody names content by.
    pub(crate) fn sha256() -> Self {
        Self::new(Algorithm::Sha256)
    }

    fn new(algorithm: Algorithm) -> Self {
        let function = match algorithm {
            Algorithm::Sha256 => &SHA256,
            Algorithm::Sha512 => &SHA512,
        };
        Self { algorithm, context: Context::new(function) }
    }

    /// Takes the next bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
    }

    /// The digest of all that was taken.
    pub(crate) fn finish(self) -> Digest {
        use fmt::Write as _;
        let name = match self.algorithm {
            Algorithm::Sha256 => "sha256:",
            Algorithm::Sha512 => "sha512:",
        };
        let mut text = name.to_owned();
        for byte in self.context.finish().as_ref() {
            let _ = write!(text, "{byte:02x}");
        }
        Digest(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn computes_what_everybody_computes() {
        assert_eq!(Digest::of(b"").as_str(), EMPTY);
        let empty = Digest::parse(EMPTY).unwrap();
        assert!(empty.fits(b""));
        assert!(!empty.fits(b"x"));
        assert_eq!(empty.short(), "sha256:e3b0c44298fc");
        assert_eq!(empty.hex().len(), 64);
        let long = Digest::parse(&format!("sha512:{}", "0".repeat(128))).unwrap();
        assert_eq!(long.hasher().finish().hex().len(), 128);
    }

    #[test]
    fn refuses_what_is_none() {
        for text in ["", "sha256", "sha256:", "sha256:abc", "md5:d41d8cd98f00b204e9800998ecf8427e"] {
            Digest::parse(text).expect_err(text);
        }
        Digest::parse(&EMPTY.to_uppercase()).expect_err("capitals");
        Digest::parse(&EMPTY.replace('e', "E")).expect_err("capital digits");
        Digest::parse(&format!("{EMPTY}/../x")).expect_err("a path");
    }
}
