//! Environment variables → changes of the configuration's tree.
//!
//! `POLYCAST_APPS__0__API_KEY=…` is `api_key` of the first app; `POLYCAST_APPS__0__API_KEY_FILE=/path` reads it
//! from a file. A value is taken as a text where the key is one, else as TOML, else as a list parted by commas.

use toml::{Table, Value};

use super::error::{ConfigError, ConfigWarning};
use super::{ReadFile, read};

const PREFIX: &str = "POLYCAST_";
/// Tables at the top of the file.
const TABLES: [&str; 3] = ["SERVER", "LIMITS", "APPS"];
/// Keys that `…_FILE` may read.
const SECRETS: [&str; 3] = ["token_hmac_secret_key", "token_hmac_previous_secret_key", "api_key"];

/// One step into the tree. Ordered so that the elements of a list come in their order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Index(usize),
    Key(String),
}

/// One variable.
#[derive(Debug)]
pub(super) struct Override {
    path: Vec<Step>,
    variable: String,
    value: String,
    from_file: bool,
}

/// The variables that change something, in the order of their paths, and what is odd about others.
pub(super) fn overrides(
    variables: impl IntoIterator<Item = (String, String)>,
    read_file: ReadFile<'_>,
) -> Result<(Vec<Override>, Vec<ConfigWarning>), ConfigError> {
    let mut overrides: Vec<Override> = Vec::new();
    let mut warnings = Vec::new();
    for (variable, value) in variables {
        let Some(rest) = variable.strip_prefix(PREFIX) else { continue };
        if rest.contains("__") {
            let (path, from_file) = path_of(rest);
            overrides.push(Override { path, variable, value, from_file });
        } else if let Some((table, rest)) = rest.split_once('_').filter(|(table, _)| TABLES.contains(table)) {
            // Not an error: Kubernetes sets variables like these for a service of that name.
            let meant = format!("{PREFIX}{table}__{rest}").into();
            warnings.push(ConfigWarning::VariableIgnored { variable: variable.into(), meant });
        }
    }
    overrides.sort_by(|a, b| a.path.cmp(&b.path));
    warnings.sort_by_key(ToString::to_string);
    for pair in overrides.windows(2) {
        if let [first, second] = pair
            && first.path == second.path
        {
            return Err(second.error(&format!("{} sets the same key; remove one", first.variable)));
        }
    }
    for entry in overrides.iter_mut().filter(|entry| entry.from_file) {
        entry.value = entry.secret(read_file)?;
    }
    Ok((overrides, warnings))
}

fn path_of(name: &str) -> (Vec<Step>, bool) {
    let mut path: Vec<Step> = name
        .split("__")
        .map(|part| match part.parse() {
            Ok(index) if part.bytes().all(|byte| byte.is_ascii_digit()) => Step::Index(index),
            _ => Step::Key(part.to_ascii_lowercase()),
        })
        .collect();
    if let Some(Step::Key(last)) = path.last_mut()
        && let Some(secret) = last.strip_suffix("_file").filter(|name| SECRETS.contains(name))
    {
        *last = secret.to_owned();
        return (path, true);
    }
    (path, false)
}

impl Override {
    /// What the file holds, without one line end after it.
    fn secret(
        &self,
        read_file: &mut dyn FnMut(&str) -> std::io::Result<Vec<u8>>,
    ) -> Result<String, ConfigError> {
        let unreadable = |message: String| ConfigError::SecretFile {
            variable: self.variable.as_str().into(),
            path: self.value.as_str().into(),
            message: message.into(),
        };
        let bytes = read_file(&self.value).map_err(|error| unreadable(error.to_string()))?;
        let mut text = String::from_utf8(bytes).map_err(|_| unreadable("it is not UTF-8".to_owned()))?;
        let line = text.strip_suffix('\n').unwrap_or(&text);
        text.truncate(line.strip_suffix('\r').unwrap_or(line).len());
        Ok(text)
    }

    /// Puts the value where it belongs in `table`.
    pub fn apply(&self, table: &mut Table) -> Result<(), ConfigError> {
        let mut first_error = None;
        for candidate in self.candidates() {
            let mut changed = table.clone();
            self.place(&mut changed, candidate)?;
            match read::from_table(&changed) {
                Ok(_) => {
                    *table = changed;
                    return Ok(());
                }
                Err(ConfigError::Syntax { message, .. }) => first_error = first_error.or(Some(message)),
                Err(other) => return Err(other),
            }
        }
        Err(self.error(&first_error.unwrap_or_default()))
    }

    /// What the value may mean, the likeliest first.
    fn candidates(&self) -> Vec<Value> {
        let text = Value::String(self.value.clone());
        if self.from_file {
            return vec![text];
        }
        let as_toml = format!("value = {}", self.value).parse::<Table>().ok();
        let as_toml = as_toml.filter(|table| table.len() == 1).and_then(|mut table| table.remove("value"));
        if let Some(list @ Value::Array(_)) = as_toml {
            return vec![list, text];
        }
        let parts = self.value.split(',').map(str::trim).filter(|part| !part.is_empty());
        let list = Value::Array(parts.map(|part| Value::String(part.to_owned())).collect());
        [Some(text), as_toml, Some(list)].into_iter().flatten().collect()
    }

    fn place(&self, table: &mut Table, value: Value) -> Result<(), ConfigError> {
        let mut root = Value::Table(std::mem::take(table));
        let mut at = &mut root;
        for (depth, step) in self.path.iter().enumerate() {
            let below = match self.path.get(depth + 1) {
                Some(Step::Index(_)) => Value::Array(Vec::new()),
                Some(Step::Key(_)) | None => Value::Table(Table::new()),
            };
            at = match (at, step) {
                (Value::Table(inner), Step::Key(key)) => inner.entry(key.clone()).or_insert(below),
                (Value::Array(list), Step::Index(index)) => {
                    if *index > list.len() {
                        let message = format!("there is no element {index}; the next one is {}", list.len());
                        return Err(self.error(&message));
                    }
                    if *index == list.len() {
                        list.push(below);
                    }
                    &mut list[*index]
                }
                _ => return Err(self.error("there is no such key")),
            };
        }
        *at = value;
        if let Value::Table(inner) = root {
            *table = inner;
        }
        Ok(())
    }

    fn error(&self, message: &str) -> ConfigError {
        ConfigError::Environment { variable: self.variable.as_str().into(), message: message.into() }
    }
}
