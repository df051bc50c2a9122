//! `application/x-www-form-urlencoded`, as far as OAuth has it.

use std::borrow::Cow;

use zeroize::Zeroize;

/// The parameters of a body; wiped when dropped, since one is a token.
#[derive(Default)]
pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    /// Nothing if an escape is broken, the text is not UTF-8, there are more than
    /// 32 parameters, or one occurs twice (RFC 6749, section 3.2).
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let mut form = Self::default();
        for pair in text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
            let (name, value) = (&pair[..at], pair.get(at + 1..).unwrap_or_default());
            let (name, value) = (decoded(name)?, decoded(value)?);
            if form.0.len() >= 32 || form.get(&name).is_some() {
                return None;
            }
            form.0.push((name, value));
        }
        Some(form)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(has, _)| has == name).map(|(_, value)| value.as_str())
    }
}

impl Drop for Form {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(|(_, value)| value.zeroize());
    }
}

/// Whether a query has a parameter of one of these names, however it is escaped.
pub(crate) fn query_has(query: Option<&str>, names: &[&str]) -> bool {
    let Some(query) = query else { return false };
    query.split('&').any(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        let name = if name.contains(['%', '+']) {
            decoded(name.as_bytes()).map_or(Cow::Borrowed(name), Cow::Owned)
        } else {
            Cow::Borrowed(name)
        };
        names.contains(&&*name)
    })
}

fn decoded(text: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        rest = match first {
            b'+' => {
                bytes.push(b' ');
                after
            }
            b'%' => {
                let digits = str::from_utf8(after.get(..2)?).ok()?;
                if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                    return None;
                }
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                &after[2..]
            }
            byte => {
                bytes.push(*byte);
                after
            }
        };
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_and_duplicates_refused() {
        let form = Form::parse(b"a=1&b=x+y%2Fz&c&=e").unwrap();
        assert_eq!(form.get("a"), Some("1"));
        assert_eq!(form.get("b"), Some("x y/z"));
        assert_eq!(form.get("c"), Some(""));
        for text in ["a=1&a=2", "a=1&%61=2", "a=%4", "a=%+1", "a=%zz", "a=%ff"] {
            assert!(Form::parse(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn a_token_in_a_query_is_seen_behind_escapes() {
        let names = &["access_token"];
        assert!(query_has(Some("x=1&access_token=y"), names));
        assert!(query_has(Some("access%5Ftoken=y"), names));
        assert!(query_has(Some("%61ccess_token"), names));
        assert!(!query_has(Some("access_tokens=1&y=access_token"), names));
        assert!(!query_has(None, names));
    }
}
