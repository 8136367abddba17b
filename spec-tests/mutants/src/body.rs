//! What a function could return without doing anything, by the type that it promises.

use syn::{GenericArgument, PathArguments, ReturnType, Signature, Type};

const NUMBERS: &[&str] = &["u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize"];
const DEFAULT: &str = "Default::default()";

/// Statements that end a function at once. One that does not compile is dropped later.
pub fn replacements(signature: &Signature) -> Vec<String> {
    // What makes a value of nothing is the default.
    if ["new", "default", "drop"].iter().any(|name| signature.ident == name) {
        return Vec::new();
    }
    let values = match &signature.output {
        ReturnType::Default => return vec!["return".into()],
        ReturnType::Type(_, promised) => values(promised),
    };
    values.into_iter().map(|value| format!("return {value}")).collect()
}

fn values(promised: &Type) -> Vec<String> {
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    match promised {
        Type::Tuple(tuple) if tuple.elems.is_empty() => texts(&["()"]),
        Type::Tuple(_) | Type::Array(_) => texts(&[DEFAULT]),
        Type::Path(path) => {
            let Some(last) = path.path.segments.last() else { return Vec::new() };
            match last.ident.to_string().as_str() {
                "bool" => texts(&["true", "false"]),
                name if NUMBERS.contains(&name) => texts(&["0", "1"]),
                "Result" => inner(&last.arguments, "Ok"),
                "Option" => {
                    let mut all: Vec<String> = texts(&["None"]);
                    all.extend(inner(&last.arguments, "Some"));
                    all
                }
                _ => texts(&[DEFAULT]),
            }
        }
        _ => Vec::new(),
    }
}

fn inner(arguments: &PathArguments, wrapper: &str) -> Vec<String> {
    let PathArguments::AngleBracketed(arguments) = arguments else { return Vec::new() };
    let Some(GenericArgument::Type(first)) = arguments.args.first() else { return Vec::new() };
    values(first).into_iter().map(|value| format!("{wrapper}({value})")).collect()
}

#[cfg(test)]
mod tests {
    use super::replacements;

    fn of(signature: &str) -> Vec<String> {
        replacements(&syn::parse_str(signature).expect("a signature"))
    }

    #[test]
    fn every_type_has_its_idle_values() {
        assert_eq!(of("fn f()"), ["return"]);
        assert_eq!(of("fn f() -> bool"), ["return true", "return false"]);
        assert_eq!(of("fn f() -> Result<u64, E>"), ["return Ok(0)", "return Ok(1)"]);
        assert_eq!(of("fn f() -> io::Result<()>"), ["return Ok(())"]);
        assert_eq!(of("fn f() -> Option<A>"), ["return None", "return Some(Default::default())"]);
        assert_eq!(of("fn f() -> Vec<A>"), ["return Default::default()"]);
    }

    #[test]
    fn references_and_constructors_are_not_made_up() {
        assert!(of("fn f() -> &A").is_empty() && of("fn f() -> impl A").is_empty() && of("fn new() -> A").is_empty());
    }
}
