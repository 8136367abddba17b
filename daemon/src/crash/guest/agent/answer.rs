//! What the agent in a guest says, line by line, in answer to an order. Whatever is on the other end of the port may say anything.

/// What came in answer to an order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// For people: the end of what a script said.
    pub said: String,
    /// The code with which a script ended.
    pub code: Option<i32>,
    /// The load has begun.
    pub running: bool,
    /// What was acknowledged, a line each.
    pub acks: String,
    /// What the check said for the campaign: lines that begin with `found`, `illegal` or `mark`.
    pub told: String,
}

/// What a line is to who waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A part of the answer, or nothing that is known.
    More,
    /// The answer is complete.
    Done,
    /// The agent has begun: it knows of no order.
    Ready,
    /// The agent cannot go on.
    Failed(String),
}

impl Answer {
    /// Takes one line.
    pub fn take(&mut self, line: &str) -> Heard {
        let line = line.trim_end_matches(['\r', '\n']);
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let add = |text: &mut String, line: &str| {
            text.push_str(line);
            text.push('\n');
        };
        match word {
            "done" if rest.is_empty() => return Heard::Done,
            "ready" if rest.is_empty() => return Heard::Ready,
            "failed" => return Heard::Failed(rest.to_owned()),
            "running" if rest.is_empty() => self.running = true,
            "said" => add(&mut self.said, rest),
            "ack" => add(&mut self.acks, rest),
            "found" | "illegal" | "mark" => add(&mut self.told, line),
            "code" => self.code = rest.parse().ok(),
            _ => {}
        }
        Heard::More
    }

    /// What the check calls illegal, whatever its code.
    pub fn illegal(&self) -> impl Iterator<Item = &str> {
        self.told.lines().filter_map(|line| line.strip_prefix("illegal "))
    }

    /// Where the load, or the check, was last, if it says so.
    pub fn mark(text: &str) -> Option<&str> {
        text.lines().rev().find_map(|line| line.strip_prefix("mark "))
    }
}

/// Text as an order has it: one word, whatever it was.
pub fn escaped(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"_-=,./:+".contains(byte) {
            text.push(char::from(*byte));
        } else {
            text.push_str(&format!("\\0{byte:03o}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_put_together_from_its_lines() {
        let mut answer = Answer::default();
        for line in [
            "said one",
            "said  two\r\n",
            "ack try row 1",
            "found row 1",
            "illegal row 1 is torn",
            "mark here",
            "code 3",
            "running",
        ] {
            assert_eq!(answer.take(line), Heard::More, "{line}");
        }
        assert_eq!(answer.take("done\n"), Heard::Done);
        assert_eq!((answer.said.as_str(), answer.acks.as_str()), ("one\n two\n", "try row 1\n"));
        assert_eq!((answer.code, answer.running), (Some(3), true));
        assert_eq!(answer.illegal().collect::<Vec<_>>(), ["row 1 is torn"]);
        assert_eq!(Answer::mark(&answer.told), Some("here"));
        assert_eq!(
            answer.take("failed the check keeps the drive busy"),
            Heard::Failed("the check keeps the drive busy".into())
        );
        assert_eq!(answer.take("ready"), Heard::Ready);
    }

    #[test]
    fn what_nobody_knows_says_nothing() {
        let mut answer = Answer::default();
        for line in [
            "",
            " ",
            "code x",
            "code 99999999999",
            "done it",
            "ready?",
            "running away",
            "\u{fffd}\u{0}",
            "DONE",
            " done",
        ] {
            assert_eq!(answer.take(line), Heard::More, "{line:?}");
        }
        assert_eq!(answer, Answer::default());
        assert_eq!(Answer::mark("marks\nmarked x"), None);
    }

    #[test]
    fn any_byte_is_part_of_one_word() {
        assert_eq!(escaped(b"a=1,b/c.d:e+f_g-h"), "a=1,b/c.d:e+f_g-h");
        assert_eq!(escaped(b"it's\\\n"), "it\\0047s\\0134\\0012");
        assert_eq!(escaped(&[0, 0xff, b' ']), "\\0000\\0377\\0040");
    }
}
