//! A struct, or a member of it, over the builds of a module.

use super::super::answer::Answer;
use super::super::site::Site;
use super::frame::{count, hex, left_out, link};
use super::{Ask, family, missing_beside};
use crate::repo::{Build, History, Problem, history};
use maud::html;
use quaid_profile::{ChangeKind, StructChange};

/// How many names of members a row tells of each kind.
const MAX_NAMES: usize = 12;

pub(super) fn page(site: &Site, ask: &Ask) -> anyhow::Result<Answer> {
    let catalog = site.catalog()?;
    let all: &[Build] = family(&catalog, &ask.module, Some(ask.arch.as_str()).filter(|arch| !arch.is_empty()));
    let name = ask.structure.as_str();
    let member = Some(ask.member.as_str()).filter(|member| !member.is_empty());
    let History { builds, periods, problems } = history(&site.source, all, name, member);
    let problems: Vec<&Problem> = catalog.problems_of(&ask.module).chain(&problems).collect();
    let is_there = periods.iter().any(|period| match member {
        Some(member) => period.member(member).is_some(),
        None => period.layout.is_some(),
    });
    if !is_there {
        return Ok(missing_beside("No build of this module has a struct or member of this name.", &problems));
    }
    let title = member.map_or_else(|| name.to_owned(), |member| format!("{name}.{member}"));
    let all = link("/history", &[("module", &ask.module), ("arch", &ask.arch), ("struct", name)]);
    let body = html! {
        nav.path aria-label="Path" {
            a href=(link("/search", &[("module", &ask.module), ("arch", &ask.arch)])) { (ask.module) " " (ask.arch) }
            @if member.is_some() { " / " a href=(all) { (name) } }
        }
        h1 { small { "history of" } " " (title) }
        p.lead { (count(builds.len(), "build")) ", " (count(periods.len(), "form")) ". The newest is at the end." }
        div.scroll tabindex="0" role="region" aria-label="History" {
            table {
                thead { tr {
                    th scope="col" { "Builds" } th.number scope="col" { "Number" }
                    @if member.is_some() { th scope="col" { "Offset" } th scope="col" { "Type" } } @else { th scope="col" { "Size" } th scope="col" { "Changes" } }
                    th scope="col" { "See" }
                } }
                tbody { @for period in &periods {
                    @if let (Some(first), Some(last)) = (builds.get(period.builds.0), builds.get(period.builds.1)) {
                        tr {
                            th scope="row" { (first.label()) @if period.count() > 1 { " – " (last.label()) } }
                            td.number { (period.count()) }
                            @if let Some(name) = member {
                                @match period.member(name) {
                                    Some(member) => { td.offset { (super::structure::place(member)) } td.type { (member.ty.in_words()) } }
                                    None => { td.none colspan="2" { "not there" } }
                                }
                            } @else {
                                td.offset { @match &period.layout { Some(layout) => { (hex(layout.size)) } None => { "not there" } } }
                                td.type { @if let Some(change) = &period.change { (changes(change)) } }
                            }
                            td {
                                @if period.layout.is_some() { a href=(link("/struct", &[("name", &first.name), ("struct", name)])) { "layout" } }
                                @if let Some(before) = period.builds.0.checked_sub(1).and_then(|at| builds.get(at)) {
                                    " " a href=(link("/diff", &[("name", &before.name), ("with", &first.name), ("struct", name)])) { "diff" }
                                }
                            }
                        }
                    }
                } }
            }
        }
        (left_out(&problems))
    };
    Ok(Answer::Page(super::frame::page(&format!("History of {title}"), "", &body)))
}

fn changes(change: &StructChange) -> maud::Markup {
    let names = |kind| -> Vec<&str> {
        change.members.iter().filter(|(_, member)| member.kind == kind).map(|(name, _)| name.as_str()).collect()
    };
    html! {
        @for (kind, class, text) in [
            (ChangeKind::Added, "added", "added"),
            (ChangeKind::Removed, "removed", "removed"),
            (ChangeKind::Retyped, "retyped", "of another type"),
        ] {
            @let found = names(kind);
            @if !found.is_empty() {
                p.(class) { strong { (text) ": " } (found.get(..MAX_NAMES).unwrap_or(&found).join(", ")) @if found.len() > MAX_NAMES { " and " (found.len() - MAX_NAMES) " more" } }
            }
        }
        @match change.count(ChangeKind::Moved) { 0 => {} moved => { p.moved { (count(moved, "member")) " moved" } } }
    }
}
