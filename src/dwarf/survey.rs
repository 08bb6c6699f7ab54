//! One walk over all units: which types, enumerations and variables there are, and where the best definition of each is.
//!
//! A kernel has thousands of units, and each repeats the headers' types: 935,000 definitions of 10,000 structs in a
//! distribution's kernel. So nothing is built here. Definitions of one name are told apart by a fingerprint of their
//! layout (sizes, names, offsets and types of members, labels and values), and the place of the first of each is kept.

use super::report::{ConvertReport, MAX_LISTED, OtherLayouts};
use super::scopes::Scopes;
use super::shapes::{Dimension, Fingerprint, Shape, Shapes};
use super::units::{Place, Slice, Unit, Units, byte_offset, is_aggregate};
use bumpalo::Bump;
use gimli::{Abbreviation, DwAte, EntriesRaw, UnitOffset};
use quaid_profile::{BaseKind, BaseType, Type};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Definitions nested deeper than this are left out. C has no limit, but a hostile file could nest as deep as it is
/// long, and each level reads its own members again.
const MAX_NESTING: usize = 64;

/// How many DIEs and bytes of abbreviations may be read again to name what typedefs of other units name. A kernel with
/// type units takes a million.
const MAX_ENTRIES_ELSEWHERE: usize = 1 << 26;

/// How many entries are read for the name and the type of one variable: an instance, its abstract one, a declaration.
const MAX_DECLARATIONS: usize = 4;

/// What the units define. Names are as in the file.
#[derive(Default)]
pub(super) struct Survey<'d> {
    /// Structs, unions and classes with the names that they get: the tag or, where they have none, the typedef.
    pub(super) aggregates: Vec<(Place, String)>,
    /// Enumerations, by tag or typedef.
    pub(super) enums: Vec<(Place, String)>,
    /// Of names that several layouts have: whether it is an enumeration, the name, and the fingerprint; and the name that
    /// this layout gets.
    pub(super) several: HashMap<(bool, &'d [u8], u64), String>,
    /// Enumerations without either, by their first label. Several may have it in common: the most used one comes first.
    pub(super) nameless_enums: BTreeMap<&'d [u8], Vec<Place>>,
    /// Native types.
    pub(super) base_types: BTreeMap<&'d [u8], BaseType>,
    /// Variables outside functions, by name.
    pub(super) variables: BTreeMap<&'d [u8], Variable>,
    /// The place of the type of those whose address is told, by name and address.
    pub(super) located: Vec<(&'d [u8], u64, Place)>,
    /// The whole names of types in namespaces and classes, by place.
    pub(super) scoped: HashMap<Place, &'d [u8]>,
}

/// What the units tell of the variables of one name: the places of types.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Variable {
    /// Of the first definition: what has a location.
    pub(super) defined: Option<Place>,
    /// Of the first that has none.
    pub(super) declared: Option<Place>,
    /// One of the units defines it for all.
    pub(super) shared: bool,
}

/// The definitions of one kind: by name and layout, how many there are and where the first one is.
#[derive(Default)]
struct Definitions<'d>(HashMap<(&'d [u8], u64), (u64, Place)>);

impl<'d> Definitions<'d> {
    fn add(&mut self, name: &'d [u8], fingerprint: u64, place: Place) {
        self.0.entry((name, fingerprint)).or_insert((0, place)).0 += 1;
    }

    /// By name, the definitions with their counts and fingerprints; the most used one comes first, of equals the first in
    /// the file.
    fn ranked(self) -> BTreeMap<&'d [u8], Vec<(u64, Place, u64)>> {
        let mut names: BTreeMap<&[u8], Vec<(u64, Place, u64)>> = BTreeMap::new();
        for ((name, fingerprint), (count, place)) in self.0 {
            names.entry(name).or_default().push((count, place, fingerprint));
        }
        for definitions in names.values_mut() {
            definitions.sort_unstable_by_key(|&(count, place, _)| (std::cmp::Reverse(count), place));
        }
        names
    }
}

