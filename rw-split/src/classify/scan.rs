//! One pass over a text's tokens.

use super::lexer::{Lexer, Token};
use super::words::{self, Call};
use super::{Catalogue, Class, Reason};

/// PostgreSQL cuts longer names.
const LONGEST_NAME: usize = 63;

pub(super) struct Finding {
    pub(super) class: Class,
    /// What decided, as a place in the text.
    pub(super) at: Option<(usize, usize)>,
}

/// The strictest class of the text's statements.
pub(super) fn scan(text: &str, catalogue: &Catalogue) -> Finding {
    let mut scan = Scan {
        lexer: Lexer::new(text),
        catalogue,
        last: [Token::End; 4],
        depth: 0,
        with: 0,
        prefix: 0,
        after_prefix: false,
        found: Finding { class: Class::new(Reason::Empty), at: None },
    };
    loop {
        match scan.statement() {
            Token::Punct(b';') => {}
            _ => return scan.found,
        }
    }
}

struct Scan<'a> {
    lexer: Lexer<'a>,
    catalogue: &'a Catalogue,
    /// The tokens before the one in hand, the nearest first.
    last: [Token; 4],
    depth: u32,
    /// A bit per depth, below 64: whether it is in the head of a `WITH`.
    with: u64,
    /// Likewise: whether the parenthesis is one that an expression may follow.
    prefix: u64,
    /// Whether the parenthesis that closed last was such a one.
    after_prefix: bool,
    found: Finding,
}

/// A name in lower case, if it is short enough to be one.
struct Folded {
    buffer: [u8; LONGEST_NAME],
    length: usize,
}

impl Folded {
    fn new(name: &[u8], fold: bool) -> Option<Self> {
        if name.len() > LONGEST_NAME {
            return None;
        }
        let mut buffer = [0; LONGEST_NAME];
        buffer[..name.len()].copy_from_slice(name);
        if fold {
            buffer[..name.len()].make_ascii_lowercase();
        }
        Some(Self { buffer, length: name.len() })
    }

