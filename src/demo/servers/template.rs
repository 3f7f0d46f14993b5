//! Data directories that are set up once and copied from then on.
//!
//! Invariant: a template that has its final name is complete. It is built under another name, and
//! one process at a time builds.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::product::{Product, initialize, program};
use super::{Options, ServerError, While, place};

/// Fills `data` with a copy of the product's template, which is made if there is none yet.
pub(super) fn copy(product: Product, options: &Options, data: &Path) -> Result<(), ServerError> {
    let template = ready(product, options)?;
    let mut copy = Command::new("cp");
    copy.args(["-a", "--reflink=auto"]).arg(template).arg(data);
    let done = copy.stderr(Stdio::null()).status().during("copy the template")?;
    if done.success() {
        return Ok(());
    }
    let log = "the template's copy is incomplete; is the disk full?".to_owned();
    Err(ServerError::Failed { product, log })
}

/// The template of this very build of the product.
fn ready(product: Product, options: &Options) -> Result<PathBuf, ServerError> {
    let program =
        fs::metadata(program(product, options)?).during("look at the server's program")?;
    let parent = place::cache().join("templates");
    let name = format!("{product}-{}-{}", program.size(), program.mtime());
    let template = parent.join(&name).join("data");
    if template.exists() {
        return Ok(template);
    }
    fs::create_dir_all(&parent).during("make the cache directory")?;
    let lock = fs::File::create(parent.join("lock")).during("open the template's lock")?;
    lock.lock().during("wait for the template's lock")?;
    if !template.exists() {
        build(product, options, &parent.join(name))?;
    }
    Ok(template)
}

fn build(product: Product, options: &Options, finished: &Path) -> Result<(), ServerError> {
    let unfinished = finished.with_extension("unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).during("remove an unfinished template")?;
    }
    fs::create_dir(&unfinished).during("make a template")?;
    place::give(&unfinished, product)?;
    set_up(product, options, &unfinished.join("data"))?;
    fs::rename(&unfinished, finished).during("keep a template")
}

/// Fills `data` without a template.
pub(super) fn set_up(product: Product, options: &Options, data: &Path) -> Result<(), ServerError> {
    let mut command = initialize(product, options, data)?;
    place::as_owner(&mut command, product);
    let output = command.current_dir("/").output().during("set a server's data up")?;
    if !output.status.success() {
        let log = [output.stdout, output.stderr].concat();
        return Err(ServerError::Failed { product, log: String::from_utf8_lossy(&log).into() });
    }
    Ok(())
}
