//! The installed autoscaler at work, with the tokens and the rights that the chart gives it: a watcher hears that its
//! machine will be taken, and the replica that leads empties that node.

use std::{collections::BTreeSet, path::Path, time::Duration};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams},
};
use serde_json::{Value, json};
use spotscale_test_cluster::{
    TestCluster,
    apply::apply,
    cloud::{Instance, Interruption, MetadataMock, Notices},
    found,
    kubelet::{Machine, Running, Signal},
    until,
};

use crate::{
    cluster::{helm, quiet},
    install::{Install, LABEL},
    render::source,
};

const TABLE: &str = "instance_type,pods_max,requests_per_second,slo_ms,device,model,measured_at\n\
    g4dn.xlarge,1,400,500,cuda,resnet50,2026-11-20T00:00:00Z";
const PRICES: &str = "timestamp,instance_type,zone,capacity_type,usd_per_hour\n\
    2026-01-01T00:00:00Z,g4dn.xlarge,us-east-1a,spot,0.2\n\
    2026-01-01T00:00:00Z,g4dn.xlarge,us-east-1b,spot,0.2\n\
    2026-01-01T00:00:00Z,g4dn.xlarge,us-east-1a,on-demand,0.526\n\
    2026-01-01T00:00:00Z,g4dn.xlarge,us-east-1b,on-demand,0.526\n";
const TAINT: &str = "spotscale.dev/interruption";

/// The release, on a ground of two nodes that Karpenter might have made: one spot, one on demand.
struct Acting {
    install: Install,
    metadata: MetadataMock,
    spot: String,
    on_demand: String,
}

impl Acting {
    async fn new() -> Self {
        let install = Install::new("acting").await;
        let namespace = &install.namespace;
        let (spot, on_demand) = (format!("{namespace}-spot"), format!("{namespace}-on-demand"));
        for (name, capacity_type, zone) in
            [(&spot, "spot", "us-east-1a"), (&on_demand, "on-demand", "us-east-1b")]
        {
            let machine = Machine::new(name)
                .label("spotscale.dev/pool", namespace)
                .label("karpenter.sh/nodepool", namespace)
                .label("karpenter.sh/capacity-type", capacity_type)
                .label("node.kubernetes.io/instance-type", "g4dn.xlarge")
                .label("topology.kubernetes.io/zone", zone)
                .taint(LABEL, namespace, "NoSchedule")
                .provider_id(&format!("aws:///{zone}/i-0123456789abcde{:02x}", name.len()));
            install.kubelet.add(machine).await.unwrap();
        }
        let instance = Instance {
            id: "i-0123456789abcdef0".to_owned(),
            instance_type: "g4dn.xlarge".to_owned(),
            zone: "us-east-1a".to_owned(),
        };
        let metadata = MetadataMock::start(&instance, &Notices::default()).await.unwrap();
        let acting = Self { install, metadata, spot, on_demand };
        acting.release();
        acting
    }

    fn release(&self) {
        // Not below /tmp, of which a pod has its own.
        let prices = Path::new(env!("CARGO_TARGET_TMPDIR")).join("prices.csv");
        std::fs::write(&prices, PRICES).unwrap();
        let values = json!({ "autoscaler": {
            "enabled": true,
            "machines": TABLE,
            "nodes": format!("spotscale.dev/pool={}", self.install.namespace),
            "workloads": format!("spotscale.dev/workload={}", self.install.namespace),
            // On the machines that are not Karpenter's.
            "nodeSelector": { LABEL: self.install.namespace },
            "tolerations": [{ "key": LABEL, "operator": "Exists" }],
            "args": [format!("--market=file:{}", prices.display()), "--tick=500ms"],
            "notices": { "node": {
                "enabled": true,
                "args": [format!("--imds-endpoint={}", self.metadata.endpoint()), "--imds-poll=1s"],
            } },
        } });
        let file = self.install.folder.path().join("values.json");
        std::fs::write(&file, values.to_string()).unwrap();
        let chart = source("manifests/chart");
        let (chart, file) = (chart.to_str().unwrap(), file.to_str().unwrap());
        quiet(&helm(&["install", "spotscale", chart, "-n", &self.install.namespace, "-f", file]));
    }

