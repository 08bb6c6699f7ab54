//! The front page, and what a search finds.

use super::super::answer::Answer;
use super::super::site::Site;
use super::Ask;
use super::frame::{count, left_out, link, page};
use crate::cli::chain_text;
use crate::repo::{Build, Catalog, Problem, is_below};
use maud::{Markup, html};
use quaid_profile::ProfileFile;
use std::collections::BTreeSet;
use std::sync::Arc;

/// How many results of a kind are shown.
const MAX_SHOWN: usize = 60;
/// In how many modules structs and symbols are searched: in the newest build of each.
const MAX_SEARCHED: usize = 24;
/// How many builds of a module are tried, from the newest on, until one can be read.
const MAX_TRIED: usize = 4;

/// The modules, and how many builds of each there are.
pub(super) fn front(site: &Site, _: &Ask) -> anyhow::Result<Answer> {
    let catalog = site.catalog()?;
    let body = html! {
        h1 { "Memory-forensics profiles" }
        p.lead {
            (count(catalog.builds.len(), "build")) ": structs, enums and symbols of each, as data. "
            "Search for a GUID, a version, a banner, a struct or a symbol."
        }
        (modules(&catalog))
        (left_out(&catalog.problems.iter().collect::<Vec<_>>()))
        section.note aria-labelledby="programs" {
            h2 #programs { "For programs" }
            dl {
                dt { "Rekall, quaid" } dd { code { "--profile_path http://…/" } }
                dt { "Volatility 3" } dd { code { "--remote-isf-url http://…/banners.json" } }
                dt { "Debuggers, fetch_pdb" } dd { code { "srv*http://…/symbols" } }
            }
        }
    };
    Ok(Answer::Page(page("Builds", "", &body)))
}

