//! The process's own figures, under the names that every Prometheus client uses, so that common dashboards know them.

#![expect(clippy::cast_precision_loss, reason = "metrics are floats")]

use std::fmt;

use procfs::WithCurrentSystemInfo as _;
use procfs::process::{LimitValue, Process};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Reads them from `/proc` at each scrape; what cannot be read there is left out.
#[derive(Debug)]
pub(super) struct OfProcess;

impl Collector for OfProcess {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Ok(process) = Process::myself() else { return Ok(()) };
        let Ok(stat) = process.stat() else { return Ok(()) };
        let ticks = procfs::ticks_per_second() as f64;
        let cpu = ConstCounter::new((stat.utime + stat.stime) as f64 / ticks);
        let help = "Seconds of processor time, of the program and of the system for it";
        cpu.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, cpu.metric_type())?)?;

        let started = procfs::boot_time_secs().ok().map(|boot| boot as f64 + stat.starttime as f64 / ticks);
        let limit = process.limits().ok().and_then(|limits| match limits.max_open_files.soft_limit {
            LimitValue::Value(files) => Some(files as f64),
            LimitValue::Unlimited => None,
        });
        let gauges = [
            ("process_start_time_seconds", "When the process began, in seconds since 1970", started),
            ("process_resident_memory_bytes", "Memory that it has in use", Some(stat.rss_bytes().get() as f64)),
            ("process_virtual_memory_bytes", "Addresses that it has taken", Some(stat.vsize as f64)),
            (
                "process_open_fds",
                "Files and connections that are open",
                process.fd_count().ok().map(|files| files as f64),
            ),
            ("process_max_fds", "Files and connections that may be open", limit),
            ("process_threads", "Threads", Some(stat.num_threads as f64)),
        ];
        for (name, help, value) in gauges {
            let Some(value) = value else { continue };
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}
