//! Numbers: whole ones within 64 bits, doubles otherwise. Each number has one form, so that it
//! is the same in a filter, in a unique key, in a hash and on both databases.

use std::{cmp::Ordering, fmt, str::FromStr};

use serde::{Serialize, Serializer};

/// 2^63: the first double beyond the whole numbers.
const WHOLE_END: f64 = 9_223_372_036_854_775_808.0;

/// A number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// A whole number within 64 bits, however it was written: `40`, `40.0` or `4e1`.
    Whole(i64),
    /// Any other: finite, and not whole or beyond 64 bits.
    Double(f64),
}

impl Number {
    /// A double in the one form of its value; none where it is not finite.
    pub fn of_double(double: f64) -> Option<Self> {
        if !double.is_finite() {
            return None;
        }
        // Exact: the double is whole and in range. There is no negative zero then.
        let is_whole = double.fract() == 0.0 && (-WHOLE_END..WHOLE_END).contains(&double);
        Some(if is_whole { Self::Whole(double as i64) } else { Self::Double(double) })
    }

    /// A number of a JSON document. One that was read out of a database as a whole number beyond
    /// 64 bits was stored as a double.
    pub fn of_json(number: &serde_json::Number) -> Option<Self> {
        match number.as_i64() {
            Some(whole) => Some(Self::Whole(whole)),
            None => number.as_f64().and_then(Self::of_double),
        }
    }

    /// As JSON.
    pub fn to_json(self) -> serde_json::Value {
        match self {
            Self::Whole(whole) => whole.into(),
            Self::Double(double) => double.into(),
        }
    }

    /// The nearest double.
    pub fn nearest_double(self) -> f64 {
        match self {
            Self::Whole(whole) => whole as f64,
            Self::Double(double) => double,
        }
    }
}

/// From decimal text, as a JSON document has it.
impl FromStr for Number {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let whole = text.parse().map(Self::Whole);
        whole.ok().or_else(|| Self::of_double(text.parse().ok()?)).ok_or("this is not a number")
    }
}

impl Eq for Number {}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// By their exact values.
impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        match (*self, *other) {
            (Self::Whole(a), Self::Whole(b)) => a.cmp(&b),
            (Self::Double(a), Self::Double(b)) => a.total_cmp(&b),
            (Self::Whole(a), Self::Double(b)) => whole_to_double(a, b),
            (Self::Double(a), Self::Whole(b)) => whole_to_double(b, a).reverse(),
        }
    }
}

/// A double that is not whole lies between two whole numbers, and is below 2^53; the others lie
/// beyond every whole one.
fn whole_to_double(whole: i64, double: f64) -> Ordering {
    if double >= WHOLE_END {
        Ordering::Less
    } else if double < -WHOLE_END {
        Ordering::Greater
    } else if whole <= double.floor() as i64 {
        Ordering::Less
    } else {
        Ordering::Greater
    }
}

/// In decimal: exactly, or the shortest text that reads as the same double.
impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(whole) => whole.fmt(f),
            Self::Double(double) => write!(f, "{double:e}"),
        }
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        Number::of_json(&text.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_whole_number_has_one_form_however_it_is_written() {
        for text in ["40", "40.0", "4e1", "400e-1"] {
            assert_eq!(number(text), Number::Whole(40), "{text}");
        }
        assert_eq!(number("-0.0"), Number::Whole(0));
        assert_eq!(number("1e18"), Number::Whole(1_000_000_000_000_000_000));
        assert_eq!(number("9223372036854775808"), Number::Double(WHOLE_END));
        assert_eq!(number("-9223372036854775808.0"), Number::Whole(i64::MIN));
        assert_eq!(Number::of_double(f64::NAN), None);
        assert!("NaN".parse::<Number>().is_err());
    }

    #[test]
    fn numbers_compare_by_their_exact_values() {
        let sorted = [
            "-1e300",
            "-9223372036854775809.0e1",
            "-9223372036854775808",
            "-9007199254740993",
            "-9007199254740992",
            "-0.5",
            "-5e-324",
            "0",
            "5e-324",
            "0.5",
            "1",
            "4503599627370495.5",
            "4503599627370496",
            "9007199254740992",
            "9007199254740993",
            "9223372036854775806",
            "9223372036854775807",
            "9223372036854775808",
            "1e300",
        ];
        for (i, a) in sorted.iter().enumerate() {
            for (j, b) in sorted.iter().enumerate() {
                assert_eq!(number(a).cmp(&number(b)), i.cmp(&j), "{a} and {b}");
                assert_eq!(number(a).to_string().parse(), Ok(number(a)), "{a}");
            }
        }
    }
}
