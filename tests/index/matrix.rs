//! Every registry with every way to let one in, over TLS: from archives, across repositories, from digests, and read back.

use super::support::image::archive;
use super::support::registry::{Auth, Registry, Version, push};

fn whole_way(version: Version, auth: Auth) {
    let registry = Registry::start(version, true, auth);
    let dir = tempfile::tempdir().unwrap();
    let (amd64, source_amd64) = archive(dir.path(), "linux/amd64", 1, &[400_000, 3000]);
    let (arm64, source_arm64) = archive(dir.path(), "linux/arm64", 2, &[700_000]);
    let target = registry.name("team/app:v1");
    let first = push(&registry, &["--tag", "latest", &target, &source_amd64, &source_arm64]).digest();
    registry.pull_all("team/app:v1");
    let index = registry.raw("team/app:latest");
    assert!(index.contains(&amd64.digest()) && index.contains(&arm64.digest()), "{index}");
    assert_eq!(registry.crane(&["digest", &target]).trim(), first);
    registry.crane(&["validate", "--remote", &target]);

    // Across repositories, by mounts; then inside one, where nothing moves: always the same bytes.
    for (name, from) in
        [("team/other:v2", "team/app"), ("team/other:v3", "team/other"), ("else/where:v1", "team/other")]
    {
        let sources = [("linux/amd64", &amd64), ("linux/arm64", &arm64)].map(|(platform, image)| {
            format!("{platform}=docker://{}@{}", registry.name(from), image.digest())
        });
        let said = push(&registry, &[&registry.name(name), &sources[0], &sources[1]]);
        assert_eq!(said.digest(), first, "{name}");
        assert!(!said.stderr.contains("sent"), "nothing is sent twice:\n{}", said.stderr);
        registry.pull_all(name);
    }
    let inspected = {
        let mut args = vec!["inspect".to_owned(), "--output".to_owned(), "json".to_owned()];
        args.extend(registry.args());
        args.push(target.clone());
        super::support::index(&args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let report: serde_json::Value = serde_json::from_str(&inspected.stdout).expect(&inspected.stderr);
    assert_eq!(report["digest"], first.as_str());
    assert_eq!(report["images"][1]["platform"], "linux/arm64");
    assert_eq!(report["images"][0]["layers"], 2);
}

macro_rules! matrix {
    ($($name:ident: $version:ident, $auth:ident;)+) => {
        $(#[test]
        fn $name() {
            whole_way(Version::$version, Auth::$auth);
        })+
    };
}

matrix! {
    v2_without_login: V2, None;
    v2_with_a_basic_login: V2, Basic;
    v2_with_tokens: V2, Token;
    v3_without_login: V3, None;
    v3_with_a_basic_login: V3, Basic;
    v3_with_tokens: V3, Token;
}

#[test]
fn an_identity_token_stands_for_a_password() {
    let registry = Registry::start(Version::V3, true, Auth::Token);
    let dir = tempfile::tempdir().unwrap();
    let (_, source) = archive(dir.path(), "linux/amd64", 6, &[5000]);
    let authority = super::support::pki::pki().authority();
    let push = |token: &str, tag: &str| {
        let logins = dir.path().join("config.json");
        let login = format!(r#"{{"auths":{{"{}":{{"identitytoken":"{token}"}}}}}}"#, registry.address);
        std::fs::write(&logins, login).unwrap();
        let (target, logins) = (registry.name(tag), logins.to_str().unwrap().to_owned());
        super::support::index(&["push", "--ca", &authority, "--authfile", &logins, &target, &source])
    };
    push(super::support::token::IDENTITY, "team/app:v1").digest();
    registry.pull_all("team/app:v1");
    push("another", "team/app:v2").refused(3, &[&registry.address, "incorrect username or password"]);
}

#[test]
fn between_registries_everything_is_copied_once() {
    let (from, to) =
        (Registry::start(Version::V2, false, Auth::None), Registry::start(Version::V3, false, Auth::None));
    let dir = tempfile::tempdir().unwrap();
    let (amd64, source) = archive(dir.path(), "linux/amd64", 3, &[600_000, 20]);
    let first = push(&from, &[&from.name("a/b:v1"), &source]).digest();
    let remote = format!("linux/amd64=docker://{}@{}", from.name("a/b"), amd64.digest());
    let said = push(&to, &[&to.name("c/d:v1"), &remote]);
    assert_eq!(said.digest(), first);
    assert_eq!(said.stderr.matches("sent in").count(), 3, "{}", said.stderr);
    to.pull_all("c/d:v1");
    let again = push(&to, &[&to.name("c/d:v2"), &remote]);
    assert_eq!(again.digest(), first);
    assert!(!again.stderr.contains("sent in"), "{}", again.stderr);
}

#[test]
fn logins_and_authorities_that_are_wrong_are_named() {
    let registry = Registry::start(Version::V2, true, Auth::Basic);
    let tokens = Registry::start(Version::V2, true, Auth::Token);
    let authority = super::support::pki::pki().authority();
    for (registry, what) in [(&registry, "401"), (&tokens, "incorrect username or password")] {
        let name = registry.name("team/app:v1");
        let source = format!("amd64=docker://{name}");
        let push = |args: &[&str]| super::support::index(&[&["push", &name, &source], args].concat());
        push(&[]).refused(1, &[&registry.address, "UnknownIssuer", "--ca"]);
        push(&["--ca", &authority]).refused(3, &[&registry.address, "no login was shown", "--authfile"]);
        let wrong = registry.login("robot", "wrong");
        push(&["--ca", &authority, "--authfile", &wrong]).refused(3, &[&registry.address, what, &wrong]);
        let folder = super::support::pki::folder();
        let right = registry.login("robot", super::support::registry::PASSWORD);
        push(&["--ca", folder.to_str().unwrap(), "--authfile", &right])
            .refused(4, &["MANIFEST_UNKNOWN", "was it pushed there"]);
        push(&["--insecure", "--authfile", &right]).refused(4, &["MANIFEST_UNKNOWN"]);
    }
}

#[test]
fn logins_and_authorities_come_from_the_environment() {
    let registry = Registry::start(Version::V3, true, Auth::Basic);
    let dir = tempfile::tempdir().unwrap();
    let (_, source) = archive(dir.path(), "linux/amd64", 4, &[1000]);
    let login = registry.login("robot", super::support::registry::PASSWORD);
    // A helper in PATH, as a cloud's registry has one.
    let program = dir.path().join("docker-credential-test");
    let answer = format!(r#"{{"Username":"robot","Secret":"{}"}}"#, super::support::registry::PASSWORD);
    std::fs::write(&program, format!("#!/bin/sh\ntest \"$1\" = get && cat >/dev/null && echo '{answer}'\n"))
        .unwrap();
    super::support::run("chmod", &["+x", program.to_str().unwrap()]);
    let helped = dir.path().join("helped.json");
    std::fs::write(&helped, format!(r#"{{"credHelpers":{{"{}":"test"}}}}"#, registry.address)).unwrap();
    let docker = dir.path().join("docker");
    std::fs::create_dir(&docker).unwrap();
    std::fs::copy(&login, docker.join(".dockerconfigjson")).unwrap();
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let folder = format!("/nonexistent:{}", super::support::pki::folder().display());
    let envs: [&[(&str, &str)]; 4] = [
        &[("REGISTRY_AUTH_FILE", &login), ("SSL_CERT_DIR", &folder)],
        &[("DOCKER_CONFIG", docker.to_str().unwrap()), ("SSL_CERT_DIR", &folder)],
        &[
            ("DOCKER_CONFIG", docker.to_str().unwrap()),
            ("SSL_CERT_FILE", &super::support::pki::pki().authority()),
        ],
        &[("REGISTRY_AUTH_FILE", helped.to_str().unwrap()), ("PATH", &path), ("SSL_CERT_DIR", &folder)],
    ];
    for env in envs {
        let mut command = super::support::archfan();
        command.envs(env.iter().copied()).args(["index", "push", &registry.name("a:v1"), &source]);
        super::support::said(command.output().unwrap()).digest();
    }
}

#[test]
fn a_certificate_that_is_its_own_authority_is_taken_if_it_is_given() {
    let registry = Registry::with_certificate(Version::V2, true, Auth::None, "own");
    let dir = tempfile::tempdir().unwrap();
    let (_, source) = archive(dir.path(), "linux/amd64", 5, &[1000]);
    let own = super::support::pki::pki().path("own.crt");
    let name = registry.name("app:v1");
    let push =
        |target: &str, args: &[&str]| super::support::index(&[&["push", target, &source], args].concat());
    push(&name, &["--ca", own.to_str().unwrap()]).digest();
    push(&name, &["--ca", &super::support::pki::pki().authority()]).refused(1, &["invalid peer certificate"]);
    // For its own name only.
    let other = name.replace("127.0.0.1", "localhost");
    push(&other, &["--ca", own.to_str().unwrap()]).refused(1, &["not valid for name"]);
}
