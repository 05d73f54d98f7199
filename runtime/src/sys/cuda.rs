//! The CUDA driver: a GPU's context and stream, its memory, modules and launches.
//!
//! The driver's library is looked for when a GPU is first asked for. Everything goes through
//! one stream per [`Gpu`], in order.

use crate::error::DeviceError;
use cudarc::driver::sys;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_void};
use std::sync::{Arc, Mutex, PoisonError};

/// Kernels may read to the end of the 16 bytes in which an operand ends.
const WHOLE: usize = 16;
/// What a block may have without being asked for.
const PLAIN_SHARED: u32 = 48 << 10;

/// A GPU that is ready for work; clones are the same.
#[derive(Clone)]
pub(crate) struct Gpu(Arc<Inner>);

struct Inner {
    device: Device,
    stream: sys::CUstream,
}

/// A GPU and its primary context.
#[derive(Clone)]
struct Device {
    context: sys::CUcontext,
    name: String,
    capability: (u32, u32),
    multiprocessors: u32,
}

/// The GPUs that were opened. A primary context is the process's own: it takes a tenth of a
/// second to make, and lives as long as the process.
static DEVICES: Mutex<BTreeMap<u32, Device>> = Mutex::new(BTreeMap::new());

// SAFETY: the driver's handles may be used from any thread; the context is made current
// before each use.
unsafe impl Send for Device {}
// SAFETY: as of `Device`.
unsafe impl Send for Inner {}
// SAFETY: as above; calls on one stream are serialised by the driver.
unsafe impl Sync for Inner {}

/// The error of a call; `Ok` for success.
fn check(status: sys::CUresult, call: &'static str, doing: &str) -> Result<(), DeviceError> {
    if status == sys::CUresult::CUDA_SUCCESS {
        return Ok(());
    }
    Err(DeviceError::Call { call, doing: doing.into(), error: name_of(status) })
}

fn name_of(status: sys::CUresult) -> String {
    let text = |f: unsafe fn(sys::CUresult, *mut *const std::ffi::c_char) -> sys::CUresult| {
        let mut at = std::ptr::null();
        // SAFETY: the driver writes a pointer to a text that lives for ever, or null.
        unsafe { f(status, &mut at) };
        // SAFETY: as above.
        let text = (!at.is_null()).then(|| unsafe { CStr::from_ptr(at) });
        text.map_or_else(|| "?".into(), |t| t.to_string_lossy().into_owned())
    };
    format!("{} ({})", text(sys::cuGetErrorName), text(sys::cuGetErrorString))
}

/// How many GPUs there are.
pub(crate) fn count() -> Result<u32, DeviceError> {
    let none = |reason: String| DeviceError::NoDriver { reason };
    // SAFETY: looks for the library and its functions, and calls none of them.
    if !unsafe { sys::is_culib_present() } {
        return Err(none("libcuda.so.1 is not installed, or too old".into()));
    }
    // SAFETY: the library is there.
    let status = unsafe { sys::cuInit(0) };
    if status != sys::CUresult::CUDA_SUCCESS {
        return Err(none(name_of(status)));
    }
    let mut count = 0;
    // SAFETY: writes a number.
    check(unsafe { sys::cuDeviceGetCount(&mut count) }, "cuDeviceGetCount", "counting GPUs")?;
    Ok(count as u32)
}

