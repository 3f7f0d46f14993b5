//! A certificate for a throwaway server, and the authority that signed it.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{Product, ServerError, While, place};

pub(super) const CA: &str = "ca.crt";
pub(super) const CERT: &str = "server.crt";
pub(super) const KEY: &str = "server.key";

/// Names a client may verify.
const NAMES: &str = "subjectAltName=DNS:localhost,IP:127.0.0.1\n";

/// Writes `ca.crt`, `server.crt` and `server.key`, readable by the server's user alone.
pub(super) fn issue(product: Product, directory: &Path) -> Result<(), ServerError> {
    fs::write(directory.join("names"), NAMES).during("write a certificate's names")?;
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    let sign = "-CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile names";
    for arguments in [
        format!("req -x509 {key} -days 30 -subj /CN=throwaway-authority -keyout ca.key -out {CA}"),
        format!("req {key} -subj /CN=localhost -keyout {KEY} -out server.csr"),
        format!("x509 -req -in server.csr {sign} -out {CERT}"),
    ] {
        let mut openssl = Command::new("openssl");
        let output = openssl.args(arguments.split(' ')).current_dir(directory).output();
        let output = output.during("run openssl")?;
        if !output.status.success() {
            let log = String::from_utf8_lossy(&output.stderr).into();
            return Err(ServerError::Failed { product, log });
        }
    }
    [CERT, KEY].iter().try_for_each(|file| place::give(&directory.join(file), product))
}