impl<'d> Survey<'d> {
    /// A name for each definition: the most used one of a name has it, the others get `_1`, `_2`, ... after it, and are
    /// told. In file order, so that each unit is opened once.
    fn name(
        &mut self,
        definitions: Definitions<'d>,
        enumeration: bool,
        report: &mut ConvertReport,
    ) -> Vec<(Place, String)> {
        let mut named = Vec::new();
        let ranked = definitions.ranked();
        let mut made = HashSet::new();
        for (&name, definitions) in &ranked {
            let plain = String::from_utf8_lossy(name).into_owned();
            let mut number = 0;
            for (at, &(count, place, fingerprint)) in definitions.iter().enumerate() {
                let mut own = plain.clone();
                while at > 0 && (own == plain || ranked.contains_key(own.as_bytes()) || !made.insert(own.clone())) {
                    number += 1;
                    own = format!("{plain}_{number}");
                }
                if definitions.len() > 1 {
                    self.several.insert((enumeration, name, fingerprint), own.clone());
                    if at == 0 {
                        let others = definitions.len() - 1;
                        report.other_layouts.push(OtherLayouts { name: plain.clone(), uses: count, others });
                    }
                }
                named.push((place, own));
            }
        }
        named.sort_unstable();
        named
    }
}

/// What all units together gave.
#[derive(Default)]
struct Found<'d> {
    aggregates: Definitions<'d>,
    enums: Definitions<'d>,
    nameless_enums: Definitions<'d>,
    base_types: BTreeMap<&'d [u8], BaseType>,
    variables: HashMap<&'d [u8], Variable>,
    /// Variables with their addresses, and the place of the type of each.
    located: Vec<(&'d [u8], u64, Place)>,
    /// Typedefs of what another unit defines, as with type units and in files that dwz went over.
    typedefs_elsewhere: BTreeSet<(Place, &'d [u8])>,
    /// Definitions whose declaration is not among those of their unit.
    completed_elsewhere: Vec<Completed<'d>>,
}

impl<'d> Found<'d> {
    /// Names what typedefs of other units name. In the order of the targets, so that each unit and each target is read
    /// once.
    fn name_elsewhere(&mut self, units: &Units<'d>, shapes: &mut Shapes<'d>) {
        let mut left = MAX_ENTRIES_ELSEWHERE;
        let mut open: Option<Unit<'d>> = None;
        let mut known: Option<(Place, Option<Layout>)> = None;
        let mut named_enums = HashSet::new();
        for (target, name) in std::mem::take(&mut self.typedefs_elsewhere) {
            if open.as_ref().is_none_or(|unit| unit.number != target.unit) {
                let Some(rest) = left.checked_sub(units.cost(target.unit)) else { break };
                left = rest;
                open = units.open(target.unit).ok();
            }
            if known.as_ref().is_none_or(|(place, _)| *place != target) {
                known = open
                    .as_ref()
                    .map(|unit| (target, layout_at(units, unit, target.offset, shapes, Type::MAX_DEPTH, &mut left)));
            }
            if let Some((_, Some(Layout { enumeration, nameless: true, fingerprint }))) = known {
                let definitions = if enumeration { &mut self.enums } else { &mut self.aggregates };
                definitions.add(name, fingerprint, target);
                if enumeration {
                    named_enums.insert(fingerprint);
                }
            }
        }
        self.nameless_enums.0.retain(|(_, fingerprint), _| !named_enums.contains(fingerprint));
    }

    /// Notes the variables whose name or type stands in other units: dwz moves declarations, and what gcc writes when it links
    /// (LTO) refers to what it wrote before. In the order of the targets, so that each unit is read once.
    fn complete_elsewhere(&mut self, units: &Units<'d>) {
        let mut left = MAX_ENTRIES_ELSEWHERE;
        let mut open: Option<Unit<'d>> = None;
        let mut completed = std::mem::take(&mut self.completed_elsewhere);
        completed.sort_by_key(|completed| completed.declaration);
        for completed in completed {
            let (mut name, mut ty, mut next) = (completed.linkage_name, completed.ty, Some(completed.declaration));
            for _ in 0..MAX_DECLARATIONS {
                let Some(place) = next.filter(|_| name.is_none() || ty.is_none()) else { break };
                if open.as_ref().is_none_or(|unit| unit.number != place.unit) {
                    let Some(rest) = left.checked_sub(units.cost(place.unit)) else { return };
                    left = rest;
                    open = units.open(place.unit).ok();
                }
                let Some((unit, Ok(entry))) = open.as_ref().map(|unit| (unit, unit.entry(place.offset))) else { break };
                let text = |of| units.text(unit, &entry.attr_value(of)?);
                let target = |of| units.target(unit.number, &entry.attr_value(of)?);
                name = name.or_else(|| text(gimli::DW_AT_linkage_name)).or_else(|| text(gimli::DW_AT_name));
                ty = ty.or_else(|| target(gimli::DW_AT_type));
                next = target(gimli::DW_AT_specification).or_else(|| target(gimli::DW_AT_abstract_origin));
            }
            if let (Some(name), Some(ty)) = (name, ty) {
                self.note_completed(name, ty, &completed);
            }
        }
    }

    fn note_completed(&mut self, name: &'d [u8], ty: Place, completed: &Completed<'d>) {
        let variable = self.variables.entry(name).or_default();
        variable.shared |= completed.specified;
        variable.defined.get_or_insert(ty);
        self.located.extend(completed.address.map(|address| (name, address, ty)));
    }
}

impl<'d> Survey<'d> {
    /// Walks all units. A damaged unit is told, and read up to the damage. `arena` holds names that are made.
    pub(super) fn of(units: &Units<'d>, arena: &'d Bump, report: &mut ConvertReport) -> Self {
        let (mut found, mut shapes, mut scopes) = (Found::default(), Shapes::default(), Scopes::new(arena));
        report.skipped_relocations = units.skipped_relocations;
        report.damaged_units.extend(units.cut.clone());
        let mut cost_left = units.cost_limit();
        for number in 0..units.len() {
            let Some(left) = cost_left.checked_sub(units.cost(number)) else {
                let why = format!("unit {number} and those after it: all refer to large tables of abbreviations");
                report.damaged_units.push(why);
                break;
            };
            cost_left = left;
            let result = units.open(number).and_then(|unit| {
                if unit.language == Some(gimli::DW_LANG_Rust) {
                    report.rust_units += 1;
                    return Ok(());
                }
                shapes.begin(Some(number));
                scopes.begin();
                UnitWalk::new(units, &unit, &mut found, &mut shapes, Some(&mut scopes)).run()
            });
            match result {
                Err(why) if report.damaged_units.len() < MAX_LISTED => {
                    report.damaged_units.push(format!("unit {number}: {why}"));
                }
                _ => report.units += 1,
            }
        }
        shapes.begin(None);
        found.name_elsewhere(units, &mut shapes);
        found.complete_elsewhere(units);
        let mut survey = Self {
            nameless_enums: found
                .nameless_enums
                .ranked()
                .into_iter()
                .map(|(label, all)| (label, all.into_iter().map(|(_, place, _)| place).collect()))
                .collect(),
            base_types: found.base_types,
            variables: found.variables.into_iter().collect(),
            located: found.located,
            scoped: scopes.names,
            ..Self::default()
        };
        survey.aggregates = survey.name(found.aggregates, false, report);
        survey.enums = survey.name(found.enums, true, report);
        survey
    }
}

/// What [`layout_at`] tells of a struct or enumeration.
pub(super) struct Layout {
    pub(super) enumeration: bool,
    /// It has no tag.
    pub(super) nameless: bool,
    pub(super) fingerprint: u64,
}

/// The layout of the struct or enumeration at `offset`; `None` for declarations, for what is neither, and when `left`,
/// from which the DIEs in it are taken off, is used up. `depth` is how deep the types of its members are looked into.
pub(super) fn layout_at<'d>(
    units: &Units<'d>,
    unit: &Unit<'d>,
    offset: usize,
    shapes: &mut Shapes<'d>,
    depth: u32,
    left: &mut usize,
) -> Option<Layout> {
    let mut found = Found::default();
    let mut walk = UnitWalk::new(units, unit, &mut found, shapes, None);
    walk.entries_left = *left;
    let result = walk.walk(Some(UnitOffset(offset)));
    *left = walk.entries_left;
    result.ok().filter(|()| *left > 0)?;
    let members = std::mem::take(&mut walk.members);
    let mut definitions = std::mem::take(&mut walk.definitions).into_iter();
    let mut wanted = definitions.next().filter(|wanted| wanted.offset == offset && !wanted.declaration)?;
    for (_, ty) in members.into_iter().filter(|&(at, _)| at == 0) {
        wanted.layout.add(shapes.number(units, ty, depth));
    }
    Some(Layout {
        enumeration: wanted.enumeration,
        nameless: wanted.name.is_none(),
        fingerprint: wanted.layout.number(),
    })
}

