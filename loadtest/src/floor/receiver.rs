//! The honest limit of taking publications over raw TCP: every command is as long as the next, so they are counted by
//! their bytes, and each is answered with what a broker without subscribers would say. Nothing is read of them.

use std::io::{self, Read, Write};
use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::thread;

/// As large as what a publisher here sends in one go, so that one receive often takes it all.
const BUFFER_BYTES: usize = 64 * 1024;

const ANSWER: &[u8] = b":0\r\n";

/// Serves at `address` until the process is ended. `command_bytes`: length of every command.
pub fn serve(address: SocketAddrV4, command_bytes: usize) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    for stream in listener.incoming() {
        let stream = stream?;
        stream.set_nodelay(true)?;
        thread::spawn(move || answer(stream, command_bytes));
    }
    Ok(())
}

fn answer(mut stream: TcpStream, command_bytes: usize) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let answers = ANSWER.repeat(BUFFER_BYTES / command_bytes.max(1) + 1);
    let mut open_bytes = 0;
    loop {
        let received = stream.read(&mut buffer)?;
        if received == 0 {
            return Ok(());
        }
        open_bytes += received;
        let count = open_bytes / command_bytes;
        open_bytes %= command_bytes;
        stream.write_all(&answers[..count * ANSWER.len()])?;
    }
}
