//! What a machine can do at most, measured (`cascata calibrate`) and kept in a file.

use cascata_passes::egraph::cost;
use cascata_runtime::calibrate::cache_bytes;
use cascata_runtime::{DType, LoadError, Runtime};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The ceilings of a machine. Rates are per nanosecond, hence in G per second, and of all
/// threads together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// Instruction set of the micro-kernels.
    pub isa: String,
    /// Contraction rates.
    pub flops: Vec<FlopRate>,
    /// Read rates, from the nearest cache to memory.
    pub bandwidth: Vec<Bandwidth>,
    /// Costs of a launch.
    pub launches: Vec<LaunchCost>,
}

/// How fast the GEMM micro-kernel of a dtype multiplies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlopRate {
    /// Operands' dtype.
    pub dtype: String,
    /// Threads that run at once.
    pub threads: usize,
    /// Operations per nanosecond.
    pub gflops: f64,
}

/// How fast memory of a level is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bandwidth {
    /// `L1`, `L2`, … or `memory`.
    pub level: String,
    /// Size of the level; 0 for memory.
    pub level_bytes: usize,
    /// Threads that read at once.
    pub threads: usize,
    /// Bytes per nanosecond.
    pub gb_per_s: f64,
}

/// What a launch costs besides its work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LaunchCost {
    /// With 1 it runs inline; with more it is cut and waited for.
    pub threads: usize,
    /// Nanoseconds.
    pub ns: f64,
}

/// Memory is read from buffers of this many times the last cache.
const BEYOND_CACHE: usize = 3;

/// The least that is read from memory, where the caches are not known.
const LEAST_MEMORY: usize = 64 << 20;

/// The share of a cache that a buffer fills.
const FILLED: f64 = 0.6;

/// A level of memory with the bytes that each of some threads reads from it.
struct Level {
    name: String,
    bytes: usize,
    buffer: Box<dyn Fn(usize) -> usize>,
}

/// The last of several caches is taken to be shared, the others to be each core's own.
fn levels(caches: &[usize]) -> Vec<Level> {
    let cache = |(i, bytes): (usize, &usize)| {
        let (bytes, shared) = (*bytes, i > 1 && i + 1 == caches.len());
        let filled = (bytes as f64 * FILLED) as usize;
        let buffer = move |threads: usize| if shared { filled / threads } else { filled };
        Level { name: format!("L{}", i + 1), bytes, buffer: Box::new(buffer) }
    };
    let memory = (caches.iter().max().unwrap_or(&0) * BEYOND_CACHE).max(LEAST_MEMORY);
    let buffer = Box::new(move |threads: usize| memory / threads);
    let last = Level { name: "memory".into(), bytes: 0, buffer };
    caches.iter().enumerate().map(cache).chain([last]).collect()
}

fn cpu_name() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("model name")?.split_once(':'));
    line.map_or_else(|| std::env::consts::ARCH.into(), |(_, name)| name.trim().into())
}

impl Machine {
    /// Measures with each number of threads, `time` for each figure.
    ///
    /// # Errors
    /// The system gives no threads.
    pub fn measure(threads: &[usize], time: Duration) -> Result<Self, LoadError> {
        let mut machine = Self {
            cpu: cpu_name(),
            isa: cascata_runtime::Isa::detect().to_string(),
            flops: vec![],
            bandwidth: vec![],
            launches: vec![],
        };
        let levels = levels(&cache_bytes());
        for &threads in threads {
            let runtime = Runtime::builder().threads(threads).build()?;
            let (dtype, gflops) = (DType::F32.to_string(), runtime.peak_f32_gflops(time));
            machine.flops.push(FlopRate { dtype, threads, gflops });
            for level in &levels {
                let gb_per_s = runtime.read_gb_per_s((level.buffer)(threads), time);
                let (name, level_bytes) = (level.name.clone(), level.bytes);
                machine.bandwidth.push(Bandwidth { level: name, level_bytes, threads, gb_per_s });
            }
            machine.launches.push(LaunchCost { threads, ns: runtime.launch_ns() });
        }
        Ok(machine)
    }

    /// The figure for the number of threads, else for the nearest smaller one.
    fn nearest<T>(all: &[T], threads: usize, of: impl Fn(&T) -> usize) -> Option<&T> {
        let below = all.iter().filter(|x| of(x) <= threads);
        below.max_by_key(|x| of(x)).or_else(|| all.iter().min_by_key(|x| of(x)))
    }

    /// Peak f32 operations per nanosecond.
    pub fn peak_gflops(&self, threads: usize) -> Option<f64> {
        Self::nearest(&self.flops, threads, |f| f.threads).map(|f| f.gflops)
    }

