//! What a node does: containerd pulls each platform of an index, and unpacks it. Needs root, as containerd does.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::support::image::Image;
use super::support::registry::{Registry, Version, push};
use super::support::{run, tool};

struct Containerd {
    child: Child,
    dir: tempfile::TempDir,
}

impl Containerd {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let config = format!(
            "version = 3\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.cri.v1.runtime\", \
             \"io.containerd.cri.v1.images\", \"io.containerd.grpc.v1.cri\", \"io.containerd.nri.v1.nri\"]\n\
             [grpc]\naddress = {:?}\n[ttrpc]\naddress = {:?}\n",
            path("root"),
            path("state"),
            path("sock"),
            path("ttrpc"),
        );
        std::fs::write(path("config.toml"), config).unwrap();
        let program: PathBuf = tool("ctr").with_file_name("containerd");
        let log = std::fs::File::create(path("log")).unwrap();
        let child = Command::new(program)
            .args(["--config", &path("config.toml")])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while !dir.path().join("sock").exists() {
            let log = std::fs::read_to_string(path("log")).unwrap();
            assert!(Instant::now() < deadline, "containerd does not listen: {log}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, dir }
    }

    #[track_caller]
    fn pull(&self, platform: &str, name: &str) -> String {
        let socket = self.dir.path().join("sock").display().to_string();
        run(tool("ctr"), &["-a", &socket, "images", "pull", "--plain-http", "--platform", platform, name])
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn every_form_is_pulled_and_unpacked() {
    let registry = Registry::plain(Version::V2);
    let containerd = Containerd::start();
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let (amd64, arm64) =
        (Image::new("linux/amd64", 1, &[50_000]), Image::new("linux/arm64", 2, &[70_000, 10]));
    let oci = |image: &Image, name: &str| format!("oci-archive:{}", image.oci_archive(&path(name)).display());
    let docker = |image: &Image, name: &str| {
        format!("docker-archive:{}", image.docker_archive(&path(name), false).display())
    };
    for (name, format, sources) in [
        ("oci:v1", "oci", [oci(&amd64, "a"), oci(&arm64, "b")]),
        ("saved:v1", "oci", [docker(&amd64, "c"), docker(&arm64, "d")]),
        ("docker:v1", "docker", [docker(&amd64, "e"), docker(&arm64, "f")]),
    ] {
        let name = registry.name(name);
        let sources = [format!("amd64={}", sources[0]), format!("arm64={}", sources[1])];
        let digest = push(&registry, &["--format", format, &name, &sources[0], &sources[1]]).digest();
        for platform in ["linux/amd64", "linux/arm64"] {
            let said = containerd.pull(platform, &name);
            assert!(said.contains("Pull") || said.contains(&digest), "{said}");
        }
    }
}
