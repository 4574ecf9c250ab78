//! Checks of what lies in `packaging/`, each by the tool that will read it, where that is installed.

use std::fs;
use std::process::Command;

use crate::run::{self, Failed, Step};

/// The most that systemd's own count of what a unit may still do is allowed to be, in tenths: 100 is everything.
const EXPOSURE_MAX: &str = "--threshold=15";

pub(crate) fn lint() -> Result<(), Failed> {
    let has = |program: &str| run::succeeds(Command::new(program).arg("--version"));
    if has("promtool") {
        Step::program("promtool".as_ref()).arguments(&["check", "rules", "packaging/prometheus/rules.yml"]).run()?;
        Step::program("promtool".as_ref())
            .arguments(&["test", "rules", "packaging/prometheus/rules.test.yml"])
            .run()?;
    } else {
        println!("xtask: promtool (of prometheus) is not installed: the alert rules are not checked");
    }
    if has("systemd-analyze") {
        // The program is not installed here: another stands for it.
        let folder = run::root().join("target/units");
        let failed = |error: std::io::Error| Failed(format!("lay the units out in {}: {error}", folder.display()));
        fs::create_dir_all(&folder).map_err(failed)?;
        for unit in ["outlay.service", "outlay.socket"] {
            let text = fs::read_to_string(run::root().join("packaging/systemd").join(unit)).map_err(failed)?;
            fs::write(folder.join(unit), text.replace("/usr/bin/outlay ", "/bin/true ")).map_err(failed)?;
        }
        let analyze = |arguments: &[&str]| Step::program("systemd-analyze".as_ref()).arguments(arguments);
        let units = ["outlay.service", "outlay.socket"].map(|unit| folder.join(unit).display().to_string());
        analyze(&["verify", "--man=no"]).arguments(&units).run()?;
        let count = ["security", "--offline=true", "--no-pager", EXPOSURE_MAX];
        analyze(&count).arguments(&units[..1]).run_shortly(|line| line.contains("Overall"))?;
    } else {
        println!("xtask: systemd-analyze is not installed: the units are not checked");
    }
    Ok(())
}
