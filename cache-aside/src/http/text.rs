use std::cell::Cell;

/// A text that became longer than this is not kept.
const KEPT: usize = 4 << 10;

/// Runs `write` on an empty text that each thread keeps, so that what is made of it is allocated
/// once, in its size.
pub(super) fn with_text<T>(write: impl FnOnce(&mut String) -> T) -> T {
    thread_local! {
        static TEXT: Cell<String> = const { Cell::new(String::new()) };
    }
    let mut text = TEXT.take();
    let written = write(&mut text);
    text.clear();
    if text.capacity() <= KEPT {
        TEXT.set(text);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_begins_with_nothing() {
        let inner = || {
            with_text(|text| {
                text.push('b');
                text.clone()
            })
        };
        let outer = with_text(|text| {
            text.push('a');
            (inner(), text.clone())
        });
        assert_eq!(outer, ("b".to_owned(), "a".to_owned()));
        with_text(|text| text.push_str(&"x".repeat(KEPT + 1)));
        assert_eq!(inner(), "b");
    }
}
