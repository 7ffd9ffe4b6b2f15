//! The operations listener: HTTP/1.1 on the control thread, one request per connection.
//!
//! No operation of the runtime's ring is ever abandoned: it would keep its descriptor, and the peer would wait for an
//! end that does not come. A connection out of time is shut down instead, and its reads and writes end by that.

use std::cell::Cell;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener as StdListener};
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_uring::net::{TcpListener, TcpStream};

use super::listener::ListenError;
use super::reports::{Reports, Silent};
use super::sys::{ListenerOptions, listen};
use super::webhooks::Said;
use crate::admin::operations::{self, Answer, Endpoint, Readiness};
use crate::wire::http::{
    HeadReader, HttpError, HttpLimits, append_error_response, append_response, append_response_head,
    parse_head,
};

/// Connections served at once; others wait in the kernel.
const CONNECTIONS_MAX: usize = 64;
const BACKLOG: u32 = 128;

const HEAD_LIMITS: HttpLimits = HttpLimits { head_bytes_max: 8 * 1024, headers_max: 64 };

/// What a peer may still send behind its request before it is cut off.
const TRAILING_BYTES_MAX: usize = 64 * 1024;

/// How long accepting rests after the kernel ran out of something.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// How long each part of an exchange may take.
#[derive(Debug, Clone, Copy)]
pub struct OpsTimes {
    /// Until the request's head has arrived.
    pub head: Duration,
    /// From then until the peer has taken the answer and closed.
    pub answer: Duration,
    /// Until every shard has reported its figures.
    pub figures: Duration,
}

impl Default for OpsTimes {
    fn default() -> Self {
        Self { head: Duration::from_secs(5), answer: Duration::from_secs(5), figures: Duration::from_secs(1) }
    }
}

/// The bound socket, before anything is served.
#[derive(Debug)]
pub struct OpsListener(OwnedFd);

impl OpsListener {
    pub fn bind(address: SocketAddr) -> Result<Self, ListenError> {
        let options = ListenerOptions { backlog: BACKLOG, reuse_port: false, user_timeout_ms: 10_000 };
        listen(address, &options).map(Self).map_err(|error| ListenError::new(address, error))
    }
}

/// Answers requests about this process.
pub struct Ops {
    reports: Rc<Reports>,
    readiness: Rc<Cell<Readiness>>,
    /// Has figures of its own, where there is something to say.
    said: Option<Arc<Said>>,
    version: &'static str,
    times: OpsTimes,
    places: Arc<Semaphore>,
}

impl Ops {
    pub fn new(
        reports: Rc<Reports>,
        readiness: Rc<Cell<Readiness>>,
        said: Option<Arc<Said>>,
        version: &'static str,
        times: OpsTimes,
    ) -> Rc<Self> {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        Rc::new(Self { reports, readiness, said, version, times, places })
    }

