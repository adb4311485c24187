//! RFC 3986 section 3: the path and query of a request, put together so that a name typed by a
//! person stays one segment.

const HEX: [char; 16] =
    ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];

/// A path under the server's address, with its query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestPath {
    path: String,
    query: String,
}

impl RequestPath {
    /// A fixed path such as `/v1/agents`.
    pub(crate) fn new(path: &'static str) -> Self {
        Self { path: path.to_owned(), query: String::new() }
    }

    /// One more segment, whatever letters it has.
    #[must_use]
    pub(crate) fn segment(mut self, segment: &str) -> Self {
        self.path.push('/');
        // `.` and `..` are steps in a path even when escaped (RFC 3986 section 6.2.2.3), so that
        // they can name nothing; the server answers that there is no such thing.
        let dots = matches!(segment, "." | "..");
        for byte in segment.bytes() {
            let kept = byte.is_ascii_alphanumeric() || b"-_~@".contains(&byte);
            if kept || (byte == b'.' && !dots) {
                self.path.push(char::from(byte));
            } else {
                self.path.extend(['%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
        self
    }

    /// One more parameter of the query.
    #[must_use]
    pub(crate) fn query(mut self, name: &str, value: &str) -> Self {
        let from = std::mem::take(&mut self.query);
        self.query = form_urlencoded::Serializer::new(from).append_pair(name, value).finish();
        self
    }

    /// One more parameter, where there is a value.
    #[must_use]
    pub(crate) fn query_opt(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    /// Path and query as they stand in a request.
    pub(crate) fn text(&self) -> String {
        if self.query.is_empty() {
            self.path.clone()
        } else {
            format!("{}?{}", self.path, self.query)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_one_segment_and_a_value_one_parameter() {
        let path = RequestPath::new("/v1/agents").segment("a/b?c#d%e").segment("activate");
        assert_eq!(path.text(), "/v1/agents/a%2Fb%3Fc%23d%25e/activate");
        let path = RequestPath::new("/v1/persons").segment("jo@example.com");
        assert_eq!(path.text(), "/v1/persons/jo@example.com");
        assert_eq!(RequestPath::new("/v1/agents").segment("..").text(), "/v1/agents/%2E%2E");
        let path = RequestPath::new("/v1/events").query("type", "a&b").query_opt("after", None);
        assert_eq!(path.query("limit", "5").text(), "/v1/events?type=a%26b&limit=5");
    }
}
