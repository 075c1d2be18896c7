//! What is said while it works: lines that read well in a pod's log.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::digest::Digest;
use super::registry::Outcome;

/// Where the lines go. Clones write to the same place, a line at a time.
#[derive(Clone)]
pub(crate) struct Progress(Arc<Mutex<Box<dyn Write + Send>>>);

impl Progress {
    /// Writes to the error output: the standard output holds the digest alone.
    pub(crate) fn to_stderr() -> Self {
        Self::to(std::io::stderr())
    }

    /// Writes to anything.
    pub(crate) fn to(sink: impl Write + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Box::new(sink))))
    }

    /// Says a line. That nobody can read it is no reason to fail.
    pub(crate) fn say(&self, line: &str) {
        let mut sink = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(sink, "{line}");
    }

    /// Says what became of a blob.
    pub(super) fn blob(&self, label: &str, digest: &Digest, size: u64, outcome: &Outcome, took: Duration) {
        let what = match outcome {
            Outcome::Present => "already there".to_owned(),
            Outcome::Mounted => "mounted".to_owned(),
            Outcome::Sent => format!("sent in {}", rate(size, took)),
        };
        self.say(&format!("{label}  blob {}  {:>9}  {what}", digest.short(), bytes(size)));
    }
}

/// A number of bytes as people read it, in powers of ten.
pub(crate) fn bytes(size: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut unit = 0;
    let mut divisor = 1u64;
    while unit + 1 < UNITS.len() && size / divisor >= 1000 {
        unit += 1;
        divisor *= 1000;
    }
    if unit == 0 {
        return format!("{size} B");
    }
    let tenths = u128::from(size) * 10 / u128::from(divisor);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

fn rate(size: u64, took: Duration) -> String {
    let micros = took.as_micros().max(1);
    let per_second = u64::try_from(u128::from(size) * 1_000_000 / micros).unwrap_or(u64::MAX);
    format!("{:.1} s, {}/s", took.as_secs_f64(), bytes(per_second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (size, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1_234_567, "1.2 MB"),
            (104_857_600, "104.8 MB"),
            (5_000_000_000, "5.0 GB"),
            (u64::MAX, "18446744.0 TB"),
        ] {
            assert_eq!(bytes(size), text);
        }
        assert_eq!(rate(104_857_600, Duration::from_millis(1200)), "1.2 s, 87.3 MB/s");
        assert_eq!(rate(10, Duration::ZERO), "0.0 s, 10.0 MB/s");
    }

    #[test]
    fn progress_names_what_happened() {
        struct Lines(std::sync::mpsc::Sender<Vec<u8>>);
        impl std::io::Write for Lines {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                let _ = self.0.send(bytes.to_vec());
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let (sender, lines) = std::sync::mpsc::channel();
        let progress = Progress::to(Lines(sender));
        let took = std::time::Duration::from_secs(2);
        for outcome in [Outcome::Present, Outcome::Mounted, Outcome::Sent] {
            progress.blob("linux/arm64", &Digest::of(b""), 50_000_000, &outcome, took);
        }
        let text = String::from_utf8(lines.try_iter().flatten().collect()).unwrap();
        assert_eq!(
            text,
            "linux/arm64  blob sha256:e3b0c44298fc    50.0 MB  already there\n\
             linux/arm64  blob sha256:e3b0c44298fc    50.0 MB  mounted\n\
             linux/arm64  blob sha256:e3b0c44298fc    50.0 MB  sent in 2.0 s, 25.0 MB/s\n"
        );
    }
}
