//! Axes: a range of values, round ticks, and the map to fractions of a plot's side.

use super::number::{THIN, TimeUnit, plain};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    Linear,
    Log,
}

/// Values beyond this are drawn at it: far more nanoseconds than anybody waits.
const FAR: f64 = 1e24;

/// An axis from `lo` to `hi` (`lo` below `hi`; both positive on a logarithmic axis).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    pub lo: f64,
    pub hi: f64,
    pub scale: Scale,
    /// Value and label, ascending.
    pub ticks: Vec<(f64, String)>,
}

/// 10^`k`, exactly rounded on every platform.
fn power(k: i32) -> f64 {
    format!("1e{k}").parse().unwrap_or(f64::MAX)
}

fn exponent(x: f64) -> i32 {
    let k = libm::floor(libm::log10(x)) as i32;
    // log10 may round across a power of ten.
    if power(k + 1) <= x { k + 1 } else { k }
}

/// The smallest 1, 2, 2.5 or 5 times a power of ten that is at least `x`.
fn nice(x: f64) -> f64 {
    let base = power(exponent(x));
    [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .map(|m| m * base)
        .find(|step| *step >= x * (1.0 - 1e-9))
        .unwrap_or(x)
}

/// Label of a tick: as many decimals as the step needs; from a hundred thousand up in thousands.
fn tick_label(value: f64, step: f64) -> String {
    if value.abs() >= 99_999.5 {
        return match value.abs() {
            a if a >= 1e9 => format!("{}e9", plain(value / 1e9)),
            a if a >= 1e6 => format!("{}M", plain(value / 1e6)),
            _ => format!("{}k", plain(value / 1e3)),
        };
    }
    // 2.5 and 25 need one decimal more than their power of ten.
    let digits =
        (0..=6).find(|d| (step * power(*d)).round() > 0.0 && ((step * power(*d)).fract()).abs() < 1e-6);
    super::number::fixed(value, digits.unwrap_or(3) as usize)
}

impl Axis {
    /// A linear axis that holds `min` to `max` and ends on ticks, 3 to 5 of them
    /// (rarely 6). It starts at zero unless all values are far from it.
    pub(super) fn linear(min: f64, max: f64) -> Axis {
        let (mut min, mut max) = (min.min(max), max.max(min));
        if !min.is_finite() || !max.is_finite() {
            (min, max) = (0.0, 1.0);
        }
        (min, max) = (min.clamp(-FAR, FAR), max.clamp(-FAR, FAR));
        if min >= 0.0 && min < 0.45 * max {
            min = 0.0;
        }
        // Values that hardly differ are not blown up: an axis spans eight per cent of them or more.
        let least = 0.08 * max.abs().max(min.abs());
        if max - min < least {
            let pad = (least - (max - min)) / 2.0;
            (min, max) = (min - pad, max + pad);
        }
        if max - min < 1e-9 {
            (min, max) = (min, min + 1.0);
        }
        let mut step = nice((max - min) / 4.0);
        let (lo, hi) = loop {
            let lo = libm::floor(min / step + 1e-9) * step;
            let hi = libm::ceil(max / step - 1e-9) * step;
            if (hi - lo) / step < 4.5 || step > 4.0 * FAR {
                break (lo, hi);
            }
            step = nice(step * 1.01);
        };
        let steps = ((hi - lo) / step).round() as usize;
        // As few as two steps are left when the range barely spans one: halve it.
        let step = if steps < 2 { step / 2.0 } else { step };
        Axis::with_step(lo, hi, step)
    }

    /// A linear axis with a tick at each multiple of `step` from `lo`.
    fn with_step(lo: f64, hi: f64, step: f64) -> Axis {
        let steps = ((hi - lo) / step).round() as usize;
        let ticks = (0..=steps.min(12))
            .map(|i| lo + i as f64 * step)
            .map(|value| (value, tick_label(value, step)))
            .collect();
        Axis { lo, hi, scale: Scale::Linear, ticks }
    }

    /// A linear axis of exactly `lo` to `hi` with round ticks inside, for time along a page.
    pub(super) fn inside(hi: f64, ticks: usize) -> Axis {
        let hi = if hi.is_finite() && hi > 1e-6 { hi.min(FAR) } else { 1.0 };
        let step = nice(hi / ticks as f64);
        let count = libm::floor(hi / step + 1e-9) as usize;
        let mut axis = Axis::with_step(0.0, count as f64 * step, step);
        axis.hi = hi;
        axis
    }

    /// An axis from 0 with ticks at 0, the middle and the end, for a low panel.
    pub(super) fn panel(max: f64) -> Axis {
        let max = if max.is_finite() && max > 1e-6 { max.min(FAR) } else { 1.0 };
        let base = power(exponent(max));
        let hi = [1.0, 1.6, 2.0, 2.4, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0]
            .into_iter()
            .map(|m| m * base)
            .find(|hi| *hi >= max * (1.0 - 1e-9))
            .unwrap_or(max);
        Axis::with_step(0.0, hi, hi / 2.0)
    }

    /// A logarithmic axis of times in ns whose ticks carry their own unit.
    pub(super) fn log_time(min: f64, max: f64) -> Axis {
        let (min, max) = (min.clamp(1e-3, FAR), max.clamp(1e-2, FAR));
        let (lo_k, hi_k) = (exponent(min), exponent(max));
        let lo =
            [5.0, 2.0, 1.0].into_iter().map(|m| m * power(lo_k)).find(|lo| *lo <= min).unwrap_or(power(lo_k));
        let hi = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|m| m * power(hi_k))
            .find(|hi| *hi >= max)
            .unwrap_or(power(hi_k + 1));
        let decades: Vec<f64> = (lo_k..=hi_k + 1).map(power).filter(|v| *v >= lo && *v <= hi).collect();
        let every = decades.len().div_ceil(5).max(1);
        let ticks = decades.into_iter().step_by(every).map(|v| (v, log_label(v))).collect();
        Axis { lo, hi, scale: Scale::Log, ticks }
    }

    /// A logarithmic axis that ends on 1, 2 or 5 times a power of ten, with ticks there or, where they would be
    /// more than seven, at powers alone.
    pub(super) fn log(min: f64, max: f64, label: impl Fn(f64) -> String) -> Axis {
        let (min, max) = (min.clamp(1e-9, FAR), max.clamp(1e-8, FAR));
        let (lo_k, hi_k) = (exponent(min), exponent(max));
        let all: Vec<f64> = (lo_k..=hi_k + 1).flat_map(|k| [1.0, 2.0, 5.0].map(|m| m * power(k))).collect();
        let lo = all.iter().copied().rev().find(|v| *v <= min).unwrap_or(power(lo_k));
        // At least two steps: one value alone is an axis too.
        let above: Vec<f64> = all.iter().copied().filter(|v| *v > lo).take(2).collect();
        let hi = all.iter().copied().find(|v| *v >= max).unwrap_or(power(hi_k + 1));
        let hi = above.last().copied().unwrap_or(hi).max(hi);
        let inside = |v: &f64| *v >= lo && *v <= hi;
        let mut ticks: Vec<f64> = all.iter().copied().filter(inside).collect();
        if ticks.len() > 7 {
            ticks = (lo_k..=hi_k + 1).map(power).filter(inside).collect();
            ticks = ticks.iter().copied().step_by(ticks.len().div_ceil(5).max(1)).collect();
        }
        Axis { lo, hi, scale: Scale::Log, ticks: ticks.into_iter().map(|v| (v, label(v))).collect() }
    }

    /// Position of a value along the axis: 0 at `lo`, 1 at `hi`, beyond them outside.
    pub(super) fn at(&self, value: f64) -> f64 {
        let value = value.clamp(-FAR, FAR);
        match self.scale {
            Scale::Linear => (value - self.lo) / (self.hi - self.lo),
            Scale::Log if value <= 0.0 => -1.0,
            Scale::Log => libm::log(value / self.lo) / libm::log(self.hi / self.lo),
        }
    }
}

