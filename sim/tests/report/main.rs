//! Reports of simulated runs: what the causal slice keeps, what the three forms show, and that the page works in a browser.

mod browser;
mod driver;
mod forms;
mod slice;
mod traces;
