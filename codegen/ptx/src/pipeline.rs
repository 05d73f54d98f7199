//! MLIR to LLVM IR to PTX.

use crate::PtxTarget;
use inkwell::OptimizationLevel;
use inkwell::context::AsContextRef as _;
use inkwell::module::Module as LlvmModule;
use inkwell::passes::PassBuilderOptions;
use inkwell::targets::{
    CodeModel, FileType, InitializationConfig, RelocMode, Target, TargetMachine, TargetTriple,
};
use melior::Context;
use melior::dialect::DialectRegistry;
use melior::ir::Module;
use melior::pass::PassManager;
use melior::utility::{
    parse_pass_pipeline, register_all_dialects, register_all_llvm_translations, register_all_passes,
};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Once;

const TRIPLE: &str = "nvptx64-nvidia-cuda";
const LOWERING: &str = "builtin.module(convert-scf-to-cf,convert-arith-to-llvm,\
                        convert-cf-to-llvm,reconcile-unrealized-casts)";

/// The PTX of functions of the `llvm` dialect.
pub(crate) fn ptx(functions: &str, target: PtxTarget) -> Result<String, String> {
    static REGISTER: Once = Once::new();
    REGISTER.call_once(|| {
        register_all_passes();
        Target::initialize_nvptx(&InitializationConfig::default());
    });
    let registry = DialectRegistry::new();
    register_all_dialects(&registry);
    // Modules are compiled side by side by those who want that.
    let context = Context::new_with_registry(&registry, false);
    for dialect in ["arith", "cf", "llvm", "nvvm", "scf"] {
        context.get_or_load_dialect(dialect);
    }
    register_all_llvm_translations(&context);
    let said = Rc::new(RefCell::new(String::new()));
    let hears = said.clone();
    context.attach_diagnostic_handler(move |d| {
        hears.borrow_mut().push_str(&format!("{d} ({})\n", d.location()));
        true
    });
    let failed = |what: &str| format!("MLIR {what}: {}", said.borrow());
    let mut module = Module::parse(&context, functions).ok_or_else(|| failed("is not valid"))?;
    let passes = PassManager::new(&context);
    parse_pass_pipeline(passes.as_operation_pass_manager(), LOWERING)
        .map_err(|e| failed(&format!("has no such passes ({e})")))?;
    passes.run(&mut module).map_err(|_| failed("cannot be lowered"))?;
    llvm(&module, target).map_err(|e| format!("{e} {}", said.borrow()))
}

fn llvm(module: &Module, target: PtxTarget) -> Result<String, String> {
    let context = inkwell::context::Context::create();
    // SAFETY: both libraries are of one LLVM; the operation is the module's and lives, and the
    // context outlives the module that is made in it.
    let raw = unsafe {
        mlir_sys::mlirTranslateModuleToLLVMIR(
            module.as_operation().to_raw(),
            (&context).as_ctx_ref().cast(),
        )
    };
    if raw.is_null() {
        return Err("MLIR has no LLVM IR:".into());
    }
    // SAFETY: the translation hands the module over to us.
    let llvm = unsafe { LlvmModule::new(raw.cast()) };
    let machine = machine(target)?;
    llvm.set_triple(&TargetTriple::create(TRIPLE));
    llvm.set_data_layout(&machine.get_target_data().get_data_layout());
    llvm.run_passes("default<O3>", &machine, PassBuilderOptions::create())
        .map_err(|e| format!("LLVM: {e}"))?;
    let text = machine
        .write_to_memory_buffer(&llvm, FileType::Assembly)
        .map_err(|e| format!("LLVM: {e}"))?;
    Ok(String::from_utf8_lossy(text.as_slice()).trim_end_matches('\0').to_string())
}

fn machine(target: PtxTarget) -> Result<TargetMachine, String> {
    let triple = TargetTriple::create(TRIPLE);
    let backend = Target::from_triple(&triple).map_err(|e| format!("LLVM: {e}"))?;
    backend
        .create_target_machine(
            &triple,
            target.name,
            "+ptx80",
            OptimizationLevel::Aggressive,
            RelocMode::Default,
            CodeModel::Default,
        )
        .ok_or_else(|| format!("LLVM has no target {}", target.name))
}
