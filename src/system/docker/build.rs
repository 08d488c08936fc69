//! Turning what an image is made of into an image that Docker holds.

use std::collections::HashMap;

use bytes::Bytes;
use futures_util::StreamExt;
use testcontainers::bollard;
use testcontainers::bollard::query_parameters::BuildImageOptionsBuilder;

use super::{Client, labels};
use crate::system::engine::EngineError;
use crate::system::image::context::header;
use crate::system::image::identity::dockerfile;
use crate::system::image::{Image, ImageError};

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
        let image = tokio::task::spawn_blocking(|| {
            let postgres = crate::system::image::postgres::Postgres {
                version: 15,
                failover_manager: None,
            };
            postgres.unpacked()
        })
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