/// A struct or enumeration.
struct Definition<'d> {
    offset: usize,
    name: Option<&'d [u8]>,
    enumeration: bool,
    declaration: bool,
    layout: Fingerprint,
    first_label: Option<&'d [u8]>,
}

struct UnitWalk<'w, 'd> {
    units: &'w Units<'d>,
    unit: &'w Unit<'d>,
    found: &'w mut Found<'d>,
    shapes: &'w mut Shapes<'d>,
    /// None where only the layout of one type is read.
    scopes: Option<&'w mut Scopes<'d>>,
    definitions: Vec<Definition<'d>>,
    /// Those whose children are being read: the depth, and which one it is.
    open: Vec<(isize, usize)>,
    /// The types of members, and of which definition each is.
    members: Vec<(usize, Option<Place>)>,
    /// Definitions without a tag, and whether a typedef names them; until the unit's typedefs are known.
    nameless: Vec<(Definition<'d>, bool)>,
    /// Declarations of types that type units define, in file order.
    elsewhere: Vec<(usize, Place)>,
    /// Typedefs and the DIE that each names.
    typedefs: Vec<(&'d [u8], Place)>,
    /// Declarations of variables, in file order, and the type of each.
    declared: Vec<(usize, &'d [u8], Place)>,
    /// Definitions that refer to their declaration.
    completed: Vec<Completed<'d>>,
    /// How many DIEs may still be read.
    entries_left: usize,
}

/// A variable's definition whose name and type stand at its declaration, or at what gcc wrote before it linked, but for what
/// it tells itself.
struct Completed<'d> {
    declaration: Place,
    linkage_name: Option<&'d [u8]>,
    ty: Option<Place>,
    address: Option<u64>,
    /// It refers to its declaration.
    specified: bool,
}

/// The attributes that the walk looks at.
#[derive(Default)]
struct Attributes<'d> {
    name: Option<&'d [u8]>,
    /// What the symbol of a variable is called, where that is not its name.
    linkage_name: Option<&'d [u8]>,
    byte_size: u64,
    location: u64,
    bit_size: u64,
    bit_offset: u64,
    value: u64,
    encoding: Option<DwAte>,
    ty: Option<Place>,
    specification: Option<Place>,
    abstract_origin: Option<Place>,
    /// The type unit that has the definition.
    signature: Option<Place>,
    declaration: bool,
    /// Other units may name it.
    external: bool,
    defined: bool,
    /// Of a variable.
    address: Option<u64>,
    big_endian: Option<bool>,
}

impl<'w, 'd> UnitWalk<'w, 'd> {
    fn new(
        units: &'w Units<'d>,
        unit: &'w Unit<'d>,
        found: &'w mut Found<'d>,
        shapes: &'w mut Shapes<'d>,
        scopes: Option<&'w mut Scopes<'d>>,
    ) -> Self {
        Self {
            units,
            unit,
            found,
            shapes,
            scopes,
            definitions: Vec::new(),
            open: Vec::new(),
            members: Vec::new(),
            nameless: Vec::new(),
            elsewhere: Vec::new(),
            typedefs: Vec::new(),
            declared: Vec::new(),
            completed: Vec::new(),
            entries_left: usize::MAX,
        }
    }

