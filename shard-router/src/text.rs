//! What a text of SQL would do to its connection, as far as its words tell. Not a parser:
//! functions and `DO` blocks can do what their callers do not say.

/// What a text leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing that outlives its transaction.
    None,
    /// A setting, a lock, a table of the session.
    Session(&'static str),
    /// It begins or ends a transaction.
    Transaction(&'static str),
}

/// A text as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outline {
    /// The strongest of its statements.
    pub(crate) effect: Effect,
    /// How many statements it has.
    pub(crate) statements: usize,
    /// Where the first one ends, without the comments and semicolons behind it.
    pub(crate) end: usize,
    /// What the statement has outside of all parentheses that is of rows as a whole.
    pub(crate) whole: Option<&'static str>,
}

const TRANSACTION: &[&str] = &["BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT"];
const SESSION: &[&str] = &["RESET", "LISTEN", "UNLISTEN", "DISCARD", "LOAD", "DEALLOCATE"];
const FUNCTIONS: &[&str] = &[
    "pg_advisory_lock",
    "pg_advisory_lock_shared",
    "pg_try_advisory_lock",
    "pg_try_advisory_lock_shared",
];
const WHOLE: &[&str] = &["LIMIT", "OFFSET", "FETCH"];

pub(crate) fn outline(sql: &str) -> Outline {
    let mut lexer = Lexer { text: sql, at: 0 };
    let mut found = Outline { effect: Effect::None, statements: 0, end: 0, whole: None };
    let mut statement = Statement::default();
    while let Some(token) = lexer.next() {
        if token == Token::Sign(b';') && statement.may_end() {
            found.effect = stronger(found.effect, statement.effect());
            statement = Statement::default();
            continue;
        }
        if statement.tokens == 0 {
            found.statements += 1;
        }
        statement.take(token);
        if found.statements == 1 {
            found.end = lexer.at;
            found.whole = found.whole.or(statement.whole);
        }
    }
    found.effect = stronger(found.effect, statement.effect());
    found
}

fn stronger(one: Effect, other: Effect) -> Effect {
    match (one, other) {
        (Effect::Transaction(_), _) | (Effect::Session(_), Effect::None) => one,
        _ => other,
    }
}

/// What is known of the statement by now.
#[derive(Default)]
struct Statement<'a> {
    tokens: usize,
    /// The first words.
    words: [&'a str; 4],
    depth: usize,
    /// How many `BEGIN ATOMIC` and `CASE` of a function's body are open.
    body: usize,
    session: Option<&'static str>,
    whole: Option<&'static str>,
    last: &'a str,
    /// The depth that a `set_config` was called at, and whether its last word is `true`.
    set_config: Option<(usize, bool)>,
}

impl<'a> Statement<'a> {
    fn take(&mut self, token: Token<'a>) {
        let place = self.tokens;
        self.tokens += 1;
        match token {
            Token::Word(word) => {
                if let Some(first) = self.words.get_mut(place) {
                    *first = word;
                }
                // Behind these, a keyword is a name.
                if !self.last.eq_ignore_ascii_case("AS") && self.last != "." {
                    self.keyword(word);
                }
                self.name(word);
            }
            Token::Quoted(name) => self.name(name),
            Token::Sign(b'(') => self.depth += 1,
            Token::Sign(b')') => {
                self.depth = self.depth.saturating_sub(1);
                if let Some((_, local)) = self.set_config.take_if(|(at, _)| *at == self.depth)
                    && !local
                {
                    self.session = Some("set_config");
                }
            }
            Token::Sign(_) | Token::Value => {}
        }
        self.last = match token {
            Token::Word(word) => word,
            Token::Sign(b'.') => ".",
            _ => "",
        };
    }

