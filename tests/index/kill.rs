//! Killed at any moment: the tag is always whole, old or new, and running again finishes.

use std::process::{Command, Stdio};
use std::time::Instant;

use super::support::image::{archive, digest, noise};
use super::support::registry::{Registry, Version, push};

/// How often each way is killed.
const KILLS: u64 = 50;

/// Kills a push at moments spread over its usual time, and checks the tag after each.
fn killed(
    registry: &Registry,
    name: &str,
    sources: &[&str],
    old: &str,
    prepare: impl Fn(u64) -> Vec<String>,
) {
    let mut outcomes = [0, 0];
    // How long a push takes here, from one that is left alone.
    let fresh = prepare(0);
    let started = Instant::now();
    let target = registry.name(&format!("{name}:probe"));
    let args: Vec<&str> = [target.as_str()]
        .into_iter()
        .chain(sources.iter().copied())
        .chain(fresh.iter().map(String::as_str))
        .collect();
    push(registry, &args).digest();
    let usual = started.elapsed();
    for round in 1..=KILLS {
        let fresh = prepare(round);
        let target = registry.name(&format!("{name}:v1"));
        let all: Vec<&str> = sources.iter().copied().chain(fresh.iter().map(String::as_str)).collect();
        let seed = noise(round, 8).iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        let moment = usual.mul_f64(f64::from(u32::try_from(seed % 1200).unwrap()) / 1000.0);
        let mut child = Command::new(env!("CARGO_BIN_EXE_archfan"))
            .args(["index", "push", "--insecure", &target])
            .args(&all)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(moment);
        let _ = child.kill();
        child.wait().unwrap();
        // Whole: skopeo reads every manifest and every blob, and checks each digest.
        let found = digest(registry.raw(&format!("{name}:v1")).as_bytes());
        registry.pull_all(&format!("{name}:v1"));
        outcomes[usize::from(found != old)] += 1;
        let args: Vec<&str> = [target.as_str()].into_iter().chain(all.iter().copied()).collect();
        let new = push(registry, &args).digest();
        assert!(found == old || found == new, "round {round}: the tag is neither old nor new: {found}");
        assert_eq!(digest(registry.raw(&format!("{name}:v1")).as_bytes()), new, "running again finishes");
        // Back to the old one, for the next round.
        let bytes = registry.raw(&format!("{name}@{old}"));
        put_tag(registry, name, &bytes);
    }
    println!("{name}: {KILLS} kills, the tag was old after {} and new after {}", outcomes[0], outcomes[1]);
    assert!(outcomes[0] > 0, "no kill came before the tag moved: the moments are badly chosen");
}

fn put_tag(registry: &Registry, name: &str, bytes: &str) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    super::support::run(
        "curl",
        &[
            "-sf",
            "-X",
            "PUT",
            "-H",
            "Content-Type: application/vnd.oci.image.index.v1+json",
            "--data-binary",
            &format!("@{}", file.path().display()),
            &format!("http://{}/v2/{name}/manifests/v1", registry.address),
        ],
    );
}

#[test]
fn from_archives() {
    let registry = Registry::plain(Version::V2);
    let dir = tempfile::tempdir().unwrap();
    let (_, source) = archive(dir.path(), "linux/amd64", 1, &[10_000]);
    let old = push(&registry, &[&registry.name("app:v1"), &source]).digest();
    killed(&registry, "app", &[&source], &old, |round| {
        // New layers each time, or there would be nothing to send.
        vec![archive(dir.path(), "linux/arm64", 1000 + round, &[2_000_000, 1_000_000, 500_000]).1]
    });
}

#[test]
fn from_digests() {
    let registry = Registry::plain(Version::V3);
    let dir = tempfile::tempdir().unwrap();
    let (amd64, source) = archive(dir.path(), "linux/amd64", 1, &[10_000]);
    let old = push(&registry, &[&registry.name("app:v1"), &source]).digest();
    let amd64 = format!("amd64=docker://{}@{}", registry.name("app"), amd64.digest());
    killed(&registry, "app", &[&amd64], &old, |round| {
        // Built in a repository of its own, so that there are mounts to interrupt.
        let (image, source) = archive(dir.path(), "linux/arm64", 2000 + round, &[20_000, 1000]);
        let build = registry.name(&format!("build{round}:x"));
        push(&registry, &[&build, &source]).digest();
        vec![format!("arm64=docker://{}@{}", registry.name(&format!("build{round}")), image.digest())]
    });
}
