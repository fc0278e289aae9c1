//! What tokens cost.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::canonical::six_digits;

/// Most devices of a configuration.
pub const MAX_DEVICES: u32 = 1_000_000;
/// Highest price of a device, per hour.
pub const MAX_PRICE: f64 = 1e6;

/// What a configuration costs while it is rented.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Per device and hour, in the document's currency.
    pub per_device_hour: f64,
    /// Devices: tensor × pipeline × replicas.
    pub devices: u32,
}

impl Price {
    /// Whether it is a price: not negative, finite, of at least one device.
    pub fn is_sound(&self) -> bool {
        (0.0..=MAX_PRICE).contains(&self.per_device_hour) && (1..=MAX_DEVICES).contains(&self.devices)
    }
}

/// Cost of a million output tokens:
///
/// ```text
/// price per device-hour × devices / 3600 s × 10⁶ / (output tokens/s)
/// ```
///
/// Output tokens/s are the run's output tokens over its duration, from the start to the last token: idle time, and
/// the time in which the last requests drain, are paid for. Prompt tokens are in the price of the output.
/// Six significant digits; none where no token came out or the price is none.
pub fn cost_per_million(price: &Price, output_tokens_per_s: f64) -> Option<f64> {
    let per_second = price.per_device_hour * f64::from(price.devices) / 3600.0;
    let cost = per_second * 1e6 / output_tokens_per_s;
    (price.is_sound() && output_tokens_per_s > 0.0 && cost.is_finite()).then(|| six_digits(cost))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_tokens_by_hand() {
        // 1,000 tokens/s need 1,000 s for a million: two devices at 3.60 an hour are 2 × 1.00.
        let price = Price { per_device_hour: 3.6, devices: 2 };
        assert_eq!(cost_per_million(&price, 1_000.0), Some(2.0));
        assert_eq!(cost_per_million(&price, 0.0), None);
        assert_eq!(cost_per_million(&price, f64::NAN), None);
        assert_eq!(cost_per_million(&Price { devices: 0, ..price }, 1.0), None);
        assert_eq!(cost_per_million(&Price { per_device_hour: -1.0, ..price }, 1.0), None);
        assert_eq!(cost_per_million(&Price { per_device_hour: 0.0, ..price }, 1.0), Some(0.0));
    }
}
