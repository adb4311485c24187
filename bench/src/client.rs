//! A blocking HTTP client on one kept connection: for registering what a scenario needs, and for
//! revoking with as little between the clock and the socket as can be.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::{Answer, ambient};

/// How long an answer may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// What an answer of 503 says, too.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A connection and the credential to send on it.
pub(crate) struct Client {
    address: String,
    authorization: String,
    is_patient: bool,
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects to `127.0.0.1:PORT`. `authorization` is the header's value; empty for none.
    pub(crate) fn connect(address: &str, authorization: &str) -> Answer<Self> {
        let failed = |error: std::io::Error| format!("{address}: {error}");
        let stream = TcpStream::connect(address).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        stream.set_read_timeout(Some(ANSWER_TIME_MAX)).map_err(failed)?;
        let (address, authorization) = (address.to_owned(), authorization.to_owned());
        let is_patient = false;
        Ok(Self { address, authorization, is_patient, stream: BufReader::new(stream) })
    }

    /// One that comes back when it is told to: for what is prepared, not for what is measured.
    pub(crate) fn patient(self) -> Self {
        Self { is_patient: true, ..self }
    }

    /// The status of an answer.
    pub(crate) fn get(&mut self, path: &str) -> Answer<u16> {
        let request = self.head("GET", path, "", 0);
        self.exchange(&request).map(|(status, _)| status)
    }

    /// Reads an answer's text; another status than 2xx is an error.
    pub(crate) fn body(&mut self, path: &str) -> Answer<String> {
        let request = self.head("GET", path, "", 0);
        let body = self.accepted(path, &request)?;
        String::from_utf8(body).map_err(|error| format!("{path}: {error}"))
    }

    /// Posts JSON and reads the object in the answer; another status than 2xx is an error.
    pub(crate) fn post(&mut self, path: &str, body: &Value) -> Answer<Value> {
        let body = body.to_string();
        let request = self.head("POST", path, "application/json", body.len()) + &body;
        self.answer(path, &request)
    }

    /// Changes something by JSON; another status than 2xx is an error.
    pub(crate) fn patch(&mut self, path: &str, body: &Value) -> Answer<Value> {
        let body = body.to_string();
        let request = self.head("PATCH", path, "application/json", body.len()) + &body;
        self.answer(path, &request)
    }

    /// Posts a form and reads the object in the answer.
    pub(crate) fn post_form(&mut self, path: &str, body: &str) -> Answer<Value> {
        let kind = "application/x-www-form-urlencoded";
        let request = self.head("POST", path, kind, body.len()) + body;
        self.answer(path, &request)
    }

    fn answer(&mut self, path: &str, request: &str) -> Answer<Value> {
        let body = self.accepted(path, request)?;
        serde_json::from_slice(&body).map_err(|error| format!("{path}: {error}"))
    }

    fn accepted(&mut self, path: &str, request: &str) -> Answer<Vec<u8>> {
        let (mut status, mut body) = self.exchange(request)?;
        while status == 503 && self.is_patient {
            ambient::sleep(RETRY_AFTER);
            (status, body) = self.exchange(request)?;
        }
        if !(200..300).contains(&status) {
            return Err(format!("{path} answered {status}: {}", String::from_utf8_lossy(&body)));
        }
        Ok(body)
    }

    fn head(&self, method: &str, path: &str, kind: &str, length: usize) -> String {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.address);
        if !self.authorization.is_empty() {
            head = head + "Authorization: " + &self.authorization + "\r\n";
        }
        if kind.is_empty() {
            return head + "\r\n";
        }
        format!("{head}Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n")
    }

    fn exchange(&mut self, request: &str) -> Answer<(u16, Vec<u8>)> {
        let failed = |error: std::io::Error| error.to_string();
        self.stream.get_mut().write_all(request.as_bytes()).map_err(failed)?;
        let mut line = String::new();
        self.stream.read_line(&mut line).map_err(failed)?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| format!("no HTTP answer: {line:?}"))?;
        let mut length = 0;
        loop {
            line.clear();
            self.stream.read_line(&mut line).map_err(failed)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().map_err(|_| format!("no length: {value}"))?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).map_err(failed)?;
        Ok((status, body))
    }
}

/// A member of an object, as text.
pub(crate) fn text(object: &Value, name: &str) -> Answer<String> {
    let value = object.get(name).and_then(Value::as_str);
    value.map(str::to_owned).ok_or_else(|| format!("the answer has no `{name}`: {object}"))
}
