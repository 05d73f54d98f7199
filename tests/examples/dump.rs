//! Prints the fused graph of a model.
fn main() -> anyhow::Result<()> {
    let path = std::env::args().nth(1).expect("a model");
    let graph =
        cascata_tests::pipeline::fused(path.as_ref(), cascata_passes::pipeline::OptLevel::O2)?;
    let options = cascata_ir::print::PrintOptions { consts: cascata_ir::print::ConstText::Elided };
    print!("{}", cascata_ir::print::print(&graph, options));
    Ok(())
}
