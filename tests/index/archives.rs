//! Indexes of images in files and folders.

use super::support::image::{DOCKER_MANIFEST, Image, archive, compress, digest};
use super::support::registry::{Registry, Version, push};

#[test]
fn every_form_gives_the_same_index() {
    let registry = Registry::plain(Version::V2);
    let dir = tempfile::tempdir().unwrap();
    let image = Image::new("linux/arm64", 5, &[300_000, 1000]);
    let tar = image.oci_archive(&dir.path().join("x.tar"));
    image.layout(&dir.path().join("layout"));
    let bytes = std::fs::read(&tar).unwrap();
    // Names say nothing: compression is told by content.
    std::fs::write(dir.path().join("gzip.tar"), compress(&bytes)).unwrap();
    super::support::run(
        "zstd",
        &["-q", "-19", tar.to_str().unwrap(), "-o", dir.path().join("zstd.tar").to_str().unwrap()],
    );
    let mut digests = Vec::new();
    for (n, source) in [
        "oci-archive:x.tar",
        "oci-archive:gzip.tar",
        "oci-archive:zstd.tar",
        "oci:layout",
        "archive:layout",
        "archive:zstd.tar",
    ]
    .iter()
    .enumerate()
    {
        let (form, file) = source.split_once(':').unwrap();
        let source = format!("arm64={form}:{}", dir.path().join(file).display());
        let name = format!("app{n}:v1");
        digests.push(push(&registry, &[&registry.name(&name), &source]).digest());
        registry.pull_all(&name);
    }
    digests.dedup();
    assert_eq!(digests.len(), 1);
}

#[test]
fn docker_archives_are_pushed_as_they_are() {
    let registry = Registry::plain(Version::V3);
    let dir = tempfile::tempdir().unwrap();
    let image = Image::new("linux/amd64", 6, &[300_000, 1000]);
    let plain = image.docker_archive(&dir.path().join("plain.tar"), false);
    let inside = image.docker_archive(&dir.path().join("inside.tar"), true);
    let packed = |path: &std::path::Path| {
        let to = path.with_extension("gz");
        std::fs::write(&to, compress(&std::fs::read(path).unwrap())).unwrap();
        to
    };
    let digests = [&plain, &packed(&plain), &inside, &packed(&inside)].map(|path| {
        let source = format!("amd64=docker-archive:{}", path.display());
        let name = format!("{}:v1", path.file_name().unwrap().to_str().unwrap());
        let digest = push(&registry, &[&registry.name(&name), &source]).digest();
        registry.pull_all(&name);
        if name.starts_with("inside") {
            // crane cannot read layers that are not compressed, even where it wrote them itself.
            registry.crane(&["validate", "--remote", &registry.name(&name)]);
        }
        digest
    });
    assert_eq!(digests[0], digests[1], "the same image, however its archive is compressed");
    assert_eq!(digests[2], digests[3]);
    assert_ne!(digests[0], digests[2], "its layers are other blobs");
    let source = format!("amd64=docker-archive:{}", plain.display());
    push(&registry, &["--format", "docker", &registry.name("docker:v1"), &source]).digest();
    assert!(registry.raw("docker:v1").contains(DOCKER_MANIFEST));
    registry.pull_all("docker:v1");
    push(&registry, &[&registry.name("docker:v2"), &format!("{source}:app:v9")])
        .refused(4, &["app:v9", "localhost/app:v1"]);
    push(&registry, &[&registry.name("docker:v2"), &format!("{source}:localhost/app:v1")]).digest();
}

#[test]
fn what_is_there_is_not_sent_again() {
    let registry = Registry::plain(Version::V2);
    let dir = tempfile::tempdir().unwrap();
    let (_, source) = archive(dir.path(), "linux/amd64", 7, &[300_000, 500_000]);
    let first = push(&registry, &[&registry.name("app:v1"), &source]);
    assert_eq!(first.stderr.matches("sent in").count(), 3, "{}", first.stderr);
    let again = push(&registry, &[&registry.name("app:v2"), &source]);
    assert_eq!(again.digest(), first.digest());
    assert!(!again.stderr.contains("sent in"), "{}", again.stderr);
}

