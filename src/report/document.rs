//! A whole report as data: what `data.json` holds for the template.

use serde::Serialize;

use super::Contents;
use super::appendix::Appendix;
use super::attachment::Attachment;
use super::capacity::CapacityPages;
use super::chart::{Chart, MM};
use super::cleaned::cleaned;
use super::front::{Front, distribution_figure};
use super::overview::{MOST_RUNS, Overview, by_badness, labels};
use super::prices::Prices;
use super::requests_page::{Panel, RequestsPage, scatter, timeline};
use super::samples::{METRICS, Samples};
use super::text::{clean, shorten};
use crate::compare::{Comparison, Verdict};

#[derive(Debug, Serialize)]
pub(super) struct Document {
    title: String,
    summary: String,
    lock: String,
    xp: String,
    overview: Option<Overview>,
    runs: Vec<Run>,
    capacity: Option<CapacityPages>,
    /// None without a comparison.
    appendix: Option<Appendix>,
    attachments: Vec<Attachment>,
}

#[derive(Debug, Serialize)]
struct Run {
    /// What the head of its pages says.
    head: String,
    verdict: Verdict,
    front: Front,
    requests: RequestsPage,
}

impl Document {
    /// The report of these contents, with these files attached. With more than a dozen runs, only the
    /// worst dozen have pages.
    pub(super) fn of(contents: &Contents<'_>, attachments: &[Attachment]) -> Document {
        let capacity = contents.capacity.map(CapacityPages::of);
        let runs: Vec<Comparison> = contents.comparisons.iter().map(cleaned).collect();
        let Some(first) = runs.first() else {
            let digest = contents.capacity.map(|capacity| capacity.lock_digest.short(16));
            return Document {
                title: capacity.as_ref().map_or_else(String::new, CapacityPages::document_title),
                summary: "Highest request rates within the objectives".to_owned(),
                lock: digest.unwrap_or_default(),
                xp: contents.capacity.map_or_else(String::new, |capacity| clean(&capacity.xp_version, 24)),
                overview: None,
                runs: Vec::new(),
                capacity,
                appendix: None,
                attachments: attachments.to_vec(),
            };
        };
        let prices = contents.prices.map(Prices::cleaned);
        let several = runs.len() > 1;
        let labels = if several { labels(&runs) } else { vec![runs[0].run.clone()] };
        let mut paged: Vec<usize> = if runs.len() > MOST_RUNS {
            by_badness(&runs).into_iter().take(MOST_RUNS).collect()
        } else {
            (0..runs.len()).collect()
        };
        let overview = several.then(|| Overview::of(&runs, &labels, &paged, prices.as_ref()));
        if paged.is_empty() {
            paged.push(0);
        }
        let of_pages: Vec<(&Comparison, String)> =
            paged.iter().map(|index| (&runs[*index], labels[*index].clone())).collect();
        Document {
            title: format!("xp report: {}", shorten(&first.run, 80)),
            summary: format!(
                "{}, measured, compared with {}, simulated",
                shorten(&first.real, 40),
                shorten(&first.sim, 40)
            ),
            lock: first.lock_digest.short(16),
            xp: first.xp_version.clone(),
            overview,
            runs: of_pages
                .iter()
                .map(|(run, label)| Run {
                    head: if several && *label != run.run {
                        format!("{}  {}", shorten(&run.run, 40), shorten(label, 60))
                    } else {
                        shorten(&run.run, 48)
                    },
                    verdict: run.verdict,
                    front: Front::of(run),
                    requests: RequestsPage::of(run),
                })
                .collect(),
            capacity,
            appendix: Some(Appendix::of(&of_pages)),
            attachments: attachments.to_vec(),
        }
    }
}

/// The single figures of a comparison.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    title: String,
    summary: String,
    charts: Vec<Chart>,
    timeline: Vec<Panel>,
}

impl Figures {
    /// Names of the figures' files, in the order of the template's pages.
    pub(super) const NAMES: [&'static str; 7] = [
        "cdf-ttft.svg",
        "cdf-tpot.svg",
        "cdf-e2e.svg",
        "scatter-ttft.svg",
        "scatter-tpot.svg",
        "scatter-e2e.svg",
        "timeline.svg",
    ];

    pub(super) fn of(comparison: &Comparison) -> Figures {
        let run = cleaned(comparison);
        let samples: Vec<Samples> = METRICS.iter().map(|metric| Samples::of(&run, metric)).collect();
        let mut charts: Vec<Chart> = samples.iter().map(distribution_figure).collect();
        charts.extend(samples.iter().map(|s| {
            let mut chart = scatter(s, run.pass_percent, &[], 84.0 * MM, 84.0 * MM);
            s.metric.clone_into(&mut chart.title);
            chart
        }));
        Figures {
            title: shorten(&run.run, 48),
            summary: format!("{} measured, {} simulated", shorten(&run.real, 24), shorten(&run.sim, 24)),
            charts,
            timeline: timeline(&run, 174.0 * MM, 20.0 * MM),
        }
    }
}
