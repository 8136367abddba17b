//! x
use oracle::simulator::*;
fn main() {
    std::panic::set_hook(Box::new(|_| {}));
    for a in std::env::args().skip(1) {
        let seed = a.parse().unwrap();
        let s = scenario(seed, &Wishes::default());
        match attempt(&s) {
            Ok(c) => println!("{seed} {c:?}"),
            Err(f) => {
                let (s, f) = shrink(&s, &f);
                println!("SEED {seed}: {f}\n{s}");
            }
        }
    }
}
