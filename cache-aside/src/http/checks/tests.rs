use proptest::prelude::*;

use super::*;

/// Text made of what the grammars have, and of anything now and then.
fn texts(words: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let word = proptest::sample::select(words).prop_map(|word| word.as_bytes().to_vec());
    let any = proptest::collection::vec(any::<u8>(), 0..3);
    let part = prop_oneof![20 => word, 1 => any];
    proptest::collection::vec(part, 0..16).prop_map(|parts| parts.concat())
}

const DIRECTIVES: &[&str] = &[
    "max-age",
    "s-maxage",
    "Max-Age",
    "no-store",
    "no-cache",
    "private",
    "public",
    "=",
    "=60",
    "=007",
    "=\"60\"",
    "=99999999999999999999",
    "=\"",
    "\"",
    "\\",
    "\\\"",
    ",",
    ", ",
    ";",
    " ",
    "\t",
    "\n",
    "x",
    "must-understand",
    "proxy-revalidate",
    "only-if-cached",
    "must-revalidate",
];
const RANGES: &[&str] = &[
    "bytes=",
    "bytes ",
    "Bytes=",
    "0",
    "1",
    "5",
    "10",
    "99",
    "-",
    "/",
    "*",
    ",",
    " ",
    "\n",
    "\"a\"",
    "W/\"a\"",
    "\"",
    "18446744073709551615",
    "18446744073709551616",
    "\0\0\0\0\0\0\0\0",
    "\x10\0\0\0\0\0\0\0",
    "\x10\x01\x01\x01\x01\x01\x01\x01",
];
const FIELDS: &[&str] = &[
    "max-age", "no-store", "a", "=", "=5", "=-5", "=?1", "=?0", "=1.5", "=\"x\"", "=(1 2)",
    "=:YQ==:", ";", ";x=1", ",", ", ", " ", "\t", "\n", "\"", "\"a\"", "\"b, c\"", "\\",
    "\\\"", "\u{e4}", "=@5",
];

/// Dates, right and nearly so.
fn nearly_dates() -> impl Strategy<Value = Vec<u8>> {
    let day = 24 * 3_600;
    let right = (0..80_u64 * 365 * day).prop_map(|seconds| {
        let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
        let [name, number, month, year, time, _] = text.split(' ').collect::<Vec<_>>()[..]
        else {
            unreachable!("it is a date")
        };
        let long = DAYS.iter().find(|long| long.starts_with(&name[..3].to_lowercase()));
        let long = long.expect("it is one of seven");
        let short = &name[..3];
        let unpadded = number.trim_start_matches('0');
        [
            text.clone(),
            format!(
                "{}{}, {number}-{month}-{} {time} GMT",
                long[..1].to_uppercase(),
                &long[1..],
                &year[2..]
            ),
            format!("{short} {month} {unpadded:>2} {time} {year}"),
            format!("{short} {month} {number} {time} {year}"),
        ]
    });
    let change = proptest::option::of((any::<prop::sample::Index>(), any::<u8>()));
    let wrong = proptest::sample::select(
        &["", "", "", "0", " ", "60", "24", "Feb", "-", "UTC", ":"][..],
    );
    (right, 0..4_usize, any::<bool>(), change, wrong).prop_map(
        |(forms, form, lower, change, wrong)| {
            let mut bytes = forms[form].clone().into_bytes();
            if lower {
                bytes.make_ascii_lowercase();
            }
            if let Some((at, byte)) = change {
                let at = at.index(bytes.len());
                bytes[at] = byte;
                for (old, new) in bytes[at..].iter_mut().zip(wrong.bytes()) {
                    *old = new;
                }
            }
            bytes
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn cache_control_is_read_as_it_is_written(text in texts(DIRECTIVES)) {
        cache_control(&text);
    }

    #[test]
    fn dates_are_read_as_they_are_written(text in nearly_dates(), any in any::<Vec<u8>>()) {
        dates(&text);
        dates(&any);
    }

    #[test]
    fn ranges_are_within_what_there_is(text in texts(RANGES), length in 0..20_u64) {
        ranges_of(&text);
        ranges_of(&[&length.to_le_bytes()[..], &text].concat());
    }

    #[test]
    fn structured_fields_are_read_as_they_are_written(text in texts(FIELDS)) {
        structured_fields(&text);
    }
}
