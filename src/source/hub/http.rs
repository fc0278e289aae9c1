//! Requests to the hub: who may see the token, which redirects are followed, what is worth another try.

use std::io;
use std::time::Duration;

use ureq::http::{HeaderMap, Method, Request, header};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};
use url::Url;

use super::HubError;
use super::name::is_commit;
use super::repeats::Trouble;
use super::settings::{Patience, Settings, Token};

/// Most redirects of one request.
const MAX_REDIRECTS: usize = 8;

/// Longest wait that a server may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// Longest that one question about a file or a revision takes, from its first byte to the last.
const MAX_QUESTION: Duration = Duration::from_secs(120);

/// What a request is about, for people.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub repo: &'a str,
    pub revision: &'a str,
    pub file: Option<&'a str>,
}

impl Wanted<'_> {
    pub fn name(&self) -> String {
        let revision = match is_commit(self.revision) {
            true => format!("{}…", &self.revision[..12]),
            false => self.revision.to_owned(),
        };
        match self.file {
            Some(file) => format!("{file} of {} at {revision}", self.repo),
            None => format!("{} at {revision}", self.repo),
        }
    }
}

/// What a server said.
pub(super) struct Answer {
    /// Who said it, after redirects.
    pub host: String,
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Body,
}

impl Answer {
    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Asks the hub.
pub(super) struct Client {
    agent: Agent,
    endpoint: Url,
    token: Option<Token>,
    pub patience: Patience,
}

impl Client {
    pub fn new(settings: Settings) -> Result<Self, HubError> {
        let Settings { endpoint, token, patience, roots } = settings;
        let mut tls = TlsConfig::builder();
        if let Some(pem) = roots {
            let certificates: Vec<_> = parse_pem(&pem)
                .filter_map(|item| match item {
                    Ok(PemItem::Certificate(certificate)) => Some(certificate),
                    _ => None,
                })
                .collect();
            if certificates.is_empty() {
                return Err(HubError::setting("SSL_CERT_FILE", "it names a file without certificates"));
            }
            tls = tls.root_certs(RootCerts::new_with_certs(&certificates));
        }
        let agent = Agent::config_builder()
            .tls_config(tls.build())
            .user_agent(concat!("xp/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            // Followed here, where it is known who may see the token.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(patience.answer))
            .timeout_per_read(Some(patience.idle))
            .timeout_per_write(Some(patience.idle))
            .timeout_recv_response(Some(MAX_QUESTION))
            .build()
            .new_agent();
        Ok(Self { agent, endpoint, token, patience })
    }

    /// An address below the endpoint; `path` begins with a slash.
    pub fn url(&self, path: &str) -> Result<Url, HubError> {
        let text = format!("{}{path}", self.endpoint.as_str().trim_end_matches('/'));
        Url::parse(&text).map_err(|_| HubError::setting("HF_ENDPOINT", "and the names make no address"))
    }

    /// The hub's host, for people.
    pub fn host(&self) -> String {
        host_of(&self.endpoint)
    }

    /// Asks for a piece of JSON; the whole exchange is bounded in time.
    pub fn ask(&self, url: &Url, wanted: Wanted<'_>) -> Result<Answer, Trouble> {
        self.send(Method::GET, url, wanted, None, true)
    }

    /// Asks about a file, and does not follow a redirect to a host that only has its bytes.
    pub fn head(&self, url: &Url, wanted: Wanted<'_>) -> Result<Answer, Trouble> {
        self.send(Method::HEAD, url, wanted, None, true)
    }

    /// Asks for a file from byte `offset` on. The answer is 200, 206 or 416.
    pub fn fetch(&self, url: &Url, wanted: Wanted<'_>, offset: u64) -> Result<Answer, Trouble> {
        self.send(Method::GET, url, wanted, (offset > 0).then_some(offset), false)
    }

    fn send(
        &self,
        method: Method,
        start: &Url,
        wanted: Wanted<'_>,
        offset: Option<u64>,
        bounded: bool,
    ) -> Result<Answer, Trouble> {
        let mut url = start.clone();
        // Once a request has left the hub, nothing brings the token back.
        let mut at_hub = true;
        for _ in 0..=MAX_REDIRECTS {
            at_hub &= is_same_place(&self.endpoint, &url);
            let mut request = Request::builder()
                .method(method.clone())
                .uri(url.as_str())
                // The sizes and digests are those of the plain bytes.
                .header(header::ACCEPT_ENCODING, "identity");
            if let Some(token) = self.token.as_ref().filter(|_| at_hub) {
                request = request.header(header::AUTHORIZATION, token.header());
            }
            if let Some(offset) = offset {
                request = request.header(header::RANGE, format!("bytes={offset}-"));
            }
            let host = host_of(&url);
            let redirect =
                |why| Trouble::Final(HubError::Redirect { host: host.clone(), what: wanted.name(), why });
            let request = request.body(()).map_err(|_| redirect("its address is none"))?;
            let request = match bounded {
                true => self.agent.configure_request(request).timeout_global(Some(MAX_QUESTION)).build(),
                false => self.agent.configure_request(request).build(),
            };
            let response = self.agent.run(request).map_err(|error| self.trouble(error, &host, wanted))?;
            let (parts, body) = response.into_parts();
            let status = parts.status.as_u16();
            let answer = Answer { host: host.clone(), status, headers: parts.headers, body };
            if !matches!(answer.status, 301 | 302 | 303 | 307 | 308) {
                return self.accept(answer, at_hub, wanted, offset.is_some());
            }
            let target = answer.header("location").and_then(|text| url.join(text).ok());
            let mut next = target.ok_or_else(|| redirect("the Location header is missing or no address"))?;
            next.set_fragment(None);
            if !matches!(next.scheme(), "https" | "http") || !next.username().is_empty() {
                return Err(redirect("the address is not one of a web server"));
            }
            if url.scheme() == "https" && next.scheme() == "http" {
                return Err(redirect("the connection would no longer be encrypted"));
            }
            if method == Method::HEAD && !is_same_place(&self.endpoint, &next) {
                return Ok(answer);
            }
            url = next;
        }
        let host = host_of(&url);
        Err(HubError::Redirect { host, what: wanted.name(), why: "there are too many redirects" }.into())
    }

    /// Sorts the statuses.
    fn accept(
        &self,
        answer: Answer,
        at_hub: bool,
        wanted: Wanted<'_>,
        ranged: bool,
    ) -> Result<Answer, Trouble> {
        let (status, host) = (answer.status, answer.host.clone());
        let why = io::Error::other(format!("HTTP {status}"));
        let what = wanted.name();
        match status {
            200 => Ok(answer),
            206 | 416 if ranged => Ok(answer),
            408 | 429 | 500 | 502 | 503 | 504 => {
                let wait = answer.header("retry-after").and_then(|text| text.trim().parse().ok());
                match wait.map(Duration::from_secs) {
                    Some(wait) if wait > MAX_RETRY_AFTER => {
                        let tries = format!(" and asks to wait {} s", wait.as_secs());
                        Err(HubError::Unreachable { host, what, tries, source: why }.into())
                    }
                    wait => Err(Trouble::Passing { host, why, wait }),
                }
            }
            // A signed address runs out; the hub signs another.
            401 | 403 if !at_hub => Err(Trouble::Passing { host, why, wait: None }),
            401 | 403 => {
                let help = self.how_to_get_access(wanted.repo);
                Err(HubError::Denied { what, help, source: why }.into())
            }
            404 => Err(not_found(&answer, wanted).into()),
            _ => Err(HubError::Unreachable { host, what, tries: String::new(), source: why }.into()),
        }
    }

    fn how_to_get_access(&self, repo: &str) -> String {
        let page = format!("{}/{repo}", self.endpoint.as_str().trim_end_matches('/'));
        match &self.token {
            None => format!(
                "the repository is gated, private, or not there (is its name right?): ask for access at {page}, \
                 and give a token in HF_TOKEN or by `hf auth login`"
            ),
            Some(token) => format!(
                "the token of {} has no access: ask for it at {page}, and see that the token may read gated \
                 repositories and has not run out",
                token.origin
            ),
        }
    }

    /// What kept an exchange from taking place.
    fn trouble(&self, error: ureq::Error, host: &str, wanted: Wanted<'_>) -> Trouble {
        use ureq::Error;
        let lasting = |kind, why: String| {
            Trouble::Final(HubError::Unreachable {
                host: host.to_owned(),
                what: wanted.name(),
                tries: String::new(),
                source: io::Error::new(kind, why),
            })
        };
        match error {
            Error::HostNotFound => lasting(io::ErrorKind::NotFound, "there is no such host".to_owned()),
            // An untrusted certificate stays so.
            Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
                lasting(io::ErrorKind::InvalidData, error.to_string())
            }
            Error::Rustls(error) => lasting(io::ErrorKind::InvalidData, error.to_string()),
            Error::Io(why) => Trouble::Passing { host: host.to_owned(), why, wait: None },
            Error::Timeout(_) => Trouble::passing(host, io::ErrorKind::TimedOut, "no answer came in time"),
            Error::ConnectionFailed => {
                Trouble::passing(host, io::ErrorKind::ConnectionRefused, "no connection could be made")
            }
            Error::Protocol(_) | Error::BodyStalled | Error::LargeResponseHeader(..) => {
                Trouble::passing(host, io::ErrorKind::InvalidData, "the answer is not HTTP")
            }
            // Their messages may hold whole addresses.
            _ => lasting(io::ErrorKind::Other, "the request could not be made".to_owned()),
        }
    }
}

/// What 404 is about.
fn not_found(answer: &Answer, wanted: Wanted<'_>) -> HubError {
    let Wanted { repo, revision, file } = wanted;
    let typo = "is the name right? Upper and lower case count";
    let (what, help) = match (answer.header("x-error-code"), file) {
        (Some("RepoNotFound"), _) => (format!("repository {repo}"), typo.to_owned()),
        (Some("RevisionNotFound"), _) => {
            let help = format!("branches and tags are listed on the page of {repo}; a commit has 40 digits");
            (format!("revision {revision} of {repo}"), help)
        }
        (_, Some(_)) => return no_such_file(wanted),
        (_, None) => (format!("repository {repo} with a revision {revision}"), typo.to_owned()),
    };
    HubError::NotFound { what, help }
}

/// The repository lacks a file that every model has.
pub(super) fn no_such_file(wanted: Wanted<'_>) -> HubError {
    let help = "a model has config.json, tokenizer.json and *.safetensors beside each other".to_owned();
    HubError::NotFound { what: format!("file {}", wanted.name()), help }
}

/// A host and its port where that is not the usual one. Nothing else of an address is ever shown: it may
/// be signed.
fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Whether an address is the endpoint's server: same host and port, or the encrypted side of it.
fn is_same_place(endpoint: &Url, other: &Url) -> bool {
    let place = |url: &Url| (url.host_str().map(str::to_owned), url.port_or_known_default());
    let same = endpoint.scheme() == other.scheme() && place(endpoint) == place(other);
    let encrypted = endpoint.scheme() == "http" && endpoint.port().is_none();
    same || (encrypted
        && other.scheme() == "https"
        && other.port().is_none()
        && endpoint.host_str() == other.host_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_endpoints_own_server_sees_the_token() {
        let same = |endpoint: &str, other: &str| {
            is_same_place(&Url::parse(endpoint).unwrap(), &Url::parse(other).unwrap())
        };
        assert!(same("https://hub.co", "https://hub.co:443/x?y"));
        assert!(same("http://hub.co/mirror", "https://HUB.co/x"));
        assert!(same("http://127.0.0.1:80", "http://127.0.0.1/x"));
        for (endpoint, other) in [
            ("https://hub.co", "https://cdn.hub.co"),
            ("https://hub.co", "http://hub.co"),
            ("https://hub.co", "https://hub.co:8443"),
            ("http://127.0.0.1:1", "http://127.0.0.1:2"),
            ("http://127.0.0.1:1", "http://localhost:1"),
            ("http://127.0.0.1:1", "https://127.0.0.1"),
            ("https://hub.co", "https://hub.co.evil.net"),
        ] {
            assert!(!same(endpoint, other), "{endpoint} {other}");
        }
    }
}
