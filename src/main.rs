//! The `archfan` command.

fn main() {}
