//! Splits Rust source into what is code and what is comment, both with the lines of the original.
//!
//! Not a parser: it knows strings, characters, lifetimes and comments, which is what keeps a rule
//! from tripping over text.

/// The two views of a source file. Everything that does not belong to a view is a space in it.
#[derive(Debug)]
pub(crate) struct Views {
    /// Code; string contents are blank.
    pub(crate) code: String,
    /// Comments, documentation included.
    pub(crate) comments: String,
}

#[derive(Clone, Copy)]
enum In {
    Code,
    Comment,
    Text,
}

/// Splits `source`.
pub(crate) fn split(source: &str) -> Views {
    let chars: Vec<char> = source.chars().collect();
    let mut views = Views {
        code: String::new(),
        comments: String::new(),
    };
    let mut at = 0;
    while at < chars.len() {
        let (kind, len) = next(&chars, at);
        for &c in &chars[at..at + len] {
            let blank = if c == '\n' { '\n' } else { ' ' };
            views
                .code
                .push(if matches!(kind, In::Code) { c } else { blank });
            views.comments.push(if matches!(kind, In::Comment) {
                c
            } else {
                blank
            });
        }
        at += len;
    }
    views
}

/// The kind and the length of what starts at `at`.
fn next(chars: &[char], at: usize) -> (In, usize) {
    let rest = &chars[at..];
    let after_word = at > 0 && is_word(chars[at - 1]);
    match rest {
        ['/', '/', ..] => (
            In::Comment,
            rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
        ),
        ['/', '*', ..] => (In::Comment, block_comment(rest)),
        ['"', ..] => (In::Text, quoted(rest, '"')),
        ['\'', ..] if is_char(rest) => (In::Text, quoted(rest, '\'')),
        ['r', ..] if !after_word => raw(rest, 1),
        ['b' | 'c', 'r', ..] if !after_word => raw(rest, 2),
        _ => (In::Code, 1),
    }
}

pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// A character rather than a lifetime.
fn is_char(rest: &[char]) -> bool {
    matches!(rest, [_, '\\', ..] | [_, _, '\'', ..])
}

fn quoted(rest: &[char], quote: char) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            c if c == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// A raw string behind `prefix` characters, or the one character of an ordinary word.
fn raw(rest: &[char], prefix: usize) -> (In, usize) {
    let hashes = rest[prefix..].iter().take_while(|c| **c == '#').count();
    if rest.get(prefix + hashes) != Some(&'"') {
        return (In::Code, 1);
    }
    let body = prefix + hashes + 1;
    let closes = |at: usize| {
        rest[at] == '"'
            && rest[at + 1..]
                .iter()
                .take(hashes)
                .filter(|c| **c == '#')
                .count()
                == hashes
    };
    let end = (body..rest.len())
        .find(|&at| closes(at))
        .map(|at| at + 1 + hashes);
    (In::Text, end.unwrap_or(rest.len()))
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_comments_are_not_code() {
        let source = "let a = \"x // \\\" y\"; // say z\n/* one /* two */ three */ fn f<'a>() {}";
        let views = split(source);
        assert!(views.code.contains("let a = ") && views.code.contains("fn f<'a>() {}"));
        for text in ["x", "y", "z", "one", "two", "three"] {
            assert!(
                !views.code.split_whitespace().any(|word| word == text),
                "{text}"
            );
        }
        assert!(views.comments.contains("say z") && views.comments.contains("three"));
        assert!(!views.comments.contains('x'));
    }

    #[test]
    fn raw_strings_and_characters_end_where_they_end() {
        let views =
            split("let r = r#\"a \"b\" { \"#; let c = '{'; let d = '\\''; let e = b\"{\"; end");
        assert!(!views.code.contains('{'), "{}", views.code);
        assert!(views.code.ends_with("end"));
    }

    #[test]
    fn lines_stay_where_they_are() {
        let source = "a\n/* b\nc */ d\n\"e\nf\" g\n";
        let views = split(source);
        assert_eq!(views.code.lines().count(), source.lines().count());
        assert_eq!(views.code.lines().nth(2).map(str::trim), Some("d"));
        assert_eq!(views.code.lines().nth(4).map(str::trim), Some("g"));
    }

    #[test]
    fn unfinished_source_is_split_to_its_end() {
        for source in ["\"abc", "/* abc", "r#\"abc", "'\\", "r#", "b"] {
            assert_eq!(split(source).code.chars().count(), source.chars().count());
        }
    }
}
