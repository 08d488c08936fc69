//! Debian packages, fetched and unpacked into nightmail's cache: no root needed, and nothing is installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use super::ImageError;
use crate::system::cache;

/// Fetches packages and unpacks them. Gives the folder that is their root; what was unpacked once is found again.
pub fn unpack(packages: &[String]) -> Result<PathBuf, ImageError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |error| ImageError::io(&path, &error)
    };
    let fingerprint = Sha256::digest(packages.join(" ").as_bytes());
    let name = format!("{}-{}", packages[0], cache::hex(&fingerprint[..6]));
    let root = cache::dir("packages")
        .map_err(|error| ImageError::new(error.to_string()))?
        .join(&name);
    let _lock = cache::lock(&format!("packages-{name}")).map_err(|error| ImageError::new(error.to_string()))?;
    if root.is_dir() {
        return Ok(root);
    }
    // Made under another name first, so that an interrupted attempt is never taken for a whole one.
    let partial = root.with_extension("partial");
    if partial.exists() {
        std::fs::remove_dir_all(&partial).map_err(io(&partial))?;
    }
    let downloads = partial.join("downloads");
    std::fs::create_dir_all(&downloads).map_err(io(&downloads))?;
    let tree = partial.join("tree");
    download(&downloads, packages)?;
    for entry in std::fs::read_dir(&downloads).map_err(io(&downloads))?.flatten() {
        let package = entry.path();
        let output = Command::new("dpkg")
            .arg("--extract")
            .args([&package, &tree])
            .output()
            .map_err(|error| ImageError::new(format!("dpkg cannot be run: {error}")))?;
        if !output.status.success() {
            return Err(ImageError::command(
                &format!("dpkg --extract {}", package.display()),
                &output,
            ));
        }
    }
    std::fs::rename(&tree, &root).map_err(io(&tree))?;
    std::fs::remove_dir_all(&partial).map_err(io(&partial))?;
    Ok(root)
}

fn download(folder: &Path, packages: &[String]) -> Result<(), ImageError> {
    let output = Command::new("apt-get")
        .args(as_oneself())
        .args(["--quiet", "download"])
        .args(packages)
        .current_dir(folder)
        .output()
        .map_err(|error| ImageError::new(format!("apt-get cannot be run: {error}")))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(ImageError::command(
            &format!("apt-get download {}, into {},", packages.join(" "), folder.display()),
            &output,
        ))
    }
}

/// APT that finds itself root fetches as another user. In a user namespace there is none to change to, and there it is not root
/// outside.
fn as_oneself() -> &'static [&'static str] {
    let may_not_change = std::fs::read_to_string("/proc/self/setgroups").is_ok_and(|said| said.trim() == "deny");
    match may_not_change {
        true => &["--option", "APT::Sandbox::User=root"],
        false => &[],
    }
}

/// What a package needs, itself included, as far as names that `keep` accepts go.
pub fn with_dependencies(package: &str, keep: &dyn Fn(&str) -> bool) -> Result<Vec<String>, ImageError> {
    let output = Command::new("apt-cache")
        .args(["depends", "--recurse"])
        .args([
            "--no-recommends",
            "--no-suggests",
            "--no-conflicts",
            "--no-breaks",
            "--no-replaces",
            "--no-enhances",
        ])
        .arg(package)
        .output()
        .map_err(|error| ImageError::new(format!("apt-cache cannot be run: {error}")))?;
    if !output.status.success() {
        return Err(ImageError::command(&format!("apt-cache depends {package}"), &output));
    }
    let mut names: Vec<String> = String::from_utf8_lossy(&output.stdout)
        .lines()
        // Packages stand at the left margin, what they depend on is indented, virtual ones are in angle brackets.
        .filter(|line| !line.starts_with([' ', '|', '<']))
        .filter(|name| *name != package && keep(name))
        .map(str::to_owned)
        .collect();
    names.sort();
    names.dedup();
    // The first gives the folder its name.
    names.insert(0, package.to_owned());
    Ok(names)
}

/// A program of an unpacked system, links followed.
pub fn find_program(root: &Path, name: &str) -> Option<PathBuf> {
    ["usr/bin", "bin", "usr/sbin", "sbin"]
        .iter()
        .map(|folder| root.join(folder).join(name))
        .find(|candidate| candidate.is_file())
}
