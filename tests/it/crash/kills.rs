//! `xp` is killed at moments drawn at random, over and over.

use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use super::ensure;
use super::project::{FRESH, LOCKED, Place, REMADE, Random, SPEC, Template, on_all_cores};
use super::results::is_temporary;
use super::trial::{Rest, go_on_to, look};
use crate::project::both;

/// A command that is killed, once or several times in the same project.
struct Kill {
    template: &'static Template,
    args: [&'static str; 2],
    moments: Vec<Duration>,
    rest: Rest,
}

/// Draws `count` trials, with moments over the whole duration of an undisturbed command.
fn draw(count: usize, random: &mut Random) -> Vec<Kill> {
    let kinds = [(&*FRESH, ["lock", SPEC]), (&*FRESH, ["run", SPEC]), (&*REMADE, ["run", SPEC])];
    let durations = kinds.map(|(template, args)| {
        let place = Place::like(template);
        let started = Instant::now();
        place.ok(&args).unwrap();
        started.elapsed()
    });
    let draw = |number: usize| {
        let kind = number % kinds.len();
        let (template, args) = kinds[kind];
        let times = 1 + random.below(3);
        let moments = (0..times).map(|_| durations[kind].mul_f64(random.share())).collect();
        let rest = if random.below(4) == 0 { Rest::All } else { Rest::ButTheReport };
        Kill { template, args, moments, rest }
    };
    (0..count).map(draw).collect()
}

/// Starts a command, and kills it unless it is done by then.
fn kill(place: &Place, args: &[&str], after: Duration) -> Result<(), String> {
    let mut child = place.command(args).spawn().expect("xp starts");
    std::thread::sleep(after);
    child.kill().expect("a child can be killed");
    let output = child.wait_with_output().expect("a child ends");
    let ended = output.status;
    ensure!(
        ended.success() || ended.signal() == Some(9),
        "it ended by itself with {ended}:\n{}",
        both(&output)
    );
    Ok(())
}

fn trial(case: &Kill) -> Result<(), String> {
    let place = Place::like(case.template);
    let done = || {
        for moment in &case.moments {
            kill(&place, &case.args, *moment)?;
            look(&place, case.template)?;
        }
        go_on_to(case.rest, &place, case.template)
    };
    done().map_err(|why| {
        format!(
            "xp {:?} in the {} project, killed after {:?}: {why}",
            case.args, case.template.name, case.moments
        )
    })
}

fn kill_often(count: usize) {
    let mut random = Random::new();
    eprintln!("XP_CRASH_SEED={} draws these moments again", random.seed);
    let started = Instant::now();
    on_all_cores(&draw(count, &mut random), trial);
    eprintln!("{count} trials in {:.0} s", started.elapsed().as_secs_f64());
}

#[test]
fn a_dozen_kills_do_no_harm() {
    kill_often(12);
}

#[test]
#[ignore = "minutes: for CI"]
fn two_hundred_kills_do_no_harm() {
    kill_often(200);
}

#[test]
fn a_killed_timing_is_run_again_and_never_spliced() {
    let place = Place::like(&LOCKED);
    let slow = ["run", SPEC, "--set", "workload.arrivals.qps=4"];
    let parent = place.path("runs/real_runs");
    let entries = || -> Vec<_> {
        std::fs::read_dir(&parent).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    };
    let mut child = place.command(&slow).spawn().expect("xp starts");
    let started = Instant::now();
    // The folder is there before the engine is loaded.
    while entries().is_empty() && started.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let trace = std::fs::read_dir(place.path("runs/workloads")).unwrap().next().unwrap().unwrap().path();
    let trace = std::fs::read_to_string(trace.join("trace_intervals.csv")).unwrap();
    let planned: Vec<u64> =
        trace.lines().skip(1).map(|line| line.rsplit(',').next().unwrap().parse().unwrap()).collect();
    let last_arrival = *planned.last().unwrap();
    assert!(last_arrival > 300_000_000, "{planned:?} are too close to be killed between");
    std::thread::sleep(Duration::from_nanos(last_arrival / 2));
    child.kill().unwrap();
    let killed = child.wait_with_output().unwrap();
    assert_eq!(killed.status.signal(), Some(9), "{}", both(&killed));
    let [left] = entries().try_into().expect("one folder");
    assert!(is_temporary(&left), "{left:?}");
    assert_eq!(
        std::fs::read_dir(&left).unwrap().count(),
        0,
        "nothing of it was written, nothing can be used"
    );

    let started = Instant::now();
    let said = place.ok(&slow).unwrap();
    let took = started.elapsed();
    assert!(said.contains("real tiny-r1 not made yet"), "{said}");
    let run = entries().into_iter().find(|path| !is_temporary(path)).expect("a run");
    let rows = |name: &str| -> Vec<Vec<u64>> {
        let text = std::fs::read_to_string(run.join(name)).unwrap();
        let cells = |line: &str| line.split(',').map(|cell| cell.parse().unwrap_or(0)).collect();
        text.lines().skip(1).map(cells).collect()
    };
    // All four requests, from the first arrival on, in one piece of the time this run took.
    let (requests, steps) = (rows("request_metrics.csv"), rows("steps.csv"));
    let arrivals: Vec<u64> = requests.iter().map(|row| row[1]).collect();
    assert_eq!(arrivals, planned);
    assert!(steps.windows(2).all(|pair| pair[0][2] <= pair[1][1]), "{steps:?}");
    let last_ns = steps.last().unwrap()[2];
    assert!(last_ns >= last_arrival && u128::from(last_ns) <= took.as_nanos(), "{last_ns} ns in {took:?}");
    let mut tokens = rows("token_metrics.csv");
    for request in &requests {
        let of: Vec<_> = tokens.extract_if(.., |row| row[0] == request[0]).collect();
        assert!((0..).zip(&of).all(|(index, row)| row[1] == index), "{of:?}");
        assert_eq!(of.len() as u64, request[7], "{of:?}");
    }
    assert!(tokens.is_empty());
}
