//! The experiment language as data: which node holds which settings, and where
//! each goes in the JSON instance. Types, ranges and defaults are the schema's.

/// A node with settings.
#[derive(Debug)]
pub(super) struct Object {
    /// Settings that are written as arguments, in order.
    pub args: &'static [&'static str],
    pub fields: &'static [Field],
    /// Kinds with settings of their own; empty for a node of one kind.
    pub kinds: &'static [Kind],
    /// Names (first argument) that say their kind and some settings.
    pub known_names: &'static [KnownName],
}

/// One kind of a node, such as `poisson` arrivals.
#[derive(Debug)]
pub(super) struct Kind {
    pub name: &'static str,
    /// Arguments after the node's own.
    pub args: &'static [&'static str],
    pub fields: &'static [Field],
}

/// What a well-known name means.
#[derive(Debug)]
pub(super) struct KnownName {
    pub name: &'static str,
    pub kind: &'static str,
    pub settings: &'static [(&'static str, &'static str)],
}

/// A setting.
#[derive(Debug)]
pub(super) struct Field {
    /// Name in the file.
    pub node: &'static str,
    /// Name in the JSON instance.
    pub field: &'static str,
    pub shape: Shape,
}

/// How a setting is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    /// `seed 42`, or `threads=2` on the node it belongs to.
    Scalar,
    /// `slo { … }`.
    Object(&'static Object),
    /// May be repeated; its first argument is its name.
    Named(&'static Object),
    /// Dotted paths with their values.
    Matrix,
}

const fn scalar(name: &'static str) -> Field {
    Field { node: name, field: name, shape: Shape::Scalar }
}

const fn object(name: &'static str, object: &'static Object) -> Field {
    Field { node: name, field: name, shape: Shape::Object(object) }
}

const NO_KINDS: &[Kind] = &[];
const NO_NAMES: &[KnownName] = &[];
const NO_ARGS: &[&str] = &[];

/// The root: `experiment "name" { … }`.
pub(super) static EXPERIMENT: Object = Object {
    args: &["name"],
    fields: &[
        scalar("description"),
        scalar("seed"),
        scalar("data"),
        object("model", &MODEL),
        object("hardware", &HARDWARE),
        object("workload", &WORKLOAD),
        Field { node: "backend", field: "backends", shape: Shape::Named(&BACKEND) },
        object("slo", &SLO),
        object("compare", &COMPARE),
        object("capacity", &CAPACITY),
        Field { node: "matrix", field: "matrix", shape: Shape::Matrix },
        scalar("max-runs"),
        scalar("report"),
    ],
    kinds: NO_KINDS,
    known_names: NO_NAMES,
};

static MODEL: Object = Object {
    args: &["name"],
    fields: &[scalar("dtype"), object("source", &SOURCE)],
    kinds: NO_KINDS,
    known_names: NO_NAMES,
};

static SOURCE: Object = Object {
    args: &["kind"],
    fields: &[],
    kinds: &[
        Kind { name: "synthetic", args: NO_ARGS, fields: &[] },
        Kind { name: "path", args: &["path"], fields: &[] },
        Kind { name: "config", args: &["path"], fields: &[] },
        Kind { name: "hf", args: NO_ARGS, fields: &[scalar("repo"), scalar("revision")] },
    ],
    known_names: NO_NAMES,
};

static HARDWARE: Object = Object {
    args: &["device"],
    fields: &[
        scalar("threads"),
        scalar("memory"),
        scalar("price-per-hour"),
        object("interconnect", &INTERCONNECT),
    ],
    kinds: NO_KINDS,
    known_names: NO_NAMES,
};

static INTERCONNECT: Object = Object {
    args: NO_ARGS,
    fields: &[scalar("bandwidth"), scalar("latency"), scalar("source")],
    kinds: NO_KINDS,
    known_names: NO_NAMES,
};

static WORKLOAD: Object = Object {
    args: &["name"],
    fields: &[
        scalar("requests"),
        object("trace", &TRACE),
        scalar("prompts"),
        object("lengths", &LENGTHS),
        object("arrivals", &ARRIVALS),
        object("sessions", &SESSIONS),
        scalar("decode-tokens"),
        scalar("chat-template"),
    ],
    kinds: NO_KINDS,
    known_names: NO_NAMES,
};

static TRACE: Object = Object {
    args: &["path"],
    fields: &[scalar("format"), scalar("time-scale"), scalar("max-tokens"), scalar("block")],
    kinds: NO_KINDS,
    known_names: NO_NAMES,
};

static SESSIONS: Object = Object {
    args: NO_ARGS,
    fields: &[scalar("turns"), scalar("think-time"), scalar("system-prompt"), scalar("block")],
    kinds: NO_KINDS,
    known_names: NO_NAMES,
};

static LENGTHS: Object = Object {
    args: &["kind"],
    fields: &[],
    kinds: &[
        Kind { name: "fixed", args: NO_ARGS, fields: &[scalar("prefill"), scalar("decode")] },
        Kind {
            name: "uniform",
            args: NO_ARGS,
            fields: &[scalar("min"), scalar("max"), scalar("prefill-to-decode")],
        },
        Kind {
            name: "zipf",
            args: NO_ARGS,
            fields: &[scalar("theta"), scalar("min"), scalar("max"), scalar("prefill-to-decode")],
        },
        Kind { name: "trace", args: &["path"], fields: &[] },
    ],
    known_names: NO_NAMES,
};

static ARRIVALS: Object = Object {
    args: &["kind"],
    fields: &[],
    kinds: &[
        Kind { name: "static", args: NO_ARGS, fields: &[] },
        Kind { name: "poisson", args: NO_ARGS, fields: &[scalar("qps")] },
        Kind { name: "gamma", args: NO_ARGS, fields: &[scalar("qps"), scalar("cv")] },
        Kind { name: "trace", args: &["path"], fields: &[] },
        Kind { name: "recorded", args: NO_ARGS, fields: &[] },
    ],
    known_names: NO_NAMES,
};

/// Settings of an engine that xp does not run itself, after its own: those that `served!` of `engine.rs` declares.
macro_rules! served {
    ($($own:expr),*) => {
        &[
            $($own,)*
            scalar("scheduler"),
            scalar("chunk-size"),
            scalar("max-batch-size"),
            scalar("block-size"),
            scalar("kv-blocks"),
            scalar("kv-memory"),
            scalar("memory-utilization"),
            scalar("watermark"),
            scalar("max-context"),
            scalar("max-waiting-steps"),
            scalar("prefix-caching"),
            scalar("async-scheduling"),
            scalar("compat"),
            scalar("cuda-graphs"),
            object("parallel", &PARALLEL),
            object("replicas", &REPLICAS),
        ]
    };
}

static BACKEND: Object = Object {
    args: &["name"],
    fields: &[scalar("kind")],
    kinds: &[
        Kind {
            name: "candle",
            args: NO_ARGS,
            fields: &[
                scalar("scheduler"),
                scalar("chunk-size"),
                scalar("max-batch-size"),
                scalar("block-size"),
                scalar("kv-memory"),
                scalar("watermark"),
                scalar("max-context"),
                scalar("max-waiting-steps"),
                scalar("prefix-caching"),
                object("sampling", &SAMPLING),
            ],
        },
        Kind {
            name: "transformers",
            args: NO_ARGS,
            fields: &[
                scalar("scheduler"),
                scalar("max-batch-size"),
                scalar("kv-memory"),
                scalar("max-context"),
                scalar("requirements"),
                scalar("step-timeout"),
            ],
        },
        Kind {
            name: "sim",
            args: NO_ARGS,
            fields: &[
                scalar("profile"),
                scalar("predictor"),
                object("grid", &GRID),
                object("overhead", &OVERHEAD),
                scalar("log"),
                object("vidur", &VIDUR),
            ],
        },
        Kind {
            name: "recorded",
            args: NO_ARGS,
            fields: served![
                Field { node: "file", field: "path", shape: Shape::Scalar },
                object("columns", &COLUMNS)
            ],
        },
        Kind { name: "engine", args: NO_ARGS, fields: served![] },
    ],
    known_names: &[
        KnownName { name: "sarathi", kind: "candle", settings: &[("scheduler", "sarathi")] },
        KnownName { name: "candle", kind: "candle", settings: &[] },
        KnownName { name: "transformers", kind: "transformers", settings: &[] },
        KnownName { name: "vidur", kind: "sim", settings: &[] },
        KnownName { name: "sim", kind: "sim", settings: &[] },
    ],
};

static OVERHEAD: Object =
    Object { args: &["step"], fields: &[scalar("source")], kinds: NO_KINDS, known_names: NO_NAMES };

static GRID: Object = Object {
    args: NO_ARGS,
    fields: &[
        scalar("degree"),
        scalar("include-bias"),
        scalar("interaction-only"),
        scalar("fit-intercept"),
        scalar("estimators"),
        scalar("max-depth"),
        scalar("min-samples-split"),
    ],
    kinds: NO_KINDS,
    known_names: NO_NAMES,
};

static VIDUR: Object = Object {
    args: &["device"],
    fields: &[scalar("model"), scalar("network"), scalar("devices-per-node"), scalar("cpu-overhead")],
    kinds: NO_KINDS,
    known_names: NO_NAMES,
};

static PARALLEL: Object = Object {
    args: NO_ARGS,
    fields: &[scalar("tensor"), scalar("pipeline"), scalar("data"), scalar("expert")],
    kinds: NO_KINDS,
    known_names: NO_NAMES,
};

static REPLICAS: Object =
    Object { args: &["count"], fields: &[scalar("router")], kinds: NO_KINDS, known_names: NO_NAMES };

static COLUMNS: Object = Object {
    args: NO_ARGS,
    fields: &[
        scalar("unit"),
        scalar("request-id"),
        scalar("arrival"),
        scalar("scheduled"),
        scalar("first-token"),
        scalar("completion"),
        scalar("prefill-tokens"),
        scalar("decode-tokens"),
    ],
    kinds: NO_KINDS,
    known_names: NO_NAMES,
};

static SAMPLING: Object = Object {
    args: NO_ARGS,
    fields: &[scalar("temperature"), scalar("top-k"), scalar("top-p")],
    kinds: NO_KINDS,
    known_names: NO_NAMES,
};

static SLO: Object = Object {
    args: NO_ARGS,
    fields: &[scalar("ttft-p99"), scalar("tpot-p99"), scalar("e2e-p99")],
    kinds: NO_KINDS,
    known_names: NO_NAMES,
};

static COMPARE: Object = Object {
    args: NO_ARGS,
    fields: &[scalar("real"), scalar("sim"), scalar("pass"), scalar("warn"), scalar("repeats")],
    kinds: NO_KINDS,
    known_names: NO_NAMES,
};

static CAPACITY: Object = Object {
    args: NO_ARGS,
    fields: &[scalar("min-qps"), scalar("max-qps"), scalar("tolerance"), scalar("delay-p99")],
    kinds: NO_KINDS,
    known_names: NO_NAMES,
};

impl Object {
    /// The kind of that name.
    pub fn kind(&self, name: &str) -> Option<&'static Kind> {
        self.kinds.iter().find(|kind| kind.name == name)
    }

    /// What a node of that kind is called: `` `arrivals "poisson"` `` or ``a `sim` backend``.
    pub fn called(&self, node: &str, kind: Option<&Kind>) -> String {
        match kind {
            None => format!("`{node}`"),
            Some(kind) if self.args.first() == Some(&"kind") => format!("`{node} \"{}\"`", kind.name),
            Some(kind) => format!("a `{}` {node}", kind.name),
        }
    }

    pub fn kind_names(&self) -> Vec<&'static str> {
        self.kinds.iter().map(|kind| kind.name).collect()
    }

    /// The setting of that name, for a node of `kind`; of any kind when it is not known.
    pub fn field(&self, name: &str, kind: Option<&'static Kind>) -> Option<Field> {
        let own = self.fields.iter().chain(self.kinds_of(kind).flat_map(|kind| kind.fields));
        if let Some(field) = own.into_iter().find(|field| field.node == name) {
            return Some(Field { ..*field });
        }
        let mut args = self.args.iter().chain(self.kinds_of(kind).flat_map(|kind| kind.args));
        args.find(|arg| **arg == name).map(|arg| scalar(arg))
    }

    /// Names of all settings of `kind`, arguments last.
    pub fn names(&self, kind: Option<&'static Kind>) -> Vec<&'static str> {
        let fields = self.fields.iter().chain(self.kinds_of(kind).flat_map(|kind| kind.fields));
        let args = self.kinds_of(kind).flat_map(|kind| kind.args.iter().copied());
        let mut names: Vec<&'static str> = fields.map(|field| field.node).chain(args).collect();
        names.dedup();
        names
    }

    /// Kinds other than the node's own that have the setting.
    pub fn owners(&self, name: &str) -> Vec<&'static str> {
        let has =
            |kind: &&Kind| kind.fields.iter().any(|field| field.node == name) || kind.args.contains(&name);
        self.kinds.iter().filter(has).map(|kind| kind.name).collect()
    }

    fn kinds_of(&self, kind: Option<&'static Kind>) -> impl Iterator<Item = &'static Kind> + use<> {
        self.kinds.iter().filter(move |known| kind.is_none_or(|kind| kind.name == known.name))
    }
}

/// Nodes of the language that hold a setting of that name, such as `backend` for `chunk-size`.
pub(super) fn holders(name: &str) -> Vec<&'static str> {
    fn walk(node: &'static str, object: &'static Object, name: &str, out: &mut Vec<&'static str>) {
        let fields = object.fields.iter().chain(object.kinds.iter().flat_map(|kind| kind.fields));
        for field in fields {
            if field.node == name && !out.contains(&node) {
                out.push(node);
            }
            if let Shape::Object(inner) | Shape::Named(inner) = field.shape {
                walk(field.node, inner, name, out);
            }
        }
    }
    let mut out = Vec::new();
    walk("experiment", &EXPERIMENT, name, &mut out);
    out
}
