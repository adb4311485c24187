//! The binary accredit: composition root and commands.
fn main() {}
