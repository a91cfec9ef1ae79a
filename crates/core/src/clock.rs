//! The time of day, as a number and in text: UTC, ISO 8601.

use std::fmt::Write;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Now, in seconds since 1970. A clock before that is taken for it.
pub fn now() -> f64 {
    since_epoch().as_secs_f64()
}

/// A time that is over, or none that will ever be.
#[derive(Debug)]
pub struct Passed;

/// When a time in seconds since 1970 will be, by the clock that nobody sets; none if there is none, or it is too far.
///
/// # Errors
/// [`Passed`].
pub fn instant(at: Option<f64>) -> Result<Option<Instant>, Passed> {
    let left = at.map(|at| Duration::try_from_secs_f64(at - now()).map_err(|_| Passed)).transpose()?;
    Ok(left.and_then(|left| Instant::now().checked_add(left)))
}

/// Now, as `YYYY-MM-DDTHH:MM:SSZ`.
pub fn utc_now() -> String {
    let mut text = String::with_capacity(20);
    write_utc(&mut text, since_epoch(), false);
    text
}

/// Appends now, as `YYYY-MM-DDTHH:MM:SS.mmmZ`.
pub fn push_utc_now(text: &mut String) {
    write_utc(text, since_epoch(), true);
}

/// A time in seconds since 1970, as `YYYY-MM-DDTHH:MM:SS.mmmZ`.
pub fn utc(seconds: f64) -> String {
    let mut text = String::with_capacity(24);
    // What is no time is shown as 1970.
    write_utc(&mut text, Duration::try_from_secs_f64(seconds).unwrap_or_default(), true);
    text
}

/// Seconds since 1970 of a time as HTTP has it: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn from_http_date(text: &str) -> Option<f64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_once(", ")?.1.strip_suffix(" GMT")?.split(' ');
    let mut word = || words.next().filter(|word| word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b':'));
    let (day, name, year, time) = (word()?, word()?, word()?, word()?);
    let month = MONTHS.iter().position(|month| *month == name)? as u64 + 1;
    let (day, year): (u64, u64) = (day.parse().ok()?, year.parse().ok()?);
    let mut time = time.splitn(3, ':').map(|part| part.parse::<u64>().ok().filter(|part| *part <= 60));
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    if !(1..=31).contains(&day) || !(1_970..=9_999).contains(&year) || hour > 23 {
        return None;
    }
    // As in `civil`: years begin in March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    Some((days * 86_400 + hour * 3_600 + minute * 60 + second) as f64)
}

fn since_epoch() -> Duration {
    // A clock before 1970 is shown as 1970.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn write_utc(text: &mut String, since_epoch: Duration, with_millis: bool) {
    let seconds = since_epoch.as_secs();
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    // Writing to a string cannot fail.
    let _ = write!(text, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if with_millis {
        let _ = write!(text, ".{:03}", since_epoch.subsec_millis());
    }
    text.push('Z');
}

/// Year, month and day of a number of days since 1970-01-01, in the Gregorian calendar.
pub fn civil(days: u64) -> (u64, u64, u64) {
    // Counted from 1 March of the year 0, so that a leap day is the last day of its year.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_dates_of_http() {
        assert_eq!(from_http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777.0));
        assert_eq!(from_http_date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0.0));
        assert_eq!(from_http_date("Tue, 29 Feb 2000 00:00:00 GMT"), Some(951_782_400.0));
        assert_eq!(utc(951_782_400.25), "2000-02-29T00:00:00.250Z");
        assert_eq!(utc(f64::NAN), "1970-01-01T00:00:00.000Z");
        for no_date in [
            "",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 99:49:37 GMT",
            "Sun, 06 Nov 94 08:49:37 GMT",
            "x, 1 Nov 99999999999999999999 1:1:1 GMT",
        ] {
            assert_eq!(from_http_date(no_date), None, "{no_date}");
        }
    }

    #[test]
    fn shows_known_moments() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_795_359_600, "2026-11-22T15:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            let mut text = String::new();
            write_utc(&mut text, Duration::from_secs(seconds), false);
            assert_eq!(text, expected);
        }
        let mut text = String::new();
        write_utc(&mut text, Duration::from_millis(1_234), true);
        assert_eq!(text, "1970-01-01T00:00:01.234Z");
    }
}
