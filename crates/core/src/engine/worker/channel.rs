//! The control channel: one end of a socket pair. Frames both ways, and descriptors of shared memory to the worker.
//!
//! Reads wait for at most [`SLICE`], so that whoever waits for an answer can look up between.

use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::ptr;
use std::time::{Duration, Instant};

use super::frame::{FRAME_BYTES, Frame};

/// How long one read waits.
pub const SLICE: Duration = Duration::from_millis(20);
/// How long the rest of a frame that has begun may take, or a frame wait to be taken.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a read found.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    Frame(Frame),
    /// Nothing within the slice.
    Silence,
    /// The other end is closed.
    Closed,
    /// Bytes that are no frame.
    Garbled,
}

/// The server's end.
#[derive(Debug)]
pub struct Channel {
    socket: UnixStream,
}

impl Channel {
    /// A channel, and the end for the worker.
    ///
    /// # Errors
    /// Where the system gives no sockets.
    pub fn pair() -> io::Result<(Self, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_read_timeout(Some(SLICE))?;
        ours.set_write_timeout(Some(SLICE))?;
        Ok((Self { socket: ours }, theirs))
    }

    /// Sends a frame, with a descriptor where one is given.
    ///
    /// # Errors
    /// Where the worker is gone or does not read; nothing of the frame has arrived then.
    pub fn send(&self, frame: &Frame, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let bytes = frame.to_bytes();
        let sent = self.send_some(&bytes, descriptor)?;
        self.send_bytes(bytes.get(sent..).unwrap_or_default())
    }

    /// Sends bytes that belong behind a frame.
    ///
    /// # Errors
    /// Where the worker is gone or does not read.
    pub fn send_bytes(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = self.send_some(bytes, None)?;
            bytes = bytes.get(sent..).unwrap_or_default();
        }
        Ok(())
    }

    /// Sends at least a byte.
    fn send_some(&self, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<usize> {
        let until = Instant::now() + PATIENCE;
        loop {
            match send_message(self.socket.as_fd(), bytes, descriptor) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Err(error) if is_again(&error) && Instant::now() < until => {}
                done => return done,
            }
        }
    }

    /// Reads a frame, waiting for at most a slice.
    pub fn receive(&mut self) -> Heard {
        let mut bytes = [0; FRAME_BYTES];
        let got = match self.socket.read(&mut bytes) {
            Ok(0) => return Heard::Closed,
            Ok(got) => got,
            Err(error) if is_again(&error) => return Heard::Silence,
            Err(_) => return Heard::Closed,
        };
        match bytes.get_mut(got..) {
            Some(rest) if !rest.is_empty() => match self.fill(rest) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Heard::Closed,
                Err(_) => return Heard::Garbled,
            },
            _ => {}
        }
        Frame::from_bytes(&bytes).map_or(Heard::Garbled, Heard::Frame)
    }

    /// Reads a frame that is there already.
    pub fn receive_now(&mut self) -> Heard {
        if self.is_quiet() { Heard::Silence } else { self.receive() }
    }

    /// Whether a read would wait.
    pub fn is_quiet(&self) -> bool {
        !is_readable(self.socket.as_fd())
    }

    /// Reads the text behind a frame.
    ///
    /// # Errors
    /// Where it does not come.
    pub fn receive_text(&mut self, bytes: usize) -> io::Result<String> {
        let mut text = vec![0; bytes];
        self.fill(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    fn fill(&mut self, mut place: &mut [u8]) -> io::Result<()> {
        let until = Instant::now() + PATIENCE;
        while !place.is_empty() {
            // Byte by byte it may not take longer either.
            if Instant::now() > until {
                return Err(ErrorKind::TimedOut.into());
            }
            match self.socket.read(place) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(got) => place = place.get_mut(got..).unwrap_or_default(),
                Err(error) if is_again(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Lets the worker know that no more will come.
    pub fn close(&self) {
        // One that is closed already is closed.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }
}

fn is_again(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// Whether a read would not wait.
fn is_readable(socket: BorrowedFd<'_>) -> bool {
    let mut wanted = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, as the count says, written before it is read.
    unsafe { libc::poll(&raw mut wanted, 1, 0) > 0 }
}

#[cfg(target_os = "linux")]
const SEND_FLAGS: libc::c_int = libc::MSG_NOSIGNAL;
// Python and Rust programs ignore SIGPIPE.
#[cfg(not(target_os = "linux"))]
const SEND_FLAGS: libc::c_int = 0;

/// Room for one descriptor, aligned as its header must be.
#[repr(C, align(8))]
struct Control([u8; 64]);

/// Sends bytes, with a descriptor where one is given; how many of them went.
fn send_message(socket: BorrowedFd<'_>, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<usize> {
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut control = Control([0; 64]);
    // SAFETY: a message header is numbers and pointers, for which zeros mean nothing is there.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    if let Some(descriptor) = descriptor {
        let number = descriptor.as_raw_fd();
        #[expect(clippy::cast_possible_truncation, reason = "four")]
        let size = size_of_val(&number) as libc::c_uint;
        message.msg_control = (&raw mut control.0).cast();
        // SAFETY: arithmetic on a small constant.
        message.msg_controllen = unsafe { libc::CMSG_SPACE(size) } as _;
        // SAFETY: the control buffer is larger than CMSG_SPACE of four bytes on every system and aligned for its
        // header, so that the first header and its data lie within it; the number is copied by value.
        unsafe {
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(size) as _;
            ptr::copy_nonoverlapping((&raw const number).cast::<u8>(), libc::CMSG_DATA(header), size_of_val(&number));
        }
    }
    // SAFETY: the header points at one part over `bytes`, which is only read, and at the control buffer; all outlive
    // the call.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, SEND_FLAGS) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::super::frame::Kind;
    use super::*;
    use std::io::Write;

    #[test]
    fn frames_arrive_whole_and_strangers_are_seen() {
        let (mut ours, mut theirs) = Channel::pair().unwrap();
        assert_eq!(ours.receive_now(), Heard::Silence);
        assert_eq!(ours.receive(), Heard::Silence);
        let frame = Frame::new(Kind::Failed, 3, 5, 0);
        let bytes = frame.to_bytes();
        theirs.write_all(&bytes[..10]).unwrap();
        theirs.write_all(&bytes[10..]).unwrap();
        theirs.write_all("grün".as_bytes()).unwrap();
        assert_eq!(ours.receive(), Heard::Frame(frame));
        assert_eq!(ours.receive_text(5).unwrap(), "grün");
        theirs.write_all(&[255; FRAME_BYTES]).unwrap();
        assert_eq!(ours.receive(), Heard::Garbled);
        theirs.write_all(&bytes[..10]).unwrap();
        drop(theirs);
        assert_eq!(ours.receive(), Heard::Closed);
        assert!(ours.send(&frame, None).is_err(), "and no signal ends this process");
    }
}
