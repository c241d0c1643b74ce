//! Tests of what a site requires.

use http::Method;
use serde_json::json;

use super::super::site::Site;
use super::{Answer, client, converge, created, list, status};

#[tokio::test]
async fn a_priority_class_is_looked_up_if_the_user_may() {
    let check = async |answer: Answer| {
        let client = client(move |_, path| match path {
            "/apis/scheduling.k8s.io/v1/priorityclasses/low" => answer.clone(),
            "/apis/scheduling.k8s.io/v1/priorityclasses" => list(&[json!({"metadata": {"name": "high"}})]),
            _ => status(404, path),
        });
        let site = Site { priority_class: Some("low".to_owned()), ..Site::default() };
        site.check_priority_class(&client).await.map_err(|error| error.to_string())
    };
    let class = |value: i32, preemption: &str| {
        (200, json!({"metadata": {"name": "low"}, "value": value, "preemptionPolicy": preemption}))
    };
    let missing = check(status(404, "not found")).await.unwrap_err();
    assert_eq!(missing, "--priority-class low: the cluster has no such PriorityClass, only high");
    assert_eq!(check(status(403, "forbidden")).await, Ok(None));
    assert_eq!(check(class(7, "Never")).await, Ok(None));
    assert_eq!(check(class(-7, "PreemptLowerPriority")).await, Ok(None));
    let warning = check(class(7, "PreemptLowerPriority")).await.unwrap().unwrap();
    assert!(warning.starts_with("PriorityClass low: ") && warning.contains("Never"), "{warning}");
}

#[tokio::test]
async fn refusals_of_a_site_name_the_options() {
    for (refused, refusal, option) in [
        (
            "/namespaces",
            "ValidatingAdmissionPolicy 'a' with binding 'b' denied request: no owner",
            "--namespace-label",
        ),
        ("/pods", "admission webhook \"a.b\" denied the request: no owner", "--pod-label"),
        ("/pods", "pods \"a\" is forbidden: no PriorityClass with name low was found", "--priority-class"),
    ] {
        let client = client(move |method, path| match (method, path) {
            (&Method::POST, path) if path.ends_with(refused) => status(403, refusal),
            (&Method::POST, _) => created(),
            _ => status(404, path),
        });
        let message = converge(client).await.unwrap_err().to_string();
        assert!(message.contains(refusal) && message.contains(option), "{message}");
    }
}
