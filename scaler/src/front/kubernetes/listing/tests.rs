//! Cases of `EndpointSlices` and Nodes, each with the endpoints that it has to give.

use k8s_openapi::{
    api::{core::v1::ObjectReference, discovery::v1::EndpointConditions},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::*;

const NAMESPACE: &str = "models";

fn target(name: &str) -> Target {
    Target {
        service: "models/resnet".to_owned(),
        namespace: NAMESPACE.to_owned(),
        name: name.to_owned(),
        port: None,
        tier: None,
        concurrency: None,
    }
}

fn port(name: &str, number: i32) -> EndpointPort {
    EndpointPort { name: Some(name.to_owned()), port: Some(number), ..EndpointPort::default() }
}

fn slice(name: &str, endpoints: Vec<discovery::Endpoint>) -> EndpointSlice {
    let labels = BTreeMap::from([(SERVICE_NAME_LABEL.to_owned(), name.to_owned())]);
    EndpointSlice {
        metadata: ObjectMeta {
            namespace: Some(NAMESPACE.to_owned()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        endpoints,
        ports: Some(vec![port("http", 8000)]),
        ..EndpointSlice::default()
    }
}

/// A pod called `name` that is ready, on a node of the same name.
fn pod(name: &str, address: &str) -> discovery::Endpoint {
    let uid = Some(name.to_owned());
    discovery::Endpoint {
        addresses: vec![address.to_owned()],
        conditions: Some(EndpointConditions { ready: Some(true), ..EndpointConditions::default() }),
        node_name: Some(name.to_owned()),
        target_ref: Some(ObjectReference { uid, ..ObjectReference::default() }),
        ..discovery::Endpoint::default()
    }
}

fn with(
    mut pod: discovery::Endpoint,
    ready: Option<bool>,
    terminating: Option<bool>,
) -> discovery::Endpoint {
    pod.conditions = Some(EndpointConditions { ready, terminating, serving: Some(true) });
    pod
}

fn labelled(mut slice: EndpointSlice, key: &str, value: &str) -> EndpointSlice {
    slice.metadata.labels.get_or_insert_default().insert(key.to_owned(), value.to_owned());
    slice
}

fn listing(targets: &[Target], slices: Vec<EndpointSlice>, leaving: &[&str]) -> Listing {
    let slices: Vec<_> = slices.into_iter().map(Arc::new).collect();
    list(targets, &slices, |node| leaving.contains(&node))
}

fn addresses(listing: &Listing) -> Vec<&str> {
    listing.endpoints.iter().map(|listed| listed.endpoint.authority.as_str()).collect()
}

/// Of the one Service `resnet`.
fn resnet(slices: Vec<EndpointSlice>, leaving: &[&str]) -> Listing {
    listing(&[target("resnet")], slices, leaving)
}

fn count(listing: &Listing, why: Why) -> u64 {
    listing.left_out[&("models/resnet".to_owned(), why)]
}

#[test]
fn a_pod_is_listed_while_it_is_ready_and_not_terminating() {
    let a = || pod("a", "10.0.0.1");
    for (conditions, is_listed) in [
        ((Some(true), Some(false)), true),
        ((Some(true), None), true),
        ((None, None), true),
        ((Some(false), Some(false)), false),
        ((Some(false), Some(true)), false),
        ((Some(true), Some(true)), false),
    ] {
        let found = resnet(vec![slice("resnet", vec![with(a(), conditions.0, conditions.1)])], &[]);
        assert_eq!(found.endpoints.len(), usize::from(is_listed), "{conditions:?}");
        let left_out = count(&found, Why::NotReady) + count(&found, Why::Terminating);
        assert_eq!(left_out, u64::from(!is_listed), "{conditions:?}");
    }
    let silent = discovery::Endpoint { conditions: None, ..a() };
    assert_eq!(addresses(&resnet(vec![slice("resnet", vec![silent])], &[])), ["10.0.0.1:8000"]);
}

#[test]
fn a_pod_in_several_slices_is_one_endpoint() {
    let twice = || vec![slice("resnet", vec![pod("a", "10.0.0.1")]); 2];
    assert_eq!(addresses(&resnet(twice(), &[])), ["10.0.0.1:8000"]);
    let families = [pod("a", "fd00::1"), pod("a", "10.0.0.1"), pod("b", "fd00::2")];
    let families = families.map(|pod| slice("resnet", vec![pod])).to_vec();
    assert_eq!(addresses(&resnet(families, &[])), ["10.0.0.1:8000", "[fd00::2]:8000"]);
    let late = with(pod("a", "10.0.0.1"), Some(false), Some(true));
    for order in [[late.clone(), pod("a", "10.0.0.1")], [pod("a", "10.0.0.1"), late.clone()]] {
        let moved = order.map(|pod| slice("resnet", vec![pod])).to_vec();
        let found = resnet(moved, &[]);
        assert_eq!((found.endpoints.len(), count(&found, Why::Terminating)), (0, 1));
    }
    let heir = vec![slice("resnet", vec![late, pod("b", "10.0.0.1")])];
    assert_eq!(addresses(&resnet(heir, &[])), ["10.0.0.1:8000"], "the address went to a new pod");
}

#[test]
fn only_slices_of_the_service_and_its_namespace_count() {
    let mut elsewhere = slice("resnet", vec![pod("c", "10.0.0.3")]);
    elsewhere.metadata.namespace = Some("other".to_owned());
    let other = slice("bert", vec![pod("b", "10.0.0.2")]);
    let own = slice("resnet", vec![pod("a", "10.0.0.1")]);
    assert_eq!(addresses(&resnet(vec![elsewhere, other, own], &[])), ["10.0.0.1:8000"]);
}

#[test]
fn the_port_is_the_named_one_or_http_or_the_only_one() {
    let two = vec![port("http", 8000), port("grpc", 8001)];
    let named = |name: &str| Some(Port::Name(name.to_owned()));
    for (wanted, ports, found) in [
        (None, two.clone(), Some(8000)),
        (None, vec![port("web", 9000)], Some(9000)),
        (None, vec![port("a", 1), port("b", 2)], None),
        (named("grpc"), two.clone(), Some(8001)),
        (named("web"), two.clone(), None),
        (Some(Port::Number(8001)), two.clone(), Some(8001)),
        (Some(Port::Number(80)), two, None),
        (None, vec![], None),
    ] {
        let mut of_ports = slice("resnet", vec![pod("a", "10.0.0.1")]);
        of_ports.ports = Some(ports);
        let target = Target { port: wanted.clone(), ..target("resnet") };
        let listing = listing(&[target], vec![of_ports], &[]);
        let wanted_list: Vec<_> = found.map(|n| format!("10.0.0.1:{n}")).into_iter().collect();
        assert_eq!(addresses(&listing), wanted_list, "{wanted:?}");
        assert_eq!(listing.problems.len(), usize::from(found.is_none()), "{wanted:?}");
    }
    let mut without_pods = slice("resnet", vec![]);
    without_pods.ports = None;
    assert!(resnet(vec![without_pods], &[]).problems.is_empty());
}

#[test]
fn http2_is_spoken_where_the_port_says_so() {
    let mut h2c = slice("resnet", vec![pod("a", "10.0.0.1")]);
    h2c.ports = Some(vec![EndpointPort { app_protocol: Some(H2C.to_owned()), ..port("http", 1) }]);
    assert_eq!(resnet(vec![h2c], &[]).endpoints[0].endpoint.protocol, Protocol::H2c);
}

#[test]
fn a_flag_goes_before_a_label_and_a_wrong_label_is_a_problem() {
    let own = || slice("resnet", vec![pod("a", "10.0.0.1")]);
    let both = labelled(labelled(own(), TIER_LABEL, "cpu"), CONCURRENCY_LABEL, "4");
    let traits = |listing: &Listing| {
        let endpoint = &listing.endpoints[0].endpoint;
        (endpoint.tier, endpoint.concurrency)
    };
    let (four, two) = (NonZeroU32::new(4), NonZeroU32::new(2));
    assert_eq!(traits(&resnet(vec![own()], &[])), (Tier::Gpu, None));
    assert_eq!(traits(&resnet(vec![both.clone()], &[])), (Tier::Cpu, four));
    let flag = Target { tier: Some(Tier::Gpu), concurrency: two, ..target("resnet") };
    assert_eq!(traits(&listing(&[flag], vec![both], &[])), (Tier::Gpu, two));
    let wrong = labelled(labelled(own(), TIER_LABEL, "tpu"), CONCURRENCY_LABEL, "many");
    let found = resnet(vec![wrong], &[]);
    assert_eq!((traits(&found), found.problems.len()), ((Tier::Gpu, None), 2));
}

#[test]
fn a_pod_on_a_node_under_notice_is_listed_as_leaving() {
    let slices = || vec![slice("resnet", vec![pod("a", "10.0.0.1"), pod("b", "10.0.0.2")])];
    for (under_notice, leaving) in
        [(&[][..], [false, false]), (&["a"], [true, false]), (&["a", "b"], [true, true])]
    {
        let found = resnet(slices(), under_notice);
        let kinds: Vec<_> = found.endpoints.iter().map(|listed| listed.is_leaving).collect();
        assert_eq!(kinds, leaving, "{under_notice:?}");
    }
    let nowhere = discovery::Endpoint { node_name: None, ..pod("a", "10.0.0.1") };
    let found = resnet(vec![slice("resnet", vec![nowhere])], &["a"]);
    assert!(!found.endpoints[0].is_leaving);
}

#[test]
fn endpoints_carry_their_service_and_come_in_one_order() {
    let services = ["a", "b"].map(|name| Target { service: name.to_owned(), ..target("resnet") });
    let pods = vec![pod("x", "10.0.0.9"), pod("y", "10.0.0.1")];
    let one = listing(&services, vec![slice("resnet", pods.clone())], &[]);
    let split = pods.into_iter().rev().map(|pod| slice("resnet", vec![pod])).collect();
    assert_eq!(one.endpoints, listing(&services, split, &[]).endpoints);
    let of: Vec<_> =
        one.endpoints.iter().map(|listed| listed.endpoint.service.as_deref().unwrap()).collect();
    assert_eq!(of, ["a", "a", "b", "b"]);
}

#[test]
fn a_name_instead_of_an_address_is_a_problem() {
    let found = resnet(vec![slice("resnet", vec![pod("a", "host.example")])], &[]);
    assert_eq!((found.endpoints.len(), found.problems.len()), (0, 1));
}
