//! English-like text of the project's own: what the synthetic tokenizer is
//! trained on and what synthetic prompts are made of.

/// Prose about what xp does; the generated sentences borrow its vocabulary.
pub(super) const PROSE: &str = "\
An inference engine answers many requests at once. Each request brings a prompt, and the engine reads the whole \
prompt before it writes the first token. Reading is called prefill and writing is called decode. Prefill is limited \
by arithmetic, because every token of the prompt passes through every matrix of the model at the same time. Decode \
is limited by memory, because one token at a time needs all the weights again. A scheduler decides, step after step, \
which requests may run and how many tokens of each. If it lets a long prompt run alone, the others wait and their \
readers notice a pause. If it cuts the prompt into chunks, the pause becomes short, and the first token of the long \
request comes later. There is no free choice here, only a trade that somebody should measure. \
Keys and values of past tokens are kept in a cache, so that attention need not compute them twice. The cache is cut \
into blocks of equal size. A request owns a list of blocks, and the list grows while it decodes. When no block is \
free, a request has to give its blocks back and start again later. This is called preemption, and it is costly. A \
watermark keeps some blocks unused when a new request is admitted, so that those already running can grow. \
Time to first token tells how long a person waits before anything happens. Time per output token tells how fast the \
text flows afterwards. Neither of them is enough alone. An engine may look quick on average and still let one user \
in a hundred wait for a minute. Percentiles show this, and so does a plot of all latencies in order. A number \
without its spread is a rumour. Whoever publishes a measurement should say on which machine it was taken, with which \
model, under which load, and how often it was repeated. \
A simulator replaces the slow part of the engine by a table of durations. The scheduler stays the same, the clock \
does not. Simulating an hour of traffic takes a second, and a hundred settings can be tried before lunch. But a \
simulator is only as good as its table. When the table leaves out the time that the processor spends between two \
kernels, the prediction is too fast, and nobody knows why until the error is split into its causes. First predict \
the steps that were really taken, then replay the durations that were really measured. What remains is policy. \
Reproducing an experiment means to get the same answer from the same question. The question has to be written down \
completely: seeds, files, digests, settings and defaults. A default that is not written down will change some day, \
and the result will change with it. A lockfile holds all of this in plain text, one fact on each line, so that two \
people can compare their questions before they argue about the answers.";

const NOUNS: &str = "engine request prompt token matrix model weight scheduler step reader pause chunk choice trade \
key value cache block list watermark person user minute percentile latency number spread measurement machine load \
simulator table duration clock traffic second setting processor kernel prediction error cause policy experiment \
answer question seed file digest default result lockfile fact line text plot order queue batch stage pipeline \
replica router thread core socket bank register vector tensor layer head embedding projection residual gradient \
optimizer dataset sample record column row page buffer bucket counter timer histogram window budget quota limit \
threshold margin ratio factor slope curve surface grid point edge node graph tree branch leaf root path folder \
archive bundle manifest schema format version commit patch change review comment author owner team meeting agenda \
schedule deadline ticket issue report summary chapter figure caption paper proof theorem lemma axiom rule law court \
city river mountain valley forest garden harbour bridge tower castle window mirror lantern candle winter summer \
morning evening journey traveller sailor farmer teacher doctor painter singer writer carpenter merchant kitchen \
recipe flavour pepper butter orange lemon apple walnut basket bottle blanket pillow ladder hammer needle button \
pocket letter parcel station railway ticket signal engineer planet comet orbit gravity particle electron molecule \
crystal magnet current voltage battery turbine reactor furnace pressure temperature density velocity friction \
habit memory dream thought reason opinion belief argument evidence witness verdict treaty border province empire";

const VERBS: &str = "answer measure schedule admit preempt allocate release predict simulate compare record replay \
sample decode encode tokenize compute load store copy move merge split sort hash verify check lock pin resolve \
report explain describe publish review repair replace remove insert append extend reduce limit bound balance route \
batch queue wait start finish pause resume repeat retry reject accept notice observe watch follow guide teach learn \
remember imagine invent design build test improve refine adjust calibrate estimate count weigh mark label name \
collect gather share borrow return offer request order deliver carry lift push pull open close turn cross enter \
reach climb sail travel visit paint play listen whisper shout laugh dance cook taste pour boil bake plant harvest \
water protect defend attack conquer govern elect promise refuse deny confirm doubt suspect discover examine divide";

