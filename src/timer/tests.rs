use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// All that is due at `now_ms`, through as many calls as it takes.
fn expire_all(wheel: &mut Wheel, now_ms: u64, max: usize) -> Vec<u32> {
    let mut due = Vec::new();
    loop {
        let before = due.len();
        wheel.expire(now_ms, max, &mut due);
        assert!(due.len() - before <= max);
        if wheel.next_due_ms().is_none_or(|next| next > now_ms) {
            return due;
        }
    }
}

#[test]
fn a_short_deadline_fires_within_a_tick_and_never_early() {
    for start_ms in [0, 3, 511, 512, 1_000_003] {
        for away_ms in 0..=1_100 {
            let mut wheel = Wheel::new(start_ms);
            wheel.arm(7, start_ms + away_ms);
            let mut calls = 0;
            let fired_ms = loop {
                let next_ms = wheel.next_due_ms().expect("one is armed").max(start_ms);
                calls += 1;
                if expire_all(&mut wheel, next_ms, 1) == [7] {
                    break next_ms;
                }
            };
            let late_ms = fired_ms.checked_sub(start_ms + away_ms).expect("not early");
            assert!(late_ms < 8, "{start_ms}+{away_ms}: {late_ms} ms late");
            assert!(calls <= 3, "{start_ms}+{away_ms}: {calls} calls");
            assert!(wheel.is_empty() && !wheel.is_armed(7));
        }
    }
}

#[test]
fn far_deadlines_cost_at_most_one_call_per_level() {
    for deadline_ms in [25_000, 3_600_000, 1 << 40, u64::MAX - 8, u64::MAX] {
        let mut wheel = Wheel::new(12_345);
        wheel.arm(0, deadline_ms);
        let mut calls = 0;
        while !wheel.is_empty() {
            let next_ms = wheel.next_due_ms().expect("one is armed");
            expire_all(&mut wheel, next_ms, 1);
            calls += 1;
        }
        assert!(calls <= LEVELS, "{deadline_ms}: {calls} calls");
        assert!((wheel.position << TICK_SHIFT).abs_diff(deadline_ms) < 8);
    }
}

#[test]
fn what_exceeds_the_limit_stays_due() {
    let mut wheel = Wheel::new(0);
    for index in 0..1_000 {
        wheel.arm(index, 100);
    }
    let mut due = Vec::new();
    wheel.expire(104, 256, &mut due);
    assert_eq!(due.len(), 256);
    assert_eq!(wheel.next_due_ms(), Some(104));
    wheel.arm(5_000, 0);
    assert_eq!(expire_all(&mut wheel, 104, 256).len(), 745);
    assert_eq!(wheel.next_due_ms(), None);
    wheel.expire(104, 0, &mut due);
    assert_eq!(due.len(), 256);
}

#[test]
fn moving_down_is_bounded_too() {
    let mut wheel = Wheel::new(0);
    for index in 0..10_000 {
        wheel.arm(index, 3_600_000 + u64::from(index % 1_000));
    }
    let mut due = Vec::new();
    let mut calls = 0;
    while let Some(next_ms) = wheel.next_due_ms() {
        let before = due.len();
        wheel.expire(next_ms, 64, &mut due);
        calls += 1;
        assert!(due.len() - before <= 64);
    }
    assert_eq!(due.len(), 10_000);
    // Ten thousand expiries of 64, and as many moves of 1,024 at two or three levels.
    assert!((10_000 / 64..500).contains(&calls), "{calls} calls");
}

#[test]
fn an_interrupted_cascade_survives_rearming_and_disarming() {
    let mut wheel = Wheel::new(0);
    for index in 0..40 {
        wheel.arm(index, 600 + u64::from(index));
    }
    // One expiry allowed: 16 of 40 move down, nothing is due yet.
    let mut due = Vec::new();
    wheel.expire(512, 1, &mut due);
    assert!(due.is_empty() && wheel.cascading.is_some());
    assert_eq!(wheel.next_due_ms(), Some(512));
    for index in 0..40 {
        if index % 2 == 0 { wheel.disarm(index) } else { wheel.arm(index, 2_000 - u64::from(index)) }
    }
    assert_eq!(wheel.cascading, None);
    assert_eq!(wheel.len(), 20);
    assert!(expire_all(&mut wheel, 1_950, 1).is_empty());
    let all = expire_all(&mut wheel, 2_000, 1);
    assert_eq!(all.len(), 20);
    assert!(all[0] > all[19]);
}

#[test]
fn moves_that_run_out_between_two_slots_leave_the_later_one_whole() {
    let mut wheel = Wheel::new(0);
    // Four entries that move down through four levels at once take all sixteen moves of one expiry.
    let now_ms = 558_482_085_888;
    for index in 0..4 {
        wheel.arm(index, now_ms);
    }
    let mut due = Vec::new();
    wheel.expire(now_ms, 1, &mut due);
    assert!(due.is_empty() && wheel.cascading.is_none());
    // One armed for a later tick must not hide those that are due already.
    wheel.arm(4, now_ms + 8);
    assert!(wheel.next_due_ms() <= Some(now_ms));
    assert_eq!(expire_all(&mut wheel, now_ms, 1), [0, 1, 2, 3]);
    assert_eq!(expire_all(&mut wheel, now_ms + 8, 1), [4]);
}

