//! What a program of the host needs beside itself: its dynamic loader and its libraries.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{ImageError, RootFs};

/// Collects programs with everything that they load at their start.
#[derive(Debug)]
pub struct Closure {
    /// Where an unpacked system's root lies on this host; `/` for the host itself.
    root: PathBuf,
    /// Path within the image, and on the host.
    files: BTreeMap<PathBuf, PathBuf>,
    loader: Option<PathBuf>,
    /// Folders of libraries that a loader does not search by itself.
    odd_folders: BTreeSet<PathBuf>,
}

impl Closure {
    /// Of programs of the host (`/`), or of a system unpacked elsewhere.
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            files: BTreeMap::new(),
            loader: None,
            odd_folders: BTreeSet::new(),
        }
    }

    /// Adds a program at `path` within the image, with its loader and libraries.
    pub fn program(&mut self, path: &Path, host: &Path) -> Result<(), ImageError> {
        self.files.insert(path.to_owned(), host.to_owned());
        let Some(loader) = interpreter(host)? else {
            return Ok(());
        };
        let found = self.in_root(&loader);
        self.files.insert(loader.clone(), found);
        self.loader = Some(loader);
        match self.libraries(host)? {
            Needs::All(libraries) => self.files.extend(libraries),
            Needs::Missing(name) => {
                return Err(ImageError::new(format!(
                    "{} needs the library {name}, which this host does not have",
                    host.display()
                )));
            }
        }
        Ok(())
    }

    /// Adds a library that a program loads while it runs, with the libraries it needs. False if one of those is not
    /// there: then the library is of no use and is left out. Programs come first, since they name the loader.
    pub fn plugin(&mut self, path: &Path, host: &Path) -> Result<bool, ImageError> {
        match self.libraries(host)? {
            Needs::All(libraries) => {
                self.files.insert(path.to_owned(), host.to_owned());
                self.files.extend(libraries);
                Ok(true)
            }
            Needs::Missing(_) => Ok(false),
        }
    }

    /// Puts everything into an image. Gives the folders of libraries that its loader must be told of
    /// (`LD_LIBRARY_PATH`), if there are any.
    pub fn install(self, rootfs: &mut RootFs) -> Result<Option<String>, ImageError> {
        for (path, host) in &self.files {
            rootfs.host_file(path, host)?;
        }
        let folders: Vec<String> = self
            .odd_folders
            .iter()
            .map(|folder| folder.display().to_string())
            .collect();
        Ok((!folders.is_empty()).then(|| folders.join(":")))
    }

    /// Asks the loader itself, as `ldd` does.
    fn libraries(&mut self, host: &Path) -> Result<Needs, ImageError> {
        let Some(loader) = &self.loader else {
            return Ok(Needs::All(BTreeMap::new()));
        };
        let mut command = Command::new(self.in_root(loader));
        if self.root != Path::new("/") {
            let folders = library_folders(&self.root)?;
            command.arg("--library-path").arg(folders);
        }
        let output = command
            .arg("--list")
            .arg(host)
            .env_remove("LD_PRELOAD")
            .output()
            .map_err(|error| ImageError::io(loader, &error))?;
        let mut libraries = BTreeMap::new();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            match parse(line) {
                Line::Library(found) => {
                    let path = found
                        .strip_prefix(&self.root)
                        .map_or(found.clone(), |rest| Path::new("/").join(rest));
                    self.note_folder(&path);
                    libraries.insert(path, found);
                }
                Line::Missing(name) => return Ok(Needs::Missing(name)),
                Line::Other => {}
            }
        }
        if !output.status.success() && libraries.is_empty() {
            return Err(ImageError::command(&format!("ldd {}", host.display()), &output));
        }
        Ok(Needs::All(libraries))
    }

    fn note_folder(&mut self, library: &Path) {
        let Some(folder) = library.parent() else { return };
        let text = folder.display().to_string();
        let depth = text.trim_start_matches("/usr").matches('/').count();
        let searched = text.trim_start_matches("/usr").starts_with("/lib") && (depth == 1 || text.contains("-linux-"));
        if !searched {
            self.odd_folders.insert(folder.to_owned());
        }
    }

    fn in_root(&self, path: &Path) -> PathBuf {
        let inside = self.root.join(path.strip_prefix("/").unwrap_or(path));
        // A partly unpacked system leans on the host for what it lacks.
        if inside.exists() { inside } else { path.to_owned() }
    }
}

