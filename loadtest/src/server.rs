//! Servers under test: started and pinned here, or found at an address.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::account::Process;
use crate::sys;

const START_ATTEMPTS: u32 = 500;
const ATTEMPT_PAUSE: Duration = Duration::from_millis(10);

/// What a spawned broker is told.
#[derive(Debug, Clone)]
pub struct BrokerSettings {
    pub secret: String,
    pub api_key: String,
    pub shards: u16,
    /// Further settings of the app, as lines.
    pub app: String,
    /// Whether clients may publish, which the default forbids.
    pub clients_publish: bool,
    /// Further configuration, appended as it is.
    pub append: String,
}

/// A server to load.
pub struct Server {
    pub address: SocketAddrV4,
    /// Where a server that was spawned takes publications over raw TCP; a bare sender takes all at one address.
    pub tcp: Option<SocketAddrV4>,
    /// `None`: an address without a known process; nothing is accounted.
    pub process: Option<Process>,
    child: Option<Child>,
    directory: Option<PathBuf>,
}

impl Server {
    /// A server that runs already. `pid`: what to account, if it is on this machine.
    pub fn at(address: SocketAddrV4, pid: Option<u32>) -> Server {
        Server { address, tcp: None, process: pid.map(|pid| Process { pid }), child: None, directory: None }
    }

    /// Starts the broker binary `path` on `cores` with a configuration of its own and waits until it accepts.
    pub fn spawn_broker(path: &Path, cores: &[usize], settings: &BrokerSettings) -> io::Result<Server> {
        let directory = scratch_directory()?;
        let [http, tcp, ops] = free_addresses()?;
        let file = directory.join("polycast.toml");
        fs::write(&file, broker_config(settings, [http, tcp, ops]))?;
        let mut command = Command::new(path);
        command.arg("--config").arg(&file);
        let mut server = Server::start(command, cores, http, directory)?;
        server.tcp = Some(tcp);
        Ok(server)
    }

    /// Starts a bare receiver of commands of `command_bytes` bytes on `core`.
    pub fn spawn_receiver(command_bytes: usize, core: usize) -> io::Result<Server> {
        let directory = scratch_directory()?;
        let [address, ..] = free_addresses()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["floor-receiver", "--listen", &address.to_string()]);
        command.args(["--command-bytes", &command_bytes.to_string()]);
        Server::start(command, &[core], address, directory)
    }

    /// Starts a floor sender (this program's own hidden mode) on `core`.
    pub fn spawn_floor(kind: &str, core: usize) -> io::Result<Server> {
        let directory = scratch_directory()?;
        let [address, ..] = free_addresses()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["floor-sender", "--kind", kind, "--listen", &address.to_string()]);
        let mut server = Server::start(command, &[core], address, directory)?;
        server.tcp = Some(address);
        Ok(server)
    }

    fn start(
        mut command: Command,
        cores: &[usize],
        address: SocketAddrV4,
        directory: PathBuf,
    ) -> io::Result<Server> {
        let log = File::create(directory.join("log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        sys::bind_child(&mut command, cores);
        let child = command.spawn()?;
        let process = Some(Process { pid: child.id() });
        let mut server =
            Server { address, tcp: None, process, child: Some(child), directory: Some(directory) };
        for _ in 0..START_ATTEMPTS {
            if let Some(status) = server.child.as_mut().and_then(|child| child.try_wait().transpose()) {
                return Err(io::Error::other(format!("it ended: {}\n{}", status?, server.log())));
            }
            if TcpStream::connect(address).is_ok() {
                return Ok(server);
            }
            sleep(ATTEMPT_PAUSE);
        }
        Err(io::Error::other(format!("does not accept at {address}\n{}", server.log())))
    }

    /// The last lines the server wrote.
    pub fn log(&self) -> String {
        let Some(directory) = &self.directory else { return String::new() };
        let text = fs::read_to_string(directory.join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }

    fn stop(child: &mut Child) -> io::Result<()> {
        sys::terminate(child.id());
        for _ in 0..200 {
            if child.try_wait()?.is_some() {
                return Ok(());
            }
            sleep(ATTEMPT_PAUSE);
        }
        child.kill()?;
        child.wait().map(|_| ())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child
            && let Err(error) = Server::stop(child)
        {
            eprintln!("the server could not be ended: {error}");
        }
        if let Some(directory) = &self.directory {
            let _ = fs::remove_dir_all(directory);
        }
    }
}

fn broker_config(settings: &BrokerSettings, [http, tcp, ops]: [SocketAddrV4; 3]) -> String {
    let BrokerSettings { secret, api_key, app, shards, clients_publish, append } = settings;
    format!(
        "[server]\nhttp = \"{http}\"\ntcp = \"{tcp}\"\nops = \"{ops}\"\nshards = {shards}\n\n\
         [[apps]]\nid = \"1\"\ntoken_hmac_secret_key = {secret:?}\napi_key = {api_key:?}\n{app}\n\
         [[apps.namespaces]]\nname = \"\"\nallow_subscribe_for_client = true\n\
         allow_publish_for_client = {clients_publish}\n\n{append}\n"
    )
}

fn scratch_directory() -> io::Result<PathBuf> {
    for number in 0..1000 {
        let path = std::env::temp_dir().join(format!("polycast-loadtest-{}-{number}", std::process::id()));
        match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => return result.map(|()| path),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Three free ports. Between this and the server's own bind somebody could take one; the start then fails loudly.
fn free_addresses() -> io::Result<[SocketAddrV4; 3]> {
    let listeners = [(); 3].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
    let mut addresses = [SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0); 3];
    for (address, listener) in addresses.iter_mut().zip(&listeners) {
        let listener = listener.as_ref().map_err(|error| io::Error::from(error.kind()))?;
        address.set_port(listener.local_addr()?.port());
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_ends_at_once_is_reported_with_its_words() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo no such key; exit 78"]);
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9);
        let error = Server::start(command, &[0], address, scratch_directory().expect("temp"))
            .err()
            .expect("it cannot have started");
        let text = error.to_string();
        assert!(text.contains("78") && text.contains("no such key"), "{text}");
    }

    #[test]
    fn the_configuration_quotes_what_it_is_given() {
        let settings = BrokerSettings {
            secret: "a\"b".to_owned(),
            api_key: "k".to_owned(),
            app: "key = \"public\"\n".to_owned(),
            shards: 2,
            clients_publish: true,
            append: "[apps.centrifuge]".to_owned(),
        };
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8000);
        let text = broker_config(&settings, [address; 3]);
        assert!(text.contains(r#"token_hmac_secret_key = "a\"b""#), "{text}");
        assert!(text.contains("api_key = \"k\"\nkey = \"public\"\n\n[[apps.namespaces]]"), "{text}");
        assert!(text.contains("shards = 2\n") && text.ends_with("[apps.centrifuge]\n"), "{text}");
    }
}
