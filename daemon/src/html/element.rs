//! Elements, and how they become text. What comes out is HTML and well-formed XML at the same time, so that any parser of either can check
//! it. Names of elements and attributes are ours; everything else is escaped.

use std::fmt::{self, Write as _};

/// Elements that have no end.
const VOID: [&str; 2] = ["meta", "rect"];

/// An element with what is in it.
#[derive(Clone, Debug)]
pub struct Element {
    name: &'static str,
    attributes: Vec<(&'static str, String)>,
    children: Vec<Node>,
}

#[derive(Clone, Debug)]
enum Node {
    Element(Element),
    Text(String),
    /// Text that is ours and that HTML takes as it is: a style sheet.
    Raw(&'static str),
}

/// An empty element.
pub const fn element(name: &'static str) -> Element {
    Element { name, attributes: Vec::new(), children: Vec::new() }
}

impl Element {
    /// With one more attribute.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.attributes.push((name, value.into()));
        self
    }

    /// With a class that the style sheet knows.
    pub fn class(self, name: &'static str) -> Self {
        self.with("class", name)
    }

    /// With text behind what is in it.
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.children.push(Node::Text(text.into()));
        self
    }

    /// With an element behind what is in it.
    pub fn child(mut self, child: Self) -> Self {
        self.children.push(Node::Element(child));
        self
    }

    /// With elements behind what is in it.
    pub fn children(mut self, children: impl IntoIterator<Item = Self>) -> Self {
        self.children.extend(children.into_iter().map(Node::Element));
        self
    }

    /// With a style sheet in it.
    pub fn style_sheet(mut self, sheet: &'static str) -> Self {
        assert!(!sheet.contains(['<', '&']), "a style sheet of ours is the same in HTML and in XML");
        self.children.push(Node::Raw(sheet));
        self
    }
}

impl fmt::Display for Element {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "<{}", self.name)?;
        for (name, value) in &self.attributes {
            write!(formatter, " {name}=\"")?;
            escape(value, formatter)?;
            formatter.write_char('"')?;
        }
        if VOID.contains(&self.name) {
            return formatter.write_str("/>");
        }
        formatter.write_char('>')?;
        // A parser drops the first line of a `pre` if it is empty.
        if self.name == "pre" {
            formatter.write_char('\n')?;
        }
        for child in &self.children {
            match child {
                Node::Element(element) => element.fmt(formatter)?,
                Node::Text(text) => escape(text, formatter)?,
                Node::Raw(text) => formatter.write_str(text)?,
            }
        }
        write!(formatter, "</{}>", self.name)
    }
}

/// Writes text so that it is read back as this text: no element, no end of an attribute, and nothing that moves or hides its neighbours.
fn escape(text: &str, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    for character in text.chars() {
        match character {
            '&' => out.write_str("&amp;")?,
            '<' => out.write_str("&lt;")?,
            '>' => out.write_str("&gt;")?,
            '"' => out.write_str("&quot;")?,
            '\'' => out.write_str("&#39;")?,
            // Neither can hold these: their pictures stand for them.
            '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' => out.write_char(picture(character))?,
            '\t' | '\n' => out.write_char(character)?,
            '\r' => {}
            character if is_hidden(character) => out.write_char(char::REPLACEMENT_CHARACTER)?,
            character => out.write_char(character)?,
        }
    }
    Ok(())
}

/// The sign that Unicode has for a control character.
fn picture(control: char) -> char {
    char::from_u32(0x2400 + u32::from(control)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// Whether nobody sees it, or it turns the order of what is around it.
fn is_hidden(character: char) -> bool {
    matches!(character, '\x7f'..='\u{9f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        | '\u{fffe}' | '\u{ffff}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text_wherever_it_stands() {
        let hostile = "</pre><script>alert(1)</script> \"onclick='x' & &lt;";
        let whole = element("p").with("title", hostile).text(hostile).to_string();
        let document = roxmltree::Document::parse(&whole).expect("well formed");
        let root = document.root_element();
        assert_eq!((root.attribute("title"), root.text()), (Some(hostile), Some(hostile)), "{whole}");
        assert_eq!((root.attributes().len(), root.children().filter(|it| it.is_element()).count()), (1, 0), "{whole}");
    }

    #[test]
    fn what_a_terminal_obeys_is_shown_and_moves_nothing() {
        let said = element("p").text("a\x1b[2J\0\r\n\tb\u{202e}c\u{feff}\u{9b}d").to_string();
        assert_eq!(said, "<p>a\u{241b}[2J\u{2400}\n\tb\u{fffd}c\u{fffd}\u{fffd}d</p>");
    }

    #[test]
    fn any_text_can_be_read_back() {
        for number in 0..=0x11_ffff {
            let Some(character) = char::from_u32(number) else { continue };
            if number < 0x3000 || number % 61 == 0 {
                let whole = element("p").with("title", character).text(character).to_string();
                assert!(roxmltree::Document::parse(&whole).is_ok(), "{number:x}");
            }
        }
    }

    #[test]
    fn the_first_line_of_what_is_kept_as_it_is_is_kept() {
        assert_eq!(element("pre").text("\na").to_string(), "<pre>\n\na</pre>");
        assert_eq!(element("meta").with("charset", "utf-8").to_string(), "<meta charset=\"utf-8\"/>");
    }
}
