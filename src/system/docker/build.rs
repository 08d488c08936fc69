//! Turning what an image is made of into an image that Docker holds.

use std::collections::HashMap;

use bytes::Bytes;
use futures_util::StreamExt;
use sha2::{Digest, Sha256};
use testcontainers::bollard;
use testcontainers::bollard::query_parameters::BuildImageOptionsBuilder;

use super::{Client, labels};
use crate::system::cache;
use crate::system::engine::EngineError;
use crate::system::image::{Image, ImageError};

/// In the digest of every image: to be raised when images are made differently from the same inputs.
const FORMAT: &str = "nightmail image 1";

/// The reference under which an image with these inputs is found again: `name:hash`, or `name:tag-hash`.
pub(super) fn reference(name: &str, digest: &[u8]) -> String {
    let hash = cache::hex(&digest[..6]);
    // A colon before the last slash belongs to a registry's port.
    let tag_at = name.rfind(':').filter(|at| !name[*at..].contains('/'));
    match tag_at {
        Some(_) => format!("{name}-{hash}"),
        None => format!("{name}:{hash}"),
    }
}

/// The digest of an image's inputs.
pub(super) fn digest(image: &Image) -> Result<Vec<u8>, ImageError> {
    let mut digest = Sha256::new();
    digest.update(FORMAT);
    digest.update(dockerfile(image));
    digest.update(image.rootfs.stamp()?);
    Ok(digest.finalize().to_vec())
}

/// The Dockerfile of an image whose files are in `rootfs.tar`.
fn dockerfile(image: &Image) -> String {
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
    if let Some(user) = settings.user {
        lines.push(format!("USER {user}:{user}"));
    }
    if let Some(finish) = &image.finish {
        lines.push(format!("RUN {}", json(finish)));
    }
    if !settings.entrypoint.is_empty() {
        lines.push(format!("ENTRYPOINT {}", json(&settings.entrypoint)));
    }
    if !settings.command.is_empty() {
        lines.push(format!("CMD {}", json(&settings.command)));
    }
    if let Some(signal) = &settings.stop_signal {
        lines.push(format!("STOPSIGNAL {signal}"));
    }
    lines.join("\n") + "\n"
}

fn quoted(value: &str) -> String {
    format!(
        "\"{}\"",
        value.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$")
    )
}

/// Builds an image under a reference.
pub(super) async fn build(client: &Client, name: &str, reference: &str, image: Image) -> Result<(), EngineError> {
    let failed = |error: ImageError| EngineError::Image {
        image: name.to_owned(),
        reason: error.reason,
        log: error.log,
    };
    let context = tokio::task::spawn_blocking(move || context(&image))
        .await
        .map_err(|error| failed(ImageError::new(error.to_string())))?
        .map_err(|error| failed(ImageError::new(format!("its files could not be collected: {error}"))))?;
    let options = BuildImageOptionsBuilder::new().dockerfile("Dockerfile");
    submit(client, name, reference, options, context).await
}

/// The build context as one tar archive, in pieces: the root file system is itself an archive within it, which need not
/// be copied for that.
fn context(image: &Image) -> std::io::Result<Vec<Bytes>> {
    let mut rootfs = Vec::new();
    image.rootfs.write_tar(&mut rootfs)?;
    let dockerfile = dockerfile(image);
    let mut end = tar::Builder::new(Vec::new());
    end.append_data(&mut header(dockerfile.len()), "Dockerfile", dockerfile.as_bytes())?;
    let mut start = header(rootfs.len());
    start.set_path("rootfs.tar")?;
    start.set_cksum();
    let padding = rootfs.len().next_multiple_of(512) - rootfs.len();
    Ok(vec![
        Bytes::copy_from_slice(start.as_bytes()),
        rootfs.into(),
        vec![0; padding].into(),
        end.into_inner()?.into(),
    ])
}

/// The header of a plain file in a build context.
pub(super) fn header(len: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(len as u64);
    header.set_mtime(0);
    header
}

/// Sends a build context to Docker's builder, and tells its last words if it fails.
pub(super) async fn submit(
    client: &Client,
    name: &str,
    reference: &str,
    options: BuildImageOptionsBuilder,
    context: Vec<Bytes>,
) -> Result<(), EngineError> {
    const LINES_MAX: usize = 30;
    let options = options
        .t(reference)
        .labels(&HashMap::from([(labels::IMAGE, "1")]))
        .rm(true)
        .forcerm(true)
        .build();
    let body = bollard::body_stream(futures_util::stream::iter(context));
    let mut output = client.build_image(options, None, Some(body));
    let mut log: Vec<String> = Vec::new();
    let mut failure = None;
    while let Some(step) = output.next().await {
        match step {
            Ok(info) => {
                let said = info.stream.unwrap_or_default();
                log.extend(
                    said.lines()
                        .map(str::trim_end)
                        .filter(|line| !line.is_empty())
                        .map(str::to_owned),
                );
                failure = info.error_detail.and_then(|detail| detail.message).or(failure);
            }
            Err(error) => failure = Some(labels::words(&error)),
        }
    }
    match failure {
        None => Ok(()),
        Some(reason) => Err(EngineError::Image {
            image: name.to_owned(),
            reason,
            log: log[log.len().saturating_sub(LINES_MAX)..].to_vec(),
        }),
    }
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
            base: None,
            rootfs: RootFs::default(),
            finish: Some(vec!["/bin/sh".to_owned(), "/init".to_owned()]),
            settings: Settings {
                environment: [("A".to_owned(), "x \"y\" $z".to_owned())].into(),
                command: vec!["run".to_owned()],
                user: Some(999),
                stop_signal: Some("SIGINT".to_owned()),
                ..Settings::default()
            },
        };
        let expected = "FROM scratch\nADD rootfs.tar /\nENV A=\"x \\\"y\\\" \\$z\"\nUSER 999:999\n\
                        RUN [\"/bin/sh\",\"/init\"]\nCMD [\"run\"]\nSTOPSIGNAL SIGINT\n";
        assert_eq!(dockerfile(&image), expected);
        let before = digest(&image).unwrap();
        image.settings.command.push("faster".to_owned());
        assert_ne!(before, digest(&image).unwrap());
    }

    #[test]
    fn the_context_is_an_archive_of_the_archive_and_the_dockerfile() {
        let mut image = Image::default();
        image.rootfs.text("/a", "some text", 0o644);
        let bytes: Vec<u8> = context(&image).unwrap().concat();
        let mut archive = tar::Archive::new(&bytes[..]);
        let names: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(names, ["rootfs.tar", "Dockerfile"]);
    }

    #[tokio::test]
    #[ignore = "fetches Debian packages, needs Docker"]
    async fn a_postgresql_of_debians_packages_initialises_itself() {
        let image = tokio::task::spawn_blocking(|| crate::system::image::postgres::Postgres { version: 15 }.unpacked())
            .await
            .unwrap()
            .unwrap();
        let client = crate::system::docker::connect_client().await.unwrap();
        let reference = format!("nightmail/test-postgres:{}", std::process::id());
        // Its last step runs initdb and the server itself.
        build(&client, "postgres", &reference, image)
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        let options = None::<bollard::query_parameters::RemoveImageOptions>;
        client.remove_image(&reference, options, None).await.unwrap();
    }
}
