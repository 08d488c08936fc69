//! Properties that hold whatever the file.
