//! Grey pictures as PNG files, their bytes stored as they are: ISO/IEC 15948 without compression.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Bytes of a stored block at most.
const BLOCK: usize = 65_535;

/// Writes `pixels`, rows of `width` from black (0) to white (255).
pub(crate) fn write(path: &Path, width: usize, pixels: &[u8]) -> io::Result<()> {
    let height = pixels.len() / width;
    let mut header = Vec::new();
    header.extend((width as u32).to_be_bytes());
    header.extend((height as u32).to_be_bytes());
    // Eight bits of grey, deflate, the only filter method, not interlaced.
    header.extend([8, 0, 0, 0, 0]);
    // Before each row, a zero: it is not filtered.
    let rows: Vec<u8> =
        pixels.chunks_exact(width).flat_map(|row| [0].into_iter().chain(row.iter().copied())).collect();
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(b"\x89PNG\r\n\x1a\n")?;
    for (kind, data) in [(b"IHDR", &header), (b"IDAT", &zlib(&rows)), (b"IEND", &Vec::new())] {
        let mut chunk = kind.to_vec();
        chunk.extend(data);
        file.write_all(&(data.len() as u32).to_be_bytes())?;
        file.write_all(&chunk)?;
        file.write_all(&crc(&chunk).to_be_bytes())?;
    }
    file.flush()
}

/// A zlib stream of stored blocks: RFC 1950 and 1951.
fn zlib(data: &[u8]) -> Vec<u8> {
    let mut stream = vec![0x78, 0x01];
    let blocks = data.chunks(BLOCK);
    let last = blocks.len() - 1;
    for (number, block) in blocks.enumerate() {
        let len = block.len() as u16;
        stream.push(u8::from(number == last));
        stream.extend(len.to_le_bytes());
        stream.extend((!len).to_le_bytes());
        stream.extend(block);
    }
    let (mut a, mut b) = (1_u32, 0_u32);
    for &byte in data {
        a = (a + u32::from(byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    stream.extend((b << 16 | a).to_be_bytes());
    stream
}

/// The checksum of a chunk, bit by bit.
fn crc(data: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for &byte in data {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    !crc
}
