//! Reports of simulated runs: what the causal slice keeps, and what the three forms show.

mod forms;
mod slice;
mod traces;
