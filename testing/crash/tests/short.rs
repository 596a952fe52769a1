//! A short campaign: `cargo xtask crash` makes long ones.

use std::process::Command;

#[test]
fn what_was_acknowledged_survives_kills() {
    let campaign = Command::new(env!("CARGO_BIN_EXE_peerloom-crash"))
        .args(["--rounds", "10"])
        .output()
        .expect("the campaign runs");
    let said = String::from_utf8_lossy(&campaign.stdout);
    assert!(campaign.status.success(), "{said}{}", String::from_utf8_lossy(&campaign.stderr));
    for storage in ["fjall: ", "encrypted-fjall: "] {
        let figures = said.lines().find_map(|line| line.strip_prefix(storage)).expect("a line of figures");
        assert!(figures.starts_with("10 rounds, "), "{said}");
        println!("{storage}{figures}");
    }
}
