//! JSON straight to text, in the layout of [`Style::NEW`](crate::json::Style::NEW): what
//! [`print`](crate::json::print) makes of a tree, without the tree.

use crate::json::{Node, Style, indent, integer, print_node, print_text};
use std::collections::BTreeMap;

/// Text that grows by one value after the other.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    out: String,
    /// Dicts that are open.
    depth: usize,
}

/// A dict that is being written.
#[derive(Debug)]
pub(crate) struct Items<'w> {
    writer: &'w mut Writer,
    /// Items that were written, those among them that were left out.
    seen: usize,
    left_out: usize,
}

impl Writer {
    /// The text.
    pub(crate) fn finish(self) -> String {
        self.out
    }

    /// A text in quotes.
    pub(crate) fn text(&mut self, text: &str) {
        print_text(&mut self.out, text);
    }

    /// A number.
    pub(crate) fn number(&mut self, number: impl itoa::Integer) {
        self.out.push_str(itoa::Buffer::new().format(number));
    }

    /// A value that is there as a tree.
    pub(crate) fn node(&mut self, node: &Node) {
        self.node_in(Style::NEW, node);
    }

    /// The same in another style.
    pub(crate) fn node_in(&mut self, style: Style, node: &Node) {
        print_node(&mut self.out, node, style, self.depth, false);
    }

    /// A value that is there as text, laid out for this depth.
    pub(crate) fn laid_out(&mut self, text: &str) {
        self.out.push_str(text);
    }

    /// A list of what `write` makes of each item.
    pub(crate) fn list<T>(&mut self, items: impl IntoIterator<Item = T>, mut write: impl FnMut(&mut Self, T)) {
        self.out.push('[');
        for (at, item) in items.into_iter().enumerate() {
            if at > 0 {
                self.out.push_str(", ");
            }
            write(self, item);
        }
        self.out.push(']');
    }

    /// A list of two values, as structs, members and types are.
    pub(crate) fn pair(&mut self, first: impl FnOnce(&mut Self), second: impl FnOnce(&mut Self)) {
        self.out.push('[');
        first(self);
        self.out.push_str(", ");
        second(self);
        self.out.push(']');
    }

    /// A dict of the items that `fill` writes in their order.
    pub(crate) fn dict(&mut self, fill: impl FnOnce(&mut Items<'_>)) {
        self.out.push('{');
        self.depth += 1;
        let mut items = Items { writer: self, seen: 0, left_out: 0 };
        fill(&mut items);
        let (seen, left_out) = (items.seen, items.left_out);
        self.depth -= 1;
        if seen > 0 {
            if seen == left_out {
                self.out.push('\n');
                indent(&mut self.out, self.depth);
            }
            self.out.push('\n');
            indent(&mut self.out, self.depth);
        }
        self.out.push('}');
    }

    /// A dict of what `write` makes of each value.
    pub(crate) fn map<T>(&mut self, table: &BTreeMap<String, T>, mut write: impl FnMut(&mut Self, &T)) {
        // They are in the order of their code points; where all are integers that is another one.
        if table.keys().all(|key| integer(key).is_some()) {
            return self.sorted(table.iter().map(|(key, value)| (key.as_str(), value)).collect(), write);
        }
        self.dict(|dict| {
            for (key, value) in table {
                dict.item(key, |writer| write(writer, value));
            }
        });
    }

    /// A dict of items in any order: they are sorted by code point, or by value where all keys are integers.
    pub(crate) fn sorted<T>(&mut self, mut items: Vec<(&str, T)>, mut write: impl FnMut(&mut Self, T)) {
        if items.iter().all(|(key, _)| integer(key).is_some()) {
            items.sort_by_key(|(key, _)| integer(key));
        } else {
            items.sort_by_key(|(key, _)| *key);
        }
        self.dict(|dict| {
            for (key, value) in items {
                dict.item(key, |writer| write(writer, value));
            }
        });
    }
}

impl Items<'_> {
    /// An item. One whose value is an empty dict is left out.
    pub(crate) fn item(&mut self, key: &str, write: impl FnOnce(&mut Writer)) {
        let writer = &mut *self.writer;
        let start = writer.out.len();
        writer.out.push_str(if self.seen == self.left_out { "\n" } else { ", \n" });
        indent(&mut writer.out, writer.depth);
        writer.text(key);
        writer.out.push_str(": ");
        let value = writer.out.len();
        write(writer);
        self.seen += 1;
        // No other value is written so: a text has quotes.
        if writer.out.get(value..) == Some("{}") {
            writer.out.truncate(start);
            self.left_out += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dicts_without_items_are_left_out_of_dicts_only() {
        let mut writer = Writer::default();
        writer.dict(|items| {
            items.item("a", |w| w.pair(|w| w.number(1), |w| w.dict(|_| {})));
            items.item("b", |w| w.dict(|_| {}));
            items.item("c", |w| w.dict(|items| items.item("d", |w| w.dict(|_| {}))));
        });
        assert_eq!(writer.finish(), "{\n \"a\": [1, {}], \n \"c\": {\n \n }\n}");
    }

    #[test]
    fn keys_are_sorted_as_print_sorts_them() {
        for text in
            [r#"{"10": 1, "9": 2, "-1": 3}"#, r#"{"10": 1, "9": 2, "x": 3}"#, r#"{"01": 1, "1": 2, "09": "é\"\\"}"#]
        {
            let node = Node::parse(text).expect("JSON");
            let mut writer = Writer::default();
            let items = node.as_dict().expect("a dict").iter().map(|(key, value)| (key.as_str(), value));
            writer.sorted(items.collect(), Writer::node);
            assert_eq!(writer.finish(), crate::json::print(&node, Style::NEW));
        }
    }
}
