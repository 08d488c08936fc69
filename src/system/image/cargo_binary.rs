//! An image of a program that Cargo builds.

use std::path::{Path, PathBuf};
use std::process::Command;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Image, ImageError};

/// Overrides the Cargo profile that replicas are built with.
pub const PROFILE_VARIABLE: &str = "NIGHTMAIL_CARGO_PROFILE";

/// A program of the Cargo workspace around the Compose file, alone in its image with the libraries it needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CargoBinary {
    /// The package.
    pub package: String,
    /// Its binary.
    pub binary: String,
    /// Where the program lies within the image. It is also what the image runs.
    pub path: PathBuf,
}

impl CargoBinary {
    /// Builds the program and collects its image.
    pub fn collect(&self, dir: &Path) -> Result<Image, ImageError> {
        if !self.path.is_absolute() {
            return Err(ImageError::new(format!(
                "path `{}` must begin with /",
                self.path.display()
            )));
        }
        let executable = self.build(&workspace_root(dir)?)?;
        let mut image = Image::of_program(&self.path, &executable)?;
        image.settings.user = super::user();
        Ok(image)
    }

    fn build(&self, root: &Path) -> Result<PathBuf, ImageError> {
        // The profile of the harness itself, so that both share one target folder's dependencies.
        let own = if cfg!(debug_assertions) { "dev" } else { "release" };
        let profile = std::env::var(PROFILE_VARIABLE).unwrap_or_else(|_| own.to_owned());
        let mut command = cargo(root);
        command
            .args([
                "build",
                "--package",
                &self.package,
                "--bin",
                &self.binary,
                "--profile",
                &profile,
            ])
            .arg("--message-format=json-render-diagnostics");
        let shown = format!(
            "cargo build --package {} --bin {} --profile {profile}",
            self.package, self.binary
        );
        let output = command.output().map_err(|error| no_cargo(&error))?;
        if !output.status.success() {
            return Err(ImageError::command(&shown, &output));
        }
        executable(&String::from_utf8_lossy(&output.stdout), &self.binary)
            .ok_or_else(|| ImageError::new(format!("`{shown}` built no program `{}`", self.binary)))
    }
}

/// The workspace that a folder lies in.
fn workspace_root(dir: &Path) -> Result<PathBuf, ImageError> {
    let output = cargo(dir)
        .args(["locate-project", "--workspace", "--message-format", "plain"])
        .output()
        .map_err(|error| no_cargo(&error))?;
    if !output.status.success() {
        let mut error = ImageError::command("cargo locate-project", &output);
        error.reason += "\n  hint: `cargo-binary` builds a package of the workspace that the Compose file lies in";
        return Err(error);
    }
    let manifest = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    Ok(manifest.parent().map_or(manifest.clone(), Path::to_owned))
}

fn cargo(dir: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(dir);
    // What Cargo tells programs that it runs is about the harness, not about the replicas.
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with("CARGO_PKG_") || name_text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

fn no_cargo(error: &std::io::Error) -> ImageError {
    ImageError::new(format!(
        "cargo cannot be run: {error}\n  hint: replicas are built from their source; install Rust from https://rustup.rs"
    ))
}

/// The program among Cargo's messages.
fn executable(messages: &str, binary: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact" && message["target"]["name"] == binary)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_among_the_messages() {
        let messages = concat!(
            "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"lib\"},\"executable\":null}\n",
            "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"app\"},\"executable\":null}\n",
            "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"app\"},\"executable\":\"/t/app\"}\n",
            "{\"reason\":\"build-finished\",\"success\":true}\n",
        );
        assert_eq!(executable(messages, "app"), Some(PathBuf::from("/t/app")));
        assert_eq!(executable(messages, "other"), None);
    }

    #[test]
    fn a_package_that_is_not_there_is_an_error_with_cargos_words() {
        let recipe = CargoBinary {
            package: "no-such-package".to_owned(),
            binary: "x".to_owned(),
            path: PathBuf::from("/x"),
        };
        let error = recipe.collect(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap_err();
        assert!(
            error.log.iter().any(|line| line.contains("no-such-package")),
            "{:?}",
            error.log
        );
    }
}