const ADJECTIVES: &str = "quick slow short long deep shallow narrow broad warm cold bright dark quiet loud soft firm \
smooth rough clean clear plain strange common rare recent ancient modern local remote public private careful careless \
patient honest gentle humble proud brave calm eager faint fresh frequent constant random regular separate similar \
different simple complete partial exact vague stable fragile robust cheap costly useful useless equal even odd full \
empty single double final initial global virtual actual pending idle active passive linear dense sparse uniform";

const LINKS: &str = "because while although before after whenever until unless since so";
const STARTS: &str = "The A Every Some This That Each No Another Our Their";
const FUNCTION: &str = "the a every some this that each no another our their";
const BETWEEN: &str = "of in on under over behind beside without between against toward from into through";
const SYLLABLES: &str = "ka lo mi ren tar vo shi nel dor pa gri su bel han ti quo wes jin fa zor mel bra ced oth lun \
ip ek ra ny du";

/// Draws a whole number below its argument.
pub type Pick<'a> = dyn FnMut(u64) -> u64 + 'a;

/// The words of a space-separated list.
fn words(list: &'static str) -> Vec<&'static str> {
    list.split_whitespace().collect()
}

/// The generator's word lists, split once.
struct Lexicon {
    nouns: Vec<&'static str>,
    verbs: Vec<&'static str>,
    adjectives: Vec<&'static str>,
    links: Vec<&'static str>,
    starts: Vec<&'static str>,
    function: Vec<&'static str>,
    between: Vec<&'static str>,
    syllables: Vec<&'static str>,
}

static LEXICON: std::sync::LazyLock<Lexicon> = std::sync::LazyLock::new(|| Lexicon {
    nouns: words(NOUNS),
    verbs: words(VERBS),
    adjectives: words(ADJECTIVES),
    links: words(LINKS),
    starts: words(STARTS),
    function: words(FUNCTION),
    between: words(BETWEEN),
    syllables: words(SYLLABLES),
});

fn one(pick: &mut Pick<'_>, from: &[&'static str]) -> &'static str {
    from[pick(from.len() as u64) as usize]
}

/// Like [`one`], with the first entries of the list much commoner than the last, as words are.
fn skewed(pick: &mut Pick<'_>, from: &[&'static str]) -> &'static str {
    let bound = pick(from.len() as u64) + 1;
    from[pick(bound) as usize]
}

/// Appends a sentence's pieces. Their concatenation is the sentence: a piece is a word with the
/// space before it, or a punctuation mark. `first` leaves out the first space.
pub fn sentence(pick: &mut Pick<'_>, first: bool, out: &mut Vec<String>) {
    let start = one(pick, &LEXICON.starts);
    out.push(if first { start.to_owned() } else { format!(" {start}") });
    phrase(pick, out);
    predicate(pick, out);
    match pick(5) {
        0 => {
            out.push(",".to_owned());
            push(out, one(pick, &LEXICON.links));
            push(out, one(pick, &LEXICON.function));
            phrase(pick, out);
            predicate(pick, out);
        }
        1 => {
            push(out, "and");
            predicate(pick, out);
        }
        _ => {}
    }
    out.push(if pick(12) == 0 { "?" } else { "." }.to_owned());
}

fn push(out: &mut Vec<String>, word: &str) {
    out.push(format!(" {word}"));
}

/// Adjectives and a noun, perhaps with more behind.
fn phrase(pick: &mut Pick<'_>, out: &mut Vec<String>) {
    if pick(2) == 0 {
        push(out, &adjective(pick));
    }
    push(out, &noun(pick));
    match pick(10) {
        0..3 => {
            push(out, one(pick, &LEXICON.between));
            push(out, one(pick, &LEXICON.function));
            push(out, &noun(pick));
        }
        3 => {
            push(out, "of");
            push(out, &name(pick));
        }
        4 => {
            push(out, "number");
            push(out, &number(pick));
        }
        _ => {}
    }
}

