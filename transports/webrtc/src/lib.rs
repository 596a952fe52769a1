//! Peerloom over WebRTC.
