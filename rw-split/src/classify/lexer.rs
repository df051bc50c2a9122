//! SQL's tokens, as far as telling reads from writes needs them.

/// What a token is. Words keep their place in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// An unquoted name or keyword.
    Word(usize, usize),
    /// A name in double quotes, without them; `None` if it has escapes.
    Quoted(Option<(usize, usize)>),
    /// A string, a number, a parameter.
    Value,
    /// One byte of punctuation or of an operator.
    Punct(u8),
    /// `::`
    Cast,
    End,
    /// A quote or a comment that is not closed, or a byte that SQL does not have.
    Bad,
}

pub(super) struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text: text.as_bytes(), at: 0 }
    }

    pub(super) fn slice(&self, start: usize, end: usize) -> &'a [u8] {
        &self.text[start..end]
    }

    /// The next byte that is no white space, or 0. A comment shows as its first byte.
    pub(super) fn upcoming(&self) -> u8 {
        let rest = &self.text[self.at..];
        rest.iter().copied().find(|byte| !byte.is_ascii_whitespace()).unwrap_or(0)
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    pub(super) fn next(&mut self) -> Token {
        loop {
            let Some(&byte) = self.text.get(self.at) else { return Token::End };
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' | 0x0B | 0x0C => self.at += 1,
                b'-' if self.peek(1) == b'-' => self.line_comment(),
                b'/' if self.peek(1) == b'*' => {
                    if !self.block_comment() {
                        return Token::Bad;
                    }
                }
                b'\'' => return self.string(false),
                b'"' => return self.quoted(),
                b'$' => return self.dollar(),
                b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.. => return self.word(),
                b'0'..=b'9' => return self.number(),
                b':' if self.peek(1) == b':' => {
                    self.at += 2;
                    return Token::Cast;
                }
                0 | b'\\' => return Token::Bad,
                _ => {
                    self.at += 1;
                    return Token::Punct(byte);
                }
            }
        }
    }

    fn line_comment(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.iter().position(|b| matches!(b, b'\n' | b'\r')).unwrap_or(rest.len());
    }

    /// Comments nest. False if it is not closed.
    fn block_comment(&mut self) -> bool {
        let mut depth = 0_usize;
        while self.at < self.text.len() {
            match (self.peek(0), self.peek(1)) {
                (b'/', b'*') => {
                    depth += 1;
                    self.at += 2;
                }
                (b'*', b'/') => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return true;
                    }
                }
                _ => self.at += 1,
            }
        }
        false
    }

    /// From its opening quote. With `escapes`, a backslash hides the next byte.
    fn string(&mut self, escapes: bool) -> Token {
        self.at += 1;
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b'\\' if escapes => self.at += 2,
                b'\'' if self.peek(1) == b'\'' => self.at += 2,
                b'\'' => {
                    self.at += 1;
                    return Token::Value;
                }
                // Whether a backslash escapes here is a setting of the server
                // (standard_conforming_strings): what is not known is not safe.
                b'\\' if self.peek(1) == b'\'' => return Token::Bad,
                _ => self.at += 1,
            }
        }
        Token::Bad
    }

    fn quoted(&mut self) -> Token {
        self.at += 1;
        let start = self.at;
        let mut escaped = false;
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b'"' if self.peek(1) == b'"' => {
                    escaped = true;
                    self.at += 2;
                }
                b'"' => {
                    self.at += 1;
                    let name = (start, self.at - 1);
                    return Token::Quoted((!escaped).then_some(name));
                }
                _ => self.at += 1,
            }
        }
        Token::Bad
    }

    /// `$1`, or `$tag$ … $tag$`.
    fn dollar(&mut self) -> Token {
        let start = self.at;
        self.at += 1;
        if self.peek(0).is_ascii_digit() {
            while self.peek(0).is_ascii_digit() {
                self.at += 1;
            }
            return Token::Value;
        }
        while is_name(self.peek(0)) && self.peek(0) != b'$' {
            self.at += 1;
        }
        if self.peek(0) != b'$' {
            return Token::Bad;
        }
        self.at += 1;
        let tag = &self.text[start..self.at];
        while self.at < self.text.len() {
            if self.text[self.at..].starts_with(tag) {
                self.at += tag.len();
                return Token::Value;
            }
            self.at += 1;
        }
        Token::Bad
    }

    fn word(&mut self) -> Token {
        let start = self.at;
        while is_name(self.peek(0)) {
            self.at += 1;
        }
        if self.peek(0) == b'\'' && self.at - start == 1 {
            match self.text[start] | 0x20 {
                b'e' => return self.string(true),
                b'b' | b'x' | b'n' => return self.string(false),
                _ => {}
            }
        }
        if self.peek(0) == b'&' && self.at - start == 1 && self.text[start] | 0x20 == b'u' {
            match self.peek(1) {
                b'\'' => {
                    self.at += 1;
                    return self.unicode_string();
                }
                // Its escapes, and what they begin with, are told behind it.
                b'"' => return Token::Bad,
                _ => {}
            }
        }
        Token::Word(start, self.at)
    }

    /// A backslash escapes code points here, never the quote.
    fn unicode_string(&mut self) -> Token {
        self.at += 1;
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b'\'' if self.peek(1) == b'\'' => self.at += 2,
                b'\'' => {
                    self.at += 1;
                    return Token::Value;
                }
                _ => self.at += 1,
            }
        }
        Token::Bad
    }

    fn number(&mut self) -> Token {
        while self.peek(0).is_ascii_alphanumeric()
            || self.peek(0) == b'_'
            || (self.peek(0) == b'.' && self.peek(1) != b'.')
        {
            self.at += 1;
        }
        Token::Value
    }
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..)
}
