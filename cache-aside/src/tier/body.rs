//! What the cache writes into a record of a shared store.

use std::sync::Arc;
use std::time::Duration;

use crate::codec::Codec;
use crate::error::BoxError;

const NEGATIVE: u8 = 1;
const HEADER: usize = 1 + 1 + 4 + 8 + 8;

/// A value, or its absence, and its dates.
pub(super) struct Body<V> {
    pub(super) value: Option<Arc<V>>,
    /// How long it is fresh from its lease on.
    pub(super) fresh: Duration,
    /// How long its load took.
    pub(super) cost: Duration,
}

pub(super) fn encode<V: 'static>(
    body: &Body<V>,
    schema: u32,
    codec: &dyn Codec<V>,
) -> Result<Vec<u8>, BoxError> {
    let mut bytes = Vec::with_capacity(HEADER + 128);
    bytes.push(if body.value.is_none() { NEGATIVE } else { 0 });
    bytes.push(codec.id());
    bytes.extend(schema.to_be_bytes());
    // In whole milliseconds, so that it never grows.
    for duration in [body.fresh, body.cost] {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        bytes.extend(millis.to_be_bytes());
    }
    if let Some(value) = &body.value {
        codec.encode(value, &mut bytes)?;
    }
    Ok(bytes)
}

pub(super) fn decode<V: 'static>(
    bytes: &[u8],
    schema: u32,
    codec: &dyn Codec<V>,
) -> Result<Body<V>, BoxError> {
    let Some((header, payload)) = bytes.split_first_chunk::<HEADER>() else {
        return Err("it is too short".into());
    };
    let [flags, written_by, s0, s1, s2, s3, ..] = *header;
    let written_as = u32::from_be_bytes([s0, s1, s2, s3]);
    if written_as != schema {
        return Err(format!("schema version {written_as}, not {schema}").into());
    }
    if written_by != codec.id() {
        return Err(format!("codec {written_by}, not {}", codec.id()).into());
    }
    let millis = |at: usize| {
        let bytes = header[at..at + 8].try_into().expect("the header has 8 bytes there");
        Duration::from_millis(u64::from_be_bytes(bytes))
    };
    let value = match (flags, payload) {
        (NEGATIVE, []) => None,
        (0, payload) => Some(Arc::new(codec.decode(payload)?)),
        _ => return Err("its flags make no sense".into()),
    };
    Ok(Body { value, fresh: millis(6), cost: millis(14) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Text as it is.
    struct Text;

    impl Codec<String> for Text {
        fn id(&self) -> u8 {
            100
        }

        fn encode(&self, value: &String, bytes: &mut Vec<u8>) -> Result<(), BoxError> {
            bytes.extend(value.as_bytes());
            Ok(())
        }

        fn decode(&self, bytes: &[u8]) -> Result<String, BoxError> {
            Ok(String::from_utf8(bytes.to_vec())?)
        }
    }

    fn body(value: Option<&str>) -> Body<String> {
        let value = value.map(|text| Arc::new(text.to_owned()));
        Body { value, fresh: Duration::from_millis(1_500), cost: Duration::from_micros(2_900) }
    }

    #[test]
    fn it_comes_back_and_dates_only_shrink() {
        for value in [None, Some(""), Some("text")] {
            let bytes = encode(&body(value), 3, &Text).expect("text is bytes");
            let back = decode(&bytes, 3, &Text).expect("its own bytes");
            assert_eq!(back.value.as_deref().map(String::as_str), value);
            assert_eq!(back.fresh, Duration::from_millis(1_500));
            assert_eq!(back.cost, Duration::from_millis(2));
        }
    }

    #[test]
    fn another_schema_or_codec_is_refused_by_name() {
        let mut bytes = encode(&body(Some("a")), 3, &Text).expect("text is bytes");
        let error = decode(&bytes, 4, &Text).err().expect("another schema");
        assert_eq!(error.to_string(), "schema version 3, not 4");
        bytes[1] = 7;
        let error = decode(&bytes, 3, &Text).err().expect("another codec");
        assert_eq!(error.to_string(), "codec 7, not 100");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&bytes, 0, &Text);
        }
    }
}
