//! Which piece came after which, and whether that can be. Edges are what blocks show; real time is the order that goes without saying.

use crate::history::{CommandId, History};
use crate::parameters::Blocks;
use crate::verdict::{Rule, Violation};

/// A piece: its command and its blocks.
type Node = (CommandId, Blocks);

/// Pieces and the order among them.
pub(super) struct Graph<'a> {
    history: &'a History,
    nodes: Vec<Node>,
    /// From, to, and the namespace and block that shows it.
    edges: Vec<(usize, usize, (u32, u64))>,
}

impl<'a> Graph<'a> {
    pub(super) const fn new(history: &'a History) -> Self {
        Self { history, nodes: Vec::new(), edges: Vec::new() }
    }

    /// A block shows that `to` came after `from`, or the pair that wrote it does.
    pub(super) fn link(&mut self, from: Node, to: Node, block: (u32, u64)) {
        let (from, to) = (self.number(from), self.number(to));
        if !self.edges.iter().any(|&(f, t, _)| (f, t) == (from, to)) {
            self.edges.push((from, to, block));
        }
    }

    fn number(&mut self, node: Node) -> usize {
        self.nodes.iter().position(|other| *other == node).unwrap_or_else(|| {
            self.nodes.push(node);
            self.nodes.len() - 1
        })
    }

    /// Takes away pieces that nothing comes before, until none is left; what cannot be taken away lies on or behind a cycle. Pieces
    /// without an edge are not here: real time alone has no cycle, and it is transitive.
    pub(super) fn check(&self) -> Result<(), Violation> {
        let mut left: Vec<usize> = (0..self.nodes.len()).collect();
        loop {
            let before = left.len();
            let kept = left.clone();
            left.retain(|&node| kept.iter().any(|&other| other != node && self.is_before(other, node)));
            if left.is_empty() {
                return Ok(());
            }
            if left.len() == before {
                return Err(self.violation(&left));
            }
        }
    }

    fn is_before(&self, one: usize, other: usize) -> bool {
        let shown = self.edges.iter().any(|&(from, to, _)| (from, to) == (one, other));
        let command = |node: usize| self.history.command(self.nodes[node].0).expect("a command of the history");
        shown || command(one).before(command(other))
    }

    fn violation(&self, left: &[usize]) -> Violation {
        let edges: Vec<_> =
            self.edges.iter().filter(|(from, to, _)| left.contains(from) && left.contains(to)).collect();
        let mut commands: Vec<CommandId> = left.iter().map(|&node| self.nodes[node].0).collect();
        commands.sort_unstable();
        commands.dedup();
        let mut found = String::from("these pieces come before each other:");
        for (from, to, (nsid, block)) in &edges {
            let (from, to) = (self.nodes[*from].0, self.nodes[*to].0);
            found.push_str(&format!(" block {block} of namespace {nsid} has {to} after {from};"));
        }
        let mut blocks: Vec<u64> = edges.iter().map(|(_, _, (_, block))| *block).collect();
        blocks.sort_unstable();
        blocks.dedup();
        let nsid = edges.first().map_or(0, |(_, _, (nsid, _))| *nsid);
        Violation { rule: Rule::Unserialisable, commands, nsid, blocks, found }
    }
}
