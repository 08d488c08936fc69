//! A country's post offices: thirty branches and what they need, up at once, and what an idle one takes of the memory.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use nightmail::event::Events;
use nightmail::redact::Redactor;
use nightmail::system::engine::SystemRequest;

use super::{BRANCH_MEMORY, BRANCHES, Failure, Figures, ms, system};

/// What `fixtures/counter/compose.yaml` takes the number of branches from.
pub const VARIABLE: (&str, &str) = ("COUNTER_BRANCHES", "30");
/// How the program of a branch was started.
const COMMAND: &[u8] = b"/replicas\0branch\0";

pub async fn measure(engine: &str) -> Result<Figures, Failure> {
    let logs = tempfile::tempdir()?;
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/counter");
    let engine = system::engine(engine).await?;
    let events = Events::unsaved(None);
    let request = SystemRequest {
        run_id: format!("bench-branches-{}", std::process::id()),
        definition: serde_saphyr::from_str(&std::fs::read_to_string(dir.join("system.yaml"))?)?,
        dir,
        logs_dir: logs.path().to_owned(),
        redactor: Redactor::default(),
        environment: BTreeMap::new(),
        links: BTreeMap::new(),
        agents: Vec::new(),
        disks: BTreeMap::new(),
        images: Vec::new(),
        seed: 1,
    };
    engine.prepare(&request, &events).await?;
    let began = Instant::now();
    let system = engine.up(&request, &events).await?;
    let up = began.elapsed();
    let memory = memory_of_branches_kb();
    let left = system.down().await;
    if !left.is_empty() {
        return Err(format!("left behind: {left:?}").into());
    }
    let memory = memory?;
    if memory.len() != 30 {
        return Err(format!("{} branches were found", memory.len()).into());
    }
    let most = memory.into_iter().max().unwrap_or_default();
    let mut figures = Figures::default();
    figures.add(BRANCHES, ms(up));
    figures.add(BRANCH_MEMORY, most as f64 / 1_000.0);
    Ok(figures)
}

/// What each branch has resident, in kB.
fn memory_of_branches_kb() -> Result<Vec<u64>, Failure> {
    let mut memory = Vec::new();
    for process in std::fs::read_dir("/proc")?.flatten() {
        // Processes end while they are looked at.
        let Ok(command) = std::fs::read(process.path().join("cmdline")) else {
            continue;
        };
        if !command.ends_with(COMMAND) {
            continue;
        }
        let status = std::fs::read_to_string(process.path().join("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kb = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        memory.push(kb.ok_or("a branch without memory")?);
    }
    Ok(memory)
}
