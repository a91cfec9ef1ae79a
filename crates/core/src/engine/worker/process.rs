//! One worker: a child process, its channel, and the memory it shares with this process.
//!
//! The child leads a process group of its own, which is killed as a whole, and before its leader is waited for: until
//! then no other process can have the group's number.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::answer::Answers;
use super::channel::{Channel, Heard};
use super::frame::{FLAG_ANSWERS, Frame, Kind, LIMIT_TEXT_BYTES};
use super::memory::{Memory, Use};
use super::output::log_lines;
use super::{Reason, Spec};

/// How long the kernel may take to end a process that was killed, before it is left to be waited for later.
const REAP_PATIENCE: Duration = Duration::from_millis(500);

/// A worker process.
pub struct Process {
    child: Child,
    pub(super) channel: Channel,
    pub(super) questions: Option<Memory>,
    pub(super) answers: Option<Memory>,
    pub(super) reader: Answers,
    /// Number of the last batch, and of the last ping.
    pub(super) sequence: u64,
    /// Batches it has been given.
    pub batches: u64,
    /// Why it is to be replaced, if it is.
    pub retiring: Option<Reason>,
    status: Option<ExitStatus>,
}

impl Process {
    /// Starts the child. The thread that calls this must outlive it: the kernel kills the child when it ends.
    ///
    /// # Errors
    /// Where the program cannot be started.
    pub fn spawn(spec: &Spec) -> io::Result<Self> {
        let reader = Answers::new(&spec.answer_schema).ok_or_else(|| io::Error::other("the schema has no form"))?;
        let (channel, theirs) = Channel::pair()?;
        let (output, write) = io::pipe()?;
        let mut command = Command::new(&spec.launch.program);
        command
            .args(&spec.launch.arguments)
            .env_clear()
            .envs(&spec.launch.environment)
            .current_dir(spec.folder.files())
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::from(write.try_clone()?))
            .stderr(Stdio::from(write))
            .process_group(0);
        die_with_parent(&mut command);
        let child = command.spawn()?;
        // Its ends of the sockets are closed here, so that reads end when it does.
        drop(command);
        let (log, who) = (spec.log.clone(), format!("{}: worker {}", spec.who, child.id()));
        let thread = std::thread::Builder::new().name("monorail-lines".to_owned());
        let process = Self {
            child,
            channel,
            questions: None,
            answers: None,
            reader,
            sequence: 0,
            batches: 0,
            retiring: None,
            status: None,
        };
        thread.spawn(move || log_lines(output, &log, &who))?;
        Ok(process)
    }

    /// Tells the child what to load, and waits until it has.
    ///
    /// # Errors
    /// Why it is of no use, in words that go on from "its worker".
    pub fn greet(&mut self, spec: &Spec, until: Instant, stop: &dyn Fn() -> bool) -> Result<(), String> {
        self.send_start(spec).map_err(|_| self.why_gone())?;
        loop {
            match self.channel.receive() {
                Heard::Frame(Frame { kind: Kind::Ready, .. }) => return Ok(()),
                Heard::Frame(Frame { kind: Kind::Refused, size, .. }) => {
                    return Err(format!("could not load the model: {}", self.text(size)));
                }
                Heard::Silence if stop() => return Err("was stopped".to_owned()),
                Heard::Silence if Instant::now() < until => {}
                Heard::Silence => {
                    self.show_where_it_is();
                    return Err(format!("was not ready within {} s", spec.settings.worker_start_timeout_s));
                }
                Heard::Closed => return Err(self.why_gone()),
                Heard::Frame(_) | Heard::Garbled => return Err("does not keep to the protocol".to_owned()),
            }
        }
    }

    fn send_start(&self, spec: &Spec) -> io::Result<()> {
        let folder = spec.folder.files();
        let program = spec.folder.program();
        let path = |path: &Path| path.as_os_str().as_encoded_bytes().to_vec();
        let fields = [path(&program), path(&folder), spec.question_schema.clone(), spec.answer_schema.clone()];
        let mut bytes = Vec::new();
        for field in fields {
            let length = u32::try_from(field.len()).map_err(io::Error::other)?;
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(&field);
        }
        self.channel.send(&Frame::new(Kind::Start, 0, bytes.len() as u64, 0), None)?;
        self.channel.send_bytes(&bytes)
    }

    /// The text behind a frame.
    pub fn text(&mut self, size: u64) -> String {
        let bytes = usize::try_from(size.min(LIMIT_TEXT_BYTES)).unwrap_or(0);
        self.channel.receive_text(bytes).unwrap_or_else(|_| "said nothing more".to_owned())
    }

    /// Hands memory over, and keeps it.
    ///
    /// # Errors
    /// Where the child is gone.
    pub fn share(&mut self, usage: Use, memory: Memory) -> io::Result<()> {
        let flags = if usage == Use::Answers { FLAG_ANSWERS } else { 0 };
        let frame = Frame { flags, ..Frame::new(Kind::Memory, self.sequence, memory.len() as u64, 0) };
        self.channel.send(&frame, Some(memory.descriptor()))?;
        match usage {
            Use::Questions => self.questions = Some(memory),
            Use::Answers => self.answers = Some(memory),
        }
        Ok(())
    }

    /// The child's number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks for an exception in the child's main thread, in the batch whose number was written beside the question.
    pub fn interrupt(&self) {
        self.signal(libc::SIGINT, false);
    }

    /// Has the child write where each of its threads is to its log; gives it a moment for that.
    pub fn show_where_it_is(&self) {
        self.signal(libc::SIGUSR1, false);
        std::thread::sleep(Duration::from_millis(50));
    }

    /// Sends a signal to the child, or to its whole group. It has not been waited for yet, so its number is its own.
    fn signal(&self, number: libc::c_int, group: bool) {
        if self.status.is_none()
            && let Ok(pid) = libc::pid_t::try_from(self.child.id())
        {
            // SAFETY: sends a signal; touches no memory.
            unsafe { libc::kill(if group { -pid } else { pid }, number) };
        }
    }

    /// Whether it has ended. It is not waited for by this.
    pub fn has_ended(&self) -> bool {
        // SAFETY: a structure of numbers, for which zeros mean that nothing has ended.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        // SAFETY: writes the structure; leaves the child to be waited for.
        let done = unsafe { libc::waitid(libc::P_PID, self.child.id(), &raw mut info, flags) };
        // SAFETY: the call has filled the structure in, or left its zeros.
        self.status.is_some() || done != 0 || unsafe { info.si_pid() } != 0
    }

    /// Lets it end by itself: its work loop ends when the channel does.
    pub fn close(&self) {
        self.channel.close();
    }

    /// Kills it and all its group; false if the kernel takes its time, and [`Process::reap`] is to be called again.
    pub fn kill(&mut self) -> bool {
        let until = Instant::now() + REAP_PATIENCE;
        self.close();
        while !self.strike() {
            if Instant::now() > until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }

    /// Kills it and all its group, and does not wait for it; whether it has ended already.
    pub fn strike(&mut self) -> bool {
        self.signal(libc::SIGKILL, true);
        self.reap()
    }

    /// Waits for it if it has ended, and kills what it leaves behind; whether it has.
    pub fn reap(&mut self) -> bool {
        if self.status.is_none() && self.has_ended() {
            self.signal(libc::SIGKILL, true);
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status.is_some()
    }

    /// How it ended, in words that go on from "its worker".
    pub fn why_gone(&mut self) -> String {
        let until = Instant::now() + REAP_PATIENCE;
        while !self.reap() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        match self.status {
            None => "closed its channel".to_owned(),
            Some(status) => match (status.signal(), status.code()) {
                (Some(signal), _) => format!("was killed by signal {signal}{}", signal_name(signal)),
                (None, code) => format!("ended with exit status {}", code.unwrap_or(-1)),
            },
        }
    }

    /// Bytes of memory it has resident; 0 where that cannot be told.
    pub fn resident_bytes(&self) -> usize {
        resident_bytes(self.child.id())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.status.is_none() && !self.kill() {
            // A process that no signal ends is left to the system.
            let _ = self.child.try_wait();
        }
    }
}

/// Has the kernel kill the child when the thread that starts it ends, however that comes.
#[cfg(target_os = "linux")]
fn die_with_parent(command: &mut Command) {
    let parent = std::process::id();
    let hook = move || {
        // SAFETY: changes an attribute of the calling process.
        let done = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        // SAFETY: gives a number.
        let now = unsafe { libc::getppid() };
        // A parent that has ended meanwhile will not end again.
        if done != 0 || u32::try_from(now) != Ok(parent) {
            return Err(io::ErrorKind::NotConnected.into());
        }
        Ok(())
    };
    // SAFETY: the hook runs between fork and exec: it makes two system calls, takes no lock and allocates nothing.
    unsafe { command.pre_exec(hook) };
}

/// Elsewhere the child ends when its channel does.
#[cfg(not(target_os = "linux"))]
fn die_with_parent(_command: &mut Command) {}

#[cfg(target_os = "linux")]
fn resident_bytes(pid: u32) -> usize {
    let pages = std::fs::read_to_string(format!("/proc/{pid}/statm"))
        .ok()
        .and_then(|text| text.split(' ').nth(1)?.parse::<usize>().ok())
        .unwrap_or(0);
    // SAFETY: gives a number.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    pages.saturating_mul(usize::try_from(page).unwrap_or(4_096))
}

#[cfg(target_os = "macos")]
fn resident_bytes(pid: u32) -> usize {
    // SAFETY: a structure of numbers.
    let mut info: libc::proc_taskinfo = unsafe { std::mem::zeroed() };
    let Ok(size) = libc::c_int::try_from(size_of_val(&info)) else { return 0 };
    let Ok(pid) = libc::c_int::try_from(pid) else { return 0 };
    // SAFETY: writes at most `size` bytes to the structure.
    let got = unsafe { libc::proc_pidinfo(pid, libc::PROC_PIDTASKINFO, 0, (&raw mut info).cast(), size) };
    if got == size { usize::try_from(info.pti_resident_size).unwrap_or(usize::MAX) } else { 0 }
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn resident_bytes(_pid: u32) -> usize {
    0
}

fn signal_name(number: i32) -> &'static str {
    match number {
        libc::SIGABRT => " (SIGABRT)",
        libc::SIGBUS => " (SIGBUS)",
        libc::SIGFPE => " (SIGFPE)",
        libc::SIGILL => " (SIGILL)",
        libc::SIGINT => " (SIGINT)",
        libc::SIGKILL => " (SIGKILL), by somebody else or for want of memory",
        libc::SIGSEGV => " (SIGSEGV)",
        libc::SIGTERM => " (SIGTERM)",
        _ => "",
    }
}
