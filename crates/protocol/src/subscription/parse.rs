//! Criteria from text.
//!
//! ```text
//! criteria := [ any ] [ "sample" COUNT "/" COUNT ] [ "last" COUNT ]
//! any      := all { ("or" | "||") all }
//! all      := one { ("and" | "&&") one }
//! one      := { "not" | "!" } ( "(" any ")" | "true" | "false" | path [ test ] )
//! test     := ( "==" | "=" | "!=" | "<" | "<=" | ">" | ">=" | "has" ) literal
//!           | [ "not" ] "in" "[" { literal "," } [ literal ] "]"
//! path     := "." | ( name | "." name | "." INDEX ) { "." name | "." INDEX }
//! name     := letters, digits, "_" and "-" | "`" any text "`"
//! literal  := number | "text" | 'text' | x"hex" | true | false | null | inf | nan
//! ```
//!
//! A path alone asks for a field that is true. The path `.` is the datum itself. A name that is a
//! keyword, or has other characters, stands in backquotes.

use {
    super::{
        criteria::{Criteria, Field},
        display::{is_name_part, is_name_start},
        literal::{Literal, Repr},
    },
    core::{
        fmt::{self, Display, Formatter},
        str::FromStr,
    },
};

/// Words that are no names without backquotes, at the start of a path.
pub(super) const KEYWORDS: [&str; 12] = [
    "and", "or", "not", "in", "has", "true", "false", "null", "inf", "nan", "sample", "last",
];

/// Parentheses within one another: what a person writes is far below, and no text may overflow
/// the stack.
const MAX_NESTING: usize = 64;

/// Why a text is no criteria.
///
/// `{}` gives one line; `{:#}` adds the text with a mark below the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseCriteriaError {
    text: String,
    position: usize,
    problem: String,
}

impl ParseCriteriaError {
    /// Byte offset in the text at which it went wrong.
    pub const fn position(&self) -> usize {
        self.position
    }
}

impl core::error::Error for ParseCriteriaError {}

impl Display for ParseCriteriaError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let before = self.text[..self.position].chars().count();
        write!(f, "column {}: {}", before + 1, self.problem)?;
        if f.alternate() {
            // Tabs and line ends would move the mark away from the place.
            let line: String = self
                .text
                .chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect();
            write!(f, "\n  {line}\n  {}^", " ".repeat(before))?;
        }
        Ok(())
    }
}

impl FromStr for Criteria {
    type Err = ParseCriteriaError;

    fn from_str(text: &str) -> Result<Self, ParseCriteriaError> {
        let mut parser = Parser {
            text,
            position: 0,
            nesting: 0,
        };
        parser.criteria().map_err(|problem| ParseCriteriaError {
            text: text.to_owned(),
            position: parser.position,
            problem,
        })
    }
}

/// On an error `position` stays where it went wrong.
struct Parser<'t> {
    text: &'t str,
    /// On a character boundary, after white space.
    position: usize,
    nesting: usize,
}

type Parsed<T> = Result<T, String>;