/// Each kind of damage is named, with the archive and what in it; the tag stays as it was.
#[test]
fn damage_is_named_and_nothing_is_tagged() {
    let registry = Registry::plain(Version::V2);
    let dir = tempfile::tempdir().unwrap();
    let image = Image::new("linux/amd64", 8, &[500_000, 700_000]);
    let tar = image.oci_archive(&dir.path().join("x.tar"));
    let whole = std::fs::read(&tar).unwrap();
    let place = |wanted: &[u8]| whole.windows(64).position(|window| window == &wanted[..64]).unwrap();
    let layer = place(&image.layers[1][1000..]);
    let (good, good_source) = archive(dir.path(), "linux/arm64", 9, &[10]);
    let old = push(&registry, &[&registry.name("app:v1"), &good_source]).digest();
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let index_at = whole.windows(9).position(|window| window == b"manifests").unwrap();
    let cases: Vec<(&str, Vec<u8>, Vec<String>)> = vec![
        ("layer", flipped(layer), vec![digest(&image.layers[1]), "is damaged".into()]),
        (
            "cut-in-layer",
            whole[..layer].to_vec(),
            vec!["in the middle of blobs/sha256/".into(), "was not written to its end".into()],
        ),
        ("cut-before-index", whole[..index_at - 1400].to_vec(), vec![String::new()]),
        ("empty", Vec::new(), vec!["it is empty".into()]),
        ("text", b"hello, world".repeat(100), vec!["no tar file".into()]),
        ("config", flipped(place(&image.config)), vec![String::new()]),
        ("gzip-cut", compress(&whole)[..200_000].to_vec(), vec!["not written to its end".into()]),
        ("gzip-layer", compress(&flipped(layer)), vec![digest(&image.layers[1]), "is damaged".into()]),
    ];
    for (what, bytes, words) in cases {
        let path = dir.path().join(format!("{what}.tar"));
        std::fs::write(&path, bytes).unwrap();
        let source = format!("amd64=oci-archive:{}", path.display());
        let said = push(&registry, &[&registry.name("app:v1"), &source, &good_source]);
        let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
        words.push(path.to_str().unwrap());
        said.refused(4, &words);
        let index = registry.raw("app:v1");
        assert_eq!(digest(index.as_bytes()), old, "{what}: the tag moved");
        assert!(index.contains(&good.digest()));
    }
    push(&registry, &[&registry.name("app:v1"), "amd64=oci-archive:/nonexistent/x.tar"])
        .refused(4, &["/nonexistent/x.tar", "No such file"]);
}

#[test]
fn links_in_archives_are_not_followed() {
    let registry = Registry::plain(Version::V2);
    let dir = tempfile::tempdir().unwrap();
    let image = Image::new("linux/amd64", 10, &[1000]);
    let layout = dir.path().join("layout");
    image.layout(&layout);
    let blob = layout.join("blobs/sha256").join(&digest(&image.layers[0])[7..]);
    let outside = dir.path().join("outside");
    std::fs::rename(&blob, &outside).unwrap();
    std::os::unix::fs::symlink(&outside, &blob).unwrap();
    push(&registry, &[&registry.name("app:v1"), &format!("amd64=oci:{}", layout.display())])
        .refused(4, &["is a link", "not followed"]);
    // The same in a tar file: the link's target is never looked at.
    let tar = dir.path().join("x.tar");
    let mut builder = tar::Builder::new(std::fs::File::create(&tar).unwrap());
    builder.follow_symlinks(false);
    builder.append_dir_all(".", &layout).unwrap();
    builder.finish().unwrap();
    push(&registry, &[&registry.name("app:v1"), &format!("amd64=oci-archive:{}", tar.display())])
        .refused(4, &["is a link"]);
}

/// Of a plain archive each byte is read once; of a compressed one twice.
#[test]
fn bytes_are_read_as_rarely_as_can_be() {
    let registry = Registry::plain(Version::V2);
    let dir = tempfile::tempdir().unwrap();
    let (_, source) = archive(dir.path(), "linux/amd64", 11, &[8_000_000, 3_000_000]);
    let plain = source.split_once("oci-archive:").unwrap().1.to_owned();
    let packed = dir.path().join("packed.tar.gz");
    std::fs::write(&packed, compress(&std::fs::read(&plain).unwrap())).unwrap();
    for (path, name, times) in [(plain.as_str(), "plain:v1", 1), (packed.to_str().unwrap(), "packed:v1", 2)] {
        let traces = dir.path().join(format!("traces{times}"));
        std::fs::create_dir(&traces).unwrap();
        let trace = traces.join("t");
        let output = std::process::Command::new("strace")
            .args([
                "-ff",
                "-qq",
                "-y",
                "-e",
                "trace=read,pread64,readv,preadv,lseek",
                "-o",
                trace.to_str().unwrap(),
            ])
            .args([env!("CARGO_BIN_EXE_archfan"), "index", "push", "--insecure", &registry.name(name)])
            .arg(format!("amd64=oci-archive:{path}"))
            .output()
            .expect("strace is needed by this test");
        super::support::said(output).digest();
        // A file for each thread, so that no line is broken by another.
        let text: String = std::fs::read_dir(&traces)
            .unwrap()
            .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
            .collect();
        let read: u64 = text
            .lines()
            .filter(|line| line.contains(path) && !line.contains("lseek"))
            .filter_map(|line| line.rsplit_once("= ")?.1.trim().parse::<u64>().ok())
            .sum();
        let size = std::fs::metadata(path).unwrap().len();
        assert!(read <= size * times + 8, "{name}: {read} bytes of {size} were read");
        assert!(
            read >= size * times * 9 / 10,
            "{name}: the trace shows {read} of {size}, so it shows too little"
        );
    }
}
