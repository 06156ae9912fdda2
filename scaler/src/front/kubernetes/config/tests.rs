//! What the flags say to follow, and which of them are refused.

use clap::Parser;

use super::*;

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    config: Config,
}

fn config(flags: &[&str]) -> Config {
    Flags::try_parse_from(["front", "--kubernetes"].iter().chain(flags)).unwrap().config
}

/// As `service=namespace/name`.
fn followed(flags: &[&str]) -> Vec<String> {
    let targets = targets(&config(flags), "own").unwrap();
    targets.iter().map(|t| format!("{}={}/{}", t.service, t.namespace, t.name)).collect()
}

fn refusal(flags: &[&str]) -> String {
    let flags: Vec<&str> = ["front"].iter().chain(flags).copied().collect();
    let error = Flags::try_parse_from(flags).unwrap().config.validate().unwrap_err().to_string();
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

#[test]
fn a_service_is_followed_under_its_own_name() {
    assert_eq!(followed(&["--service", "models/resnet"]), ["models/resnet=models/resnet"]);
    assert_eq!(followed(&["--service", "resnet"]), ["resnet=own/resnet"]);
    assert_eq!(followed(&["--route", "a/x=/x", "--route", "a/x=x.test"]), ["a/x=a/x"]);
}

#[test]
fn two_services_are_two_tiers_of_one() {
    let config = config(&[
        "--service=models/resnet",
        "--kubernetes-service=models/gpu tier=gpu concurrency=16 service=models/resnet",
        "--kubernetes-service=models/cpu:8000 tier=cpu service=models/resnet",
        "--route=b/bert=/bert",
        "--kubernetes-service=bert service=b/bert",
        "--kubernetes-service=b/bert:grpc",
    ]);
    config.validate().unwrap();
    let targets = targets(&config, "own").unwrap();
    let [gpu, cpu, own, bert] = &targets[..] else { panic!("{targets:?}") };
    assert_eq!((gpu.service.as_str(), gpu.name.as_str()), ("models/resnet", "gpu"));
    assert_eq!((gpu.tier, gpu.concurrency), (Some(Tier::Gpu), NonZeroU32::new(16)));
    assert_eq!((cpu.tier, &cpu.port), (Some(Tier::Cpu), &Some(Port::Number(8000))));
    assert_eq!((own.service.as_str(), own.namespace.as_str()), ("b/bert", "own"));
    assert_eq!((bert.namespace.as_str(), &bert.port), ("b", &Some(Port::Name("grpc".to_owned()))));
}

#[test]
fn a_front_of_one_service_needs_no_service_attribute() {
    let flags = ["--service=m/resnet", "--kubernetes-service=m/gpu,m/cpu tier=cpu"];
    assert_eq!(followed(&flags), ["m/resnet=m/gpu", "m/resnet=m/cpu"]);
}

#[test]
fn what_says_too_little_or_too_much_is_refused_in_one_line() {
    let several = ["--kubernetes", "--service=m/a", "--route=m/b=/b", "--kubernetes-service=m/c"];
    let unwatched = [
        "--kubernetes",
        "--service=m/a",
        "--kubernetes-notice-taint=a",
        "--kubernetes-nodes=false",
    ];
    let further = |flag: &'static str| ["--kubernetes", "--service=m/a", flag];
    for (flags, words) in [
        (&["--kubernetes"][..], "wanted a Kubernetes Service"),
        (&["--kubernetes", "--service=m/A_1"], "--kubernetes-service"),
        (&several, "m/c: service=NAME is to be one of m/a, m/b"),
        (&further("--kubernetes-service=m/c service=m/d"), "to be one of m/a"),
        (&further("--upstream=http://a:1"), "not together with --upstream"),
        (&further("--kubernetes-notice-taint=a=b:NoSchedule"), "wanted a key"),
        (&["--kubernetes-service=m/a"], "needs --kubernetes"),
        (&["--kubernetes-notice-taint=a"], "needs --kubernetes"),
        (&unwatched, "not with --kubernetes-nodes=false"),
    ] {
        assert!(refusal(flags).contains(words), "{flags:?}: {}", refusal(flags));
    }
}

#[test]
fn a_wrong_name_or_port_is_refused_with_what_is_wanted() {
    for wrong in ["", "a/b/c", "A", "a:", "a:0", "a:70000", "a:b/c", "-a", "a tier=tpu", "a b=c"] {
        let error = wrong.parse::<Backend>().unwrap_err();
        assert!(error.contains("NAMESPACE"), "{error}");
    }
}
