//! Processes of servers, as the system knows them.

use std::path::Path;

/// The server of a data folder, as it wrote it down.
pub(crate) fn server_of(data: &Path) -> i32 {
    let file = std::fs::read_to_string(data.join("postmaster.pid")).unwrap();
    file.lines().next().unwrap().trim().parse().unwrap()
}

/// The processes that a process began and that run.
pub(crate) fn children_of(process: i32) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let all = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    all.filter(|one| parent_of(*one) == Some(process)).collect()
}

/// A server with all that it began: first itself, which would replace them.
pub(crate) fn with_children(process: i32) -> Vec<i32> {
    let mut all = children_of(process);
    all.insert(0, process);
    all
}

fn parent_of(process: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name before it may hold anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
