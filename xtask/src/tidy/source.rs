//! Rules about single source files.

use super::{
    Violation,
    allow::{Allowed, Rule},
    lexer::{self, Views, is_word},
};

/// A longer file is more than a reader holds at once.
const FILE_LINES: usize = 600;
/// A longer function does more than one thing.
const FUNCTION_LINES: usize = 70;

/// Checks the file of this name and text.
pub(crate) fn check(name: &str, text: &str, allowed: &mut Allowed) -> Vec<Violation> {
    let views = lexer::split(text);
    let mut found = Vec::new();
    let lines = text.lines().count();
    if lines > FILE_LINES && !allowed.takes(Rule::FileLength, name) {
        found.push(Violation::new(
            name,
            format!("{lines} lines, at most {FILE_LINES}"),
        ));
    }
    for function in functions(&views.code) {
        let subject = format!("{name}::{}", function.name);
        if function.lines > FUNCTION_LINES && !allowed.takes(Rule::FunctionLength, &subject) {
            let what = format!("{} lines, at most {FUNCTION_LINES}", function.lines);
            found.push(Violation::new(
                format!("{name}:{}: fn {}", function.line, function.name),
                what,
            ));
        }
    }
    found.extend(unfinished(name, &views));
    found.extend(ignored_tests(name, &views.code));
    // What a test buffers, no peer can make grow.
    if !name
        .split('/')
        .any(|part| part == "tests" || part == "benches")
    {
        found.extend(unbounded_channels(name, &views.code, allowed));
    }
    found
}

/// What is on the main branch is done: markers of unfinished work do not belong there.
fn unfinished(name: &str, views: &Views) -> Vec<Violation> {
    let macros = ["todo", "unimplemented"]
        .into_iter()
        .flat_map(|word| words(&views.code, word))
        .filter(|&at| rest_of_word(&views.code, at).starts_with('!'));
    let marks = ["TODO", "FIXME", "XXX", "HACK"]
        .into_iter()
        .flat_map(|w| words(&views.comments, w));
    let code = macros.map(|at| line_of(&views.code, at));
    let comments = marks.map(|at| line_of(&views.comments, at));
    code.chain(comments)
        .map(|line| Violation::new(format!("{name}:{line}"), "mark of unfinished work"))
        .collect()
}

/// A test that does not run holds nothing.
fn ignored_tests(name: &str, code: &str) -> Vec<Violation> {
    words(code, "ignore")
        .filter(|&at| {
            let before = &code[..at];
            let attribute = before.rfind("#[").map(|start| &before[start..]);
            attribute.is_some_and(|open| {
                let inside = open[2..].trim_start();
                !open.contains(']') && (inside.is_empty() || inside.starts_with("cfg_attr"))
            })
        })
        .map(|at| Violation::new(format!("{name}:{}", line_of(code, at)), "ignored test"))
        .collect()
}

/// A queue without a bound is memory that someone else decides about.
fn unbounded_channels(name: &str, code: &str, allowed: &mut Allowed) -> Vec<Violation> {
    let named = ["unbounded_channel", "unbounded"]
        .into_iter()
        .flat_map(|word| words(code, word));
    // `mpsc::channel()` without a capacity is the standard library's unbounded one.
    let std = words(code, "channel").filter(|&at| {
        let call = rest_of_word(code, at);
        let statement = &call[..call.find([';', '\n']).unwrap_or(call.len())];
        let no_argument = statement.starts_with("()")
            || statement.starts_with("::<") && statement.trim_end().ends_with(">()");
        code[..at].ends_with("mpsc::") && no_argument
    });
    named
        .chain(std)
        .filter(|&at| is_called(code, at))
        .map(|at| line_of(code, at))
        .filter(|_| !allowed.takes(Rule::UnboundedChannel, name))
        .map(|line| Violation::new(format!("{name}:{line}"), "unbounded channel"))
        .collect()
}

fn is_called(code: &str, at: usize) -> bool {
    let defined = code[..at].trim_end().ends_with("fn");
    let call = rest_of_word(code, at);
    !defined && (call.starts_with('(') || call.starts_with("::<"))
}

struct Function {
    name: String,
    /// Line of the `fn`, from one.
    line: usize,
    /// From the `fn` to the closing brace.
    lines: usize,
}

