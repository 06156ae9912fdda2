//! Decodes pictures, as many at one time as there are cores and memory for.

use std::sync::Arc;

use bytes::Bytes;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    Config,
    error::ServeError,
    image::{self, Limits},
};

/// Bytes that a decoder may need for each pixel: 16-bit RGBA twice over.
const DECODER_BYTES_PER_PIXEL: u64 = 16;
/// Bytes of one permit, because permits are counted in 32 bits.
const UNIT: u64 = 1024;

/// The cores and the memory for decoding.
pub(crate) struct Decoding {
    limits: Limits,
    cores: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    memory_units: u32,
    reserved: Gauge,
}

/// Memory that is set aside for one picture, until it is dropped.
struct Reserved {
    bytes: i64,
    gauge: Gauge,
    _units: OwnedSemaphorePermit,
}

impl Decoding {
    /// `reserved` shows the bytes that are set aside.
    pub(crate) fn new(config: &Config, reserved: Gauge) -> Self {
        let pixels_max = config.max_pixels;
        let memory_units = units(config.max_decode_memory as u64);
        Self {
            limits: Limits {
                pixels_max,
                alloc_bytes_max: pixels_max.saturating_mul(DECODER_BYTES_PER_PIXEL),
            },
            cores: Arc::new(Semaphore::new(config.cpu_threads())),
            memory: Arc::new(Semaphore::new(memory_units as usize)),
            memory_units,
            reserved,
        }
    }

    /// From a picture's bytes to its tensor. Pictures wait for memory in the order in which they came, so a large one is
    /// not passed over for ever.
    pub(crate) async fn tensor(&self, picture: Bytes) -> Result<Vec<f32>, ServeError> {
        let limits = self.limits;
        let look = move || Ok((image::decode_bytes_max(&picture, &limits)?, picture));
        let (bytes_max, picture) = self.on_core(look).await?;
        let reserved = self.reserve(bytes_max).await?;
        let decode = move || {
            let tensor = image::decode_to_tensor(&picture, &limits)?.into_vec();
            drop(reserved);
            Ok(tensor)
        };
        self.on_core(decode).await
    }

    /// Runs `work` on a core of the bounded pool.
    pub(crate) async fn on_core<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ServeError> + Send + 'static,
    ) -> Result<T, ServeError> {
        let core = Arc::clone(&self.cores).acquire_owned().await;
        let core = core.map_err(|_| ServeError::Internal)?;
        let run = move || {
            let outcome = work();
            drop(core);
            outcome
        };
        tokio::task::spawn_blocking(run).await.map_err(|_| ServeError::Internal)?
    }

    async fn reserve(&self, bytes: u64) -> Result<Reserved, ServeError> {
        // More than there is would be waited for in vain; the configuration's check keeps it from coming to that.
        let units = units(bytes).min(self.memory_units);
        let units = Arc::clone(&self.memory).acquire_many_owned(units).await;
        let units = units.map_err(|_| ServeError::Internal)?;
        self.reserved.inc_by(bytes as i64);
        Ok(Reserved { bytes: bytes as i64, gauge: self.reserved.clone(), _units: units })
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.gauge.dec_by(self.bytes);
    }
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
