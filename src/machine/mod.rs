//! The machine that runs: what of it decides its speed, and what disturbs it.

mod bandwidth;
mod disturbance;
mod facts;
mod pages;
mod speed;

pub use bandwidth::read_gb_per_s;
pub use disturbance::{Disturbance, DisturbedSteps, Watch};
pub use facts::{MachineFacts, machine};
pub use pages::Pages;
pub use speed::{Drift, SPEED_ROWS, SpeedPoint, forget_other_rows};