fn predicate(pick: &mut Pick<'_>, out: &mut Vec<String>) {
    if pick(4) == 0 {
        push(out, &format!("{}ly", skewed(pick, &LEXICON.adjectives)));
    }
    let verb = skewed(pick, &LEXICON.verbs);
    match pick(5) {
        0 => {
            push(out, one(pick, &["may", "must", "will", "should", "cannot"]));
            push(out, verb);
        }
        1 => {
            push(out, one(pick, &["is", "was"]));
            push(out, &with_ending(verb, "ing"));
        }
        2 => push(out, &with_ending(verb, "ed")),
        3 => push(out, &format!("re{}", with_ending(verb, "s"))),
        _ => push(out, &with_ending(verb, "s")),
    }
    push(out, one(pick, &LEXICON.function));
    phrase(pick, out);
}

fn noun(pick: &mut Pick<'_>) -> String {
    match pick(12) {
        0..6 => skewed(pick, &LEXICON.nouns).to_owned(),
        6..9 => with_ending(skewed(pick, &LEXICON.nouns), "s"),
        9 => with_ending(skewed(pick, &LEXICON.verbs), "er"),
        10 => format!("{}ness", skewed(pick, &LEXICON.adjectives)),
        _ => name(pick),
    }
}

fn adjective(pick: &mut Pick<'_>) -> String {
    match pick(6) {
        0 => format!("un{}", with_ending(skewed(pick, &LEXICON.verbs), "ed")),
        1 => with_ending(skewed(pick, &LEXICON.verbs), "able"),
        2 => format!("{}less", skewed(pick, &LEXICON.nouns)),
        _ => skewed(pick, &LEXICON.adjectives).to_owned(),
    }
}

/// An invented name of two or three syllables.
fn name(pick: &mut Pick<'_>) -> String {
    let mut name: String = (0..2 + pick(2)).map(|_| skewed(pick, &LEXICON.syllables)).collect();
    name[..1].make_ascii_uppercase();
    name
}

fn number(pick: &mut Pick<'_>) -> String {
    match pick(3) {
        0 => (1u64 << pick(14)).to_string(),
        1 => pick(100).to_string(),
        _ => (pick(400) * 25).to_string(),
    }
}

/// Joins an ending that begins with a vowel, or an s, as English mostly does.
fn with_ending(word: &str, ending: &str) -> String {
    let stem = &word[..word.len() - 1];
    let before = stem.as_bytes().last().copied().unwrap_or_default();
    let consonant_y = word.ends_with('y') && !b"aeiou".contains(&before);
    let hisses = ["s", "x", "z", "ch", "sh"].iter().any(|end| word.ends_with(end));
    match ending {
        "s" if hisses => format!("{word}es"),
        "s" if consonant_y => format!("{stem}ies"),
        "s" => format!("{word}s"),
        "ed" | "er" if consonant_y => format!("{stem}i{ending}"),
        _ if word.ends_with('e') => format!("{stem}{ending}"),
        _ => format!("{word}{ending}"),
    }
}

/// The training text: the prose and `bytes` of generated sentences, the same on every machine.
pub(super) fn training_text(bytes: usize) -> String {
    // SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
    let mut state = 0x0078_705F_7465_7874u64;
    let mut pick = move |n: u64| {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((u128::from(z ^ (z >> 31)) * u128::from(n)) >> 64) as u64
    };
    let mut text = String::with_capacity(PROSE.len() + bytes + 256);
    text.push_str(PROSE);
    let mut pieces = Vec::new();
    while text.len() < PROSE.len() + bytes {
        pieces.clear();
        sentence(&mut pick, false, &mut pieces);
        pieces.iter().for_each(|piece| text.push_str(piece));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_take_their_endings() {
        let cases = [
            ("batch", "s", "batches"),
            ("policy", "s", "policies"),
            ("key", "s", "keys"),
            ("measure", "ing", "measuring"),
            ("measure", "able", "measurable"),
            ("copy", "ed", "copied"),
            ("play", "ed", "played"),
            ("route", "er", "router"),
        ];
        for (word, ending, wanted) in cases {
            assert_eq!(with_ending(word, ending), wanted);
        }
    }

    #[test]
    fn text_is_ascii_and_its_own_prefix() {
        let long = training_text(20_000);
        assert!(long.is_ascii() && !long.contains("  ") && !long.contains('\n'));
        let short = training_text(5_000);
        assert!(long.starts_with(&short));
        insta::assert_snapshot!(&long[PROSE.len() + 1..PROSE.len() + 300], @"This Minelren of no constantness stored their local key, whenever a column should load a ungathered localness? Another value against our pocket tested each caption number 47. Their chunkless needle should copy a narrow extender against every softness. That defaultless batches pushed some modern val");
    }
}
