//! The configuration of an image, and whether it is for the platform that was asked for.

use serde::Deserialize;

use super::document::PlatformFields;
use crate::core::platform::Platform;

/// What an image says of itself (image-spec, config.md).
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Config {
    #[serde(default)]
    architecture: Option<String>,
    #[serde(default)]
    os: Option<String>,
    #[serde(default)]
    variant: Option<String>,
    #[serde(rename = "os.version", default)]
    os_version: Option<String>,
    #[serde(rename = "os.features", default)]
    os_features: Option<Vec<String>>,
    #[serde(default)]
    rootfs: Option<RootFs>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Option<Vec<String>>,
}

impl Config {
    /// Reads a configuration.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| format!("no configuration of an image: {error}"))
    }

    /// The digests of the uncompressed layers, lowest first.
    pub(crate) fn diff_ids(&self) -> &[String] {
        self.rootfs.as_ref().and_then(|rootfs| rootfs.diff_ids.as_deref()).unwrap_or_default()
    }

    /// The platform as the configuration writes it: `linux/amd64`.
    pub(crate) fn platform_text(&self) -> String {
        let mut text = format!(
            "{}/{}",
            self.os.as_deref().filter(|s| !s.is_empty()).unwrap_or("?"),
            self.architecture.as_deref().filter(|s| !s.is_empty()).unwrap_or("?")
        );
        if let Some(variant) = self.variant.as_deref().filter(|variant| !variant.is_empty()) {
            text.push('/');
            text.push_str(variant);
        }
        text
    }

    /// Checks that the image is for `asked` and gives what stands in the index: the platform in containerd's normal form, with
    /// what else the configuration says about the system that it needs.
    ///
    /// The operating system and the architecture must be those asked for. A variant in the configuration must be too; one that the
    /// configuration leaves out is taken from what was asked, as builders rarely write it.
    pub(crate) fn check(&self, asked: &Platform) -> Result<PlatformFields, String> {
        let silent = |field: &Option<String>| field.as_deref().is_none_or(str::is_empty);
        if silent(&self.os) || silent(&self.architecture) {
            return Err(format!(
                "{asked} was asked for, but the image's configuration names no platform; build it with a builder that sets \
                 os and architecture"
            ));
        }
        let found = Platform::parse(&self.platform_text());
        let same = found.as_ref().is_ok_and(|found| {
            found == asked
                || (silent(&self.variant) && found.os() == asked.os() && found.arch() == asked.arch())
        });
        if !same {
            let found = found.map_or_else(|_| self.platform_text(), |found| found.to_string());
            return Err(format!(
                "{asked} was asked for, but the image is {found}; it was built on or for another architecture than it should"
            ));
        }
        Ok(PlatformFields {
            architecture: asked.arch().to_owned(),
            os: asked.os().to_owned(),
            os_features: self.os_features.clone().unwrap_or_default(),
            os_version: self.os_version.clone().unwrap_or_default(),
            variant: asked.variant().to_owned(),
        })
    }
}

/// Whether the `platform` of an index' entry can be what was asked for: what picks an image out of an index before its
/// configuration is read.
pub(crate) fn may_be(fields: &PlatformFields, asked: &Platform) -> bool {
    let text = if fields.variant.is_empty() {
        format!("{}/{}", fields.os, fields.architecture)
    } else {
        format!("{}/{}/{}", fields.os, fields.architecture, fields.variant)
    };
    Platform::parse(&text).is_ok_and(|found| {
        found == *asked
            || (fields.variant.is_empty() && found.os() == asked.os() && found.arch() == asked.arch())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_platform_asked_for_is_taken() {
        for (asked, text, variant) in [
            ("linux/amd64", r#"{"os":"linux","architecture":"amd64"}"#, ""),
            ("linux/arm64", r#"{"os":"linux","architecture":"arm64","variant":"v8"}"#, ""),
            ("linux/arm/v7", r#"{"os":"linux","architecture":"arm","variant":"v7"}"#, "v7"),
            ("linux/arm/v6", r#"{"os":"linux","architecture":"arm"}"#, "v6"),
            ("linux/amd64/v3", r#"{"os":"linux","architecture":"amd64","variant":""}"#, "v3"),
        ] {
            let fields = config(text).check(&Platform::parse(asked).unwrap()).unwrap();
            assert_eq!(fields.variant, variant, "{asked}");
        }
    }

    #[test]
    fn another_platform_is_refused_and_both_are_named() {
        for (asked, text, parts) in [
            ("linux/arm64", r#"{"os":"linux","architecture":"amd64"}"#, ["linux/arm64", "linux/amd64"]),
            ("linux/amd64", r#"{"os":"windows","architecture":"amd64"}"#, ["linux/amd64", "windows/amd64"]),
            ("linux/arm/v7", r#"{"os":"linux","architecture":"arm","variant":"v6"}"#, ["arm/v7", "arm/v6"]),
            (
                "linux/amd64",
                r#"{"os":"linux","architecture":"amd64","variant":"v3"}"#,
                ["linux/amd64", "amd64/v3"],
            ),
            ("linux/amd64", r#"{"os":"linux","architecture":"quantum"}"#, ["linux/amd64", "linux/quantum"]),
            ("linux/amd64", r#"{"os":"linux","architecture":null}"#, ["linux/amd64", "names no platform"]),
            ("linux/amd64", "{}", ["linux/amd64", "names no platform"]),
        ] {
            let error = config(text).check(&Platform::parse(asked).unwrap()).expect_err(text);
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
    }

    #[test]
    fn what_windows_needs_is_kept() {
        let text =
            r#"{"os":"windows","architecture":"amd64","os.version":"10.0.20348.1","os.features":["win32k"]}"#;
        let fields = config(text).check(&Platform::parse("windows/amd64").unwrap()).unwrap();
        assert_eq!(fields.os_version, "10.0.20348.1");
        assert_eq!(fields.os_features, ["win32k"]);
    }
}
