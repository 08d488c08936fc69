//! Loads good and bad files.
