use clap::{CommandFactory as _, Parser};
use spotscale_decide::{
    budget::Budget,
    disruption::{DisruptionPolicy, OnInterruption, Reaction},
    units::{MicroUsd, UsdPerHour},
};

use super::*;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    config: Config,
}

fn parse(flags: &[&str]) -> Result<Config, String> {
    let words = std::iter::once(&"autoscaler").chain(flags);
    Cli::try_parse_from(words).map(|cli| cli.config).map_err(|error| error.to_string())
}

fn refusal(flag: &str) -> String {
    parse(&["--machine=a=1", flag]).unwrap().validate().unwrap_err().to_string()
}

#[test]
fn the_flags_spell_a_policy() {
    let flags = ["--machine=g4dn.xlarge=400,c7i.large=40/2", "--fallback-after=90s"];
    let config = parse(&flags).unwrap();
    config.validate().unwrap();
    let policy = config.policy();
    assert_eq!(policy.fleet.fallback_after_ms, Millis::from_secs(90));
    assert_eq!(policy.offers.machines[1].pods_max, 2);
    let baseline = config.baseline(&policy.offers.machines).unwrap();
    assert_eq!(baseline.instance_type.as_str(), "g4dn.xlarge");
    serde_json::to_string(&config).unwrap();
}

#[test]
fn what_is_not_given_is_as_the_planner_has_it() {
    assert_eq!(parse(&[]).unwrap().policy(), Policy::default());
}

/// What a flag changes: the policy as text, in lines, without those of the default.
fn changed(flag: &str) -> String {
    let lines = |flags: &[&str]| {
        let policy = parse(flags).unwrap().policy();
        let text = serde_json::to_string_pretty(&policy).unwrap();
        text.lines().map(|line| line.trim().trim_end_matches(',').to_owned()).collect::<Vec<_>>()
    };
    let (before, after) = (lines(&[]), lines(&[flag]));
    assert_eq!(before.len(), after.len(), "{flag}");
    let news = before.iter().zip(&after).filter(|(before, after)| before != after);
    news.map(|(_, after)| after.as_str()).collect::<Vec<_>>().join(" ")
}

#[test]
fn every_number_of_the_policy_has_a_flag() {
    for (flag, wanted) in [
        ("--interruptions-per-hour=0.5", "\"interruptions_per_hour\": 0.5"),
        ("--interruption-overlap=7s", "\"overlap_ms\": 7000"),
        ("--mark-half-life=7s", "\"mark_half_life_ms\": 7000"),
        ("--marks-max=0.7", "\"marks_max\": 0.7"),
        ("--rebalance-mark=0.7", "\"rebalance_mark\": 0.7"),
        ("--traffic-window=7s", "\"window_ms\": 7000"),
        ("--traffic-requests-min=7", "\"requests_min\": 7"),
        ("--traffic-busy-min=0.7", "\"busy_min\": 0.7"),
        ("--traffic-bound=7", "\"bound\": 7.0"),
        ("--traffic-half-life=7s", "\"half_life_ms\": 7000"),
        ("--traffic-stale-after=7s", "\"warn\": 7000"),
        ("--traffic-expired-after=7s", "\"expired\": 7000"),
        ("--on-demand-floor=7", "\"on_demand_floor\": 7"),
        ("--fallback-after=7s", "\"fallback_after_ms\": 7000"),
        ("--return-after=7s", "\"return_after_ms\": 7000"),
        ("--return-steady=7s", "\"return_steady_ms\": 7000"),
        ("--return-every=7s", "\"return_window_ms\": 7000"),
        ("--on-interruption=cordon", "\"on_interruption\": \"cordon\""),
        ("--on-maintenance=cordon", "\"on_maintenance\": \"cordon\""),
        ("--on-rebalance=ignore", "\"on_rebalance\": \"ignore\""),
        ("--rebalance-every=7s", "\"rebalance_every_ms\": 7000"),
        ("--evict-margin=7s", "\"evict_margin_ms\": 7000"),
        ("--voluntary-max=7", "\"voluntary_max\": 7"),
        ("--steering-dead-band=0.7", "\"dead_band\": 0.7"),
        ("--steering-pool-every=7s", "\"pool_every_ms\": 7000"),
        ("--price-stale-after=7s", "\"warn\": 7000"),
        ("--price-expired-after=7s", "\"expired\": 7000"),
        ("--budget-per-hour=12.50", "\"per_hour\": 12500000"),
        ("--budget-per-month=180", "\"per_month\": 180000000"),
        ("--nodes-max=7", "\"nodes_max\": 7"),
        ("--empty-after=7s", "\"empty_after_ms\": 7000"),
        ("--launch-timeout=7s", "\"launch_timeout_ms\": 7000"),
        ("--refund-wait=7s", "\"refund_wait_ms\": 7000"),
        ("--ask-again-after=7s", "\"ask_again_after_ms\": 7000"),
    ] {
        assert_eq!(changed(flag), wanted, "{flag}");
    }
}

