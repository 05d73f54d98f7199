//! Blocks of every GGUF format, worked out by hand.

use cascata_types::QuantFormat;

/// f16 bits of 1, 2, 0.5, −1.5.
const ONE: [u8; 2] = [0x00, 0x3c];
const TWO: [u8; 2] = [0x00, 0x40];
const HALF: [u8; 2] = [0x00, 0x38];
const MINUS_THREE_HALVES: [u8; 2] = [0x00, 0xbe];

#[test]
fn q8_0_is_a_scale_and_32_signed_bytes() {
    let mut block = HALF.to_vec();
    block.extend((0..32).map(|i| if i == 31 { 128u8 } else { i }));
    let y = QuantFormat::Q8_0.dequantise(&block);
    assert_eq!((y.len(), y[0], y[3], y[30], y[31]), (32, 0.0, 1.5, 15.0, -64.0));
}

#[test]
fn q4_0_has_the_second_half_in_the_high_bits() {
    let mut block = TWO.to_vec();
    block.extend([0xf0; 15]);
    block.push(0x8c);
    let y = QuantFormat::Q4_0.dequantise(&block);
    assert_eq!((y[0], y[14], y[15]), (-16.0, -16.0, 8.0));
    assert_eq!((y[16], y[30], y[31]), (14.0, 14.0, 0.0));
}

#[test]
fn q4_1_adds_its_offset() {
    let mut block = [HALF, MINUS_THREE_HALVES].concat();
    block.extend((0..16).map(|i: u8| i | (15 - i) << 4));
    let y = QuantFormat::Q4_1.dequantise(&block);
    assert_eq!((y[0], y[3], y[15]), (-1.5, 0.0, 6.0));
    assert_eq!((y[16], y[19], y[31]), (6.0, 4.5, -1.5));
}

/// Scales 1, 2, 3, 4, 17, 34, 51, 63 and offsets 5, 6, 7, 8, 16, 33, 50, 62, packed by hand:
/// of the last four the low halves lie in bytes 8..12, the upper two bits above the first.
const SCALES: [u8; 12] = [
    1 | 1 << 6,
    2 | 2 << 6,
    3 | 3 << 6,
    4 | 3 << 6,
    5 | 1 << 6,
    6 | 2 << 6,
    7 | 3 << 6,
    8 | 3 << 6,
    0x01,
    0x12,
    0x23,
    0xef,
];

#[test]
fn q4_k_has_a_scale_and_an_offset_for_32_elements() {
    let mut block = [ONE, HALF].concat();
    block.extend(SCALES);
    block.extend([0x73; 128]);
    let y = QuantFormat::Q4K.dequantise(&block);
    let expected = [
        3.0 - 2.5,
        2.0 * 7.0 - 3.0,
        3.0 * 3.0 - 3.5,
        4.0 * 7.0 - 4.0,
        17.0 * 3.0 - 8.0,
        34.0 * 7.0 - 16.5,
        51.0 * 3.0 - 25.0,
        63.0 * 7.0 - 31.0,
    ];
    for (i, part) in y.chunks(32).enumerate() {
        assert!(part.iter().all(|v| *v == expected[i]), "{i}: {part:?}");
    }
}

#[test]
fn q5_k_takes_its_fifth_bit_from_a_plane() {
    let mut block = [ONE, HALF].concat();
    block.extend(SCALES);
    let mut high = [0u8; 32];
    high[4] = 0b1000_0001; // Element 4 of the first and of the last 32.
    block.extend(high);
    block.extend([0x73; 128]);
    let y = QuantFormat::Q5K.dequantise(&block);
    assert_eq!((y[3], y[4]), (3.0 - 2.5, 19.0 - 2.5));
    assert_eq!((y[36], y[224 + 4]), (2.0 * 7.0 - 3.0, 63.0 * 23.0 - 31.0));
    assert_eq!(y[224 + 5], 63.0 * 7.0 - 31.0);
}

#[test]
fn q6_k_has_a_scale_for_16_elements() {
    let mut block = vec![0x21; 64];
    block.extend([0x43; 64]);
    // Of each 32 elements in turn the upper bits are 0, 1, 2, 3; then 3, 2, 1, 0.
    block.extend([0b1110_0100; 32]);
    block.extend([0b0001_1011; 32]);
    block.extend([1, 2, 3, 4, 5, 6, 7, 8, 255, 254, 253, 252, 251, 250, 249, 248]);
    block.extend(HALF);
    let y = QuantFormat::Q6K.dequantise(&block);
    // Codes: low halves for the first two 32, high ones for the others.
    let codes = [1, 16 + 1, 32 + 2, 48 + 2, 48 + 3, 32 + 3, 16 + 4, 4];
    for (i, part) in y.chunks(16).enumerate() {
        let scale = if i < 8 { i as i32 + 1 } else { 7 - i as i32 };
        let expected = 0.5 * scale as f32 * (codes[i / 2] - 32) as f32;
        assert!(part.iter().all(|v| *v == expected), "{i}: {part:?}, expected {expected}");
    }
}

#[test]
fn blocks_follow_each_other_and_a_part_of_one_is_not_read() {
    for format in QuantFormat::ALL {
        let size = format.block_bytes() as usize;
        let bytes: Vec<u8> = (0..3 * size - 1).map(|i| (i * 7 % 59) as u8).collect();
        let all = format.dequantise(&bytes);
        assert_eq!(all.len() as u64, 2 * format.block_elements(), "{format}");
        let second = format.dequantise(&bytes[size..2 * size]);
        let bits = |x: &[f32]| x.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&all[second.len()..]), bits(&second), "{format}");
    }
}
