//! Programs that tests need and cargo cannot give: taken from Debian where they are missing, by whoever may install them.

use std::path::Path;
use std::process::Command;

use crate::run::{self, Failed, Step};

/// Where Debian puts PostgreSQL's programs, by version.
const POSTGRES: &str = "/usr/lib/postgresql";

/// Where Debian puts the pooler.
const POOLER: &str = "/usr/sbin/pgbouncer";

/// Where it puts what replaces primaries, and what that agrees by; and what it calls the services that it makes of them.
const PATRONI: &str = "/usr/bin/patroni";
const ETCD: &str = "/usr/bin/etcd";
const SERVICES: [&str; 2] = ["patroni.service", "etcd.service"];
/// There while systemd runs.
const SYSTEMD: &str = "/run/systemd/system";

/// Installs a program where it is not there.
pub(crate) fn install(program: &str, packages: &[&str], why: &str) -> Result<(), Failed> {
    if Path::new(program).exists() {
        return Ok(());
    }
    apt(packages, &format!("{program} is missing, which {why}"))
        .map_err(|Failed(what)| Failed(format!("{what}: install {program} and try again")))
}

/// Installs Debian's packages.
pub(crate) fn apt(packages: &[&str], why: &str) -> Result<(), Failed> {
    println!("\nxtask: {why}; installing Debian's {}", packages.join(", "));
    let apt = |arguments: &[&str]| Step::program("apt-get".as_ref()).arguments(arguments);
    apt(&["update"]).run()?;
    apt(&[&["install", "--yes", "--no-install-recommends"], packages].concat())
        .variable("DEBIAN_FRONTEND", "noninteractive")
        .run()
}

/// The server of PostgreSQL, of which the store's tests start their own: any version that is there already will do.
pub(crate) fn postgres() -> Result<(), Failed> {
    let of_debian = std::fs::read_dir(POSTGRES).into_iter().flatten().flatten();
    let on_path = run::output_of(Command::new("pg_config").arg("--bindir")).unwrap_or_default();
    let mut folders = of_debian.map(|version| version.path().join("bin")).chain([on_path.into()]);
    if folders.any(|folder| folder.join("initdb").exists()) {
        return Ok(());
    }
    let program = format!("{POSTGRES}/15/bin/postgres");
    install(&program, &["postgresql-15"], "the tests of the PostgreSQL store start")
}

/// A pooler of connections to PostgreSQL, of which the store's tests start their own.
pub(crate) fn pooler() -> Result<(), Failed> {
    install(POOLER, &["pgbouncer"], "the tests of the PostgreSQL store start")
}

/// Patroni and etcd, of which a long test starts its own. As services of the machine, which Debian makes of both and starts,
/// nobody asked for them.
pub(crate) fn patroni() -> Result<(), Failed> {
    if [PATRONI, ETCD].iter().all(|program| Path::new(program).exists()) {
        return Ok(());
    }
    // One that was there already may be somebody's.
    let services = [PATRONI, ETCD].into_iter().zip(SERVICES);
    let made: Vec<&str> =
        services.filter(|(program, _)| !Path::new(program).exists()).map(|(_, service)| service).collect();
    let missing = if Path::new(PATRONI).exists() { ETCD } else { PATRONI };
    install(missing, &["patroni", "etcd-server"], "a long test of the PostgreSQL store starts")?;
    if Path::new(SYSTEMD).exists() {
        let disable = ["disable", "--now"];
        Step::program("systemctl".as_ref()).arguments(&disable).arguments(&made).run()?;
    }
    Ok(())
}
