//! What a template may not do, which comes with a model from elsewhere: take long, take all memory, nest until the
//! stack ends. The engine's budget counts steps and bytes that are made, but not what it takes to write a list of lists
//! that share their items as a text, and nested values are written and dropped by recursion.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use minijinja::value::{Kwargs, StringInput, ValueKind};
use minijinja::{Error, ErrorKind, Output, State, Value, escape_formatter, filters};
use minijinja_contrib::pycompat;

/// Steps of a render, and units of 64 bytes that it makes: a conversation of a million tokens takes some hundred
/// thousand.
pub(super) const BUDGET: u64 = 2_000_000;

/// Deepest value that is written as a text.
const MAX_DEPTH: usize = 64;

/// Stack of a render: enough for values as deep as the budget can nest them. What is not used takes no memory.
const STACK: usize = 512 << 20;

/// Time that a template has, ten seconds in short pauses: a machine that stood still has lost one of them. Published
/// templates take a thousandth.
const PAUSES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(100);

/// Why work on a template gave nothing.
#[derive(Debug)]
pub(super) enum Ended {
    /// It took too long.
    Late,
    /// It panicked, or never began.
    Failed,
}

/// Does work on a thread of its own, which is left alone when it does not end in time.
pub(super) fn bounded<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Ended> {
    let (send, receive) = sync_channel(1);
    let work = move || drop(send.send(work()));
    let named = thread::Builder::new().name("chat template".to_owned()).stack_size(STACK);
    named.spawn(work).map_err(|_| Ended::Failed)?;
    for _ in 0..PAUSES {
        match receive.recv_timeout(PAUSE) {
            Ok(done) => return Ok(done),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(Ended::Failed),
        }
    }
    Err(Ended::Late)
}

/// Takes what it costs to write a value as a text from the budget, before it is written.
fn pay(state: &State, value: &Value, depth: usize) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(Error::new(ErrorKind::InvalidOperation, "a value is nested too deep"));
    }
    state.consume_fuel(1)?;
    match value.kind() {
        ValueKind::String => state.consume_fuel(value.as_str().map_or(0, str::len) as u64 / 64),
        ValueKind::Seq | ValueKind::Iterable => {
            value.try_iter()?.try_for_each(|item| pay(state, &item, depth + 1))
        }
        ValueKind::Map => value.try_iter()?.try_for_each(|key| {
            pay(state, &key, depth + 1)?;
            pay(state, &value.get_item(&key)?, depth + 1)
        }),
        _ => Ok(()),
    }
}

/// Writes a value where a template does.
pub(super) fn format(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    pay(state, value, 0)?;
    escape_formatter(out, state, value)
}

/// The filter `string`.
pub(super) fn string(state: &State, value: &Value) -> Result<Value, Error> {
    pay(state, value, 0)?;
    filters::string(state, value)
}

/// The filter `join`.
pub(super) fn join(
    state: &mut State,
    value: &Value,
    joiner: Option<StringInput<'_>>,
    attribute: Option<&str>,
    kwargs: Kwargs,
) -> Result<Value, Error> {
    pay(state, value, 0)?;
    filters::join(state, value, joiner, attribute, kwargs)
}

/// Methods that Python has.
pub(super) fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if matches!(name, "join" | "format") {
        args.iter().try_for_each(|arg| pay(state, arg, 0))?;
    }
    pycompat::unknown_method_callback(state, value, name, args)
}
