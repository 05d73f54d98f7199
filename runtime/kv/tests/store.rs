//! What is stored comes back within the element's error, and only where it was put.

use cascata_kv::{BlockCopy, BlockTable, KvElement, KvError, KvLayout, KvStore, Slot};

const DIM: usize = 8;

fn layout(element: KvElement) -> KvLayout {
    KvLayout { layers: 2, kv_heads: 2, head_dim: DIM as u32, block_tokens: 4, element }
}

fn numbers(seed: usize) -> Vec<f32> {
    (0..2 * DIM).map(|i| ((i * 37 + seed * 101) % 64) as f32 / 7.0 - 4.5).collect()
}

/// The largest error relative to the head's largest number, by the element's own promise.
fn bound(element: KvElement) -> f32 {
    match element {
        KvElement::F32 => 0.0,
        KvElement::F16 => 1.0 / 2048.0,
        KvElement::BF16 => 1.0 / 256.0,
        KvElement::I8 => 1.01 / 254.0,
    }
}

fn check(store: &KvStore, slot: Slot, seed: usize, element: KvElement) {
    let (keys, values) = (numbers(seed), numbers(seed + 1));
    for layer in 0..2 {
        for head in 0..2 {
            let tiles =
                [store.keys(layer, slot.block, head), store.values(layer, slot.block, head)];
            for (tile, all) in tiles.iter().zip([&keys, &values]) {
                let (mut found, want) = ([0.0; DIM], &all[head * DIM..(head + 1) * DIM]);
                tile.read(slot.offset as usize, &mut found);
                let largest = want.iter().fold(0.0f32, |m, x| m.max(x.abs()));
                for (f, w) in found.iter().zip(want) {
                    assert!((f - w).abs() <= bound(element) * largest, "{element}: {f} for {w}");
                }
            }
        }
    }
}

#[test]
fn every_element_keeps_its_promise_through_appends_and_copies() {
    for element in KvElement::ALL {
        let layout = layout(element);
        let budget = 3 * layout.block_bytes().unwrap();
        let (mut store, mut pool) = KvStore::new(layout, budget).unwrap();
        let mut table = BlockTable::new(4);
        table.reserve(8, &mut pool, &mut Vec::new()).unwrap();
        for position in 0..8 {
            for layer in 0..2 {
                let (keys, values) = (numbers(position), numbers(position + 1));
                store.append(layer, table.slot(position), &keys, &values);
            }
        }
        let to = pool.allocate().unwrap();
        store.copy(&BlockCopy { from: table.slot(4).block, to, tokens: 3 });
        (0..8).for_each(|p| check(&store, table.slot(p), p, element));
        (0..3).for_each(|o| check(&store, Slot { block: to, offset: o }, 4 + o as usize, element));
    }
}

#[test]
fn budgets_are_in_bytes() {
    let layout = layout(KvElement::I8);
    // Keys of four tokens fill a panel of 16, values of eight numbers each one, too.
    let bytes = 2 * 2 * (8 * 16 + 4 * 16 + 2 * 4 * 4);
    assert_eq!(layout.block_bytes(), Ok(bytes));
    assert_eq!(layout.blocks_within(3 * bytes + bytes - 1), Ok(3));
    let refused = KvError::Budget { budget_bytes: bytes - 1, block_bytes: bytes };
    assert_eq!(layout.blocks_within(bytes - 1), Err(refused));
    // Where whole panels are stored, nothing is filled up.
    let full = KvLayout { head_dim: 64, block_tokens: 32, element: KvElement::BF16, ..layout };
    assert_eq!(full.block_bytes(), Ok(2 * 2 * 2 * 32 * 64 * 2));
}

#[test]
fn sizes_without_sense_are_refused() {
    let good = layout(KvElement::F32);
    let zero = KvLayout { kv_heads: 0, ..good };
    let huge = KvLayout { layers: u32::MAX, kv_heads: u32::MAX, head_dim: u32::MAX, ..good };
    for bad in [zero, huge] {
        assert_eq!(bad.block_bytes(), Err(KvError::Layout(bad)));
    }
    let large = KvLayout { block_tokens: 1 << 31, head_dim: 1 << 20, ..good };
    assert!(matches!(KvStore::new(large, u64::MAX), Err(KvError::OutOfMemory { .. })));
}
