//! JSON Schemas of the file formats, for editors.

use schemars::schema_for;
use serde_json::Value;

use super::spec::Experiment;
use crate::system::definition::SystemDefinition;

/// The JSON Schema of an experiment.
pub fn schema() -> Value {
    schema_for!(Experiment).to_value()
}

/// The JSON Schema of `system.yaml`.
pub fn system_schema() -> Value {
    schema_for!(SystemDefinition).to_value()
}