enum Needs {
    All(BTreeMap<PathBuf, PathBuf>),
    Missing(String),
}

enum Line {
    Library(PathBuf),
    Missing(String),
    Other,
}

/// A line such as `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f...)`.
fn parse(line: &str) -> Line {
    let line = line.trim();
    let (name, found) = line.split_once(" => ").unwrap_or((line, line));
    if found.starts_with("not found") {
        return Line::Missing(name.to_owned());
    }
    let found = found.rsplit_once(" (").map_or(found, |(path, _)| path).trim();
    if found.starts_with('/') {
        Line::Library(PathBuf::from(found))
    } else {
        Line::Other
    }
}

/// Every folder of an unpacked system that holds libraries, for the loader's search path.
fn library_folders(root: &Path) -> Result<String, ImageError> {
    let mut folders = Vec::new();
    for top in ["usr/lib", "lib", "usr/lib64", "lib64"] {
        let top = root.join(top);
        if !top.is_dir() {
            continue;
        }
        let listing = std::fs::read_dir(&top).map_err(|error| ImageError::io(&top, &error))?;
        let triples = listing.flatten().map(|entry| entry.path()).filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.contains("-linux-") && path.is_dir()
        });
        folders.extend(triples);
        folders.push(top);
    }
    let folders: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
    Ok(folders.join(":"))
}

/// The dynamic loader that a program names in its own header; none if it is static or no ELF file.
pub fn interpreter(program: &Path) -> Result<Option<PathBuf>, ImageError> {
    let io = |error| ImageError::io(program, &error);
    let mut file = std::fs::File::open(program).map_err(io)?;
    // Program headers follow the file's header at once, and the loader's name follows them.
    let mut start = Vec::new();
    file.by_ref().take(64 << 10).read_to_end(&mut start).map_err(io)?;
    Ok(interpreter_of(&start))
}

fn interpreter_of(elf: &[u8]) -> Option<PathBuf> {
    const PT_INTERP: u64 = 3;
    let number = |at: usize, len: usize| -> Option<u64> {
        let bytes = elf.get(at..at.checked_add(len)?)?;
        Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    };
    // 64 bits, little-endian: what this program is built for.
    if elf.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    for index in 0..count {
        let header = usize::try_from(table.checked_add(index * size)?).ok()?;
        if number(header, 4)? == PT_INTERP {
            let offset = usize::try_from(number(header + 8, 8)?).ok()?;
            let len = usize::try_from(number(header + 32, 8)?).ok()?;
            let name = elf.get(offset..offset.checked_add(len)?)?;
            let name = std::str::from_utf8(name).ok()?.trim_end_matches('\0');
            return Some(PathBuf::from(name));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_program_brings_its_loader_and_libraries() {
        let sh = super::super::find_program("sh").unwrap();
        let loader = interpreter(&sh).unwrap().expect("the host's shell is dynamic");
        let mut closure = Closure::new(Path::new("/"));
        closure.program(Path::new("/bin/sh"), &sh).unwrap();
        let mut rootfs = RootFs::default();
        closure.install(&mut rootfs).unwrap();
        assert!(rootfs.contains(Path::new("/bin/sh")));
        assert!(rootfs.contains(&loader));
    }

    #[test]
    fn what_is_no_program_has_no_loader() {
        assert_eq!(interpreter_of(b""), None);
        assert_eq!(interpreter_of(b"#!/bin/sh\n"), None);
        // A header that points beyond the file must not bring down the reader.
        let mut elf = b"\x7fELF\x02\x01".to_vec();
        elf.resize(64, 0xff);
        assert_eq!(interpreter_of(&elf), None);
    }

    #[test]
    fn lines_of_the_loader() {
        assert!(matches!(parse("\tlinux-vdso.so.1 (0x00007ffd)"), Line::Other));
        assert!(matches!(parse("\tlibx.so => not found"), Line::Missing(name) if name == "libx.so"));
        let found = parse("\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)");
        assert!(matches!(found, Line::Library(path) if path == Path::new("/lib/x86_64-linux-gnu/libc.so.6")));
        assert!(matches!(
            parse("\t/lib64/ld-linux-x86-64.so.2 (0x00007f)"),
            Line::Library(_)
        ));
    }
}
