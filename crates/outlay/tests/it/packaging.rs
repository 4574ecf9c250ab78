//! What lies in `packaging/` fits the program: the image has all that it needs, and what is watched is there to be watched.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::{Asks, Setup, at_end};

fn packaging(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging").join(path)
}

/// A command that runs a program with this folder as the whole file system, as a container does.
fn within(root: &Path) -> Command {
    let is_root = fs::metadata("/proc/self").is_ok_and(|of_self| std::os::unix::fs::MetadataExt::uid(&of_self) == 0);
    let mut command = Command::new(if is_root { "chroot" } else { "unshare" });
    command.args(if is_root { &[][..] } else { &["--user", "--map-root-user", "chroot"] }).arg(root);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("OUTLAY_DATA", "/data").stdin(Stdio::null());
    command
}

#[test]
fn the_image_holds_all_that_the_program_needs_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let made = Command::new(packaging("container/rootfs.sh")).arg(env!("CARGO_BIN_EXE_outlay")).arg(&root).status();
    assert!(made.unwrap().success());
    // As a container's engine adds it.
    fs::write(root.join("etc/hosts"), "127.0.0.1 localhost\n").unwrap();

    let mut server = within(&root);
    server.args(["/usr/bin/outlay", "serve", "--open", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped());
    let mut server = server.spawn().unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines().map_while(Result::ok);
    let _stopped = at_end(move || {
        server.kill().unwrap();
        server.wait().unwrap();
    });
    let address = lines.find_map(|line| Some(line.split_once("listening on http://127.0.0.1:")?.1.to_owned())).unwrap();

    // A name, so that the part of the C library that looks names up is there too.
    let asked = within(&root)
        .args(["/usr/bin/outlay", "budget", "bgtfrdsZ", "--json", "--url", &format!("http://localhost:{address}")])
        .output()
        .unwrap();
    let (said, failed) = (String::from_utf8_lossy(&asked.stdout), String::from_utf8_lossy(&asked.stderr));
    assert!(said.contains(r#""userId":"bgtfrdsZ""#), "{said}{failed}");
    let programs: Vec<_> =
        fs::read_dir(root.join("usr/bin")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(programs, ["outlay"]);
}

#[test]
fn every_metric_that_is_watched_exists() {
    let server = Setup::open().start();
    // Some begin with the first answer.
    server.get("/metrics").is_text(200);
    let metrics = server.get("/metrics").is_text(200);
    let lines = metrics.lines().filter(|line| !line.starts_with('#'));
    let exist: BTreeSet<&str> = lines.filter_map(|line| line.split(['{', ' ']).next()).collect();
    for file in ["prometheus/rules.yml", "grafana/outlay.json"] {
        let text = fs::read_to_string(packaging(file)).unwrap();
        let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        let watched: BTreeSet<&str> =
            words.filter(|word| word.starts_with("outlay_") || word.starts_with("process_")).collect();
        assert!(watched.len() > 5, "{file}: no metric was found in it");
        let unknown: Vec<_> = watched.difference(&exist).collect();
        assert!(unknown.is_empty(), "{file} names metrics that are not: {unknown:?}");
    }
}
