//! What tells one image from another: the digest of its inputs, and the reference under which it is found again.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::{Image, ImageError};
use crate::system::cache;

/// In the digest of every image: to be raised when images are made differently from the same inputs.
const FORMAT: &str = "nightmail image 1";

/// The reference under which an image with these inputs is found again: `name:hash`, or `name:tag-hash`.
pub fn reference(name: &str, digest: &[u8]) -> String {
    let hash = cache::hex(&digest[..6]);
    // A colon before the last slash belongs to a registry's port.
    let tag_at = name.rfind(':').filter(|at| !name[*at..].contains('/'));
    match tag_at {
        Some(_) => format!("{name}-{hash}"),
        None => format!("{name}:{hash}"),
    }
}

/// The digest of an image's inputs.
pub fn digest(image: &Image) -> Result<Vec<u8>, ImageError> {
    let mut digest = Sha256::new();
    digest.update(FORMAT);
    digest.update(dockerfile(image));
    digest.update(image.rootfs.stamp()?);
    Ok(digest.finalize().to_vec())
}

/// An image as a Dockerfile beside which its files are in `rootfs.tar`: what it is made of, in words that identify it.
pub fn dockerfile(image: &Image) -> String {
    let json = |words: &[String]| serde_json::to_string(words).expect("texts are JSON");
    let mut lines = Vec::new();
    if let Some(base) = &image.base {
        lines.push(format!("FROM {base} AS base"));
    }
    lines.push("FROM scratch".to_owned());
    if image.base.is_some() {
        // A copy instead of a base: what lies in a volume of the base would not be kept.
        lines.push("COPY --from=base / /".to_owned());
    }
    lines.push("ADD rootfs.tar /".to_owned());
    let settings = &image.settings;
    if !settings.environment.is_empty() {
        let pairs = settings
            .environment
            .iter()
            .map(|(name, value)| format!("{name}={}", quoted(value)));
        lines.push(format!("ENV {}", pairs.collect::<Vec<_>>().join(" ")));
    }
    lines.extend(settings.working_dir.iter().map(|dir| format!("WORKDIR {dir}")));
    lines.extend(settings.user.iter().map(|user| format!("USER {user}")));
    if let Some(finish) = &image.finish {
        lines.push(format!("RUN {}", json(finish)));
    }
    if !settings.entrypoint.is_empty() {
        lines.push(format!("ENTRYPOINT {}", json(&settings.entrypoint)));
    }
    if !settings.command.is_empty() {
        lines.push(format!("CMD {}", json(&settings.command)));
    }
    lines.extend(settings.stop_signal.iter().map(|signal| format!("STOPSIGNAL {signal}")));
    if !settings.volumes.is_empty() {
        lines.push(format!("VOLUME {}", json(&settings.volumes)));
    }
    lines.join("\n") + "\n"
}

fn quoted(value: &str) -> String {
    format!(
        "\"{}\"",
        value.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$")
    )
}

/// Every image but the newest of its name, given when each was made and its reference. What is not named by
/// [`reference`] is nobody's to judge.
pub fn replaced(images: impl IntoIterator<Item = (i64, String)>) -> Vec<String> {
    let mut by_name: BTreeMap<String, Vec<(i64, String)>> = BTreeMap::new();
    for (created, reference) in images {
        if let Some(name) = name_without_hash(&reference) {
            by_name.entry(name.to_owned()).or_default().push((created, reference));
        }
    }
    let mut replaced = Vec::new();
    for mut same in by_name.into_values() {
        same.sort();
        same.pop();
        replaced.extend(same.into_iter().map(|(_, reference)| reference));
    }
    replaced
}

/// `name` of `name:hash`, `name:tag` of `name:tag-hash`; none of anything else, such as an image without a name.
fn name_without_hash(reference: &str) -> Option<&str> {
    let at = reference.rfind([':', '-'])?;
    let hash = &reference[at + 1..];
    let is_hash = hash.len() == 12 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| &reference[..at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::image::{RootFs, Settings};

    #[test]
    fn references_keep_a_tag_and_a_registry() {
        let digest = [0xab; 32];
        assert_eq!(
            reference("nightmail/replicas", &digest),
            "nightmail/replicas:abababababab"
        );
        assert_eq!(
            reference("nightmail/postgres:15", &digest),
            "nightmail/postgres:15-abababababab"
        );
        assert_eq!(reference("host:5000/x", &digest), "host:5000/x:abababababab");
    }

    #[test]
    fn the_dockerfile_and_the_digest_follow_the_settings() {
        let mut image = Image {
            rootfs: RootFs::default(),
            finish: Some(vec!["/bin/sh".to_owned(), "/init".to_owned()]),
            settings: Settings {
                environment: [("A".to_owned(), "x \"y\" $z".to_owned())].into(),
                command: vec!["run".to_owned()],
                user: Some("999:999".to_owned()),
                stop_signal: Some("SIGINT".to_owned()),
                ..Settings::default()
            },
            ..Image::default()
        };
        let expected = "FROM scratch\nADD rootfs.tar /\nENV A=\"x \\\"y\\\" \\$z\"\nUSER 999:999\n\
                        RUN [\"/bin/sh\",\"/init\"]\nCMD [\"run\"]\nSTOPSIGNAL SIGINT\n";
        assert_eq!(dockerfile(&image), expected);
        let before = digest(&image).unwrap();
        image.settings.command.push("faster".to_owned());
        assert_ne!(before, digest(&image).unwrap());
    }

    #[test]
    fn the_references_of_images_that_were_made_before_still_find_them() {
        let mut image = Image::default();
        image.rootfs.text("/a", "some text", 0o644);
        image.settings.user = Some("999:999".to_owned());
        image.settings.command = vec!["run".to_owned()];
        let found = reference("nightmail/x", &digest(&image).unwrap());
        assert_eq!(found, "nightmail/x:e7681aa9bc86");
    }

    #[test]
    fn only_what_was_replaced_goes() {
        let images = [
            (1, "nightmail/replicas:aaaaaaaaaaaa"),
            (3, "nightmail/replicas:bbbbbbbbbbbb"),
            (2, "nightmail/replicas:cccccccccccc"),
            (1, "nightmail/postgres:15-dddddddddddd"),
            (2, "nightmail/postgres:16-eeeeeeeeeeee"),
            (9, "<none>:<none>"),
        ];
        assert_eq!(
            replaced(images.map(|(created, reference)| (created, reference.to_owned()))),
            ["nightmail/replicas:aaaaaaaaaaaa", "nightmail/replicas:cccccccccccc"]
        );
    }
}
