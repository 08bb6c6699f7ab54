//! A struct of one build: its picture, and the table of its members.

use super::super::answer::Answer;
use super::super::site::Site;
use super::frame::{count, hex, link};
use super::{Ask, build::page_title, family, find, map, missing};
use crate::repo::Build;
use maud::{Markup, html};
use quaid_profile::{Member, StructKind, Type};
use std::collections::BTreeSet;

/// How many builds a field to choose from offers.
const MAX_CHOICES: usize = 500;
/// How deep types in types are told.
const MAX_DEPTH: usize = 8;

pub(super) fn page(site: &Site, ask: &Ask) -> anyhow::Result<Answer> {
    let catalog = site.catalog()?;
    let Some(build) = find(&catalog, &ask.name) else { return Ok(missing("There is no profile of this name.")) };
    let profile = site.profile(build)?;
    let name = ask.structure.as_str();
    let Some(layout) = profile.structure(name)? else { return Ok(missing("This build has no struct of this name.")) };
    let kind = match layout.kind {
        StructKind::Struct => "struct",
        StructKind::Union => "union",
        StructKind::Class => "class",
    };
    let known: BTreeSet<&str> = profile.struct_names()?.into_iter().collect();
    let slots = map::slots(&profile, &layout)?;
    let gaps: Vec<(u64, u64)> = map::groups(slots.clone(), layout.size)
        .iter()
        .filter(|group| group.lanes.iter().flatten().all(|slot| slot.name.is_none() && slot.bits.is_empty()))
        .map(|group| (group.start, group.end))
        .collect();
    let mut rows: Vec<(u64, u64, Markup)> = Vec::new();
    for (member_name, member) in &layout.members {
        let size = profile.size_of(&member.ty)?;
        let typedef = layout.typedefs.get(member_name).map(String::as_str);
        let row = html! { tr {
            td.offset { (place(member)) }
            td.number { @match (&member.ty, size) {
                (Type::BitField { start, end, .. }, _) => { (count(usize::try_from(end - start).unwrap_or(0), "bit")) }
                (_, Some(size)) => { (hex(size)) }
                (_, None) => { "–" }
            } }
            th scope="row" { a href=(history(build, name, member_name)) title="History" { (member_name) } }
            td.type { (words(&member.ty, typedef, build, &known, MAX_DEPTH)) }
        } };
        rows.push((member.offset, first_bit(member), row));
    }
    for (start, end) in &gaps {
        let row = html! { tr.gap { td.offset { (hex(*start)) } td.number { (hex(end - start)) } td colspan="2" { "padding" } } };
        rows.push((*start, 0, row));
    }
    rows.sort_by_key(|(offset, bit, _)| (*offset, *bit));
    let padding: u64 = gaps.iter().map(|(start, end)| end - start).sum();
    let body = html! {
        nav.path aria-label="Path" { a href=(link("/build", &[("name", &build.name)])) { (page_title(build)) } }
        h1 { small { (kind) } " " (name) }
        p.lead {
            (hex(layout.size)) " (" (layout.size) ") bytes, " (count(layout.members.len(), "member"))
            @if padding > 0 { ", " (hex(padding)) " bytes of padding" }
        }
        p.actions { a.button href=(history(build, name, "")) { "History over builds" } }
        (choose(build, family(&catalog, &build.module, build.arch), name))
        div.split {
            section aria-labelledby="picture" { h2 #picture { "Layout" } (map::draw(slots, layout.size, u64::min(profile.pointer_bytes(), 8), name)) }
            section aria-labelledby="members" {
                h2 #members { "Members" }
                div.scroll tabindex="0" role="region" aria-label="Members" {
                    table.members {
                        thead { tr { th scope="col" { "Offset" } th.number scope="col" { "Size" } th scope="col" { "Name" } th scope="col" { "Type" } } }
                        tbody { @for (_, _, row) in &rows { (row) } }
                    }
                }
            }
        }
    };
    Ok(Answer::Page(super::frame::page(&format!("{name}, {}", page_title(build)), "", &body)))
}

fn first_bit(member: &Member) -> u64 {
    if let Type::BitField { start, .. } = &member.ty { *start } else { 0 }
}

/// The offset, and of a bit field its bits.
pub(super) fn place(member: &Member) -> String {
    match &member.ty {
        Type::BitField { start, end, .. } if end.saturating_sub(*start) > 1 => {
            format!("{:#x}:{start}–{}", member.offset, end - 1)
        }
        Type::BitField { start, .. } => format!("{:#x}:{start}", member.offset),
        _ => hex(member.offset),
    }
}

fn history(build: &Build, structure: &str, member: &str) -> String {
    let arch = build.arch.unwrap_or_default();
    link("/history", &[("module", &build.module), ("arch", arch), ("struct", structure), ("member", member)])
}

/// A field to choose the build that this one is compared with.
pub(super) fn choose(build: &Build, family: &[Build], structure: &str) -> Markup {
    let at = family.iter().position(|other| other.name == build.name).unwrap_or(0);
    let next = if at + 1 < family.len() { at + 1 } else { at.saturating_sub(1) };
    html! {
        @if family.len() > 1 {
            form.filter action="/diff" {
                input type="hidden" name="name" value=(build.name);
                @if !structure.is_empty() { input type="hidden" name="struct" value=(structure); }
                label for="with" { "Compare with" }
                @if family.len() > MAX_CHOICES {
                    input #with name="with" required placeholder="name or GUID of a build";
                } @else {
                    select #with name="with" {
                        @for (number, other) in family.iter().enumerate() {
                            @if other.name != build.name { option value=(other.name) selected[number == next] { (other.label()) } }
                        }
                    }
                }
                button { "Compare" }
            }
        }
    }
}

/// A type in words, with links to the structs in it; `typedef` is what a member of a native type is declared by.
fn words(ty: &Type, typedef: Option<&str>, build: &Build, known: &BTreeSet<&str>, depth: usize) -> Markup {
    let Some(deeper) = depth.checked_sub(1) else { return html! { "…" } };
    let inner = |ty: &Type| words(ty, typedef, build, known, deeper);
    match ty {
        Type::Named(name) if known.contains(name.as_str()) => {
            html! { a href=(link("/struct", &[("name", &build.name), ("struct", name)])) { (name) } }
        }
        Type::Pointer { target, .. } => html! { "pointer to " (inner(target)) },
        Type::Array { target, count } => html! { "array of " (count) " " (inner(target)) },
        Type::BitField { target, .. } => html! { "bits of " (inner(target)) },
        other => html! { (other.in_words_as(typedef)) },
    }
}