impl Device {
    fn open(index: u32) -> Result<Self, DeviceError> {
        let count = count()?;
        if index >= count {
            return Err(DeviceError::NoSuchGpu { index, count });
        }
        let doing = "opening the GPU";
        let (mut device, mut context) = (0, std::ptr::null_mut());
        // SAFETY: the driver writes handles; the index is in range.
        unsafe {
            check(sys::cuDeviceGet(&mut device, index as i32), "cuDeviceGet", doing)?;
            let retained = sys::cuDevicePrimaryCtxRetain(&mut context, device);
            check(retained, "cuDevicePrimaryCtxRetain", doing)?;
        }
        use sys::CUdevice_attribute as A;
        let attribute = |which: A| {
            let mut value = 0;
            // SAFETY: writes a number.
            let status = unsafe { sys::cuDeviceGetAttribute(&mut value, which, device) };
            check(status, "cuDeviceGetAttribute", doing).map(|()| value as u32)
        };
        let capability = (
            attribute(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        );
        let multiprocessors = attribute(A::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
        let mut name = [0 as std::ffi::c_char; 256];
        // SAFETY: writes at most that many characters with a zero behind them.
        let status = unsafe { sys::cuDeviceGetName(name.as_mut_ptr(), 256, device) };
        check(status, "cuDeviceGetName", doing)?;
        // SAFETY: as above.
        let name = unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned();
        Ok(Self { context, name, capability, multiprocessors })
    }
}

impl Gpu {
    /// Makes a GPU ready, with a stream of its own.
    pub(crate) fn open(index: u32) -> Result<Self, DeviceError> {
        let mut devices = DEVICES.lock().unwrap_or_else(PoisonError::into_inner);
        let device = match devices.get(&index) {
            Some(device) => device.clone(),
            None => devices.entry(index).or_insert(Device::open(index)?).clone(),
        };
        let (doing, mut stream) = ("opening the GPU", std::ptr::null_mut());
        // SAFETY: the context lives; the driver writes a handle.
        unsafe {
            check(sys::cuCtxSetCurrent(device.context), "cuCtxSetCurrent", doing)?;
            check(sys::cuStreamCreate(&mut stream, 0), "cuStreamCreate", doing)?;
        }
        Ok(Self(Arc::new(Inner { device, stream })))
    }

    pub(crate) fn name(&self) -> &str {
        &self.0.device.name
    }

    pub(crate) fn capability(&self) -> (u32, u32) {
        self.0.device.capability
    }

    pub(crate) fn multiprocessors(&self) -> u32 {
        self.0.device.multiprocessors
    }

    /// Makes the context current in this thread; what follows needs that.
    pub(crate) fn enter(&self) -> Result<(), DeviceError> {
        // SAFETY: the context lives as long as the process.
        let status = unsafe { sys::cuCtxSetCurrent(self.0.device.context) };
        check(status, "cuCtxSetCurrent", "entering the GPU's context")
    }

    /// Waits for everything so far.
    pub(crate) fn wait(&self, doing: &str) -> Result<(), DeviceError> {
        // SAFETY: the stream lives as long as `self`.
        check(unsafe { sys::cuStreamSynchronize(self.0.stream) }, "cuStreamSynchronize", doing)
    }

    /// Free and total bytes of memory.
    pub(crate) fn memory(&self) -> Result<(u64, u64), DeviceError> {
        self.enter()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: writes two numbers.
        let status = unsafe { sys::cuMemGetInfo_v2(&mut free, &mut total) };
        check(status, "cuMemGetInfo", "asking for free memory")?;
        Ok((free as u64, total as u64))
    }

    /// Copies from the host; the bytes must not change before the next [`Gpu::wait`].
    ///
    /// # Safety
    /// `to` has room for them in this GPU's memory, and no other thread uses that now.
    pub(crate) unsafe fn upload(&self, to: *mut u8, from: &[u8]) -> Result<(), DeviceError> {
        if from.is_empty() {
            return Ok(());
        }
        // SAFETY: the caller's promise.
        let status = unsafe {
            sys::cuMemcpyHtoDAsync_v2(to as u64, from.as_ptr().cast(), from.len(), self.0.stream)
        };
        check(status, "cuMemcpyHtoDAsync", "copying to the GPU")
    }

    /// Copies to the host and waits for that.
    ///
    /// # Safety
    /// `from` is that many bytes of this GPU's memory.
    pub(crate) unsafe fn download(
        &self,
        into: &mut [u8],
        from: *const u8,
    ) -> Result<(), DeviceError> {
        if into.is_empty() {
            return Ok(());
        }
        // SAFETY: the caller's promise.
        let status = unsafe {
            sys::cuMemcpyDtoHAsync_v2(
                into.as_mut_ptr().cast(),
                from as u64,
                into.len(),
                self.0.stream,
            )
        };
        check(status, "cuMemcpyDtoHAsync", "copying from the GPU")?;
        self.wait("copying from the GPU")
    }

    /// Copies within the GPU's memory.
    ///
    /// # Safety
    /// Both are that many bytes of this GPU's memory and do not overlap.
    pub(crate) unsafe fn copy(
        &self,
        to: *mut u8,
        from: *const u8,
        bytes: usize,
    ) -> Result<(), DeviceError> {
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: the caller's promise.
        let status =
            unsafe { sys::cuMemcpyDtoDAsync_v2(to as u64, from as u64, bytes, self.0.stream) };
        check(status, "cuMemcpyDtoDAsync", "copying on the GPU")
    }

    /// Loads a module; the error has the driver's log.
    pub(crate) fn module(&self, ptx: &str) -> Result<Module, DeviceError> {
        self.enter()?;
        let text = CString::new(ptx).map_err(|_| DeviceError::Ptx {
            error: "the text has a zero byte".into(),
            log: String::new(),
        })?;
        let mut log = vec![0u8; 16 << 10];
        let mut options = [
            sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER,
            sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES,
        ];
        let mut values = [log.as_mut_ptr().cast::<c_void>(), log.len() as *mut c_void];
        let mut module = std::ptr::null_mut();
        // SAFETY: the text ends with a zero; the log is as long as is said, and lives.
        let status = unsafe {
            sys::cuModuleLoadDataEx(
                &mut module,
                text.as_ptr().cast(),
                2,
                options.as_mut_ptr(),
                values.as_mut_ptr(),
            )
        };
        if status != sys::CUresult::CUDA_SUCCESS {
            let end = log.iter().position(|b| *b == 0).unwrap_or(log.len());
            let log = String::from_utf8_lossy(&log[..end]).into_owned();
            return Err(DeviceError::Ptx { error: name_of(status), log });
        }
        Ok(Module { gpu: self.clone(), module })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: made in `open`; nothing uses it any more. Errors cannot be told anybody.
        unsafe {
            sys::cuCtxSetCurrent(self.device.context);
            sys::cuStreamDestroy_v2(self.stream);
        }
    }
}

/// Memory of a GPU, 256-byte aligned.
pub(crate) struct GpuBuf {
    gpu: Gpu,
    address: u64,
    len: usize,
}

impl GpuBuf {
    /// No bytes.
    pub(crate) fn empty(gpu: &Gpu) -> Self {
        Self { gpu: gpu.clone(), address: 0, len: 0 }
    }

    /// That many bytes of anything; none where there is no room.
    pub(crate) fn new(gpu: &Gpu, len: u64) -> Option<Self> {
        let len = usize::try_from(len).ok()?;
        if len == 0 {
            return Some(Self::empty(gpu));
        }
        let mut address = 0;
        gpu.enter().ok()?;
        // SAFETY: writes an address.
        let status =
            unsafe { sys::cuMemAlloc_v2(&mut address, len.checked_next_multiple_of(WHOLE)?) };
        (status == sys::CUresult::CUDA_SUCCESS).then(|| Self { gpu: gpu.clone(), address, len })
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn address(&self) -> *mut u8 {
        self.address as *mut u8
    }

    pub(crate) fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Sets all bytes.
    pub(crate) fn fill(&mut self, byte: u8) -> Result<(), DeviceError> {
        if self.len == 0 {
            return Ok(());
        }
        // SAFETY: the block is ours and that long.
        let status =
            unsafe { sys::cuMemsetD8Async(self.address, byte, self.len, self.gpu.0.stream) };
        check(status, "cuMemsetD8Async", "filling memory")
    }

    /// Copies from the host to byte `at`; nothing where there is no room.
    pub(crate) fn write(&mut self, at: usize, from: &[u8]) -> Result<(), DeviceError> {
        let fits = at.checked_add(from.len()).is_some_and(|end| end <= self.len);
        if !fits {
            let error = format!("{} bytes at {at} of {}", from.len(), self.len);
            return Err(DeviceError::Call {
                call: "upload",
                doing: "copying to the GPU".into(),
                error,
            });
        }
        // SAFETY: in bounds by the check; `&mut self` excludes other users.
        unsafe { self.gpu.upload(self.address().wrapping_add(at), from) }
    }
}

impl Drop for GpuBuf {
    fn drop(&mut self) {
        if self.len > 0 && self.gpu.enter().is_ok() {
            // SAFETY: allocated in `new`. The driver waits for what still uses it.
            unsafe { sys::cuMemFree_v2(self.address) };
        }
    }
}

/// Loaded code.
pub(crate) struct Module {
    gpu: Gpu,
    module: sys::CUmodule,
}

// SAFETY: as of `Inner`.
unsafe impl Send for Module {}
// SAFETY: as of `Inner`.
unsafe impl Sync for Module {}

/// A kernel of a module that is kept beside it.
#[derive(Clone, Copy)]
pub(crate) struct Function(sys::CUfunction);

// SAFETY: as of `Inner`.
unsafe impl Send for Function {}
// SAFETY: as of `Inner`.
unsafe impl Sync for Function {}

impl Module {
    /// A kernel by its name, allowed that much dynamic shared memory.
    pub(crate) fn function(&self, name: &str, shared_bytes: u32) -> Result<Function, DeviceError> {
        let doing = format!("finding kernel '{name}'");
        let text = CString::new(name).unwrap_or_default();
        let mut function = std::ptr::null_mut();
        // SAFETY: the module lives; the name ends with a zero.
        let status = unsafe { sys::cuModuleGetFunction(&mut function, self.module, text.as_ptr()) };
        check(status, "cuModuleGetFunction", &doing)?;
        if shared_bytes > PLAIN_SHARED {
            let most = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function lives.
            let status = unsafe { sys::cuFuncSetAttribute(function, most, shared_bytes as i32) };
            check(status, "cuFuncSetAttribute", &doing)?;
        }
        Ok(Function(function))
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        if self.gpu.enter().is_ok() {
            // SAFETY: loaded by `Gpu::module`; its functions are used no more.
            unsafe { sys::cuModuleUnload(self.module) };
        }
    }
}

/// One launch with its parameters, 8 bytes each.
#[derive(Clone, PartialEq)]
pub(crate) struct Shot {
    /// Which kernel, for reports and for comparing.
    pub(crate) kernel: u32,
    pub(crate) blocks: u32,
    pub(crate) threads: u32,
    pub(crate) shared_bytes: u32,
    pub(crate) params: Vec<u64>,
}

impl Gpu {
    /// Launches a kernel.
    ///
    /// # Safety
    /// The function takes these parameters, and what they point to is alive until it ends.
    pub(crate) unsafe fn launch(&self, f: Function, shot: &mut Shot) -> Result<(), DeviceError> {
        let mut pointers: Vec<*mut c_void> =
            shot.params.iter_mut().map(|p| std::ptr::from_mut(p).cast()).collect();
        let (blocks, threads) = (shot.blocks, shot.threads);
        // SAFETY: the caller's promise; the driver copies the parameters.
        let status = unsafe {
            sys::cuLaunchKernel(
                f.0,
                blocks,
                1,
                1,
                threads,
                1,
                1,
                shot.shared_bytes,
                self.0.stream,
                pointers.as_mut_ptr(),
                std::ptr::null_mut(),
            )
        };
        check(status, "cuLaunchKernel", &format!("launching kernel {}", shot.kernel))
    }

    /// Records what `work` does on the stream, to be done again and again.
    pub(crate) fn record(
        &self,
        work: impl FnOnce() -> Result<(), DeviceError>,
    ) -> Result<Graph, DeviceError> {
        let doing = "recording launches";
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream lives.
        let status = unsafe { sys::cuStreamBeginCapture_v2(self.0.stream, mode) };
        check(status, "cuStreamBeginCapture", doing)?;
        let worked = work();
        let mut graph = std::ptr::null_mut();
        // SAFETY: the capture was begun; it must end whatever happened.
        let status = unsafe { sys::cuStreamEndCapture(self.0.stream, &mut graph) };
        worked?;
        check(status, "cuStreamEndCapture", doing)?;
        let mut made = std::ptr::null_mut();
        // SAFETY: the graph is ours; the executable one does not need it.
        let status = unsafe { sys::cuGraphInstantiateWithFlags(&mut made, graph, 0) };
        // SAFETY: as above.
        unsafe { sys::cuGraphDestroy(graph) };
        check(status, "cuGraphInstantiate", doing)?;
        Ok(Graph { gpu: self.clone(), graph: made })
    }
}

/// Recorded launches.
pub(crate) struct Graph {
    gpu: Gpu,
    graph: sys::CUgraphExec,
}

// SAFETY: as of `Inner`.
unsafe impl Send for Graph {}
// SAFETY: as of `Inner`.
unsafe impl Sync for Graph {}

impl Graph {
    /// Does it all again.
    ///
    /// # Safety
    /// What the recorded parameters point to is alive until it ends.
    pub(crate) unsafe fn replay(&self) -> Result<(), DeviceError> {
        // SAFETY: the caller's promise.
        let status = unsafe { sys::cuGraphLaunch(self.graph, self.gpu.0.stream) };
        check(status, "cuGraphLaunch", "launching recorded kernels")
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        if self.gpu.enter().is_ok() {
            // SAFETY: made in `record`.
            unsafe { sys::cuGraphExecDestroy(self.graph) };
        }
    }
}
