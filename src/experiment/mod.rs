//! From experiment files to plans.
//!
//! ```text
//! file --yaml--> tree --configuration--> tree with ${name} replaced --spec--> Experiment --resolve--> Plan
//!                                                       system.yaml --system--> SystemUnderTest ^
//! ```
//!
//! Architecture invariant: everything here is pure but for reading files and the environment. No container, no socket, no
//! clock; what the kernel can do is given. Whatever can be wrong with an experiment is found here, all of it at once, before anything starts.

use std::path::Path;

use rand::RngExt;
use sha2::{Digest, Sha256};

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::kernel::Capabilities;
use crate::plan::{ControlChange, ExperimentInfo, Plan, Variation};
use crate::redact::Redactor;
use crate::yaml::Document;
use crate::yaml::place::Place;

mod configuration;
mod discover;
mod locate;
mod positions;
mod resolve;
mod schema;
pub mod spec;
mod system;

#[cfg(test)]
mod tests;

use configuration::Substituted;
pub use discover::discover;
pub use positions::Positions;
pub use schema::{schema, system_schema};
pub use system::SystemUnderTest;

/// What the command line says over the file.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Fixes every random choice; drawn at random if absent.
    pub seed: Option<u64>,
    /// Configuration values, `--var name=value`.
    pub vars: Vec<(String, String)>,
    /// Defects to switch on, `--defect name`.
    pub defects: Vec<String>,
}

/// Reads an experiment and everything it refers to, and fixes every choice, for a kernel that can do so much. Nothing is
/// started.
pub fn load(path: &Path, overrides: &Overrides, capabilities: &Capabilities) -> Result<Plan, Diagnostics> {
    from_document(Document::load(path)?, overrides, capabilities)
}

fn from_document(document: Document, overrides: &Overrides, capabilities: &Capabilities) -> Result<Plan, Diagnostics> {
    refuse_other_files(&document)?;
    let overrides = Overrides {
        seed: overrides.seed.or_else(|| Some(rand::rng().random_range(1..=9_999_999))),
        ..overrides.clone()
    };
    let plan = of_values(document.clone(), &overrides, capabilities)?;
    with_variations(&document, plan, &overrides, capabilities)
}

/// The plan under the values that the file and the command line give.
fn of_values(mut document: Document, overrides: &Overrides, capabilities: &Capabilities) -> Result<Plan, Diagnostics> {
    let configuration = configuration::substitute(&mut document, overrides).map_err(all)?;
    // A value in the wrong place would stand in the message about it.
    let redactor = Redactor::new(configuration.secrets.iter().cloned());
    plan(&document, &configuration, overrides, capabilities).map_err(|found| found.map(|text| redactor.text(&text)))
}

/// The plan with what each negative control makes of it that changes the configuration: what is wrong under those values
/// is wrong with the file.
fn with_variations(
    document: &Document,
    mut plan: Plan,
    overrides: &Overrides,
    capabilities: &Capabilities,
) -> Result<Plan, Diagnostics> {
    for control in &mut plan.negative_controls {
        let ControlChange::With {
            configuration,
            variation,
            ..
        } = &mut control.change
        else {
            continue;
        };
        if configuration.is_empty() {
            continue;
        }
        let others = configuration.iter().map(|(name, value)| (name.clone(), value.clone()));
        let overrides = Overrides {
            vars: overrides.vars.iter().cloned().chain(others).collect(),
            ..overrides.clone()
        };
        let varied = of_values(document.clone(), &overrides, capabilities);
        let varied = varied.map_err(|found| found.under(&format!("under the negative control `{}`", control.name)))?;
        *variation = Some(Box::new(Variation::of(varied)));
    }
    Ok(plan)
}

fn plan(
    document: &Document,
    configuration: &Substituted,
    overrides: &Overrides,
    capabilities: &Capabilities,
) -> Result<Plan, Diagnostics> {
    let experiment: spec::Experiment = crate::yaml::read::read(document, spec::MISSING).map_err(all)?;
    let system = system(document, &experiment)?;
    let input = resolve::Input {
        document,
        experiment: &experiment,
        system: &system,
        configuration: &configuration.values,
        secrets: &configuration.secrets,
        defects: &overrides.defects,
        capabilities,
        seed: overrides
            .seed
            .unwrap_or_else(|| rand::rng().random_range(1..=9_999_999)),
        info: info(document, &experiment),
    };
    resolve::resolve(input).map_err(all)
}

fn system(document: &Document, experiment: &spec::Experiment) -> Result<SystemUnderTest, Diagnostics> {
    let path = locate::system(document, &experiment.system)?;
    let Some(compose) = &experiment.compose else {
        return SystemUnderTest::load(&path);
    };
    if !path.with_file_name(compose).is_file() {
        let message = format!("`{}` has no Compose file {}", experiment.system, compose.display());
        return Err(document
            .at_value(&Place::root().key("compose"), message)
            .hint(format!("it is looked for beside {}", path.display()))
            .into());
    }
    SystemUnderTest::load_variant(&path, Some(compose))
}

fn all(found: Vec<Diagnostic>) -> Diagnostics {
    match Diagnostics::check(found) {
        Err(diagnostics) => diagnostics,
        // Whoever failed must say why.
        Ok(()) => Diagnostic::new("the experiment is wrong, but nothing says why; please report this").into(),
    }
}

fn info(document: &Document, experiment: &spec::Experiment) -> ExperimentInfo {
    let path = &document.path;
    let hash = Sha256::digest(document.text.as_bytes());
    ExperimentInfo {
        name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        title: experiment.title.clone(),
        description: experiment.description.clone(),
        tags: experiment.tags.clone(),
        path: path.clone(),
        sha256: hash.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// A system definition or a Compose file in the place of an experiment would drown its reader in unknown keys.
fn refuse_other_files(document: &Document) -> Result<(), Diagnostic> {
    let has = |key: &str| document.root.get(key).is_some();
    if has("workload") || has("method") || has("steady-state-hypothesis") {
        return Ok(());
    }
    let other = if has("operations") && has("name") {
        "a system definition"
    } else if has("services") && (has("networks") || has("volumes") || has("name") || !has("system")) {
        "a Compose file"
    } else {
        return Ok(());
    };
    Err(document
        .diagnostic(document.root.head(), format!("this is {other}, not an experiment"))
        .allowed("an experiment: title, system, workload, steady-state-hypothesis, method, ...")
        .hint("name a file of experiments/; `nightmail schema experiment` says what belongs in one"))
}
