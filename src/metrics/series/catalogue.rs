//! Every derived metric: its name, whom it has a value for, its unit, its
//! definition, and what Vidur calls it. `docs/metrics.md` shows this table.

/// Whom a metric has one value for, which is also what its series is listed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// A request that was served (status `ok`); listed by request id.
    Request,
    /// An output token after its request's first; listed by time.
    Token,
    /// A step of the engine; listed by step number.
    Batch,
    /// A replica at every moment: a step function of time.
    Replica,
    /// A replica in each of the run's windows; listed by the window's start.
    ReplicaWindow,
    /// The run in each of its windows; listed by the window's start.
    RunWindow,
    /// The run: a count that only grows; listed by time.
    Run,
}

impl Of {
    /// Its name in `summary.csv`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Token => "token",
            Self::Batch => "batch",
            Self::Replica => "replica",
            Self::ReplicaWindow => "replica window",
            Self::RunWindow => "run window",
            Self::Run => "run",
        }
    }

    /// The columns that say what a row of the series is about.
    pub(super) fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Request => &["request_id"],
            Self::Batch => &["step"],
            Self::Replica | Self::ReplicaWindow => &["replica", "time_ns"],
            Self::Token | Self::RunWindow | Self::Run => &["time_ns"],
        }
    }

    /// Whether there is one lane of values a replica.
    pub(super) fn has_replicas(self) -> bool {
        matches!(self, Self::Replica | Self::ReplicaWindow)
    }

    /// Whether its values have a distribution; those of a count that grows have none.
    pub(super) fn has_distribution(self) -> bool {
        self != Self::Run
    }
}

/// What a value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Nanoseconds, whole.
    Ns,
    Requests,
    Tokens,
    Blocks,
    Bytes,
    /// A whole number of something.
    Count,
    /// A ratio, mostly of a part to its whole.
    Ratio,
    RequestsPerSecond,
    TokensPerSecond,
}

impl Unit {
    /// Its name in `summary.csv`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ns => "ns",
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::Blocks => "blocks",
            Self::Bytes => "bytes",
            Self::Count => "count",
            Self::Ratio => "ratio",
            Self::RequestsPerSecond => "requests/s",
            Self::TokensPerSecond => "tokens/s",
        }
    }
}

/// The words of one metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub name: &'static str,
    pub of: Of,
    pub unit: Unit,
    pub definition: &'static str,
    /// The metric of Vidur's (`vidur/metrics/constants.py`, `docs/metrics.md`) that it answers to.
    pub vidur: Option<&'static str>,
}

macro_rules! catalogue {
    ($($variant:ident, $name:literal, $of:ident, $unit:ident, $vidur:expr, $definition:literal;)*) => {
        /// A metric that is derived from a run's record and is no part of the run's own files.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Derived {
            $($variant,)*
        }

        impl Derived {
            /// All of them, in the order of `summary.csv`.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its words.
            pub fn entry(self) -> Entry {
                match self {
                    $(Self::$variant => Entry {
                        name: $name,
                        of: Of::$of,
                        unit: Unit::$unit,
                        definition: $definition,
                        vidur: $vidur,
                    },)*
                }
            }
        }
    };
}

