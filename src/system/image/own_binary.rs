//! The image of the agent: this very program, from which nothing else need be built or shipped.

use std::path::Path;

use super::closure::Closure;
use super::{Image, ImageError, RootFs, Settings, base_files};

/// Where the program lies within its image.
pub const PATH: &str = "/nightmail";

/// Collects the image of a program that is run with arguments. Starts as root, since only that user's capabilities
/// survive the start; the engine takes all of them away that are not needed.
pub fn collect(executable: &Path) -> Result<Image, ImageError> {
    let mut rootfs = RootFs::default();
    base_files(&mut rootfs);
    let mut closure = Closure::new(Path::new("/"));
    closure.program(Path::new(PATH), executable)?;
    let folders = closure.install(&mut rootfs)?;
    Ok(Image {
        rootfs,
        settings: Settings {
            environment: folders
                .map(|folders| ("LD_LIBRARY_PATH".to_owned(), folders))
                .into_iter()
                .collect(),
            entrypoint: vec![PATH.to_owned()],
            ..Settings::default()
        },
        ..Image::default()
    })
}