    /// Accepts and serves, for ever. Must run on the control thread's runtime.
    pub async fn serve(self: Rc<Self>, OpsListener(socket): OpsListener) {
        let listener = TcpListener::from_std(StdListener::from(socket));
        loop {
            let Ok(place) = Arc::clone(&self.places).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let ops = Rc::clone(&self);
                    tokio_uring::spawn(async move {
                        ops.connection(&stream).await;
                        drop((stream, place));
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "no room for a connection to the operations listener");
                    sleep(ACCEPT_REST).await;
                }
            }
        }
    }

    /// One request and its answer, within their times.
    async fn connection(&self, stream: &TcpStream) {
        let is_late = Cell::new(false);
        let mut exchange = pin!(self.exchange(stream, &is_late));
        if timeout(self.times.head, exchange.as_mut()).await.is_ok() {
            return;
        }
        // Ends a read in flight as if the peer had finished; an answer on its way is not touched.
        is_late.set(true);
        let _ = stream.shutdown(Shutdown::Read);
        if timeout(self.times.answer, exchange.as_mut()).await.is_ok() {
            return;
        }
        let _ = stream.shutdown(Shutdown::Both);
        exchange.await;
    }

    async fn exchange(&self, stream: &TcpStream, is_late: &Cell<bool>) {
        let response = match self.request(stream, is_late).await {
            Ok(Some(response)) => response,
            Ok(None) => return,
            Err(error) => {
                let mut response = Vec::new();
                append_error_response(&error, &mut response);
                response
            }
        };
        let (result, _) = stream.write_all(response).await;
        if result.is_ok() && stream.shutdown(Shutdown::Write).is_ok() {
            read_to_end(stream).await;
        }
    }

    /// Reads one request and makes its answer. `None`: the peer left without asking.
    async fn request(&self, stream: &TcpStream, is_late: &Cell<bool>) -> Result<Option<Vec<u8>>, HttpError> {
        let mut reader = HeadReader::default();
        let mut buffer = Vec::with_capacity(1_024);
        loop {
            buffer.clear();
            let result;
            (result, buffer) = stream.read(buffer).await;
            match result {
                Ok(0) | Err(_) if is_late.get() => return Err(HttpError::Timeout),
                Ok(0) | Err(_) => return Ok(None),
                Ok(_) => {}
            }
            let Some(taken) = reader.take(&buffer, &HEAD_LIMITS)? else { continue };
            let head = parse_head(&taken.bytes, &HEAD_LIMITS)?.ok_or(HttpError::RequestLine)?;
            if head.method != "GET" && head.method != "HEAD" {
                return Err(HttpError::MethodNotAllowed { allow: "GET" });
            }
            let answer = self.answer(Endpoint::of(head.path)).await;
            return Ok(Some(frame(&answer, head.method == "HEAD")));
        }
    }

    async fn answer(&self, endpoint: Endpoint) -> Answer {
        if endpoint != Endpoint::Metrics {
            return operations::answer(endpoint, self.readiness.get());
        }
        match self.reports.statistics(self.times.figures).await {
            Ok(shards) => {
                let whole = self.said.as_ref().map_or_else(Vec::new, |said| said.series());
                operations::metrics(&shards, &whole, self.version)
            }
            Err(Silent(shard)) => {
                tracing::warn!(shard = shard.0, "the shard did not report its figures in time");
                operations::metrics_incomplete(shard.0)
            }
        }
    }
}

/// The whole response. It ends the connection: that costs a scraper one handshake in 15 seconds, and spares this
/// listener idle connections and their limits.
fn frame(answer: &Answer, is_head: bool) -> Vec<u8> {
    let Answer { status, content_type, body } = answer;
    let mut response = Vec::new();
    let headers = [("Cache-Control", "no-store")];
    if is_head {
        append_response_head(*status, content_type, &headers, body.len(), false, &mut response);
    } else {
        append_response(*status, content_type, &headers, body.as_bytes(), false, &mut response);
    }
    response
}