fn modules(catalog: &Catalog) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Modules" {
            table {
                caption.quiet { "Modules" }
                thead { tr { th scope="col" { "Module" } th scope="col" { "Architecture" } th.number scope="col" { "Builds" } th scope="col" { "Oldest" } th scope="col" { "Newest" } } }
                tbody {
                    @for family in catalog.families("") {
                        @if let (Some(first), Some(last)) = (family.first(), family.last()) {
                            tr {
                                th scope="row" { a href=(link("/search", &[("module", &first.module), ("arch", first.arch.unwrap_or_default())])) { (first.module) } }
                                td { (first.arch.unwrap_or("–")) }
                                td.number { (family.len()) }
                                td { a href=(link("/build", &[("name", &first.name)])) { (first.label()) } }
                                td { a href=(link("/build", &[("name", &last.name)])) { (last.label()) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Builds by every name and text that tells them, then structs and symbols of the newest builds.
pub(super) fn search(site: &Site, ask: &Ask) -> anyhow::Result<Answer> {
    let catalog = site.catalog()?;
    let asked = ask.q.trim();
    if asked.is_empty() && ask.module.is_empty() {
        return Ok(Answer::Elsewhere("/".to_owned()));
    }
    let lower = asked.to_lowercase();
    let plain: String = lower.chars().filter(|c| !matches!(c, '{' | '}' | '-')).collect();
    let arch = Some(ask.arch.as_str()).filter(|arch| !arch.is_empty());
    let fits = |build: &&Build| {
        if asked.is_empty() {
            return build.module == ask.module && (arch.is_none() || build.arch == arch);
        }
        if !is_below(&build.module, &ask.module) {
            return false;
        }
        let texts = [
            Some(build.name.as_str()),
            build.version.as_deref(),
            build.metadata.banner(),
            build.metadata.text("BuildID"),
        ];
        let guid = build.metadata.guid_age().map(|id| id.to_string().to_lowercase());
        texts
            .into_iter()
            .flatten()
            .chain(build.links.iter().map(String::as_str))
            .any(|text| text.to_lowercase().contains(&lower))
            || (plain.len() >= 8 && guid.is_some_and(|guid| guid.contains(&plain)))
    };
    let builds: Vec<&Build> = catalog.builds.iter().filter(fits).collect();
    let mut inside = Vec::new();
    let mut problems = Vec::new();
    let mut others = BTreeSet::new();
    if asked.len() >= 2 {
        let has = |name: &&str| name.to_lowercase().contains(&lower);
        for (number, family) in catalog.families(&ask.module).enumerate() {
            if number >= MAX_SEARCHED {
                others.extend(family.first().map(|build| build.module.as_str()));
                continue;
            }
            let Some((newest, [mut structs, mut symbols])) = newest(site, family, &mut problems, &has) else {
                continue;
            };
            // The name itself first, then those that begin so.
            let order = |name: &String| (name.len(), name.clone());
            structs.sort_by_cached_key(order);
            symbols.sort_by_cached_key(order);
            if !structs.is_empty() || !symbols.is_empty() {
                inside.push((newest, structs, symbols));
            }
        }
    }
    let problems: Vec<&Problem> = catalog.problems.iter().chain(&problems).collect();
    let title = if asked.is_empty() { &ask.module } else { asked };
    let body = html! {
        h1 { @if asked.is_empty() { "Builds of " (ask.module) } @else { "Results for “" (asked) "”" } }
        @if !asked.is_empty() && !ask.module.is_empty() {
            p { "In " code { (ask.module) } " alone; " a href=(link("/search", &[("q", asked)])) { "search in all modules" } }
        }
        (not_searched(asked, &others))
        @if builds.is_empty() && inside.is_empty() { p { "Nothing here has this name." } }
        @if !builds.is_empty() {
            section aria-labelledby="builds" {
                h2 #builds { (count(builds.len(), "build")) }
                (table_of(&builds))
            }
        }
        @for (newest, structs, symbols) in &inside {
            section {
                h2 { (newest.module) " " (newest.arch.unwrap_or_default()) " " small { "newest: " (newest.label()) } }
                (names("struct", structs, &|name| link("/struct", &[("name", &newest.name), ("struct", name)])))
                (names("symbol", symbols, &|name| link("/build", &[("name", &newest.name), ("q", name)])))
            }
        }
        (left_out(&problems))
    };
    Ok(Answer::Page(page(title, asked, &body)))
}

/// The modules in whose types and symbols nothing was looked for, each with the search that does.
fn not_searched(asked: &str, others: &BTreeSet<&str>) -> Markup {
    html! {
        @if !others.is_empty() {
            section.note aria-labelledby="others" {
                h2 #others { "Structs and symbols of " (count(others.len(), "module")) " not searched" }
                p { "One search looks into " (MAX_SEARCHED) " modules, each in its newest build. Search in one of the others alone:" }
                ul.names {
                    @for module in others.iter().take(10 * MAX_SHOWN) {
                        li { a href=(link("/search", &[("q", asked), ("module", module)])) { (module) } }
                    }
                }
                @if others.len() > 10 * MAX_SHOWN {
                    p { "and " (others.len() - 10 * MAX_SHOWN) " more; " code { "quaid repo search --struct NAME" } " looks into all" }
                }
            }
        }
    }
}

/// The newest build of a family that can be read, and the names of its structs and of its symbols that are wanted.
fn newest<'b>(
    site: &Site,
    family: &'b [Build],
    problems: &mut Vec<Problem>,
    wanted: &dyn Fn(&&str) -> bool,
) -> Option<(&'b Build, [Vec<String>; 2])> {
    let names = |profile: Arc<ProfileFile>| -> anyhow::Result<[Vec<String>; 2]> {
        let chosen = |names: Vec<&str>| names.into_iter().filter(wanted).map(str::to_owned).collect();
        Ok([chosen(profile.struct_names()?), chosen(profile.symbol_names()?)])
    };
    for build in family.iter().rev().take(MAX_TRIED) {
        match site.profile(build).and_then(names) {
            Ok(names) => return Some((build, names)),
            Err(why) => problems.push(Problem { path: build.name.clone(), why: chain_text(&why) }),
        }
    }
    None
}

/// What was found of one kind, each with where it leads.
fn names(what: &str, found: &[String], to: &dyn Fn(&str) -> String) -> Markup {
    html! {
        @if !found.is_empty() {
            h3 { (count(found.len(), what)) }
            ul.names {
                @for name in found.iter().take(MAX_SHOWN) {
                    li { a href=(to(name)) { (name) } }
                }
            }
            @if found.len() > MAX_SHOWN { p.note { "and " (found.len() - MAX_SHOWN) " more; a longer name finds fewer" } }
        }
    }
}

fn table_of(builds: &[&Build]) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Builds" {
            table {
                thead { tr { th scope="col" { "Version" } th scope="col" { "Module" } th scope="col" { "Architecture" } th scope="col" { "Name" } } }
                tbody {
                    @for build in builds.iter().take(10 * MAX_SHOWN) {
                        tr {
                            th scope="row" { a href=(link("/build", &[("name", &build.name)])) { (build.label()) } }
                            td { (build.module) }
                            td { (build.arch.unwrap_or("–")) }
                            td { code { (build.name) } }
                        }
                    }
                }
            }
        }
        @if builds.len() > 10 * MAX_SHOWN { p.note { "and " (builds.len() - 10 * MAX_SHOWN) " more" } }
    }
}
