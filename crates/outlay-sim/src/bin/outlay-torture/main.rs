//! Tortures the real program: kills it, cuts its power, stops it, fills its disk, fails its calls and turns its clock, and
//! holds what it shows afterwards against what its clients were told. Only Linux has what that takes.

#![cfg_attr(target_os = "linux", expect(clippy::disallowed_methods, reason = "it runs real processes, in real time"))]

#[cfg(target_os = "linux")]
mod torture;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    torture::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    eprintln!("outlay-torture: this machine lacks what it needs: Linux");
    std::process::ExitCode::from(3)
}
