//! The queue against a plain list of frames, whatever order pushes, sends and discards come in.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    /// A frame of this many bytes from one of three logs, to the connections of this mask.
    Push {
        log: usize,
        bytes: usize,
        connections: u8,
    },
    /// Connection asks for its batch.
    Take(usize),
    /// The kernel takes this share (in 1/255) of the batch in flight.
    Complete(usize, u8),
    Discard(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3_usize, prop_oneof![Just(5_usize), 100..300_usize, Just(CHUNK_BYTES - 7), Just(CHUNK_BYTES * 2)],
              any::<u8>())
            .prop_map(|(log, bytes, connections)| Step::Push { log, bytes, connections }),
        3 => (0..4_usize).prop_map(Step::Take),
        3 => (0..4_usize, any::<u8>()).prop_map(|(c, share)| Step::Complete(c, share)),
        1 => (0..4_usize).prop_map(Step::Discard),
    ]
}

proptest! {
    #[test]
    fn every_connection_sends_exactly_its_frames_in_order(steps in vec(step(), 1..200)) {
        let mut chunks = Chunks::default();
        let mut logs = [Log::default(); 3];
        let mut boxes: [Outbox; 4] = Default::default();
        let mut expected: [VecDeque<u8>; 4] = Default::default();
        let mut flights: [Option<Range>; 4] = [None; 4];
        let mut next = 0_u8;
        for step in steps {
            match step {
                Step::Push { log, bytes, connections } => {
                    let payload: Vec<u8> = (0..bytes).map(|_| { next = next.wrapping_add(1); next }).collect();
                    let frame = chunks.append(&mut logs[log], &payload[..2], &payload[2..]);
                    for (index, outbox) in boxes.iter_mut().enumerate() {
                        if connections & (1 << index) != 0 {
                            outbox.push(&mut chunks, frame);
                            expected[index].extend(&payload);
                        }
                    }
                }
                Step::Take(index) => if let Some(range) = boxes[index].take_batch() {
                    prop_assert!(flights[index].is_none());
                    flights[index] = Some(range);
                },
                Step::Complete(index, share) => if let Some(range) = flights[index].take() {
                    let sent = range.len() * u32::from(share) / 255;
                    let bytes = chunks.bytes(range)[..sent as usize].to_vec();
                    for byte in bytes {
                        prop_assert_eq!(Some(byte), expected[index].pop_front());
                    }
                    prop_assert!(boxes[index].complete(&mut chunks, sent));
                },
                Step::Discard(index) => {
                    boxes[index].discard_waiting(&mut chunks);
                    expected[index].truncate(flights[index].map_or(0, |range| range.len() as usize));
                }
            }
        }
        for (index, outbox) in boxes.iter_mut().enumerate() {
            while let Some(range) = flights[index].take().or_else(|| outbox.take_batch()) {
                let bytes = chunks.bytes(range).to_vec();
                for byte in bytes {
                    prop_assert_eq!(Some(byte), expected[index].pop_front());
                }
                prop_assert!(outbox.complete(&mut chunks, range.len()));
            }
            prop_assert!(expected[index].is_empty());
            prop_assert_eq!(outbox.queued_bytes(), 0);
        }
        for log in &mut logs {
            chunks.close(log);
        }
        prop_assert_eq!(chunks.in_use_count(), 0, "a chunk is still referred to");
    }
}

#[test]
fn a_burst_is_one_batch() {
    let mut chunks = Chunks::default();
    let mut log = Log::default();
    let mut outbox = Outbox::default();
    for _ in 0..64 {
        let frame = chunks.append(&mut log, b"hh", &[7; 180]);
        outbox.push(&mut chunks, frame);
    }
    assert_eq!(outbox.take_batch().map(Range::len), Some(64 * 182));
}

#[test]
fn scattered_frames_do_not_pin_a_chunk_each() {
    let mut chunks = Chunks::default();
    let mut here = Log::default();
    let mut outbox = Outbox::default();
    let mut busy = Outbox::default();
    for _ in 0..1_000 {
        let frame = chunks.append(&mut here, &[], &[1; 100]);
        outbox.push(&mut chunks, frame);
        for _ in 0..100 {
            let other = chunks.append(&mut here, &[], &[2; 100]);
            busy.push(&mut chunks, other);
        }
        busy.clear(&mut chunks);
    }
    chunks.close(&mut here);
    assert!(chunks.held_bytes() <= 3 * 100_000, "{} bytes for 100 kB", chunks.held_bytes());
}

#[test]
fn the_kernel_cannot_take_more_than_it_was_given() {
    let mut chunks = Chunks::default();
    let mut outbox = Outbox::default();
    let frame = chunks.append(&mut Log::default(), &[], b"abc");
    outbox.push(&mut chunks, frame);
    assert!(!outbox.complete(&mut chunks, 1));
    assert!(outbox.take_batch().is_some());
    assert!(!outbox.complete(&mut chunks, 4));
}
