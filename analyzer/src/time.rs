//! Points in time, in UTC.

use std::fmt;

/// A point in time: whole seconds since 1970, in UTC. What the kernel keeps below a second is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds since 1970-01-01 00:00:00; before it they are negative.
    pub unix_seconds: i64,
}

/// Seconds from 1601, where Windows starts to count, to 1970.
const WINDOWS_EPOCH: i64 = 11_644_473_600;

impl Time {
    /// From a FILETIME: units of 100 ns since 1601. `None` for 0, which Windows keeps where there is no time.
    pub fn from_filetime(ticks: u64) -> Option<Self> {
        let seconds = (ticks / 10_000_000).cast_signed();
        (ticks != 0).then_some(Self { unix_seconds: seconds - WINDOWS_EPOCH })
    }

    /// From nanoseconds since 1970.
    pub fn from_unix_nanoseconds(nanoseconds: i64) -> Self {
        Self { unix_seconds: nanoseconds.div_euclid(1_000_000_000) }
    }

    /// Year, month, day, hour, minute, second.
    fn civil(self) -> (i64, i64, i64, i64, i64, i64) {
        let (days, second) = (self.unix_seconds.div_euclid(86_400), self.unix_seconds.rem_euclid(86_400));
        // Years that begin in March, so that the leap day is the last: 400 of them are an era of 146,097 days. The era
        // that 1970 is in began 719,468 days before it.
        let days = days + 719_468;
        let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = era * 400 + year_of_era + i64::from(month <= 2);
        (year, month, day, second / 3600, second / 60 % 60, second % 60)
    }

    /// As RFC 3339 has it: "2026-03-04T04:32:10Z".
    pub fn rfc3339(self) -> String {
        let (year, month, day, hour, minute, second) = self.civil();
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// "2026-03-04 04:32:10", in UTC.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day, hour, minute, second) = self.civil();
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_date_1() {
        // Expected: `date -u -d @N +%FT%TZ`.
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_767_323_064, "2026-01-02T03:04:24Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (-11_644_473_600, "1601-01-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(Time { unix_seconds: seconds }.rfc3339(), text);
        }
    }

    #[test]
    fn filetimes_count_from_1601_and_zero_is_none() {
        assert_eq!(Time::from_filetime(0), None);
        // The example of Microsoft's documentation of FILETIME conversions: 1970-01-01.
        assert_eq!(Time::from_filetime(116_444_736_000_000_000), Some(Time { unix_seconds: 0 }));
        // A hostile value has some time, and no panic.
        assert!(Time::from_filetime(u64::MAX).expect("not 0").rfc3339().ends_with('Z'));
    }
}
