use std::process::ExitCode;

use serde_json::Value;

use super::super::args::SchemaArgs;
use super::super::error::CliError;
use super::super::json::Document;
use super::super::output;
use super::{check, lock as lock_command, status};
use crate::capacity::Capacity;
use crate::compare::Comparison;
use crate::metrics::RunMeta;
use crate::profile::{BundleMeta, StepProfile};
use crate::verify::Verified;
use crate::workload::WorkloadMeta;
use crate::{lock, spec, store};

/// Every schema by name.
pub fn schemas() -> Vec<(&'static str, Value)> {
    vec![
        ("experiment", spec::experiment_schema()),
        ("lock", lock::lock_schema()),
        ("run_meta", schemars::schema_for!(RunMeta).into()),
        ("workload_meta", schemars::schema_for!(WorkloadMeta).into()),
        ("bundle", schemars::schema_for!(BundleMeta).into()),
        ("steps", schemars::schema_for!(StepProfile).into()),
        ("comparison", schemars::schema_for!(Comparison).into()),
        ("capacity", schemars::schema_for!(Capacity).into()),
        ("json_check", schemars::schema_for!(Document<check::Check>).into()),
        ("json_lock", schemars::schema_for!(Document<lock_command::LockAnswer>).into()),
        ("json_status", schemars::schema_for!(Document<status::Status>).into()),
        ("json_verify", schemars::schema_for!(Document<Verified>).into()),
    ]
}

fn text(schema: &Value) -> String {
    format!("{schema:#}\n")
}

/// Prints one schema, lists them, or writes all.
pub fn run(args: &SchemaArgs) -> Result<ExitCode, CliError> {
    let schemas = schemas();
    let names = || schemas.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    match (&args.name, &args.write) {
        (_, Some(folder)) => {
            for (name, schema) in &schemas {
                let path = folder.join(format!("{name}.schema.json"));
                store::write(&path, text(schema).as_bytes()).map_err(|error| {
                    CliError::system(
                        format!("cannot write {}: {error}", path.display()),
                        "is the folder writable?",
                    )
                })?;
            }
        }
        (Some(name), None) => match schemas.iter().find(|(known, _)| known == name) {
            Some((_, schema)) => output::print(text(schema))?,
            None => {
                return Err(CliError::system(
                    format!("there is no schema {name:?}"),
                    &format!("one of {}", names()),
                ));
            }
        },
        (None, None) => output::line(names().replace(", ", "\n"))?,
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `XP_UPDATE_SCHEMAS=1 cargo test schemas` writes them anew.
    #[test]
    fn committed_schemas_are_those_of_the_types() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
        for (name, schema) in schemas() {
            let path = folder.join(format!("{name}.schema.json"));
            if std::env::var_os("XP_UPDATE_SCHEMAS").is_some() {
                store::write(&path, text(&schema).as_bytes()).unwrap();
            }
            let committed = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(committed == text(&schema), "{} is stale: run with XP_UPDATE_SCHEMAS=1", path.display());
        }
    }
}
