//! A mail server that does as it is told: it speaks SMTP over TCP as far as a sender needs it, and keeps what it is given.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine as _;
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What the server does with one letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Smtp {
    /// Takes it.
    Takes,
    /// Asks for another try later, as servers do that do not know the sender: 451 for the address.
    Greylists,
    /// Knows no such address: 550.
    Refuses,
    /// Does not know the sender's name and password: 535.
    RefusesSender,
    /// Reads it whole, keeps it, and breaks the connection before it says so.
    DiesAfterData,
    /// Says nothing at all.
    Hangs,
}

/// A letter that the server was given.
#[derive(Debug, Clone)]
pub(crate) struct Mail {
    /// Whether the sender was told that it is taken.
    pub(crate) acknowledged: bool,
    /// The envelope's addresses.
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    /// Headers and body as they came, with line breaks of one character.
    pub(crate) text: String,
}

impl Mail {
    /// A header, unfolded.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let (head, _) = self.text.split_once("\n\n")?;
        let head = head.replace("\n ", " ").replace("\n\t", " ");
        head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    }

    /// The part of this type, such as `text/plain`, as it is read by people.
    pub(crate) fn part(&self, kind: &str) -> Option<String> {
        let from = self.text.find(&format!("Content-Type: {kind}"))?;
        let (head, body) = self.text[from..].split_once("\n\n")?;
        let body = body.split("\n--").next()?;
        let encoding = head.lines().find_map(|line| line.strip_prefix("Content-Transfer-Encoding: "));
        Some(match encoding {
            Some("quoted-printable") => quoted_printable(body),
            Some("base64") => {
                let bytes = base64::engine::general_purpose::STANDARD.decode(body.replace('\n', "")).unwrap();
                String::from_utf8(bytes).unwrap().replace("\r\n", "\n")
            }
            _ => body.to_owned(),
        })
    }
}

fn quoted_printable(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        match (byte, after) {
            (b'=', [b'\n', after @ ..]) => rest = after,
            (b'=', [high, low, after @ ..]) => {
                let digits = [*high, *low];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
                rest = after;
            }
            _ => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).unwrap().replace("\r\n", "\n")
}

#[derive(Debug, Default)]
struct Shared {
    /// What is done with the next letters; once it is empty, letters are taken.
    does: Mutex<VecDeque<Smtp>>,
    mails: Mutex<Vec<Mail>>,
    connections: AtomicUsize,
    stopped: AtomicBool,
    /// The name and the password of the newest sender, as `AUTH PLAIN` brings them.
    sender: Mutex<Option<(String, String)>>,
    /// What `STARTTLS` is answered with, where it is offered.
    tls: Option<Arc<ServerConfig>>,
}

/// A mail server on a port of its own.
#[derive(Debug)]
pub(crate) struct SmtpReceiver {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl SmtpReceiver {
    pub(crate) fn start() -> Self {
        Self::listen("127.0.0.1:0".parse().unwrap(), Arc::default())
    }

    /// One that offers `STARTTLS`.
    pub(crate) fn with_tls(tls: Arc<ServerConfig>) -> Self {
        Self::listen("127.0.0.1:0".parse().unwrap(), Arc::new(Shared { tls: Some(tls), ..Shared::default() }))
    }

    /// One that does this with the first letters, and then takes all.
    pub(crate) fn doing(does: &[Smtp]) -> Self {
        let receiver = Self::start();
        receiver.does(does);
        receiver
    }

    fn listen(address: SocketAddr, shared: Arc<Shared>) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let serving = Arc::clone(&shared);
        let accepting = move || {
            for stream in listener.incoming() {
                if serving.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(stream), shared) = (stream, Arc::clone(&serving)) else { continue };
                shared.connections.fetch_add(1, Ordering::SeqCst);
                // A sender that goes away ends its conversation; that is no failure of the test.
                start_thread(move || drop(Conversation::new(stream, shared).hold()));
            }
        };
        start_thread(accepting);
        Self { address, shared }
    }

    /// Queues what is done with the next letters.
    pub(crate) fn does(&self, does: &[Smtp]) {
        self.shared.does.lock().unwrap().extend(does);
    }

    /// As a setting: `smtp://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was given to it so far, in order.
    pub(crate) fn mails(&self) -> Vec<Mail> {
        self.shared.mails.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// The name and the password that the newest sender brought.
    pub(crate) fn sender(&self) -> Option<(String, String)> {
        self.shared.sender.lock().unwrap().clone()
    }

    /// Takes no connection any more; [`SmtpReceiver::comes_back`] ends that.
    pub(crate) fn goes_down(&self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // The listener sees it with the next connection, which is this one.
        drop(TcpStream::connect(self.address));
        while TcpStream::connect(self.address).is_ok() {
            thread::yield_now();
        }
    }

    /// Listens again where it was, with all that it had.
    pub(crate) fn comes_back(&self) {
        self.shared.stopped.store(false, Ordering::SeqCst);
        drop(Self::listen(self.address, Arc::clone(&self.shared)));
    }
}

