//! The documents: earthquakes as the U.S. Geological Survey published them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Part of the program, so that the demo runs from any directory.
const CATALOGUE: &str = include_str!("../data/earthquakes.geojson");

/// One earthquake. What the demo edits has a name here; everything else is carried along as it is.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Earthquake {
    pub(crate) id: String,
    pub(crate) properties: Properties,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Properties {
    #[serde(rename = "mag")]
    pub(crate) magnitude: f64,
    pub(crate) place: String,
    pub(crate) status: String,
    /// `earthquake`, `quarry blast` or `explosion`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// Which replica edited it last. Not in the catalogue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) editor: Option<String>,
    /// The batch that wrote it last in the chapter about the crash. Not in the catalogue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) batch: Option<usize>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Deserialize)]
struct Catalogue {
    features: Vec<Earthquake>,
}

/// All earthquakes of the catalogue, the strongest first.
pub(crate) fn catalogue() -> serde_json::Result<Vec<Earthquake>> {
    let Catalogue { mut features } = serde_json::from_str(CATALOGUE)?;
    features.sort_by(|left, right| right.properties.magnitude.total_cmp(&left.properties.magnitude));
    Ok(features)
}

/// The ids of some earthquakes.
pub(crate) fn ids(earthquakes: &[Earthquake]) -> Vec<String> {
    earthquakes.iter().map(|earthquake| earthquake.id.clone()).collect()
}