    /// Bytes per nanosecond from the nearest level that holds as many bytes.
    pub fn read_gb_per_s(&self, threads: usize, bytes: i64) -> Option<f64> {
        let holds = |b: &&Bandwidth| b.level_bytes == 0 || b.level_bytes as i64 >= bytes;
        let mut fitting: Vec<&Bandwidth> = self.bandwidth.iter().filter(holds).collect();
        let nearest = Self::nearest(&fitting, threads, |b| b.threads)?.threads;
        fitting.retain(|b| b.threads == nearest);
        fitting.iter().map(|b| b.gb_per_s).reduce(f64::max)
    }

    /// The least nanoseconds for so many f32 operations and bytes, each byte read once from
    /// the level that holds them all; and whether the operations decide.
    pub fn ceiling_ns(&self, threads: usize, flops: i64, bytes: i64) -> Option<(f64, bool)> {
        let compute = flops as f64 / self.peak_gflops(threads)?;
        let memory = bytes as f64 / self.read_gb_per_s(threads, bytes)?;
        Some((compute.max(memory), compute >= memory))
    }

    /// What the cost model takes: one thread's rates, memory's bandwidth, and the dearest
    /// launch, because fusing saves one on any number of threads.
    pub fn costs(&self) -> cost::Machine {
        let standard = cost::Machine::default();
        let launch = self.launches.iter().map(|l| l.ns).fold(0.0, f64::max);
        cost::Machine {
            peak_flops: self.peak_gflops(1).unwrap_or(standard.peak_flops),
            bytes: self.read_gb_per_s(1, i64::MAX).unwrap_or(standard.bytes),
            launch: if launch > 0.0 { launch } else { standard.launch },
        }
    }

    /// Whether every figure is a positive number.
    pub fn is_sound(&self) -> bool {
        let rates = self.flops.iter().map(|f| f.gflops);
        let rates = rates.chain(self.bandwidth.iter().map(|b| b.gb_per_s));
        let mut all = rates.chain(self.launches.iter().map(|l| l.ns));
        all.all(|x| x.is_finite() && x > 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        let flops = |threads, gflops| FlopRate { dtype: "f32".into(), threads, gflops };
        let read = |level: &str, level_bytes, threads, gb_per_s| Bandwidth {
            level: level.into(),
            level_bytes,
            threads,
            gb_per_s,
        };
        Machine {
            cpu: "a CPU".into(),
            isa: "avx2".into(),
            flops: vec![flops(1, 100.0), flops(2, 180.0)],
            bandwidth: vec![
                read("L1", 1000, 1, 200.0),
                read("memory", 0, 1, 10.0),
                read("L1", 1000, 2, 400.0),
                read("memory", 0, 2, 15.0),
            ],
            launches: vec![
                LaunchCost { threads: 1, ns: 20.0 },
                LaunchCost { threads: 2, ns: 250.0 },
            ],
        }
    }

    #[test]
    fn the_slower_of_flops_and_bytes_is_the_ceiling() {
        let m = machine();
        // 1000 bytes come from L1 in 5 ns, 1001 from memory in 100.1 ns.
        assert_eq!(m.ceiling_ns(1, 1000, 1000), Some((10.0, true)));
        assert_eq!(m.ceiling_ns(1, 100, 1000), Some((5.0, false)));
        assert_eq!(m.ceiling_ns(1, 1000, 1001), Some((100.1, false)));
        assert_eq!(m.ceiling_ns(2, 1800, 1000), Some((10.0, true)));
        // As with the most threads that were measured.
        assert_eq!(m.ceiling_ns(8, 1800, 1000), Some((10.0, true)));
    }

    #[test]
    fn costs_are_one_threads_and_a_file_keeps_them() {
        let m = machine();
        let costs = cost::Machine { peak_flops: 100.0, bytes: 10.0, launch: 250.0 };
        assert_eq!(m.costs(), costs);
        let text = serde_json::to_string(&m).unwrap();
        assert_eq!(serde_json::from_str::<Machine>(&text).unwrap(), m);
    }

    #[test]
    fn figures_must_be_positive_numbers() {
        assert!(machine().is_sound());
        let mut slow = machine();
        slow.bandwidth[0].gb_per_s = 0.0;
        assert!(!slow.is_sound());
    }

    #[test]
    fn every_figure_is_measured_once_per_number_of_threads() {
        let m = Machine::measure(&[1, 2], Duration::from_millis(5)).unwrap();
        assert!(m.is_sound(), "{m:?}");
        assert_eq!((m.flops.len(), m.launches.len()), (2, 2));
        assert_eq!(m.bandwidth.len(), 2 * (cache_bytes().len() + 1));
    }
}