/// Until the peer closes: closing over unread bytes would reset the connection, and the answer might be lost.
async fn read_to_end(stream: &TcpStream) {
    let mut buffer = Vec::with_capacity(1_024);
    let mut read = 0;
    while read < TRAILING_BYTES_MAX {
        buffer.clear();
        let result: io::Result<usize>;
        (result, buffer) = stream.read(buffer).await;
        match result {
            Ok(0) | Err(_) => return,
            Ok(bytes) => read += bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::mem::ManuallyDrop;
    use std::net::{Ipv4Addr, TcpStream as StdStream};
    use std::os::fd::AsRawFd;
    use std::time::Instant;

    use super::*;
    use crate::io::mesh::Mesh;

    const TIMES: OpsTimes = OpsTimes {
        head: Duration::from_millis(150),
        answer: Duration::from_millis(150),
        figures: Duration::from_millis(20),
    };

    /// Serves on a thread of its own until the test process ends, with one shard that never answers.
    fn start(readiness: Readiness) -> SocketAddr {
        let listener = OpsListener::bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
        let socket = StdListener::from(listener.0.try_clone().expect("a descriptor"));
        let address = socket.local_addr().expect("bound");
        std::thread::spawn(move || {
            let runtime = tokio_uring::Runtime::new(tokio_uring::builder().entries(64)).expect("a ring");
            // Its drop would wait for the accept in flight.
            let runtime = ManuallyDrop::new(runtime);
            let reports = Rc::new(Reports::new(Mesh::new(1).expect("an eventfd")));
            let ops = Ops::new(reports, Rc::new(Cell::new(readiness)), None, "1.2.3", TIMES);
            runtime.block_on(ops.serve(listener));
        });
        address
    }

    fn connect(address: SocketAddr) -> StdStream {
        let stream = StdStream::connect(address).expect("accepted");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        stream
    }

    /// Sends a request, in the pieces given, and reads until the server closes.
    fn ask(address: SocketAddr, pieces: &[&str]) -> String {
        let mut stream = connect(address);
        stream.set_nodelay(true).expect("an option");
        for piece in pieces {
            stream.write_all(piece.as_bytes()).expect("sent");
        }
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("answered and closed");
        response
    }

    #[test]
    fn requests_are_answered_one_per_connection() {
        let address = start(Readiness::Ready);
        let table: [(&[&str], &str, &str); 10] = [
            (&["GET /health HTTP/1.1\r\nHost: x\r\n\r\n"], "200", "ok\n"),
            (&["GET /re", "ady HTTP/1.1\r\nHo", "st: x\r\n\r", "\n"], "200", "ready\n"),
            (&["GET /ready?verbose HTTP/1.0\r\n\r\n"], "200", "ready\n"),
            (&["HEAD /health HTTP/1.1\r\nHost: x\r\n\r\n"], "200", "\r\n\r\n"),
            (&["GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"], "503", "shard 0 did not report in time\n"),
            (&["GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"], "404", "/metrics\n"),
            (
                &["POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"],
                "405",
                "method not allowed, use GET\n",
            ),
            (&["GET /health HTTP/1.1\r\n\r\n"], "400", "Host header\n"),
            (&["nonsense\r\n\r\n"], "400", "malformed\n"),
            (&["GET / HTTP/1.1\r\nHost: x\r\nA: ", &"a".repeat(9_000), "\r\n\r\n"], "431", "bytes\n"),
        ];
        for (pieces, status, end) in table {
            let response = ask(address, pieces);
            assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{pieces:?}: {response}");
            assert!(response.ends_with(end) && response.contains("\r\nConnection: close\r\n"), "{response}");
        }
    }

    #[test]
    fn who_is_late_gets_408_and_an_end() {
        let address = start(Readiness::Ready);
        for piece in ["", "GET /health HTTP/1.1\r\n"] {
            let began = Instant::now();
            let response = ask(address, &[piece]);
            assert!(response.starts_with("HTTP/1.1 408 "), "{piece:?}: {response}");
            assert!(began.elapsed() >= TIMES.head, "{:?}", began.elapsed());
        }
    }

    #[test]
    fn who_neither_reads_nor_closes_is_cut_off() {
        let address = start(Readiness::Ready);
        let mut stream = connect(address);
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
        // Keeps its own side open, so the server waits for its end, but not for ever.
        let mut response = Vec::new();
        stream.read_to_end(&mut response).expect("answered");
        // A closed socket answers bytes by a reset, which a later write meets.
        let began = Instant::now();
        while stream.write_all(b"x").is_ok() {
            assert!(began.elapsed() < Duration::from_secs(10), "the connection is still held");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn silent_connections_do_not_shut_out_a_probe() {
        let address = start(Readiness::Draining);
        let silent: Vec<_> = (0..2 * CONNECTIONS_MAX).map(|_| connect(address)).collect();
        let response = ask(address, &["GET /ready HTTP/1.1\r\nHost: x\r\n\r\n"]);
        assert!(response.starts_with("HTTP/1.1 503 ") && response.ends_with("draining\n"), "{response}");
        assert!(silent.iter().all(|stream| stream.as_raw_fd() >= 0), "they were held until now");
    }

    #[test]
    fn an_address_in_use_is_refused() {
        let first = OpsListener::bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
        let address =
            StdListener::from(first.0.try_clone().expect("a descriptor")).local_addr().expect("bound");
        let error = OpsListener::bind(address).expect_err("taken");
        assert_eq!(error.to_string(), format!("{address} is already in use"));
    }
}
