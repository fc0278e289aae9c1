//! When an error passes. Three things are weighed: the error, how much it
//! depends on which requests were in the workload (the bootstrap interval), and
//! how far the machine disagrees with itself (the noise floor).
//!
//! * **fail**: |error| is above `warn`. Nothing excuses it: a noisy machine is
//!   no argument for a simulator.
//! * **pass**: the noise floor is not above `warn` (else the machine cannot tell
//!   a good simulator from a bad one), at least [`MIN_REQUESTS_TO_PASS`] requests
//!   were compared, and one of
//!   * *shown*: error and whole interval lie within ±`pass`. This is an
//!     equivalence test (Schuirmann, J. Pharmacokinetics and Biopharmaceutics
//!     15, 1987): absence of evidence for an error is not enough;
//!   * *hidden by noise*: |error| is not above the noise floor, so repeating the
//!     measurement moves the truth as much as the simulator misses it; the
//!     interval reaches into ±`pass` and nowhere beyond ±`warn`. Noise thus
//!     forgives what lies between `pass` and `warn`, and nothing beyond.
//! * **warn**: everything else, errors that are within `pass` but not shown to
//!   be among them.
//!
//! With one repeat the noise is unknown and excuses nothing.

use super::comparison::Verdict;

/// An interval from fewer requests says nothing: of one request it has no width at all.
pub const MIN_REQUESTS_TO_PASS: usize = 5;

/// The rule in words, for summaries and reports.
pub const VERDICT_RULE: &str = "\
Fail: the error is beyond the warn limit, whatever the noise. \
Pass: the noise floor is within the warn limit, at least 5 requests were compared, and either the error and its whole \
interval lie within the pass limit, or the error is within the noise floor and its interval reaches into the pass \
limit and not beyond the warn limit. \
Warn: anything else.";

/// An error and what it is judged by, per cent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Evidence {
    pub error: f64,
    pub low: f64,
    pub high: f64,
    pub noise: Option<f64>,
    pub requests: usize,
}

/// The verdict on one figure; limits are per cent, and a value equal to a limit is within it.
pub(super) fn judge(evidence: &Evidence, pass: f64, warn: f64) -> Verdict {
    let Evidence { error, low, high, noise, requests } = *evidence;
    let within = |limit: f64| -limit <= low && high <= limit;
    if error.abs() > warn {
        return Verdict::Fail;
    }
    if requests < MIN_REQUESTS_TO_PASS || noise.is_some_and(|noise| noise > warn) {
        return Verdict::Warn;
    }
    let shown = error.abs() <= pass && within(pass);
    let reaches_pass = low <= pass && -pass <= high;
    let hidden_by_noise = noise.is_some_and(|noise| error.abs() <= noise) && reaches_pass && within(warn);
    if shown || hidden_by_noise { Verdict::Pass } else { Verdict::Warn }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_as_a_table() {
        use Verdict::{Fail, Pass, Warn};
        // pass 5 %, warn 9 %
        let table = [
            // error, low, high, noise, requests → verdict
            (1.0, -1.0, 3.0, None, 64, Pass),
            (-1.0, -3.0, 1.0, None, 64, Pass),
            (5.0, 5.0, 5.0, None, 64, Pass),
            (1.0, -1.0, 5.1, None, 64, Warn),
            (1.0, -5.1, 3.0, None, 64, Warn),
            (6.0, 4.0, 8.0, None, 64, Warn),
            (5.1, 3.0, 4.9, None, 64, Warn),
            (9.1, 8.0, 10.0, None, 64, Fail),
            (-9.1, -10.0, 1.0, None, 64, Fail),
            // Noise forgives what is between pass and warn …
            (6.0, 4.0, 8.0, Some(6.0), 64, Pass),
            (-6.0, -8.0, -4.0, Some(7.0), 64, Pass),
            (1.0, -1.0, 5.1, Some(1.0), 64, Pass),
            // … but not when the error stands out of it, when the data rule an error within pass out,
            // or when they admit one beyond warn.
            (6.0, 4.0, 8.0, Some(5.9), 64, Warn),
            (6.0, 5.5, 8.0, Some(8.0), 64, Warn),
            (6.0, 4.0, 9.5, Some(8.0), 64, Warn),
            (1.0, -9.5, 4.0, Some(8.0), 64, Warn),
            // A machine noisier than warn shows nothing, and excuses nothing.
            (1.0, -1.0, 3.0, Some(9.1), 64, Warn),
            (20.0, 4.0, 36.0, Some(50.0), 64, Fail),
            // Too few requests.
            (0.0, 0.0, 0.0, Some(0.0), 4, Warn),
            (0.0, 0.0, 0.0, None, 5, Pass),
            (12.0, 12.0, 12.0, None, 1, Fail),
        ];
        for (error, low, high, noise, requests, wanted) in table {
            let evidence = Evidence { error, low, high, noise, requests };
            assert_eq!(judge(&evidence, 5.0, 9.0), wanted, "{evidence:?}");
        }
    }

    #[test]
    fn no_noise_turns_an_error_beyond_warn_into_a_pass() {
        for noise in (0..200).map(f64::from) {
            let evidence = Evidence { error: 9.01, low: -9.0, high: 9.0, noise: Some(noise), requests: 1000 };
            assert_eq!(judge(&evidence, 5.0, 9.0), Verdict::Fail);
        }
    }

    #[test]
    fn the_words_name_the_number_of_requests() {
        assert!(VERDICT_RULE.contains(&format!("at least {MIN_REQUESTS_TO_PASS} requests")));
    }
}
