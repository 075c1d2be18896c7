//! Names of images: `registry/repository:tag@digest`.
//!
//! The grammar is that of OCI distribution-spec ("Pulling manifests": `<name>` and `<reference>`) and of Docker's references, which
//! add the registry before the name and let it be left out: `nginx` is `docker.io/library/nginx`.

use std::fmt;

use super::digest::Digest;

/// A repository at a registry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Repository {
    registry: String,
    path: String,
}

/// An image: a repository with a tag, a digest, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    /// Where it lies.
    pub(crate) repository: Repository,
    /// Its tag, if one is written.
    pub(crate) tag: Option<String>,
    /// Its digest, if one is written.
    pub(crate) digest: Option<Digest>,
}

/// The longest name of a repository, with its registry, that Docker's grammar takes.
const LONGEST_NAME: usize = 255;

impl Repository {
    /// `quay.io`, `registry.example:5000`: the host and port as users write them.
    pub(crate) fn registry(&self) -> &str {
        &self.registry
    }

    /// `team/app`.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The host that speaks the API. Docker Hub's is not the one in its names.
    pub(crate) fn api_host(&self) -> &str {
        if self.registry == "docker.io" { "registry-1.docker.io" } else { &self.registry }
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.path)
    }
}

impl Reference {
    /// Reads a reference, with or without `docker://` before it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let body = text.strip_prefix("docker://").unwrap_or(text);
        if body.contains("://") {
            return Err(format!("{text:?} is no image; write it without a scheme, like quay.io/team/app:v1"));
        }
        let (name, digest) = match body.split_once('@') {
            Some((name, digest)) => (name, Some(Digest::parse(digest)?)),
            None => (body, None),
        };
        let start = name.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match name[start..].split_once(':') {
            Some((_, tag)) => (&name[..name.len() - tag.len() - 1], Some(tag.to_owned())),
            None => (name, None),
        };
        if let Some(tag) = &tag {
            check_tag(tag)?;
        }
        let (registry, path) = split_registry(name);
        check_registry(&registry, text)?;
        check_path(&path, text)?;
        if registry.len() + path.len() + 1 > LONGEST_NAME {
            return Err(format!("{text:?} has a name of more than {LONGEST_NAME} characters"));
        }
        Ok(Self { repository: Repository { registry, path }, tag, digest })
    }

    /// What stands after `/manifests/` in a request: the digest where one is known, else the tag, else `latest`.
    pub(crate) fn wanted(&self) -> &str {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.as_str(),
            (None, Some(tag)) => tag,
            (None, None) => "latest",
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// distribution-spec: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
pub(crate) fn check_tag(tag: &str) -> Result<(), String> {
    let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    let starts = tag.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    if starts && tag.len() <= 128 && tag.bytes().all(fine) {
        return Ok(());
    }
    Err(format!(
        "{tag:?} is no tag; a tag has up to 128 letters, digits, '_', '.' and '-', and starts with none of the last two"
    ))
}

/// Docker's rule for what is a registry: it has a dot or a port, or is `localhost`; else the name is Docker Hub's.
fn split_registry(name: &str) -> (String, String) {
    let hub = |path: &str| {
        let path = if path.contains('/') { path.to_owned() } else { format!("library/{path}") };
        ("docker.io".to_owned(), path)
    };
    // Names of hosts have no case (RFC 9110, 4.2.3), Docker Hub's no more than others.
    match name.split_once('/').map(|(host, path)| (host.to_ascii_lowercase(), path)) {
        Some((host, path))
            if matches!(host.as_str(), "docker.io" | "index.docker.io" | "registry-1.docker.io") =>
        {
            hub(path)
        }
        Some((host, path)) if host.contains(['.', ':', '[']) || host == "localhost" => {
            (host, path.to_owned())
        }
        _ => hub(name),
    }
}

fn check_registry(registry: &str, text: &str) -> Result<(), String> {
    let wrong = || Err(format!("{text:?} names no registry that could be reached: {registry:?}"));
    let (host, port) = if let Some(rest) = registry.strip_prefix('[') {
        match rest.split_once(']') {
            Some((host, "")) => (host, None),
            Some((host, port)) if port.starts_with(':') => (host, Some(&port[1..])),
            _ => return wrong(),
        }
    } else {
        match registry.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (registry, None),
        }
    };
    let host_fine = if registry.starts_with('[') {
        host.parse::<std::net::Ipv6Addr>().is_ok()
    } else {
        !host.is_empty()
            && host.split('.').all(|label| {
                !label.is_empty()
                    && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                    && !label.starts_with('-')
                    && !label.ends_with('-')
            })
    };
    let port_fine = port.is_none_or(|port| {
        port.parse::<u16>().is_ok_and(|number| number > 0) && port.bytes().all(|b| b.is_ascii_digit())
    });
    if host_fine && port_fine { Ok(()) } else { wrong() }
}

