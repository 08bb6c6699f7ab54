//! The part of the Turtle language (RDF 1.1) that `information.turtle` of an AFF4 volume is written in: prefixes, IRIs,
//! names, literals, numbers, `a`, `;`, `,` and `.`. What else there may be (blank nodes, lists) is skipped.

use std::collections::BTreeMap;

/// Statements are a few lines a stream; it bounds the memory that a hostile file can take.
const MAX_STATEMENTS: usize = 1 << 14;
/// Names are repeated in every statement about them.
const MAX_NAME_BYTES: usize = 1024;

/// Subject, predicate, object; IRIs in full, literals without their type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) subject: String,
    pub(super) predicate: String,
    pub(super) object: String,
}

enum Token<'t> {
    Iri(&'t str),
    Literal(String),
    Word(&'t str),
    Mark(char),
}

/// The statements in the order of the text.
pub(super) fn statements(text: &str) -> Result<Vec<Statement>, String> {
    let mut prefixes: BTreeMap<&str, &str> = BTreeMap::new();
    let mut statements = Vec::new();
    let mut rest = text;
    // The subject and the predicate that stand so far.
    let (mut subject, mut predicate) = (None, None);
    let mut depth = 0_usize;
    while let Some(token) = next(&mut rest)? {
        let term = match token {
            Token::Mark('[' | '(') => {
                depth += 1;
                continue;
            }
            Token::Mark(']' | ')') => {
                depth = depth.saturating_sub(1);
                continue;
            }
            _ if depth > 0 => continue,
            Token::Word("@prefix" | "PREFIX" | "prefix") => {
                let (Some(Token::Word(name)), Some(Token::Iri(iri))) = (next(&mut rest)?, next(&mut rest)?) else {
                    return Err("a @prefix without name or IRI".into());
                };
                prefixes.insert(name.trim_end_matches(':'), iri);
                continue;
            }
            Token::Mark('.') => {
                (subject, predicate) = (None, None);
                continue;
            }
            Token::Mark(';') => {
                predicate = None;
                continue;
            }
            Token::Mark(_) => continue,
            Token::Iri(iri) => iri.to_owned(),
            Token::Literal(text) => text,
            Token::Word("a") if subject.is_some() && predicate.is_none() => "rdf:type".to_owned(),
            Token::Word(word) => {
                match word.split_once(':').and_then(|(prefix, name)| Some((prefixes.get(prefix)?, name))) {
                    Some((iri, name)) => format!("{iri}{name}"),
                    None => word.to_owned(),
                }
            }
        };
        match (&subject, &predicate) {
            (None, _) | (_, None) if term.len() > MAX_NAME_BYTES => {
                return Err(format!("a name of {} bytes", term.len()));
            }
            (None, _) => subject = Some(term),
            (Some(_), None) => predicate = Some(term),
            (Some(subject), Some(predicate)) => {
                if statements.len() == MAX_STATEMENTS {
                    return Err(format!("more than {MAX_STATEMENTS} statements"));
                }
                statements.push(Statement { subject: subject.clone(), predicate: predicate.clone(), object: term });
            }
        }
    }
    Ok(statements)
}

/// The next token; `None` at the end.
fn next<'t>(rest: &mut &'t str) -> Result<Option<Token<'t>>, String> {
    loop {
        *rest = rest.trim_start();
        match rest.strip_prefix('#') {
            Some(comment) => *rest = comment.split_once('\n').map_or("", |(_, behind)| behind),
            None => break,
        }
    }
    let Some(first) = rest.chars().next() else { return Ok(None) };
    let mut chars = rest.chars();
    chars.next();
    let behind = chars.as_str();
    let token = match first {
        '<' => {
            let (iri, behind) = behind.split_once('>').ok_or("an IRI without its end")?;
            *rest = behind;
            Token::Iri(iri)
        }
        '"' | '\'' => {
            let literal = literal(first, rest)?;
            // Its type or language says nothing that is needed.
            if let Some(kind) = rest.strip_prefix("^^") {
                *rest = kind.strip_prefix('<').and_then(|iri| iri.split_once('>')).map_or(kind, |(_, behind)| behind);
                if *rest == kind {
                    word(rest);
                }
            } else if rest.starts_with('@') {
                word(rest);
            }
            Token::Literal(literal)
        }
        ';' | ',' | '.' | '[' | ']' | '(' | ')' => {
            *rest = behind;
            Token::Mark(first)
        }
        _ => Token::Word(word(rest)),
    };
    Ok(Some(token))
}

