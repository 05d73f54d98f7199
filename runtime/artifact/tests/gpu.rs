//! GPU programs: what is written is read, and each kind of inconsistency is refused.

mod common;

use cascata_artifact::gpu::{GpuKernel, GpuProgram, GpuTarget, TensorMap};
use cascata_artifact::manifest::{EntryVariant, KernelInfo, Manifest, Step, Storage};
use cascata_artifact::{ArtifactReader, ArtifactWriter, FormatError, SectionKind, SectionSizes};
use cascata_types::{Dim, SymbolId};
use common::{manifest, weight_bytes};

/// The CPU's kernels as those of a GPU; the first has a tensor map.
fn program(m: &Manifest, target: GpuTarget) -> GpuProgram {
    let kernel = |info: &KernelInfo| GpuKernel {
        info: info.clone(),
        threads: 96,
        shared_bytes: 1024,
        persistent: false,
        tensor_maps: vec![],
    };
    let mut kernels: Vec<GpuKernel> = m.kernels.iter().map(kernel).collect();
    kernels[0].tensor_maps.push(TensorMap {
        buffer: 1,
        base: 0.into(),
        extent: [8.into(), Dim::sym(SymbolId(0))],
        row_stride: 8.into(),
        box_extent: [8, 64],
        swizzle_bytes: 32,
    });
    GpuProgram { target, entries: m.entries.clone(), kernels }
}

fn with_programs() -> Manifest {
    let mut m = manifest();
    m.gpu = [GpuTarget::Sm80, GpuTarget::Sm90a].map(|t| program(&m, t)).into();
    m
}

/// The verifier's only complaint after a change of manifest or sections.
fn one_of_all(part: &str, change: impl FnOnce(&mut Manifest, &mut SectionSizes)) {
    let mut m = with_programs();
    let weights = m.weights.iter().map(|w| w.offset + w.bytes).max().unwrap();
    let mut sizes = SectionSizes { code: vec![100, 100], ptx: vec![50, 60], weights };
    change(&mut m, &mut sizes);
    let errors = m.verify(&sizes).err().unwrap_or_default();
    let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert!(all.len() == 1 && all[0].contains(part), "one complaint with '{part}', not {all:#?}");
}

fn one(part: &str, change: impl FnOnce(&mut GpuProgram)) {
    one_of_all(part, |m, _| change(&mut m.gpu[1]));
}

fn map(p: &mut GpuProgram) -> &mut TensorMap {
    &mut p.kernels[0].tensor_maps[0]
}

fn launch(p: &mut GpuProgram, step: usize) -> &mut cascata_artifact::manifest::Launch {
    match &mut p.entries[0].steps[step] {
        Step::Launch(l) => l,
        _ => panic!("a launch"),
    }
}

#[test]
fn programs_are_read_back_with_their_text() {
    let texts = [".target sm_80\n", ".target sm_90a\n"];
    let writer = ArtifactWriter::new(with_programs()).code(&[0xc3; 100]).code(&[0x90; 100]);
    let writer = texts.iter().fold(writer, |w, text| w.ptx(text));
    let bytes = writer.to_bytes(|i, sink| sink(&weight_bytes(i))).unwrap();
    let reader = ArtifactReader::parse(&bytes).unwrap();
    assert_eq!(reader.manifest().gpu, with_programs().gpu);
    assert_eq!([0, 1].map(|i| reader.ptx(i).unwrap()), texts);
    assert!(matches!(reader.ptx(2), Err(FormatError::Missing { section: SectionKind::Ptx })));

    // Loading does not read PTX: who asks for it is told of the damage.
    let section = reader.header().of_kind(SectionKind::Ptx).nth(1).unwrap();
    let (at, mut damaged) = (section.offset as usize, bytes.clone());
    damaged[at + 3] ^= 1;
    let reader = ArtifactReader::parse(&damaged).unwrap();
    assert_eq!(reader.ptx(0).unwrap(), texts[0]);
    assert!(matches!(reader.ptx(1), Err(FormatError::Hash { .. })), "{:?}", reader.ptx(1));
}

