//! What the environment says of the hub, in the variables that Hugging Face's own tools read.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::http::HeaderValue;
use url::Url;

use super::HubError;
use crate::source::SourceError;
use crate::store::{ReadError, read_bounded, read_text_bounded};

const ENDPOINT: &str = "https://huggingface.co";

/// Largest file of a token or of root certificates that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// Variables by name; those that are empty count as unset.
#[derive(Clone, Copy)]
pub(super) struct Environment<'a>(&'a dyn Fn(&str) -> Option<OsString>);

impl Environment<'static> {
    /// Those of the process.
    pub fn of_process() -> Self {
        Self(&|name| env::var_os(name))
    }
}

impl Environment<'_> {
    fn get(&self, name: &str) -> Option<OsString> {
        self.0(name).filter(|value| !value.is_empty())
    }

    fn text(&self, name: &str) -> Result<Option<String>, HubError> {
        let text = self.get(name).map(OsString::into_string).transpose();
        text.map_err(|_| HubError::setting(name, "it is not UTF-8"))
    }

    /// `1`, `on`, `yes` and `true` mean yes.
    fn flag(&self, name: &str) -> bool {
        let text = self.get(name).map(|value| value.to_string_lossy().to_ascii_lowercase());
        matches!(text.as_deref(), Some("1" | "on" | "yes" | "true"))
    }

    /// A path; `~/` is the home.
    fn path(&self, name: &str) -> Option<PathBuf> {
        let path = PathBuf::from(self.get(name)?);
        match (path.strip_prefix("~"), self.home()) {
            (Ok(rest), Some(home)) => Some(home.join(rest)),
            _ => Some(path),
        }
    }

    fn home(&self) -> Option<PathBuf> {
        self.get("HOME").map(PathBuf::from).or_else(env::home_dir)
    }

    /// A whole number between `least` and `most`.
    fn number(&self, name: &str, default: u64, least: u64, most: u64) -> Result<u64, HubError> {
        let Some(text) = self.text(name)? else { return Ok(default) };
        match text.trim().parse() {
            Ok(number) if (least..=most).contains(&number) => Ok(number),
            _ => Err(HubError::setting(name, &format!("it is not a whole number from {least} to {most}"))),
        }
    }

    /// A time in seconds.
    fn seconds(&self, name: &str, default: f64) -> Result<Duration, HubError> {
        let Some(text) = self.text(name)? else { return Ok(Duration::from_secs_f64(default)) };
        match text.trim().parse() {
            Ok(seconds) if (0.1..=86_400.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
            _ => Err(HubError::setting(name, "it is not a number of seconds from 0.1 to 86400")),
        }
    }

    /// Whether the network may not be used.
    pub fn is_offline(&self) -> bool {
        self.flag("HF_HUB_OFFLINE") || self.flag("TRANSFORMERS_OFFLINE")
    }

    /// Whether links are to be made in the cache.
    pub fn symlinks(&self) -> bool {
        !self.flag("HF_HUB_DISABLE_SYMLINKS")
    }

    /// Hugging Face's folder, which holds cache and token.
    fn hf_home(&self) -> Option<PathBuf> {
        self.path("HF_HOME")
            .or_else(|| Some(self.path("XDG_CACHE_HOME")?.join("huggingface")))
            .or_else(|| Some(self.home()?.join(".cache/huggingface")))
    }

    /// The cache's folder.
    pub fn cache(&self) -> Option<PathBuf> {
        self.path("HF_HUB_CACHE")
            .or_else(|| self.path("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| Some(self.hf_home()?.join("hub")))
    }

    /// The token, if there is one: of `HF_TOKEN`, else of the file that `hf auth login` writes.
    fn token(&self) -> Result<Option<Token>, SourceError> {
        if self.flag("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
            return Ok(None);
        }
        for name in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] {
            if let Some(text) = self.text(name)? {
                return Ok(Token::new(&text, name)?);
            }
        }
        let file = self.path("HF_TOKEN_PATH").or_else(|| Some(self.hf_home()?.join("token")));
        let Some(file) = file else { return Ok(None) };
        match read_text_bounded(&file, MAX_FILE) {
            Err(ReadError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
            read => Ok(Token::new(&read?, &file.display().to_string())?),
        }
    }
}

/// How the hub is reached.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    /// Without a slash at its end.
    pub endpoint: Url,
    pub token: Option<Token>,
    pub patience: Patience,
    /// Root certificates in PEM, in place of those that are built in.
    pub roots: Option<Vec<u8>>,
}

/// How long a server is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Until a connection stands, and for the answer to a question about a file or a revision to begin.
    pub answer: Duration,
    /// Between two pieces of a file; a whole file may take as long as it takes.
    pub idle: Duration,
    /// Before the first repeat; each further one waits twice as long.
    pub pause: Duration,
}

