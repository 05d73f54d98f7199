//! `--device`.

use cascata::{Device, SessionOptions};
use clap::Args;

/// Where an artifact runs.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct DeviceArgs {
    /// Where it runs: cpu, cuda:N, or auto (the first GPU if the artifact has a program for it)
    #[arg(long, default_value_t, value_name = "DEVICE")]
    pub device: Device,
}

impl DeviceArgs {
    /// A session there.
    pub fn session_options(self) -> SessionOptions {
        SessionOptions::default().device(self.device)
    }
}