/// distribution-spec: `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*`.
fn check_path(path: &str, text: &str) -> Result<(), String> {
    if path.split('/').all(is_component) {
        return Ok(());
    }
    let advice = if path.bytes().any(|b| b.is_ascii_uppercase()) {
        "; names of repositories have small letters only"
    } else {
        "; write it like quay.io/team/app:v1"
    };
    Err(format!("{text:?} is no image{advice}"))
}

fn is_component(part: &str) -> bool {
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    if !letter(*first) || !letter(*last) {
        return false;
    }
    bytes
        .split(|b| letter(*b))
        .filter(|gap| !gap.is_empty())
        .all(|gap| matches!(gap, b"." | b"_" | b"__") || gap.iter().all(|b| *b == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn reads_what_users_write() {
        let cases = [
            ("nginx", "docker.io/library/nginx"),
            ("team/app", "docker.io/team/app"),
            ("docker.io/nginx:1", "docker.io/library/nginx:1"),
            ("index.docker.io/team/app", "docker.io/team/app"),
            ("Index.Docker.io/app:v1", "docker.io/library/app:v1"),
            ("quay.io/team/app:v1", "quay.io/team/app:v1"),
            ("docker://quay.io/team/app:v1", "quay.io/team/app:v1"),
            ("localhost/app", "localhost/app"),
            ("localhost:5000/app:v1", "localhost:5000/app:v1"),
            ("127.0.0.1:5000/a/b/c", "127.0.0.1:5000/a/b/c"),
            ("[::1]:5000/a", "[::1]:5000/a"),
            ("Registry.Example/app", "registry.example/app"),
            ("r.example/a__b/c-d.e_f--g:T_1.x-y", "r.example/a__b/c-d.e_f--g:T_1.x-y"),
        ];
        for (text, whole) in cases {
            let reference = Reference::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(reference.to_string(), whole);
        }
        let both = Reference::parse(&format!("quay.io/a/b:v1@{DIGEST}")).unwrap();
        assert_eq!((both.tag.as_deref(), both.wanted()), (Some("v1"), DIGEST));
        assert_eq!(both.repository.path(), "a/b");
        assert_eq!(Reference::parse("quay.io/a").unwrap().wanted(), "latest");
        assert_eq!(Reference::parse("nginx").unwrap().repository.api_host(), "registry-1.docker.io");
    }

    #[test]
    fn says_what_is_no_image() {
        for (text, part) in [
            ("", "is no image"),
            ("https://quay.io/a/b", "without a scheme"),
            ("quay.io/Team/app", "small letters"),
            ("quay.io/team/app:", "is no tag"),
            ("quay.io/team/app:-x", "is no tag"),
            ("quay.io/team/app@sha256:12", "small hexadecimal"),
            ("quay.io//app", "is no image"),
            ("quay.io/../app", "is no image"),
            ("quay.io/a___b", "is no image"),
            ("quay.io:0/app", "no registry"),
            ("quay.io:x/app", "no registry"),
            ("[::g]/app", "no registry"),
            ("quay.io/app?x=y", "is no image"),
        ] {
            let error = Reference::parse(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
        Reference::parse(&format!("quay.io/{}", "a/".repeat(130) + "a")).expect_err("too long");
    }

    proptest::proptest! {
        #[test]
        fn never_panics_and_is_stable(text in "\\PC{0,60}") {
            let _ = Reference::parse(&text);
        }

        #[test]
        fn what_is_printed_reads_the_same(text in "([a-z]{1,3}\\.[a-z]{1,3}(:[0-9]{1,4})?/)?[a-z0-9._/-]{1,20}(:[A-Za-z0-9._-]{1,9})?") {
            if let Ok(reference) = Reference::parse(&text) {
                proptest::prop_assert_eq!(Reference::parse(&reference.to_string()), Ok(reference));
            }
        }
    }
}
