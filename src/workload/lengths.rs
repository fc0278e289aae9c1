//! Prompt and output lengths.

use std::path::Path;

use super::WorkloadError;
use super::data_file::data_file;
use super::stream::Stream;
use super::table::Table;
use crate::spec::Lengths;
use crate::store::read_text_bounded;

/// Tokens of a request: in, out. Out is none where the spec leaves it to `decode-tokens`.
pub(crate) type Pair = (u32, Option<u32>);

/// Longest prompt or output that is believed, in tokens.
pub(super) const MAX_TOKENS: u32 = 1 << 20;

/// Largest trace that is read, in bytes.
pub(super) const MAX_TRACE: u64 = 512 << 20;

/// Lengths of `requests` requests; a trace gives at most as many.
pub(super) fn lengths(
    spec: &Lengths,
    requests: u32,
    stream: &mut Stream,
    root: &Path,
) -> Result<Vec<Pair>, WorkloadError> {
    match *spec {
        Lengths::Fixed { prefill, decode } => {
            check_tokens("prefill", prefill)?;
            Ok(vec![(prefill, decode); requests as usize])
        }
        Lengths::Uniform { min, max, prefill_to_decode } => {
            let split = Split::new(min, max, prefill_to_decode)?;
            let span = u64::from(max - min) + 1;
            Ok((0..requests).map(|_| split.pair(min + stream.below(span) as u32)).collect())
        }
        Lengths::Zipf { theta, min, max, prefill_to_decode } => {
            let split = Split::new(min, max, prefill_to_decode)?;
            let zipf = Zipf::new(theta, max - min + 1)?;
            Ok((0..requests).map(|_| split.pair(min + zipf.rank(stream.unit()) - 1)).collect())
        }
        Lengths::Trace { ref path } => {
            trace_lengths(path, &read_text_bounded(&data_file(root, path)?, MAX_TRACE)?, requests)
        }
    }
}

fn check_tokens(name: &'static str, tokens: u32) -> Result<(), WorkloadError> {
    if (1..=MAX_TOKENS).contains(&tokens) {
        return Ok(());
    }
    Err(WorkloadError::parameter(name, tokens, &format!("must be between 1 and {MAX_TOKENS}")))
}

/// Splits a total by a prefill-to-decode ratio r: prefill = round(total · r / (1 + r)), both at least 1.
struct Split {
    share: f64,
}

impl Split {
    fn new(min: u32, max: u32, ratio: f64) -> Result<Self, WorkloadError> {
        if min < 2 || max < min || max > MAX_TOKENS {
            let value = format!("{min}, max {max}");
            let message =
                format!("must hold 2 ≤ min ≤ max ≤ {MAX_TOKENS}: a prompt and an output token at least");
            return Err(WorkloadError::parameter("min", value, &message));
        }
        if !(ratio > 0.0 && ratio.is_finite()) {
            return Err(WorkloadError::parameter("prefill-to-decode", ratio, "must be a positive number"));
        }
        Ok(Self { share: ratio / (1.0 + ratio) })
    }

    fn pair(&self, total: u32) -> Pair {
        let prefill = ((f64::from(total) * self.share).round() as u32).clamp(1, total - 1);
        (prefill, Some(total - prefill))
    }
}

/// A Zipf distribution bounded to ranks 1..=n, P(rank) ∝ rank^−theta, by inversion of the
/// cumulative sums (Devroye, "Non-Uniform Random Variate Generation", 1986, section III.2).
///
/// The sums are kept for every rank: exact but for rounding, where the usual closed-form
/// approximation (Gray et al., "Quickly generating billion-record synthetic databases",
/// SIGMOD 1994) is off for small ranks and undefined for theta = 1.
struct Zipf {
    cumulative: Vec<f64>,
}

impl Zipf {
    fn new(theta: f64, n: u32) -> Result<Self, WorkloadError> {
        if !(0.0..=100.0).contains(&theta) {
            return Err(WorkloadError::parameter("theta", theta, "must be between 0 and 100"));
        }
        let mut sum = 0.0;
        let cumulative = (1..=n)
            .map(|rank| {
                sum += libm::pow(f64::from(rank), -theta);
                sum
            })
            .collect();
        Ok(Self { cumulative })
    }

    /// The rank at `unit` in [0, 1).
    fn rank(&self, unit: f64) -> u32 {
        let total = self.cumulative.last().copied().unwrap_or(1.0);
        let index = self.cumulative.partition_point(|&sum| sum <= unit * total);
        index.min(self.cumulative.len() - 1) as u32 + 1
    }
}

