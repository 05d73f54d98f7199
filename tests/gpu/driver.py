"""The few calls of the CUDA driver that running a PTX kernel takes, through ctypes.

No package is needed: the machine that these tests run on has a driver, Python and no network.
Every call's status is checked; an error says which call, its name and its text.
"""

import ctypes
from ctypes import byref, c_char_p, c_float, c_int, c_size_t, c_uint, c_uint64, c_void_p

MAX_DYNAMIC_SHARED = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
CC_MAJOR, CC_MINOR, MULTIPROCESSORS = 75, 76, 16  # of CUdevice_attribute
JIT_ERROR_LOG, JIT_ERROR_LOG_BYTES = 5, 6  # of CUjit_option


class CudaError(RuntimeError):
    """A driver call that did not succeed."""


class Driver:
    """One device's primary context, current in this thread."""

    def __init__(self, index=0):
        self.lib = ctypes.CDLL("libcuda.so.1")
        self.call("cuInit", c_uint(0))
        self.device = c_int()
        self.call("cuDeviceGet", byref(self.device), c_int(index))
        context = c_void_p()
        self.call("cuDevicePrimaryCtxRetain", byref(context), self.device)
        self.call("cuCtxSetCurrent", context)

    def call(self, name, *args):
        status = getattr(self.lib, name)(*args)
        if status != 0:
            what, text = c_char_p(), c_char_p()
            self.lib.cuGetErrorName(c_int(status), byref(what))
            self.lib.cuGetErrorString(c_int(status), byref(text))
            known = (what.value or b"?").decode(), (text.value or b"?").decode()
            raise CudaError(f"{name}: {known[0]} ({known[1]})")

    def name(self):
        text = ctypes.create_string_buffer(256)
        self.call("cuDeviceGetName", text, c_int(256), self.device)
        return text.value.decode()

    def attribute(self, which):
        value = c_int()
        self.call("cuDeviceGetAttribute", byref(value), c_int(which), self.device)
        return value.value

    def capability(self):
        return self.attribute(CC_MAJOR), self.attribute(CC_MINOR)

    def module(self, ptx):
        """Loads PTX text; the error has the compiler's log."""
        log = ctypes.create_string_buffer(16384)
        options = (c_int * 2)(JIT_ERROR_LOG, JIT_ERROR_LOG_BYTES)
        values = (c_void_p * 2)(ctypes.addressof(log), len(log))
        module = c_void_p()
        try:
            self.call(
                "cuModuleLoadDataEx",
                byref(module),
                ptx.encode() + b"\0",
                c_uint(2),
                options,
                values,
            )
        except CudaError as e:
            raise CudaError(f"{e}\n{log.value.decode(errors='replace')}") from None
        return module

    def function(self, module, entry, shared_bytes=0):
        function = c_void_p()
        self.call("cuModuleGetFunction", byref(function), module, entry.encode())
        if shared_bytes > 48 * 1024:
            self.call(
                "cuFuncSetAttribute", function, c_int(MAX_DYNAMIC_SHARED), c_int(shared_bytes)
            )
        return function

    def alloc(self, bytes_):
        address = c_uint64()
        self.call("cuMemAlloc_v2", byref(address), c_size_t(max(bytes_, 256)))
        return address.value

    def free(self, address):
        self.call("cuMemFree_v2", c_uint64(address))

    def write(self, address, data):
        if len(data) > 0:
            self.call("cuMemcpyHtoD_v2", c_uint64(address), bytes(data), c_size_t(len(data)))

    def fill(self, address, byte, count):
        if count > 0:
            self.call("cuMemsetD8_v2", c_uint64(address), ctypes.c_ubyte(byte), c_size_t(count))

    def read(self, address, count):
        data = ctypes.create_string_buffer(max(count, 1))
        if count > 0:
            self.call("cuMemcpyDtoH_v2", data, c_uint64(address), c_size_t(count))
        return data.raw[:count]

    def synchronize(self):
        self.call("cuCtxSynchronize")

    def launch(self, function, blocks, threads, params, shared_bytes=0, stream=0):
        """`params`: integers (8 bytes each) or `bytes` that are passed by value."""
        held = [
            ctypes.create_string_buffer(p, len(p))
            if isinstance(p, bytes)
            else c_uint64(p & (2**64 - 1))
            for p in params
        ]
        pointers = (c_void_p * max(len(held), 1))(*[ctypes.addressof(h) for h in held])
        grid = c_uint(blocks), c_uint(1), c_uint(1)
        block = c_uint(threads), c_uint(1), c_uint(1)
        self.call(
            "cuLaunchKernel",
            function,
            *grid,
            *block,
            c_uint(shared_bytes),
            c_void_p(stream),
            pointers,
            None,
        )

    def time(self, run, repeats=20, warmup=3):
        """Milliseconds of each of `repeats` runs, by events on the default stream."""
        for i in range(warmup):
            run(i)
        events = [(c_void_p(), c_void_p()) for _ in range(repeats)]
        for i, (start, end) in enumerate(events):
            self.call("cuEventCreate", byref(start), c_uint(0))
            self.call("cuEventCreate", byref(end), c_uint(0))
            self.call("cuEventRecord", start, c_void_p(0))
            run(i)
            self.call("cuEventRecord", end, c_void_p(0))
        self.synchronize()
        times = []
        for start, end in events:
            ms = c_float()
            self.call("cuEventElapsedTime", byref(ms), start, end)
            self.lib.cuEventDestroy_v2(start)
            self.lib.cuEventDestroy_v2(end)
            times.append(ms.value)
        return times

    def tensor_map(self, address, dtype_bytes, extent, row_stride_bytes, box, swizzle_bytes):
        """A `CUtensorMap` of a matrix: `extent` and `box` are (columns, rows); 128 bytes.

        Elements are unsigned integers of their size: the copy engine only moves them.
        """
        buffer = ctypes.create_string_buffer(128 + 64)
        aligned = (ctypes.addressof(buffer) + 63) // 64 * 64
        data_type = {1: 0, 2: 1, 4: 2}[dtype_bytes]  # UINT8, UINT16, UINT32
        swizzle = {0: 0, 32: 1, 64: 2, 128: 3}[swizzle_bytes]
        self.call(
            "cuTensorMapEncodeTiled",
            c_void_p(aligned),
            c_int(data_type),
            c_uint(2),
            c_void_p(address),
            (c_uint64 * 2)(*extent),
            (c_uint64 * 1)(row_stride_bytes),
            (c_uint * 2)(*box),
            (c_uint * 2)(1, 1),
            c_int(0),  # no interleave
            c_int(swizzle),
            c_int(2),  # promote to 128 bytes of L2
            c_int(0),  # zeros outside
        )
        return ctypes.string_at(aligned, 128)
