//! What encryption adds to the storage contract: secrets that open and that do not, tampering, and crashes.

mod crashes;
mod disk;
mod faulty;
mod opening;
mod order;
mod tampering;
