//! Every choice that a schedule makes, drawn from a seed and written down.
//!
//! A schedule is nothing but its choices: the same tape plays the same schedule, and a tape that is shortened, or whose numbers are
//! made smaller, plays a simpler one. So choices are written such that **zero is the natural one**: no fault, the oldest thing first.

/// What a choice is about. Each has a tape of its own, so that a fault less does not change what runs are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// What the schedule is about, and its rates.
    Setup,
    /// Which step is made.
    Pick,
    /// What goes wrong with calls.
    Fault,
    /// What becomes of TaskRuns.
    Life,
    /// What comes from outside.
    Disturb,
}

/// How many channels there are.
pub const CHANNELS: usize = 5;

/// The choices of a schedule, by channel.
pub type Choices = [Vec<u32>; CHANNELS];

/// The choices of one schedule.
#[derive(Debug)]
pub struct Tape {
    state: u64,
    channel: usize,
    /// What was chosen so far.
    made: Choices,
    /// What shall be chosen; behind its end, zeros.
    given: Option<Choices>,
}

impl Tape {
    /// Draws every choice from a seed.
    pub fn seeded(seed: u64) -> Self {
        Self {
            state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5DEE_CE66_D1CE_4E5B,
            channel: 0,
            made: Choices::default(),
            given: None,
        }
    }

    /// Makes the choices that are given, and behind their end the natural ones.
    pub fn given(choices: Choices) -> Self {
        Self { state: 0, channel: 0, made: Choices::default(), given: Some(choices) }
    }

    /// Says what the next choices are about.
    pub fn on(&mut self, channel: Channel) -> &mut Self {
        self.channel = channel as usize;
        self
    }

    /// The choice that is given, if choices are.
    fn next_given(&self) -> Option<u32> {
        let given = self.given.as_ref()?;
        Some(given[self.channel].get(self.made[self.channel].len()).copied().unwrap_or(0))
    }

    /// Chooses a number below `bound`. A bound of 0 or 1 leaves no choice, and none is written down.
    pub fn below(&mut self, bound: u32) -> u32 {
        if bound <= 1 {
            return 0;
        }
        let choice = match self.next_given() {
            Some(given) => given.min(bound - 1),
            None => u32::try_from((u64::from(bound) * (self.next() >> 32)) >> 32).unwrap_or(0),
        };
        self.made[self.channel].push(choice);
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
                let yes = match self.next_given() {
                    Some(given) => given > 0,
                    None => (1000 * (self.next() >> 32)) >> 32 < u64::from(permille),
                };
                self.made[self.channel].push(u32::from(yes));
                yes
            }
        }
    }

    /// Chooses an index, each as often as its weight says. Not all weights may be zero.
    pub fn weighted<T>(&mut self, weights: &[(T, u32)]) -> usize {
        let count = weights.len();
        if count <= 1 {
            return 0;
        }
        let choice = if let Some(given) = self.next_given() {
            (given as usize).min(count - 1)
        } else {
            let total: u64 = weights.iter().map(|(_, weight)| u64::from(*weight)).sum();
            let mut left = (total * (self.next() >> 32)) >> 32;
            let mut found = 0;
            for (index, (_, weight)) in weights.iter().enumerate() {
                found = index;
                if left < u64::from(*weight) {
                    break;
                }
                left -= u64::from(*weight);
            }
            found
        };
        self.made[self.channel].push(u32::try_from(choice).unwrap_or(0));
        choice
    }

    /// What was chosen so far.
    pub fn made(&self) -> &Choices {
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
                    tape.weighted(&[((), 1), ((), 0), ((), 5)]),
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
        let mut again = Tape::given(first.made().clone());
        assert_eq!(draw(&mut again), drawn);
        assert_eq!(again.made(), first.made());
    }

    #[test]
    fn behind_the_end_everything_is_natural() {
        let mut tape = Tape::given([vec![9, 1], vec![], vec![], vec![], vec![]]);
        assert_eq!(tape.below(3), 2, "what is too large is cut");
        assert!(tape.permille(1));
        assert_eq!((tape.below(3), tape.permille(999), tape.weighted(&[((), 1), ((), 9)])), (0, false, 0));
    }

    #[test]
    fn channels_do_not_disturb_each_other() {
        let mut tape = Tape::given([vec![1], vec![2], vec![], vec![], vec![]]);
        assert_eq!(tape.on(Channel::Pick).below(5), 2);
        assert_eq!(tape.on(Channel::Setup).below(5), 1);
        assert_eq!(tape.on(Channel::Pick).below(5), 0);
    }

    #[test]
    fn no_choice_is_not_written_down() {
        let mut tape = Tape::seeded(1);
        assert_eq!(
            (tape.below(1), tape.permille(0), tape.permille(1000), tape.weighted(&[((), 3)])),
            (0, false, true, 0)
        );
        assert!(tape.made().iter().all(Vec::is_empty));
    }

    #[test]
    fn weights_are_kept() {
        let mut tape = Tape::seeded(3);
        let mut counts = [0; 3];
        for _ in 0..3000 {
            counts[tape.weighted(&[((), 1), ((), 0), ((), 2)])] += 1;
        }
        assert_eq!(counts[1], 0);
        assert!((800..1200).contains(&counts[0]), "{counts:?}");
    }
}
