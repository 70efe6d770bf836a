//! Starts processes that die with this one, also when it is killed.
//!
//! `setpriv --pdeathsig` has the kernel signal a child when the *thread* that started it ends, so all of them are
//! started by one thread that lives as long as the process.

use std::io;
use std::process::{Child, Command};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock};

type Job = (Command, Sender<io::Result<Child>>);

/// The signal that a child gets when this process ends.
#[derive(Debug, Clone, Copy)]
pub enum OnOurDeath {
    /// At once.
    Kill,
    /// SIGINT: Postgres cleans up its shared memory.
    Interrupt,
}

/// Wraps a program so that it dies with the thread that starts it. The environment starts out empty but for PATH.
pub fn wrap(command: &Command, death: OnOurDeath) -> Command {
    let signal = match death {
        OnOurDeath::Kill => "KILL",
        OnOurDeath::Interrupt => "INT",
    };
    let mut wrapped = Command::new("setpriv");
    wrapped.args(["--pdeathsig", signal, "--"]).arg(command.get_program()).args(command.get_args());
    wrapped.env_clear().env("LC_ALL", "C").env("PATH", std::env::var_os("PATH").unwrap_or_default());
    wrapped
}

/// Starts a wrapped command on the thread that lives as long as this process.
pub fn spawn(command: Command) -> io::Result<Child> {
    static KEEPER: OnceLock<Mutex<Sender<Job>>> = OnceLock::new();
    let keeper = KEEPER.get_or_init(|| {
        let (jobs, inbox) = channel::<Job>();
        std::thread::Builder::new()
            .name("keeper".into())
            .spawn(move || {
                for (mut command, reply) in inbox {
                    reply.send(command.spawn()).ok();
                }
            })
            .expect("a thread can be started");
        Mutex::new(jobs)
    });
    let (reply, answer) = channel();
    keeper.lock().expect("no holder panics").send((command, reply)).expect("the keeper lives as long as we do");
    answer.recv().expect("the keeper answers each job")
}
