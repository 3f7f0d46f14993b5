//! Certificates for what listens in a test, each signed by an authority of its own.

use std::path::Path;
use std::process::Command;

pub const CA: &str = "ca.crt";
pub const CERT: &str = "server.crt";
pub const KEY: &str = "server.key";

/// Writes a certificate for `localhost` and 127.0.0.1, its key, and its authority.
pub fn issue(directory: &Path) {
    std::fs::create_dir_all(directory).unwrap();
    std::fs::write(directory.join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    let sign = "-CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile names";
    for arguments in [
        format!("req -x509 {key} -days 30 -subj /CN=test-authority -keyout ca.key -out {CA}"),
        format!("req {key} -subj /CN=localhost -keyout {KEY} -out server.csr"),
        format!("x509 -req -in server.csr {sign} -out {CERT}"),
    ] {
        let mut openssl = Command::new("openssl");
        let output = openssl.args(arguments.split(' ')).current_dir(directory).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