catalogue! {
    InterArrivalDelay, "request_inter_arrival_delay", Request, Ns, Some("request_inter_arrival_delay"),
        "from the arrival of the request before (in the order of arrivals; of all requests, served or not)";
    SchedulingDelay, "request_scheduling_delay", Request, Ns, Some("request_scheduling_delay"),
        "from the arrival to the start of the first step that holds a share of the request";
    Ttft, "request_ttft", Request, Ns, Some("prefill_e2e_time"),
        "TTFT: from the arrival to the first output token";
    PrefillTime, "request_prefill_time", Request, Ns, Some("prefill_time_execution_plus_preemption"),
        "from the start of the first step to the first output token";
    PrefillTimePerToken, "request_prefill_time_per_token", Request, Ns,
        Some("prefill_time_execution_plus_preemption_normalized"),
        "`request_prefill_time` / prompt tokens";
    DecodeTime, "request_decode_time", Request, Ns, None,
        "from the first output token to the last";
    DecodeTimePerToken, "request_decode_time_per_token", Request, Ns,
        Some("decode_time_execution_plus_preemption_normalized"),
        "`request_decode_time` / output tokens, the first counted too, as Vidur does";
    Tpot, "request_tpot", Request, Ns, None,
        "TPOT: `request_decode_time` / (output tokens − 1); undefined for one token";
    E2e, "request_e2e_time", Request, Ns, Some("request_e2e_time"),
        "E2E: from the arrival to the last output token";
    E2ePerToken, "request_e2e_time_per_token", Request, Ns, Some("request_e2e_time_normalized"),
        "normalized latency: `request_e2e_time` / output tokens";
    ExecutionTime, "request_execution_time", Request, Ns, Some("request_execution_time"),
        "time in which the request was in a step: the sum of its steps' durations, time in two steps counted once";
    ExecutionTimePerToken, "request_execution_time_per_token", Request, Ns,
        Some("request_execution_time_normalized"),
        "`request_execution_time` / output tokens";
    PreemptedTime, "request_preempted_time", Request, Ns, Some("request_preemption_time"),
        "time between the start of its first and the end of its last step in which it was in no step";
    ExecutionPlusPreemptedTime, "request_execution_plus_preempted_time", Request, Ns,
        Some("request_execution_plus_preemption_time"),
        "from the start of its first step to the end of its last: the sum of the two";
    ExecutionPlusPreemptedTimePerToken, "request_execution_plus_preempted_time_per_token", Request, Ns,
        Some("request_execution_plus_preemption_time_normalized"),
        "`request_execution_plus_preempted_time` / output tokens";
    Restarts, "request_restarts", Request, Count, Some("request_num_restarts"),
        "steps in which the request had fewer tokens in the KV cache than had been computed of it: it was \
         preempted, and is computed again";
    TotalTokens, "request_tokens", Request, Tokens, Some("request_num_tokens"),
        "prompt tokens and output tokens";
    PrefillTokens, "request_prefill_tokens", Request, Tokens, Some("request_num_prefill_tokens"),
        "prompt tokens";
    DecodeTokens, "request_decode_tokens", Request, Tokens, Some("request_num_decode_tokens"),
        "output tokens generated";
    PrefillToDecodeRatio, "request_prefill_to_decode_ratio", Request, Ratio, Some("request_pd_ratio"),
        "prompt tokens / output tokens";
    InterTokenLatency, "token_itl", Token, Ns, Some("decode_token_execution_plus_preemption_time"),
        "ITL: from the request's token before, pooled over all served requests";
    BatchSize, "batch_size", Batch, Requests, Some("batch_size"),
        "requests with a share of the step";
    BatchTokens, "batch_tokens", Batch, Tokens, Some("batch_num_tokens"),
        "tokens computed in the step";
    BatchPrefillTokens, "batch_prefill_tokens", Batch, Tokens, Some("batch_num_prefill_tokens"),
        "tokens of prompts computed in the step";
    BatchDecodeTokens, "batch_decode_tokens", Batch, Tokens, Some("batch_num_decode_tokens"),
        "tokens of decodes computed in the step";
    BatchExecutionTime, "batch_execution_time", Batch, Ns, Some("batch_execution_time"),
        "from the start of the step to its end";
    BatchMfu, "batch_mfu", Batch, Ratio, None,
        "model FLOP/s utilization: FLOPs of the step / (its duration × peak FLOP/s of the replica); of a \
         step without duration undefined";
    RunningRequests, "replica_running_requests", Replica, Requests, None,
        "requests that run";
    WaitingRequests, "replica_waiting_requests", Replica, Requests, None,
        "requests that wait";
    KvBlocks, "replica_kv_blocks", Replica, Blocks, None,
        "KV blocks in use";
    KvShare, "replica_kv_share", Replica, Ratio, Some("replica_memory_usage"),
        "KV blocks in use / blocks of the cache";
    MemoryInUse, "replica_memory", Replica, Bytes, None,
        "weights and KV blocks in use";
    Busy, "replica_busy", Replica, Count, Some("replica_stage_busy_time_percent"),
        "1 while at least one step runs, else 0";
    Utilization, "replica_utilization", ReplicaWindow, Ratio, None,
        "the share of the window in which `replica_busy` is 1";
    Mfu, "replica_mfu", ReplicaWindow, Ratio, Some("replica_stage_mfu"),
        "FLOPs in the window, those of a step spread evenly over it, / (the window × peak FLOP/s of the replica)";
    RequestThroughput, "request_throughput", RunWindow, RequestsPerSecond, None,
        "served requests whose last token falls into the window / the window";
    PromptThroughput, "prefill_token_throughput", RunWindow, TokensPerSecond, None,
        "tokens of prompts computed in steps that end in the window / the window";
    TokenThroughput, "token_throughput", RunWindow, TokensPerSecond, None,
        "output tokens that fall into the window / the window";
    RequestsArrived, "requests_arrived", Run, Requests, Some("request_arrival"),
        "requests that have arrived";
    RequestsCompleted, "requests_completed", Run, Requests, Some("request_completion"),
        "served requests that have their last token";
    PromptTokensComputed, "prefill_tokens_computed", Run, Tokens, Some("prefill_completion"),
        "tokens of prompts computed in steps that have ended, those computed again counted again";
    TokensGenerated, "tokens_generated", Run, Tokens, Some("decode_completion"),
        "output tokens";
}