    fn name(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

impl Scan<'_> {
    fn next(&mut self) -> Token {
        self.lexer.next()
    }

    fn push(&mut self, token: Token) {
        self.last = [token, self.last[0], self.last[1], self.last[2]];
    }

    fn is(&self, token: Token, word: &str) -> bool {
        matches!(token, Token::Word(start, end)
            if self.lexer.slice(start, end).eq_ignore_ascii_case(word.as_bytes()))
    }

    /// Keeps the strictest finding; the first of its kind explains it.
    fn find(&mut self, reason: Reason, token: Token) {
        let class = Class::new(reason);
        let first = self.found.class.reason == Reason::Empty && reason != Reason::Empty;
        if first || class.target() > self.found.class.target() {
            let at = match token {
                Token::Word(start, end) | Token::Quoted(Some((start, end))) => {
                    Some((start, end))
                }
                _ => None,
            };
            self.found = Finding { class, at };
        }
    }

    /// Reads to the end of a statement, and returns what ended it.
    fn statement(&mut self) -> Token {
        (self.depth, self.with, self.last) = (0, 0, [Token::End; 4]);
        (self.prefix, self.after_prefix) = (0, false);
        let mut first = self.next();
        while first == Token::Punct(b'(') {
            self.depth += 1;
            self.push(first);
            first = self.next();
        }
        match first {
            Token::End | Token::Punct(b';') => first,
            Token::Word(start, end) => {
                let Some(word) = Folded::new(self.lexer.slice(start, end), true) else {
                    return self.give_up();
                };
                self.verb(word.name(), first)
            }
            _ => self.give_up(),
        }
    }

    fn verb(&mut self, verb: &[u8], token: Token) -> Token {
        match verb {
            b"select" | b"values" | b"table" => {
                self.find(Reason::ReadOnly, Token::End);
                self.push(token);
                self.query(false)
            }
            b"with" => {
                self.find(Reason::ReadOnly, Token::End);
                self.with |= self.bit();
                self.push(token);
                self.query(true)
            }
            b"explain" => self.explain(token),
            b"begin" | b"start" | b"commit" | b"end" | b"rollback" | b"abort"
            | b"savepoint" | b"release" => self.rest(Reason::TransactionControl, token),
            b"set" => self.set(token),
            b"reset" | b"discard" | b"load" => self.rest(Reason::SessionState, token),
            b"listen" | b"unlisten" | b"prepare" | b"execute" | b"deallocate" | b"declare"
            | b"fetch" | b"move" | b"close" | b"lock" => self.rest(Reason::SessionState, token),
            b"copy" => self.rest(Reason::Copy, token),
            b"create" => self.create(token),
            b"show" => self.rest(Reason::ServerLocal, token),
            _ => self.rest(Reason::Write, token),
        }
    }

    /// The other statements: it matters where they end, and whether they need one
    /// connection.
    fn rest(&mut self, reason: Reason, token: Token) -> Token {
        self.find(reason, token);
        loop {
            let token = self.next();
            match token {
                Token::End | Token::Punct(b';') => return token,
                Token::Bad => return self.give_up(),
                Token::Punct(b'(') => self.session_call(),
                _ if self.is_temporary_schema(token) => {
                    self.find(Reason::SessionState, token);
                }
                _ => {}
            }
            self.push(token);
        }
    }

    /// `INSERT … VALUES (currval('s'))`: a parenthesis opens.
    fn session_call(&mut self) {
        let name = self.last[0];
        let built_in =
            self.last[1] != Token::Punct(b'.') || self.is(self.last[2], "pg_catalog");
        let call = self.folded(name).and_then(|name| words::call(name.name()));
        if built_in && call == Some(Call::Session) && !cfg!(broken = "unread_writes") {
            self.find(Reason::SessionState, name);
        }
    }

    fn folded(&self, token: Token) -> Option<Folded> {
        match token {
            Token::Word(start, end) => Folded::new(self.lexer.slice(start, end), true),
            Token::Quoted(Some((start, end))) => {
                Folded::new(self.lexer.slice(start, end), false)
            }
            _ => None,
        }
    }

    fn is_temporary_schema(&self, token: Token) -> bool {
        match token {
            Token::Word(start, end) | Token::Quoted(Some((start, end))) => {
                self.lexer.slice(start, end).eq_ignore_ascii_case(b"pg_temp")
            }
            _ => false,
        }
    }

    /// `SET LOCAL` and its like end with the transaction.
    fn set(&mut self, token: Token) -> Token {
        let next = self.next();
        if matches!(next, Token::End | Token::Bad | Token::Punct(b';')) {
            return self.give_up();
        }
        let words = ["local", "transaction", "constraints"];
        let passes = words.iter().any(|word| self.is(next, word));
        let reason = if passes { Reason::TransactionControl } else { Reason::SessionState };
        self.rest(reason, token)
    }

    fn create(&mut self, token: Token) -> Token {
        let mut next = self.next();
        while self.is(next, "global") || self.is(next, "local") {
            next = self.next();
        }
        let temporary = self.is(next, "temp") || self.is(next, "temporary");
        self.find(if temporary { Reason::SessionState } else { Reason::Write }, token);
        loop {
            match next {
                Token::End | Token::Punct(b';') => return next,
                Token::Bad => return self.give_up(),
                Token::Punct(b'(') => self.session_call(),
                _ if self.is_temporary_schema(next) => self.find(Reason::SessionState, next),
                // `CREATE FUNCTION … BEGIN ATOMIC …; … END`: the rest belongs to it.
                _ if self.is(next, "atomic") => loop {
                    match self.next() {
                        end @ Token::End => return end,
                        Token::Bad => return self.give_up(),
                        _ => {}
                    }
                },
                _ => {}
            }
            self.push(next);
            next = self.next();
        }
    }

    /// `EXPLAIN (ANALYZE, …) statement` is judged as its statement.
    fn explain(&mut self, token: Token) -> Token {
        let mut next = self.next();
        while self.is(next, "analyze") || self.is(next, "verbose") {
            next = self.next();
        }
        if next == Token::Punct(b'(') {
            // Options, or a parenthesis of the query itself: then they begin with a verb.
            let first = self.next();
            if ["select", "with", "values", "table"].iter().any(|verb| self.is(first, verb))
                || first == Token::Punct(b'(')
            {
                self.find(Reason::Unclear, token);
                return self.rest(Reason::Unclear, first);
            }
            let mut depth = 1_u32;
            while depth > 0 {
                match self.next() {
                    Token::Punct(b'(') => depth += 1,
                    Token::Punct(b')') => depth -= 1,
                    Token::End | Token::Bad => return self.give_up(),
                    _ => {}
                }
            }
            next = self.next();
        }
        match next {
            Token::Word(start, end) => {
                let Some(word) = Folded::new(self.lexer.slice(start, end), true) else {
                    return self.give_up();
                };
                match word.name() {
                    verb @ (b"select" | b"values" | b"table" | b"with") => {
                        self.verb(verb, next)
                    }
                    b"execute" | b"declare" => self.rest(Reason::SessionState, next),
                    _ => self.rest(Reason::Write, next),
                }
            }
            _ => self.give_up(),
        }
    }

    /// Nothing behind this can be told apart: the rest of the text goes with it.
    fn give_up(&mut self) -> Token {
        self.find(Reason::Unclear, Token::End);
        Token::Bad
    }

    fn bit(&self) -> u64 {
        1_u64.checked_shl(self.depth).unwrap_or(0)
    }

    fn query(&mut self, begins_with_with: bool) -> Token {
        loop {
            let token = self.next();
            match token {
                Token::End => return token,
                Token::Bad => return self.give_up(),
                Token::Punct(b';') if self.depth == 0 => return token,
                Token::Punct(b'(') => {
                    self.call();
                    let prefix = self.is_prefix();
                    self.depth += 1;
                    self.with &= !self.bit();
                    self.prefix &= !self.bit();
                    self.prefix |= if prefix { self.bit() } else { 0 };
                }
                Token::Punct(b')') => {
                    self.with &= !self.bit();
                    self.after_prefix = self.bit() == 0 || self.prefix & self.bit() != 0;
                    self.depth = self.depth.saturating_sub(1);
                }
                Token::Word(start, end) => {
                    self.word(start, end, begins_with_with);
                    if self.found.class.reason == Reason::Unclear {
                        return self.give_up();
                    }
                }
                Token::Quoted(Some((start, end))) => self.relation(start, end, false),
                _ => {}
            }
            self.push(token);
        }
    }

    /// A word of a query that is not before a parenthesis, as far as is known.
    fn word(&mut self, start: usize, end: usize, begins_with_with: bool) {
        let token = Token::Word(start, end);
        let word = self.lexer.slice(start, end);
        let is = |other: &str| word.eq_ignore_ascii_case(other.as_bytes());
        match (word.len(), word[0] | 0x20) {
            (4, b'i') if is("into") && !self.is_label() => {
                self.find(Reason::SelectInto, token);
            }
            (6, b'u') if is("update") && self.is_verb_or_lock(begins_with_with) => {
                let lock = self.is(self.last[0], "for") || self.is(self.last[0], "key");
                self.find(if lock { Reason::RowLock } else { Reason::Write }, token);
            }
            (5, b's') if is("share") => {
                if self.is(self.last[0], "for") || self.is(self.last[0], "key") {
                    self.find(Reason::RowLock, token);
                }
            }
            (2 | 3, b'n' | b'k') if self.is(self.last[0], "for") && (is("no") || is("key")) => {
                self.find(Reason::RowLock, token);
            }
            (6, b'd') if is("delete") && self.is_verb_or_lock(begins_with_with) => {
                self.find(Reason::Write, token);
            }
            (6, b'i') if is("insert") && self.is_verb_or_lock(begins_with_with) => {
                self.find(Reason::Write, token);
            }
            (5, b'm') if is("merge") && self.is_verb_or_lock(begins_with_with) => {
                self.find(Reason::Write, token);
            }
            (4 | 5 | 6 | 9, b't' | b'l' | b'g')
                if self.is(self.last[0], "into")
                    && ["temp", "temporary", "local", "global"].into_iter().any(is) =>
            {
                self.find(Reason::SessionState, token);
            }
            (4, b'w') if is("with") && self.starts_subquery() => self.with |= self.bit(),
            (5 | 6, b's' | b'v' | b't') if is("select") || is("values") || is("table") => {
                self.with &= !self.bit();
            }
            _ => self.relation(start, end, true),
        }
    }

    /// After a dot or `AS` any word is a name.
    fn is_label(&self) -> bool {
        let dot = Token::Punct(b'.');
        self.last[0] == dot || (self.is(self.last[0], "as") && self.last[1] != dot)
    }

    /// `DISTINCT ON (…) f()` and `OPERATOR(…) f()`: no alias comes behind these.
    fn is_prefix(&self) -> bool {
        self.is(self.last[0], "operator")
            || (self.is(self.last[0], "on") && self.is(self.last[1], "distinct"))
    }

    fn starts_subquery(&self) -> bool {
        matches!(self.last[0], Token::Punct(b'('))
    }

    /// `INSERT`, `UPDATE`, `DELETE` and `MERGE` may be names too. They are verbs
    /// at the start of a parenthesis, and behind the head of a `WITH`.
    fn is_verb_or_lock(&self, begins_with_with: bool) -> bool {
        if self.is_label() {
            return false;
        }
        self.starts_subquery()
            || self.is(self.last[0], "for")
            || self.is(self.last[0], "key")
            || self.last[0] == Token::Punct(b')')
            || (begins_with_with && self.depth == 0)
            || self.with & self.bit() != 0
    }

    /// A name that may be a relation.
    fn relation(&mut self, start: usize, end: usize, fold: bool) {
        let name = self.lexer.slice(start, end);
        let system = name.len() > 3
            && name[0] | 0x20 == b'p'
            && name[1] | 0x20 == b'g'
            && name[2] == b'_';
        if !system && self.catalogue.relations.is_empty() {
            return;
        }
        let Some(folded) = Folded::new(name, fold) else {
            return self.find(Reason::Unclear, Token::Word(start, end));
        };
        if system && folded.name() == b"pg_temp" {
            self.find(Reason::SessionState, Token::Word(start, end));
        } else if system && !words::is_replicated(folded.name()) {
            // A function is judged where its parenthesis comes.
            let next = self.lexer.upcoming();
            if next != b'(' {
                self.find(Reason::ServerLocal, Token::Word(start, end));
            }
        } else if self.catalogue.relations.contains(folded.name()) {
            self.find(Reason::UnsafeRelation, Token::Word(start, end));
        }
    }

    /// A parenthesis opens: what is before it?
    fn call(&mut self) {
        let token = self.last[0];
        let fold = match token {
            Token::Word(..) => true,
            Token::Quoted(_) => false,
            _ => return,
        };
        // It has escapes, or is too long.
        let Some(folded) = self.folded(token) else {
            return self.find(Reason::UnknownFunction, token);
        };
        let name = folded.name();
        let built_in = match self.last[1] {
            Token::Punct(b'.') => {
                if !self.is(self.last[2], "pg_catalog") {
                    return self.user_function(name, token);
                }
                // Qualified, it is no keyword.
                words::call(name).filter(|call| *call != Call::Keyword)
            }
            // A type, in a cast.
            Token::Cast => return,
            // An alias with its columns, unless it is a keyword all the same.
            Token::Punct(b')') if !self.after_prefix => return,
            _ if self.is(self.last[1], "as") => return,
            _ if self.with & self.bit() != 0 => return,
            _ => words::call(name).filter(|call| fold || *call != Call::Keyword),
        };
        match built_in {
            Some(Call::Safe | Call::Keyword) if self.catalogue.shadowed.contains(name) => {
                self.find(Reason::UnknownFunction, token);
            }
            Some(Call::Safe | Call::Keyword) => {}
            Some(Call::Session) => self.find(Reason::SessionState, token),
            None => self.user_function(name, token),
        }
    }

    fn user_function(&mut self, name: &[u8], token: Token) {
        if !self.catalogue.functions.contains(name) {
            self.find(Reason::UnknownFunction, token);
        }
    }
}
