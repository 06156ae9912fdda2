//! The recording rules and alerts: Prometheus' own tool checks them, and plays metrics to them. And the dashboards as the chart
//! wraps them; `tests/up` shows what is in them.

use std::process::Command;

use crate::{
    object::find,
    render::{ON, render, source},
};

fn promtool(args: &[&str]) -> String {
    let output = Command::new("promtool").args(args).current_dir(source(".")).output();
    let output = output.expect("promtool (Debian: prometheus)");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    said.into_owned()
}

#[test]
fn prometheus_takes_the_rules_as_they_are_and_as_the_chart_wraps_them() {
    promtool(&["check", "rules", "--lint-fatal", "manifests/chart/files/rules.yaml"]);
    let objects = render(&[ON, "prometheus.rules=true,prometheus.ruleLabels.release=main"]);
    let wrapped = find(&objects, "PrometheusRule", "spotscale-autoscaler");
    assert_eq!(wrapped.text("/metadata/labels/release"), "main");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, wrapped.at("/spec").to_string()).unwrap();
    let said = promtool(&["check", "rules", "--lint-fatal", file.path().to_str().unwrap()]);
    let rules: usize =
        wrapped.items("/spec/groups").iter().map(|one| one.items("/rules").len()).sum();
    assert!(rules > 10 && said.contains(&format!("{rules} rules found")), "{rules}: {said}");
}

#[test]
fn savings_are_reckoned_rightly_and_alerts_fire_when_they_should() {
    promtool(&["test", "rules", "tests/install/rules.test.yaml"]);
}

#[test]
fn the_dashboards_are_wrapped_as_they_are_where_grafana_looks_for_them() {
    let objects = render(&["prometheus.dashboards=true"]);
    for name in ["requests", "money"] {
        let map = find(&objects, "ConfigMap", &format!("spotscale-dashboard-{name}"));
        assert_eq!(map.text("/metadata/labels/grafana_dashboard"), "1");
        let wrapped = map.text(&format!("/data/spotscale-{name}.json"));
        let file = source(&format!("manifests/chart/files/dashboards/{name}.json"));
        let whole = std::fs::read_to_string(file).unwrap();
        let [wrapped, whole] = [wrapped, &whole].map(|text| {
            serde_json::from_str::<serde_json::Value>(text)
                .unwrap_or_else(|error| panic!("{error}: {text}"))
        });
        assert_eq!(wrapped, whole);
    }
    assert!(render(&[]).iter().all(|object| !object.name().contains("dashboard")));
}
