//! Wrong values are refused, and told so that one knows what to change.

use crate::render::{ON, WATCHERS, try_render};

fn refusal(values: &[&str]) -> String {
    let args: Vec<&str> = values.iter().flat_map(|value| ["--set", value]).collect();
    match try_render(&args) {
        Err(complaint) => complaint,
        Ok(_) => panic!("{values:?} were taken"),
    }
}

#[test]
fn the_schema_refuses_a_wrong_value_and_names_it() {
    for (value, complaint) in [
        ("font.replicas=2", "additional properties 'font' not allowed"),
        ("front.replica=2", "at '/front': additional properties 'replica' not allowed"),
        ("front.replicas=0", "at '/front/replicas': minimum: got 0, want 1"),
        ("front.timeoutSeconds=2m", "at '/front/timeoutSeconds': got string, want integer"),
        ("front.service.type=Load", "at '/front/service/type': value must be one of 'ClusterIP'"),
        (
            "front.services[0].name=detector",
            "at '/front/services/0/name': 'detector' does not match",
        ),
        ("front.services[0].path=/x", "at '/front/services/0': missing property 'name'"),
        ("image.pullPolicy=Sometimes", "at '/image/pullPolicy': value must be one of 'Always'"),
        ("image.repository=spotscale:0.1.0", "at '/image/repository'"),
        ("scaler.args[0]=stray", "at '/scaler/args/0'"),
        ("scaler.resources.requests.cpu=much", "at '/scaler/resources/requests/cpu'"),
        ("scaler.resources.request.cpu=1", "additional properties 'request' not allowed"),
        ("prometheus.url=prometheus:9090", "at '/prometheus/url'"),
        ("model.models[0]=resnet50", "at '/model/models/0': 'resnet50' does not match"),
        ("model.trigger.sloMs=250", "at '/model/trigger/sloMs': got number, want string"),
        ("image.digest=sha256:1", "at '/image/digest'"),
        ("front.healthPath=healthz", "at '/front/healthPath'"),
        ("networkPolicy.dnsPorts[0]=0", "at '/networkPolicy/dnsPorts/0'"),
        ("model.gpuResource=gpu", "at '/model/gpuResource': 'gpu' does not match"),
        ("model.hpaZeroTolerance=true", "value must be one of 'auto', 'always', 'never'"),
        ("autoscaler.machines=g4dn.xlarge", "at '/autoscaler/machines': 'g4dn.xlarge' does not"),
        ("autoscaler.budgets.nodesMax=0", "at '/autoscaler/budgets/nodesMax': minimum: got 0"),
        ("autoscaler.budget.nodesMax=9", "additional properties 'budget' not allowed"),
        ("autoscaler.budgets.perHour=0", "at '/autoscaler/budgets/perHour'"),
        ("autoscaler.budgets.perHour=0.00", "at '/autoscaler/budgets/perHour'"),
        ("autoscaler.budgets.perMonth=$180", "at '/autoscaler/budgets/perMonth'"),
        (
            "autoscaler.reactions.interruption=ignore",
            "at '/autoscaler/reactions/interruption': value must be one of 'cordon', 'drain'",
        ),
        (
            "autoscaler.reactions.rebalance=surge",
            "at '/autoscaler/reactions/rebalance': value must be one of 'ignore', 'cordon'",
        ),
        ("autoscaler.nodes=a:b", "at '/autoscaler/nodes': 'a:b' does not match"),
        ("autoscaler.workloads=", "at '/autoscaler/workloads': '' does not match"),
        ("autoscaler.aws.region=useast", "at '/autoscaler/aws/region'"),
        ("autoscaler.notices.queue.url=notices", "at '/autoscaler/notices/queue/url'"),
        ("autoscaler.baseline.nodes=0", "at '/autoscaler/baseline/nodes'"),
        ("prometheus.rules=yes", "at '/prometheus/rules': got string, want boolean"),
    ] {
        let refusal = refusal(&[value]);
        assert!(refusal.contains(complaint), "{value} said:\n{refusal}");
        let lines = refusal.lines().filter(|line| line.starts_with("- at")).count();
        assert!(lines >= 1, "{value} said:\n{refusal}");
    }
}

