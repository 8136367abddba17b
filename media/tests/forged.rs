//! Images with right checksums over what cannot be: the structured fuzzer's entry, from seeds.
//!
//! `MEDIA_SEED=n` repeats one; `MEDIA_CASES=n` tries more.

use media::power::Random;
use media::testing::fuzz_entry;

fn input(seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let words = 4 + random.below(40);
    (0..words).flat_map(|_| random.draw().to_le_bytes()).collect()
}

#[test]
fn an_image_that_was_forged_is_refused_or_works_and_never_brings_the_process_down() {
    let variable = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = variable("MEDIA_SEED") {
        fuzz_entry(&input(seed));
        return;
    }
    let cases = variable("MEDIA_CASES").unwrap_or(1000);
    let (mut opened, mut panicked) = (0, Vec::new());
    for seed in 0..cases {
        match std::panic::catch_unwind(|| fuzz_entry(&input(seed))) {
            Ok(worked) => opened += u64::from(worked),
            Err(_) => {
                println!("MEDIA_SEED={seed}");
                panicked.push(seed);
            }
        }
    }
    println!("{cases} images, {opened} of them opened, {} panics", panicked.len());
    assert!(panicked.is_empty(), "seeds {:?}", &panicked[..panicked.len().min(50)]);
    assert!(cases < 100 || (opened > cases / 10 && opened < cases), "{opened} of {cases} opened");
}