/// Columns `num_prefill_tokens` and `num_decode_tokens`; other columns are ignored.
pub(crate) fn trace_lengths(path: &str, text: &str, requests: u32) -> Result<Vec<Pair>, WorkloadError> {
    let table = Table::open(path, text)?;
    let (prefill, decode) = (table.column("num_prefill_tokens")?, table.column("num_decode_tokens")?);
    table.first(requests, |row| {
        Ok((row.bounded(prefill, 1, MAX_TOKENS)?, Some(row.bounded(decode, 1, MAX_TOKENS)?)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(spec: &Lengths, n: u32) -> Vec<Pair> {
        lengths(spec, n, &mut Stream::new(11, 0), Path::new(".")).unwrap()
    }

    fn mean(pairs: &[Pair]) -> f64 {
        pairs.iter().map(|&(prefill, decode)| f64::from(prefill + decode.unwrap())).sum::<f64>()
            / pairs.len() as f64
    }

    #[test]
    fn uniform_totals_have_their_mean_and_split() {
        let pairs = draw(&Lengths::Uniform { min: 12, max: 40, prefill_to_decode: 3.0 }, 100_000);
        assert!((mean(&pairs) / 26.0 - 1.0).abs() < 0.02);
        for (prefill, decode) in pairs {
            let decode = decode.unwrap();
            assert!((12..=40).contains(&(prefill + decode)));
            assert!((f64::from(prefill) - 0.75 * f64::from(prefill + decode)).abs() <= 0.5);
        }
    }

    #[test]
    fn an_extreme_ratio_leaves_one_token_each() {
        for (ratio, wanted) in [(1e6, (1, Some(1))), (1e-6, (1, Some(1)))] {
            assert_eq!(draw(&Lengths::Uniform { min: 2, max: 2, prefill_to_decode: ratio }, 1), [wanted]);
        }
        assert_eq!(Split::new(2, 99, 1e6).unwrap().pair(99), (98, Some(1)));
        assert_eq!(Split::new(2, 99, 1e-6).unwrap().pair(99), (1, Some(98)));
    }

    #[test]
    fn zipf_ranks_follow_their_law() {
        for theta in [0.0, 0.6, 1.0, 3.0] {
            let weights: Vec<f64> = (1..=50).map(|rank| f64::from(rank).powf(-theta)).collect();
            let total: f64 = weights.iter().sum();
            let wanted: f64 =
                weights.iter().zip(10..).map(|(weight, length)| weight * f64::from(length)).sum();
            let pairs = draw(&Lengths::Zipf { theta, min: 10, max: 59, prefill_to_decode: 1.0 }, 100_000);
            assert!((mean(&pairs) / (wanted / total) - 1.0).abs() < 0.02, "theta {theta}");
            let first = pairs.iter().filter(|(p, d)| p + d.unwrap() == 10).count() as f64 / 1e5;
            assert!((first - weights[0] / total).abs() < 0.01, "theta {theta}: {first}");
        }
        let zipf = Zipf::new(0.6, 3).unwrap();
        assert_eq!((zipf.rank(0.0), zipf.rank(1.0 - f64::EPSILON / 2.0)), (1, 3));
    }

    #[test]
    fn parameters_that_make_no_distribution_are_refused() {
        let mut stream = Stream::new(0, 0);
        for bad in [
            Lengths::Fixed { prefill: 0, decode: None },
            Lengths::Uniform { min: 1, max: 4, prefill_to_decode: 1.0 },
            Lengths::Uniform { min: 9, max: 4, prefill_to_decode: 1.0 },
            Lengths::Uniform { min: 2, max: u32::MAX, prefill_to_decode: 1.0 },
            Lengths::Uniform { min: 2, max: 4, prefill_to_decode: f64::NAN },
            Lengths::Zipf { theta: f64::NAN, min: 2, max: 4, prefill_to_decode: 1.0 },
            Lengths::Zipf { theta: -1.0, min: 2, max: 4, prefill_to_decode: 1.0 },
        ] {
            let found = lengths(&bad, 1, &mut stream, Path::new("."));
            assert!(matches!(found, Err(WorkloadError::Parameter { .. })), "{bad:?}: {found:?}");
        }
    }

    #[test]
    fn a_trace_is_read_strictly() {
        let dir = tempfile::tempdir().unwrap();
        let read = |text: &str| {
            std::fs::write(dir.path().join("trace.csv"), text).unwrap();
            let spec = Lengths::Trace { path: "trace.csv".to_owned() };
            lengths(&spec, 2, &mut Stream::new(0, 0), dir.path()).map_err(|error| error.to_string())
        };
        let good = "time,num_prefill_tokens,num_decode_tokens\nx,3,4\n\"a,b\",5,6\nz,7,8\n";
        assert_eq!(read(good).unwrap(), [(3, Some(4)), (5, Some(6))]);
        let cases = [
            ("", "trace.csv:1: there is no column `num_prefill_tokens`"),
            ("num_prefill_tokens\n3\n", "trace.csv:1: there is no column `num_decode_tokens`"),
            (
                "num_prefill_tokens,num_decode_tokens\n",
                "trace.csv has 0 rows, the workload asks for 2 requests",
            ),
            ("num_prefill_tokens,num_decode_tokens\n3,4\n3\n", "trace.csv:3: 1 fields, the header has 2"),
            (
                "num_prefill_tokens,num_decode_tokens\n3,-4\n",
                "trace.csv:2, column `num_decode_tokens`: \"-4\" is not a whole number",
            ),
            (
                "num_prefill_tokens,num_decode_tokens\nNaN,4\n",
                "trace.csv:2, column `num_prefill_tokens`: \"NaN\" is not a whole number",
            ),
            (
                "num_prefill_tokens,num_decode_tokens\n0,4\n",
                "trace.csv:2, column `num_prefill_tokens`: 0 is not between 1 and 1048576",
            ),
            (
                "num_prefill_tokens,num_decode_tokens\n3,4\n3,4\n3,99999999999999999999\n",
                "trace.csv:4, column `num_decode_tokens`: 99999999999999999999 is too large",
            ),
        ];
        for (text, wanted) in cases {
            assert_eq!(read(text).unwrap_err(), wanted);
        }
    }
}