#[test]
fn every_reaction_can_be_chosen() {
    let policy = |flags: &[&str]| parse(flags).unwrap().policy().disruption;
    let flags = ["--on-interruption=cordon", "--on-maintenance=ignore", "--on-rebalance=cordon"];
    let cordons = policy(&flags);
    assert_eq!(cordons.on_interruption, OnInterruption::Cordon);
    assert_eq!(cordons.on_maintenance, Reaction::Ignore);
    assert_eq!(cordons.on_rebalance, Reaction::Cordon);
    let flags = ["--on-interruption=drain", "--on-maintenance=drain", "--on-rebalance=drain"];
    assert_eq!(policy(&flags), DisruptionPolicy::default());
    for flag in ["--on-interruption=ignore", "--on-maintenance=surge", "--on-rebalance=Drain"] {
        let error = parse(&[flag]).unwrap_err();
        assert!(error.contains("[possible values: ") && error.contains("drain"), "{error}");
    }
    let help = Cli::command().render_long_help().to_string();
    assert!(help.contains("possible values: ignore, cordon, drain"), "{help}");
}

#[test]
fn money_is_read_exactly_and_an_empty_budget_refused() {
    let budget = |flags: &[&str]| parse(flags).map(|config| config.policy().budget);
    let wanted =
        Budget { per_hour: Some(UsdPerHour(12_500_000)), per_month: Some(MicroUsd(180_000_000)) };
    assert_eq!(budget(&["--budget-per-hour=12.5", "--budget-per-month=180"]), Ok(wanted));
    for wrong in ["", "-1", "1e3", "$5", "5,0", "99999999999999999999"] {
        for flag in ["--budget-per-hour", "--budget-per-month"] {
            assert!(budget(&[&format!("{flag}={wrong}")]).is_err(), "{flag} {wrong:?}");
        }
    }
    assert_eq!(refusal("--budget-per-hour=0"), "--budget-per-hour must be above zero");
    assert_eq!(refusal("--budget-per-month=0.0"), "--budget-per-month must be above zero");
}

#[test]
fn a_wrong_flag_is_refused_in_words() {
    for wrong in ["g4dn.xlarge", "=4", "a=x", "a=0", "a=inf", "a=4/0", "a=4/x"] {
        assert!(parse(&["--machine", wrong]).is_err(), "{wrong} was accepted");
    }
    assert!(parse(&["--tick=soon"]).unwrap_err().contains("is not a span of time such as"));
    let nothing = parse(&[]).unwrap().validate().unwrap_err().to_string();
    assert!(nothing.starts_with("--machines-file or --machine is missing"));
    assert_eq!(refusal("--machine=a=2"), "--machine a is given twice");
    let unknown = "--baseline-type b is none of the machine types that may be bought";
    assert_eq!(refusal("--baseline-type=b"), unknown);
    let zero = ["tick", "call-timeout", "price-refresh", "launch-timeout", "mark-half-life"];
    for flag in zero.into_iter().chain(["ask-again-after"]) {
        assert_eq!(refusal(&format!("--{flag}=0s")), format!("--{flag} must be above zero"));
    }
    for flag in ["nodes-max", "marks-max"] {
        assert_eq!(refusal(&format!("--{flag}=0")), format!("--{flag} must be above zero"));
    }
    for flag in ["interruptions-per-hour", "marks-max", "rebalance-mark"] {
        for number in ["NaN", "-1", "inf"] {
            let wanted = format!("--{flag} must be a number from 0 up");
            assert_eq!(refusal(&format!("--{flag}={number}")), wanted);
        }
    }
}

