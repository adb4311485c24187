//! What the demo says: the story while it goes on, and at the end each promise with its proof.
//!
//! A promise holds only where its proof was seen. What failed is told with what was seen
//! instead, and what was not reached counts as failed.

use std::fmt::Write as _;
use std::future::Future;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::clock;
use crate::errors::{Failure, one_line};
use crate::output::{Output, line};

/// How wide the story is, in characters.
const WIDTH: usize = 96;

/// What is promised, in the order of the story.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Promise {
    Starts,
    Registers,
    Issues,
    Knows,
    Limits,
    Withholds,
    EndsStreams,
    EndsCalls,
    SparesSiblings,
    EndsConnections,
    EndsCertificates,
    Delegates,
    NarrowsOnly,
    EndsChains,
    NarrowsOffline,
    RotatesCredentials,
    RotatesKeys,
    LosesNoCall,
    Recognizes,
    Dismisses,
    TellsOwn,
    TellsNoOther,
    EndsLeaks,
    Binds,
    RefusesThieves,
    Records,
    Stops,
    VerifiesAlone,
    FailsClosed,
    Proves,
    FindsEdits,
    FindsCuts,
}

impl Promise {
    /// Every promise.
    const ALL: [Self; 32] = [
        Self::Starts,
        Self::Registers,
        Self::Issues,
        Self::Knows,
        Self::Limits,
        Self::Withholds,
        Self::EndsStreams,
        Self::EndsCalls,
        Self::SparesSiblings,
        Self::EndsConnections,
        Self::EndsCertificates,
        Self::Delegates,
        Self::NarrowsOnly,
        Self::EndsChains,
        Self::NarrowsOffline,
        Self::RotatesCredentials,
        Self::RotatesKeys,
        Self::LosesNoCall,
        Self::Recognizes,
        Self::Dismisses,
        Self::TellsOwn,
        Self::TellsNoOther,
        Self::EndsLeaks,
        Self::Binds,
        Self::RefusesThieves,
        Self::Records,
        Self::Stops,
        Self::VerifiesAlone,
        Self::FailsClosed,
        Self::Proves,
        Self::FindsEdits,
        Self::FindsCuts,
    ];

    const fn text(self) -> &'static str {
        match self {
            Self::Starts => "one command starts a server",
            Self::Registers => "every agent has an owner, a purpose and permissions",
            Self::Issues => "an instance gets a short-lived token for exactly what it asks",
            Self::Knows => "the resource knows which agent, instance and owner calls",
            Self::Limits => "a call beyond the token's scope is refused, with the reason",
            Self::Withholds => "an agent gets no token for what it does not hold",
            Self::EndsStreams => "revoking an instance breaks off the stream it is reading",
            Self::EndsCalls => "the revoked instance's calls are refused, and it gets no new token",
            Self::SparesSiblings => "its sibling goes on as if nothing had happened",
            Self::EndsCertificates => {
                "its certificate is on the list that any TLS library reads; its sibling's is not"
            }
            Self::EndsConnections => {
                "its open mutual-TLS connection with another agent closes; its sibling's works on"
            }
            Self::Delegates => {
                "from user to agent to agent: who is called goes on for the user, by a token of its own"
            }
            Self::NarrowsOnly => "it gets no more than was passed on, though it holds more itself",
            Self::EndsChains => {
                "a kill ends one chain at every enforcement point; another by the same agents works on"
            }
            Self::NarrowsOffline => {
                "a token that its holder narrows offline and hands on is honoured as it is then"
            }
            Self::RotatesCredentials => {
                "a credential is rotated in use: both work for a while, then the old one ends"
            }
            Self::RotatesKeys => "the signing key is rotated at once, and the resource follows",
            Self::LosesNoCall => "not one call fails meanwhile",
            Self::Recognizes => "a leaked secret is recognized in a text, without asking anybody",
            Self::Dismisses => "the same text with one character changed is recognized as none",
            Self::TellsOwn => "its own administrator is told whose it is and what it was used for",
            Self::TellsNoOther => "another organization's administrator is told nothing of it",
            Self::EndsLeaks => "once revoked it gets no more tokens, and those it got are refused",
            Self::Binds => "a token is bound to a key that never leaves its holder's process",
            Self::RefusesThieves => "a stolen token that is bound to a key is refused",
            Self::Records => "everything that was done stands in the audit log",
            Self::Stops => "the server stops in good order when it is told to",
            Self::VerifiesAlone => "with the server down, the resource goes on verifying",
            Self::FailsClosed => "with the server down, nothing is issued, and the error says why",
            Self::Proves => "the exported log verifies offline, with a public key only",
            Self::FindsEdits => "an edited event is found and named",
            Self::FindsCuts => {
                "a log that lost its end is noticed with a checkpoint kept elsewhere"
            }
        }
    }
}

/// What was seen: the proof of a promise.
pub(super) struct Proven<T> {
    value: T,
    proof: String,
    story: Vec<String>,
    took: Option<Duration>,
}

impl<T> Proven<T> {
    /// A proof in a few words, and what the story needs to go on.
    pub(super) fn new(value: T, proof: String) -> Self {
        Self { value, proof, story: Vec::new(), took: None }
    }

    /// With a sentence of the story.
    pub(super) fn story(mut self, text: impl Into<String>) -> Self {
        self.story.push(text.into());
        self
    }

    /// With the time that counts, where that is not the time of the whole proof.
    pub(super) fn took(mut self, took: Duration) -> Self {
        self.took = Some(took);
        self
    }
}

