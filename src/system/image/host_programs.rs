//! An image of programs that this host has: something to build on where no image can be pulled.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::closure::Closure;
use super::{Image, ImageError, RootFs, Settings, base_files, find_program, packages};

/// Programs of this host in `/bin`, with the libraries that they need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct HostPrograms {
    /// Names of programs, found on the host's `PATH`.
    pub programs: Vec<String>,
    /// Symbolic links: path within the image, and what it points to, such as `/bin/sh: busybox`.
    #[serde(default)]
    pub links: BTreeMap<PathBuf, PathBuf>,
    /// Debian packages that are fetched and unpacked (not installed) if the host lacks a program.
    #[serde(default)]
    pub packages: Vec<String>,
}

impl HostPrograms {
    /// Finds the programs and collects their image.
    pub fn collect(&self) -> Result<Image, ImageError> {
        let mut rootfs = RootFs::default();
        base_files(&mut rootfs);
        let mut odd_folders = Vec::new();
        let mut unpacked: Option<PathBuf> = None;
        for program in &self.programs {
            let (root, host) = match find_program(program) {
                Some(host) => (PathBuf::from("/"), host),
                None => {
                    if unpacked.is_none() {
                        unpacked = Some(self.unpack(program)?);
                    }
                    let root = unpacked.clone().expect("unpacked just now");
                    let host = packages::find_program(&root, program).ok_or_else(|| {
                        ImageError::new(format!(
                            "none of the packages {} has `{program}`",
                            self.packages.join(", ")
                        ))
                    })?;
                    (root, host)
                }
            };
            let mut closure = Closure::new(&root);
            closure.program(&Path::new("/bin").join(program), &host)?;
            odd_folders.extend(closure.install(&mut rootfs)?);
        }
        for (path, target) in &self.links {
            rootfs.link(path, target);
        }
        let mut environment = BTreeMap::from([("PATH".to_owned(), "/usr/local/bin:/bin:/usr/bin".to_owned())]);
        if !odd_folders.is_empty() {
            environment.insert("LD_LIBRARY_PATH".to_owned(), odd_folders.join(":"));
        }
        Ok(Image {
            rootfs,
            settings: Settings {
                environment,
                ..Settings::default()
            },
            ..Image::default()
        })
    }

    fn unpack(&self, program: &str) -> Result<PathBuf, ImageError> {
        if self.packages.is_empty() {
            return Err(ImageError::new(format!(
                "this host has no program `{program}`\n  hint: install it, or name the Debian packages that hold it \
                 (`packages: [...]`)"
            )));
        }
        packages::unpack(&self.packages)
    }
}
