//! None of the YAML that people are shown may rot: all of it passes `archfan validate`, and the cluster's own admission.

use std::path::{Path, PathBuf};

use archfan_e2e::cluster::root;
use archfan_e2e::documents::{self, Written};
use archfan_e2e::{Namespace, program};
use tokio::process::Command;

/// Writes each document into a file whose name says where it comes from.
fn write(folder: &Path, documents: &[Written]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for (number, written) in documents.iter().enumerate() {
        let file = folder.join(format!("{}-{number}.json", written.place.replace(['/', ':'], "_")));
        std::fs::write(&file, written.document.to_string()).expect("a file can be written");
        files.push(file);
    }
    files
}

#[tokio::test]
async fn all_yaml_is_valid() {
    let groups = documents::all();
    assert!(groups.iter().any(|(group, _)| group == "README.md"), "{groups:?}");
    let scratch = root().join(format!("target/documents-{}", std::process::id()));
    let mut problems = Vec::new();
    for (number, (group, written)) in groups.iter().enumerate() {
        let folder = scratch.join(number.to_string());
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        write(&folder, written);
        let output = Command::new(program::archfan().await)
            .args(["validate", "--filename"])
            .arg(&folder)
            .output()
            .await
            .expect("archfan can be started");
        if output.status.success() {
            continue;
        }
        // What a page says of a build's use need not be on the same page as the build.
        let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
        let alone = Path::new(group).extension().is_some_and(|extension| extension == "md");
        let ours = complaints.lines().filter(|line| !(alone && line.contains("(MultiArchBuildNotFound)")));
        problems.extend(ours.map(|line| format!("{group}: {line}")));
    }
    std::fs::remove_dir_all(&scratch).expect("a folder can be removed");
    assert!(problems.is_empty(), "archfan validate refuses:\n{}", problems.join("\n"));
}

#[tokio::test]
async fn the_cluster_admits_all_yaml() {
    let namespace = Namespace::new("documents").await;
    let scratch = root().join(format!("target/admission-{}", std::process::id()));
    std::fs::create_dir_all(&scratch).expect("a folder can be made");
    let mut command = Command::new("kubectl");
    command.args(["create", "--dry-run=server", "--validate=strict", "--output=name", "--namespace"]);
    command.arg(&namespace.name);
    let mut count = 0;
    for (_, written) in documents::all() {
        for file in write(&scratch, &written) {
            command.arg("--filename").arg(file);
            count += 1;
        }
    }
    let output = command.output().await.expect("kubectl is on the PATH");
    std::fs::remove_dir_all(&scratch).expect("a folder can be removed");
    let admitted = String::from_utf8_lossy(&output.stdout).lines().count();
    let refused = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && admitted == count, "{admitted} of {count} are admitted:\n{refused}");
    namespace.done().await;
}

/// What the READMEs of the examples say of lines is what `examples/before.tsv` and the examples' own files say.
#[test]
fn the_examples_count_right() {
    let before = std::fs::read_to_string(root().join("examples/before.tsv")).expect("examples/before.tsv");
    let rows: Vec<Vec<&str>> =
        before.lines().filter(|line| !line.starts_with('#')).map(|line| line.split('\t').collect()).collect();
    assert_eq!(rows.len(), 7);
    for row in rows {
        let folder = root().join("examples").join(row[0]);
        let now: usize = std::fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
            .map(|path| {
                let text = std::fs::read_to_string(&path).expect("a YAML file");
                text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).count()
            })
            .sum();
        let readme = std::fs::read_to_string(folder.join("README.md")).expect("a README");
        let said = readme
            .lines()
            .find(|line| line.starts_with("| lines of YAML"))
            .unwrap_or_else(|| panic!("the README of {} does not say how many lines", row[0]));
        let numbers: Vec<&str> = said
            .split('|')
            .skip(2)
            .map(|cell| cell.trim().split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default())
            .collect();
        assert_eq!(numbers[..2], [row[1], &now.to_string()], "{}: {said}", row[0]);
    }
}
