//! Through a proxy that wants a login, to a registry that can be reached in no other way.

use super::support::forward::{ForwardProxy, NAME};
use super::support::image::archive;
use super::support::pki::pki;
use super::support::registry::{Auth, PASSWORD, Registry, USER, Version};
use super::support::{Said, archfan, said};

/// The registry's name as the proxy knows it.
fn behind(registry: &Registry) -> String {
    registry.address.replace("127.0.0.1", NAME)
}

fn push(variable: &str, proxy: &str, args: &[&str]) -> Said {
    let mut command = archfan();
    for name in [
        "HTTPS_PROXY",
        "https_proxy",
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
        "all_proxy",
        "NO_PROXY",
        "no_proxy",
    ] {
        command.env_remove(name);
    }
    said(command.env(variable, proxy).args(["index", "push"]).args(args).output().expect("archfan starts"))
}

#[test]
fn tls_goes_through_a_tunnel() {
    let registry = Registry::start(Version::V2, true, Auth::Basic);
    let proxy = ForwardProxy::start();
    let dir = tempfile::tempdir().unwrap();
    let (_, source) = archive(dir.path(), "linux/amd64", 1, &[300_000, 70]);
    let host = behind(&registry);
    let target = format!("{host}/team/app:v1");
    let logins = dir.path().join("config.json");
    let login = format!(r#"{{"auths":{{"{host}":{{"username":"{USER}","password":"{PASSWORD}"}}}}}}"#);
    std::fs::write(&logins, login).unwrap();
    let authority = pki().authority();
    let args = ["--ca", &authority, "--authfile", logins.to_str().unwrap(), &target, &source];
    push("HTTPS_PROXY", &proxy.url(), &args).digest();
    let asked = proxy.asked();
    assert!(!asked.is_empty() && asked.iter().all(|line| *line == format!("CONNECT {host}")), "{asked:?}");
    registry.pull_all("team/app:v1");

    let refused = push("HTTPS_PROXY", &proxy.url_without_login(), &args);
    refused.refused(refused.code, &[&host, "proxy"]);
    assert_ne!(refused.code, 0);
}

#[test]
fn plain_http_is_asked_of_the_proxy() {
    let registry = Registry::plain(Version::V3);
    let proxy = ForwardProxy::start();
    let dir = tempfile::tempdir().unwrap();
    let (_, source) = archive(dir.path(), "linux/arm64", 2, &[90_000]);
    let host = behind(&registry);
    let target = format!("{host}/team/app:v1");
    push("ALL_PROXY", &proxy.url(), &["--insecure", &target, &source]).digest();
    let asked = proxy.asked();
    let put = format!("PUT http://{host}/v2/team/app/manifests/v1");
    assert!(asked.contains(&put), "{asked:?}");
    registry.pull_all("team/app:v1");
}
