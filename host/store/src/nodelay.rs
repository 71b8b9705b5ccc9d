//! Connections to PostgreSQL that send at once what they have.
//!
//! sqlx 0.9.0 leaves Nagle's algorithm on (launchbadge/sqlx#4335), so the tail of every
//! statement that takes several packets waits some 40 ms for the server's delayed
//! acknowledgement. Its sockets are out of reach, except through the table of this
//! process's files. To be deleted with the first release that has the fix (#4336).

/// Send at once on every TCP connection of this process to this port. Where that cannot be
/// had, large statements are slower and nothing else.
#[cfg(target_os = "linux")]
pub(crate) fn set(port: u16) {
    use std::net::TcpStream;

    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

    let (Ok(own), Ok(files)) = (pidfd_open(getpid(), PidfdFlags::empty()), std::fs::read_dir("/proc/self/fd")) else {
        return;
    };
    for file in files.flatten() {
        let is_socket = std::fs::read_link(file.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"));
        let number = file.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(number) = number.filter(|_| is_socket) else { continue };
        // Another name for the same socket; to close it closes nothing.
        let Ok(same) = pidfd_getfd(&own, number, PidfdGetfdFlags::empty()) else { continue };
        let stream = TcpStream::from(same);
        if stream.peer_addr().is_ok_and(|peer| peer.port() == port) {
            let _ = stream.set_nodelay(true);
        }
    }
}

/// Only Linux tells a process about its own files in this way.
#[cfg(not(target_os = "linux"))]
pub(crate) fn set(_port: u16) {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn connections_to_the_port_send_at_once_and_no_others() {
        let listener = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (database, other) = (listener(), listener());
        let connect = |to: &TcpListener| TcpStream::connect(to.local_addr().unwrap()).unwrap();
        let (ours, theirs) = (connect(&database), connect(&other));
        super::set(database.local_addr().unwrap().port());
        assert!(ours.nodelay().unwrap());
        assert!(!theirs.nodelay().unwrap());
        // It is still open.
        assert!(ours.peer_addr().is_ok());
    }
}
