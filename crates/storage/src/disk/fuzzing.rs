//! The decoders of what a disk gives back, for fuzz targets; built with `--cfg fuzzing` only.
//!
//! Each takes any bytes, must not panic, and says whether they were taken.

use {
    super::{
        frame::{FrameBuilder, StoreId, decode_batches, find_all},
        record::{
            Garbage, NODE_KEY, Space, decode_chunk, decode_entry, decode_garbage, decode_group,
            decode_node, encode_garbage, encode_group, encode_node, garbage_key, group_key, reseal,
        },
    },
    mosaik_protocol::store::GroupId,
};

const STORE: StoreId = [7; 16];

/// A journal file, and the same bytes as what stands in one of its frames.
pub fn journal(bytes: &[u8]) -> bool {
    let found = find_all(&STORE, bytes);
    let whole = found.iter().all(|frame| frame.end > frame.offset);
    assert!(whole, "a search goes on behind what it found");
    let Ok(batches) = decode_batches(bytes) else {
        return !found.is_empty();
    };
    let mut frame = FrameBuilder::new();
    batches.iter().for_each(|batch| frame.push(batch));
    let file = frame.finish(&STORE, 1);
    let [found] = find_all(&STORE, file)[..] else {
        panic!("one frame was written")
    };
    assert_eq!(decode_batches(found.body).as_ref(), Ok(&batches));
    true
}

/// A record of the kind that the first byte says, under a checksum that fits: decay is found by
/// it, and what is behind it must be harmless all the same.
pub fn record(bytes: &[u8]) -> bool {
    let Some((kind, body)) = bytes.split_first() else {
        return false;
    };
    let (group, space) = (GroupId::from_bytes([1; 32]), Space(3));
    let mut out = Vec::new();
    match kind % 5 {
        0 => {
            let value = reseal(NODE_KEY, body);
            let Ok((format, node)) = decode_node(&value) else {
                return false;
            };
            if let Some(node) = node {
                assert_eq!(
                    decode_node(encode_node(node, &mut out)),
                    Ok((format, Some(node)))
                );
            }
        }
        1 => {
            let value = reseal(&group_key(&group), body);
            let Ok(record) = decode_group(&group, &value) else {
                return false;
            };
            let again = decode_group(&group, encode_group(&group, &record, &mut out));
            assert_eq!(again, Ok(record));
        }
        2 => {
            let key = garbage_key(space);
            let Ok(garbage) = decode_garbage(&key, &reseal(&key, body)) else {
                return false;
            };
            let Garbage { space: of, .. } = garbage;
            assert_eq!(of, space, "the key says whose garbage it is");
            let again = decode_garbage(&key, encode_garbage(garbage, &mut out));
            assert_eq!(again, Ok(garbage));
        }
        // Without a checksum that fits, nothing is taken.
        3 => return decode_entry((3, 1), body).is_ok() | decode_chunk((3, 1), body).is_ok(),
        _ => return decode_node(body).is_ok() | decode_group(&group, body).is_ok(),
    }
    true
}
