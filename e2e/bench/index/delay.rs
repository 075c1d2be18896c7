//! A far network: a TCP proxy that holds every byte back for half a round trip in each direction, and a new connection for a whole
//! one, as its handshake takes. `delay LISTEN UPSTREAM MILLISECONDS`. One file without dependencies: `rustc -O delay.rs`.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [listen, upstream, milliseconds] = args.as_slice() else {
        eprintln!("usage: delay LISTEN UPSTREAM MILLISECONDS");
        std::process::exit(2);
    };
    let round_trip = Duration::from_millis(milliseconds.parse().expect("a number of milliseconds"));
    let listener = TcpListener::bind(listen).expect("an address to listen on");
    for client in listener.incoming().flatten() {
        let upstream = upstream.clone();
        thread::spawn(move || {
            let Ok(server) = TcpStream::connect(upstream) else { return };
            let (Ok(from_client), Ok(from_server)) = (client.try_clone(), server.try_clone()) else { return };
            let opened = Instant::now() + round_trip;
            thread::spawn(move || carry(from_client, server, round_trip / 2, opened));
            carry(from_server, client, round_trip / 2, opened);
        });
    }
}

/// Carries bytes one way. What comes before the handshake would have ended counts as sent at its end.
fn carry(mut from: TcpStream, mut to: TcpStream, delay: Duration, opened: Instant) {
    let (sender, pieces) = mpsc::channel::<(Instant, Vec<u8>)>();
    let _ = to.set_nodelay(true);
    let writer = thread::spawn(move || {
        for (due, piece) in pieces {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&piece).is_err() {
                return;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let sent = Instant::now().max(opened);
        if sender.send((sent + delay, buffer[..length].to_vec())).is_err() {
            break;
        }
    }
    drop(sender);
    let _ = writer.join();
}