/// Up to white space or a mark; a dot within it belongs to it.
fn word<'t>(rest: &mut &'t str) -> &'t str {
    let mark = |c: char| c.is_whitespace() || matches!(c, ';' | ',' | '[' | ']' | '(' | ')' | '<' | '>' | '"' | '\'');
    let end = rest.char_indices().skip(1).find(|&(_, c)| mark(c)).map_or(rest.len(), |(at, _)| at);
    let (word, behind) = rest.split_at(end);
    let dotless = if word.len() > 1 { word.trim_end_matches('.') } else { word };
    *rest = if dotless.len() < word.len() { rest.split_at(dotless.len()).1 } else { behind };
    dotless
}

/// The literal at the start, with its escapes resolved as far as they occur.
fn literal(quote: char, rest: &mut &str) -> Result<String, String> {
    let long = quote.to_string().repeat(3);
    let end = if rest.starts_with(&long) { long.as_str() } else { long.split_at(1).0 };
    let mut behind = rest.split_at(end.len()).1;
    let mut text = String::new();
    loop {
        if let Some(after) = behind.strip_prefix(end) {
            *rest = after;
            return Ok(text);
        }
        let mut chars = behind.chars();
        match chars.next() {
            None => return Err("a literal without its end".into()),
            Some('\\') => match chars.next() {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                other => text.extend(other),
            },
            Some(other) => text.push(other),
        }
        behind = chars.as_str();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_volumes_are_described_with_is_read() {
        let text = r#"
            @prefix aff4: <http://aff4.org/Schema#> . # a comment. With <marks>;
            @prefix xsd: <http://www.w3.org/2001/XMLSchema#>.
            <aff4://v/mem> a aff4:Map ;
                aff4:category <http://aff4.org/Schema#memory/physical>, aff4:other;
                aff4:size 4096 ; aff4:ratio 1.5 .
            <aff4://v/s> aff4:chunkSize "32768"^^xsd:int; aff4:note """two "lines"
here"""@en ; aff4:skipped [ aff4:x "y" ; aff4:z ( 1 2 ) ] ; aff4:last 'a\tb'."#;
        let seen = statements(text).expect("Turtle");
        let seen: Vec<_> = seen.iter().map(|s| (s.subject.as_str(), s.predicate.as_str(), s.object.as_str())).collect();
        let name = |name: &str| format!("http://aff4.org/Schema#{name}");
        assert_eq!(
            seen,
            [
                ("aff4://v/mem", "rdf:type", name("Map").as_str()),
                ("aff4://v/mem", &name("category"), "http://aff4.org/Schema#memory/physical"),
                ("aff4://v/mem", &name("category"), &name("other")),
                ("aff4://v/mem", &name("size"), "4096"),
                ("aff4://v/mem", &name("ratio"), "1.5"),
                ("aff4://v/s", &name("chunkSize"), "32768"),
                ("aff4://v/s", &name("note"), "two \"lines\"\nhere"),
                ("aff4://v/s", &name("last"), "a\tb"),
            ]
        );
    }

    #[test]
    fn every_cut_text_is_an_error_or_fewer_statements() {
        let text = "@prefix p: <http://x#> .\n<a> a p:B ; p:c \"\\\"d\" , 'e' ; p:f 1 .\n<g> p:h \"\"\"i\"\"\" .";
        let whole = statements(text).expect("Turtle");
        assert_eq!(whole.len(), 5);
        for cut in 0..text.len() {
            assert!(statements(&text[..cut]).map_or(0, |seen| seen.len()) <= whole.len(), "{cut}");
        }
    }
}
