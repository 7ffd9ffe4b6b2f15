//! Requests to backends, over HTTP/1.1 with or without TLS.
//!
//! Where they go is configured, never taken from a client; redirects are not followed. A backend that does not
//! answer costs one request its time, not the broker its memory.

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};

/// From looking up the name to a connection.
const CONNECT: Duration = Duration::from_secs(1);

/// From the beginning to the whole answer.
const WHOLE: Duration = Duration::from_secs(5);

/// An answer is read to its end, so that its connection serves the next request; one longer than this is an error.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

const IDLE: Duration = Duration::from_secs(30);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum OutgoingError {
    #[error("no answer within {} s", WHOLE.as_secs())]
    Late,
    #[error("{0}")]
    Request(String),
    #[error("an answer longer than {ANSWER_BYTES_MAX} bytes, or cut off")]
    Answer,
}

/// A client that keeps connections. Cloning it shares them. To be used within a tokio runtime.
#[derive(Debug, Clone)]
pub struct Outgoing {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Outgoing {
    /// Certificates are judged by the roots that the system trusts.
    pub fn new() -> Self {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::debug!(%error, "a certificate that the system trusts could not be read");
        }
        roots.add_parsable_certificates(found.certs);
        let tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let mut plain = HttpConnector::new();
        plain.enforce_http(false);
        plain.set_nodelay(true);
        plain.set_connect_timeout(Some(CONNECT));
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector.wrap_connector(plain));
        Self { client }
    }

    /// Posts a body; the answer's status.
    pub async fn post(
        &self,
        target: &Uri,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<u16, OutgoingError> {
        let mut request = Request::builder().method(Method::POST).uri(target.clone());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body)));
        let request = request.map_err(|error| OutgoingError::Request(error.to_string()))?;
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| because(&error))?;
            let status = response.status().as_u16();
            let answer = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            answer.map(|_| status).map_err(|_| OutgoingError::Answer)
        };
        tokio::time::timeout(WHOLE, exchange).await.map_err(|_| OutgoingError::Late)?
    }
}

impl Default for Outgoing {
    fn default() -> Self {
        Self::new()
    }
}

/// The whole chain: its last link is the one that helps.
fn because(error: &dyn std::error::Error) -> OutgoingError {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    OutgoingError::Request(text)
}
