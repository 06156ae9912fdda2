//! `spotscale model`: writes the stand-in model; nothing is downloaded here.

use std::{io::Write as _, path::PathBuf};

use anyhow::Context as _;
use spotscale_inference::seeded;

/// Where to and from which seed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file to write; it appears only when it is whole.
    #[arg(long)]
    out: PathBuf,
    /// The same seed writes the same bytes.
    #[arg(long, default_value_t = 50)]
    seed: u64,
}

pub(crate) fn main(args: &Args) -> anyhow::Result<()> {
    if let Some(folder) = args.out.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
    }
    seeded::write_resnet50(&args.out, args.seed, |progress| {
        let _ = writeln!(
            std::io::stderr(),
            "model: {} of {} layers",
            progress.layers_done,
            progress.layers_total
        );
    })?;
    Ok(())
}
