//! Calendar dates of Unix times.

/// Seconds since 1970 as date and time of day in UTC: ("2013-03-19", "03:32:06").
pub(crate) fn date_time(seconds: u32) -> (String, String) {
    let (days, second) = (i64::from(seconds / 86_400), seconds % 86_400);
    // Days since 1 March of year 0, in eras of 400 years: February's odd length falls to the end of a year.
    let since = days + 719_468;
    let era = since.div_euclid(146_097);
    let day_of_era = since.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (
        format!("{year:04}-{month:02}-{day:02}"),
        format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60),
    )
}

#[cfg(test)]
mod tests {
    use super::date_time;

    #[test]
    fn dates_that_date_u_prints() {
        for (seconds, date, time) in [
            (0, "1970-01-01", "00:00:00"),
            (951_782_399, "2000-02-28", "23:59:59"),
            (951_782_400, "2000-02-29", "00:00:00"),
            (1_363_663_926, "2013-03-19", "03:32:06"),
            (1_709_251_199, "2024-02-29", "23:59:59"),
            (u32::MAX, "2106-02-07", "06:28:15"),
        ] {
            assert_eq!(date_time(seconds), (date.to_owned(), time.to_owned()));
        }
    }
}
