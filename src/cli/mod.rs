//! The command line: flags → what is to be done, and the exit code that tells how it went.
//!
//! Subcommands print their result on stdout; what hinders them is one line on stderr. Nothing here outlives its
//! command but a running broker, which is `server`'s.
//!
//! Invariants:
//! - A refusal says what to change, in one line, without a panic's trace.
//! - Secrets and tokens appear on stdout alone, never in a log line, and only those asked for or made up here.

mod check_token;
mod doctor;
mod embedded;
mod log;
mod source;
mod token;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::source::Source;
use crate::config::{Migration, MigrationError, default_config};
use crate::io::probe::Facts;
use crate::io::process;
use crate::server::{self, Settings, VERSION};

/// The operator must change something before this can succeed (EX_CONFIG of sysexits.h).
const EXIT_CONFIG: u8 = 78;

/// The question was understood and the answer is no.
const EXIT_NO: u8 = 1;

/// A real-time event broker for the client SDKs people already have.
#[derive(Debug, Parser)]
#[command(name = "polycast", version = VERSION, max_term_width = 100)]
#[command(after_help = "Without a configuration file it runs an embedded default on loopback.\n\
    Every key can be given by environment: POLYCAST_SERVER__HTTP, POLYCAST_APPS__0__API_KEY.")]
struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a connection token.
    Token(token::Wish),
    /// Say what is in a token, or why it is refused.
    CheckToken(check_token::Question),
    /// Judge a configuration as a start would.
    CheckConfig {
        /// Instead of --config.
        file: Option<PathBuf>,
    },
    /// Print a commented configuration.
    DefaultConfig {
        /// For those who come from: centrifugo-v2, centrifugo, pusher.
        #[arg(long = "for", value_name = "NAME")]
        migration: Option<String>,
    },
    /// Say what of this machine to change: kernel, io_uring, limits.
    Doctor,
}

/// Why a command cannot be carried out: one line and an exit code.
#[derive(Debug)]
struct Refusal {
    code: u8,
    reason: String,
}

impl Refusal {
    /// Something in configuration or environment is in the way.
    fn config(reason: impl ToString) -> Self {
        Self { code: EXIT_CONFIG, reason: reason.to_string() }
    }

    fn no(reason: impl ToString) -> Self {
        Self { code: EXIT_NO, reason: reason.to_string() }
    }
}

/// What a command prints, and the code it ends with.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    code: u8,
    text: String,
}

impl Outcome {
    fn yes(text: impl Into<String>) -> Self {
        Self { code: 0, text: text.into() }
    }
}

/// Carries out a command line, program name included. Wrong usage ends the process with code 2.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let Arguments { config, command } = Arguments::parse_from(arguments);
    let mut source = Source::new(config);
    let outcome = match command {
        None => broker(source).map(|()| Outcome::yes("")),
        Some(Command::Token(wish)) => token::make(&mut source, &wish, now_s()),
        Some(Command::CheckToken(question)) => check_token::check(&mut source, &question, now_s()),
        Some(Command::CheckConfig { file }) => check_config(match file {
            Some(file) => Source::new(Some(file)),
            None => source,
        }),
        Some(Command::DefaultConfig { migration }) => print_default_config(migration.as_deref()),
        Some(Command::Doctor) => examine(&mut source),
    };
    match outcome {
        Ok(Outcome { code, text }) => {
            print(&text);
            ExitCode::from(code)
        }
        Err(Refusal { code, reason }) => {
            eprintln!("polycast: {}", one_line(&reason));
            ExitCode::from(code)
        }
    }
}

/// Runs until drained.
fn broker(mut source: Source) -> Result<(), Refusal> {
    let config = source.read().map_err(Refusal::config)?;
    log::start(config.server.log_format, config.server.log_level);
    process::log_panics();
    process::refuse_huge_pages();
    let (page, greeting) = embedded::introduce(&source, &config);
    let reread = Box::new(move || source.read().map_err(|error| one_line(&error.to_string())));
    let settings = Settings { config, reread, index_page: page.into_bytes().into() };
    server::run(settings, || print(&greeting)).map_err(Refusal::config)
}

fn check_config(mut source: Source) -> Result<Outcome, Refusal> {
    let config = source.read().map_err(Refusal::config)?;
    let mut text = String::new();
    for warning in &config.warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    text.push_str(&format!("{} can be used\n", source.name()));
    Ok(Outcome::yes(text))
}

fn print_default_config(name: Option<&str>) -> Result<Outcome, Refusal> {
    let migration = name.map(str::parse::<Migration>).transpose();
    let migration = migration.map_err(|error: MigrationError| Refusal::no(error))?;
    Ok(Outcome::yes(default_config(migration)))
}

/// The doctor looks at the machine; a configuration only tells how much is wanted of it.
fn examine(source: &mut Source) -> Result<Outcome, Refusal> {
    let config = source.read().map_err(Refusal::config)?;
    let findings = doctor::judge(&Facts::gather(), &doctor::Wants::of(&config));
    let code = if doctor::is_well(&findings) { 0 } else { EXIT_NO };
    Ok(Outcome { code, text: doctor::report(&findings) })
}

/// Prints a result. A reader that closed early is no concern of ours, and no reason to panic.
fn print(text: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Some libraries' messages have several lines; an operator's log has one per event.
fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

fn now_s() -> u64 {
    crate::io::clock::Clock::start().now().unix_s()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_read() {
        let parse = |line: &str| Arguments::try_parse_from(line.split(' '));
        let config = |line| parse(line).map(|arguments| arguments.config).ok().flatten();
        assert_eq!(config("polycast --config a.toml"), Some("a.toml".into()));
        assert_eq!(config("polycast token --user 42 --config a.toml"), Some("a.toml".into()));
        assert!(parse("polycast").is_ok_and(|arguments| arguments.command.is_none()));
        for wrong in [
            "polycast serve",
            "polycast --confg a.toml",
            "polycast check-token",
            "polycast token --exp soon",
            "polycast default-config centrifugo",
        ] {
            assert_eq!(parse(wrong).expect_err(wrong).exit_code(), 2, "{wrong}");
        }
        for asked in ["polycast --version", "polycast --help", "polycast token --help"] {
            assert_eq!(parse(asked).expect_err(asked).exit_code(), 0, "{asked}");
        }
    }

    #[test]
    fn default_configurations_are_printed_by_name() {
        let plain = print_default_config(None).expect("the plain one");
        assert_eq!(plain, Outcome::yes(default_config(None)));
        let migration = print_default_config(Some("centrifugo-v2")).expect("a known one");
        assert_ne!(plain, migration);
        let refusal = print_default_config(Some("kafka")).expect_err("unknown");
        assert_eq!(refusal.code, EXIT_NO);
        assert!(refusal.reason.contains("kafka") && refusal.reason.contains("centrifugo-v2"));
    }

    #[test]
    fn several_lines_become_one() {
        assert_eq!(one_line("a\n  b \n\nc\n"), "a; b; c");
    }
}
