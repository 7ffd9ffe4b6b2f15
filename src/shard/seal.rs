//! Client ids: a connection's address, sealed so that it can be read back here and guessed nowhere.

use aes::Aes128;
use aes::cipher::{Block, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};

use crate::core::ids::{Address, ClientId, ConnectionId, GENERATION_MASK, ShardId, Slot};

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
}

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
}