    fn run(mut self) -> gimli::Result<()> {
        let result = self.walk(None);
        if result.is_err() {
            // The children of these are not all known.
            for &(_, at) in &self.open {
                if let Some(definition) = self.definitions.get_mut(at) {
                    definition.declaration = true;
                }
            }
        }
        self.add_types();
        self.add_definitions();
        self.name_by_typedefs();
        self.complete_variables();
        result
    }

    /// Walks the unit, or the DIE at `start` and what is in it: that is then left open.
    fn walk(&mut self, start: Option<UnitOffset>) -> gimli::Result<()> {
        let mut entries = self.unit.header.entries_raw(&self.unit.abbreviations, start)?;
        // Depth of the function that the walk is in: its variables have no address that a profile could name.
        let mut function = None;
        // Depth of the array or type of a function that it is in.
        let mut parts_of = None;
        while !entries.is_empty() {
            let offset = entries.next_offset().0;
            let depth = entries.next_depth();
            if depth <= 0 && start.is_some_and(|start| start.0 != offset) {
                break;
            }
            self.entries_left = self.entries_left.saturating_sub(1);
            if self.entries_left == 0 {
                break;
            }
            let Some(abbreviation) = entries.read_abbreviation()? else { continue };
            while self.open.last().is_some_and(|&(open, _)| open >= depth) {
                self.open.pop();
            }
            if let Some(scopes) = &mut self.scopes {
                scopes.leave(depth);
            }
            if function.is_some_and(|outer| depth <= outer) {
                function = None;
            }
            if parts_of.is_some_and(|outer| depth <= outer) {
                parts_of = None;
            }
            match abbreviation.tag() {
                tag if is_aggregate(tag) || tag == gimli::DW_TAG_enumeration_type => {
                    let attributes = self.read(&mut entries, abbreviation)?;
                    let mut layout = Fingerprint::default();
                    layout.add(tag.0.into());
                    layout.add(attributes.byte_size);
                    let enumeration = tag == gimli::DW_TAG_enumeration_type;
                    let Attributes { name, signature, ty, .. } = attributes;
                    let shape = match Shape::new(tag, name, ty, signature) {
                        Some(Shape::Nameless(_)) if self.open.len() < MAX_NESTING => {
                            // A unit has less than 2^32 bytes.
                            Some(Shape::Nameless(Some(self.definitions.len() as u32)))
                        }
                        shape => shape,
                    };
                    self.add_shape(offset, shape);
                    let name = self.whole_name(offset, &attributes);
                    if let (Some(scopes), Some(name), false) = (&mut self.scopes, name, enumeration) {
                        scopes.enter(depth, name);
                    }
                    self.elsewhere.extend(signature.map(|place| (offset, place)));
                    let declaration = attributes.declaration || signature.is_some();
                    if self.open.len() < MAX_NESTING {
                        self.open.push((depth, self.definitions.len()));
                        self.definitions.push(Definition {
                            offset,
                            name,
                            enumeration,
                            declaration,
                            layout,
                            first_label: None,
                        });
                    }
                }
                gimli::DW_TAG_member => {
                    let attributes = self.read(&mut entries, abbreviation)?;
                    if attributes.declaration {
                        // A static member of a class, before DWARF 5 and by clang: a variable, and not in the struct.
                        self.declared.extend(attributes.name.zip(attributes.ty).map(|(name, ty)| (offset, name, ty)));
                    } else if let Some((at, definition)) = self.parent(depth) {
                        definition.layout.add_text(attributes.name.unwrap_or_default());
                        definition.layout.add(attributes.location);
                        definition.layout.add(attributes.bit_offset);
                        definition.layout.add(attributes.bit_size);
                        self.members.push((at, attributes.ty));
                    }
                }
                gimli::DW_TAG_enumerator => {
                    let attributes = self.read(&mut entries, abbreviation)?;
                    if let Some((_, definition)) = self.parent(depth) {
                        definition.layout.add_text(attributes.name.unwrap_or_default());
                        definition.layout.add(attributes.value);
                        definition.first_label = definition.first_label.or(attributes.name);
                    }
                }
                gimli::DW_TAG_typedef => {
                    let attributes = self.read(&mut entries, abbreviation)?;
                    self.add_shape(offset, Shape::new(abbreviation.tag(), attributes.name, attributes.ty, None));
                    if let (Some(name), Some(target)) = (self.whole_name(offset, &attributes), attributes.ty) {
                        self.typedefs.push((name, target));
                    }
                }
                gimli::DW_TAG_base_type => {
                    let attributes = self.read(&mut entries, abbreviation)?;
                    self.add_shape(offset, Shape::new(abbreviation.tag(), attributes.name, attributes.ty, None));
                    if let Some(name) = attributes.name {
                        let base = base_type(&attributes, self.unit.big_endian);
                        self.found.base_types.entry(name).or_insert(base);
                    }
                }
                gimli::DW_TAG_namespace => {
                    let attributes = self.read(&mut entries, abbreviation)?;
                    if let Some(scopes) = &mut self.scopes {
                        scopes.enter_namespace(depth, attributes.name);
                    }
                }
                gimli::DW_TAG_variable if function.is_none() => {
                    let attributes = self.read(&mut entries, abbreviation)?;
                    self.add_variable(offset, &attributes);
                }
                gimli::DW_TAG_subrange_type if parts_of == Some(depth - 1) => {
                    let mut dimension = Dimension::default();
                    for &spec in abbreviation.attributes() {
                        let attribute = entries.read_attribute_inline(spec)?;
                        dimension.read(attribute.name(), &attribute.raw_value());
                    }
                    self.shapes.add_dimension(dimension.elements());
                }
                gimli::DW_TAG_formal_parameter if parts_of == Some(depth - 1) => {
                    entries.skip_attributes(abbreviation.attributes())?;
                    self.shapes.add_argument();
                }
                tag if Shape::is_of(tag) => {
                    let attributes = self.read(&mut entries, abbreviation)?;
                    self.add_shape(offset, Shape::new(tag, attributes.name, attributes.ty, None));
                    if matches!(tag, gimli::DW_TAG_array_type | gimli::DW_TAG_subroutine_type) && self.scopes.is_some()
                    {
                        parts_of = Some(depth);
                    }
                }
                tag => {
                    if tag == gimli::DW_TAG_subprogram && function.is_none() {
                        function = Some(depth);
                    }
                    entries.skip_attributes(abbreviation.attributes())?;
                }
            }
        }
        Ok(())
    }