#[test]
fn programs_and_sections_match() {
    let none = |_: &mut Manifest, _: &mut SectionSizes| ();
    let result = std::panic::catch_unwind(|| one_of_all("", none));
    assert!(result.is_err(), "the unchanged manifest passes");
    one_of_all("2 programs are listed and the file has 1", |_, s| s.ptx.truncate(1));
    one_of_all("2 programs are listed and the file has 3", |_, s| s.ptx.push(1));
    one_of_all("its PTX section is empty", |_, s| s.ptx[1] = 0);
    one_of_all("the targets are not in order", |m, _| m.gpu.reverse());
    one_of_all("the targets are not in order", |m, _| m.gpu[0].target = GpuTarget::Sm90a);
}

#[test]
fn entries_are_those_of_the_manifest() {
    one("0 entries in the place of 1", |p| p.entries.clear());
    one("entries[0].name: not those of the manifest's 'main'", |p| {
        p.entries[0].name = "other".into();
    });
    one("gpu[1].entries[0].inputs", |p| p.entries[0].inputs[0].name = "z".into());
    one("gpu[1].entries[0].outputs", |p| p.entries[0].outputs[0].name = "z".into());
    one("gpu[1].entries[0].symbols", |p| {
        p.entries[0].symbols.get_mut(SymbolId(0)).max = 65;
    });
    one_of_all("gpu[1].entries[0].variants", |m, _| {
        let programs = m.gpu.iter_mut().map(|p| &mut p.entries);
        for entries in programs.chain([&mut m.entries]) {
            entries.push(entries[0].clone());
            entries[1].name = "main@1".into();
            entries[0].variants.push(EntryVariant { guard: vec![], entry: 1 });
        }
        m.gpu[1].entries[0].variants[0].guard.push(1.into());
    });
}

#[test]
fn entries_are_checked_over_the_programs_own_kernels() {
    one("kernel 2 is out of range", |p| launch(p, 0).variants[0].kernel = 2);
    one("3 buffers for 'k0', which takes 4", |p| p.kernels[0].info.buffers = 4);
    one("1 dims for 'k1', which takes 2", |p| p.kernels[1].info.dims = 2);
    one("buffer 3 is out of range", |p| p.kernels[0].info.writes = vec![0, 3]);
    one("'k0' occurs twice", |p| p.kernels[1].info.name = "k0".into());
    one("read-only", |p| p.kernels[0].info.writes = vec![0, 1]);
    one("weight 3 is out of range", |p| p.entries[0].buffers[1].storage = Storage::Weight(3));
    one("of 2 steps", |p| {
        p.entries[0].buffers[2].storage = Storage::Arena { first: 0, last: 2 };
    });
    one("symbol s9 is not among", |p| {
        launch(p, 1).variants[0].scratch_bytes = Dim::sym(SymbolId(9));
    });
    // A step may be missing on one side only: here nobody writes what the second reads.
    one("read", |p| p.kernels[0].info.writes.clear());
}

#[test]
fn kernels_fit_their_gpus() {
    for name in ["", "9k", "k-0", "k.0", "ké", "k\n.entry x"] {
        one("no identifier of PTX", |p| p.kernels[0].info.name = name.into());
    }
    for threads in [0, 1, 48, 1056, u32::MAX] {
        one("threads are not 1 to 32 warps", |p| p.kernels[1].threads = threads);
    }
    one("bytes of shared memory", |p| p.kernels[0].shared_bytes = (227 << 10) + 1);
}

#[test]
fn tensor_maps_fit_the_copy_engine() {
    one("buffer 3 is out of range", |p| map(p).buffer = 3);
    for change in [
        (|m, d| m.base = d) as fn(&mut TensorMap, Dim),
        |m, d| m.extent[0] = d,
        |m, d| m.extent[1] = d,
        |m, d| m.row_stride = d,
    ] {
        one("is not among", |p| change(map(p), Dim::sym(SymbolId(1))));
    }
    one("not 1 to 256", |p| map(p).box_extent[1] = 257);
    one("not 1 to 256", |p| map(p).box_extent[0] = 0);
    one("a swizzle of 48 bytes", |p| map(p).swizzle_bytes = 48);
    one("a box of 33 columns in a swizzle of 32 bytes", |p| map(p).box_extent[0] = 33);
}
