//! Every choice that a schedule makes, drawn from a seed and written down.
//!
//! A schedule is nothing but its choices: the same tape plays the same schedule, and a tape that is shortened, or whose numbers are
//! made smaller, plays a simpler one. So choices are written such that **zero is the natural one**: no fault, the oldest thing first.

/// The choices of one schedule.
#[derive(Debug)]
pub struct Tape {
    state: u64,
    /// What was chosen so far.
    made: Vec<u32>,
    /// What shall be chosen; behind its end, zeros.
    given: Option<Vec<u32>>,
}

impl Tape {
    /// Draws every choice from a seed.
    pub fn seeded(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5DEE_CE66_D1CE_4E5B, made: Vec::new(), given: None }
    }

    /// Makes the choices that are given, and behind their end the natural ones.
    pub fn given(choices: Vec<u32>) -> Self {
        Self { state: 0, made: Vec::new(), given: Some(choices) }
    }

    /// Chooses a number below `bound`. A bound of 0 or 1 leaves no choice, and none is written down.
    pub fn below(&mut self, bound: u32) -> u32 {
        if bound <= 1 {
            return 0;
        }
        let choice = match &self.given {
            Some(given) => given.get(self.made.len()).copied().unwrap_or(0).min(bound - 1),
            None => u32::try_from((u64::from(bound) * (self.next() >> 32)) >> 32).unwrap_or(0),
        };
        self.made.push(choice);
        choice
    }

    /// Chooses an index of a list that is not empty.
    pub fn index(&mut self, length: usize) -> usize {
        self.below(u32::try_from(length).unwrap_or(u32::MAX)) as usize
    }

    /// Chooses one of several.
    pub fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.index(of.len())]
    }

    /// Says yes in `permille` of a thousand cases. Never and always are no choices.
    pub fn permille(&mut self, permille: u32) -> bool {
        match permille {
            0 => false,
            1000.. => true,
            _ => {
                let yes = match &self.given {
                    Some(given) => given.get(self.made.len()).copied().unwrap_or(0) > 0,
                    None => (1000 * (self.next() >> 32)) >> 32 < u64::from(permille),
                };
                self.made.push(u32::from(yes));
                yes
            }
        }
    }

    /// Chooses an index, each as often as its weight says. Not all weights may be zero.
    pub fn weighted(&mut self, weights: impl Iterator<Item = u32> + Clone) -> usize {
        let total: u32 = weights.clone().sum();
        let count = weights.clone().count();
        if count <= 1 {
            return 0;
        }
        let choice = match &self.given {
            Some(given) => {
                (given.get(self.made.len()).copied().unwrap_or(0) as usize).min(count - 1)
            }
            None => {
                let mut left = u32::try_from((u64::from(total) * (self.next() >> 32)) >> 32).unwrap_or(0);
                let mut found = 0;
                for (index, weight) in weights.enumerate() {
                    found = index;
                    if left < weight {
                        break;
                    }
                    left -= weight;
                }
                found
            }
        };
        self.made.push(u32::try_from(choice).unwrap_or(0));
        choice
    }

    /// What was chosen so far.
    pub fn made(&self) -> &[u32] {
        &self.made
    }

    /// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014).
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(tape: &mut Tape) -> Vec<usize> {
        (0..50)
            .flat_map(|_| {
                [
                    tape.below(7) as usize,
                    usize::from(tape.permille(300)),
                    tape.weighted([1, 0, 5].into_iter()),
                    tape.index(3),
                ]
            })
            .collect()
    }

    #[test]
    fn the_same_tape_plays_the_same_choices() {
        let mut first = Tape::seeded(7);
        let drawn = draw(&mut first);
        assert_eq!(draw(&mut Tape::seeded(7)), drawn);
        assert_ne!(draw(&mut Tape::seeded(8)), drawn);
        let mut again = Tape::given(first.made().to_vec());
        assert_eq!(draw(&mut again), drawn);
        assert_eq!(again.made(), first.made());
    }

    #[test]
    fn behind_the_end_everything_is_natural() {
        let mut tape = Tape::given(vec![9, 1]);
        assert_eq!(tape.below(3), 2, "what is too large is cut");
        assert!(tape.permille(1));
        assert_eq!((tape.below(3), tape.permille(999), tape.weighted([1, 9].into_iter())), (0, false, 0));
    }

    #[test]
    fn no_choice_is_not_written_down() {
        let mut tape = Tape::seeded(1);
        assert_eq!((tape.below(1), tape.permille(0), tape.permille(1000), tape.weighted([3].into_iter())), (0, false, true, 0));
        assert!(tape.made().is_empty());
    }

    #[test]
    fn weights_are_kept() {
        let mut tape = Tape::seeded(3);
        let mut counts = [0; 3];
        for _ in 0..3000 {
            counts[tape.weighted([1, 0, 2].into_iter())] += 1;
        }
        assert_eq!(counts[1], 0);
        assert!((800..1200).contains(&counts[0]), "{counts:?}");
    }
}