    fn read(
        &self,
        entries: &mut EntriesRaw<'_, Slice<'d>>,
        abbreviation: &Abbreviation,
    ) -> gimli::Result<Attributes<'d>> {
        let mut found = Attributes::default();
        for &spec in abbreviation.attributes() {
            let attribute = entries.read_attribute_inline(spec)?;
            // The raw value, because the meaning that gimli would look up by the attribute's name is known here.
            let value = attribute.raw_value();
            match attribute.name() {
                gimli::DW_AT_name => found.name = self.units.text(self.unit, &value),
                gimli::DW_AT_linkage_name | gimli::DW_AT_MIPS_linkage_name => {
                    found.linkage_name = self.units.text(self.unit, &value);
                }
                gimli::DW_AT_byte_size => found.byte_size = value.udata_value().unwrap_or_default(),
                gimli::DW_AT_data_member_location => found.location = byte_offset(&value).unwrap_or_default(),
                gimli::DW_AT_bit_size => found.bit_size = value.udata_value().unwrap_or_default(),
                gimli::DW_AT_bit_offset | gimli::DW_AT_data_bit_offset => {
                    found.bit_offset = value.udata_value().unwrap_or_default();
                }
                gimli::DW_AT_const_value => {
                    found.value =
                        value.sdata_value().map(i64::cast_unsigned).or(value.udata_value()).unwrap_or_default();
                }
                gimli::DW_AT_encoding => found.encoding = value.u8_value().map(DwAte),
                gimli::DW_AT_type => found.ty = self.units.target(self.unit.number, &value),
                gimli::DW_AT_specification => found.specification = self.units.target(self.unit.number, &value),
                gimli::DW_AT_abstract_origin => found.abstract_origin = self.units.target(self.unit.number, &value),
                gimli::DW_AT_signature => found.signature = self.units.target(self.unit.number, &value),
                gimli::DW_AT_declaration => found.declaration = matches!(value, gimli::AttributeValue::Flag(true)),
                gimli::DW_AT_external => found.external = matches!(value, gimli::AttributeValue::Flag(true)),
                gimli::DW_AT_location => {
                    found.defined = true;
                    found.address = self.units.static_address(self.unit, &value);
                }
                gimli::DW_AT_endianity => {
                    found.big_endian = value.u8_value().map(|end| gimli::DwEnd(end) == gimli::DW_END_big);
                }
                _ => {}
            }
        }
        Ok(found)
    }