/// The column of a metric's values: times say so in their name.
pub(super) fn value_column(derived: Derived) -> String {
    let Entry { name, unit, .. } = derived.entry();
    match unit {
        Unit::Ns => format!("{name}_ns"),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_files_and_each_is_one_metrics() {
        let mut names: Vec<&str> = Derived::ALL.iter().map(|derived| derived.entry().name).collect();
        assert!(names.iter().all(|name| {
            name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        }));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Derived::ALL.len());
        assert_eq!(value_column(Derived::Ttft), "request_ttft_ns");
        assert_eq!(value_column(Derived::BatchSize), "batch_size");
    }

    /// Those of its lists that a record of steps can answer: kernels and CPU operations are in bundles.
    #[test]
    fn every_metric_of_vidurs_has_its_answer() {
        let known: Vec<&str> = Derived::ALL.iter().filter_map(|derived| derived.entry().vidur).collect();
        for name in [
            "request_e2e_time",
            "request_e2e_time_normalized",
            "request_execution_time",
            "request_execution_time_normalized",
            "request_preemption_time",
            "request_scheduling_delay",
            "request_execution_plus_preemption_time",
            "request_execution_plus_preemption_time_normalized",
            "prefill_e2e_time",
            "prefill_time_execution_plus_preemption",
            "prefill_time_execution_plus_preemption_normalized",
            "decode_time_execution_plus_preemption_normalized",
            "decode_token_execution_plus_preemption_time",
            "request_inter_arrival_delay",
            "request_num_tokens",
            "request_num_prefill_tokens",
            "request_num_decode_tokens",
            "request_pd_ratio",
            "request_num_restarts",
            "batch_num_tokens",
            "batch_num_prefill_tokens",
            "batch_num_decode_tokens",
            "batch_size",
            "batch_execution_time",
            "request_arrival",
            "request_completion",
            "prefill_completion",
            "decode_completion",
            "replica_memory_usage",
            "replica_stage_busy_time_percent",
            "replica_stage_mfu",
        ] {
            assert!(known.contains(&name), "{name}");
        }
    }

    fn table() -> String {
        let mut out = "| metric | of | unit | definition | in Vidur |\n|---|---|---|---|---|\n".to_owned();
        for derived in Derived::ALL {
            let Entry { name, of, unit, definition, vidur } = derived.entry();
            let vidur = vidur.map_or("–".to_owned(), |name| format!("`{name}`"));
            out += &format!("| `{name}` | {} | {} | {definition} | {vidur} |\n", of.name(), unit.name());
        }
        out
    }

    /// `XP_UPDATE_DOCS=1 cargo test documentation` writes it anew.
    #[test]
    fn the_documentation_shows_the_table_of_derived_metrics() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
        let text = std::fs::read_to_string(&path).unwrap();
        let (before, rest) = text.split_once("<!-- derived metrics -->\n").unwrap();
        let (shown, after) = rest.split_once("<!-- end of derived metrics -->").unwrap();
        if std::env::var_os("XP_UPDATE_DOCS").is_some() {
            let text = format!(
                "{before}<!-- derived metrics -->\n{}<!-- end of derived metrics -->{after}",
                table()
            );
            crate::store::write(&path, text.as_bytes()).unwrap();
            return;
        }
        assert!(shown == table(), "docs/metrics.md is stale: run with XP_UPDATE_DOCS=1");
    }
}
