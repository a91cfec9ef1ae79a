//! Dates and times as ISO 8601 strings.

/// Days from 1970-01-01 to a date of the proleptic Gregorian calendar.
///
/// Howard Hinnant's `days_from_civil` (<https://howardhinnant.github.io/date_algorithms.html>).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Reads digits off the front.
struct Digits<'a>(&'a [u8]);

impl Digits<'_> {
    fn number(&mut self, count: usize) -> Option<i64> {
        let (head, rest) = self.0.split_at_checked(count)?;
        let mut value = 0;
        for byte in head {
            value = value * 10 + i64::from(byte.is_ascii_digit().then(|| byte - b'0')?);
        }
        self.0 = rest;
        Some(value)
    }

    fn byte(&mut self, wanted: &[u8]) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        wanted.contains(&first).then(|| {
            self.0 = rest;
            first
        })
    }

    fn date(&mut self) -> Option<i64> {
        let year = self.number(4)?;
        self.byte(b"-")?;
        let month = self.number(2)?;
        self.byte(b"-")?;
        let day = self.number(2)?;
        ((1..=12).contains(&month) && (1..=days_in_month(year, month)).contains(&day))
            .then(|| days_from_civil(year, month, day))
    }

    /// Microseconds of the day; a fraction finer than microseconds is refused unless it is zeros.
    fn time(&mut self) -> Option<i64> {
        let hour = self.number(2)?;
        self.byte(b":")?;
        let minute = self.number(2)?;
        let (mut second, mut micros) = (0, 0);
        if self.byte(b":").is_some() {
            second = self.number(2)?;
            if self.byte(b".,").is_some() {
                let digits = self.0.iter().take_while(|b| b.is_ascii_digit()).count();
                if digits == 0 {
                    return None;
                }
                for place in 0..digits {
                    let digit = self.number(1)?;
                    match 5_u32.checked_sub(u32::try_from(place).ok()?) {
                        Some(power) => micros += digit * 10_i64.pow(power),
                        None if digit != 0 => return None,
                        None => {}
                    }
                }
            }
        }
        (hour < 24 && minute < 60 && second < 60).then_some(((hour * 60 + minute) * 60 + second) * 1_000_000 + micros)
    }

    /// Offset from UTC in microseconds; `None` inside where there is none.
    fn zone(&mut self) -> Option<Option<i64>> {
        if self.0.is_empty() {
            return Some(None);
        }
        let offset = match self.byte(b"Zz+-")? {
            b'Z' | b'z' => 0,
            sign => {
                let hours = self.number(2)?;
                self.byte(b":");
                let minutes = self.number(2)?;
                if hours > 23 || minutes > 59 {
                    return None;
                }
                (hours * 60 + minutes) * 60_000_000 * if sign == b'-' { -1 } else { 1 }
            }
        };
        self.0.is_empty().then_some(Some(offset))
    }
}

/// Days since 1970-01-01 of `YYYY-MM-DD`; `None` if it is not one.
pub fn parse_date(text: &str) -> Option<i64> {
    let mut digits = Digits(text.as_bytes());
    let days = digits.date()?;
    digits.0.is_empty().then_some(days)
}

/// Microseconds since 1970-01-01 of `YYYY-MM-DDTHH:MM[:SS[.ffffff]][Z|±HH:MM]`.
///
/// `zoned` says whether a zone must be there or must not. `None` if the text is anything else.
pub fn parse_timestamp(text: &str, zoned: bool) -> Option<i64> {
    let mut digits = Digits(text.as_bytes());
    let days = digits.date()?;
    digits.byte(b"Tt ")?;
    let time = digits.time()?;
    let offset = digits.zone()?;
    (offset.is_some() == zoned).then(|| days * 86_400_000_000 + time - offset.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_calendar_dates() {
        assert_eq!(parse_date("1970-01-01"), Some(0));
        assert_eq!(parse_date("2000-02-29"), Some(11_016));
        assert_eq!(parse_date("0001-01-01"), Some(-719_162));
        for wrong in ["1900-02-29", "2001-13-01", "2001-1-1", "2001-01-01T00:00", "", "2001-01-32", "２001-01-01"] {
            assert_eq!(parse_date(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn times_have_a_zone_exactly_where_one_belongs() {
        assert_eq!(parse_timestamp("1970-01-01T00:00:01.5Z", true), Some(1_500_000));
        assert_eq!(parse_timestamp("1970-01-01T02:00+02:00", true), Some(0));
        assert_eq!(parse_timestamp("1970-01-01 00:00:00.000001", false), Some(1));
        assert_eq!(parse_timestamp("1969-12-31T23:59:59.999999000Z", true), Some(-1));
        for (wrong, zoned) in [
            ("1970-01-01T00:00:01", true),
            ("1970-01-01T00:00:01Z", false),
            ("1970-01-01T24:00:00Z", true),
            ("1970-01-01T00:00:00.0000001Z", true),
            ("1970-01-01T00:00:00.Z", true),
            ("1970-01-01", false),
            ("1970-01-01T00:00:00Zjunk", true),
        ] {
            assert_eq!(parse_timestamp(wrong, zoned), None, "{wrong}");
        }
    }
}
