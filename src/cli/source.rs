//! Where the configuration comes from: a file or the embedded default, and the environment.

use std::io;
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom, SystemRandom};

use crate::auth::Secret;
use crate::config::{Config, ConfigError};

/// A place to read the configuration from, as often as asked.
#[derive(Debug)]
pub struct Source {
    /// `None`: the embedded default.
    file: Option<PathBuf>,
    made: Made,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("cannot read {path}: {error}", path = path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("{path}: {error}", path = path.display())]
    File { path: PathBuf, error: ConfigError },
    #[error("{0}")]
    Config(ConfigError),
    #[error("the kernel gave no random bytes; is getrandom(2) allowed?")]
    Random,
}

impl Source {
    pub fn new(file: Option<PathBuf>) -> Self {
        Self { file, made: Made::default() }
    }

    /// No file was named.
    pub fn is_embedded(&self) -> bool {
        self.file.is_none()
    }

    /// For operators: the file's name, or what stands for it.
    pub fn name(&self) -> String {
        self.file.as_deref().map_or("the embedded default".to_owned(), |path| path.display().to_string())
    }

    /// Reads file and environment as they are now. Secrets made up by an earlier read stay what they are.
    pub fn read(&mut self) -> Result<Config, SourceError> {
        let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        let variables = std::env::vars_os().map(|(name, value)| (lossy(name), lossy(value)));
        self.read_with(variables.collect())
    }

    /// As [`Self::read`], in this environment.
    pub(super) fn read_with(&mut self, variables: Vec<(String, String)>) -> Result<Config, SourceError> {
        let read_file = &mut |path: &str| std::fs::read(path);
        let Some(path) = &self.file else {
            self.made.rewind();
            let config = Config::embedded_with(variables, read_file, &mut |bytes| self.made.fill(bytes));
            return match self.made.has_failed {
                true => Err(SourceError::Random),
                false => config.map_err(SourceError::Config),
            };
        };
        let text = std::fs::read_to_string(path)
            .map_err(|error| SourceError::Unreadable { path: path.clone(), error })?;
        Config::load(&text, variables, read_file).map_err(|error| with_place(path, error))
    }

    /// Whether a secret was made up here, so that nobody else can know it.
    pub fn has_made(&self, secret: &Secret) -> bool {
        let hex = |bytes: &Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        self.made.given.iter().any(|bytes| hex(bytes) == secret.expose())
    }
}

/// An error of the environment names its variable; any other is about the file.
fn with_place(path: &Path, error: ConfigError) -> SourceError {
    match error {
        ConfigError::Environment { .. } | ConfigError::SecretFile { .. } => SourceError::Config(error),
        error => SourceError::File { path: path.to_owned(), error },
    }
}

/// Random bytes given out so far, to be given out again in the same order: the environment of a process does not
/// change, so neither does what is missing in it.
#[derive(Debug, Default)]
struct Made {
    given: Vec<Vec<u8>>,
    next: usize,
    has_failed: bool,
}

impl Made {
    fn rewind(&mut self) {
        self.next = 0;
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        match self.given.get(self.next).filter(|given| given.len() == bytes.len()) {
            Some(given) => bytes.copy_from_slice(given),
            None => {
                self.has_failed |= SystemRandom::new().fill(bytes).is_err();
                self.given.truncate(self.next);
                self.given.push(bytes.to_vec());
            }
        }
        self.next += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(config: &Config) -> &Secret {
        config.apps[0].token_hmac_secret_key.as_ref().expect("the embedded default has one")
    }

    fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn made_up_secrets_survive_a_second_reading() {
        let mut source = Source::new(None);
        let first = source.read_with(Vec::new()).expect("valid");
        let second = source.read_with(Vec::new()).expect("valid");
        assert_eq!(secret(&first).expose(), secret(&second).expose());
        assert!(source.has_made(secret(&first)));
        let api_key = |config: &Config| config.apps[0].api_key.as_ref().map(|key| key.expose().to_owned());
        assert_eq!(api_key(&first), api_key(&second));
        assert_ne!(api_key(&first).as_deref(), Some(secret(&first).expose()));

        let other = Source::new(None).read_with(Vec::new()).expect("valid");
        assert_ne!(secret(&first).expose(), secret(&other).expose());
    }

    #[test]
    fn given_secrets_are_not_taken_for_made_up_ones() {
        let mut source = Source::new(None);
        let given = variables(&[("POLYCAST_APPS__0__TOKEN_HMAC_SECRET_KEY", "of the operator")]);
        let config = source.read_with(given).expect("valid");
        assert_eq!(secret(&config).expose(), "of the operator");
        assert!(!source.has_made(secret(&config)));
        assert!(source.has_made(config.apps[0].api_key.as_ref().expect("made up")));
    }

    #[test]
    fn errors_say_where() {
        let directory = std::env::temp_dir().join(format!("polycast-source-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory for the test");
        let path = directory.join("polycast.toml");
        let mut source = Source::new(Some(path.clone()));
        let error =
            |source: &mut Source, variables| source.read_with(variables).expect_err("refused").to_string();
        let missing = error(&mut source, Vec::new());
        std::fs::write(&path, "[server]\nhtpp = 1\n").expect("written");
        let unknown = error(&mut source, Vec::new());
        std::fs::write(&path, "[[apps]]\nid = \"1\"\n").expect("written");
        let wrong = error(&mut source, variables(&[("POLYCAST_SERVER__SHARDS", "many")]));
        std::fs::remove_dir_all(&directory).expect("removed");

        let place = path.display().to_string();
        assert!(missing.starts_with(&format!("cannot read {place}: ")), "{missing}");
        assert!(unknown.starts_with(&format!("{place}: line 2: htpp")), "{unknown}");
        assert!(wrong.starts_with("environment variable POLYCAST_SERVER__SHARDS"), "{wrong}");
    }
}
