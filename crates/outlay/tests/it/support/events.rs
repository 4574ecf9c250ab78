//! An event stream as a browser reads it: one connection, events as they come.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::exact::Json;
use super::wire::Connection;

/// One event as it came.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) id: Option<String>,
    pub(crate) data: Json,
}

/// An open stream.
#[derive(Debug)]
pub(crate) struct Events {
    connection: Connection,
    pub(crate) headers: Vec<(String, String)>,
    text: String,
    read: VecDeque<Event>,
    pub(crate) retry: Option<u64>,
    pub(crate) comments: usize,
}

impl Events {
    /// Opens a stream, or gives the status that was answered in its place.
    pub(crate) fn open(
        address: SocketAddr,
        path: &str,
        authorization: Option<&str>,
        last_event_id: Option<&str>,
    ) -> Result<Events, u16> {
        let mut request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\naccept: text/event-stream\r\n");
        for (name, value) in [("authorization", authorization), ("last-event-id", last_event_id)] {
            if let Some(value) = value {
                request.extend([name, ": ", value, "\r\n"]);
            }
        }
        request += "\r\n";
        let mut connection = Connection::open(address).unwrap();
        let (status, headers) = connection.begin(request.as_bytes()).unwrap();
        if status != 200 {
            return Err(status);
        }
        Ok(Events { connection, headers, text: String::new(), read: VecDeque::new(), retry: None, comments: 0 })
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The next event, waiting for it; `None` at the stream's end.
    #[track_caller]
    pub(crate) fn try_next(&mut self) -> Option<Event> {
        while self.read.is_empty() {
            let chunk = self.connection.chunk().unwrap_or_else(|error| panic!("no event came: {error}"))?;
            self.take(&String::from_utf8(chunk).unwrap());
        }
        self.read.pop_front()
    }

    #[track_caller]
    pub(crate) fn next(&mut self) -> Event {
        self.try_next().expect("the stream ended")
    }

    /// The next event, which must have this name.
    #[track_caller]
    pub(crate) fn expect(&mut self, name: &str) -> Event {
        let event = self.next();
        assert_eq!(event.name, name, "{event:?}");
        event
    }

    /// The next budget that shows this; what changes fast may come as several.
    #[track_caller]
    pub(crate) fn until(&mut self, mut shown: impl FnMut(&Event) -> bool) -> Event {
        loop {
            let event = self.next();
            if shown(&event) {
                return event;
            }
        }
    }

    /// Reads up to the end of the stream, which must come.
    #[track_caller]
    pub(crate) fn ends(&mut self) {
        while let Some(event) = self.try_next() {
            assert_eq!(event.name, "budget", "{event:?}");
        }
    }

    /// Whether anything came that was not read yet.
    pub(crate) fn has_more(&self) -> bool {
        !self.read.is_empty() || self.connection.has_more()
    }

    fn take(&mut self, chunk: &str) {
        self.text += chunk;
        while let Some((block, rest)) = self.text.split_once("\n\n") {
            let (mut name, mut id, mut data) = ("", None, None);
            for line in block.lines() {
                let (field, value) = line.split_once(':').unwrap_or((line, ""));
                let value = value.strip_prefix(' ').unwrap_or(value);
                match field {
                    "event" => name = value,
                    "id" => id = Some(value.to_owned()),
                    "data" => assert!(data.replace(value.to_owned()).is_none(), "data of two lines: {block}"),
                    "retry" => self.retry = value.parse().ok(),
                    "" => self.comments += 1,
                    _ => panic!("an unknown field: {block}"),
                }
            }
            if let Some(data) = data {
                self.read.push_back(Event { name: name.to_owned(), id, data: Json::parse(&data).unwrap() });
            }
            self.text = rest.to_owned();
        }
    }
}
