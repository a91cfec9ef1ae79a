//! Anonymous shared memory, handed over by descriptor: it has no name that anybody could open.
//!
//! The server makes all of it and says how large it is. A worker can neither shrink it under the server's mapping
//! nor, where it holds questions, write to it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_buffer::{Buffer, MutableBuffer};

/// Least bytes of a piece of memory: most batches fit, and few pages are touched.
const LEAST_BYTES: usize = 64 << 10;

/// What a piece of memory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Written here, read by the worker.
    Questions,
    /// Written by the worker, copied here.
    Answers,
}

/// A mapped piece of shared memory.
#[derive(Debug)]
pub struct Memory {
    /// What is handed to the worker.
    shared: OwnedFd,
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to this struct alone as far as this process goes, and is not tied to a thread.
unsafe impl Send for Memory {}

impl Memory {
    /// Memory for at least `bytes`.
    ///
    /// # Errors
    /// Where the system gives none.
    pub fn new(usage: Use, bytes: usize) -> io::Result<Self> {
        let len = bytes
            .max(LEAST_BYTES)
            .checked_next_power_of_two()
            .filter(|len| isize::try_from(*len).is_ok())
            .ok_or_else(|| io::Error::other("no memory is that large"))?;
        let file = system::create()?;
        file.set_len(len as u64)?;
        system::seal_size(&file)?;
        // SAFETY: a new mapping of a file of `len` bytes at an address the system chooses; nothing else is touched.
        // The file cannot shrink: its size was sealed, or cannot change once set (macOS), so that no access to the
        // mapping can fault.
        let base = unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(ptr::null_mut(), len, protection, libc::MAP_SHARED, file.as_raw_fd(), 0)
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::other("memory at address zero"))?;
        let shared = match usage {
            Use::Questions => system::read_only(file)?,
            Use::Answers => file.into(),
        };
        Ok(Self { shared, base, len })
    }

    /// Its bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The descriptor for the worker.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.shared.as_fd()
    }

    /// Its bytes, to be written. For questions only.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: `base` maps `len` bytes for as long as self lives, and self is borrowed mutably. The worker's
        // descriptor of questions is for reading only, so nothing else writes here; what it reads meanwhile is its
        // own affair.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.len) }
    }

    /// The first 8 bytes as a number that the worker reads at any time.
    pub fn set_word(&self, value: u64) {
        // SAFETY: a mapping starts at a page, so the place is aligned, and it has at least LEAST_BYTES. It is only
        // ever written through this atomic or, with self borrowed mutably, through `bytes_mut`.
        let word = unsafe { AtomicU64::from_ptr(self.base.as_ptr().cast()) };
        word.store(value.to_le(), Ordering::Release);
    }

    /// A private copy of its first bytes, which the worker can change no more; `None` if there are not so many.
    pub fn copy(&self, bytes: usize) -> Option<Buffer> {
        if bytes > self.len {
            return None;
        }
        let mut copy = MutableBuffer::with_capacity(bytes);
        // SAFETY: `bytes` are mapped from `base` on and fit into the copy's capacity, and the two do not overlap.
        // Should the worker write meanwhile, the copy holds some mixture of bytes; it is checked as if a stranger
        // had sent it, and no reference to the shared bytes is ever made.
        unsafe {
            ptr::copy_nonoverlapping(self.base.as_ptr(), copy.as_mut_ptr(), bytes);
            copy.set_len(bytes);
        }
        Some(copy.into())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: unmaps exactly what was mapped; no reference into it outlives self.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

#[cfg(target_os = "linux")]
mod system {
    use super::{AsRawFd, File, OwnedFd, io};
    use std::os::fd::FromRawFd;

    /// A file in memory, without a name.
    pub fn create() -> io::Result<File> {
        // SAFETY: the name ends in zero and is only read; what is given back is a new descriptor, owned from here on.
        unsafe {
            let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
            let descriptor = libc::memfd_create(c"monorail".as_ptr(), flags);
            if descriptor < 0 { Err(io::Error::last_os_error()) } else { Ok(File::from_raw_fd(descriptor)) }
        }
    }

    /// Whoever has a descriptor can no longer change the size.
    pub fn seal_size(file: &File) -> io::Result<()> {
        seal(file, libc::F_SEAL_SHRINK | libc::F_SEAL_GROW)
    }

    /// A descriptor through which nothing can be written.
    pub fn read_only(file: File) -> io::Result<OwnedFd> {
        // Kernels before 5.1 know no such seal. There the worker could write to what only it reads; the server
        // writes there and never reads.
        if seal(&file, libc::F_SEAL_FUTURE_WRITE).is_ok() {
            seal(&file, libc::F_SEAL_SEAL)?;
        }
        Ok(file.into())
    }

    fn seal(file: &File, seals: libc::c_int) -> io::Result<()> {
        // SAFETY: changes flags of a descriptor that `file` owns.
        let done = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use super::{AsRawFd, File, OwnedFd, io};
    use std::ffi::CString;
    use std::os::fd::FromRawFd;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A shared memory object whose name is gone before anybody else knows it.
    pub fn create() -> io::Result<File> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("/monorail-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let name = CString::new(name).map_err(io::Error::other)?;
        let mode: libc::c_uint = 0o600;
        // SAFETY: the name ends in zero and is only read; O_EXCL gives an object nobody else has, and its
        // descriptor is owned from here on.
        let descriptor = unsafe { libc::shm_open(name.as_ptr(), libc::O_RDWR | libc::O_CREAT | libc::O_EXCL, mode) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: as above; the name was made in this function.
        unsafe {
            libc::shm_unlink(name.as_ptr());
            libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC);
            Ok(File::from_raw_fd(descriptor))
        }
    }

    /// The size of such an object can be set only once, which has been done.
    pub fn seal_size(file: &File) -> io::Result<()> {
        let _ = file.as_raw_fd();
        Ok(())
    }

    /// The worker maps questions for reading only; what it wrote there, only it would read.
    pub fn read_only(file: File) -> io::Result<OwnedFd> {
        Ok(file.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::FromRawFd;

    fn duplicate(memory: &Memory) -> File {
        // SAFETY: a new descriptor, owned by the file.
        unsafe { File::from_raw_fd(libc::dup(memory.descriptor().as_raw_fd())) }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_worker_cannot_shrink_it_nor_write_to_questions() {
        use std::os::unix::fs::FileExt;
        let mut questions = Memory::new(Use::Questions, 100_000).unwrap();
        assert_eq!(questions.len(), 131_072);
        questions.bytes_mut()[99_999] = 7;
        questions.set_word(5);
        let theirs = duplicate(&questions);
        let mut byte = [0];
        theirs.read_exact_at(&mut byte, 99_999).unwrap();
        assert_eq!(byte, [7]);
        assert_eq!(questions.bytes_mut()[..8], 5_u64.to_le_bytes());
        assert!(theirs.set_len(0).is_err() && theirs.set_len(1 << 20).is_err());
        assert!(theirs.write_at(&[1], 0).is_err());
        let answers = Memory::new(Use::Answers, 0).unwrap();
        let theirs = duplicate(&answers);
        assert!(theirs.set_len(0).is_err());
        theirs.write_at(b"answer", 0).unwrap();
        assert_eq!(answers.copy(6).unwrap().as_slice(), b"answer");
        assert!(answers.copy(answers.len() + 1).is_none());
    }
}
