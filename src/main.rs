use std::process::ExitCode;

fn main() -> ExitCode {
    xp::cli::main()
}
