//! HTTP/1.1 as bytes on a socket. A library would tidy up hostile paths, headers and bodies before they reach the server;
//! here they go out as they are written.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::exact::Json;

/// Long enough that only a server that hangs ever meets it.
const PATIENCE: Duration = Duration::from_mins(1);

/// One connection, kept alive between requests.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
}

/// An answer as it came.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) asked: String,
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> io::Result<Connection> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Connection { stream: BufReader::new(stream) })
    }

    /// Whether the server still holds this idle connection open.
    pub(crate) fn is_alive(&self) -> bool {
        let stream = self.stream.get_ref();
        let mut byte = [0];
        let peeked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut byte));
        stream.set_nonblocking(false).is_ok()
            && matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Sends a whole request and reads the whole answer; `true` beside it if the connection can be used again.
    ///
    /// # Errors
    /// When the connection was cut before the answer was whole: what was asked for may be done or not.
    pub(crate) fn exchange(&mut self, request: &[u8]) -> io::Result<(Reply, bool)> {
        // A server may answer 413 before it has read everything; then the answer counts, not the broken pipe.
        let sent = self.stream.get_mut().write_all(request);
        let reply = self.reply();
        if let (Err(error), Err(_)) = (&sent, &reply) {
            return Err(io::Error::new(error.kind(), error.to_string()));
        }
        reply.map(|(reply, alive)| (reply, alive && sent.is_ok()))
    }

    /// Sends bytes that are no whole request.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Sends a request whose answer may be one that goes on; gives the head of the answer.
    pub(super) fn begin(&mut self, request: &[u8]) -> io::Result<(u16, Vec<(String, String)>)> {
        self.send_raw(request)?;
        self.head()
    }

    /// The next piece of an answer that goes on; `None` at its end.
    pub(super) fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let size = usize::from_str_radix(self.line()?.trim(), 16).map_err(|_| bad("chunk size"))?;
        let mut chunk = vec![0; size];
        self.stream.read_exact(&mut chunk)?;
        self.line()?;
        Ok((size > 0).then_some(chunk))
    }

    /// Whether something came that was not read yet.
    pub(super) fn has_more(&self) -> bool {
        !self.stream.buffer().is_empty() || !self.is_alive()
    }

    fn reply(&mut self) -> io::Result<(Reply, bool)> {
        let (status, headers) = loop {
            let (status, headers) = self.head()?;
            if status >= 200 {
                break (status, headers);
            }
        };
        let mut reply = Reply { asked: String::new(), status, headers, body: Vec::new() };
        let mut alive = reply.header("connection") != Some("close");
        if reply.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            reply.body = self.chunks()?;
        } else if let Some(length) = reply.header("content-length") {
            let length = length.parse::<usize>().map_err(|_| bad("content-length"))?;
            reply.body.resize(length, 0);
            self.stream.read_exact(&mut reply.body)?;
        } else if status != 204 && status != 304 {
            self.stream.read_to_end(&mut reply.body)?;
            alive = false;
        }
        Ok((reply, alive))
    }

    fn head(&mut self) -> io::Result<(u16, Vec<(String, String)>)> {
        let line = self.line()?;
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(|| bad("status line"))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok((status, headers));
            }
            let (name, value) = line.split_once(':').ok_or_else(|| bad("header"))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| bad("chunk size"))?;
            let start = body.len();
            body.resize(start + size, 0);
            self.stream.read_exact(&mut body[start..])?;
            if size == 0 {
                while !self.line()?.is_empty() {}
                return Ok(body);
            }
            self.line()?;
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("unreadable {what}"))
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; an empty one is null.
    #[track_caller]
    pub(crate) fn json(&self) -> Json {
        if self.body.is_empty() {
            return Json::Null;
        }
        Json::parse(&self.text()).unwrap_or_else(|error| panic!("{}: {error} in {}", self.asked, self.text()))
    }

    /// Asserts the status, and of every error that it is a problem as RFC 9457 has it; gives the body.
    #[track_caller]
    pub(crate) fn is(&self, status: u16) -> Json {
        assert!(self.status == status, "{}: {} instead of {status}: {}", self.asked, self.status, self.text());
        self.sound()
    }

    /// Asserts one of several statuses where the contract leaves a choice; gives the body.
    #[track_caller]
    pub(crate) fn is_one_of(&self, statuses: &[u16]) -> Json {
        assert!(
            statuses.contains(&self.status),
            "{}: {} not in {statuses:?}: {}",
            self.asked,
            self.status,
            self.text()
        );
        self.sound()
    }

    /// Asserts the status of an answer that is no JSON; gives its text.
    #[track_caller]
    pub(crate) fn is_text(&self, status: u16) -> String {
        assert!(self.status == status, "{}: {} instead of {status}: {}", self.asked, self.status, self.text());
        self.text()
    }

    #[track_caller]
    fn sound(&self) -> Json {
        let json = self.json();
        if self.status >= 400 {
            let kind = self.header("content-type").unwrap_or_default();
            assert!(kind.starts_with("application/problem+json"), "{}: an error as {kind:?}", self.asked);
            assert!(json.text("/type").contains("/problems/"), "{}: {json}", self.asked);
            assert!(!json.text("/title").is_empty() && !json.text("/requestId").is_empty(), "{}: {json}", self.asked);
            json.shows("/status", &self.status.to_string());
            if self.status == 503 || self.status == 429 {
                assert!(self.header("retry-after").is_some(), "{}: no Retry-After", self.asked);
            }
        }
        json
    }

    /// Asserts a 400 whose `errors` name `pointer`.
    #[track_caller]
    pub(crate) fn refuses(&self, pointer: &str) -> Json {
        let problem = self.is(400);
        let named = problem.list("/errors").iter().any(|error| error.text("/pointer") == pointer);
        assert!(named, "{}: no error at {pointer}: {problem}", self.asked);
        problem
    }
}
