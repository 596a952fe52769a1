//! The documents: what the U.S. Geological Survey published of a week in 2018, and what is done with them.

use anyhow::Context;
use peerloom_core::json;
use serde_json::{Value, json};

/// In the public domain; see the README beside it.
const CATALOGUE: &str = include_str!("../../earthquakes/data/earthquakes.geojson");

/// A document.
#[derive(Clone, Debug)]
pub(crate) struct Earthquake {
    pub(crate) id: String,
    pub(crate) body: Value,
}

impl Earthquake {
    /// As somebody edits it who has looked at it.
    pub(crate) fn reviewed(&self, editor: &str) -> Self {
        self.with("status", json!("reviewed")).with("editor", json!(editor))
    }

    /// With a magnitude that differs.
    pub(crate) fn measured(&self, by: f64, editor: &str) -> Self {
        let magnitude = self.magnitude() + by;
        self.with("mag", json!((magnitude * 100.0).round() / 100.0)).reviewed(editor)
    }

    /// As the batch with this number writes it.
    pub(crate) fn in_batch(&self, number: usize) -> Self {
        self.with("batch", json!(number))
    }

    fn magnitude(&self) -> f64 {
        self.body["properties"]["mag"].as_f64().unwrap_or_default()
    }

    fn with(&self, property: &str, value: Value) -> Self {
        let mut edited = self.clone();
        edited.body["properties"][property] = value;
        edited
    }
}

/// All earthquakes of the catalogue, the strongest first.
pub(crate) fn catalogue() -> anyhow::Result<Vec<Earthquake>> {
    let catalogue: Value = serde_json::from_str(CATALOGUE)?;
    let features = catalogue["features"].as_array().context("the catalogue has features")?;
    let mut earthquakes = Vec::new();
    for feature in features {
        let id = feature["id"].as_str().context("an earthquake has an id")?.to_owned();
        earthquakes.push(Earthquake { id, body: feature.clone() });
    }
    earthquakes.sort_by(|left, right| right.magnitude().total_cmp(&left.magnitude()));
    Ok(earthquakes)
}

/// Documents in the form that `peerloom-peer import` reads.
pub(crate) fn lines(earthquakes: &[Earthquake]) -> String {
    let line = |document: &Earthquake| format!("{}\n", json!({ "id": document.id, "value": document.body }));
    earthquakes.iter().map(line).collect()
}

/// The bytes of these documents, ids and bodies, without anything that a protocol adds.
pub(crate) fn bytes_of(earthquakes: &[Earthquake]) -> u64 {
    let body = |document: &Earthquake| json::to_canonical(&document.body).map_or(0, |body| body.len());
    earthquakes.iter().map(|document| (document.id.len() + body(document)) as u64).sum()
}

/// The mean of the versions of a document in conflict.
pub(crate) fn mean(conflict: &Value) -> anyhow::Result<Earthquake> {
    let id = conflict["id"].as_str().context("a conflict has an id")?.to_owned();
    let versions = conflict["versions"].as_array().context("a conflict has versions")?;
    let version = |version: &Value| Earthquake { id: id.clone(), body: version["content"]["value"].clone() };
    let versions: Vec<Earthquake> = versions.iter().map(version).collect();
    let sum: f64 = versions.iter().map(Earthquake::magnitude).sum();
    let first = versions.first().context("a conflict has versions")?;
    Ok(first.measured(sum / versions.len() as f64 - first.magnitude(), "quito, for all"))
}
