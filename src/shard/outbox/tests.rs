//! The queue against a plain list of frames, whatever order pushes, sends and discards come in.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::wire::websocket::frame_header;

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

/// One frame as a peer should get it, and how much of it left already.
#[derive(Debug, Clone)]
struct Expected {
    bytes: Vec<u8>,
    sent: usize,
}

#[derive(Debug, Clone)]
enum ThinningStep {
    /// A frame with a payload of this many bytes from one of two logs, or one that others' frames lie beside.
    Push {
        log: usize,
        bytes: usize,
        between: usize,
    },
    Take,
    Complete(u8),
    /// Keeps every frame that waits and whose bit is set.
    Thin(u32),
}

fn thinning_step() -> impl Strategy<Value = ThinningStep> {
    let bytes = prop_oneof![Just(5_usize), 100..300_usize, Just(3_000_usize), Just(CHUNK_BYTES * 2)];
    prop_oneof![
        6 => (0..2_usize, bytes, prop_oneof![Just(0_usize), 1..3_usize])
            .prop_map(|(log, bytes, between)| ThinningStep::Push { log, bytes, between }),
        2 => Just(ThinningStep::Take),
        2 => any::<u8>().prop_map(ThinningStep::Complete),
        1 => any::<u32>().prop_map(ThinningStep::Thin),
    ]
}

/// Takes what left from the front of what is expected.
fn leave(expected: &mut VecDeque<Expected>, sent: &[u8]) -> Result<(), TestCaseError> {
    for byte in sent {
        let front = expected.front_mut().expect("more left than was queued");
        prop_assert_eq!(front.bytes[front.sent], *byte);
        front.sent += 1;
        if front.sent == front.bytes.len() {
            expected.pop_front();
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn thinning_keeps_what_it_is_told_and_what_has_begun_to_leave(
        opens_with_http in any::<bool>(),
        steps in vec(thinning_step(), 1..150),
    ) {
        let mut chunks = Chunks::default();
        let mut logs = [Log::default(); 2];
        let mut http = Log::default();
        let mut outbox = Outbox::default();
        let mut expected: VecDeque<Expected> = VecDeque::new();
        let mut flight: Option<Range> = None;
        let mut next = 0_u8;
        if opens_with_http {
            let answer = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";
            let range = chunks.append(&mut http, &[], answer);
            outbox.push(&mut chunks, range);
            expected.push_back(Expected { bytes: answer.to_vec(), sent: 0 });
        }
        for step in steps {
            match step {
                ThinningStep::Push { log, bytes, between } => {
                    next = next.wrapping_add(1);
                    let payload = vec![next; bytes];
                    let (header, length) = frame_header(true, bytes);
                    for _ in 0..between {
                        chunks.append(&mut logs[log], &header[..length], &payload);
                    }
                    let frame = chunks.append(&mut logs[log], &header[..length], &payload);
                    outbox.push(&mut chunks, frame);
                    expected.push_back(Expected { bytes: [&header[..length], &payload].concat(), sent: 0 });
                }
                ThinningStep::Take => if let Some(range) = outbox.take_batch() {
                    flight = Some(range);
                },
                ThinningStep::Complete(share) => if let Some(range) = flight.take() {
                    let sent = range.len() * u32::from(share) / 255;
                    let bytes = chunks.bytes(range)[..sent as usize].to_vec();
                    leave(&mut expected, &bytes)?;
                    prop_assert!(outbox.complete(&mut chunks, sent));
                },
                ThinningStep::Thin(mask) => {
                    // What must stay: the frames in flight, or one that was cut by a short send, or the answer.
                    let mut held = flight.map_or(0, |range| range.len() as usize);
                    let mut stays = 0;
                    for frame in &expected {
                        if held == 0 && frame.sent == 0 && frame.bytes[0] != b'H' {
                            break;
                        }
                        held = held.saturating_sub(frame.bytes.len() - frame.sent);
                        stays += 1;
                    }
                    let (front_bytes, frames) = outbox.waiting_frames(&chunks);
                    let front: usize = expected.iter().take(stays).map(|frame| frame.bytes.len() - frame.sent).sum();
                    prop_assert_eq!(front_bytes as usize, front);
                    prop_assert_eq!(frames.len(), expected.len() - stays);
                    for (frame, want) in frames.iter().zip(expected.iter().skip(stays)) {
                        prop_assert_eq!(chunks.bytes(*frame), &want.bytes);
                    }
                    let is_kept = |at: usize| mask & (1 << (at % 32)) != 0;
                    let kept = frames.iter().enumerate().filter(|(at, _)| is_kept(*at)).map(|(_, frame)| *frame);
                    outbox.keep_waiting(&mut chunks, kept.collect::<Vec<_>>().into_iter());
                    let mut at = 0;
                    expected.retain(|_| { at += 1; at <= stays || is_kept(at - 1 - stays) });
                    let charged: usize = expected.iter().skip(stays).map(|frame| frame.bytes.len().max(64)).sum();
                    prop_assert_eq!(outbox.queued_bytes() as usize, front + charged);
                    if let Some(range) = flight {
                        prop_assert!(expected.iter().take(stays).flat_map(|f| &f.bytes[f.sent..])
                            .eq(chunks.bytes(range)), "the kernel's bytes moved");
                    }
                }
            }
        }
        while let Some(range) = flight.take().or_else(|| outbox.take_batch()) {
            let bytes = chunks.bytes(range).to_vec();
            leave(&mut expected, &bytes)?;
            prop_assert!(outbox.complete(&mut chunks, range.len()));
        }
        prop_assert!(expected.is_empty());
        prop_assert_eq!(outbox.queued_bytes(), 0);
        for log in logs.iter_mut().chain([&mut http]) {
            chunks.close(log);
        }
        prop_assert_eq!(chunks.in_use_count(), 0, "a chunk is still referred to");
    }
}

#[test]
fn a_thinned_queue_pins_nothing_of_what_is_shared() {
    let mut chunks = Chunks::default();
    let mut log = Log::default();
    let mut outbox = Outbox::default();
    let (header, length) = frame_header(true, 200);
    for _ in 0..5_000 {
        let frame = chunks.append(&mut log, &header[..length], &[7; 200]);
        outbox.push(&mut chunks, frame);
    }
    chunks.close(&mut log);
    assert!(chunks.held_bytes() > 1_000_000);
    let (_, frames) = outbox.waiting_frames(&chunks);
    outbox.keep_waiting(&mut chunks, frames.into_iter().step_by(100));
    assert!(chunks.held_bytes() <= OWN_CHUNK_BYTES[1], "{} bytes for 10 kB", chunks.held_bytes());
}