    /// A Deployment of one pod that serves, on the spot node.
    async fn serve(&self) {
        let name = "served";
        let labels = json!({ "app": name });
        let prefers_spot = json!({ "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [{ "weight": 100, "preference": {
                "matchExpressions": [{
                    "key": "karpenter.sh/capacity-type", "operator": "In", "values": ["spot"],
                }],
            } }],
        } });
        let object = json!([{
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {
                "name": name, "labels": { "spotscale.dev/workload": self.install.namespace },
            },
            "spec": {
                "replicas": 1,
                "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels }, "spec": {
                    "nodeSelector": { "spotscale.dev/pool": self.install.namespace },
                    "tolerations": [{ "key": LABEL, "operator": "Exists" }],
                    "affinity": prefers_spot,
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{
                        "name": "c", "image": "spotscale:0", "command": ["sleep", "3600"],
                    }],
                } },
            },
        }]);
        let objects: Vec<DynamicObject> = serde_json::from_value(object).unwrap();
        let client = TestCluster::shared().client().await;
        apply(&client, &self.install.namespace, &objects).await.unwrap();
    }

    fn served(&self) -> Vec<Running> {
        let pods = self.install.kubelet.pods().into_iter();
        pods.filter(|pod| pod.name.starts_with("served-")).collect()
    }

    async fn until_served_on(&self, node: &str) {
        until(&format!("one pod, on {node}"), || async {
            let pods = self.served();
            Ok(pods.len() == 1 && pods[0].ready && pods[0].machine == node)
        })
        .await
        .unwrap();
    }

    /// The replica that leads, once one does, and what it tells.
    async fn leader(&self) -> (Running, String) {
        let find = || async {
            for pod in self.install.pods("autoscaler") {
                if pod.ready {
                    let metrics = self.install.get(&pod, 9404, "/metrics").await;
                    if metrics.contains("spotscale_autoscaler_leads 1") {
                        return Ok(Some((pod, metrics)));
                    }
                }
            }
            Ok(None)
        };
        found("a leader", find).await.unwrap()
    }

    async fn node(&self, name: &str) -> Node {
        let nodes: Api<Node> = Api::all(TestCluster::shared().client().await);
        nodes.get(name).await.unwrap()
    }

    async fn is_cordoned(&self, name: &str) -> bool {
        let spec = self.node(name).await.spec.unwrap_or_default();
        let tainted = spec.taints.iter().flatten().any(|taint| taint.key == TAINT);
        assert!(!tainted || spec.unschedulable == Some(true), "half a cordon on {name}");
        tainted
    }

    async fn until_cordoned(&self, name: &str, is_cordoned: bool) {
        let so = || async { Ok(self.is_cordoned(name).await == is_cordoned) };
        until(&format!("{name}, cordoned: {is_cordoned}"), so).await.unwrap();
    }
}

/// The names of the metrics that the rules of the chart read.
fn read_by_rules() -> BTreeSet<String> {
    let rules = std::fs::read_to_string(source("manifests/chart/files/rules.yaml")).unwrap();
    let words = rules.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
    let names = words.filter(|word| word.starts_with("spotscale_"));
    names.map(|name| name.trim_end_matches("_bucket").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_hears_of_an_interruption_and_the_leader_empties_the_node() {
    let mut acting = Acting::new().await;
    let (spot, on_demand) = (acting.spot.clone(), acting.on_demand.clone());
    acting.serve().await;
    acting.until_served_on(&spot).await;
    until("two autoscalers and a watcher", || async {
        let ready = |role| acting.install.pods(role).into_iter().filter(|pod| pod.ready).count();
        Ok(ready("autoscaler") == 2 && ready("node") == 1)
    })
    .await
    .unwrap();
    assert_eq!(acting.install.pods("node")[0].machine, spot);
    let (first, _) = acting.leader().await;
    let plan = acting.install.get(&first, 9404, "/debug/plan").await;
    for node in [&spot, &on_demand] {
        assert!(plan.contains(node), "{node} is not seen: {plan}");
    }

    let now = Timestamp::now();
    let time = now + SignedDuration::from_secs(120);
    let interruption = Some(Interruption { action: "terminate", time, shown: now });
    acting.metadata.tell(&Notices { interruption, rebalance: None }).await.unwrap();
    acting.until_cordoned(&spot, true).await;
    acting.until_served_on(&on_demand).await;
    assert!(!acting.is_cordoned(&on_demand).await);

    let (_, metrics) = acting.leader().await;
    assert!(!metrics.contains("kind=\"forbidden\""), "it lacks a right: {metrics}");
    let told: BTreeSet<&str> =
        metrics.lines().filter_map(|line| line.split(['{', ' ']).next()).collect();
    // Told from the first time on that it has happened, or of AWS, whose prices are not asked for here.
    let later = [
        "spotscale_refund_usd_total",
        "spotscale_aws_failures_total",
        "spotscale_aws_on_demand_prices_tabled",
        "spotscale_aws_prices_timestamp_seconds",
        "spotscale_drain_deadline_margin_seconds",
    ];
    for name in read_by_rules() {
        let is_told = told.contains(&*name) || told.contains(&*format!("{name}_bucket"));
        assert!(is_told || later.contains(&name.as_str()), "no metric {name}: {told:#?}");
    }
    another_leads_when_the_leader_dies(&acting).await;
}

async fn another_leads_when_the_leader_dies(acting: &Acting) {
    let (first, _) = acting.leader().await;
    let maps: Api<ConfigMap> =
        Api::namespaced(TestCluster::shared().client().await, &acting.install.namespace);
    until("the saved state", || async {
        Ok(maps.get_opt("spotscale-autoscaler").await?.is_some_and(|map| map.binary_data.is_some()))
    })
    .await
    .unwrap();
    let namespace = &acting.install.namespace;
    assert!(acting.install.kubelet.kill(namespace, &first.name, Signal::KILL) > 0);
    // What only one that leads does: the notice is gone, and with it the cordon.
    let nodes: Api<Node> = Api::all(TestCluster::shared().client().await);
    let gone: Value = json!({ "metadata": { "annotations": { "spotscale.dev/notices": null } } });
    until("the cordon to be taken away", || async {
        nodes.patch(&acting.spot, &PatchParams::default(), &Patch::Merge(&gone)).await?;
        tokio::time::sleep(Duration::from_millis(200)).await;
        Ok(!acting.is_cordoned(&acting.spot).await)
    })
    .await
    .unwrap();
}