#[test]
fn values_that_need_each_other_are_refused_alone() {
    let twice = "front.services[0].name=a/b,front.services[0].path=/b,front.services[0].host=b";
    for (values, complaint) in [
        (
            "tls.enabled=true",
            "tls.enabled needs tls.issuer.name (cert-manager) or tls.serverSecret",
        ),
        ("tls.mutual=true", "tls.mutual needs tls.enabled"),
        (
            "tls.enabled=true,tls.mutual=true,tls.serverSecret=server",
            "tls.mutual needs tls.issuer.name (cert-manager) or tls.clientSecret",
        ),
        ("prometheus.queries.gpu=up", "prometheus.queries needs prometheus.url"),
        ("model.minReplicas=30", "model.minReplicas is more than model.maxReplicas"),
        ("model.enabled=false", "one service must have neither path nor host"),
        (
            "front.services[0].name=a/b",
            "spotscale/spotscale-model, a/b all take what fits no other",
        ),
        ("front.args[0]=--timeout=5s", "front.args: --timeout is there already"),
        ("scaler.args[0]=--drain-timeout=5s", "scaler.args: --drain-timeout is there already"),
        ("model.args[0]=--drain-timeout=5s", "model.args: --drain-timeout is there already"),
        ("model.args={--queue=70,--queue=80}", "model.args: --queue is there already"),
        ("log=info,scaler.args[0]=--log=debug", "scaler.args: --log is there already"),
        (twice, "front.services: a/b has both path and host"),
    ] {
        let refusal = refusal(&[values]);
        assert!(refusal.contains(complaint), "{values} said:\n{refusal}");
    }
    let overruled = ["--set-string", "model.trigger.maxReplicas=5"];
    let refusal = try_render(&overruled).unwrap_err();
    assert!(refusal.contains("set model.maxReplicas instead"), "{refusal}");
}

#[test]
fn an_autoscaler_that_could_not_work_is_refused() {
    let queue = "autoscaler.notices.queue.url=https://sqs.eu-west-1.amazonaws.com/1/q";
    for (values, complaint) in [
        ("autoscaler.enabled=true", "autoscaler.enabled needs autoscaler.machines"),
        (
            "autoscaler.notices.node.enabled=true",
            "autoscaler.notices.node.enabled needs autoscaler.enabled",
        ),
        (
            &format!("{ON},autoscaler.baseline.instanceType=c7i"),
            "autoscaler.baseline.instanceType: c7i has no line in autoscaler.machines",
        ),
        (&ON.replace("c7i.large", "g4dn.xlarge"), "autoscaler.machines: g4dn.xlarge has two lines"),
        (
            &format!("{queue},autoscaler.aws.region=us-east-1"),
            "is a queue in eu-west-1, and autoscaler.aws.region is us-east-1",
        ),
        (
            &format!("{ON},autoscaler.args[0]=--nodes-max=5"),
            "autoscaler.args: --nodes-max is there already",
        ),
        (
            &format!("{ON},{WATCHERS},autoscaler.notices.node.args[0]=--admin-listen=[::]:1"),
            "autoscaler.notices.node.args: --admin-listen is there already",
        ),
    ] {
        let refusal = refusal(&[values]);
        assert!(refusal.contains(complaint), "{values} said:\n{refusal}");
    }
}

#[test]
fn a_cluster_that_is_too_old_is_refused() {
    let refusal = try_render(&["--kube-version", "1.29.0"]).unwrap_err();
    assert!(refusal.contains("requires kubeVersion: >=1.30.0-0"), "{refusal}");
    let watched = ["--kube-version", "1.31.9", "--set", ON, "--set", WATCHERS];
    let refusal = try_render(&watched).unwrap_err();
    assert!(refusal.contains("autoscaler.notices.node.enabled needs Kubernetes 1.32"), "{refusal}");
}
