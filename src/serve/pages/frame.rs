//! What all pages have.

use super::super::escaped;
use crate::repo::Problem;
use maud::{DOCTYPE, Markup, html};

/// A page; `asked` stands in its search field.
pub(super) fn page(title: &str, asked: &str, body: &Markup) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " – profiles" }
                link rel="stylesheet" href="/style.css";
            }
            body {
                a.skip href="#main" { "Skip to content" }
                header.top {
                    a.home href="/" { "Profiles" }
                    form.search action="/search" role="search" {
                        label.quiet for="q" { "Search" }
                        input #q type="search" name="q" value=(asked) maxlength="300" autocomplete="off" spellcheck="false"
                            placeholder="GUID, build, banner, struct or symbol";
                        button { "Search" }
                    }
                }
                main #main { (body) }
            }
        }
    }
    .into_string()
}

/// How many files that are left out are named.
const MAX_PROBLEMS: usize = 12;

/// What is not on a page because it cannot be read or used.
pub(super) fn left_out(problems: &[&Problem]) -> Markup {
    html! {
        @if !problems.is_empty() {
            section.note aria-labelledby="left-out" {
                h2 #left-out { (count(problems.len(), "file")) " left out" }
                ul { @for problem in problems.iter().take(MAX_PROBLEMS) { li { code { (problem.path) } ": " (problem.why) } } }
                @if problems.len() > MAX_PROBLEMS { p { "and " (problems.len() - MAX_PROBLEMS) " more; " code { "quaid repo verify" } " tells all" } }
            }
        }
    }
}

/// An address of this server: a path, and the values that its page is asked for.
pub(super) fn link(path: &str, values: &[(&str, &str)]) -> String {
    let mut out = path.to_owned();
    for (at, (key, value)) in values.iter().filter(|(_, value)| !value.is_empty()).enumerate() {
        out.push(if at == 0 { '?' } else { '&' });
        out.push_str(key);
        out.push('=');
        out.push_str(&escaped(value));
    }
    out
}

/// A number in hexadecimal, as offsets and sizes are shown.
pub(super) fn hex(number: u64) -> String {
    format!("{number:#x}")
}

/// "1 build", "2 builds".
pub(super) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
