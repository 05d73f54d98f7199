//! `ir/OPS.md` is the op table as it is now. `CASCATA_BLESS=1` rewrites it.

use cascata_ir::op::op_table_markdown;
use std::path::Path;

#[test]
fn the_op_table_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("OPS.md");
    let text = op_table_markdown();
    if std::env::var_os("CASCATA_BLESS").is_some() {
        std::fs::write(&path, &text).expect("OPS.md is writable");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == text, "OPS.md is out of date: run this test with CASCATA_BLESS=1");
}
