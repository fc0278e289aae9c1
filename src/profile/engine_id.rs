use crate::engine::ENGINE_VERSION;

/// Name and version of the engine that is measured. Whether it was optimised is part of it:
/// a debug build is another engine.
pub fn engine_id() -> String {
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    format!("candle {ENGINE_VERSION}, {build}")
}