fn start_thread(work: impl FnOnce() + Send + 'static) {
    thread::Builder::new().spawn(work).unwrap();
}

/// A connection in the clear, or under TLS.
trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// One connection.
struct Conversation {
    reader: BufReader<Box<dyn Stream>>,
    /// What TLS goes over, while it has not begun.
    plain: Option<TcpStream>,
    shared: Arc<Shared>,
}

impl Conversation {
    fn new(stream: TcpStream, shared: Arc<Shared>) -> Self {
        let plain = shared.tls.as_ref().map(|_| stream.try_clone().unwrap());
        Self { reader: BufReader::new(Box::new(stream)), plain, shared }
    }

    fn start_tls(&mut self) -> std::io::Result<()> {
        let (Some(tls), Some(plain)) = (self.shared.tls.clone(), self.plain.take()) else {
            return self.say("502 unknown");
        };
        self.say("220 go on")?;
        let connection = ServerConnection::new(tls).map_err(std::io::Error::other)?;
        self.reader = BufReader::new(Box::new(StreamOwned::new(connection, plain)));
        Ok(())
    }

    fn say(&mut self, line: &str) -> std::io::Result<()> {
        self.reader.get_mut().write_all(format!("{line}\r\n").as_bytes())
    }

    fn hear(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }

    fn hold(mut self) -> std::io::Result<()> {
        // What is done is decided when somebody comes, so that connections that overlap each have theirs.
        let does = self.shared.does.lock().unwrap().pop_front().unwrap_or(Smtp::Takes);
        if does == Smtp::Hangs {
            let mut nothing = Vec::new();
            self.reader.read_to_end(&mut nothing)?;
            return Ok(());
        }
        self.say("220 receiver.example ESMTP")?;
        let (mut from, mut to) = (String::new(), Vec::new());
        loop {
            let line = self.hear()?;
            let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            match verb.as_str() {
                "EHLO" if self.plain.is_some() => self.say("250-receiver.example\r\n250 STARTTLS")?,
                "EHLO" => self.say("250-receiver.example\r\n250-AUTH PLAIN\r\n250 8BITMIME")?,
                "STARTTLS" => self.start_tls()?,
                "HELO" | "NOOP" | "RSET" => self.say("250 OK")?,
                "AUTH" if does == Smtp::RefusesSender => self.say("535 5.7.8 Authentication failed")?,
                "AUTH" => {
                    *self.shared.sender.lock().unwrap() = credentials(&line);
                    self.say("235 OK")?;
                }
                "MAIL" => {
                    from = address(&line);
                    self.say("250 OK")?;
                }
                "RCPT" if does == Smtp::Greylists => self.say("451 4.7.1 Greylisted, try again later")?,
                "RCPT" if does == Smtp::Refuses => {
                    self.say(&format!("550 5.1.1 <{}>: no such user", address(&line)))?;
                }
                "RCPT" => {
                    to.push(address(&line));
                    self.say("250 OK")?;
                }
                "DATA" => {
                    self.say("354 go on")?;
                    let text = self.letter()?;
                    let acknowledged = does != Smtp::DiesAfterData;
                    let (from, to) = (std::mem::take(&mut from), std::mem::take(&mut to));
                    self.shared.mails.lock().unwrap().push(Mail { acknowledged, from, to, text });
                    if !acknowledged {
                        return Ok(());
                    }
                    self.say("250 2.0.0 taken")?;
                }
                "QUIT" => return self.say("221 bye"),
                _ => self.say("502 unknown")?,
            }
        }
    }

    fn letter(&mut self) -> std::io::Result<String> {
        let mut text = String::new();
        loop {
            let line = self.hear()?;
            if line == "." {
                return Ok(text);
            }
            text.push_str(line.strip_prefix('.').unwrap_or(&line));
            text.push('\n');
        }
    }
}

/// What stands between `<` and `>`.
fn address(line: &str) -> String {
    line.split_once('<')
        .and_then(|(_, rest)| rest.split_once('>'))
        .map_or_else(String::new, |(found, _)| found.to_owned())
}

/// `AUTH PLAIN base64(NUL name NUL password)`
fn credentials(line: &str) -> Option<(String, String)> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(line.strip_prefix("AUTH PLAIN ")?).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let mut parts = text.split('\0').skip(1);
    Some((parts.next()?.to_owned(), parts.next()?.to_owned()))
}
