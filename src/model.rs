//! `spotscale model`: writes the stand-in model; nothing is downloaded here.

use std::{io::Write as _, path::PathBuf};

use anyhow::Context as _;
use spotscale_inference::seeded;

/// Where to and from which seed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file to write; it appears only when it is whole.
    #[arg(long, required_unless_present = "print_sha256")]
    out: Option<PathBuf>,
    /// The same seed writes the same bytes.
    #[arg(long, default_value_t = seeded::SEED)]
    seed: u64,
    /// Write nothing: print the SHA-256 of the default seed's file, which tells whether a kept one is still good.
    #[arg(long, conflicts_with_all = ["out", "seed"])]
    print_sha256: bool,
}

pub(crate) fn main(args: &Args) -> anyhow::Result<()> {
    let Some(out) = &args.out else {
        return writeln!(std::io::stdout(), "{}", seeded::SHA256).context("cannot print");
    };
    if let Some(folder) = out.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
    }
    seeded::write_resnet50(out, args.seed, |progress| {
        let _ = writeln!(
            std::io::stderr(),
            "model: {} of {} layers",
            progress.layers_done,
            progress.layers_total
        );
    })?;
    Ok(())
}