#[test]
fn sparse_indices_take_only_their_chunks() {
    let mut wheel = Wheel::new(0);
    wheel.arm(0, 1);
    wheel.arm(1_000_000, 1);
    assert_eq!(wheel.chunks.iter().flatten().count(), 2);
    assert!(!wheel.is_armed(5_000) && !wheel.is_armed(u32::MAX));
    wheel.disarm(u32::MAX);
    assert_eq!(wheel.len(), 2);
    assert_eq!(size_of::<Entry>(), 16);
}

#[test]
#[should_panic(expected = "link of the wheel's own")]
fn an_index_that_would_be_a_link_is_refused() {
    Wheel::new(0).arm(INDEX_LIMIT, 1);
}

#[derive(Debug, Clone)]
enum Step {
    ArmIn(u32, u64),
    ArmAt(u32, u64),
    Disarm(u32),
    Advance(u64, usize),
    JumpTo(u64, usize),
    /// Let time stand still and take only some.
    Again(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let index = prop_oneof![0_u32..40, Just(1_023), Just(1_024), Just(70_000)];
    let away = prop_oneof![0_u64..1_200, 0_u64..100_000, 0_u64..u64::MAX];
    let at = prop_oneof![Just(0), Just(u64::MAX), u64::MAX - 20..u64::MAX, any::<u64>(), 0_u64..2_000];
    let max = prop_oneof![1_usize..4, Just(usize::MAX)];
    prop_oneof![
        5 => (index.clone(), away).prop_map(|(index, away)| Step::ArmIn(index, away)),
        1 => (index.clone(), at.clone()).prop_map(|(index, at)| Step::ArmAt(index, at)),
        2 => index.prop_map(Step::Disarm),
        4 => (0_u64..700, max.clone()).prop_map(|(ms, max)| Step::Advance(ms, max)),
        1 => (0_u64..1 << 45, max.clone()).prop_map(|(ms, max)| Step::Advance(ms, max)),
        1 => (at, max).prop_map(|(at, max)| Step::JumpTo(at, max)),
        2 => (0_usize..3).prop_map(Step::Again),
    ]
}

/// A sorted map that says what the wheel must do: index → (deadline, tick at which it may be handed out).
#[derive(Default)]
struct Model {
    armed: BTreeMap<u32, (u64, u64)>,
}

impl Model {
    fn arm(&mut self, wheel: &mut Wheel, index: u32, deadline_ms: u64) {
        let tick = deadline_ms.div_ceil(8).min(TICK_MAX).max(wheel.position);
        wheel.arm(index, deadline_ms);
        self.armed.insert(index, (deadline_ms, tick));
    }

    /// Takes what the wheel handed out, which must be due and in order.
    fn take(&mut self, now_ms: u64, due: &[u32]) {
        let mut last = 0;
        for index in due {
            let (deadline_ms, tick) = self.armed.remove(index).expect("handed out once, and only if armed");
            // The last seven milliseconds of all time are clamped.
            assert!(deadline_ms.min(TICK_MAX << TICK_SHIFT) <= now_ms, "{index} is early");
            assert!(last <= tick, "{index} is out of order");
            last = tick;
        }
    }

    fn check(&self, wheel: &Wheel) {
        assert_eq!(wheel.len(), self.armed.len());
        for index in (0..40).chain([1_023, 1_024, 70_000, 9_999]) {
            assert_eq!(wheel.is_armed(index), self.armed.contains_key(&index), "{index}");
        }
        let first = self.armed.values().map(|&(_, tick)| tick).min();
        let next = wheel.next_due_ms().map(|ms| ms >> TICK_SHIFT);
        assert_eq!(next.is_some(), first.is_some());
        assert!(next <= first, "woken at {next:?}, due at {first:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn the_wheel_agrees_with_a_sorted_map(start_ms in prop_oneof![0_u64..5_000, any::<u64>()], steps in vec(step(), 1..120)) {
        let mut now_ms = start_ms;
        let mut wheel = Wheel::new(start_ms);
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::ArmIn(index, away) => model.arm(&mut wheel, index, now_ms.saturating_add(away)),
                Step::ArmAt(index, at) => model.arm(&mut wheel, index, at),
                Step::Disarm(index) => {
                    wheel.disarm(index);
                    model.armed.remove(&index);
                }
                Step::Again(max) => {
                    let mut due = Vec::new();
                    wheel.expire(now_ms, max, &mut due);
                    prop_assert!(due.len() <= max);
                    model.take(now_ms, &due);
                }
                Step::Advance(..) | Step::JumpTo(..) => {
                    let (to_ms, max) = match step {
                        Step::Advance(ms, max) => (now_ms.saturating_add(ms), max),
                        Step::JumpTo(ms, max) => (ms, max),
                        _ => unreachable!("only steps in time come here"),
                    };
                    // A clock that went back stands still for the wheel.
                    now_ms = now_ms.max(to_ms);
                    let due = expire_all(&mut wheel, to_ms.max(now_ms), max);
                    model.take(now_ms, &due);
                    let left = model.armed.values().filter(|&&(_, tick)| tick <= now_ms >> TICK_SHIFT).count();
                    prop_assert_eq!(left, 0, "due but not handed out");
                }
            }
            model.check(&wheel);
        }
    }
}
