//! Indexes of images that are at registries already.

use serde_json::{Value, json};

use super::support::image::{DOCKER_MANIFEST, Image, OCI_INDEX, OCI_MANIFEST, archive, digest, layout, pack};
use super::support::registry::{Registry, Version, push};

fn plain() -> Registry {
    Registry::plain(Version::V2)
}

/// Pushes one image by itself, as a build would, and gives its source.
fn built(registry: &Registry, repository: &str, image: &Image) -> String {
    let dir = tempfile::tempdir().unwrap();
    image.layout(dir.path());
    let name = registry.name(repository);
    super::support::run(
        "skopeo",
        &[
            "copy",
            "-q",
            "--preserve-digests",
            "--dest-tls-verify=false",
            &format!("oci:{}", dir.path().display()),
            &format!("docker://{name}:{}", &image.digest()[7..19]),
        ],
    );
    format!("docker://{name}@{}", image.digest())
}

#[test]
fn another_platform_is_refused_and_nothing_is_tagged() {
    let registry = plain();
    let amd64 = built(&registry, "app", &Image::new("linux/amd64", 1, &[10]));
    let v6 = built(&registry, "app", &Image::new("linux/arm/v6", 2, &[10]));
    let said = push(
        &registry,
        &[
            &registry.name("app:v1"),
            &format!("arm64={amd64}"),
            &format!("linux/arm/v7={v6}"),
            &format!("amd64={amd64}"),
        ],
    );
    said.refused(
        4,
        &[
            "linux/arm64 was asked for, but the image is linux/amd64",
            "linux/arm/v7",
            "linux/arm/v6",
            "@sha256:",
        ],
    );
    let tags = super::support::run("curl", &["-s", &format!("http://{}/v2/app/tags/list", registry.address)]);
    assert!(!tags.contains("\"v1\""), "{tags}");
}

#[test]
fn the_order_of_arguments_is_the_order_of_the_index() {
    let registry = plain();
    let amd64 = format!("amd64={}", built(&registry, "app", &Image::new("linux/amd64", 1, &[10])));
    let arm64 = format!("arm64={}", built(&registry, "app", &Image::new("linux/arm64", 2, &[10])));
    let one = push(&registry, &[&registry.name("app:v1"), &amd64, &arm64]).digest();
    assert_eq!(push(&registry, &["--jobs", "1", &registry.name("app:v2"), &amd64, &arm64]).digest(), one);
    assert_ne!(push(&registry, &[&registry.name("app:v3"), &arm64, &amd64]).digest(), one);
    let annotated =
        push(&registry, &["--annotation", "a=b", &registry.name("app:v4"), &amd64, &arm64]).digest();
    assert_ne!(annotated, one);
    let index: Value = serde_json::from_str(&registry.raw("app:v4")).unwrap();
    assert_eq!(index["annotations"], json!({"a": "b"}));
}

#[test]
fn docker_images_make_a_docker_list_and_mixed_ones_an_oci_index() {
    let registry = plain();
    let dir = tempfile::tempdir().unwrap();
    let docker = Image::of_type("linux/amd64", 1, &[10], DOCKER_MANIFEST);
    layout(
        dir.path(),
        &[&docker],
        &[json!({"mediaType": DOCKER_MANIFEST, "digest": docker.digest(), "size": docker.manifest.len()})],
    );
    let docker = format!("amd64=oci:{}", dir.path().display());
    let oci = format!("arm64={}", built(&registry, "app", &Image::new("linux/arm64", 2, &[10])));
    let media_type = |name: &str| {
        let index: Value = serde_json::from_str(&registry.raw(name)).unwrap();
        index["mediaType"].as_str().unwrap().to_owned()
    };
    push(&registry, &[&registry.name("app:docker"), &docker]).digest();
    assert_eq!(media_type("app:docker"), "application/vnd.docker.distribution.manifest.list.v2+json");
    registry.pull_all("app:docker");
    push(&registry, &[&registry.name("app:mixed"), &docker, &oci]).digest();
    assert_eq!(media_type("app:mixed"), OCI_INDEX);
    registry.pull_all("app:mixed");
    push(&registry, &["--format", "oci", &registry.name("app:oci"), &docker]).digest();
    assert_eq!(media_type("app:oci"), OCI_INDEX);
    push(&registry, &["--format", "docker", &registry.name("app:x"), &docker, &oci])
        .refused(2, &["Docker images only", OCI_MANIFEST]);
}

/// What BuildKit pushes for one platform: an index of the image and of what it attests.
fn attested(dir: &std::path::Path, image: &Image) -> (String, Vec<u8>) {
    let statement = br#"{"_type":"https://in-toto.io/Statement/v0.1"}"#.to_vec();
    let config = json!({"architecture": "unknown", "os": "unknown", "rootfs": {"type": "layers", "diff_ids": [digest(&statement)]}});
    let config = config.to_string().into_bytes();
    let manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(&config), "size": config.len()},
        "layers": [{"mediaType": "application/vnd.in-toto+json", "digest": digest(&statement), "size": statement.len()}]});
    let attestation = Image {
        layers: vec![statement],
        tars: Vec::new(),
        config,
        manifest: manifest.to_string().into_bytes(),
    };
    let entry = |media_type: &str, bytes: &[u8]| json!({"mediaType": media_type, "digest": digest(bytes), "size": bytes.len()});
    let mut first = entry(OCI_MANIFEST, &image.manifest);
    first["platform"] = json!({"os": "linux", "architecture": "arm64"});
    let mut second = entry(OCI_MANIFEST, &attestation.manifest);
    second["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    second["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": image.digest()});
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [first, second]})
        .to_string()
        .into_bytes();
    layout(dir, &[image, &attestation], &[entry(OCI_INDEX, &index)]);
    std::fs::write(dir.join("blobs/sha256").join(&digest(&index)[7..]), &index).unwrap();
    (attestation.digest(), index)
}

