//! Who else used the processors while something was timed.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What disturbed a span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Disturbance {
    /// Time in which a host ran others instead of this machine, ns; told in units of 10 ms.
    pub steal_ns: u64,
    /// How often a thread of this process had to leave its processor to another.
    pub involuntary_switches: u64,
    /// How often a processor was slowed down for its heat.
    pub throttles: u64,
}

impl Disturbance {
    /// Whether there was any.
    pub fn any(&self) -> bool {
        *self != Self::default()
    }
}

/// Steps of a run that were disturbed, as `run_meta.json` keeps them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DisturbedSteps {
    /// Time that a host took, ns, over the run.
    pub steal_ns: u64,
    /// Involuntary context switches of the process, over the run.
    pub involuntary_switches: u64,
    /// Thermal throttlings of a processor, over the run.
    pub throttles: u64,
    /// Numbers of the disturbed steps: first and last of each row of neighbours, ascending.
    pub steps: Vec<(u32, u32)>,
}

/// Most rows of neighbours that are kept; what comes later is counted to the last.
const MOST_ROWS: usize = 10_000;

impl DisturbedSteps {
    /// Adds what happened in a step, whose number is above those before.
    pub fn add(&mut self, step: u32, disturbance: Disturbance) {
        self.steal_ns += disturbance.steal_ns;
        self.involuntary_switches += disturbance.involuntary_switches;
        self.throttles += disturbance.throttles;
        if !disturbance.any() {
            return;
        }
        let full = self.steps.len() >= MOST_ROWS;
        match self.steps.last_mut() {
            Some((_, last)) if *last + 1 >= step || full => *last = step,
            _ => self.steps.push((step, step)),
        }
    }

    /// Whether a step was disturbed.
    pub fn contains(&self, step: u32) -> bool {
        let after = self.steps.partition_point(|(first, _)| *first <= step);
        after > 0 && self.steps[after - 1].1 >= step
    }
}

/// Asks the system from time to time. Where it does not tell, nothing is noticed.
#[derive(Debug)]
pub struct Watch {
    stat: Option<File>,
    /// Throttlings of the first core; those of a package come to all its cores.
    throttle: Option<File>,
    steal_read: Instant,
    steal_ticks: u64,
    involuntary_switches: u64,
    throttles: u64,
}

/// Steal is told in ticks of 10 ms, and reading it takes longer than counting switches.
const TICK: Duration = Duration::from_millis(10);

impl Watch {
    /// From now on.
    pub fn start() -> Self {
        let mut watch = Self {
            stat: File::open("/proc/stat").ok(),
            throttle: File::open("/sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count").ok(),
            steal_read: Instant::now(),
            steal_ticks: 0,
            involuntary_switches: involuntary_switches(),
            throttles: 0,
        };
        watch.steal_ticks = watch.read_steal();
        watch.throttles = watch.read_throttles();
        watch
    }

    /// What happened since the last call, or since the start.
    pub fn lap(&mut self) -> Disturbance {
        let switches = involuntary_switches();
        let mut found = Disturbance {
            involuntary_switches: switches.saturating_sub(self.involuntary_switches),
            ..Disturbance::default()
        };
        self.involuntary_switches = switches;
        if self.steal_read.elapsed() >= TICK {
            let ticks = self.read_steal();
            found.steal_ns = ticks.saturating_sub(self.steal_ticks) * TICK.as_nanos() as u64;
            let throttles = self.read_throttles();
            found.throttles = throttles.saturating_sub(self.throttles);
            (self.steal_ticks, self.throttles, self.steal_read) = (ticks, throttles, Instant::now());
        }
        found
    }

    /// Ticks that were stolen from all processors since the machine started.
    fn read_steal(&mut self) -> u64 {
        steal_of(&beginning(&mut self.stat))
    }

    fn read_throttles(&mut self) -> u64 {
        let text = beginning(&mut self.throttle);
        std::str::from_utf8(text.trim_ascii()).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
    }
}

/// The first bytes of a file of the system's, as they are now; none of a file that is not there.
fn beginning(file: &mut Option<File>) -> Vec<u8> {
    let Some(file) = file else { return Vec::new() };
    let mut bytes = vec![0; 256];
    let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.read(&mut bytes)).unwrap_or(0);
    bytes.truncate(read);
    bytes
}

/// The eighth number of the first line, `cpu user nice system idle iowait irq softirq steal …`.
fn steal_of(stat: &[u8]) -> u64 {
    let line = stat.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    if words.next() != Some(b"cpu") {
        return 0;
    }
    words.nth(7).and_then(|word| std::str::from_utf8(word).ok()?.parse().ok()).unwrap_or(0)
}

#[cfg(unix)]
fn involuntary_switches() -> u64 {
    use nix::sys::resource::{UsageWho, getrusage};
    let count = getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| usage.involuntary_context_switches());
    u64::try_from(count).unwrap_or(0)
}

#[cfg(not(unix))]
fn involuntary_switches() -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steal_is_the_eighth_number() {
        let stat = b"cpu  1580001 947895 197809 327228 6787 0 3107 1596 0 0\ncpu0 8 4 9 1 3 0 1 791 0 0\n";
        assert_eq!(steal_of(stat), 1596);
        for odd in [&b""[..], b"cpu", b"cpu 1 2 3", b"cpu 1 2 3 4 5 6 7 x", b"intr 1 2 3 4 5 6 7 8"] {
            assert_eq!(steal_of(odd), 0);
        }
    }

    #[test]
    fn disturbed_steps_are_found_again() {
        let mut steps = DisturbedSteps::default();
        let disturbed = Disturbance { involuntary_switches: 1, ..Disturbance::default() };
        for step in 0..20 {
            let is = [3, 4, 5, 9, 19].contains(&step);
            steps.add(step, if is { disturbed } else { Disturbance::default() });
        }
        assert_eq!(steps.steps, [(3, 5), (9, 9), (19, 19)]);
        let found: Vec<u32> = (0..25).filter(|step| steps.contains(*step)).collect();
        assert_eq!((found, steps.involuntary_switches), (vec![3, 4, 5, 9, 19], 5));
        for step in (100..100_000).step_by(2) {
            steps.add(step, disturbed);
        }
        assert!(steps.steps.len() == MOST_ROWS && steps.contains(99_998));
    }

    /// More threads than processors: some of them have to leave one to another.
    #[test]
    fn a_crowd_is_noticed() {
        if !cfg!(target_os = "linux") {
            return;
        }
        let mut watch = Watch::start();
        let until = Instant::now() + Duration::from_millis(400);
        let threads = 4 * std::thread::available_parallelism().map_or(4, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| while Instant::now() < until {});
            }
        });
        assert!(watch.lap().involuntary_switches > 0);
    }
}