/// The functions that have a body.
fn functions(code: &str) -> Vec<Function> {
    words(code, "fn")
        .filter_map(|at| {
            let rest = &code[at + 2..];
            let name: String = rest
                .trim_start()
                .chars()
                .take_while(|c| is_word(*c))
                .collect();
            let body = body_start(rest)?;
            let lines = 1 + line_breaks(&rest[..body + block_len(&rest[body..])]);
            let line = line_of(code, at);
            // A function type has no name and no body.
            (!name.is_empty()).then_some(Function { name, line, lines })
        })
        .collect()
}

/// Where the body opens; none when a declaration ends first.
fn body_start(rest: &str) -> Option<usize> {
    let mut depth = 0_i32;
    for (at, c) in rest.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '{' if depth == 0 => return Some(at),
            ';' | '}' if depth <= 0 => return None,
            _ => {}
        }
        if depth < 0 {
            return None;
        }
    }
    None
}

/// Length of the block that opens at the start.
fn block_len(block: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in block.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => continue,
        }
        if depth == 0 {
            return at + 1;
        }
    }
    block.len()
}

/// Where `word` stands on its own.
fn words<'c>(text: &'c str, word: &'c str) -> impl Iterator<Item = usize> + 'c {
    text.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |&at| {
            let before = text[..at].chars().next_back();
            let after = text[at + word.len()..].chars().next();
            !before.is_some_and(is_word) && !after.is_some_and(is_word)
        })
}

/// What follows the word that starts at `at`.
fn rest_of_word(code: &str, at: usize) -> &str {
    code[at..].trim_start_matches(is_word)
}

fn line_breaks(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

/// The line of this position, from one.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    1 + line_breaks(&text[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let found = check("crates/x/src/a.rs", text, &mut Allowed::default());
        found.iter().map(ToString::to_string).collect()
    }

    fn lines(count: usize) -> String {
        "    let x = \"{\";\n".repeat(count)
    }

    #[test]
    fn a_file_may_have_600_lines() {
        assert!(found(&"\n".repeat(600)).is_empty());
        assert_eq!(
            found(&"\n".repeat(601)),
            ["crates/x/src/a.rs: 601 lines, at most 600"]
        );
    }

    #[test]
    fn a_function_may_have_70_lines() {
        let function = |n| {
            format!(
                "trait T {{ fn g(f: fn() -> u8); }}\nfn f() {{\n{}}}\n",
                lines(n)
            )
        };
        assert!(found(&function(68)).is_empty());
        assert_eq!(
            found(&function(69)),
            ["crates/x/src/a.rs:2: fn f: 71 lines, at most 70"]
        );
    }

    #[test]
    fn marks_of_unfinished_work_are_found_in_code_and_comments() {
        for bad in [
            "fn f() { todo!() }",
            "unimplemented!(\"later\")",
            "// TODO: more",
            "/* FIXME */",
        ] {
            assert_eq!(
                found(bad),
                ["crates/x/src/a.rs:1: mark of unfinished work"],
                "{bad}"
            );
        }
        for good in [
            "let todo = 1;",
            "let s = \"TODO\";",
            "// TODOS are a word",
            "if todo != 1 {}",
        ] {
            assert!(found(good).is_empty(), "{good}");
        }
    }

    #[test]
    fn ignored_tests_are_found() {
        for bad in [
            "#[ignore]",
            "#[ignore = \"slow\"]",
            "#[cfg_attr(not(unix), ignore)]",
            "#[ ignore ]",
        ] {
            assert_eq!(found(bad), ["crates/x/src/a.rs:1: ignored test"], "{bad}");
        }
        for good in [
            "// #[ignore]",
            "let ignore = a[0];",
            "#[test]\nfn ignore() {}",
        ] {
            assert!(found(good).is_empty(), "{good}");
        }
    }

    #[test]
    fn unbounded_channels_are_found_outside_tests() {
        for bad in [
            "let (a, b) = mpsc::unbounded_channel();",
            "let c = futures::channel::mpsc::unbounded::<u8>();",
            "let c = std::sync::mpsc::channel();",
            "let c = mpsc::channel::<Vec<u8>>();",
        ] {
            assert_eq!(
                found(bad),
                ["crates/x/src/a.rs:1: unbounded channel"],
                "{bad}"
            );
            assert!(check("crates/x/tests/a.rs", bad, &mut Allowed::default()).is_empty());
        }
        for good in [
            "let c = mpsc::channel(8);",
            "let c = mpsc::channel::<u8>(8); f::<u8>();",
            "let c = oneshot::channel::<u8>();",
            "let c = oneshot::channel();",
            "fn channel() {}",
            "use tokio::sync::mpsc::unbounded_channel;",
        ] {
            assert!(found(good).is_empty(), "{good}");
        }
    }
}