    fn keyword(&mut self, word: &'a str) {
        let is = |other: &str| word.eq_ignore_ascii_case(other);
        let begins = is("ATOMIC") && self.last.eq_ignore_ascii_case("BEGIN");
        if self.first("CREATE") && begins || self.body > 0 && is("CASE") {
            self.body += 1;
        } else if self.body > 0 && is("END") {
            self.body -= 1;
        }
        let into = self.last.eq_ignore_ascii_case("INTO");
        let create = self.first("CREATE") && self.tokens <= 4;
        if (is("TEMP") || is("TEMPORARY")) && (create || into) {
            self.session = Some("a temporary table");
        }
        if is("HOLD") && self.first("DECLARE") {
            self.session = Some("a cursor WITH HOLD");
        }
        if self.depth == 0 && self.tokens > 1 {
            let whole = WHOLE.iter().copied().find(|other| is(other));
            let ordered = self.last.eq_ignore_ascii_case("ORDER") && is("BY");
            self.whole = self.whole.or(whole).or(if ordered { Some("ORDER BY") } else { None });
        }
    }

    /// Of a function or a schema, in quotes or not.
    fn name(&mut self, name: &'a str) {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        if let Some(function) = FUNCTIONS.iter().copied().find(|other| is(other)) {
            self.session = Some(function);
        }
        if is("pg_temp") {
            self.session = Some("a temporary table");
        }
        if is("set_config") {
            self.set_config = Some((self.depth, false));
        } else if let Some((_, local)) = &mut self.set_config {
            *local = is("true");
        }
    }

    /// A semicolon may be in the body of a function or a rule.
    fn may_end(&self) -> bool {
        self.depth == 0 && self.body == 0
    }

    fn first(&self, word: &str) -> bool {
        self.words[0].eq_ignore_ascii_case(word)
    }

    fn effect(&self) -> Effect {
        let second = |word: &str| self.words[1].eq_ignore_ascii_case(word);
        let third = |word: &str| self.words[2].eq_ignore_ascii_case(word);
        let of = |all: &[&'static str]| all.iter().copied().find(|word| self.first(word));
        if self.first("PREPARE") {
            return match second("TRANSACTION") {
                true => Effect::Transaction("PREPARE TRANSACTION"),
                false => Effect::Session("PREPARE"),
            };
        }
        if let Some(word) = of(TRANSACTION) {
            // Of a transaction that was prepared elsewhere, and to a savepoint.
            let other = second("PREPARED") || second("TO") || third("TO");
            return if other { Effect::None } else { Effect::Transaction(word) };
        }
        if self.first("SET") {
            let local = second("LOCAL") || second("TRANSACTION") || second("CONSTRAINTS");
            return if local { Effect::None } else { Effect::Session("SET") };
        }
        let session = of(SESSION).or(self.session);
        // One that is not closed again.
        let unclosed = self.set_config.is_some().then_some("set_config");
        session.or(unclosed).map_or(Effect::None, Effect::Session)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    /// A name or a keyword.
    Word(&'a str),
    /// A name in quotes, without these.
    Quoted(&'a str),
    /// A string, a number, a parameter.
    Value,
    /// Any other byte.
    Sign(u8),
}

/// Over the tokens, without white space and comments.
struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// To behind the first place of `end`, or to the end of the text.
    fn past(&mut self, end: &str) {
        self.at = self.rest().find(end).map_or(self.text.len(), |at| self.at + at + end.len());
    }

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            let rest = self.rest();
            let first = rest.chars().next()?;
            if first.is_whitespace() {
                self.at += first.len_utf8();
            } else if rest.starts_with("--") {
                self.past("\n");
            } else if rest.starts_with("/*") {
                self.comment();
            } else {
                return Some(self.token(first));
            }
        }
    }

    /// They nest.
    fn comment(&mut self) {
        let mut depth = 0_usize;
        loop {
            let rest = self.rest();
            if rest.starts_with("/*") {
                depth += 1;
                self.at += 2;
            } else if rest.starts_with("*/") {
                depth -= 1;
                self.at += 2;
                if depth == 0 {
                    return;
                }
            } else if let Some(next) = rest.chars().next() {
                self.at += next.len_utf8();
            } else {
                return;
            }
        }
    }

    fn token(&mut self, first: char) -> Token<'a> {
        match first {
            '\'' => self.string(false),
            '"' => {
                let start = self.at + 1;
                self.at = start;
                self.past("\"");
                Token::Quoted(self.text[start..self.at].trim_end_matches('"'))
            }
            '$' => self.dollar(),
            c if c.is_alphabetic() || c == '_' => self.word(),
            '0'..='9' => {
                let end =
                    self.rest().find(|c: char| !c.is_alphanumeric() && c != '.' && c != '_');
                self.at = end.map_or(self.text.len(), |end| self.at + end);
                Token::Value
            }
            c => {
                self.at += c.len_utf8();
                Token::Sign(u8::try_from(c).unwrap_or(b'?'))
            }
        }
    }

    fn word(&mut self) -> Token<'a> {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '$');
        let word = &rest[..end.unwrap_or(rest.len())];
        self.at += word.len();
        if self.rest().starts_with('\'')
            && matches!(word, "e" | "E" | "n" | "N" | "b" | "B" | "x" | "X")
        {
            return self.string(matches!(word, "e" | "E"));
        }
        Token::Word(word)
    }

    fn string(&mut self, escapes: bool) -> Token<'a> {
        let bytes = self.text.as_bytes();
        self.at += 1;
        while let Some(byte) = bytes.get(self.at) {
            self.at += 1;
            match byte {
                b'\\' if escapes => self.at += 1,
                b'\'' if bytes.get(self.at) == Some(&b'\'') => self.at += 1,
                b'\'' => break,
                _ => {}
            }
        }
        // A backslash may have hidden a part of a character.
        while !self.text.is_char_boundary(self.at.min(self.text.len())) {
            self.at += 1;
        }
        self.at = self.at.min(self.text.len());
        Token::Value
    }

    /// `$1`, or `$tag$ … $tag$`.
    fn dollar(&mut self) -> Token<'a> {
        let rest = self.rest();
        let end = rest[1..].find(|c: char| !c.is_alphanumeric() && c != '_');
        let name = &rest[1..end.map_or(rest.len(), |end| end + 1)];
        let number = name.starts_with(|c: char| c.is_ascii_digit());
        if !number && rest[1 + name.len()..].starts_with('$') {
            let tag = &rest[..name.len() + 2];
            self.at += tag.len();
            self.past(tag);
        } else {
            self.at += 1 + name.len();
        }
        Token::Value
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn effect(sql: &str) -> Effect {
        outline(sql).effect
    }

    #[test]
    fn what_begins_or_ends_a_transaction_is_seen() {
        for (sql, word) in [
            ("BEGIN", "BEGIN"),
            ("-- x\n /* a /* b */ c */ begin", "BEGIN"),
            ("start transaction read only", "START"),
            ("SELECT 1; COMMIT", "COMMIT"),
            ("SET x = 1; END;", "END"),
            ("ROLLBACK WORK", "ROLLBACK"),
            ("ROLLBACK AND CHAIN", "ROLLBACK"),
            ("PREPARE TRANSACTION 'x'", "PREPARE TRANSACTION"),
            ("SELECT E'a\\'b'; ABORT", "ABORT"),
            ("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END; COMMIT", "COMMIT"),
            ("SELECT 1) AS q; COMMIT", "COMMIT"),
            ("SELECT $x$ ' $x$; COMMIT", "COMMIT"),
        ] {
            assert_eq!(effect(sql), Effect::Transaction(word), "{sql}");
        }
        for sql in [
            "ROLLBACK TO s",
            "ROLLBACK WORK TO SAVEPOINT s",
            "ROLLBACK TRANSACTION TO s",
            "COMMIT PREPARED 'x'",
            "SAVEPOINT s; RELEASE s",
            "SELECT 'a; COMMIT'",
            "SELECT $$; COMMIT $$",
            "SELECT $a$; $$ COMMIT; $a$",
            "SELECT 1 -- ; COMMIT",
            "SELECT \"; COMMIT\"",
            "CREATE TABLE t (x int DEFAULT 1); SELECT CASE WHEN true THEN 1 END",
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; END; \
             SELECT 1",
            "CREATE RULE r AS ON INSERT TO t DO ALSO (SELECT 1; END)",
            "",
            ";",
        ] {
            assert_eq!(effect(sql), Effect::None, "{sql}");
        }
    }

    #[test]
    fn what_a_session_keeps_is_seen() {
        for (sql, what) in [
            ("SET work_mem = 1", "SET"),
            ("SET SESSION x = 1", "SET"),
            ("set role x", "SET"),
            ("RESET ALL", "RESET"),
            ("LISTEN x", "LISTEN"),
            ("PREPARE p AS SELECT 1", "PREPARE"),
            ("CREATE TEMP TABLE t ()", "a temporary table"),
            ("CREATE OR REPLACE TEMPORARY VIEW v AS SELECT 1", "a temporary table"),
            ("CREATE LOCAL TEMP TABLE t ()", "a temporary table"),
            ("CREATE TABLE pg_temp.t ()", "a temporary table"),
            ("SELECT 1 AS x INTO TEMP t", "a temporary table"),
            ("SELECT pg_catalog.pg_advisory_lock(1)", "pg_advisory_lock"),
            ("SELECT \"pg_try_advisory_lock\"(1)", "pg_try_advisory_lock"),
            ("SELECT set_config('a', $1, false)", "set_config"),
            ("SELECT set_config('a', 'true', $2), true", "set_config"),
            ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "a cursor WITH HOLD"),
        ] {
            assert_eq!(effect(sql), Effect::Session(what), "{sql}");
        }
        for sql in [
            "SET LOCAL work_mem = 1",
            "SET TRANSACTION READ ONLY",
            "SET CONSTRAINTS ALL DEFERRED",
            "SELECT set_config('a', (SELECT max(x) FROM t), true), false",
            "SELECT pg_advisory_xact_lock(1)",
            "UPDATE t SET temp = 1",
            "CREATE TABLE t (a int, temp int)",
            "DECLARE c CURSOR FOR SELECT 1",
            "SELECT 'pg_advisory_lock'",
        ] {
            assert_eq!(effect(sql), Effect::None, "{sql}");
        }
    }

    #[test]
    fn where_a_statement_ends_and_what_it_says_of_the_whole() {
        let of = |sql: &str| {
            let Outline { statements, end, whole, .. } = outline(sql);
            (statements, sql[..end].to_owned(), whole)
        };
        assert_eq!(of("SELECT 1 ; -- done"), (1, "SELECT 1".into(), None));
        assert_eq!(of("SELECT 1; SELECT 2"), (2, "SELECT 1".into(), None));
        assert_eq!(of(" -- nothing\n;;"), (0, String::new(), None));
        let (_, _, whole) = of("SELECT * FROM t ORDER BY a LIMIT 3");
        assert_eq!(whole, Some("ORDER BY"));
        for (sql, whole) in [
            ("SELECT * FROM t limit 3", Some("LIMIT")),
            ("SELECT * FROM t OFFSET 3", Some("OFFSET")),
            ("TABLE t FETCH FIRST ROW ONLY", Some("FETCH")),
            ("SELECT * FROM (SELECT * FROM t ORDER BY a LIMIT 3) AS x", None),
            ("SELECT rank() OVER (ORDER BY a) FROM t", None),
            ("SELECT 'x' AS \"limit\", 1 AS offset, t.limit FROM t -- LIMIT 3", None),
        ] {
            assert_eq!(of(sql).2, whole, "{sql}");
        }
    }

    proptest! {
        /// Whatever the text, it ends, and within the text.
        #[test]
        fn every_text_has_an_outline(sql in "[a-zé'\"$;()/*\\-\\\\ \nE1]{0,40}") {
            let Outline { end, .. } = outline(&sql);
            prop_assert!(sql.is_char_boundary(end));
        }
    }
}
