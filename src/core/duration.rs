//! Durations as Go writes them, which is how Tekton's fields hold them.

use std::time::Duration;

/// Reads a Go duration: `1h30m`, `90s`, `1.5h`, `250ms`, `0`.
///
/// # Errors
/// A sentence about what is wrong, without the value itself.
pub fn parse(text: &str) -> Result<Duration, String> {
    const HELP: &str = "write a duration such as 90s, 30m or 1h30m";
    let body = text.trim();
    if body.starts_with('-') {
        return Err(format!("a duration here cannot be negative; {HELP}"));
    }
    let body = body.strip_prefix('+').unwrap_or(body);
    if body == "0" {
        return Ok(Duration::ZERO);
    }
    if body.is_empty() {
        return Err(format!("a duration is wanted and nothing is there; {HELP}"));
    }
    let mut rest = body;
    let mut total = 0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| format!("no duration; {HELP}"))?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "" => return Err(format!("a number without a unit; {HELP}")),
            _ => return Err(format!("an unknown unit (known are h, m, s, ms, us, ns); {HELP}")),
        };
        rest = &rest[letters..];
        total += number * unit;
    }
    Duration::try_from_secs_f64(total).map_err(|_| format!("longer than can be counted; {HELP}"))
}

/// Writes a duration as Go does, in whole milliseconds: `1h30m0s`, `45s`, `1.5s`.
pub fn format(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let fraction = match duration.subsec_millis() {
        0 => String::new(),
        millis => format!(".{millis:03}").trim_end_matches('0').to_owned(),
    };
    match (hours, minutes) {
        (0, 0) => format!("{rest}{fraction}s"),
        (0, _) => format!("{minutes}m{rest}{fraction}s"),
        _ => format!("{hours}h{minutes}m{rest}{fraction}s"),
    }
}

/// Writes a duration for people, in whole seconds: `2m10s`, `45s`, `1h05m`.
pub fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest:02}s"),
        _ => format!("{hours}h{minutes:02}m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_writes() {
        for (text, duration) in [
            ("0", Duration::ZERO),
            ("0s", Duration::ZERO),
            ("90s", Duration::from_secs(90)),
            ("1h30m", Duration::from_mins(90)),
            ("1h0m10s", Duration::from_secs(3610)),
            ("1.5h", Duration::from_mins(90)),
            ("250ms", Duration::from_millis(250)),
            ("+2m", Duration::from_mins(2)),
            ("3us", Duration::from_micros(3)),
            // U+00B5 and U+03BC: Go takes both (Go `time/format.go`).
            ("4µs", Duration::from_micros(4)),
            ("5μs", Duration::from_micros(5)),
            ("7ns", Duration::from_nanos(7)),
        ] {
            assert_eq!(parse(text), Ok(duration), "{text}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, part) in [
            ("", "nothing is there"),
            ("10", "without a unit"),
            ("-5m", "negative"),
            ("5 minutes", "unknown unit"),
            ("1d", "unknown unit"),
            ("fast", "no duration"),
            ("1.2.3s", "no duration"),
            ("99999999999999999999999h", "longer than"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn writes_what_go_reads() {
        for (millis, text) in
            [(0, "0s"), (1500, "1.5s"), (90_000, "1m30s"), (3_600_000, "1h0m0s"), (5_405_050, "1h30m5.05s")]
        {
            assert_eq!(format(Duration::from_millis(millis)), text);
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)));
        }
    }

    #[test]
    fn is_short_for_people() {
        for (seconds, text) in [(0, "0s"), (45, "45s"), (130, "2m10s"), (65, "1m05s"), (3900, "1h05m")] {
            assert_eq!(human(Duration::from_secs(seconds)), text);
        }
    }
}
