//! What the runs of a report cost, where that is known.

use serde::{Deserialize, Serialize};

use crate::capacity::Price;

/// Prices of the compared runs, in their order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// Such as `US$`.
    pub currency: String,
    /// Of each run; none where its hardware has no price. Runs beyond the end have none.
    pub runs: Vec<Option<Price>>,
}

impl Prices {
    /// With a currency that can be set, and without prices that are none.
    pub(super) fn cleaned(&self) -> Prices {
        let runs = self.runs.iter().map(|price| price.filter(Price::is_sound)).collect();
        Prices { currency: super::text::clean(&self.currency, 12), runs }
    }
}
