//! Numbers as people read them.

use core::time::Duration;

/// Three significant digits with a decimal unit prefix: `0`, `12.3`, `4.56 K`, `789 M`.
pub(crate) fn scaled(number: f64) -> String {
    let mut number = number;
    let mut prefix = "";
    for next in [" K", " M", " G", " T"] {
        if number < 999.5 {
            break;
        }
        number /= 1000.0;
        prefix = next;
    }
    // By what will be shown: 9.996 is shown as 10.0.
    let decimals = match number {
        n if n.fract().abs() < f64::EPSILON && prefix.is_empty() => 0,
        n if n < 9.995 => 2,
        n if n < 99.95 => 1,
        _ => 0,
    };
    format!("{number:.decimals$}{prefix}")
}

/// Bytes: `0 B`, `12.3 KB`.
pub(crate) fn bytes(number: f64) -> String {
    let text = scaled(number);
    if text.contains(' ') {
        format!("{text}B")
    } else {
        format!("{text} B")
    }
}

/// A whole number with separated thousands: `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time between nanoseconds and hours: `85 µs`, `1.24 ms`, `12.3 s`.
pub(crate) fn duration(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    let (number, unit) = match micros {
        m if m < 999.5 => (m, "µs"),
        m if m < 999_500.0 => (m / 1e3, "ms"),
        m => (m / 1e6, "s"),
    };
    let decimals = match number {
        n if n < 9.995 && unit != "µs" => 2,
        n if n < 99.95 && unit != "µs" => 1,
        _ => 0,
    };
    format!("{number:.decimals$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits() {
        let cases = [
            (0.0, "0"),
            (7.0, "7"),
            (7.25, "7.25"),
            (12.34, "12.3"),
            (999.0, "999"),
            (999.7, "1.00 K"),
            (1234.0, "1.23 K"),
            (98_765.0, "98.8 K"),
            (9_996.0, "10.0 K"),
            (5e6, "5.00 M"),
            (2.5e12, "2.50 T"),
            (2.5e15, "2500 T"),
        ];
        for (number, expected) in cases {
            assert_eq!(scaled(number), expected, "{number}");
        }
        assert_eq!(bytes(3.0), "3 B");
        assert_eq!(bytes(1234.0), "1.23 KB");
        for (number, expected) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(count(number), expected);
        }
        for (micros, expected) in [
            (0, "0 µs"),
            (85, "85 µs"),
            (1_240, "1.24 ms"),
            (99_960, "100 ms"),
            (12_300_000, "12.3 s"),
        ] {
            assert_eq!(duration(Duration::from_micros(micros)), expected);
        }
    }
}
