//! Where an image comes from, as the command line says it: `PLATFORM=SOURCE`.

use std::fmt;
use std::path::{Path, PathBuf};

use super::reference::Reference;
use crate::core::platform::Platform;

/// The place of one image. The words are those of skopeo and buildah (containers-transports(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// `docker://REF[@DIGEST]`: at a registry.
    Registry(Reference),
    /// A file or folder.
    Archive(Place),
}

/// An image in a file or folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// What it is said to be.
    pub(crate) form: Form,
    /// Where it lies.
    pub(crate) path: PathBuf,
    /// Which image of several: a name that its index gives, or `@N` for the N-th, counted from 0.
    pub(crate) image: Option<String>,
}

/// The forms of archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `oci-archive:PATH`: an OCI image layout in a tar file.
    OciArchive,
    /// `oci:PATH`: an OCI image layout in a folder.
    OciLayout,
    /// `docker-archive:PATH`: what `docker save` writes.
    DockerArchive,
    /// `archive:PATH`: whichever of these is found.
    Any,
}

impl Form {
    /// The word before the colon.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::OciArchive => "oci-archive",
            Self::OciLayout => "oci",
            Self::DockerArchive => "docker-archive",
            Self::Any => "archive",
        }
    }
}

impl Source {
    /// Reads a source.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with("docker://") {
            return Reference::parse(text).map(Self::Registry);
        }
        let advice =
            "write docker://REF@DIGEST, oci-archive:PATH, oci:PATH, docker-archive:PATH or archive:PATH";
        let (form, rest) =
            text.split_once(':').ok_or_else(|| format!("{text:?} is no source of an image; {advice}"))?;
        let form = match form {
            "oci-archive" => Form::OciArchive,
            "oci" => Form::OciLayout,
            "docker-archive" => Form::DockerArchive,
            "archive" => Form::Any,
            _ => return Err(format!("{text:?} is no source of an image; {advice}")),
        };
        if rest.is_empty() {
            return Err(format!("{text:?} names no path; {advice}"));
        }
        // A name of an image may follow the path. A path that is there as it stands has none.
        let whole = Path::new(rest);
        let mut splits = rest.rmatch_indices(':').map(|(colon, _)| (&rest[..colon], &rest[colon + 1..]));
        let split = splits.find(|(path, _)| !whole.exists() && !path.is_empty() && Path::new(path).exists());
        let (path, image) = match split {
            Some((path, image)) => (PathBuf::from(path), Some(image.to_owned())),
            None => (whole.to_owned(), None),
        };
        Ok(Self::Archive(Place { form, path, image: image.filter(|image| !image.is_empty()) }))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(reference) => write!(f, "docker://{reference}"),
            Self::Archive(place) => write!(f, "{place}"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.form.word(), self.path.display())?;
        self.image.as_ref().map_or(Ok(()), |image| write!(f, ":{image}"))
    }
}

/// One image of the index: for which platform, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The platform that it shall be for.
    pub(crate) platform: Platform,
    /// Where it comes from.
    pub(crate) source: Source,
}

impl Wanted {
    /// Reads `PLATFORM=SOURCE`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (platform, source) = text.split_once('=').ok_or_else(|| {
            format!("{text:?} is not PLATFORM=SOURCE; write it like linux/arm64=docker://quay.io/team/app@sha256:…")
        })?;
        let platform =
            Platform::parse(platform).map_err(|error| format!("the platform {platform:?}: {error}"))?;
        Ok(Self { platform, source: Source::parse(source)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form() {
        for (text, platform, source) in [
            ("linux/arm64=docker://quay.io/a/b:v1", "linux/arm64", "docker://quay.io/a/b:v1"),
            ("aarch64=oci-archive:/w/x.tar", "linux/arm64", "oci-archive:/w/x.tar"),
            ("amd64=oci:layout", "linux/amd64", "oci:layout"),
            ("amd64=docker-archive:./x y.tar", "linux/amd64", "docker-archive:./x y.tar"),
            ("amd64=archive:a=b:c", "linux/amd64", "archive:a=b:c"),
        ] {
            let wanted = Wanted::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(
                (wanted.platform.to_string(), wanted.source.to_string()),
                (platform.into(), source.into())
            );
        }
    }

    #[test]
    fn a_name_may_follow_a_path_that_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.tar");
        std::fs::write(&path, "").unwrap();
        let named = format!("docker-archive:{}:localhost:5000/app:v1", path.display());
        let Ok(Source::Archive(place)) = Source::parse(&named) else { panic!("no archive") };
        assert_eq!(place.image.as_deref(), Some("localhost:5000/app:v1"));
        let named = format!("oci-archive:{}:v1", path.display());
        let Ok(Source::Archive(place)) = Source::parse(&named) else { panic!("no archive") };
        assert_eq!((place.path.as_path(), place.image.as_deref()), (path.as_path(), Some("v1")));
        std::fs::write(dir.path().join("x.tar:v1"), "").unwrap();
        let Ok(Source::Archive(place)) = Source::parse(&named) else { panic!("no archive") };
        assert_eq!(place.image, None, "the whole path is there");
    }

    #[test]
    fn says_what_to_write() {
        for (text, part) in [
            ("docker://quay.io/a", "is not PLATFORM=SOURCE"),
            ("linux/amd65=docker://quay.io/a", "linux/amd65"),
            ("amd64=quay.io/a", "write docker://"),
            ("amd64=dir:/x", "write docker://"),
            ("amd64=oci:", "names no path"),
            ("amd64=docker://Quay.io/A", "small letters"),
        ] {
            let error = Wanted::parse(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
