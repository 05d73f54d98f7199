//! Which GPUs there are.

use crate::error::DeviceError;
use crate::sys::cuda::{Gpu, count};

/// A GPU that the driver knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuInfo {
    /// Its number, for [`crate::Device::Cuda`].
    pub index: u32,
    /// The vendor's name.
    pub name: String,
    /// Compute capability.
    pub capability: (u32, u32),
    /// Multiprocessors.
    pub multiprocessors: u32,
    /// Memory that nobody uses now.
    pub free_bytes: u64,
    /// All memory.
    pub total_bytes: u64,
}

/// Every GPU.
///
/// # Errors
/// There is no driver, or a GPU cannot be opened.
pub fn gpus() -> Result<Vec<GpuInfo>, DeviceError> {
    let info = |index| {
        let gpu = Gpu::open(index)?;
        let (free_bytes, total_bytes) = gpu.memory()?;
        let (name, capability) = (gpu.name().to_string(), gpu.capability());
        let multiprocessors = gpu.multiprocessors();
        Ok(GpuInfo { index, name, capability, multiprocessors, free_bytes, total_bytes })
    };
    (0..count()?).map(info).collect()
}