impl Settings {
    pub fn read(environment: Environment<'_>) -> Result<Self, SourceError> {
        let text = environment.text("HF_ENDPOINT")?.unwrap_or_else(|| ENDPOINT.to_owned());
        let roots =
            environment.path("SSL_CERT_FILE").map(|file| read_bounded(&file, MAX_FILE)).transpose()?;
        let seconds = |name| environment.seconds(name, 10.0);
        let pause = environment.number("XP_HUB_PAUSE_MS", 500, 1, 60_000)?;
        Ok(Self {
            endpoint: endpoint(&text)?,
            token: environment.token()?,
            patience: Patience {
                answer: seconds("HF_HUB_ETAG_TIMEOUT")?,
                idle: seconds("HF_HUB_DOWNLOAD_TIMEOUT")?,
                pause: Duration::from_millis(pause),
            },
            roots,
        })
    }
}

/// Checks an endpoint. What is wrong with it is said without its text, which may hold a password.
fn endpoint(text: &str) -> Result<Url, HubError> {
    let refuse = |message| Err(HubError::setting("HF_ENDPOINT", message));
    let Ok(url) = Url::parse(text.trim().trim_end_matches('/')) else {
        return refuse("it is not the address of a hub, such as https://huggingface.co");
    };
    if !matches!(url.scheme(), "https" | "http") || url.host_str().is_none() {
        return refuse("it is not an address that begins with https://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("it holds a user or a password: a token is given in HF_TOKEN");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return refuse("it is an address with `?` or `#`, not that of a hub");
    }
    Ok(url)
}

/// A token of the hub. It is sent to the endpoint and shown to nobody.
#[derive(Clone)]
pub(super) struct Token {
    value: HeaderValue,
    /// Where it comes from, for people.
    pub origin: String,
}

impl Token {
    /// None when the text is empty.
    fn new(text: &str, origin: &str) -> Result<Option<Self>, HubError> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let well_formed = text.len() <= 4096 && text.bytes().all(|byte| byte.is_ascii_graphic());
        let value = HeaderValue::from_str(&format!("Bearer {text}")).ok().filter(|_| well_formed);
        let Some(mut value) = value else {
            return Err(HubError::setting(
                origin,
                "it holds no token: one word of letters and digits is expected",
            ));
        };
        value.set_sensitive(true);
        Ok(Some(Self { value, origin: origin.to_owned() }))
    }

    /// The value of `Authorization`; marked as sensitive.
    pub fn header(&self) -> HeaderValue {
        self.value.clone()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token(from {})", self.origin)
    }
}