/// One promise and how it went.
struct Step {
    promise: Promise,
    ok: bool,
    /// What was seen.
    proof: String,
    /// Nothing where it was not tried.
    took: Option<Duration>,
}

/// The story and its promises.
pub(super) struct ScoreCard {
    json: bool,
    paint: Paint,
    started: Instant,
    steps: Vec<Step>,
    chapters: u32,
    took: Duration,
}

impl ScoreCard {
    /// Nothing promised yet.
    pub(super) fn new(out: &Output, started: Instant) -> Self {
        Self {
            json: out.is_json(),
            paint: Paint(out.colours_data()),
            started,
            steps: Vec::new(),
            chapters: 0,
            took: Duration::ZERO,
        }
    }

    /// Begins a chapter.
    pub(super) fn chapter(&mut self, title: &str) -> Result<(), Failure> {
        self.chapters += 1;
        let gap = if self.chapters == 1 { "" } else { "\n" };
        self.say(&format!("{gap}{}", self.paint.bold(&format!("{}. {title}", self.chapters))))
    }

    /// Tells a sentence.
    pub(super) fn tell(&self, text: &str) -> Result<(), Failure> {
        self.say(&wrapped(text, 3))
    }

    /// Waits for a proof and records how it went; nothing where the promise did not hold.
    pub(super) async fn prove<T>(
        &mut self,
        promise: Promise,
        proof: impl Future<Output = Result<Proven<T>, String>>,
    ) -> Result<Option<T>, Failure> {
        let begun = clock::now();
        let outcome = proof.await;
        self.record(promise, outcome, clock::now().duration_since(begun))
    }

    fn record<T>(
        &mut self,
        promise: Promise,
        outcome: Result<Proven<T>, String>,
        took: Duration,
    ) -> Result<Option<T>, Failure> {
        let (ok, proof, took, value) = match outcome {
            Ok(proven) => {
                proven.story.iter().try_for_each(|text| self.tell(text))?;
                (true, proven.proof, proven.took.unwrap_or(took), Some(proven.value))
            }
            Err(seen) => {
                let failed = format!("{}: {}", promise.text(), one_line(&seen));
                self.say(&format!("   {} {failed}", self.paint.bad("FAILED")))?;
                (false, seen, took, None)
            }
        };
        self.steps.push(Step { promise, ok, proof: one_line(&proof), took: Some(took) });
        Ok(value)
    }

    /// Prints the card, or the JSON document. What was not reached has failed.
    pub(super) fn finish(&mut self, now: Instant) -> Result<(), Failure> {
        self.took = now.duration_since(self.started);
        for promise in Promise::ALL {
            if self.steps.iter().all(|step| step.promise != promise) {
                let proof = "not tried: something before it failed".to_owned();
                self.steps.push(Step { promise, ok: false, proof, took: None });
            }
        }
        self.steps.sort_by_key(|step| step.promise);
        if self.json {
            return line(&self.document().to_string());
        }
        line(&format!("\n{}", self.text()))
    }

    /// The promises that did not hold.
    pub(super) fn failed(&self) -> Vec<&'static str> {
        self.steps.iter().filter(|step| !step.ok).map(|step| step.promise.text()).collect()
    }

    fn document(&self) -> Value {
        let steps = self.steps.iter().map(|step| {
            let (promise, ms) = (step.promise.text(), step.took.map(millis));
            json!({"promise": promise, "ok": step.ok, "proof": step.proof, "ms": ms})
        });
        let steps: Vec<Value> = steps.collect();
        json!({"ok": self.failed().is_empty(), "steps": steps, "ms": millis(self.took)})
    }

    fn text(&self) -> String {
        let mut text = self.paint.bold("Score card") + "\n";
        for step in &self.steps {
            let word = if step.ok { self.paint.good("ok    ") } else { self.paint.bad("FAILED") };
            let took = step.took.map_or_else(|| "-".to_owned(), shown);
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "   {word} {took:>9}  {}", step.promise.text());
            let proof = wrapped(&step.proof, 21);
            text += &(self.paint.dim(&proof) + "\n");
        }
        let held = self.steps.iter().filter(|step| step.ok).count();
        let all = self.steps.len();
        let words = format!("{held} of {all} promises held, in {}", shown(self.took));
        text + &if held == all { self.paint.good(&words) } else { self.paint.bad(&words) }
    }

    fn say(&self, text: &str) -> Result<(), Failure> {
        if self.json { Ok(()) } else { line(text) }
    }
}

/// Colour, where it is wanted.
#[derive(Clone, Copy)]
struct Paint(bool);

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    fn good(self, text: &str) -> String {
        self.with("1;32", text)
    }

    fn bad(self, text: &str) -> String {
        self.with("1;31", text)
    }
}

/// Milliseconds with one digit behind the point.
fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

/// A duration for people.
pub(super) fn shown(duration: Duration) -> String {
    format!("{:.1} ms", millis(duration))
}

/// A text on lines that are not too wide, all of them indented. A word is never broken.
fn wrapped(text: &str, indent: usize) -> String {
    let margin = " ".repeat(indent);
    let (mut lines, mut last) = (Vec::new(), margin.clone());
    for word in one_line(text).split(' ').filter(|word| !word.is_empty()) {
        let begun = last.len() > indent;
        if begun && last.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(std::mem::replace(&mut last, margin.clone()));
        } else if begun {
            last.push(' ');
        }
        last.push_str(word);
    }
    lines.push(last);
    lines.join("\n")
}

#[cfg(test)]
mod tests;