#[test]
fn an_image_that_is_an_index_is_flattened_and_keeps_its_attestations() {
    let registry = plain();
    let dir = tempfile::tempdir().unwrap();
    let arm64 = Image::new("linux/arm64", 2, &[5000]);
    let (attestation, inner) = attested(&dir.path().join("layout"), &arm64);
    let tar = dir.path().join("arm64.tar");
    pack(&dir.path().join("layout"), &tar);
    let (amd64, source) = archive(dir.path(), "linux/amd64", 1, &[10]);
    let archives = [source, format!("arm64=oci-archive:{}", tar.display())];
    let first = push(&registry, &[&registry.name("app:v1"), &archives[1], &archives[0]]).digest();
    let index: Value = serde_json::from_str(&registry.raw("app:v1")).unwrap();
    let digests: Vec<&str> =
        index["manifests"].as_array().unwrap().iter().map(|m| m["digest"].as_str().unwrap()).collect();
    assert_eq!(
        digests,
        [arm64.digest(), amd64.digest(), attestation.clone()],
        "attestations come after all images"
    );
    assert_eq!(index["manifests"][2]["annotations"]["vnd.docker.reference.digest"], arm64.digest().as_str());
    registry.pull_all("app:v1");

    // The same from the registry: the build's own index is the source, here and from another repository.
    let inner_path = dir.path().join("layout");
    super::support::run(
        "skopeo",
        &[
            "copy",
            "-q",
            "--all",
            "--preserve-digests",
            "--dest-tls-verify=false",
            &format!("oci:{}", inner_path.display()),
            &format!("docker://{}", registry.name("build/arm64:x")),
        ],
    );
    let remote = format!("arm64=docker://{}@{}", registry.name("build/arm64"), digest(&inner));
    let said = push(&registry, &[&registry.name("other:v1"), &remote, &archives[0]]);
    assert_eq!(said.digest(), first);
    registry.pull_all("other:v1");
    push(
        &registry,
        &[
            &registry.name("other:v1"),
            &format!("s390x=docker://{}@{}", registry.name("build/arm64"), digest(&inner)),
        ],
    )
    .refused(4, &["linux/s390x was asked for", "only linux/arm64"]);
}

#[test]
fn results_are_written_for_tekton() {
    let registry = plain();
    let dir = tempfile::tempdir().unwrap();
    let (amd64, source) = archive(dir.path(), "linux/amd64", 1, &[10]);
    let name = registry.name("app:v1");
    let results = dir.path().to_str().unwrap();
    let digest = push(&registry, &["--results-dir", results, &name, &source]).digest();
    let read = |file: &str| std::fs::read_to_string(dir.path().join(file)).unwrap();
    assert_eq!(read("IMAGE_URL"), name);
    assert_eq!(read("IMAGE_DIGEST"), digest);
    assert_eq!(read("IMAGE_REF"), format!("{}@{digest}", registry.name("app")));
    assert_eq!(read("IMAGES"), format!("{0}@{digest},{0}@{1}", registry.name("app"), amd64.digest()));
    let pushed = read("BYTES_PUSHED");
    assert!(pushed.parse::<u64>().unwrap() > 100 && read("BYTES_SKIPPED") == "0", "{pushed}");
    let said = push(&registry, &["--results-dir", results, "--results-limit", "500", &name, &source]);
    said.digest();
    assert_eq!(read("IMAGES"), read("IMAGE_REF"));
    assert_eq!((read("BYTES_PUSHED"), read("BYTES_SKIPPED")), ("0".to_owned(), pushed), "it was all there");
    assert!(said.stderr.contains("leaves out the last 1 of 1"), "{}", said.stderr);
}

#[test]
fn a_dry_run_changes_nothing() {
    let registry = plain();
    let dir = tempfile::tempdir().unwrap();
    let (amd64, source) = archive(dir.path(), "linux/amd64", 1, &[2_000_000]);
    let said = push(&registry, &["--dry-run", &registry.name("app:v1"), &source]);
    let planned = said.digest();
    for word in ["would be sent", "MB", "would be tagged v1", "nothing was changed", &amd64.digest()] {
        assert!(said.stderr.contains(word), "{word}: {}", said.stderr);
    }
    let catalog = super::support::run("curl", &["-s", &format!("http://{}/v2/_catalog", registry.address)]);
    assert!(!catalog.contains("app"), "{catalog}");
    assert_eq!(push(&registry, &[&registry.name("app:v1"), &source]).digest(), planned);
}
