//! Certificates, made once for all tests of a run.

use std::path::PathBuf;
use std::sync::OnceLock;

use super::run;

/// An authority, and a server's key and certificate by it for the loopback addresses and a name that only a proxy knows.
pub(crate) struct Pki {
    dir: tempfile::TempDir,
}

impl Pki {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The authority's certificate, as an argument.
    pub(crate) fn authority(&self) -> String {
        self.path("ca.crt").to_str().unwrap().to_owned()
    }
}

pub(crate) fn pki() -> &'static Pki {
    static PKI: OnceLock<Pki> = OnceLock::new();
    PKI.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        let openssl = |args: &[&str]| run("openssl", args);
        let (ca_key, ca) = (path("ca.key"), path("ca.crt"));
        let mut args = vec!["req", "-x509", "-days", "2", "-subj", "/CN=archfan test authority"];
        args.extend(curve);
        args.extend(["-keyout", &ca_key, "-out", &ca]);
        openssl(&args);
        let (key, request, certificate, extensions) =
            (path("server.key"), path("server.csr"), path("server.crt"), path("ext"));
        let mut args = vec!["req", "-subj", "/CN=localhost"];
        args.extend(curve);
        args.extend(["-keyout", &key, "-out", &request]);
        openssl(&args);
        std::fs::write(&extensions, "subjectAltName=DNS:localhost,DNS:registry.test,IP:127.0.0.1\n").unwrap();
        openssl(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            &ca,
            "-CAkey",
            &ca_key,
            "-CAcreateserial",
            "-days",
            "2",
            "-out",
            &certificate,
            "-extfile",
            &extensions,
        ]);
        // A certificate that is its own authority, as private registries have it.
        let (own_key, own) = (path("own.key"), path("own.crt"));
        let mut args = vec!["req", "-x509", "-days", "2", "-subj", "/CN=localhost", "-addext"];
        args.push("subjectAltName=IP:127.0.0.1");
        args.extend(curve);
        args.extend(["-keyout", &own_key, "-out", &own]);
        openssl(&args);
        // What tokens are signed with, apart from TLS.
        let (token_key, token) = (path("token.key"), path("token.crt"));
        let mut args = vec!["req", "-x509", "-days", "2", "-subj", "/CN=archfan test tokens"];
        args.extend(curve);
        args.extend(["-keyout", &token_key, "-out", &token]);
        openssl(&args);
        openssl(&[
            "pkcs8",
            "-topk8",
            "-nocrypt",
            "-in",
            &token_key,
            "-outform",
            "DER",
            "-out",
            &path("token.p8"),
        ]);
        openssl(&["x509", "-in", &token, "-outform", "DER", "-out", &path("token.der")]);
        std::fs::create_dir(dir.path().join("authority")).unwrap();
        std::fs::copy(&ca, dir.path().join("authority/ca.crt")).unwrap();
        Pki { dir }
    })
}

/// Where a file of the authority lies, for programs that want a folder with `ca.crt` in it.
pub(crate) fn folder() -> PathBuf {
    pki().path("authority")
}
