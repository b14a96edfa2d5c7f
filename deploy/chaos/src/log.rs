//! What is written down during a run, one JSON object a line, and read again by the checker.
//!
//! `run.json` has the world; `producer-N.jsonl` what was pushed and answered, `client-N.jsonl` what each client sent and
//! got as it was on the wire, `faults.jsonl` what was done to the cluster, `final.jsonl` the histories at the end.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::payload::PushId;

/// The clock of a run: microseconds since its beginning.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// One file of a log. Clones write to the same.
#[derive(Debug, Clone)]
pub(crate) struct Log(Arc<Mutex<BufWriter<File>>>);

impl Log {
    /// Begins a file.
    pub(crate) fn create(path: &Path) -> std::io::Result<Self> {
        Ok(Self(Arc::new(Mutex::new(BufWriter::new(File::create(path)?)))))
    }

    /// Writes a line. The page cache takes it: nobody waits for a disk.
    pub(crate) fn line(&self, line: &impl Serialize) {
        let mut text = serde_json::to_vec(line).expect("our lines have no maps with strange keys");
        text.push(b'\n');
        // A full disk is found at the end, when the file is flushed.
        _ = self.0.lock().write_all(&text);
    }

    /// Everything is in the file.
    pub(crate) fn flush(&self) -> std::io::Result<()> {
        self.0.lock().flush()
    }
}

/// How a push ended, as far as its producer knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum End {
    /// 202.
    Ok,
    /// An answer that says that nothing was stored or sent.
    Failed,
    /// No answer, or one that leaves it open.
    Unknown,
}

/// A line of a producer: a push begins, or an attempt ends without a 202, or a push ends.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PushLine {
    pub(crate) t: u64,
    pub(crate) push: PushId,
    /// To what, at its beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<String>,
    /// The logic node that answered, or that all of a lane go to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) logic: Option<u32>,
    /// Of an attempt that failed: status, or 0, and the code or what happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) attempt: Option<(u16, String)>,
    /// How long the attempt took, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ms: Option<u64>,
    /// Which of several racing copies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) copy: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) end: Option<End>,
    /// Where it stands in its history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) at: Option<(String, u64)>,
}

impl PushLine {
    /// A line that says nothing but which push.
    pub(crate) fn new(t: u64, push: PushId) -> Self {
        Self { t, push, to: None, logic: None, attempt: None, ms: None, copy: None, end: None, at: None }
    }
}

/// A line of a client.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct ClientLine<'a> {
    pub(crate) t: u64,
    /// It connects to this gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) connects: Option<u32>,
    /// It sent this.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub(crate) sent: Option<&'a RawValue>,
    /// It got this, as it was on the wire.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub(crate) got: Option<&'a RawValue>,
    /// It got this, which is no JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) garbage: Option<String>,
    /// Its connection ended; why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) closed: Option<String>,
}

/// A line about a fault.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FaultLine {
    pub(crate) t: u64,
    /// What was done: `kill`, `pause`, …, `crashed` for what a process did by itself.
    pub(crate) what: String,
    /// To whom: `gateway`, `logic`, `redis`, `client-link`, …
    pub(crate) role: String,
    /// Which one.
    pub(crate) name: String,
    /// It is over.
    #[serde(default)]
    pub(crate) lifted: bool,
}

/// What a mode has to say, in `notes.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Note {
    /// It is as promised.
    pub(crate) kept: bool,
    pub(crate) text: String,
}

/// A page of a history at the end.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FinalLine<'a> {
    pub(crate) history: String,
    #[serde(borrow)]
    pub(crate) page: &'a RawValue,
}

/// A page of a history, as the API answers it.
#[derive(Debug, Deserialize)]
pub(crate) struct Page<'a> {
    pub(crate) epoch: String,
    pub(crate) offset: u64,
    pub(crate) more: bool,
    #[serde(borrow)]
    pub(crate) items: Vec<KeptItem<'a>>,
}

/// An item of it.
#[derive(Debug, Deserialize)]
pub(crate) struct KeptItem<'a> {
    pub(crate) offset: u64,
    #[serde(borrow)]
    pub(crate) data: &'a RawValue,
}
