//! The image of the agent: this very program, from which nothing else need be built or shipped.

use std::path::Path;

use super::{Image, ImageError};

/// Where the program lies within its image.
pub const PATH: &str = "/nightmail";

/// Collects the image of a program that is run with arguments. Starts as root, since only that user's capabilities
/// survive the start; the engine takes all of them away that are not needed.
pub fn collect(executable: &Path) -> Result<Image, ImageError> {
    Image::of_program(Path::new(PATH), executable)
}
