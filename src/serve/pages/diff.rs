//! Two builds side by side: what differs in all, or in one struct.

use super::super::answer::Answer;
use super::super::site::Site;
use super::build::page_title;
use super::frame::{count, hex, link};
use super::structure::{choose, place};
use super::{Ask, family, find, missing};
use crate::repo::Build;
use maud::{Markup, html};
use quaid_profile::{
    Change, ChangeKind, Member, ProfileFile, Struct, StructChange, compare_struct, compare_symbols, compare_types,
};
use std::collections::BTreeSet;

/// How many names of symbols are shown.
const MAX_SYMBOLS: usize = 1000;

pub(super) fn page(site: &Site, ask: &Ask) -> anyhow::Result<Answer> {
    let catalog = site.catalog()?;
    let (Some(old), Some(new)) = (find(&catalog, &ask.name), find(&catalog, &ask.with)) else {
        return Ok(missing("There is no profile of this name."));
    };
    // The older one is on the left, however they were chosen.
    let order = |build: &Build| catalog.builds.iter().position(|other| other.name == build.name);
    let (old, new) = if old.module == new.module && order(old) > order(new) { (new, old) } else { (old, new) };
    let (before, after) = (site.profile(old)?, site.profile(new)?);
    let name = ask.structure.as_str();
    let part = if name.is_empty() {
        summary(old, new, &before, &after)?
    } else {
        let (a, b) = (before.structure(name)?, after.structure(name)?);
        if a.is_none() && b.is_none() {
            return Ok(missing("Neither build has a struct of this name."));
        }
        let change = compare_struct(&before, &after, name)?;
        side_by_side(old, new, name, &[a.unwrap_or_default(), b.unwrap_or_default()], change.as_ref())
    };
    let body = html! {
        nav.path aria-label="Path" { a href=(build_link(old)) { (page_title(old)) } " → " a href=(build_link(new)) { (page_title(new)) } }
        h1 { @if name.is_empty() { "Differences" } @else { (name) } }
        (part)
        (choose(old, family(&catalog, &old.module, old.arch), name))
    };
    let title =
        format!("{} {} to {}", if name.is_empty() { "Differences" } else { name }, page_title(old), new.label());
    Ok(Answer::Page(super::frame::page(&title, "", &body)))
}

fn build_link(build: &Build) -> String {
    link("/build", &[("name", &build.name)])
}

fn diff_link(old: &Build, new: &Build, structure: &str) -> String {
    link("/diff", &[("name", &old.name), ("with", &new.name), ("struct", structure)])
}

fn summary(old: &Build, new: &Build, before: &ProfileFile, after: &ProfileFile) -> anyhow::Result<Markup> {
    let types = compare_types(before, after)?;
    let symbols = compare_symbols(before, after)?;
    let whole = |change: &StructChange| !matches!(change.size, Change::Changed { .. });
    let changed: Vec<_> = types.structs.iter().filter(|(_, change)| !whole(change)).collect();
    let names = |added: bool| -> Vec<&String> {
        let is = |change: &StructChange| whole(change) && change.size.before().is_none() == added;
        types.structs.iter().filter(|(_, change)| is(change)).map(|(name, _)| name).collect()
    };
    let list = |title: &str, build: &Build, names: &[&String]| {
        html! {
            @if !names.is_empty() {
                details { summary { (names.len()) " " (title) }
                    ul.names { @for name in names { li { a href=(link("/struct", &[("name", &build.name), ("struct", name)])) { (name) } } } } }
            }
        }
    };
    let plain = |title: &str, names: &[String]| {
        html! {
            @if !names.is_empty() {
                details { summary { (names.len()) " " (title) }
                    ul.names { @for name in names.iter().take(MAX_SYMBOLS) { li { (name) } } }
                    @if names.len() > MAX_SYMBOLS { p.note { "and " (names.len() - MAX_SYMBOLS) " more" } } }
            }
        }
    };
    Ok(html! {
        p.lead {
            (count(changed.len(), "struct")) " changed, " (names(true).len()) " new, " (names(false).len()) " gone; "
            (count(types.enums.len(), "enum")) " not the same; " (count(symbols.gained.len(), "symbol")) " gained, " (symbols.lost.len()) " lost, " (symbols.both) " in both."
        }
        @if !changed.is_empty() {
            div.scroll tabindex="0" role="region" aria-label="Changed structs" {
                table {
                    thead { tr { th scope="col" { "Struct" } th scope="col" { "Size" } th.number scope="col" { "Added" } th.number scope="col" { "Removed" } th.number scope="col" { "Moved" } th.number scope="col" { "Of another type" } } }
                    tbody { @for (name, change) in &changed {
                        tr {
                            th scope="row" { a href=(diff_link(old, new, name)) { (name) } }
                            td.offset { (sizes(change)) }
                            @for kind in [ChangeKind::Added, ChangeKind::Removed, ChangeKind::Moved, ChangeKind::Retyped] {
                                td.number { @match change.count(kind) { 0 => { span.quiet-text { "·" } } number => { (number) } } }
                            }
                        }
                    } }
                }
            }
        }
        (list("new structs", new, &names(true))) (list("structs gone", old, &names(false)))
        (plain("symbols gained", &symbols.gained)) (plain("symbols lost", &symbols.lost))
    })
}