/// The cache's folder of this process's environment.
pub(super) fn cache_folder() -> Option<PathBuf> {
    let cache = Environment::of_process().cache()?;
    Some(std::path::absolute(Path::new(&cache)).unwrap_or(cache))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<T>(variables: &[(&str, &str)], ask: impl FnOnce(Environment<'_>) -> T) -> T {
        let find = |name: &str| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        };
        ask(Environment(&find))
    }

    #[test]
    fn the_cache_is_where_pythons_client_has_it() {
        let cache = |variables: &[(&str, &str)]| with(variables, |e| e.cache()).unwrap();
        let home = ("HOME", "/h");
        assert_eq!(cache(&[home]), Path::new("/h/.cache/huggingface/hub"));
        assert_eq!(cache(&[home, ("XDG_CACHE_HOME", "/x")]), Path::new("/x/huggingface/hub"));
        let set = [home, ("XDG_CACHE_HOME", "/x"), ("HF_HOME", "~/hf")];
        assert_eq!(cache(&set), Path::new("/h/hf/hub"));
        assert_eq!(cache(&[("HF_HOME", "/hf"), ("HF_HUB_CACHE", "/c")]), Path::new("/c"));
        assert_eq!(cache(&[("HF_HOME", "/hf"), ("HF_HUB_CACHE", "")]), Path::new("/hf/hub"));
    }

    #[test]
    fn offline_is_a_flag() {
        for yes in ["1", "on", "YES", "True"] {
            assert!(with(&[("HF_HUB_OFFLINE", yes)], |e| e.is_offline()), "{yes}");
        }
        for no in ["0", "", "off", "2"] {
            assert!(!with(&[("HF_HUB_OFFLINE", no)], |e| e.is_offline()), "{no}");
        }
    }

    #[test]
    fn a_token_is_found_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), "hf_fileSecret\n").unwrap();
        let home = ("HF_HOME", dir.path().to_str().unwrap());
        let settings = |more: &[(&str, &str)]| {
            let variables = [&[home], more].concat();
            with(&variables, Settings::read)
        };
        let sent = |more: &[(&str, &str)]| {
            let token = settings(more).unwrap().token;
            token.map(|token| token.header().to_str().unwrap().to_owned())
        };
        assert_eq!(sent(&[]).as_deref(), Some("Bearer hf_fileSecret"));
        assert_eq!(sent(&[("HF_TOKEN", " hf_variable ")]).as_deref(), Some("Bearer hf_variable"));
        assert_eq!(sent(&[("HF_TOKEN_PATH", "/none")]), None);
        assert_eq!(sent(&[("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]), None);
        let shown = format!("{:?}", settings(&[]).unwrap());
        assert!(shown.contains("Token(from") && !shown.contains("Secret"), "{shown}");
        assert!(!format!("{:?}", settings(&[]).unwrap().token.unwrap().header()).contains("Secret"));
        for bad in ["hf_two words", "hf_line\nbreak", "hf_\u{e9}"] {
            let error = settings(&[("HF_TOKEN", bad)]).unwrap_err();
            let shown = format!("{error:?} {error}");
            assert!(
                shown.contains("HF_TOKEN") && shown.contains("holds no token") && !shown.contains("hf_"),
                "{shown}"
            );
        }
    }

    #[test]
    fn settings_that_say_nothing_are_refused() {
        let said = |name, value| {
            let found = with(&[("HOME", "/none"), (name, value)], Settings::read);
            let SourceError::Hub(HubError::Setting { name, source }) = found.unwrap_err() else { panic!() };
            format!("{name}: {source}")
        };
        let found = [
            said("HF_ENDPOINT", "huggingface.co"),
            said("HF_ENDPOINT", "ftp://huggingface.co"),
            said("HF_ENDPOINT", "https://me:secret@huggingface.co"),
            said("HF_ENDPOINT", "https://huggingface.co/?a=secret"),
            said("HF_HUB_DOWNLOAD_TIMEOUT", "0"),
            said("HF_HUB_DOWNLOAD_TIMEOUT", "NaN"),
            said("HF_HUB_ETAG_TIMEOUT", "ten"),
            said("XP_HUB_PAUSE_MS", "-1"),
        ];
        insta::assert_snapshot!(found.join("\n"), @r"
        HF_ENDPOINT: it is not the address of a hub, such as https://huggingface.co
        HF_ENDPOINT: it is not an address that begins with https://
        HF_ENDPOINT: it holds a user or a password: a token is given in HF_TOKEN
        HF_ENDPOINT: it is an address with `?` or `#`, not that of a hub
        HF_HUB_DOWNLOAD_TIMEOUT: it is not a number of seconds from 0.1 to 86400
        HF_HUB_DOWNLOAD_TIMEOUT: it is not a number of seconds from 0.1 to 86400
        HF_HUB_ETAG_TIMEOUT: it is not a number of seconds from 0.1 to 86400
        XP_HUB_PAUSE_MS: it is not a whole number from 1 to 60000
        ");
        let mirror = with(&[("HOME", "/none"), ("HF_ENDPOINT", "http://m.example/hf/")], Settings::read);
        assert_eq!(mirror.unwrap().endpoint.as_str(), "http://m.example/hf");
    }
}
