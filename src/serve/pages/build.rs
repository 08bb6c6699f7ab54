//! A build: what it is, its files, its structs and symbols.

use super::super::answer::Answer;
use super::super::site::Site;
use super::frame::{count, hex, link};
use super::{Ask, find, missing};
use maud::html;
use quaid_profile::is_made_up;

/// How many names of a kind are shown.
const MAX_SHOWN: usize = 3000;
/// How many symbols are shown.
const MAX_SYMBOLS: usize = 200;

/// What of `$METADATA` people look for, in this order.
const KEYS: [(&str, &str); 9] = [
    ("PDBFile", "PDB"),
    ("GUID_AGE", "GUID and age"),
    ("Release", "Release"),
    ("Banner", "Banner"),
    ("BuildID", "Build-id"),
    ("UUID", "UUID"),
    ("Producer", "Made by"),
    ("Source", "Made of"),
    ("Completeness", "Completeness"),
];

pub(super) fn page_title(build: &crate::repo::Build) -> String {
    format!("{} {}", build.module, build.label())
}

pub(super) fn page(site: &Site, ask: &Ask) -> anyhow::Result<Answer> {
    let catalog = site.catalog()?;
    let Some(build) = find(&catalog, &ask.name) else { return Ok(missing("There is no profile of this name.")) };
    let profile = site.profile(build)?;
    let lower = ask.q.trim().to_lowercase();
    let fits = |name: &&str| name.to_lowercase().contains(&lower);
    let structs: Vec<&str> =
        profile.struct_names()?.into_iter().filter(|name| !is_made_up(name)).filter(fits).collect();
    let mut symbols = Vec::new();
    if !lower.is_empty() {
        let mut names: Vec<&str> = profile.symbol_names()?.into_iter().filter(fits).collect();
        names.sort_by_key(|name| (name.len(), *name));
        for name in names.into_iter().take(MAX_SYMBOLS) {
            symbols.extend(profile.symbol(name)?.map(|symbol| (name, symbol)));
        }
    }
    let file = |form: &str| link("/download", &[("name", &build.name), ("form", form)]);
    let body = html! {
        nav.path aria-label="Path" { a href=(link("/search", &[("module", &build.module), ("arch", build.arch.unwrap_or_default())])) { (build.module) " " (build.arch.unwrap_or_default()) } }
        h1 { (build.module) " " (build.label()) }
        dl.facts {
            dt { "Name" } dd { code { (build.name) } }
            @for (key, title) in KEYS { @if let Some(text) = build.metadata.text(key) { dt { (title) } dd { (text) } } }
            @if !build.links.is_empty() { dt { "Other names" } dd { @for link in &build.links { code { (link) } " " } } }
        }
        p.actions {
            a.button href=(file("rekall")) { "Rekall JSON" } a.button href=(file("isf")) { "ISF" } a.button href=(file("c")) { "C header" }
        }
        form.filter action="/build" {
            input type="hidden" name="name" value=(build.name);
            label for="filter" { "Struct or symbol" }
            input #filter type="search" name="q" value=(ask.q) maxlength="200" spellcheck="false";
            button { "Find" }
        }
        @if !symbols.is_empty() {
            section aria-labelledby="symbols" {
                h2 #symbols { "Symbols" }
                div.scroll tabindex="0" role="region" aria-label="Symbols" {
                    table {
                        thead { tr { th scope="col" { "Address" } th scope="col" { "Kind" } th scope="col" { "Name" } } }
                        tbody { @for (name, symbol) in &symbols {
                            tr { td.offset { (hex(symbol.address)) } td { @if symbol.function { "function" } @else { "data" } } th scope="row" { code { (name) } } }
                        } }
                    }
                }
                @if symbols.len() == MAX_SYMBOLS { p.note { "The first " (MAX_SYMBOLS) ", the shortest names first." } }
            }
        }
        section aria-labelledby="structs" {
            h2 #structs { (count(structs.len(), "struct")) }
            ul.names { @for name in structs.iter().take(MAX_SHOWN) { li { a href=(link("/struct", &[("name", &build.name), ("struct", name)])) { (name) } } } }
            @if structs.len() > MAX_SHOWN { p.note { "and " (structs.len() - MAX_SHOWN) " more; part of a name finds them" } }
        }
    };
    Ok(Answer::Page(super::frame::page(&page_title(build), "", &body)))
}