impl<'t> Parser<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.position..]
    }

    fn skip_space(&mut self) {
        let rest = self.rest();
        self.position += rest.len() - rest.trim_start().len();
    }

    fn advance(&mut self, bytes: usize) {
        self.position += bytes;
        self.skip_space();
    }

    /// Takes a symbol if it comes next.
    fn symbol(&mut self, symbol: &str) -> bool {
        let found = self.rest().starts_with(symbol);
        if found {
            self.advance(symbol.len());
        }
        found
    }

    /// The word that comes next, which may be empty.
    fn peek_word(&self) -> &'t str {
        let rest = self.rest();
        if !rest.starts_with(is_name_start) {
            return "";
        }
        &rest[..rest.find(|c| !is_name_part(c)).unwrap_or(rest.len())]
    }

    /// Takes a keyword if it comes next.
    fn word(&mut self, word: &str) -> bool {
        let found = self.peek_word() == word;
        if found {
            self.advance(word.len());
        }
        found
    }

    /// An error that says what was expected and what is there.
    fn expected<T>(&self, what: &str) -> Parsed<T> {
        let found = match (self.peek_word(), self.rest().chars().next()) {
            (_, None) => "the end".to_owned(),
            ("", Some(c)) => format!("'{c}'"),
            (word, _) => format!("'{word}'"),
        };
        Err(format!("expected {what}, found {found}"))
    }

    fn criteria(&mut self) -> Parsed<Criteria> {
        self.skip_space();
        let is_clause = matches!(self.peek_word(), "sample" | "last");
        let mut criteria = if is_clause || self.rest().is_empty() {
            Criteria::default()
        } else {
            self.any()?
        };
        if self.word("sample") {
            criteria = self.sampling(criteria)?;
        }
        if self.word("last") {
            criteria = criteria.last(self.count()?);
        }
        if self.rest().is_empty() {
            Ok(criteria)
        } else {
            self.expected("'and', 'or' or the end")
        }
    }

    fn sampling(&mut self, criteria: Criteria) -> Parsed<Criteria> {
        let start = self.position;
        let keep = self.count()?;
        if !self.symbol("/") {
            return self.expected("'/' as in 'sample 1/10'");
        }
        let of = self.count()?;
        if of == 0 || keep > of {
            self.position = start;
            return Err(format!("cannot keep {keep} of every {of} items"));
        }
        Ok(criteria.sample(keep, of))
    }

    fn count<T: FromStr>(&mut self) -> Parsed<T> {
        let rest = self.rest();
        let digits = &rest[..rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len())];
        if digits.is_empty() {
            return self.expected("a whole number");
        }
        let count = digits
            .parse()
            .map_err(|_| "the number is too large".to_owned())?;
        self.advance(digits.len());
        Ok(count)
    }

    fn any(&mut self) -> Parsed<Criteria> {
        let mut criteria = self.all()?;
        while self.word("or") || self.symbol("||") {
            criteria = criteria.or(self.all()?);
        }
        Ok(criteria)
    }

    fn all(&mut self) -> Parsed<Criteria> {
        let mut criteria = self.one()?;
        while self.word("and") || self.symbol("&&") {
            criteria = criteria.and(self.one()?);
        }
        Ok(criteria)
    }

    fn one(&mut self) -> Parsed<Criteria> {
        let mut negations = 0;
        while self.word("not") || (!self.rest().starts_with("!=") && self.symbol("!")) {
            negations += 1;
        }
        let mut criteria = self.primary()?;
        for _ in 0..negations {
            criteria = criteria.negate();
        }
        Ok(criteria)
    }

    fn primary(&mut self) -> Parsed<Criteria> {
        if self.rest().starts_with('(') {
            if self.nesting == MAX_NESTING {
                return Err(format!("parentheses nest deeper than {MAX_NESTING}"));
            }
            self.nesting += 1;
            self.advance(1);
            let inner = self.any()?;
            self.nesting -= 1;
            return if self.symbol(")") {
                Ok(inner)
            } else {
                self.expected("'and', 'or' or ')'")
            };
        }
        if self.word("true") {
            return Ok(Criteria::always());
        }
        if self.word("false") {
            return Ok(Criteria::always().negate());
        }
        let field = self.path()?;
        self.test(field)
    }

    fn test(&mut self, field: Field) -> Parsed<Criteria> {
        for symbol in ["==", "=", "!=", "<=", ">=", "<", ">"] {
            if self.symbol(symbol) {
                let value = self.literal()?;
                return Ok(match symbol {
                    "!=" => field.ne(value),
                    "<=" => field.le(value),
                    ">=" => field.ge(value),
                    "<" => field.lt(value),
                    ">" => field.gt(value),
                    _ => field.eq(value),
                });
            }
        }
        if self.word("has") {
            return Ok(field.has(self.literal()?));
        }
        if self.word("in") {
            return Ok(field.is_in(self.set()?));
        }
        if self.word("not") {
            if !self.word("in") {
                return self.expected("'in'");
            }
            return Ok(field.is_in(self.set()?).negate());
        }
        Ok(field.eq(true))
    }

    fn path(&mut self) -> Parsed<Field> {
        let mut path = Vec::new();
        let rooted = self.rest().starts_with('.');
        if rooted {
            self.position += 1;
            let is_segment = |c: char| is_name_start(c) || c.is_ascii_digit() || c == '`';
            if !self.rest().starts_with(is_segment) {
                self.skip_space();
                return Ok(Criteria::of_path(path));
            }
        } else if KEYWORDS.contains(&self.peek_word()) {
            return self.expected("a field (a name that is a keyword stands in `backquotes`)");
        }
        loop {
            path.push(self.segment(!rooted && path.is_empty())?);
            if !self.rest().starts_with('.') {
                break;
            }
            self.position += 1;
        }
        self.skip_space();
        Ok(Criteria::of_path(path))
    }

    /// One name or index; white space after it is left.
    fn segment(&mut self, must_be_name: bool) -> Parsed<String> {
        let rest = self.rest();
        if rest.starts_with('`') {
            return self.quoted();
        }
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let segment = match self.peek_word() {
            "" if must_be_name || digits == 0 => return self.expected("a field"),
            "" => &rest[..digits],
            word => word,
        };
        self.position += segment.len();
        Ok(segment.to_owned())
    }

    fn set(&mut self) -> Parsed<Vec<Literal>> {
        if !self.symbol("[") {
            return self.expected("'['");
        }
        let mut set = Vec::new();
        while !self.symbol("]") {
            set.push(self.literal()?);
            if !self.symbol(",") && !self.rest().starts_with(']') {
                return self.expected("',' or ']'");
            }
        }
        Ok(set)
    }

    fn literal(&mut self) -> Parsed<Literal> {
        let rest = self.rest();
        if rest.starts_with(['"', '\'']) {
            let text = self.quoted()?;
            self.skip_space();
            return Ok(text.into());
        }
        if rest.starts_with("x\"") {
            return self.bytes();
        }
        if rest.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+')) {
            return self.number();
        }
        let literal = match self.peek_word() {
            "true" => true.into(),
            "false" => false.into(),
            "null" => Literal::NULL,
            "inf" => f64::INFINITY.into(),
            "nan" => f64::NAN.into(),
            _ => return self.expected("a value (text stands in \"quotes\")"),
        };
        self.advance(self.peek_word().len());
        Ok(literal)
    }

    fn number(&mut self) -> Parsed<Literal> {
        let rest = self.rest();
        let sign = usize::from(rest.starts_with(['-', '+']));
        let mut end = sign;
        for (at, c) in rest[sign..].char_indices() {
            let exponent_sign = matches!(c, '-' | '+') && rest[..sign + at].ends_with(['e', 'E']);
            if !c.is_alphanumeric() && !matches!(c, '.' | '_') && !exponent_sign {
                break;
            }
            end = sign + at + c.len_utf8();
        }
        let text = rest[..end].replace('_', "");
        let literal = if text.bytes().skip(sign).all(|b| b.is_ascii_digit()) {
            text.parse::<i128>()
                .map(Literal::from)
                .or_else(|_| text.parse().map(u128::into))
                .ok()
        } else {
            text.parse::<f64>().ok().map(Literal::from)
        };
        if let Some(literal) = literal {
            self.advance(end);
            return Ok(literal);
        }
        let is_long = text.len() > 38;
        let problem = if is_long {
            "is too large"
        } else {
            "is not a number"
        };
        Err(format!("'{}' {problem}", &rest[..end]))
    }

    fn bytes(&mut self) -> Parsed<Literal> {
        self.position += 1;
        let start = self.position;
        let text = self.quoted()?;
        let digit = |b: u8| char::from(b).to_digit(16).map(|digit| digit as u8);
        let pair = |pair: &[u8]| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        };
        let Some(bytes) = text.as_bytes().chunks(2).map(pair).collect() else {
            self.position = start;
            return Err("bytes are written as pairs of hex digits".to_owned());
        };
        self.skip_space();
        Ok(Literal(Repr::Bytes(bytes)))
    }

    /// Text in the quotes it begins with; white space after it is left.
    fn quoted(&mut self) -> Parsed<String> {
        let rest = self.rest();
        let mut chars = rest.char_indices();
        let quote = chars.next().map_or('"', |(_, quote)| quote);
        let mut text = String::new();
        while let Some((at, c)) = chars.next() {
            if c == quote {
                self.position += at + 1;
                return Ok(text);
            }
            if c != '\\' {
                text.push(c);
                continue;
            }
            let unescaped = match chars.next() {
                Some((_, 'n')) => Some('\n'),
                Some((_, 'r')) => Some('\r'),
                Some((_, 't')) => Some('\t'),
                Some((_, c @ ('\\' | '"' | '\'' | '`'))) => Some(c),
                Some((_, 'u')) => unicode(&mut chars),
                _ => None,
            };
            let Some(c) = unescaped else {
                self.position += at;
                return Err(
                    "unknown escape: \\n \\r \\t \\\\ \\\" \\' \\` \\u{..} are known".into(),
                );
            };
            text.push(c);
        }
        Err(format!("the closing {quote} is missing"))
    }
}