#[test]
fn prices_go_stale_after_they_should_have_been_renewed() {
    let stale = refusal("--price-stale-after=5m");
    assert_eq!(stale, "--price-refresh must be shorter than --price-stale-after");
    let expired = refusal("--price-expired-after=1h");
    assert_eq!(expired, "--price-stale-after must be shorter than --price-expired-after");
}

#[test]
fn a_flag_takes_the_place_of_its_line_in_the_table_or_is_added() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("machines.csv");
    let table = format!(
        "{}\ng4dn.xlarge,1,400,500,cuda,m@1,2026-11-20T00:00:00Z\n\
         c7i.large,2,40,500,cpu,m@1,2026-11-20T00:00:00Z\n",
        crate::Calibration::HEADER
    );
    std::fs::write(&path, table).unwrap();
    let file = format!("--machines-file={}", path.display());
    let machines = |flags: &[&str]| {
        let config = parse(&[&[file.as_str()], flags].concat()).unwrap();
        config.validate().unwrap();
        let known = |machine: Machine| {
            let rate = machine.throughput.get() as u32;
            (machine.instance_type.to_string(), rate, machine.pods_max)
        };
        config.machines(&BTreeMap::new()).into_iter().map(known).collect::<Vec<_>>()
    };
    let line = |name: &str, rate, pods| (name.to_owned(), rate, pods);
    assert_eq!(machines(&[]), [line("g4dn.xlarge", 400, 1), line("c7i.large", 40, 2)]);
    let flags = ["--machine=g5.xlarge=700/3", "--machine=g4dn.xlarge=380"];
    let wanted = [line("g4dn.xlarge", 380, 1), line("c7i.large", 40, 2), line("g5.xlarge", 700, 3)];
    assert_eq!(machines(&flags), wanted);
    std::fs::write(&path, "dear,diary\n").unwrap();
    let error = parse(&[&file]).unwrap_err();
    assert!(error.contains("machines.csv: line 1: wanted the header instance_type,"), "{error}");
    let error = parse(&["--machines-file=no/such.csv"]).unwrap_err();
    assert!(error.contains("no/such.csv: "), "{error}");
}

#[test]
fn how_many_pods_fit_follows_from_the_type_where_nobody_says() {
    let config = parse(&["--machine=a=400,b=40,c=10/3", "--pod-cpus=500m"]).unwrap();
    let shape = |name: &str, vcpus, gpus| (name.parse().unwrap(), Shape { vcpus, gpus });
    let shapes = [shape("a", 48, 4), shape("b", 4, 0), shape("c", 4, 0)].into();
    let pods = |shapes| config.machines(shapes).iter().map(|one| one.pods_max).collect::<Vec<_>>();
    assert_eq!(pods(&shapes), [4, 8, 3]);
    assert_eq!(pods(&BTreeMap::new()), [1, 1, 3]);
}

#[test]
fn traffic_is_measured_within_reason_and_a_password_is_not_told() {
    for wrong in ["0.9", "NaN", "inf", "-2"] {
        assert_eq!(
            refusal(&format!("--traffic-bound={wrong}")),
            "--traffic-bound must be 1 or more"
        );
    }
    let rare = refusal("--prometheus-interval=5m");
    assert_eq!(rare, "--prometheus-interval must be shorter than --traffic-stale-after");
    assert!(parse(&["--prometheus-url=nowhere"]).is_err());
    let url = "--prometheus-url=https://me:secret@prometheus.example:9090/root";
    let told = serde_json::to_string(&parse(&[url]).unwrap()).unwrap();
    assert!(told.contains("\"https://prometheus.example:9090/root\""), "{told}");
    assert!(!told.contains("secret"), "{told}");
}