    /// The name of the type at `offset` with the scopes that it is in; that of a declaration, where the type completes one.
    fn whole_name(&mut self, offset: usize, attributes: &Attributes<'d>) -> Option<&'d [u8]> {
        let Some(scopes) = &mut self.scopes else { return attributes.name };
        let place = Place { unit: self.unit.number, offset };
        if let Some(&declared) = attributes.specification.and_then(|place| scopes.names.get(&place)) {
            scopes.names.insert(place, declared);
            return Some(declared);
        }
        attributes.name.map(|name| scopes.name(place, name))
    }

    /// The definition that an entry of this depth is a child of.
    fn parent(&mut self, depth: isize) -> Option<(usize, &mut Definition<'d>)> {
        let &(_, at) = self.open.last().filter(|&&(open, _)| open + 1 == depth)?;
        Some((at, self.definitions.get_mut(at)?))
    }

    /// Where the whole unit is read: those of other units are looked up where they are.
    fn add_shape(&mut self, offset: usize, shape: Option<Shape<'d>>) {
        if self.scopes.is_some() {
            self.shapes.add(offset, shape);
        }
    }

    /// Adds the types of members to the layouts: they are known when the unit was read.
    fn add_types(&mut self) {
        let layouts = self.definitions.iter().map(|definition| definition.layout);
        self.shapes.define(layouts, std::mem::take(&mut self.members));
        for (at, definition) in self.definitions.iter_mut().enumerate() {
            definition.layout = self.shapes.layout(self.units, at, Type::MAX_DEPTH);
        }
    }

    fn add_definitions(&mut self) {
        for definition in std::mem::take(&mut self.definitions) {
            let fingerprint = definition.layout.number();
            let place = Place { unit: self.unit.number, offset: definition.offset };
            match definition.name {
                _ if definition.declaration => {}
                Some(name) if definition.enumeration => self.found.enums.add(name, fingerprint, place),
                Some(name) => self.found.aggregates.add(name, fingerprint, place),
                None => self.nameless.push((definition, false)),
            }
        }
    }

    /// A struct, union or enumeration without a tag goes by the typedefs that name it directly.
    fn name_by_typedefs(&mut self) {
        for &(name, target) in &self.typedefs {
            if target.unit != self.unit.number {
                self.found.typedefs_elsewhere.insert((target, name));
                continue;
            }
            if let Ok(at) = self.elsewhere.binary_search_by_key(&target.offset, |&(offset, _)| offset) {
                self.found.typedefs_elsewhere.extend(self.elsewhere.get(at).map(|&(_, place)| (place, name)));
                continue;
            }
            let Ok(at) = self.nameless.binary_search_by_key(&target.offset, |(nameless, _)| nameless.offset) else {
                continue;
            };
            let Some((nameless, has_typedef)) = self.nameless.get_mut(at) else { continue };
            *has_typedef = true;
            let definitions = if nameless.enumeration { &mut self.found.enums } else { &mut self.found.aggregates };
            definitions.add(name, nameless.layout.number(), target);
        }
        for (nameless, has_typedef) in &self.nameless {
            if let (true, false, Some(label)) = (nameless.enumeration, has_typedef, nameless.first_label) {
                let place = Place { unit: self.unit.number, offset: nameless.offset };
                self.found.nameless_enums.add(label, nameless.layout.number(), place);
            }
        }
    }

    fn add_variable(&mut self, offset: usize, attributes: &Attributes<'d>) {
        if let (Some(name), Some(ty)) = (attributes.linkage_name.or(attributes.name), attributes.ty) {
            let variable = self.found.variables.entry(name).or_default();
            variable.shared |= attributes.external && !attributes.declaration;
            if attributes.defined {
                variable.defined.get_or_insert(ty);
            } else if attributes.declaration || attributes.external {
                variable.declared.get_or_insert(ty);
            }
            self.found.located.extend(attributes.address.map(|address| (name, address, ty)));
            if attributes.declaration {
                self.declared.push((offset, name, ty));
            }
        } else if let Some(declaration) =
            attributes.specification.or(attributes.abstract_origin.filter(|_| attributes.defined))
        {
            let &Attributes { linkage_name, ty, address, specification, .. } = attributes;
            let specified = specification.is_some();
            self.completed.push(Completed { declaration, linkage_name, ty, address, specified });
        }
    }

    /// `extern int x[]; int x[4];`: the second DIE has the type, the first one the name.
    fn complete_variables(&mut self) {
        for completed in std::mem::take(&mut self.completed) {
            let Place { unit, offset } = completed.declaration;
            let at = self.declared.binary_search_by_key(&offset, |&(offset, ..)| offset);
            match at.ok().filter(|_| unit == self.unit.number).and_then(|at| self.declared.get(at)) {
                Some(&(_, name, declared)) => self.found.note_completed(
                    completed.linkage_name.unwrap_or(name),
                    completed.ty.unwrap_or(declared),
                    &completed,
                ),
                None => self.found.completed_elsewhere.push(completed),
            }
        }
    }
}

fn base_type(attributes: &Attributes<'_>, file_is_big_endian: bool) -> BaseType {
    let (kind, signed) = match attributes.encoding.unwrap_or(gimli::DW_ATE_unsigned) {
        gimli::DW_ATE_boolean => (BaseKind::Bool, false),
        gimli::DW_ATE_signed_char => (BaseKind::Char, true),
        gimli::DW_ATE_unsigned_char | gimli::DW_ATE_UTF | gimli::DW_ATE_UCS | gimli::DW_ATE_ASCII => {
            (BaseKind::Char, false)
        }
        gimli::DW_ATE_float
        | gimli::DW_ATE_complex_float
        | gimli::DW_ATE_imaginary_float
        | gimli::DW_ATE_decimal_float => (BaseKind::Float, true),
        gimli::DW_ATE_signed | gimli::DW_ATE_signed_fixed => (BaseKind::Int, true),
        _ => (BaseKind::Int, false),
    };
    BaseType {
        size: attributes.byte_size,
        signed,
        kind,
        big_endian: attributes.big_endian.unwrap_or(file_is_big_endian),
    }
}
