//! What happens to servers: they are copied, killed, stopped, promoted and configured anew.

use rustix::process::{Pid, Signal};

use crate::processes::{server_of, with_children};
use crate::server::{Server, run};

impl Server {
    /// Starts it again after it was killed, and waits until it answers.
    pub(crate) fn restart(&mut self) {
        // The shell that watched over it would take the folder with it.
        if let Some(mut shell) = self.watched.take() {
            shell.kill().unwrap();
            shell.wait().unwrap();
        }
        self.start();
    }

    /// Adds lines to `postgresql.conf`, as an operator would; a server that runs reads them with a SIGHUP.
    pub(crate) fn configure(&self, lines: &str) {
        let file = self.data().join("postgresql.conf");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("{text}\n{lines}\n")).unwrap();
    }

    /// Makes a standby the primary.
    pub(crate) fn promote(&self) {
        run(self.program("pg_ctl").args(["promote", "--no-wait", "--pgdata"]).arg(self.data()));
    }

    /// Sends a signal to the server and to each of its processes.
    pub(crate) fn signal_all(&self, signal: Signal) {
        let all = with_children(server_of(&self.data()));
        for process in all {
            // One that has ended meanwhile needs none.
            let _ = rustix::process::kill_process(Pid::from_raw(process).unwrap(), signal);
        }
    }

    /// Sends a signal to the server alone.
    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_raw(server_of(&self.data())).unwrap(), signal).unwrap();
    }

    /// Ends it at once, with all its processes, as when its machine fails.
    pub(crate) fn kill(&self) {
        self.signal_all(Signal::KILL);
    }
}
