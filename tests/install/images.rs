//! The Dockerfile: what a linter and the source's own pins say of it. Building it needs a container engine.

use std::{path::Path, process::Command};

use spotscale_test_cluster::parts::part;

use crate::{
    object::of_kind,
    render::{examples, file, render, source},
};

fn dockerfile() -> String {
    std::fs::read_to_string(source("Dockerfile")).unwrap()
}

#[test]
fn the_linter_finds_nothing() {
    let hadolint = part("SPOTSCALE_PYTHON").with_file_name("hadolint");
    let output = Command::new(hadolint).arg(source("Dockerfile")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// The stages of the parts have the scripts, and nothing else of the source.
#[test]
fn the_scripts_alone_bring_the_parts_of_the_images() {
    let text = dockerfile();
    let (_, parts) = text.split_once(" AS parts\n").unwrap();
    let (parts, _) = parts.split_once("\nFROM ").unwrap();
    let copies: Vec<_> = parts.lines().filter(|line| line.starts_with("COPY ")).collect();
    assert_eq!(copies, ["COPY scripts /source/scripts"]);
    let folder = tempfile::tempdir().unwrap();
    for entry in source("scripts").read_dir().unwrap().map(Result::unwrap) {
        if entry.path().is_file() {
            std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
    }
    let mut setup = Command::new("python3");
    setup.arg(folder.path().join("setup.py")).args(["runtime", "--print-env"]);
    let output = setup.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn each_stage_starts_from_a_whole_version() {
    let text = dockerfile();
    let bases: Vec<_> =
        text.lines().filter_map(|line| line.strip_prefix("FROM ")?.split(' ').next()).collect();
    let stages: Vec<_> = text.lines().filter_map(|line| line.split_once(" AS ")).collect();
    assert!(bases.len() >= 4, "{bases:?}");
    for base in bases {
        let is_stage = stages.iter().any(|(_, stage)| *stage == base);
        let version = base.split_once(':').map_or("", |(_, tag)| tag).split('-').next().unwrap();
        assert!(is_stage || version.split('.').count() >= 2, "{base} may become another image");
    }
    let toolchain = std::fs::read_to_string(source("rust-toolchain.toml")).unwrap();
    let channel = toolchain.split('"').nth(1).unwrap();
    assert!(text.contains(&format!("FROM rust:{channel}-")), "not the toolchain of the source");
}

#[test]
fn the_images_of_chart_and_examples_are_of_this_version() {
    let version = env!("CARGO_PKG_VERSION");
    let mut deployments = render(&[]);
    deployments.extend(examples().iter().flat_map(|path| file(path)));
    let mut seen = 0;
    for deployment in of_kind(&deployments, "Deployment") {
        let container = deployment.container();
        let image = container.text("/image");
        let tag = image.strip_prefix("spotscale:").unwrap_or_else(|| panic!("{image}"));
        assert_eq!(tag.strip_suffix("-cuda").unwrap_or(tag), version, "{}", deployment.name());
        seen += 1;
    }
    assert!(seen > 3, "{seen}");
}

#[test]
fn the_model_is_where_the_image_puts_it() {
    let text = dockerfile();
    let models = find_env(&text, "SPOTSCALE_INFERENCE_MODELS");
    let objects = render(&[]);
    let model = of_kind(&objects, "Deployment").find(|one| one.name().ends_with("model")).unwrap();
    assert_eq!(model.flag("model").as_deref(), Some(models));
    let path = models.split_once('=').unwrap().1;
    let name = Path::new(path).file_name().unwrap().to_str().unwrap();
    let setup = std::fs::read_to_string(source("scripts/setup.py")).unwrap();
    assert!(setup.contains(&format!("\"name\": \"{name}\"")), "{name} is not what is brought");
    // The server looks for the names of the classes beside the model.
    let names = Path::new(name).with_extension("labels.txt");
    for file in [name, names.to_str().unwrap()] {
        let is_taken = text.split_whitespace().any(|word| word == format!("/parts/models/{file}"));
        assert!(is_taken, "{file} is not in the image");
    }
}

/// The value that both final stages give to a variable.
fn find_env<'a>(text: &'a str, name: &str) -> &'a str {
    let assigned = format!("{name}=");
    let mut values = text.lines().filter_map(|line| Some(line.split_once(&assigned)?.1.trim()));
    let first = values.next().unwrap();
    assert_eq!(values.next(), Some(first), "the images differ");
    first
}
