//! RFC 9112 by hand: an attacker's client, which sends whatever it is told to send.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long an answer may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

/// A request that is being put together.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    method: String,
    target: String,
    host: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Ask {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            host: "127.0.0.1".to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub(crate) fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// A form, encoded as it must be.
    pub(crate) fn form(target: &str, pairs: &[(&str, &str)]) -> Self {
        let pairs: Vec<String> =
            pairs.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        Self::raw_form(target, pairs.join("&"))
    }

    /// A form as it stands.
    pub(crate) fn raw_form(target: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", target)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body)
    }

    pub(crate) fn json(method: &str, target: &str, body: &Value) -> Self {
        Self::new(method, target)
            .header("content-type", "application/json")
            .body(body.to_string().into_bytes())
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    pub(crate) fn bearer(self, credential: &str) -> Self {
        self.header("authorization", &format!("Bearer {credential}"))
    }

    /// RFC 6749 section 2.3.1.
    pub(crate) fn basic(self, id: &str, secret: &str) -> Self {
        let pair = STANDARD.encode(format!("{}:{}", encoded(id), encoded(secret)));
        self.header("authorization", &format!("Basic {pair}"))
    }

    /// What it names: target and body, for whoever looks for repetitions of it.
    pub(crate) fn sent(&self) -> String {
        format!("{} {}", self.target, String::from_utf8_lossy(&self.body))
    }

    fn bytes(&self, connection: &str) -> Vec<u8> {
        let mut head = format!(
            "{} {} HTTP/1.1\r\nhost: {}\r\nconnection: {connection}\r\n",
            self.method, self.target, self.host
        );
        for (name, value) in &self.headers {
            write!(head, "{name}: {value}\r\n").expect("written");
        }
        if !self.body.is_empty() || self.method != "GET" {
            write!(head, "content-length: {}\r\n", self.body.len()).expect("written");
        }
        head.push_str("\r\n");
        [head.as_bytes(), &self.body].concat()
    }

    /// Sends it on a connection of its own.
    pub(crate) async fn send(&self, to: SocketAddr) -> Answer {
        self.try_send(to).await.expect("an answer")
    }

    /// Like [`Self::send`], where the server may die meanwhile.
    pub(crate) async fn try_send(&self, to: SocketAddr) -> Option<Answer> {
        let mut stream = TcpStream::connect(to).await.ok()?;
        stream.write_all(&self.bytes("close")).await.ok()?;
        let mut bytes = Vec::new();
        let read = tokio::time::timeout(ANSWER_TIME_MAX, stream.read_to_end(&mut bytes));
        // A reset after the answer is no harm: what is not whole does not parse.
        let _ = read.await.expect("an answer in time");
        Answer::parse(&bytes)
    }

    /// Sends it and hands over the answer piece by piece.
    pub(crate) async fn stream(&self, to: SocketAddr) -> Pieces {
        let mut stream = TcpStream::connect(to).await.expect("connected");
        stream.write_all(&self.bytes("keep-alive")).await.expect("sent");
        Pieces { stream, seen: Vec::new() }
    }
}

/// RFC 6749 appendix B.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' => {
                out.push(char::from(byte));
            }
            _ => write!(out, "%{byte:02X}").expect("written"),
        }
    }
    out
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Nothing where the bytes are not one whole answer.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&bytes[..end]).ok()?;
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let rest = &bytes[end + 4..];
        let mut answer = Self { status, headers, body: rest.to_vec() };
        if answer.header("transfer-encoding") == Some("chunked") {
            answer.body = unchunked(rest)?;
        } else if let Some(length) = answer.header("content-length") {
            let length: usize = length.parse().ok()?;
            if rest.len() != length {
                return None;
            }
        }
        Some(answer)
    }

    /// The value of a header that stands once at most; of challenges the first (RFC 9110 section
    /// 11.6.1: there may be several).
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(key, _)| key == name);
        let value = values.next().map(|(_, value)| value.as_str());
        let may_repeat = name == "www-authenticate";
        assert!(may_repeat || values.next().is_none(), "`{name}` stands twice");
        value
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("text")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    /// The JSON of an answer that says yes.
    pub(crate) fn good(&self) -> Value {
        assert!((200..300).contains(&self.status), "{} {}", self.status, self.text());
        self.json()
    }

    /// Checks a no in OAuth's language: status, code, our rule, and that there is a hint.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, error: &str, rule: &str) {
        let body = self.json();
        let said = (self.status, &body["error"], &body["rule"]);
        assert_eq!(said, (status, &Value::from(error), &Value::from(rule)), "{body}");
        assert!(body["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "no hint: {body}");
        assert!(body["error_description"].as_str().is_some_and(|text| !text.is_empty()), "{body}");
        assert_eq!(self.header("cache-control"), Some("no-store"));
    }

    /// Checks a no in the admin API's language, RFC 9457.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, rule: &str) {
        let body = self.json();
        let kind = format!("urn:accredit:problem:{rule}");
        let said = (self.status, &body["type"]);
        assert_eq!(said, (status, &Value::from(kind)), "{body}");
        assert_eq!(body["status"], status, "{body}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert!(body["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "no hint: {body}");
        assert_eq!(body["request_id"].as_str(), self.header("request-id"), "{body}");
    }

    /// The stable name of the rule that refused, in either language.
    pub(crate) fn rule(&self) -> String {
        let body = self.json();
        let named = body["rule"].as_str().or_else(|| {
            body["type"].as_str().and_then(|kind| kind.strip_prefix("urn:accredit:problem:"))
        });
        named.unwrap_or_default().to_owned()
    }
}

fn unchunked(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        let end = bytes.windows(2).position(|two| two == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).ok()?, 16).ok()?;
        let data = bytes.get(end + 2..end + 2 + size)?;
        if size == 0 {
            return Some(out);
        }
        out.extend_from_slice(data);
        bytes = bytes.get(end + 2 + size + 2..)?;
    }
}

/// An answer that comes piece by piece.
pub(crate) struct Pieces {
    stream: TcpStream,
    seen: Vec<u8>,
}

impl Pieces {
    /// Waits for more; whether there is any. No more means that the connection is over.
    pub(crate) async fn more(&mut self) -> bool {
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer).await {
            Ok(count) if count > 0 => {
                self.seen.extend_from_slice(&buffer[..count]);
                true
            }
            _ => false,
        }
    }

    /// What came so far, head and body as they travelled.
    pub(crate) fn seen(&self) -> String {
        String::from_utf8_lossy(&self.seen).into_owned()
    }
}
