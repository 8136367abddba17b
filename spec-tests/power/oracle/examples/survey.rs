use oracle::simulator::{Counts, Ground, Wishes, attempt, scenario};
fn main() {
    std::panic::set_hook(Box::new(|_| {}));
    let n: Vec<u64> = std::env::args().skip(1).map(|a| a.parse().unwrap()).collect();
    let mut found = std::collections::BTreeMap::new();
    let mut all = Counts::default();
    let (mut cuts, begun) = (0, std::time::Instant::now());
    for seed in n[0]..n[1] {
        let scenario = scenario(seed, &Wishes::default());
        let at = std::time::Instant::now();
        let ran = attempt(&scenario);
        if at.elapsed().as_millis() > 300 {
            println!("slow {seed} {:?}", at.elapsed());
        }
        let name = match ran {
            Ok(c) => {
                cuts += c.cuts;
                all.add(&c);
                continue;
            }
            Err(f) => format!("{:?}", f.violation.rule),
        };
        let ground = if matches!(scenario.ground, Ground::Memory) { "memory" } else { "disk" };
        found.entry((name, ground)).or_insert_with(Vec::new).push(seed);
    }
    for (s, n) in all.at.iter() {
        print!("{} {n}, ", s.name());
    }
    println!();
    println!("{found:?}\n{cuts} cuts in {:?}", begun.elapsed());
}
