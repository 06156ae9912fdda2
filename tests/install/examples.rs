//! The values that the examples ask for: the chart takes them, and what it makes of them serves the example.

use std::collections::BTreeSet;

use crate::{
    object::{Object, find},
    program::{accepts, scaler, triggers},
    render::{examples, file, source, try_render},
};

const HEADING: &str = "# In the chart's values:";

/// The values of an example's comment, as YAML; empty where it needs none.
fn values(path: &str) -> String {
    let text = std::fs::read_to_string(source(path)).unwrap();
    let lines = text.lines().skip_while(|line| *line != HEADING).skip(1);
    lines
        .map_while(|line| line.strip_prefix("#   "))
        .fold(String::new(), |yaml, line| yaml + line + "\n")
}

/// The chart with an example's values, and further arguments.
fn rendered(path: &str, further: &[&str]) -> Vec<Object> {
    let folder = tempfile::tempdir().unwrap();
    let values_file = folder.path().join("values.yaml");
    std::fs::write(&values_file, values(path)).unwrap();
    let own = ["--values", values_file.to_str().unwrap()];
    try_render(&[&own, further].concat()).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The services that a front holds requests for.
fn services(objects: &[Object]) -> BTreeSet<String> {
    let front = find(objects, "Deployment", "spotscale-front");
    let mut services: BTreeSet<_> = front.flag("service").into_iter().collect();
    for arg in front.args() {
        if let Some(route) = arg.strip_prefix("--route=") {
            services.insert(route.split_once('=').unwrap().0.to_owned());
        }
    }
    services
}

#[tokio::test]
async fn with_its_values_the_front_holds_for_an_example_and_the_scaler_takes_its_trigger() {
    let mut seen = 0;
    for path in examples() {
        // The files of TLS are in the cluster only.
        let objects = rendered(&path, &["--set", "tls.enabled=false,tls.mutual=false"]);
        let triggers = triggers(&file(&path));
        if triggers.is_empty() {
            continue;
        }
        let (_running, mut scaler) = scaler(&objects).await;
        for trigger in triggers {
            let service = &trigger.scaler_metadata["service"];
            let held = services(&objects);
            assert!(held.contains(service), "{path}: {service} is not in {held:?}");
            accepts(&mut scaler, trigger).await;
            seen += 1;
        }
    }
    assert!(seen >= 5, "{seen}");
}

#[test]
fn the_chart_takes_the_values_of_every_example() {
    let with_values: Vec<_> =
        examples().into_iter().filter(|path| !values(path).is_empty()).collect();
    assert!(with_values.len() >= 6, "{with_values:?}");
    for path in with_values {
        assert!(!rendered(&path, &[]).is_empty());
    }
    let tls = rendered("manifests/examples/scaledobject-tls.yaml", &[]);
    find(&tls, "Certificate", "spotscale-client");
}

/// Of the Gateway API, whose timeouts are those of whole requests.
#[test]
fn a_route_is_as_patient_as_the_front() {
    let routes = file("manifests/examples/http-route.yaml");
    let patience = find(&try_render(&[]).unwrap(), "Deployment", "spotscale-front").flag("timeout");
    let rules = find(&routes, "HTTPRoute", "spotscale").items("/spec/rules");
    for timeout in ["/timeouts/request", "/timeouts/backendRequest"] {
        assert_eq!(Some(rules[0].text(timeout)), patience.as_deref(), "{timeout}");
    }
}

#[test]
fn no_example_routes_by_a_path_that_the_bundled_server_does_not_know() {
    for path in examples() {
        assert!(!values(&path).contains("path: /"), "{path}");
    }
}
