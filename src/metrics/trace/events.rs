use std::io::{self, Write};

use crate::metrics::row_writer::push_number;

/// Bytes gathered before they are written.
const CHUNK: usize = 1 << 18;

/// The events of a trace, written one by one.
pub(super) struct Events<'a> {
    file: &'a mut dyn Write,
    buffer: Vec<u8>,
    is_first: bool,
}

/// A thread of a process, and the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Track {
    pub process: u64,
    pub thread: u64,
}

impl<'a> Events<'a> {
    /// Begins the file, with facts about the whole trace.
    pub fn begin(file: &'a mut dyn Write, about: &[(&str, &str)]) -> io::Result<Self> {
        let mut out = Self { file, buffer: Vec::with_capacity(CHUNK + (CHUNK >> 4)), is_first: true };
        out.raw("{\"displayTimeUnit\":\"ns\",\"otherData\":{");
        for (index, (name, value)) in about.iter().enumerate() {
            if index > 0 {
                out.raw(",");
            }
            out.string(name)?;
            out.raw(":");
            out.string(value)?;
        }
        out.raw("},\"traceEvents\":[");
        Ok(out)
    }

    /// Writes an event: its phase (`X`, `C`, …), its name, where and when it is, and more fields and
    /// arguments.
    pub fn event(
        &mut self,
        phase: char,
        name: &str,
        track: Track,
        time_ns: u64,
        more: &[Field<'_>],
        args: &[(&str, Arg<'_>)],
    ) -> io::Result<()> {
        self.raw(if self.is_first { "\n" } else { ",\n" });
        self.is_first = false;
        self.raw("{\"ph\":");
        self.string(phase.encode_utf8(&mut [0; 4]))?;
        self.raw(",\"name\":");
        self.string(name)?;
        self.raw(",\"pid\":");
        push_number(&mut self.buffer, track.process);
        self.raw(",\"tid\":");
        push_number(&mut self.buffer, track.thread);
        self.raw(",\"ts\":");
        self.time(time_ns);
        for field in more {
            match field {
                Field::Category(category) => {
                    self.raw(",\"cat\":");
                    self.string(category)?;
                }
                Field::Id(id) => {
                    self.raw(",\"id\":");
                    push_number(&mut self.buffer, *id);
                }
                Field::Duration(ns) => {
                    self.raw(",\"dur\":");
                    self.time(*ns);
                }
                Field::BindsToEnclosing => self.raw(",\"bp\":\"e\""),
            }
        }
        if !args.is_empty() {
            self.raw(",\"args\":{");
            for (index, (name, value)) in args.iter().enumerate() {
                if index > 0 {
                    self.raw(",");
                }
                self.string(name)?;
                self.raw(":");
                match value {
                    Arg::Number(number) => push_number(&mut self.buffer, *number),
                    Arg::Text(text) => self.string(text)?,
                }
            }
            self.raw("}");
        }
        self.raw("}");
        if self.buffer.len() >= CHUNK { self.flush() } else { Ok(()) }
    }

    /// Names a process or a thread: `what` is `process_name` or `thread_name`.
    pub fn name(&mut self, what: &str, track: Track, name: &str) -> io::Result<()> {
        self.event('M', what, track, 0, &[], &[("name", Arg::Text(name))])
    }

    /// Ends the file.
    pub fn finish(mut self) -> io::Result<()> {
        self.raw("\n]}\n");
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        let written = self.file.write_all(&self.buffer);
        self.buffer.clear();
        written
    }

    fn raw(&mut self, text: &str) {
        self.buffer.extend_from_slice(text.as_bytes());
    }

    fn string(&mut self, text: &str) -> io::Result<()> {
        serde_json::to_writer(&mut self.buffer, text).map_err(io::Error::from)
    }

    /// Whole microseconds, a point, and three digits of ns.
    fn time(&mut self, ns: u64) {
        push_number(&mut self.buffer, ns / 1_000);
        let below = ns % 1_000;
        self.buffer.push(b'.');
        for digit in [below / 100, below / 10 % 10, below % 10] {
            push_number(&mut self.buffer, digit);
        }
    }
}

/// A field that some phases have.
#[derive(Debug, Clone, Copy)]
pub(super) enum Field<'a> {
    Category(&'a str),
    /// Of an asynchronous span or a flow: events with one category and id belong together.
    Id(u64),
    /// Of a complete event, ns.
    Duration(u64),
    /// Of a flow's end: it belongs to the event around it, not to the next.
    BindsToEnclosing,
}

/// What an argument says.
#[derive(Debug, Clone, Copy)]
pub(super) enum Arg<'a> {
    Number(u64),
    Text(&'a str),
}

impl From<u32> for Arg<'_> {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<u64> for Arg<'_> {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}