fn sizes(change: &StructChange) -> String {
    match (change.size.before(), change.size.after()) {
        (Some(old), Some(new)) if old != new => format!("{old:#x} → {new:#x}"),
        (_, Some(size)) | (Some(size), None) => hex(*size),
        (None, None) => String::new(),
    }
}

/// The members of both, each in one row.
fn side_by_side(old: &Build, new: &Build, name: &str, sides: &[Struct; 2], change: Option<&StructChange>) -> Markup {
    let [a, b] = sides;
    let names: BTreeSet<&String> = a.members.keys().chain(b.members.keys()).collect();
    let mut rows: Vec<(&String, Option<&Member>, Option<&Member>)> =
        names.into_iter().map(|name| (name, a.members.get(name), b.members.get(name))).collect();
    let bit = |member: &Member| if let quaid_profile::Type::BitField { start, .. } = member.ty { start } else { 0 };
    rows.sort_by_key(|(name, old, new)| {
        let member = new.or(*old);
        (member.map(|member| (member.offset, bit(member))), *name)
    });
    let cells = |member: Option<&Member>| {
        html! {
            @if let Some(member) = member { td.offset { (place(member)) } td.type { (member.ty.in_words()) } } @else { td.none colspan="2" { "–" } }
        }
    };
    html! {
        p.lead {
            @match change {
                None => { "The same in both." }
                Some(change) => {
                    (sizes(change)) " bytes: "
                    (change.count(ChangeKind::Added)) " added, " (change.count(ChangeKind::Removed)) " removed, "
                    (change.count(ChangeKind::Moved)) " moved, " (change.count(ChangeKind::Retyped)) " of another type"
                }
            }
        }
        p.actions {
            a.button href=(link("/struct", &[("name", &old.name), ("struct", name)])) { (old.label()) }
            a.button href=(link("/struct", &[("name", &new.name), ("struct", name)])) { (new.label()) }
            a.button href=(diff_link(old, new, "")) { "All differences" }
        }
        div.scroll tabindex="0" role="region" aria-label="Members of both builds" {
            table.diff {
                thead {
                    tr { td {} td {} th colspan="2" scope="colgroup" { (old.label()) } th colspan="2" scope="colgroup" { (new.label()) } }
                    tr { th scope="col" { "Change" } th scope="col" { "Member" } th scope="col" { "Offset" } th scope="col" { "Type" } th scope="col" { "Offset" } th scope="col" { "Type" } }
                }
                tbody { @for (member, before, after) in &rows {
                    @let kind = match (before, after) {
                        (None, _) => Some(ChangeKind::Added),
                        (_, None) => Some(ChangeKind::Removed),
                        _ => change.and_then(|change| change.members.get(*member)).map(|change| change.kind),
                    };
                    @let (class, text) = match kind {
                        Some(ChangeKind::Added) => ("added", "added"),
                        Some(ChangeKind::Removed) => ("removed", "removed"),
                        Some(ChangeKind::Moved) => ("moved", "moved"),
                        Some(ChangeKind::Retyped) => ("retyped", "type"),
                        None => ("same", ""),
                    };
                    tr.(class) { td.change { (text) } th scope="row" { (member) } (cells(*before)) (cells(*after)) }
                } }
            }
        }
    }
}
