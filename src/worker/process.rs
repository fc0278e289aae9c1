//! A process that answers lines with lines: started, given so long for each answer, and ended with all
//! that it started.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Longest line that is read, in bytes: tokens of a step of many thousand requests.
pub const MAX_LINE: usize = 4 << 20;
/// What is kept of standard error, in bytes: its end.
const TAIL: usize = 2 << 10;
/// How long an ended process is waited for.
const REAP: Duration = Duration::from_secs(5);

/// What came instead of a line.
#[derive(Debug, PartialEq, Eq)]
pub enum Silence {
    /// The process ended; None: it closed its pipe, and was ended.
    Ended(Option<ExitStatus>),
    /// Nothing came in time.
    TimedOut,
    /// A line is longer than [`MAX_LINE`], or not UTF-8: its beginning.
    NoText { why: &'static str, line: String },
}

/// What the reading thread found.
type Line = Result<String, Option<(&'static str, String)>>;

/// A running process with pipes.
#[derive(Debug)]
pub struct Process {
    child: Child,
    to: Option<Sender<Vec<u8>>>,
    from: Receiver<Line>,
    tail: Arc<Mutex<Vec<u8>>>,
    /// Closed when standard error is.
    silent: Receiver<()>,
}

impl Process {
    /// Starts a program, in a process group of its own where the system has such.
    pub fn start(mut command: Command) -> io::Result<Self> {
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let none = || io::Error::other("the process has no pipe");
        let (stdin, stdout, stderr) = (
            child.stdin.take().ok_or_else(none)?,
            child.stdout.take().ok_or_else(none)?,
            child.stderr.take().ok_or_else(none)?,
        );
        let (to, lines) = mpsc::channel();
        let (found, from) = mpsc::channel();
        let (open, silent) = mpsc::channel();
        let tail = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&tail);
        // Whoever does not read its pipe holds up a thread, not xp. All end with the process.
        thread::spawn(move || write_lines(stdin, &lines));
        thread::spawn(move || read_lines(BufReader::new(stdout), &found));
        thread::spawn(move || {
            keep_tail(stderr, &kept);
            drop(open);
        });
        Ok(Self { child, to: Some(to), from, tail, silent })
    }

    /// Sends a line, without its end.
    pub fn send(&self, line: String) {
        let mut bytes = line.into_bytes();
        bytes.push(b'\n');
        // A process that is gone is noticed by what it does not answer.
        let _ = self.to.as_ref().map(|to| to.send(bytes));
    }

    /// The next line, without its end.
    pub fn receive(&mut self, within: Duration) -> Result<String, Silence> {
        match self.from.recv_timeout(within) {
            Ok(Ok(line)) => Ok(line),
            Ok(Err(Some((why, line)))) => Err(Silence::NoText { why, line }),
            Ok(Err(None)) | Err(RecvTimeoutError::Disconnected) => Err(Silence::Ended(self.ended())),
            Err(RecvTimeoutError::Timeout) => Err(Silence::TimedOut),
        }
    }

    /// The end of what it wrote to standard error, after a line break; empty if that is nothing.
    pub fn last_words(&self) -> String {
        // What a dying process wrote arrives a moment after its end.
        let _ = self.silent.recv_timeout(Duration::from_millis(300));
        let bytes = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let text: String = String::from_utf8_lossy(&bytes)
            .chars()
            .map(|c| if c.is_control() && c != '\n' { ' ' } else { c })
            .collect();
        match text.trim() {
            "" => String::new(),
            text => format!("\n{text}"),
        }
    }

    /// Ends it and all that it started.
    pub fn kill(&mut self) {
        self.to = None;
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        #[cfg(unix)]
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.child.kill();
        self.wait(REAP);
    }

    /// Waits a while for its end.
    fn wait(&mut self, within: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + within;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < until => thread::sleep(Duration::from_millis(2)),
                _ => return None,
            }
        }
    }

    /// How it ended; one that only closed its pipe is ended.
    fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.wait(Duration::from_secs(1));
        if status.is_none() {
            self.kill();
        }
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How a process ended, after its name: `ended with exit code 3`.
pub fn describe(status: Option<ExitStatus>) -> String {
    let Some(status) = status else { return "closed its pipe".to_owned() };
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return format!("was ended by signal {signal}");
    }
    match status.code() {
        Some(code) => format!("ended with exit code {code}"),
        None => "ended".to_owned(),
    }
}

fn write_lines(mut pipe: ChildStdin, lines: &Receiver<Vec<u8>>) {
    while let Ok(bytes) = lines.recv() {
        if pipe.write_all(&bytes).and_then(|()| pipe.flush()).is_err() {
            return;
        }
    }
}

/// Hands lines on until the first that is none.
fn read_lines(mut pipe: impl BufRead, found: &Sender<Line>) {
    loop {
        let mut bytes = Vec::new();
        let limit = MAX_LINE as u64 + 1;
        let read = (&mut pipe).take(limit).read_until(b'\n', &mut bytes);
        let is_whole = bytes.last() == Some(&b'\n');
        let line = match read {
            Ok(0) | Err(_) => Err(None),
            Ok(_) if !is_whole && bytes.len() as u64 == limit => {
                Err(Some(("a line of more than 4 MiB", shown(&bytes))))
            }
            // The process ended within a line.
            Ok(_) if !is_whole => Err(None),
            Ok(_) => {
                bytes.pop();
                String::from_utf8(bytes).map_err(|error| Some(("it is not UTF-8", shown(error.as_bytes()))))
            }
        };
        let is_last = line.is_err();
        if found.send(line).is_err() || is_last {
            return;
        }
    }
}

/// The beginning of a line, for people.
pub fn shown(bytes: &[u8]) -> String {
    const SHOWN: usize = 120;
    let text = String::from_utf8_lossy(bytes.get(..4 * SHOWN).unwrap_or(bytes));
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN).collect();
    if text.chars().count() > SHOWN { format!("{plain}…") } else { plain }
}

/// Reads to the end and keeps the last bytes.
fn keep_tail(mut pipe: impl Read, kept: &Mutex<Vec<u8>>) {
    let mut bytes = [0; 4 << 10];
    while let Ok(count @ 1..) = pipe.read(&mut bytes) {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(bytes.get(..count).unwrap_or_default());
        let surplus = kept.len().saturating_sub(TAIL);
        kept.drain(..surplus);
    }
}