pub(super) fn log_label(ns: f64) -> String {
    let unit = if ns >= 1e9 {
        TimeUnit::S
    } else if ns >= 1e6 {
        TimeUnit::Ms
    } else if ns >= 1e3 {
        TimeUnit::Us
    } else {
        TimeUnit::Ns
    };
    format!("{}{THIN}{}", plain(ns / unit.ns()), unit.symbol())
}

/// Values of a metric in ns as axis values: logarithmic in ns, or linear in `unit`.
pub(super) fn time_axis(values: &[f64], unit: TimeUnit) -> Axis {
    let positive = || values.iter().copied().filter(|v| v.is_finite() && *v > 0.0);
    let (min, max) = (positive().fold(f64::INFINITY, f64::min), positive().fold(0.0, f64::max));
    if max > 0.0 && max / min > 50.0 && spread_is_wide(values) {
        return Axis::log_time(min, max);
    }
    let least = values.iter().copied().filter(|v| v.is_finite()).fold(f64::INFINITY, f64::min);
    Axis::linear(if least.is_finite() { least / unit.ns() } else { 0.0 }, max / unit.ns())
}

/// Whether a linear axis would press a quarter of the values into its first hundredth.
fn spread_is_wide(values: &[f64]) -> bool {
    let max = values.iter().copied().filter(|v| v.is_finite()).fold(0.0, f64::max);
    let low = values.iter().filter(|v| **v < 0.02 * max).count();
    low * 20 >= values.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn linear_axes_end_on_round_ticks() {
        assert_eq!(labels(&Axis::linear(0.23, 140.6)), ["0", "50", "100", "150"]);
        assert_eq!(labels(&Axis::linear(20.4, 64.0)), ["0", "20", "40", "60", "80"]);
        assert_eq!(labels(&Axis::linear(30.0, 34.2)), ["30", "32", "34", "36"]);
        assert_eq!(labels(&Axis::linear(0.000_1, 0.004)), ["0.000", "0.001", "0.002", "0.003", "0.004"]);
        for (min, max) in
            [(0.0, 0.0), (7.0, 7.0), (-3.0, 9.0), (1e-6, 2e-6), (0.0, 1e15), (-1e23, 1e23), (99.999, 100.001)]
        {
            let axis = Axis::linear(min, max);
            assert!(axis.lo <= min && axis.hi >= max && axis.lo < axis.hi, "{axis:?}");
            assert!((2..=6).contains(&axis.ticks.len()), "{min} {max} {axis:?}");
        }
    }

    #[test]
    fn log_axes_carry_units_and_keep_few_ticks() {
        assert_eq!(labels(&Axis::log_time(2e8, 1.4e11)), ["1\u{202f}s", "10\u{202f}s", "100\u{202f}s"]);
        let wide = Axis::log_time(3.0, 4e14);
        assert!((3..=5).contains(&wide.ticks.len()), "{wide:?}");
        assert!((wide.at(wide.hi) - 1.0).abs() < 1e-12 && wide.at(wide.lo) == 0.0);
    }

    #[test]
    fn short_log_axes_have_ticks_between_powers() {
        let label = |v: f64| plain(v);
        assert_eq!(labels(&Axis::log(0.25, 3.0, label)), ["0.2", "0.5", "1", "2", "5"]);
        assert_eq!(labels(&Axis::log(0.3, 900.0, label)), ["1", "10", "100", "1,000"]);
        assert_eq!(labels(&Axis::log(3.0, 3.0, label)), ["2", "5", "10"]);
        for (min, max) in [(0.0, 0.0), (1e-30, 1e30), (5.0, 5.0), (9.99, 10.01)] {
            let axis = Axis::log(min, max, label);
            assert!(axis.lo < axis.hi && (2..=7).contains(&axis.ticks.len()), "{min} {max} {axis:?}");
        }
    }

    #[test]
    fn panels_have_three_ticks_and_room() {
        assert_eq!(labels(&Axis::panel(47.0)), ["0", "25", "50"]);
        assert_eq!(labels(&Axis::panel(0.0)), ["0.0", "0.5", "1.0"]);
        assert_eq!(labels(&Axis::panel(1.0)), ["0.0", "0.5", "1.0"]);
        assert_eq!(labels(&Axis::panel(2.3e5)), ["0", "120k", "240k"]);
    }

    #[test]
    fn a_time_axis_is_logarithmic_only_if_a_linear_one_hides_many() {
        let mut values: Vec<f64> = (1..=100).map(|i| f64::from(i) * 1e9).collect();
        assert_eq!(time_axis(&values, TimeUnit::S).scale, Scale::Linear);
        values.extend((1..=40).map(|i| f64::from(i) * 1e7));
        assert_eq!(time_axis(&values, TimeUnit::S).scale, Scale::Log);
        assert_eq!(time_axis(&[0.0], TimeUnit::Ms).scale, Scale::Linear);
        assert_eq!(time_axis(&[], TimeUnit::Ms).scale, Scale::Linear);
    }
}
