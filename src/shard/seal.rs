//! Client ids: a connection's address, sealed so that it can be read back here and guessed nowhere.

use aes::Aes128;
use aes::cipher::{Block, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};

use crate::core::ids::{Address, ClientId, ConnectionId, DecimalId, GENERATION_MASK, ShardId, Slot};

/// Turns addresses into client ids and back. One block of AES under a key made at the start of the process: ids
/// are decoded, not looked up, and an id of an earlier life is recognised as foreign.
#[derive(Clone)]
pub struct Seal {
    cipher: Aes128,
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Seal(***)")
    }
}

/// Must be found in an opened id: 32 bits that only the right key yields.
const MARK: u32 = 0x504F_4C59;

impl Seal {
    /// `key`: random, the same for all shards of a process.
    pub fn new(key: [u8; 16]) -> Self {
        Self { cipher: Aes128::new(&key.into()) }
    }

    /// The id of a client. Constant time, no allocation.
    pub fn seal(&self, address: Address) -> ClientId {
        let mut plain = [0_u8; 16];
        plain[..4].copy_from_slice(&MARK.to_le_bytes());
        plain[4..6].copy_from_slice(&address.shard.0.to_le_bytes());
        plain[8..12].copy_from_slice(&address.connection.slot.0.to_le_bytes());
        plain[12..].copy_from_slice(&address.connection.generation.to_le_bytes());
        let mut block = Block::<Aes128>::from(plain);
        self.cipher.encrypt_block(&mut block);
        ClientId(block.into())
    }

    /// The address behind an id that this process made; `None` for any other 128 bits.
    pub fn open(&self, id: ClientId) -> Option<Address> {
        let mut block = Block::<Aes128>::from(id.0);
        self.cipher.decrypt_block(&mut block);
        let plain: [u8; 16] = block.into();
        let word = |at: usize| u32::from_le_bytes([plain[at], plain[at + 1], plain[at + 2], plain[at + 3]]);
        let (shard, generation) = (word(4), word(12));
        if word(0) != MARK || generation > GENERATION_MASK {
            return None;
        }
        let shard = ShardId(u16::try_from(shard).ok()?);
        Some(Address { shard, connection: ConnectionId { slot: Slot(word(8)), generation } })
    }

    /// The id of a client in digits. Constant time, no allocation.
    ///
    /// A Feistel network over two halves of 53 bits with AES as its round function: four rounds make it as good as
    /// random to whoever does not know the key (Luby and Rackoff, 1988), the others are for the short halves.
    pub fn seal_decimal(&self, address: Address) -> DecimalId {
        let Address { shard, connection } = address;
        let whole = u128::from(DECIMAL_MARK) << 72
            | u128::from(shard.0) << 56
            | u128::from(connection.slot.0) << 24
            | u128::from(connection.generation & GENERATION_MASK);
        let (mut left, mut right) = ((whole >> HALF_BITS) as u64, whole as u64 & HALF_MASK);
        for round in 0..ROUNDS {
            (left, right) = (right, left ^ self.round(round, right));
        }
        DecimalId { first: left, second: right }
    }

    /// The address behind an id that this process made; `None` for any other two numbers.
    pub fn open_decimal(&self, id: DecimalId) -> Option<Address> {
        let DecimalId { first: mut left, second: mut right } = id;
        if left > HALF_MASK || right > HALF_MASK {
            return None;
        }
        for round in (0..ROUNDS).rev() {
            (left, right) = (right ^ self.round(round, left), left);
        }
        let whole = u128::from(left) << HALF_BITS | u128::from(right);
        if (whole >> 72) as u64 != DECIMAL_MARK {
            return None;
        }
        let (slot, generation) = (Slot((whole >> 24) as u32), whole as u32 & GENERATION_MASK);
        Some(Address { shard: ShardId((whole >> 56) as u16), connection: ConnectionId { slot, generation } })
    }

    fn round(&self, round: u8, half: u64) -> u64 {
        let mut plain = [0_u8; 16];
        plain[..8].copy_from_slice(&half.to_le_bytes());
        // Where a sealed address has the always empty top of its generation: no block serves two purposes.
        plain[15] = 0x80 | round;
        let mut block = Block::<Aes128>::from(plain);
        self.cipher.encrypt_block(&mut block);
        let block: [u8; 16] = block.into();
        let word =
            u64::from_le_bytes([block[0], block[1], block[2], block[3], block[4], block[5], block[6], 0]);
        word & HALF_MASK
    }
}

/// Must be found in an opened decimal id: the 34 bits that an address leaves of twice 53.
const DECIMAL_MARK: u64 = 0x2_504F_4C59;
const HALF_BITS: u32 = 53;
const HALF_MASK: u64 = (1 << HALF_BITS) - 1;
const ROUNDS: u8 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_open_only_under_their_key() {
        let connection = ConnectionId { slot: Slot(70_000), generation: 0x00AB_CDEF };
        let address = Address { shard: ShardId(3), connection };
        let (seal, other) = (Seal::new([1; 16]), Seal::new([2; 16]));
        let id = seal.seal(address);
        assert_eq!(seal.open(id), Some(address));
        assert_eq!(other.open(id), None);
        let mut changed = id;
        changed.0[5] ^= 1;
        assert_eq!(seal.open(changed), None);
    }

    #[test]
    fn decimal_ids_open_only_under_their_key() {
        let (seal, other) = (Seal::new([1; 16]), Seal::new([2; 16]));
        let address = |slot, generation| Address {
            shard: ShardId(0xFFFF),
            connection: ConnectionId { slot: Slot(slot), generation },
        };
        let mut firsts = Vec::new();
        for (slot, generation) in [(0, 0), (0, 1), (1, 0), (u32::MAX, GENERATION_MASK)] {
            let id = seal.seal_decimal(address(slot, generation));
            assert!(id.first <= HALF_MASK && id.second <= HALF_MASK);
            assert_eq!(seal.open_decimal(id), Some(address(slot, generation)));
            assert_eq!(other.open_decimal(id), None);
            assert_eq!(seal.open_decimal(DecimalId { second: id.second ^ 1, ..id }), None);
            assert_eq!(seal.open_decimal(DecimalId { first: id.first | 1 << 53, ..id }), None);
            firsts.push(id.first);
        }
        let near = firsts.iter().any(|a| firsts.iter().any(|b| a != b && a.abs_diff(*b) < 1 << 20));
        assert!(!near, "neighbours are told apart by nothing that shows: {firsts:?}");
    }
}
