//! The kernel table.

use cascata_artifact::abi::Import;
use cascata_kernels::{Isa, Kernels, resolve};
use std::collections::HashSet;

#[test]
fn each_import_has_an_address_of_its_own_at_each_level() {
    for isa in Isa::ALL {
        let addresses: HashSet<_> = Import::ALL.iter().map(|&i| resolve(i, isa)).collect();
        assert_eq!(addresses.len(), Import::ALL.len(), "{isa}");
        assert!(!addresses.contains(&std::ptr::null()), "{isa}");
    }
}

#[test]
fn resolve_never_exceeds_the_level_or_the_cpu() {
    let portable = Kernels::new(Isa::Portable).address(Import::GemmF32);
    assert_eq!(resolve(Import::GemmF32, Isa::Portable), portable);
    assert_eq!(
        resolve(Import::GemmF32, Isa::Avx512),
        resolve(Import::GemmF32, Isa::detect().min(Isa::Avx512))
    );
}

#[test]
fn names_round_trip() {
    for isa in Isa::ALL {
        assert_eq!(isa.name().parse(), Ok(isa));
    }
    let error = "sse9".parse::<Isa>().expect_err("no such level").to_string();
    assert!(error.contains("sse9") && error.contains("avx512"), "{error}");
    assert!(Isa::Portable < Isa::Avx2 && Isa::Avx2 < Isa::Avx512);
}
