//! What can be wrong with an expression before it is evaluated, and the functions that one may call.

use cel::Context;

use crate::diagnostic::{did_you_mean, list};

/// CEL's functions, as messages list them. Which are declared is asked of the interpreter.
const FUNCTIONS: [&str; 17] = [
    "bool",
    "bytes",
    "contains",
    "double",
    "dyn",
    "endsWith",
    "hasValue",
    "int",
    "matches",
    "or",
    "orValue",
    "size",
    "startsWith",
    "string",
    "type",
    "uint",
    "value",
];

/// CEL's macros. One that stays a call after parsing has arguments that it does not take.
const MACROS: [&str; 6] = ["all", "exists", "exists_one", "filter", "has", "map"];

/// What other languages call functions of CEL.
const ALIASES: [(&str, &str); 7] = [
    ("beginsWith", "startsWith"),
    ("hasPrefix", "startsWith"),
    ("hasSuffix", "endsWith"),
    ("includes", "contains"),
    ("len", "size"),
    ("length", "size"),
    ("test", "matches"),
];

/// Why a text is no expression that could be evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// What was found.
    pub message: String,
    /// What would have been allowed.
    pub allowed: String,
    /// What to do.
    pub hint: String,
}

impl Mistake {
    pub(super) fn new(message: String) -> Self {
        Self {
            message,
            allowed: "a CEL expression over `status`, `headers` and `body`".to_owned(),
            hint: "for example \"status == 200 && body.state == 'paid'\"".to_owned(),
        }
    }

    /// A function that CEL does not have, or a macro that is used as it cannot be.
    pub(super) fn of_call(source: &str, name: &str) -> Self {
        if MACROS.contains(&name) {
            return Self {
                hint: "write for example `has(body.id)` or `body.items.exists(item, item.id == 3)`".to_owned(),
                allowed:
                    "`has(a.b)`, and `list.all(name, condition)`, likewise `exists`, `exists_one`, `filter`, `map`"
                        .to_owned(),
                ..Self::new(format!(
                    "`{source}` calls `{name}` with arguments that it does not take"
                ))
            };
        }
        let aliases = ALIASES.map(|(alias, _)| alias);
        let meant = did_you_mean(name, FUNCTIONS.into_iter().chain(MACROS).chain(aliases)).map(|meant| {
            let alias = ALIASES.iter().find(|(alias, _)| *alias == meant);
            alias.map_or(meant, |(_, function)| *function)
        });
        Self {
            message: format!("`{source}` calls `{name}`, which is no function of CEL"),
            allowed: format!("{}, and the macros {}", list(FUNCTIONS), list(MACROS)),
            hint: match meant {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "call one of these".to_owned(),
            },
        }
    }
}

/// Whether a function is an operator, such as `_==_`, and so has a name that nobody writes.
pub(super) fn is_operator(function: &str) -> bool {
    !function.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether CEL declares a function, or a method, of this name. The interpreter does not list them, but refuses to let one
/// be declared again.
pub(super) fn is_function(name: &str) -> bool {
    Context::default().add_function(name, || true).is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_functions_that_messages_list_are_functions_and_macros_are_none() {
        for name in FUNCTIONS {
            assert!(is_function(name), "{name}");
        }
        for (alias, meant) in ALIASES {
            assert!(!is_function(alias) && FUNCTIONS.contains(&meant), "{alias}");
        }
        for name in MACROS {
            assert!(!is_function(name), "{name}");
        }
    }
}
