//! Many replicas at once.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use nightmail::event::Events;
use nightmail::redact::Redactor;
use nightmail::system::engine::SystemRequest;
use tempfile::TempDir;

use super::{CROWD, Failure, Figures, ms, system};

/// A service of sixty, each of which answers over HTTP when it is ready.
const COMPOSE: &str = "
name: crowd
services:
  one:
    image: crowd/busybox
    command: [/bin/busybox, httpd, -f, -p, '8080', -h, /etc]
    deploy: {replicas: 60}
x-nightmail:
  images:
    crowd/busybox: {host-programs: {programs: [busybox], packages: [busybox-static]}}
";
const SYSTEM: &str = "
name: crowd
title: Sixty doors
services: {one: {ready: {tcp: {port: 8080}}}}
operations:
  look: {title: Looking in, request: {service: one, port: 8080, path: /passwd}, outcome: {ok: status == 200}}
";

/// A folder with the system in it.
pub fn folder() -> Result<TempDir, Failure> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("compose.yaml"), COMPOSE)?;
    std::fs::write(folder.path().join("system.yaml"), SYSTEM)?;
    Ok(folder)
}

pub async fn measure(dir: &Path) -> Result<Figures, Failure> {
    let logs = tempfile::tempdir()?;
    let engine = system::engine("local").await?;
    let events = Events::unsaved(None);
    let request = SystemRequest {
        run_id: format!("bench-crowd-{}", std::process::id()),
        definition: serde_saphyr::from_str(SYSTEM)?,
        dir: dir.to_owned(),
        environment: BTreeMap::new(),
        agents: Vec::new(),
        disks: Default::default(),
        images: Vec::new(),
        links: BTreeMap::new(),
        seed: 1,
        redactor: Redactor::default(),
        logs_dir: logs.path().to_owned(),
    };
    engine.prepare(&request, &events).await?;
    let began = Instant::now();
    let system = engine.up(&request, &events).await?;
    let up = began.elapsed();
    let left = system.down().await;
    if !left.is_empty() {
        return Err(format!("left behind: {left:?}").into());
    }
    let mut figures = Figures::default();
    figures.add(CROWD, ms(up));
    Ok(figures)
}