/// The character in the braces after `\u`.
fn unicode(chars: &mut core::str::CharIndices<'_>) -> Option<char> {
    let (_, '{') = chars.next()? else { return None };
    let mut code = 0u32;
    for (_, c) in chars {
        if c == '}' {
            return char::from_u32(code);
        }
        code = code.checked_mul(16)?.checked_add(c.to_digit(16)?)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_means_what_the_builder_builds() {
        let field = Criteria::field;
        let cases = [
            ("", Criteria::default()),
            ("a > 3", field("a").gt(3)),
            ("a=3", field("a").eq(3)),
            ("a.b.0 != -1.5e3", field("a.b.0").ne(-1500.0)),
            (".a >= 1_000", field("a").ge(1000)),
            (".0.b == 1", field("0.b").eq(1)),
            (". < 'it\\'s'", field("").lt("it's")),
            (
                "a and b or not c",
                (field("a").eq(true) & field("b").eq(true)) | !field("c").eq(true),
            ),
            (
                "a && (b || !c)",
                field("a").eq(true) & (field("b").eq(true) | !field("c").eq(true)),
            ),
            ("`and`.or == null", field("and.or").eq(Literal::NULL)),
            (
                "`a.b` <= x\"00fF\"",
                field("").child("a.b").le(vec![0, 255]),
            ),
            (r#"a in ["x", 'y',]"#, field("a").is_in(["x", "y"])),
            ("a not in [1]", !field("a").is_in([1])),
            ("tags has \"\\u{e9}\"", field("tags").has("é")),
            ("x == inf", field("x").eq(f64::INFINITY)),
            (
                "a < 340282366920938463463374607431768211455",
                field("a").lt(u128::MAX),
            ),
            (
                "sample 2/5 last 7",
                Criteria::default().sample(2, 5).last(7),
            ),
            ("a sample 1/10", field("a").eq(true).one_in(10)),
            ("  a\n last 1 ", field("a").eq(true).last(1)),
        ];
        for (text, built) in cases {
            match text.parse::<Criteria>() {
                Ok(parsed) => assert_eq!(parsed, built, "{text}"),
                Err(error) => panic!("{error:#}"),
            }
        }
    }

    #[test]
    fn errors_point_at_the_place() {
        let cases = [
            (
                "a >",
                4,
                "expected a value (text stands in \"quotes\"), found the end",
            ),
            (
                "a > oslo",
                5,
                "expected a value (text stands in \"quotes\"), found 'oslo'",
            ),
            ("a > 3 b", 7, "expected 'and', 'or' or the end, found 'b'"),
            (
                "é > 3 AND b",
                7,
                "expected 'and', 'or' or the end, found 'AND'",
            ),
            ("(a > 3", 7, "expected 'and', 'or' or ')', found the end"),
            ("a in 3", 6, "expected '[', found '3'"),
            ("a in [3 4]", 9, "expected ',' or ']', found '4'"),
            ("a == 3x", 6, "'3x' is not a number"),
            ("a == 'b", 6, "the closing ' is missing"),
            (
                "a == 'b\\q'",
                8,
                "unknown escape: \\n \\r \\t \\\\ \\\" \\' \\` \\u{..} are known",
            ),
            ("a == x\"0\"", 7, "bytes are written as pairs of hex digits"),
            (
                "in == 3",
                1,
                "expected a field (a name that is a keyword stands in `backquotes`), found 'in'",
            ),
            ("a.== 3", 3, "expected a field, found '='"),
            (
                "a sample 3",
                11,
                "expected '/' as in 'sample 1/10', found the end",
            ),
            ("a sample 3/2", 10, "cannot keep 3 of every 2 items"),
            ("last x", 6, "expected a whole number, found 'x'"),
            ("last 99999999999999999999", 6, "the number is too large"),
        ];
        for (text, column, problem) in cases {
            let error = text.parse::<Criteria>().unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("column {column}: {problem}"),
                "{text}"
            );
        }
        let error = "é > 3 AND".parse::<Criteria>().unwrap_err();
        assert!(
            format!("{error:#}").ends_with("\n  é > 3 AND\n        ^"),
            "{error:#}"
        );
    }

    #[test]
    fn nested_parentheses_are_bounded() {
        let nested = |depth: usize| format!("{}a{}", "(".repeat(depth), ")".repeat(depth));
        assert!(nested(MAX_NESTING).parse::<Criteria>().is_ok());
        let error = nested(100_000).parse::<Criteria>().unwrap_err();
        assert_eq!(error.position(), MAX_NESTING);
        assert!(
            format!("{}a", "!".repeat(100_000))
                .parse::<Criteria>()
                .is_ok()
        );
    }
}
