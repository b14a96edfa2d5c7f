//! Counting: a node's registry of Prometheus metrics, in the OpenMetrics text format.
//!
//! Labels are bounded by construction: they come from enums and from the list of gateways, never from the
//! names of rooms, users or clients.

use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::registry::{Metric, Registry};

pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::family::Family;
pub use prometheus_client::metrics::gauge::Gauge;
pub use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

/// A gauge of what is not a whole number: seconds.
pub type FloatGauge = Gauge<f64, std::sync::atomic::AtomicU64>;

/// A counter of what is not a whole number: seconds.
pub type FloatCounter = Counter<f64, std::sync::atomic::AtomicU64>;

/// The metrics of one node. Clones are the same registry.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Mutex<Registry>>);

impl Metrics {
    /// A registry whose metrics are named `tidegate_<role>_…`.
    #[must_use]
    pub fn new(role: &str) -> Self {
        Self(Arc::new(Mutex::new(Registry::with_prefix(format!("tidegate_{role}")))))
    }

    /// Registers a new metric under `name` and returns the handle to count with.
    pub fn register<M: Metric + Clone + Default>(&self, name: &str, help: &str) -> M {
        self.register_as(name, help, M::default())
    }

    /// Registers a metric that was made elsewhere.
    pub fn register_as<M: Metric + Clone>(&self, name: &str, help: &str, metric: M) -> M {
        self.0.lock().register(name, help, metric.clone());
        metric
    }

    /// All metrics as text, media type [`MEDIA_TYPE`].
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.0.lock())
            .expect("writing to a String does not fail");
        text
    }
}

/// The media type of [`Metrics::text`]: OpenMetrics 1.0.0, section "Overall Structure".
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
