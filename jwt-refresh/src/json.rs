//! JSON in which no member occurs twice and nothing is nested deeply.
//!
//! The parser is `serde_json`; this walks over all that it finds, so that a
//! member which nobody reads cannot hide another.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// Levels of objects and arrays.
pub(crate) const DEEPEST: u8 = 16;

/// What was found wrong, beside what the parser itself finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Not JSON, or not an object, or something follows it.
    Syntax,
    Duplicate,
    TooDeep,
    /// The member of this name has a wrong type.
    Type(&'static str),
    /// The member of this name must not be there.
    Forbidden(&'static str),
}

/// Takes the members of an object that it knows.
pub(crate) trait Members<'de> {
    /// Reads the member `name` from `map`, or returns false without reading.
    ///
    /// `fault` is what is reported if reading fails.
    fn take<A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        fault: &Cell<Fault>,
    ) -> Result<bool, A::Error>;
}

/// Reads one object, strictly, handing its members to `members`.
pub(crate) fn object<'de>(
    bytes: &'de [u8],
    members: &mut impl Members<'de>,
) -> Result<(), Fault> {
    let fault = Cell::new(Fault::Syntax);
    let mut parser = serde_json::Deserializer::from_slice(bytes);
    let read = Object { members, fault: &fault }.deserialize(&mut parser);
    read.map_err(|_| fault.get())?;
    fault.set(Fault::Syntax);
    parser.end().map_err(|_| Fault::Syntax)
}

struct Object<'a, M> {
    members: &'a mut M,
    fault: &'a Cell<Fault>,
}

impl<'de, M: Members<'de>> DeserializeSeed<'de> for Object<'_, M> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, M: Members<'de>> Visitor<'de> for Object<'_, M> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = Names::default();
        while let Some(Text(name)) = map.next_key::<Text<'de>>()? {
            if !self.members.take(&name, &mut map, self.fault)? {
                map.next_value_seed(Rest { depth: 2, fault: self.fault })?;
            }
            self.fault.set(Fault::Syntax);
            seen.add::<A::Error>(name, self.fault)?;
        }
        Ok(())
    }
}

/// Any value, walked over.
struct Rest<'a> {
    depth: u8,
    fault: &'a Cell<Fault>,
}

impl<'a> Rest<'a> {
    fn deeper<E: serde::de::Error>(&self) -> Result<Self, E> {
        if self.depth > DEEPEST {
            self.fault.set(Fault::TooDeep);
            return Err(E::custom("too deep"));
        }
        Ok(Self { depth: self.depth + 1, fault: self.fault })
    }
}

impl<'de> DeserializeSeed<'de> for Rest<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Rest<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        loop {
            if seq.next_element_seed(self.deeper()?)?.is_none() {
                return Ok(());
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = Names::default();
        while let Some(Text(name)) = map.next_key::<Text<'de>>()? {
            map.next_value_seed(self.deeper()?)?;
            seen.add::<A::Error>(name, self.fault)?;
        }
        Ok(())
    }
}

/// The names of one object so far: a list while they are few.
#[derive(Default)]
struct Names<'de> {
    few: Vec<Cow<'de, str>>,
    many: HashSet<Cow<'de, str>>,
}

impl<'de> Names<'de> {
    const FEW: usize = 24;

    fn add<E: serde::de::Error>(
        &mut self,
        name: Cow<'de, str>,
        fault: &Cell<Fault>,
    ) -> Result<(), E> {
        if !cfg!(broken = "no_duplicates")
            && (self.few.contains(&name) || self.many.contains(&name))
        {
            fault.set(Fault::Duplicate);
            return Err(E::custom("duplicate"));
        }
        if self.few.len() < Self::FEW {
            if self.few.is_empty() {
                self.few.reserve(Self::FEW);
            }
            self.few.push(name);
        } else {
            self.many.insert(name);
        }
        Ok(())
    }
}

/// A string, borrowed from the input where it has no escapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text<'de>(pub(crate) Cow<'de, str>);

impl<'de> serde::Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

/// One string or a list of strings, as `aud` is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Texts<'de>(pub(crate) Vec<Cow<'de, str>>);

impl<'de> serde::Deserialize<'de> for Texts<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextsVisitor;
        impl<'de> Visitor<'de> for TextsVisitor {
            type Value = Texts<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Texts<'de>, E> {
                Ok(Texts(vec![Cow::Borrowed(text)]))
            }

            fn visit_str<E>(self, text: &str) -> Result<Texts<'de>, E> {
                Ok(Texts(vec![Cow::Owned(text.to_owned())]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Texts<'de>, A::Error> {
                let mut texts = Vec::new();
                while let Some(Text(text)) = seq.next_element::<Text<'de>>()? {
                    texts.push(text);
                }
                Ok(Texts(texts))
            }
        }
        deserializer.deserialize_any(TextsVisitor)
    }
}

/// Reads one member, to be blamed under `name` if it has another type.
pub(crate) fn value<'de, T: serde::Deserialize<'de>, A: MapAccess<'de>>(
    name: &'static str,
    map: &mut A,
    fault: &Cell<Fault>,
) -> Result<Option<T>, A::Error> {
    fault.set(Fault::Type(name));
    map.next_value::<T>().map(Some)
}

/// Refuses a member for being there.
pub(crate) fn forbidden<'de, A: MapAccess<'de>>(
    name: &'static str,
    fault: &Cell<Fault>,
) -> Result<bool, A::Error> {
    fault.set(Fault::Forbidden(name));
    Err(A::Error::custom("forbidden"))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nothing;

    impl<'de> Members<'de> for Nothing {
        fn take<A: MapAccess<'de>>(
            &mut self,
            _: &str,
            _: &mut A,
            _: &Cell<Fault>,
        ) -> Result<bool, A::Error> {
            Ok(false)
        }
    }

    #[test]
    fn duplicates_are_found_at_every_level_and_behind_escapes() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"x":{"a":1,"b":2,"a":3}}"#,
            r#"{"x":[{"y":{"a":1,"\u0061":2}}]}"#,
        ] {
            assert_eq!(object(text.as_bytes(), &mut Nothing), Err(Fault::Duplicate), "{text}");
        }
        let many: String = (0..200).map(|n| format!(r#""m{n}":{n},"#)).collect();
        let text = format!(r#"{{{many}"m7":0}}"#);
        assert_eq!(object(text.as_bytes(), &mut Nothing), Err(Fault::Duplicate));
        assert_eq!(
            object(br#"{"a":{"a":[{"a":1},{"a":2}]},"b":-1.5e3}"#, &mut Nothing),
            Ok(())
        );
    }

    #[test]
    fn what_is_no_single_object_is_refused() {
        for text in ["", "null", "[]", "{}x", "{} {}", "\u{feff}{}", "{\"a\":01}", "{'a':1}"] {
            assert_eq!(object(text.as_bytes(), &mut Nothing), Err(Fault::Syntax), "{text}");
        }
        assert_eq!(object(b"{\"a\":\"\xff\"}", &mut Nothing), Err(Fault::Syntax));
        assert_eq!(object(b"{\"a\":\"\\ud800\"}", &mut Nothing), Err(Fault::Syntax));
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |n: usize| format!("{{\"a\":{}{}}}", "[".repeat(n), "]".repeat(n));
        assert_eq!(object(nested(15).as_bytes(), &mut Nothing), Ok(()));
        assert_eq!(object(nested(16).as_bytes(), &mut Nothing), Err(Fault::TooDeep));
        assert_eq!(object(nested(3_000).as_bytes(), &mut Nothing), Err(Fault::TooDeep));
    }
}
