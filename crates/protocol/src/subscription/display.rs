//! Criteria as text: the form that parses back to the same criteria.

use {
    super::{
        criteria::{Criteria, Op, Sampling},
        literal::{Literal, Repr},
        parse::KEYWORDS,
        predicate::{Predicate, Test},
    },
    core::fmt::{self, Display, Formatter, Write},
};

/// How tightly a piece of text holds together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Binding {
    Or,
    And,
    Not,
    Primary,
}

impl Display for Criteria {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut stack: Vec<(String, Binding)> = Vec::new();
        for op in self.program() {
            match *op {
                Op::Always => stack.push(("true".into(), Binding::Primary)),
                Op::Test(index) => {
                    stack.push((self.tests()[index as usize].to_string(), Binding::Primary));
                }
                Op::Not => {
                    let inner = operand(stack.pop(), Binding::Not);
                    stack.push((format!("not {inner}"), Binding::Not));
                }
                Op::And => join(&mut stack, " and ", Binding::And),
                Op::Or => join(&mut stack, " or ", Binding::Or),
            }
        }
        let selection = stack.pop().map(|(text, _)| text).unwrap_or_default();
        let Sampling { keep, of } = self.sampling();
        let mut clauses = vec![selection];
        if (keep, of) != (1, 1) {
            clauses.push(format!("sample {keep}/{of}"));
        }
        if self.history() > 0 {
            clauses.push(format!("last {}", self.history()));
        }
        clauses.retain(|clause| !clause.is_empty());
        f.write_str(&clauses.join(" "))
    }
}

/// Takes two operands off the stack and puts their combination on it.
fn join(stack: &mut Vec<(String, Binding)>, operator: &str, binding: Binding) {
    let right = stack.pop();
    // Operators group to the left, so a right operand of the same operator needs parentheses.
    let tighter = if binding == Binding::Or {
        Binding::And
    } else {
        Binding::Not
    };
    let right = operand(right, tighter);
    let left = operand(stack.pop(), binding);
    stack.push((format!("{left}{operator}{right}"), binding));
}

fn operand(operand: Option<(String, Binding)>, at_least: Binding) -> String {
    match operand {
        Some((text, binding)) if binding < at_least => format!("({text})"),
        Some((text, _)) => text,
        None => String::new(),
    }
}

impl Display for Test {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_path(f, &self.path)?;
        match &self.predicate {
            Predicate::Eq(literal) => write!(f, " == {literal}"),
            Predicate::Ne(literal) => write!(f, " != {literal}"),
            Predicate::Lt(literal) => write!(f, " < {literal}"),
            Predicate::Le(literal) => write!(f, " <= {literal}"),
            Predicate::Gt(literal) => write!(f, " > {literal}"),
            Predicate::Ge(literal) => write!(f, " >= {literal}"),
            Predicate::Has(literal) => write!(f, " has {literal}"),
            Predicate::In(set) => {
                f.write_str(" in [")?;
                for (index, literal) in set.iter().enumerate() {
                    write!(f, "{}{literal}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
        }
    }
}

fn write_path(f: &mut Formatter<'_>, path: &[String]) -> fmt::Result {
    if path.is_empty() {
        return f.write_char('.');
    }
    for (index, segment) in path.iter().enumerate() {
        if index > 0 {
            f.write_char('.')?;
        }
        if is_plain(segment, index) {
            f.write_str(segment)?;
        } else {
            write_quoted(f, segment, '`')?;
        }
    }
    Ok(())
}

/// Whether a segment can stand without quotes.
fn is_plain(segment: &str, index: usize) -> bool {
    let is_name = segment.starts_with(is_name_start) && segment.chars().all(is_name_part);
    let is_index = index > 0 && !segment.is_empty() && segment.bytes().all(|b| b.is_ascii_digit());
    (is_name && (index > 0 || !KEYWORDS.contains(&segment))) || is_index
}

/// Whether an unquoted name may begin so.
pub(super) fn is_name_start(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

/// Whether an unquoted name may go on so.
pub(super) fn is_name_part(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-')
}

fn write_quoted(f: &mut Formatter<'_>, text: &str, quote: char) -> fmt::Result {
    f.write_char(quote)?;
    for c in text.chars() {
        match c {
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            '\\' => f.write_str("\\\\")?,
            c if c == quote => write!(f, "\\{c}")?,
            c if c.is_control() => write!(f, "\\u{{{:x}}}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    f.write_char(quote)
}

impl Display for Literal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Null => f.write_str("null"),
            Repr::Bool(value) => write!(f, "{value}"),
            Repr::Int(value) => write!(f, "{value}"),
            Repr::Big(value) => write!(f, "{value}"),
            Repr::Float(bits) => match f64::from_bits(*bits) {
                value if value.is_nan() => f.write_str("nan"),
                value => write!(f, "{value:?}"),
            },
            Repr::Text(text) => write_quoted(f, text, '"'),
            Repr::Bytes(bytes) => {
                f.write_str("x\"")?;
                for byte in bytes {
                    write!(f, "{byte:02x}")?;
                }
                f.write_char('"')
            }
        }
    }
}
