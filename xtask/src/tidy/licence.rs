//! Which licences may be in the tree, over the expressions of SPDX 2.3, annex D.

/// Permissive licences, and MPL-2.0: it binds only changes to its own files. `deny.toml` has the
/// same list.
pub(crate) const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Whether a package of this licence may be in the tree; the error says why not.
pub(crate) fn check(expression: Option<&str>) -> Result<(), String> {
    let Some(expression) = expression else {
        return Err("names no licence".into());
    };
    // Before SPDX expressions, a slash meant a choice.
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let mut tokens = spaced.split_whitespace().peekable();
    match any(&mut tokens) {
        Some(true) if tokens.next().is_none() => Ok(()),
        Some(false) if tokens.next().is_none() => {
            Err(format!("licence {expression} is not on the list"))
        }
        _ => Err(format!("licence {expression} is not an expression")),
    }
}

type Tokens<'t> = std::iter::Peekable<std::str::SplitWhitespace<'t>>;

/// Alternatives: one of them is enough. None if malformed.
fn any(tokens: &mut Tokens<'_>) -> Option<bool> {
    let mut one = all(tokens)?;
    while tokens.next_if_eq(&"OR").is_some() {
        one |= all(tokens)?;
    }
    Some(one)
}

/// Conditions: all of them are needed.
fn all(tokens: &mut Tokens<'_>) -> Option<bool> {
    let mut every = single(tokens)?;
    while tokens.next_if_eq(&"AND").is_some() {
        every &= single(tokens)?;
    }
    Some(every)
}

fn single(tokens: &mut Tokens<'_>) -> Option<bool> {
    let name = match tokens.next()? {
        "(" => {
            let inner = any(tokens)?;
            return tokens.next_if_eq(&")").map(|_| inner);
        }
        ")" | "OR" | "AND" | "WITH" => return None,
        name => name,
    };
    if tokens.next_if_eq(&"WITH").is_some() {
        let whole = format!("{name} WITH {}", tokens.next()?);
        return Some(ALLOWED.contains(&whole.as_str()));
    }
    Some(ALLOWED.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_needs_one_and_a_sum_needs_all() {
        for good in [
            "MIT",
            "MIT/Apache-2.0",
            "GPL-3.0 OR MIT",
            "(MIT OR GPL-3.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception",
        ] {
            assert_eq!(check(Some(good)), Ok(()), "{good}");
        }
        for bad in [
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "(MIT AND GPL-3.0) OR LGPL-3.0",
            "MIT WITH Strange-exception",
            "mit",
        ] {
            assert!(
                check(Some(bad)).is_err_and(|why| why.ends_with("not on the list")),
                "{bad}"
            );
        }
    }

    #[test]
    fn what_is_not_an_expression_is_refused() {
        for bad in [
            "",
            "MIT OR",
            "(MIT",
            "MIT)",
            "MIT Apache-2.0",
            "AND MIT",
            "MIT WITH",
        ] {
            assert!(
                check(Some(bad)).is_err_and(|why| why.ends_with("not an expression")),
                "{bad}"
            );
        }
        assert_eq!(check(None), Err("names no licence".into()));
    }
}
