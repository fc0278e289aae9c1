//! What ranks take to exchange values.
//!
//! Without measurements, collectives are rings. Each of N ranks passes parts of S/N bytes on, N − 1 times to
//! gather or to reduce and scatter, and twice as often to do both:
//!
//! ```text
//! all-gather, reduce-scatter   (N − 1) × (latency + S / (N × bandwidth))
//! all-reduce               2 × (N − 1) × (latency + S / (N × bandwidth))
//! send                                    latency + S / bandwidth
//! ```
//!
//! P. Patarasuk, X. Yuan: Bandwidth optimal all-reduce algorithms for clusters of workstations. J. Parallel
//! Distrib. Comput. 69 (2009). NCCL's notes on performance have the same terms.

use super::deployment::Network;

impl Network {
    /// All-reduce of `bytes` among `ranks`, ns. None without a measurement and without a link.
    pub(super) fn all_reduce_ns(&self, bytes: f64, ranks: u32) -> Option<f64> {
        if ranks < 2 {
            return Some(0.0);
        }
        match self.all_reduce.is_empty() {
            false => Some(along(&self.all_reduce, bytes)),
            true => Some(2.0 * self.gather_ns(bytes, ranks)?),
        }
    }

    /// All-gather to, or reduce-scatter of, `bytes` in all among `ranks`, ns.
    pub(super) fn gather_ns(&self, bytes: f64, ranks: u32) -> Option<f64> {
        if ranks < 2 {
            return Some(0.0);
        }
        let Some(link) = self.link else {
            // An all-reduce is a reduce-scatter and an all-gather.
            return (!self.all_reduce.is_empty()).then(|| along(&self.all_reduce, bytes) / 2.0);
        };
        let part = bytes / f64::from(ranks) / link.bytes_per_second as f64 * 1e9;
        Some(f64::from(ranks - 1) * (link.latency_ns as f64 + part))
    }

    /// `bytes` from one rank to another, ns.
    pub(super) fn send_ns(&self, bytes: f64) -> Option<f64> {
        if !self.send.is_empty() {
            return Some(along(&self.send, bytes));
        }
        let link = self.link?;
        Some(link.latency_ns as f64 + bytes / link.bytes_per_second as f64 * 1e9)
    }
}

/// On the line through the points around, or through the last two. Level below the first.
fn along(points: &[(u64, f64)], bytes: f64) -> f64 {
    let above = points.partition_point(|(size, _)| (*size as f64) < bytes);
    if above == 0 {
        return points[0].1;
    }
    let above = above.min(points.len() - 1);
    let ((x0, y0), (x1, y1)) = (points[above - 1], points[above]);
    (y0 + (y1 - y0) * (bytes - x0 as f64) / (x1 as f64 - x0 as f64)).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::super::deployment::Link;
    use super::*;

    #[test]
    fn rings_take_what_the_formula_says() {
        let link = Link { bytes_per_second: 1_000_000_000, latency_ns: 500 };
        let network = Network { link: Some(link), ..Network::default() };
        // 4 ranks pass 1000 bytes, one byte a nanosecond.
        assert_eq!(network.gather_ns(4000.0, 4), Some(4500.0));
        assert_eq!(network.all_reduce_ns(4000.0, 4), Some(9000.0));
        assert_eq!(network.send_ns(4000.0), Some(4500.0));
        assert_eq!(Network::default().all_reduce_ns(4000.0, 1), Some(0.0));
        assert_eq!(Network::default().all_reduce_ns(4000.0, 2), None);
    }

    #[test]
    fn measured_durations_come_first() {
        let network = Network { all_reduce: vec![(1000, 10.0), (3000, 20.0)], ..Network::default() };
        let found = [500.0, 2000.0, 5000.0].map(|bytes| network.all_reduce_ns(bytes, 2));
        assert_eq!(found, [Some(10.0), Some(15.0), Some(30.0)]);
    }
}
